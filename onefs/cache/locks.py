"""Locks between a user's processes: one byte of a file for each dataset; leases where a disk has no common locks.

Also names of processes, by which others on the same machine can tell whether they still run.
"""

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from math import inf
from pathlib import Path
from uuid import UUID, uuid4

from onefs import mountinfo
from onefs.cache.beneath import READING, STATE_MODE, Folder
from onefs.cache.byte_locks import LOCKING, NOT_OURS, ByteLocks

FOLDER = "locks"
DATASETS = f"{FOLDER}/datasets"
FIRST_PAUSE_S = 0.01
LONGEST_PAUSE_S = 0.08
RENEWED_EVERY_S = 5.0
LEASE_S = 30.0
"""A lease that was not renewed for so long, by the clock of who waits for it, is over. All processes must agree."""
WITHOUT_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOLCK)
PLACES = 1 << 62
PROCESS_FIELDS = 5
log = logging.getLogger(__name__)


class StoppedError(Exception):
    """Whoever waited was told to stop."""


class HeldError(Exception):
    """Timed out waiting for the lock."""


class DatasetLocks:
    """A lock for each dataset, against this user's other processes and threads. Safe to use from several threads.

    Each is one byte of one file: such locks work on NFS and Lustre too, die with their owner, and leave nothing behind.
    Where the disk has none, or none that other machines see, they are leases.
    The files stand in `locks` of a folder in which no other user can write.
    """

    def __init__(self, folder: Folder, *, leased: bool | None = None) -> None:
        """With `leased` None, the disk decides."""
        self._folder = folder
        self._bytes = ByteLocks(folder, DATASETS)
        self._leased = leased
        self._leases = Leases(folder)
        self._seen: dict[UUID, Seen] = {}  # what was seen of others' leases, also by who did not wait for their end

    @property
    def are_leased(self) -> bool:
        """Whether an owner that stalls for long may lose its lock, and not know it."""
        if self._leased is None:
            self._leased = not mountinfo.has_common_locks(self._folder.path)
        return self._leased

    @contextmanager
    def hold(self, dataset_id: UUID, stop: threading.Event, longest_s: float = inf) -> Iterator[None]:
        """Hold a dataset's lock, which another may have for `longest_s`. Raises OSError, StoppedError or HeldError."""
        give_back = self._wait(dataset_id, stop, longest_s)
        try:
            yield
        finally:
            give_back()

    def close(self) -> None:
        """Let go of the file. It is opened anew if it is used again."""
        self._bytes.close()

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
        try:
            return self._bytes.take(dataset_id.int % PLACES)
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
            path = self._folder.path / DATASETS
            log.info("%s is on a disk without locks (%s): files that are renewed serve instead.", path, error)
            self._leased = True
            return None

    def _take_lease(self, dataset_id: UUID) -> Callable[[], None] | None:
        self._folder.make_folders(FOLDER, 0o700)
        path = f"{FOLDER}/{dataset_id}.lease"
        number = self._leases.take(path, self._seen.setdefault(dataset_id, Seen()))
        if number is None:
            return None
        self._seen.pop(dataset_id, None)
        return lambda: self._leases.give_back(path, number)


