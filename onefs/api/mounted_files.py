"""Files below an onefs mountpoint, which the mount fetches and verifies while they are read."""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from onefs import errors
from onefs.alf_files.contents import DamagedFileError
from onefs.api.parallel import each_result
from onefs.catalogue.records import Dataset
from onefs.mountinfo import FILE_SYSTEM_TYPE, mounted_disks
from onefs.one_errors import ALFObjectNotFound, in_python

READ_AT_ONCE = 64
READ_BYTES = 1 << 20
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENETDOWN)
_OF_ERRNO: dict[int, type[errors.OnefsError]] = {
    errno.EHOSTUNREACH: errors.UnreachableError,
    errno.ETIMEDOUT: errors.TimedOutError,
    errno.EACCES: errors.AccessRefusedError,
    errno.ENOSPC: errors.NoRoomError,
}
_WRONG = (b"mismatch", b"quarantined")


def is_mounted(folder: Path) -> bool:
    """Whether a folder stands in a mount of onefs."""
    try:
        device = folder.stat().st_dev
        disks = mounted_disks()
    except OSError:
        return False
    numbers = f"{os.major(device)}:{os.minor(device)}"
    return any(disk.device == numbers and disk.kind == FILE_SYSTEM_TYPE for disk in disks)


def paths_of(root: Path, datasets: Sequence[Dataset]) -> list[str | ALFObjectNotFound]:
    """The paths of several files, as `path_of` gives them; the mount is asked for all of them at once."""
    _attribute(str(root), "loader")  # tells the mount that this process searches nothing, but wants these files
    if len(datasets) == 1:
        return [path_of(root, datasets[0])]
    return each_result(partial(path_of, root), READ_AT_ONCE, datasets)


def path_of(root: Path, dataset: Dataset) -> str | ALFObjectNotFound:
    """The path of a dataset's file, of which the mount can give the bytes; the error that says why it has none.

    Raises what the mount says is wrong: `MismatchError`, `UnreachableError`, `AccessRefusedError`, `ContentError`.
    """
    path = f"{root}/{dataset.path}"
    try:
        _read(path, at_end_only=True)
    except OSError as error:
        failure = _failure_of(path, error)
        if isinstance(failure, ALFObjectNotFound):
            return failure
        raise failure from error
    return path


@contextmanager
def telling_failures(root: Path, paths: Sequence[str]) -> Iterator[None]:
    """A block that loads these files: if the mount could not give all bytes of one, what it says of that is raised.

    What loads a file may raise anything then, such as that it is damaged: so the files are read once more.
    """
    try:
        yield
    except (OSError, DamagedFileError) as error:
        if not isinstance(error, FileNotFoundError) and is_mounted(root):
            for path in paths:
                try:
                    _read(path)
                except OSError as failure:
                    raise _failure_of(path, failure) from error
        raise


def _failure_of(path: str, error: OSError) -> errors.OnefsError:
    """What the mount says of a file that it cannot give. As `ALFObjectNotFound` if no server has it."""
    told = in_python(_told_by_the_mount(path))
    if error.errno in _ABSENT or told.endswith(in_python(errors.MissingOnServerError.default_remedy)):
        return ALFObjectNotFound(told or f"{path}: {error.strerror}.", terse=True)
    kind = _OF_ERRNO.get(error.errno or 0, errors.ContentError)
    if error.errno == errno.EIO and _attribute(path, "state") in _WRONG:
        kind = errors.MismatchError
    return kind(told or f"{path} cannot be read: {error.strerror}.", "See more in the mount's log: onefs log.")


def _read(path: str, *, at_end_only: bool = False) -> None:
    """Read a file to its end, or its last byte: the mount fetches it, or begins to, and what is wrong is known."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if at_end_only:
            os.lseek(descriptor, max(status.st_size - 1, 0), os.SEEK_SET)
        while os.read(descriptor, READ_BYTES):
            pass
    finally:
        os.close(descriptor)


def _told_by_the_mount(path: str) -> str:
    """The sentence of the last failure, "" if the mount tells none."""
    return _attribute(path, "error").decode(errors="replace")


def _attribute(path: str, name: str) -> bytes:
    try:
        return os.getxattr(path, f"user.onefs.{name}")
    except OSError:
        return b""
