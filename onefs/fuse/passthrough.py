"""`Passthrough`: which open files the kernel reads by itself from the cache, without asking the daemon.

The kernel knows such a file by a backing id, which is a property of an inode: opens with another id, or with none, give
EIO beside it. Passthrough takes CAP_SYS_ADMIN, Linux 6.9, and a cache that is not itself on a stacked file system. The
kernel cannot be told to let go of a file that is open, and the daemon sees opens alone, not reads.
"""

import errno
import logging
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from onefs.cache.descriptors import CLOSED, CachedFile
from onefs.cache.sharing import others_can_change, others_can_write
from onefs.cache.verify import Verify
from onefs.errors import CacheDamagedError
from onefs.fetch.open_file import OpenFile
from onefs.fuse.counters import Counters
from onefs.mountinfo import is_local
from onefs.recording.recorder import Recorder
from onefs.vfs.filesystem import Opened

LEAST_BYTES = 128 << 10
"""Smaller files are not worth it: the kernel asks once for their bytes, and keeps them when they are opened again."""
ASKS_EACH_READ = 0
"""In place of a backing id: the kernel asks the daemon for the bytes."""

NOT_WANTED = "The setting passthrough is off."
NOT_OFFERED = "The kernel does not offer it: that takes Linux 6.9 or newer, built with CONFIG_FUSE_PASSTHROUGH."
NOT_ALLOWED = "The daemon lacks the right (CAP_SYS_ADMIN, outside of a user namespace): mount as root."
STACKED = "The cache is on an overlayfs or another file system over others: choose another with --cache-dir."
SHARED = "Other users can write in the folder of the cached files, or in one above it."
ON_NETWORK = "The cache is on a network file system, where another machine can remove a file that is open."
NOT_STRICT = "The setting verify = {policy} serves files that may differ from the catalogue."

CAP_SYS_ADMIN = 21
ALL_USERS = ["0", "0", str(0xFFFF_FFFF)]
"""What `uid_map` has in the first user namespace."""
_log = logging.getLogger(__name__)
_OFF_FOR_GOOD = {
    errno.EPERM: NOT_ALLOWED,
    errno.EINVAL: NOT_OFFERED,
    errno.EOPNOTSUPP: NOT_OFFERED,
    errno.ENOSYS: NOT_OFFERED,
    errno.ENOTTY: NOT_OFFERED,
}


class Backings(Protocol):
    """The kernel's table of files that it reads by itself."""

    def open_backing(self, descriptor: int) -> int:
        """Enter a file, and return its id, which is above 0. Raises OSError."""

    def close_backing(self, backing_id: int) -> None:
        """Take a file out of the table. What is open stays readable."""


def no_passthrough(data_dir: Path, policy: Verify, *, is_local: bool) -> str:
    """Why the kernel must not read the files of a cache, or of an archive in place, by itself; "" if it may."""
    if not has_right():
        return NOT_ALLOWED
    if policy not in (Verify.AUTO, Verify.STRICT):
        return NOT_STRICT.format(policy=policy.value)
    if not is_local:
        return ON_NETWORK
    return SHARED if others_can_write(data_dir) else ""


