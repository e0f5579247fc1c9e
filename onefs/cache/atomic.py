"""Writing and naming files whole or not at all, and what errors of their disk mean."""

import errno
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from onefs.cache.beneath import DATA_MODE, NEW, READING, STATE_MODE, Folder, write_whole_at
from onefs.digests import CHUNK_BYTES
from onefs.errors import CacheDamagedError, NoRoomError

LONGEST_JSON_BYTES = 16 << 20
_PARENT = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
WITHOUT_NAMELESS = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS)
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
    errno.EINVAL: "Remove what stands there in the place of a file.",
    errno.ENXIO: "Remove what stands there in the place of a file.",
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
    if isinstance(error.filename, str) and error.filename.startswith("/"):
        is_held = error.filename.startswith("/proc/self/fd/")
        place = os.path.realpath(error.filename) if is_held else error.filename
    if error.errno == errno.ELOOP:
        return CacheDamagedError(
            f"{place} is a symbolic link or lies behind one, and onefs follows none in a cache directory.",
            "Put the file or folder itself there (a folder may be mounted there with mount --bind), or move the whole "
            "cache directory to where the link leads.",
        )
    remedy = REMEDIES.get(error.errno or 0, "Check the cache directory; its contents can be fetched again.")
    return CacheDamagedError(f"{what} cannot be read from the cache or written to it: {place}: {text}.", remedy)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, if need be. Raises OSError."""
    if not os.path.isdir(path):  # noqa: PTH112  (the usual case, and the cheapest way to tell)
        path.mkdir(parents=True, exist_ok=True)


def write_json(path: str | Path, value: dict[str, Any]) -> None:
    """Write a small file of JSON whole: temporary, renamed. Raises OSError."""
    write_whole(path, json.dumps(value).encode())


def write_whole(path: str | Path, data: bytes, *, mode: int = STATE_MODE) -> None:
    """Write a small file whole: temporary, renamed. Raises OSError."""
    folder, _, name = os.fspath(path).rpartition("/")
    try:
        number = os.open(folder or ".", _PARENT)
    except FileNotFoundError:
        make_folder(Path(folder))
        number = os.open(folder, _PARENT)
    try:
        write_whole_at(number, name, data, mode)
    finally:
        os.close(number)


def read_json(path: str | Path) -> dict[str, Any]:
    """A small file's contents; {} if it is absent, damaged, or no file, which costs no more than fetching again."""
    try:
        number = os.open(path, READING | os.O_NOFOLLOW)
        with os.fdopen(number, "rb") as stream:
            status = os.fstat(number)
            if not stat.S_ISREG(status.st_mode) or status.st_size > LONGEST_JSON_BYTES:
                return {}
            value = json.loads(stream.read(LONGEST_JSON_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def reopened(writer: int) -> int:
    """A descriptor to read what another one writes. Raises OSError."""
    return os.open(f"/proc/self/fd/{writer}", os.O_RDONLY | os.O_CLOEXEC)


class NamelessFile:
    """A new file in the folder where it is to have its name. Nothing is left of it if it never gets that."""

    def __init__(self, folder: Folder, target: str) -> None:
        """Raises OSError, one of `WITHOUT_NAMELESS` where the disk has no such files."""
        above, _, self._name = target.rpartition("/")
        try:
            self._folder = folder.open(above or ".", _PARENT)
        except FileNotFoundError:
            folder.make_folders(above)
            self._folder = folder.open(above or ".", _PARENT)
        try:
            self.number = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, DATA_MODE, dir_fd=self._folder)
        except BaseException:
            os.close(self._folder)
            raise

    def give_name(self) -> int:
        """Give it its name; the descriptor, which is the caller's now. Raises FileExistsError or another OSError."""
        os.link(f"/proc/self/fd/{self.number}", self._name, dst_dir_fd=self._folder)
        number, self.number = self.number, -1
        return number

    def close(self) -> None:
        """Let go of it."""
        for number in (self._folder, self.number):
            if number >= 0:
                os.close(number)
        self._folder = self.number = -1


def give_name(parts: Folder, part: str, reader: int, folder: Folder, target: str) -> int:
    """Rename the file that `reader` reads, and return a descriptor of it: `reader`, or one of a copy. Raises OSError.

    Where it cannot be renamed (the target is on another file system, or somebody removed the file), it is copied beside
    the target first, and `reader` is closed. The target's folder must exist.
    """
    with folder.parent(target) as (there, name):
        with suppress(FileNotFoundError), parts.parent(part) as (at, old):
            if os.path.samestat(os.lstat(old, dir_fd=at), os.fstat(reader)):
                try:
                    os.rename(old, name, src_dir_fd=at, dst_dir_fd=there)
                except OSError as error:
                    if error.errno != errno.EXDEV:
                        raise
                    reader = _copied(reader, there, name)
                    with suppress(FileNotFoundError):
                        os.unlink(old, dir_fd=at)
                return reader
        return _copied(reader, there, name)


def has_its_name(path: Path, number: int) -> bool:
    """Whether an open file is still there: not if somebody deleted the folder, and perhaps another began anew."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(number))
    except FileNotFoundError:
        return False


def part_from_others(path: Path) -> None:
    """Put a copy in the place of a file, so that whoever has it open writes to it no longer. Raises OSError."""
    beside = path.with_name(f".{uuid4()}.part")
    try:
        shutil.copyfile(path, beside, follow_symlinks=False)
        beside.replace(path)
    except FileNotFoundError:
        beside.unlink(missing_ok=True)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def _copied(reader: int, folder: int, name: str) -> int:
    """A descriptor of a copy with that name in an open folder. Closes `reader`."""
    beside, copied = f".{uuid4()}.part", -1
    writer = os.open(beside, NEW, DATA_MODE, dir_fd=folder)
    try:
        with open(reader, "rb", closefd=False) as source, os.fdopen(writer, "wb") as copy:
            source.seek(0)
            shutil.copyfileobj(source, copy, CHUNK_BYTES)
            copied = reopened(writer)  # by its number: others may put another file in its place
        os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with suppress(FileNotFoundError):
            os.unlink(beside, dir_fd=folder)
        if copied >= 0:
            os.close(copied)
        raise
    os.close(reader)
    return copied
