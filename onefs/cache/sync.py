"""Owns bringing files to the disk: one by one, or their whole file system where each can be asked if it came there."""

import ctypes
import errno
import functools
import os
from pathlib import Path

from onefs.cache import disks

FEW = 8
"""So many files are synced one by one, as the rest would bring what other programs write to the disk, too."""
_WAIT_BEFORE = 1  # SYNC_FILE_RANGE_WAIT_BEFORE
_NOT_FOR_THIS = (errno.EINVAL, errno.ENOSYS, errno.ESPIPE)


def sync_at_once(folder: Path) -> int | None:
    """Bring all files of a folder's file system to the disk, and give its number, for `finish`.

    None if each must be synced by itself: where the system cannot, or where it failed and does not say whose fault.
    """
    library = _library()
    if library is None or not disks.tells_lost_bytes(folder):
        return None
    try:
        number = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.fstat(number).st_dev if library.syncfs(number) == 0 else None
    finally:
        os.close(number)


def finish(number: int, synced: int | None) -> None:
    """Have an open file's bytes on the disk, of which those of the file system `synced` were brought there before.

    Raises OSError, also if they were lost on the way: the system tells that to those who open a file afterwards.
    """
    library = _library()
    if library is None or synced is None or os.fstat(number).st_dev != synced:
        os.fsync(number)
    elif library.sync_file_range(number, 0, 0, _WAIT_BEFORE):
        code = ctypes.get_errno()
        if code not in _NOT_FOR_THIS:
            raise OSError(code, os.strerror(code))
        os.fsync(number)


@functools.cache
def _library() -> ctypes.CDLL | None:
    """The C library, if it has both calls."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        library.syncfs.argtypes = [ctypes.c_int]
        library.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    except (OSError, AttributeError):
        return None
    return library