def has_right() -> bool:
    """Whether this process has CAP_SYS_ADMIN outside of a user namespace, which passthrough takes."""
    status, users = Path("/proc/self/status").read_text(), Path("/proc/self/uid_map").read_text()
    capabilities = next((int(line[7:], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)
    return bool(capabilities >> CAP_SYS_ADMIN & 1) and users.split() == ALL_USERS


@dataclass(slots=True)
class _Backing:
    """A file that the kernel reads by itself, for all who have one inode open. `opens` counts them."""

    id: int
    file: CachedFile
    number: int
    opens: int = 0


class Passthrough:
    """Decides which opens the kernel serves by itself, and counts the opens of each inode. For one thread.

    While an inode is open, the kernel reads it in one way: either it asks the daemon at all opens, or all opens have
    the same backing id. So the first open decides. A backing id is closed at the last release.
    """

    def __init__(self, recorder: Recorder, counters: Counters, why_not: str = "") -> None:
        """`why_not` says why nothing is passed through, whatever the kernel offers."""
        self._recorder = recorder
        self._counters = counters
        self._off = why_not
        self._kernel: Backings | None = None
        self._is_suited: dict[int, bool] = {}  # by the device that files are on
        self._is_stacked = False
        self._backings: dict[int, _Backing] = {}
        self._asking: Counter[int] = Counter()  # opens that are not passed through, by inode

    def begin(self, kernel: Backings) -> None:
        """Pass files through from now on; call it once INIT has agreed on passthrough."""
        self._kernel = kernel

    def open(self, ino: int, opened: Opened) -> int:
        """Count an open, and return its backing id, or `ASKS_EACH_READ`.

        Raises CacheDamagedError if the kernel reads the inode from a copy that is not right any more.
        """
        backing = self._backings.get(ino)
        if backing is not None:
            _check(backing, opened)
        elif ino not in self._asking:
            backing = self._new_backing(opened)
        if backing is None:
            self._asking[ino] += 1
            return ASKS_EACH_READ
        self._backings[ino] = backing
        backing.opens += 1
        self._counters.passed_through += 1
        return backing.id

    def released(self, ino: int, backing_id: int) -> None:
        """Count the end of an open that `open` counted, or that the kernel did not take the answer to it."""
        if backing_id == ASKS_EACH_READ:
            self._asking[ino] -= 1
            if not self._asking[ino]:
                del self._asking[ino]
            return
        backing = self._backings[ino]
        backing.opens -= 1
        if not backing.opens:
            del self._backings[ino]
            self._close(backing)

    @property
    def why_not(self) -> str:
        """Why the kernel reads no files by itself; "" if it does, or nothing speaks against it so far."""
        return self._off or (STACKED if self._is_stacked else "")

    @property
    def open_inodes(self) -> int:
        """How many inodes the kernel reads by itself now: as many as there are backing ids."""
        return len(self._backings)

    def _new_backing(self, opened: Opened) -> _Backing | None:
        """Enter a file into the kernel's table; None if it must not be, or cannot be."""
        is_off = self._off or self._kernel is None or self._recorder.turn
        file = None if is_off else _passable(opened)
        number = CLOSED if file is None else file.lend()
        if file is None or number == CLOSED:
            return None
        backing_id = ASKS_EACH_READ
        try:
            status = os.fstat(number)
            if file.is_as_trusted(status) and not others_can_change(number, status):
                backing_id = self._entered(number, status.st_dev)
        except OSError:  # this one is not passed through; others may be
            pass
        finally:
            if backing_id == ASKS_EACH_READ:
                file.take_back()
        return None if backing_id == ASKS_EACH_READ else _Backing(backing_id, file, number)

    def _entered(self, number: int, device: int) -> int:
        """The backing id of a file on a device; `ASKS_EACH_READ` if none of that can have one. Raises OSError."""
        if device not in self._is_suited:  # below the folder of the files, others may be mounted
            self._is_suited[device] = is_local(Path(f"/proc/self/fd/{number}"))
        if self._kernel is None or not self._is_suited[device]:
            return ASKS_EACH_READ
        try:
            return self._kernel.open_backing(number)
        except OSError as error:
            if error.errno == errno.ELOOP:
                self._is_suited[device], self._is_stacked = False, True
            elif error.errno in _OFF_FOR_GOOD:
                self._off = _OFF_FOR_GOOD[error.errno]
            else:
                raise
            return ASKS_EACH_READ

    def _close(self, backing: _Backing) -> None:
        assert self._kernel is not None
        try:
            self._kernel.close_backing(backing.id)
        except OSError as error:
            _log.warning("The kernel does not let go of %s: %s", backing.file.path, error)
        finally:
            backing.file.take_back()


def _passable(opened: Opened) -> CachedFile | None:
    """The file if its bytes are sure and will stay so: whole, verified, of known size and hash; and not small."""
    if not isinstance(opened.file, OpenFile) or opened.dataset is None or not opened.dataset.md5:
        return None
    # The first read of a file that was just fetched tells what to prefetch.
    file = None if opened.is_followed else opened.file.verified
    is_worth_it = file is not None and file.size_bytes == opened.size_bytes and file.size_bytes >= LEAST_BYTES
    return file if is_worth_it else None


def _check(backing: _Backing, opened: Opened) -> None:
    """Raise CacheDamagedError unless a file that the kernel reads has the bytes that are opened now."""
    wanted, held = opened.dataset, backing.file.dataset
    is_same = wanted is not None and (wanted.md5, wanted.size_bytes) == (held.md5, held.size_bytes)
    if not is_same or not _is_right(backing, opened):
        raise CacheDamagedError(
            f"{opened.path}: its cached copy was damaged or replaced while programs have it open, and the kernel "
            "would read the old one for others, too.",
            "Close it in those programs (fuser FILE names them), then open it again.",
        )


def _is_right(backing: _Backing, opened: Opened) -> bool:
    """Whether the file that the kernel reads is as it was verified, at first or, since it was touched, again."""
    status = os.fstat(backing.number)
    if backing.file.is_as_trusted(status):
        return True
    again = opened.file.verified if isinstance(opened.file, OpenFile) else None
    return again is not None and again.signature.inode == status.st_ino and again.is_as_trusted(status)
