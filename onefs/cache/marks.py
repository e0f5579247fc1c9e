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
OPEN_BYTE = 1 << 62
"""This byte of a file is locked while the file is open; those below it stand for its blocks."""
SURELY_CLOSED_S = 86400.0
"""Where the file system has no such locks, a file that was not changed for so long counts as closed."""


def mark_open(number: int) -> None:
    """Mark a file as open until this descriptor is closed, where the file system has such locks."""
    try:
        fcntl.fcntl(number, fcntl.F_OFD_SETLK, _lock(fcntl.F_RDLCK, OPEN_BYTE, 1))
    except OSError:
        return  # then its age alone protects it


def is_open(path: Path, *, sees_all: bool = True) -> bool:
    """Whether a process has the file open, or may have. Raises OSError.

    Without `sees_all`, marks made on other machines are not seen here.
    """
    number = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.fcntl(number, fcntl.F_OFD_SETLK, _lock(fcntl.F_WRLCK, OPEN_BYTE, 1))
        return not sees_all and _is_young(number)
    except OSError as error:
        return error.errno in HELD or _is_young(number)
    finally:
        os.close(number)


def _is_young(number: int) -> bool:
    return abs(time.time() - os.fstat(number).st_mtime) < SURELY_CLOSED_S


def claim(number: int, blocks: range) -> range:
    """Lock the blocks of a file up to the first that another process fetches, and return them. Raises OSError."""
    while blocks:
        try:
            fcntl.fcntl(number, fcntl.F_OFD_SETLK, _lock(fcntl.F_WRLCK, blocks.start, len(blocks)))
            break
        except OSError as error:
            if error.errno not in HELD:
                break  # a disk without locks: both fetch them
        held = fcntl.fcntl(number, fcntl.F_OFD_GETLK, _lock(fcntl.F_WRLCK, blocks.start, len(blocks)))
        kind, _, start, _, _ = struct.unpack("hhqqi", held)
        if kind != fcntl.F_UNLCK:
            blocks = range(blocks.start, max(blocks.start, min(start, blocks.stop)))
    return blocks


def release(number: int, blocks: range) -> None:
    """Let other processes fetch these blocks. Raises OSError."""
    if blocks:
        fcntl.fcntl(number, fcntl.F_OFD_SETLK, _lock(fcntl.F_UNLCK, blocks.start, len(blocks)))


def _lock(kind: int, start: int, size: int) -> bytes:
    """A `struct flock`."""
    return struct.pack("hhqqi", kind, os.SEEK_SET, start, size, 0)