class Leases:
    """Files in a folder that this process renews for as long as it holds them. Safe to use from several threads.

    An owner that stalls for long may find that another has its lease by now: what a lease guards must bear that.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._changed = threading.Condition()  # guards the two below
        self._held: set[int] = set()
        self._renews = False

    def take(self, path: str, seen: "Seen") -> int | None:
        """A descriptor that stands for the lease at `path`; None if another has it. Raises OSError.

        `seen` is what this waiter remembers between its tries.
        """
        try:
            number = self._folder.open(path, LOCKING | os.O_CREAT | os.O_EXCL, STATE_MODE)
        except FileExistsError:
            self._remove_if_over(path, seen)
            return None
        try:
            os.write(number, this_process().encode())
            self._renew(number)
        except BaseException:
            self._folder.unlink(path)
            os.close(number)
            raise
        return number

    def give_back(self, path: str, number: int) -> None:
        """Let others have it."""
        with self._changed:
            self._held.discard(number)
            self._changed.notify_all()
        with suppress(OSError):
            if _stands_at(self._folder, path, number):
                self._folder.unlink(path)
        os.close(number)

    def _renew(self, number: int) -> None:
        with self._changed:
            if not self._renews:
                threading.Thread(target=self._renew_all, name="onefs-leases", daemon=True).start()
                self._renews = True
            self._held.add(number)

    def _renew_all(self) -> None:
        with self._changed:
            while self._held:
                for number in self._held:
                    with suppress(OSError):
                        os.utime(number)
                self._changed.wait(RENEWED_EVERY_S)
            self._renews = False

    def _remove_if_over(self, path: str, seen: "Seen") -> None:
        """Remove a lease whose owner has gone, by a rename first: of several who try, one gets it."""
        try:
            number, status = self._folder.open_file(path, READING)  # which makes NFS look, too
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in NOT_OURS:
                raise
            self._folder.unlink(path)
            return
        try:
            if not seen.is_over(os.read(number, 1024).decode(errors="replace"), status):
                return
            aside = f"{path}.{uuid4().hex}"
            with suppress(FileNotFoundError):
                self._folder.rename(path, aside)
                if not _stands_at(self._folder, aside, number):
                    with suppress(OSError):
                        self._folder.link(aside, path)  # a new owner's, who was faster: it gets its name again
                self._folder.unlink(aside)
        finally:
            os.close(number)


class Seen:
    """What a waiter saw of a lease: which renewal, and since when there was none."""

    def __init__(self) -> None:
        self._renewal: tuple[int, int, int] | None = None
        self._since_s = 0.0

    def is_over(self, owner: str, status: os.stat_result) -> bool:
        """Whether the owner is known to be dead, or has not renewed it for long."""
        renewal = status.st_ino, status.st_mtime_ns, status.st_ctime_ns
        if renewal != self._renewal:
            self._renewal, self._since_s = renewal, time.monotonic()
        return has_ended(owner) or time.monotonic() - self._since_s >= LEASE_S


def this_process() -> str:
    """The name of this process, which no other one ever has: machine, boot, world of process numbers, number, start."""
    return " ".join((*_place(), str(os.getpid()), _started(os.getpid())))


def has_ended(name: str) -> bool:
    """Whether a process has ended; False if that cannot be told, as for those of other machines and containers."""
    return _can_be_told(name) and not _runs(name.split(" "))


def may_run_elsewhere(name: str) -> bool:
    """Whether a process may run where it cannot be seen from here."""
    return not _can_be_told(name)


def _stands_at(folder: Folder, path: str, number: int) -> bool:
    """Whether an open file is still at its path: not if somebody deleted the folder, and perhaps another began anew."""
    try:
        return os.path.samestat(folder.status(path), os.fstat(number))
    except FileNotFoundError:
        return False


def _can_be_told(name: str) -> bool:
    fields, (machine, boot, namespace) = name.split(" "), _place()
    if len(fields) != PROCESS_FIELDS or not boot or fields[0] != machine:
        return False
    return fields[1] != boot or fields[2] == namespace


def _runs(fields: list[str]) -> bool:
    return fields[1] == _place()[1] and fields[3].isdigit() and _started(int(fields[3])) == fields[4]


@cache
def _place() -> tuple[str, str, str]:
    """Names of this machine, of this run of it, and of this world of process numbers; "" where nothing tells."""
    machine = os.uname().nodename.replace(" ", "-")
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return machine, boot, str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return machine, "", ""


def _started(pid: int) -> str:
    """When a process was started, in the kernel's count; "" if there is none, or none that still runs."""
    try:
        state, *facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else facts[18]
