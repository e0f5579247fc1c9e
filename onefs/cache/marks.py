"""Owns the mark that a file which is not complete is open somewhere, so that nobody takes it from under its readers."""

import errno
import fcntl
import os
import struct
import time
from pathlib import Path

BLOCKS_ENDING = ".blocks"
"""How the name ends of a file that fills up by blocks, and that is marked while it is open."""
HELD = (errno.EACCES, errno.EAGAIN)
SURELY_CLOSED_S = 86400.0
"""Where the disk knows no marks, a file that was not changed for so long counts as closed."""


def mark_open(number: int) -> None:
    """Mark a file as open for as long as this descriptor is, or the process lives, where the disk knows such marks."""
    try:
        fcntl.fcntl(number, fcntl.F_OFD_SETLK, _whole(fcntl.F_RDLCK))
    except OSError:
        return  # then its age alone protects it


def is_open(path: Path, *, sees_all: bool = True) -> bool:
    """Whether anybody has the file open, or may have. Raises OSError.

    Without `sees_all`, marks that others make on other machines are not seen here.
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
