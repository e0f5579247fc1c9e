"""`Room`: the limits of the cache. Every byte that is to be written is asked for here first."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from onefs.cache.clearing import Clearing
from onefs.cache.evict import Evictor
from onefs.cache.eviction import surplus
from onefs.cache.grants import Grants
from onefs.cache.ledger import Ledger
from onefs.cache.locks import StoppedError
from onefs.cache.prospect import Prospect
from onefs.cache.shares import Shares
from onefs.cache.stamps import Stamps
from onefs.errors import NoRoomError
from onefs.text import counted
from onefs.threads import Workers

AHEAD_PARTS = 64
"""What is evicted ahead of need goes in parts of the limit, so that who waits for room comes in between."""
LOOKED_AT_EVERY_BYTES = 16 << 20
LOOKED_AT_EVERY_S = 1.0
SLACK_PARTS = 20
FLUSH_S = 0.5
PAUSE_S = 0.1
TOO_LARGE = "Raise --cache-size (cache_size) to more than the file has."
FULL = "Raise --cache-size (cache_size), or let files go (onefs unpin)."
NOT_FREE = "Lower --cache-min-free (cache_min_free), let files go (onefs unpin), or free some space on that disk."


@dataclass(frozen=True, slots=True)
class Limits:
    """What the cache is held to: so many bytes at most, so many left free on its disk. 0 is no limit."""

    cache_size_bytes: int = 0
    min_free_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What is in the cache that onefs fetched. None for bytes and files: not counted yet.

    What was evicted counts since this process began.
    """

    used_bytes: int | None
    files: int | None
    limits: Limits
    evicted_bytes: int
    evicted_files: int


