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


def is_open(path: Path) -> bool:
    """Whether anybody has the file open, or may have. Raises OSError."""
    number = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.fcntl(number, fcntl.F_OFD_SETLK, _whole(fcntl.F_WRLCK))
    except OSError as error:
        return error.errno in HELD or abs(time.time() - os.fstat(number).st_mtime) < SURELY_CLOSED_S
    finally:
        os.close(number)
    return False


def _whole(kind: int) -> bytes:
    return struct.pack("hhqqi", kind, os.SEEK_SET, 0, 0, 0)
