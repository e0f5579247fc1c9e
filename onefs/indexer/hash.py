"""Hashing files, which other programs may change meanwhile."""

import os
import stat
import time
from collections.abc import Sequence
from typing import NamedTuple

from onefs.digests import CHUNK_BYTES, new_md5
from onefs.indexer.scan import facts_of
from onefs.workers import count

BYTES_PER_TASK = 64 << 20
FILES_PER_TASK = 1_000
"""The most that a task hashes, but at least one file. Its hashes are stored when it ends."""

TRIES = 2
CLOCK_STEP_NS = 20_000_000
COARSE_CLOCK_STEP_NS = 2_000_000_000
"""Within so long after a change, a file system may give another change the same mtime; some count whole seconds."""
MOST_CLOCK_SKEW_NS = 2_000_000_000


class ToHash(NamedTuple):
    """A file to be hashed: the `at`th of the session folder `number`."""

    number: int
    at: int
    path: str


class Hashed(NamedTuple):
    """The MD5 of a file that had these `scan.FACTS` all the while; or with `md5` b"" why there is none.

    `facts` is b"" if they are not known. `is_gone`: there is no such dataset any more; `why` is "" unless something
    else has its path.
    """

    number: int
    at: int
    path: str
    facts: bytes = b""
    md5: bytes = b""
    why: str = ""
    is_gone: bool = False


def hash_files(files: Sequence[ToHash]) -> list[Hashed]:
    """Hash files one after another."""
    buffer = memoryview(bytearray(CHUNK_BYTES))
    return [_hashed(file, buffer) for file in files]


def _hashed(file: ToHash, buffer: memoryview) -> Hashed:
    try:
        # O_NONBLOCK: a pipe that has taken the file's place would keep us waiting.
        descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        return _failed(file, error)
    try:
        for _ in range(TRIES):
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                return Hashed(*file, why="it is not a regular file any more", is_gone=True)
            _wait_for_another_mtime(before.st_mtime_ns)
            md5, size_bytes = _md5(descriptor, buffer, before.st_size)
            after = os.fstat(descriptor)
            if (size_bytes, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
                return Hashed(*file, facts_of(after).tobytes(), md5)
        return Hashed(*file, facts_of(after).tobytes(), why="it changes while it is read")
    except OSError as error:
        return _failed(file, error)
    finally:
        os.close(descriptor)


def _failed(file: ToHash, error: OSError) -> Hashed:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Hashed(*file, is_gone=True)
    return Hashed(*file, why=error.strerror or str(error))


def _wait_for_another_mtime(mtime_ns: int) -> None:
    """Wait until a further change of a file would give it another mtime.

    The mtime may be later than now, as the clock of a file server may be ahead.
    """
    step_ns = CLOCK_STEP_NS if mtime_ns % 1_000_000_000 else COARSE_CLOCK_STEP_NS
    age_ns = time.time_ns() - mtime_ns
    if -MOST_CLOCK_SKEW_NS < age_ns < step_ns:
        time.sleep((step_ns - max(age_ns, 0)) / 1e9)


def _md5(descriptor: int, buffer: memoryview, size_bytes: int) -> tuple[bytes, int]:
    """MD5 of a file, and how many bytes that was: `size_bytes`, fewer if it has shrunk, or more if it has grown."""
    md5, at = new_md5(), 0
    while at < size_bytes and (n_bytes := os.preadv(descriptor, [buffer], at)):
        md5.update(buffer[:n_bytes])
        at += n_bytes
        count(n_bytes)
    return md5.digest(), at