class Room:
    """The room in a cache directory. Safe to use from several threads, and by several processes at once.

    `place` is the folder whose disk is to have room left. What was fetched can be evicted once its stamp is written.
    """

    def __init__(
        self,
        limits: Limits,
        place: Path,
        ledger: Ledger,
        shares: Shares,
        evictor: Evictor,
        hold: Callable[[UUID, threading.Event], AbstractContextManager[None]],
        stamps: Stamps,
    ) -> None:
        self.limits = limits
        self._place = place
        self._ledger = ledger
        self._evictor = evictor
        self._stamps = stamps
        self._stop = threading.Event()
        self._grants = Grants(limits.cache_size_bytes, ledger, shares, self._stop)
        self._clearing = Clearing(evictor, self._grants, ledger, hold, self._stop)
        self._ahead = Workers("onefs-evict", 1)
        self._counting = Workers("onefs-count", 1)
        self._changed = threading.Condition()  # guards the four below
        self._unseen_bytes = 0
        self._looked_s = 0.0
        self._works_ahead = False
        self._counts = False

    def take(self, size_bytes: int) -> None:
        """Count bytes that are about to be written, evicting others if a limit asks for it; costs little.

        Raises NoRoomError if no room can be made, StoppedError, or OSError.
        """
        self._take(size_bytes)

    def give_back(self, size_bytes: int) -> None:
        """Bytes that were taken were not written, or have gone again."""
        self._grants.give_back(size_bytes)
        self.tell()

    def reserve(self, dataset_id: UUID, there_bytes: int, *, evicts: bool = True) -> "Reservation":
        """Room for a file that is fetched whole, of which some is there and counted.

        Unless it `evicts`, the room must be free, now and before others are evicted ahead of need.
        """
        return Reservation(self, self._grants, dataset_id, there_bytes, evicts=evicts)

    def take_free(self, dataset_id: UUID, size_bytes: int) -> None:
        """As `take_for`, of what is free. Raises NoRoomError if anything would be evicted, now or ahead of need."""
        account, limit_bytes = self._ledger.read(), self.limits.cache_size_bytes
        is_full = bool(limit_bytes) and (account is None or surplus(account.used_bytes + size_bytes, limit_bytes) > 0)
        if is_full or (self.limits.min_free_bytes and self._missing_on_disk(size_bytes) > 0):
            raise NoRoomError(f"The cache has no room for {counted(size_bytes, 'byte')} without evicting.", FULL)
        if not self._grants.spend(size_bytes, dataset_id) and not self._grants.ask(size_bytes, dataset_id):
            raise NoRoomError(f"The cache has no room for {counted(size_bytes, 'byte')} without evicting.", FULL)

    def take_for(self, dataset_id: UUID, size_bytes: int, *, patient: bool) -> None:
        """As `take`, for a file that is fetched whole; the `patient` wait for others, to be evicted once they came."""
        self._take(size_bytes, dataset_id, patient=patient)

    def evicted(self, size_bytes: int, files: int) -> None:
        """Somebody had this evicted. Raises OSError, StoppedError."""
        self._clearing.evicted(size_bytes, files)
        self.tell()

    def usage(self) -> Usage:
        """What the cache holds, as far as anybody has counted it."""
        account = self._ledger.read()
        granted_bytes, new_files = self._grants.own()
        used_bytes = None if account is None else max(0, account.used_bytes - granted_bytes)
        files = None if account is None else account.files + new_files
        clearing = self._clearing
        return Usage(used_bytes, files, self.limits, clearing.evicted_bytes, clearing.evicted_files)

    def free_bytes(self) -> int:
        """Bytes that may be written until the cache's limit or the disk's end, by the last count. Raises OSError."""
        free_bytes = -self._missing_on_disk(0)
        if self.limits.cache_size_bytes:
            free_bytes = min(free_bytes, self.limits.cache_size_bytes - (self.usage().used_bytes or 0))
        return max(0, free_bytes)

    def count(self) -> None:
        """Have it counted soon, in a thread of its own, unless that was done lately."""
        with self._changed:
            if self._counts or (self._evictor.labs.is_counted and not self._clearing.is_due):
                return
            self._counts = self._counting.submit(self._count)

    def close(self) -> None:
        """Give back what was taken ahead, and wake who waits."""
        self._ahead.close()
        self._counting.close()
        self._grants.close()
        self._stop.set()
        self.tell()

    def _take(self, size_bytes: int, holder: UUID | None = None, *, patient: bool = False) -> None:
        if not self._grants.spend(size_bytes, holder):
            self._make_room(size_bytes, holder, patient=patient)
        if self.limits.min_free_bytes:
            try:
                self._leave_free(size_bytes)
            except BaseException:
                self._grants.give_back(size_bytes, holder)
                raise

    def _make_room(self, size_bytes: int, holder: UUID | None, *, patient: bool) -> None:
        limit_bytes = self.limits.cache_size_bytes
        if size_bytes > limit_bytes:
            raise NoRoomError(f"{size_bytes} bytes are more than the cache may hold ({limit_bytes}).", TOO_LARGE)
        prospect = Prospect(lambda: bool(self._grants.held), self._evictor.parts)
        while not self._grants.ask(size_bytes, holder):
            if self._clearing.clear(lambda freed: self._grants.missing(size_bytes)):  # noqa: ARG005
                continue
            if self._flush():
                self._clearing.hope()
            elif size_bytes <= limit_bytes - self._clearing.kept_bytes and patient and prospect.is_good():
                self._wait()
            else:
                kept_bytes = self._clearing.kept_bytes
                raise NoRoomError(
                    f"The cache is full ({limit_bytes} bytes, {kept_bytes} of them pinned), and nothing in it may be "
                    f"evicted for {counted(size_bytes, 'byte')}.",
                    FULL,
                )
        self._work_ahead()

    def _flush(self) -> bool:
        """Wait a while until more files can be evicted; False if none can be so."""
        if self._stamps.is_flushed:
            return False
        self._stamps.flush(FLUSH_S)
        return True

    def _wait(self) -> None:
        with self._changed:
            self._changed.wait(PAUSE_S)
        if self._stop.is_set():
            raise StoppedError

    def tell(self) -> None:
        """Something changed: who waits for room shall look again."""
        self._clearing.hope()
        with self._changed:
            self._changed.notify_all()

    def _leave_free(self, size_bytes: int) -> None:
        with self._changed:
            self._unseen_bytes += size_bytes
            now_s = time.monotonic()
            if self._unseen_bytes < LOOKED_AT_EVERY_BYTES and now_s < self._looked_s + LOOKED_AT_EVERY_S:
                return
            self._unseen_bytes, self._looked_s = 0, now_s
        missing_bytes = self._missing_on_disk(size_bytes)
        if missing_bytes <= 0:
            return
        # Some disks say only later that room came free.
        goal_bytes = missing_bytes + self.limits.min_free_bytes // SLACK_PARTS
        while not self._clearing.clear(lambda freed: min(goal_bytes - freed, self._missing_on_disk(size_bytes))):
            if not self._flush():
                with self._changed:
                    self._looked_s = 0.0
                raise NoRoomError(
                    f"The disk of {self._place} has less than {self.limits.min_free_bytes} bytes free, "
                    "and nothing in the cache may be evicted.",
                    NOT_FREE,
                )
            self._clearing.hope()

    def _missing_on_disk(self, size_bytes: int) -> int:
        disk = os.statvfs(self._place)
        return self.limits.min_free_bytes + size_bytes - disk.f_bavail * disk.f_frsize

    def _work_ahead(self) -> None:
        """Evict in a thread of its own before all is full, so that few ever wait for room."""
        if self._surplus() <= 0:
            return
        with self._changed:
            if self._works_ahead:
                return
            self._works_ahead = True
        if not self._ahead.submit(self._evict_ahead):
            self._works_ahead = False

    def _evict_ahead(self) -> None:
        part_bytes = self.limits.cache_size_bytes // AHEAD_PARTS
        try:
            with suppress(OSError, StoppedError):
                goal_bytes = self._surplus()
                while goal_bytes > 0 and self._clearing.clear(lambda freed: part_bytes - freed):
                    goal_bytes -= part_bytes
        finally:
            with self._changed:
                self._works_ahead = False

    def _count(self) -> None:
        try:
            with suppress(OSError, StoppedError):
                self._clearing.count()
        finally:
            with self._changed:
                self._counts = False

    def _surplus(self) -> int:
        account = self._ledger.read()
        return 0 if account is None else surplus(account.used_bytes, self.limits.cache_size_bytes)


