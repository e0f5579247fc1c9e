"""Marks by file locks that an incomplete file is open in some process, so that no other one evicts it."""

import errno
import fcntl
import os
import struct
import time
from pathlib import Path

BLOCKS_ENDING = ".blocks"
"""The end of the name of a file that is fetched by blocks. It is marked while it is open."""
HELD = (errno.EACCES, errno.EAGAIN)
SURELY_CLOSED_S = 86400.0
"""Where the file system has no such locks, a file that was not changed for so long counts as closed."""


def mark_open(number: int) -> None:
    """Mark a file as open until this descriptor is closed, where the file system has such locks."""
    try:
        fcntl.fcntl(number, fcntl.F_OFD_SETLK, _whole(fcntl.F_RDLCK))
    except OSError:
        return  # then its age alone protects it


def is_open(path: Path, *, sees_all: bool = True) -> bool:
    """Whether a process has the file open, or may have. Raises OSError.

    Without `sees_all`, marks made on other machines are not seen here.
    """
    number = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.fcntl(number, fcntl.F_OFD_SETLK, _whole(fcntl.F_WRLCK))
        return not sees_all and _is_young(number)
    except OSError as error:
        return error.errno in HELD or _is_young(number)
    finally:
        os.close(number)


def _is_young(number: int) -> bool:
    return abs(time.time() - os.fstat(number).st_mtime) < SURELY_CLOSED_S


def _whole(kind: int) -> bytes:
    return struct.pack("hhqqi", kind, os.SEEK_SET, 0, 0, 0)
