"""Owns leases: locks between processes by files that are renewed, for disks whose own locks do not reach everybody."""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from onefs.cache.processes import has_ended, this_process
from onefs.cache.renaming import has_its_name

RENEWED_EVERY_S = 5.0
LEASE_S = 30.0
"""One that was not renewed for so long, by the clock of who waits for it, is over. All who share a cache must agree."""
FOR_ALL_USERS = 0o666


class Leases:
    """The leases that this process holds. Safe to use from several threads.

    An owner that stalls for long may find that another has its lease by now: what a lease guards must bear that.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards the two below
        self._held: set[int] = set()
        self._renews = False

    def take(self, path: Path, seen: "Seen") -> int | None:
        """A descriptor that stands for the lease at `path`; None if another has it. Raises OSError.

        `seen` is what this waiter remembers between its tries.
        """
        try:
            number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FOR_ALL_USERS)
        except FileExistsError:
            _remove_if_over(path, seen)
            return None
        try:
            os.fchmod(number, FOR_ALL_USERS)
            os.write(number, this_process().encode())
            self._renew(number)
        except BaseException:
            path.unlink(missing_ok=True)
            os.close(number)
            raise
        return number

    def give_back(self, path: Path, number: int) -> None:
        """Let others have it."""
        with self._changed:
            self._held.discard(number)
            self._changed.notify_all()
        with suppress(OSError):
            if has_its_name(path, number):
                path.unlink()
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


def _remove_if_over(path: Path, seen: Seen) -> None:
    """Remove a lease whose owner has gone, by a rename first: of several who try, one gets it."""
    try:
        number, owner = _opened(path)
    except FileNotFoundError:
        return
    try:
        if not seen.is_over(owner, os.fstat(number)):
            return
        aside = path.with_name(f"{path.name}.{uuid4().hex}")
        with suppress(FileNotFoundError):
            path.rename(aside)
            if not has_its_name(aside, number):
                with suppress(OSError):
                    os.link(aside, path)  # a new owner's, who was faster: it gets its name again
            aside.unlink()
    finally:
        os.close(number)


def _opened(path: Path) -> tuple[int, str]:
    """A descriptor of a lease, and whose it is; "" if its owner has not, or never, let all read it."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # which makes NFS look, too
    except PermissionError:
        return os.open(path, os.O_PATH | os.O_CLOEXEC), ""
    return number, os.read(number, 1024).decode(errors="replace")