class Reservation:
    """The room of one file that is fetched whole. For one thread."""

    def __init__(self, room: Room, grants: Grants, dataset_id: UUID, there_bytes: int, *, evicts: bool = True) -> None:
        self._room = room
        self._evicts = evicts
        self._grants = grants
        self._dataset_id = dataset_id
        self._is_held = False
        self._is_over = False
        self.size_bytes = there_bytes

    def reach(self, size_bytes: int) -> None:
        """Have room for so many bytes in all. Raises NoRoomError, StoppedError or OSError.

        Only the first time it waits for others, as two that have some each could wait for one another for ever.
        """
        missing_bytes = size_bytes - self.size_bytes
        if missing_bytes > 0:
            if self._evicts:
                self._room.take_for(self._dataset_id, missing_bytes, patient=not self._is_held)
            else:
                self._room.take_free(self._dataset_id, missing_bytes)
            if not self._is_held:
                self._grants.hold(self._dataset_id, self.size_bytes)
            self._is_held = True
            self.size_bytes = size_bytes

    def end(self, kept_bytes: int, *, is_file: bool = False) -> None:
        """So many bytes stay on the disk, as a complete file or for another try. The former is for good."""
        if self._is_over:
            return
        self._is_over = is_file
        if is_file:
            self._grants.came()
        self._grants.give_back(self.size_bytes - kept_bytes, self._dataset_id)
        self._room.tell()
        self.size_bytes = kept_bytes
