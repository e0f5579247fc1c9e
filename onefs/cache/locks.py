"""Owns the locks between processes: one daemon fetches a file, the others wait."""

import errno
import fcntl
import logging
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path
from uuid import UUID

from onefs.cache import disks
from onefs.cache.atomic import make_folder
from onefs.cache.leases import Leases, Seen
from onefs.cache.renaming import has_its_name

FIRST_PAUSE_S = 0.01
LONGEST_PAUSE_S = 0.08
FOR_ALL_USERS = 0o666
"""A user who shares the cache must be able to wait for another's lock. The file itself holds nothing."""
HELD = (errno.EAGAIN, errno.EACCES)
WITHOUT_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOLCK)
PLACES = 1 << 62
log = logging.getLogger(__name__)


class StoppedError(Exception):
    """Whoever waited was told to stop."""


class HeldError(Exception):
    """Another had the lock for as long as it was waited for."""


class DatasetLocks:
    """A lock for each dataset, against other processes and other threads. Safe to use from several threads.

    Each is one byte of one file, locked for an open file of its own: such locks work on NFS and Lustre too, die with
    their owner, and leave nothing behind. Where the disk has none, or none that other machines see, they are leases.
    """

    def __init__(self, folder: Path, *, leased: bool | None = None) -> None:
        """With `leased` None, the disk decides."""
        self._folder = folder
        self._file = folder / "datasets"
        self._leased = leased
        self._leases = Leases()
        self._seen: dict[UUID, Seen] = {}  # what was seen of others' leases, also by who did not wait for their end

    @property
    def are_leased(self) -> bool:
        """Whether an owner that stalls for long may lose its lock, and not know it."""
        if self._leased is None:
            self._leased = not disks.has_common_locks(self._folder)
        return self._leased

    @contextmanager
    def hold(self, dataset_id: UUID, stop: threading.Event, longest_s: float = inf) -> Iterator[None]:
        """Hold a dataset's lock, which another may have for `longest_s`. Raises OSError, StoppedError or HeldError."""
        give_back = self._wait(dataset_id, stop, longest_s)
        try:
            yield
        finally:
            give_back()

    def _wait(self, dataset_id: UUID, stop: threading.Event, longest_s: float) -> Callable[[], None]:
        pause_s, until_s = FIRST_PAUSE_S, time.monotonic() + longest_s
        while True:
            give_back = self._take_lease(dataset_id) if self.are_leased else self._take_byte(dataset_id)
            if give_back is not None:
                return give_back
            if time.monotonic() >= until_s:
                raise HeldError
            if stop.wait(pause_s):
                raise StoppedError
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _take_byte(self, dataset_id: UUID) -> Callable[[], None] | None:
        number = self._open()
        try:
            fcntl.fcntl(number, fcntl.F_OFD_SETLK, _byte(dataset_id))
            if has_its_name(self._file, number):
                return lambda: _unlock(number)
        except OSError as error:
            if error.errno in WITHOUT_LOCKS:
                log.info("%s is on a disk without locks (%s): files that are renewed serve instead.", self._file, error)
                self._leased = True
            elif error.errno not in HELD:
                os.close(number)
                raise
        os.close(number)
        return None

    def _open(self) -> int:
        try:
            return os.open(self._file, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            make_folder(self._folder)
            number = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FOR_ALL_USERS)
            if os.fstat(number).st_uid == os.geteuid():
                os.fchmod(number, FOR_ALL_USERS)
            return number

    def _take_lease(self, dataset_id: UUID) -> Callable[[], None] | None:
        make_folder(self._folder)
        path = self._folder / f"{dataset_id}.lease"
        number = self._leases.take(path, self._seen.setdefault(dataset_id, Seen()))
        if number is None:
            return None
        self._seen.pop(dataset_id, None)
        return lambda: self._leases.give_back(path, number)


def _unlock(number: int) -> None:
    """Give up what is locked for a descriptor, and close it. A process that was forked off has it open too."""
    with suppress(OSError):
        fcntl.fcntl(number, fcntl.F_OFD_SETLK, struct.pack("hhqqi", fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))
    os.close(number)


def _byte(dataset_id: UUID) -> bytes:
    """A `struct flock` that asks for the one byte of a dataset."""
    return struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, dataset_id.int % PLACES, 1, 0)
