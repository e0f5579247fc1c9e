"""`ByteLocks`: locks of single bytes of one file, between processes and between threads."""

import errno
import fcntl
import os
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from onefs.cache.beneath import STATE_MODE, Folder
from onefs.forks import begins_anew_in_children

LOCKING = os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK
HELD = (errno.EAGAIN, errno.EACCES)
NOT_OURS = (errno.EINVAL, errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EPERM)
"""Errors of opening a path where something stands that is no lock file, or is another user's."""
CLOSED = -1


@dataclass(eq=False, slots=True)
class _LockFile:
    """The file of which bytes are locked, opened, and how many of its bytes are held."""

    number: int
    holders: int = 0


class ByteLocks:
    """Locks of single bytes of one file, which is held open. Safe to use from several threads and processes.

    The kernel's locks (F_OFD_SETLK) belong to the open file, so they exclude other processes only. `_held` excludes
    the other threads of this one.
    """

    def __init__(self, folder: Folder, path: str) -> None:
        self._folder = folder
        self._path = path
        self._file: _LockFile | None = None
        self.begin_anew()
        begins_anew_in_children(self)

    def begin_anew(self) -> None:
        """In a forked child: leave the locks to the parent, and close its file, so that they end with the parent."""
        file, self._file = self._file, None
        if file is not None:
            number, file.number = file.number, CLOSED
            os.close(number)
        self._lock = threading.Lock()  # guards those below, and the count of holders
        self._held: set[int] = set()

    def take(self, byte: int) -> Callable[[], None] | None:
        """Lock a byte. Returns what unlocks it, or None if it is locked already. Raises OSError."""
        with self._lock:
            if byte in self._held:
                return None
            file = self._file = self._file or self._open()
            file.holders += 1
            self._held.add(byte)
        is_taken = False
        try:
            fcntl.fcntl(file.number, fcntl.F_OFD_SETLK, _flock(fcntl.F_WRLCK, byte))
            is_taken = self._is_there(file)
        except OSError as error:
            if error.errno not in HELD:
                raise
        finally:
            if not is_taken:
                self._give_back(file, byte)
        return (lambda: self._give_back(file, byte)) if is_taken else None

    def close(self) -> None:
        """Close the file, once none of its bytes is locked."""
        with self._lock:
            file, self._file = self._file, None
            _close_unused(file)

    def _give_back(self, file: _LockFile, byte: int) -> None:
        if file.number == CLOSED:
            return  # the lock is the parent's
        with suppress(OSError):
            fcntl.fcntl(file.number, fcntl.F_OFD_SETLK, _flock(fcntl.F_UNLCK, byte))
        with self._lock:
            self._held.discard(byte)
            file.holders -= 1
            if file is not self._file:
                _close_unused(file)

    def _is_there(self, file: _LockFile) -> bool:
        """Whether the file still has a name. If somebody deleted it, another process may lock a new file instead."""
        try:
            if os.fstat(file.number).st_nlink:
                return True
        except OSError as error:
            if error.errno != errno.ESTALE:  # as NFS tells it
                raise
        with self._lock:
            if self._file is file:
                self._file = None  # `_give_back` closes it
        return False

    def _open(self) -> _LockFile:
        """Open the lock file, or make it. What is no lock file, or another user's, is replaced. Raises OSError."""
        try:
            number, status = self._folder.open_file(self._path, LOCKING)
        except FileNotFoundError:
            self._folder.make_folders(self._path.rpartition("/")[0], 0o700)
            number, status = self._folder.open_file(self._path, LOCKING | os.O_CREAT, STATE_MODE)
        except OSError as error:
            if error.errno not in NOT_OURS:
                raise
            self._folder.unlink(self._path)
            number, status = self._folder.open_file(self._path, LOCKING | os.O_CREAT, STATE_MODE)
        if status.st_mode & 0o077 and status.st_uid == os.geteuid():
            os.fchmod(number, STATE_MODE)  # an earlier onefs let every user lock it
        return _LockFile(number)


def _close_unused(file: _LockFile | None) -> None:
    """Close a file if none of its bytes is locked: closing ends all locks of it."""
    if file is not None and not file.holders and file.number != CLOSED:
        number, file.number = file.number, CLOSED
        os.close(number)


def _flock(kind: int, byte: int) -> bytes:
    """A `struct flock` for one byte."""
    return struct.pack("hhqqi", kind, os.SEEK_SET, byte, 1, 0)
