"""Writing the cache's own files, whole or not at all, and what errors of their disk mean."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from onefs.errors import CacheDamagedError, NoRoomError

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
PIECE_BYTES = 1 << 14
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MORE_ROOM = (
    "Free some space (onefs evict removes files that were fetched), mount with a --cache-size that fits on the disk, "
    "or move the cache directory to a larger disk."
)
REMEDIES = {
    errno.EACCES: "Give the user who mounts write access to the cache directory, or choose another one.",
    errno.EPERM: "Give the user who mounts write access to the cache directory, or choose another one.",
    errno.EROFS: "Choose a cache directory on a disk that can be written.",
    errno.EIO: "Check the disk that holds the cache directory.",
    errno.ESTALE: "Check the network file system that holds the cache directory.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
    errno.ENFILE: "Raise the machine's limit of open files (fs.file-max).",
}


@contextmanager
def cache_errors(what: str, place: str | Path) -> Iterator[None]:
    """Turn the disk's errors into ours, for `what` at `place`."""
    try:
        yield
    except OSError as error:
        raise cache_error(what, place, error) from error


def cache_error(what: str, place: str | Path, error: OSError) -> CacheDamagedError | NoRoomError:
    """Our error for one of the disk's."""
    text = (error.strerror or str(error)).lower()
    if error.errno in NO_ROOM:
        return NoRoomError(
            f"There is no room for {what} in {place}: {text}.",
            MORE_ROOM,
        )
    place = error.filename if isinstance(error.filename, str) else place
    remedy = REMEDIES.get(error.errno or 0, "Check the cache directory; its contents can be fetched again.")
    return CacheDamagedError(f"{what} cannot be had from the cache or put there: {place}: {text}.", remedy)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, if need be. Raises OSError."""
    if not os.path.isdir(path):  # noqa: PTH112  (the usual case, and the cheapest way to tell)
        path.mkdir(parents=True, exist_ok=True)


def write_json(path: str | Path, value: dict[str, Any], *, mode: int = 0o666) -> None:
    """Write a small file of JSON whole: temporary, renamed. Raises OSError."""
    write_whole(path, json.dumps(value).encode(), mode=mode)


def write_whole(path: str | Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write a small file whole: temporary, renamed. Raises OSError."""
    path = os.fspath(path)
    temporary = f"{path}.{uuid4().hex}.tmp"  # process numbers repeat on machines that share it
    try:
        number = os.open(temporary, NEW, mode)
    except FileNotFoundError:
        make_folder(Path(path).parent)
        number = os.open(temporary, NEW, mode)
    try:
        try:
            if os.write(number, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), temporary)
        finally:
            os.close(number)
        os.rename(temporary, path)  # noqa: PTH104  (a Path costs more than the call)
    except OSError:
        with suppress(FileNotFoundError):
            os.unlink(temporary)  # noqa: PTH108
        raise


def read_json(path: str | Path) -> dict[str, Any]:
    """A small file's contents; {} if it is absent or damaged, which costs no more than fetching again."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = piece = os.read(number, PIECE_BYTES)
            while len(piece) == PIECE_BYTES:
                piece = os.read(number, PIECE_BYTES)
                data += piece
        finally:
            os.close(number)
        value = json.loads(data)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
