"""`Quota`: the limits of a cache, for all processes of a user. Bytes are reserved here before they are written."""

import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID

from onefs.cache.evict import Evictor, surplus
from onefs.cache.locks import StoppedError
from onefs.cache.state import State
from onefs.cache.usage import LabUsage, Reservations, Taken, bytes_of_parts, usage_by_lab
from onefs.errors import NoRoomError
from onefs.text import counted
from onefs.threads import Workers

AHEAD_PARTS = 64
"""Eviction ahead of need goes in parts of the limit, so that those that wait for bytes come in between."""
PARTS_SHARE = 20
"""Looking at incomplete files takes at most one part in so many of the time."""
LOOKED_AT_EVERY_BYTES = 16 << 20
LOOKED_AT_EVERY_S = 1.0
SLACK_PARTS = 20
PAUSE_S = 0.1
HOPELESS_AFTER_S = 3.0
STALLED_AFTER_S = 10.0
OWN_STALLED_AFTER_S = 120.0
"""How long room is waited for while no file comes; once one grew; and while this process fetches one."""
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
    """What is in the cache that onefs fetched: bytes with incomplete files, complete files, and what was evicted.

    None for bytes and files: it is no cache. What was evicted counts since this process began.
    """

    used_bytes: int | None
    files: int | None
    limits: Limits
    evicted_bytes: int
    evicted_files: int


class Quota:
    """The limits of a cache directory. Safe to use from several threads, and by several processes at once.

    `place` is the folder whose disk is to have bytes free.
    """

    def __init__(self, limits: Limits, place: Path, state: State, evictor: Evictor) -> None:
        self.limits = limits
        self._place = place
        self._state = state
        self._evictor = evictor
        self._reservations = Reservations(limits.cache_size_bytes, state)
        self._stop = threading.Event()
        self._background = Workers("onefs-evict", 2)
        self._evicting = threading.Lock()
        self._changed = threading.Condition()  # guards all below
        self._used_bytes = 0  # when the database was asked last
        self._evicts_ahead = False
        self._parts: dict[UUID, int] = {}
        self._parts_until_s = 0.0
        self._unseen_bytes = 0
        self._looked_s = 0.0

    def reserve(
        self, dataset_id: UUID, there_bytes: int, *, comes_whole: bool = True, evicts: bool = True
    ) -> "Reservation":
        """Bytes for an incomplete file, some of which are on the disk.

        Others wait for one that `comes_whole`, as it can be evicted once it came, and it waits for others. Unless it
        `evicts`, the bytes must be free, now and before others are evicted ahead of need.
        """
        return Reservation(self, Taken(dataset_id, there_bytes, comes_whole, evicts))

    def used(self) -> LabUsage:
        """What is in the cache: bytes with incomplete files, and complete files. Raises OSError."""
        copies, reserved = self._state.read(self._reservations.totals)
        return LabUsage(copies.size_bytes + bytes_of_parts(self._parts_on_disk(), reserved), copies.files)

    def labs(self) -> list[tuple[str, LabUsage]]:
        """The complete files in the cache by lab, the largest first."""
        return self._state.read(usage_by_lab)

    def free_bytes(self) -> int:
        """Bytes that may be written until the cache's limit or the disk's end. Raises OSError."""
        free_bytes = -self._missing_on_disk(0)
        if self.limits.cache_size_bytes:
            free_bytes = min(free_bytes, self.limits.cache_size_bytes - self.used().size_bytes)
        return max(0, free_bytes)

    def count(self) -> None:
        """Compare what is known with the disk soon, in a thread of its own, unless that was done lately."""
        if self._evictor.is_check_due:
            self._background.submit(partial(self._evictor.check, self._stop))

    def invalidate_scan(self) -> None:
        """Drop the «nothing to evict» result, as something changed, and wake those that wait."""
        self._evictor.invalidate_scan()
        with self._changed:
            self._parts_until_s = 0.0
            self._changed.notify_all()

    def close(self) -> None:
        """Give back what was taken ahead, and wake those that wait."""
        self._background.close()
        self._stop.set()
        self.invalidate_scan()
        self._reservations.close()

    # -- for reservations --------------------------------------------------------------------------------------------

    def take(self, file: Taken, size_bytes: int) -> None:
        """Take bytes for a file, evicting others if a limit asks for it. Raises NoRoomError, StoppedError, OSError."""
        if not file.evicts and self._would_evict(size_bytes):
            raise NoRoomError(f"The cache has no room for {counted(size_bytes, 'byte')} without evicting.", FULL)
        if not self._reservations.take(file, size_bytes):
            self._make_room(file, size_bytes)
        if self.limits.min_free_bytes:
            try:
                self._leave_free(size_bytes)
            except BaseException:
                self.give_back(file, size_bytes)
                raise

    def give_back(self, file: Taken, size_bytes: int) -> None:
        """Bytes that were taken for a file were not written."""
        self._reservations.give_back(file, size_bytes)

    def end(self, file: Taken, kept_bytes: int) -> None:
        """So many bytes of the file stay on the disk."""
        self._reservations.end(file, kept_bytes)
        self.invalidate_scan()

    def _would_evict(self, size_bytes: int) -> bool:
        """Whether so many more bytes would have anything evicted, now or ahead of need. Raises OSError."""
        limit_bytes = self.limits.cache_size_bytes
        if limit_bytes and surplus(max(self._used_bytes, self.used().size_bytes) + size_bytes, limit_bytes) > 0:
            return True
        return bool(self.limits.min_free_bytes) and self._missing_on_disk(size_bytes) > 0

    # -- making room -------------------------------------------------------------------------------------------------

    def _make_room(self, file: Taken, size_bytes: int) -> None:
        limit_bytes = self.limits.cache_size_bytes
        if size_bytes > limit_bytes:
            raise NoRoomError(f"{size_bytes} bytes are more than the cache may hold ({limit_bytes}).", TOO_LARGE)
        # Only the first time it waits for others, as two that have some each could wait for one another for ever.
        progress = Progress(time.monotonic()) if file.comes_whole and not file.taken_bytes else None
        while (missing_bytes := self._ask(file, size_bytes)) > 0:
            self.count()
            if self._evict(missing_bytes):
                continue
            kept_bytes = self._evictor.kept_bytes
            if progress is None or size_bytes > limit_bytes - kept_bytes or not self._may_come(progress):
                raise NoRoomError(
                    f"The cache is full ({limit_bytes} bytes, {kept_bytes} of them pinned), and nothing in it may be "
                    f"evicted for {counted(size_bytes, 'byte')}.",
                    FULL,
                )
            self._pause()
        self._evict_ahead()

    def _ask(self, file: Taken, size_bytes: int) -> int:
        missing_bytes, self._used_bytes = self._reservations.ask(file, size_bytes, self._parts_on_disk())
        return missing_bytes

    def _parts_on_disk(self) -> dict[UUID, int]:
        """Bytes of the incomplete files, looked at lately. Raises OSError."""
        began_s = time.monotonic()
        if began_s >= self._parts_until_s:
            found = {part.dataset_id: part.size_bytes for part in self._evictor.parts().values()}
            now_s = time.monotonic()
            with self._changed:
                self._parts, self._parts_until_s = found, now_s + PARTS_SHARE * (now_s - began_s)
        return self._parts

    def _evict(self, wanted_bytes: int) -> int:
        with self._evicting:
            return self._evictor.evict(wanted_bytes, self._stop)

    def _may_come(self, progress: "Progress") -> bool:
        """Whether files are on their way that can be evicted once they came. Raises OSError."""
        return progress.is_going_on(self._evictor.parts(), time.monotonic(), is_own=self._reservations.is_any_whole)

    def _pause(self) -> None:
        with self._changed:
            self._changed.wait(PAUSE_S)
        if self._stop.is_set():
            raise StoppedError

    def _evict_ahead(self) -> None:
        """Evict in a thread of its own before all is full, so that few ever wait for room."""
        with self._changed:
            if not self._evicts_ahead and surplus(self._used_bytes, self.limits.cache_size_bytes) > 0:
                self._evicts_ahead = self._background.submit(self._evict_surplus)

    def _evict_surplus(self) -> None:
        wanted_bytes = surplus(self._used_bytes, self.limits.cache_size_bytes)
        part_bytes = self.limits.cache_size_bytes // AHEAD_PARTS
        try:
            with suppress(OSError, StoppedError):
                while wanted_bytes > 0 and (freed_bytes := self._evict(min(wanted_bytes, part_bytes))):
                    wanted_bytes -= freed_bytes
        finally:
            self._evicts_ahead = False

    def _leave_free(self, size_bytes: int) -> None:
        with self._changed:
            self._unseen_bytes += size_bytes
            now_s = time.monotonic()
            if self._unseen_bytes < LOOKED_AT_EVERY_BYTES and now_s < self._looked_s + LOOKED_AT_EVERY_S:
                return
            self._unseen_bytes, self._looked_s = 0, now_s
        # Some disks say only later that bytes came free.
        goal_bytes = self._missing_on_disk(size_bytes) + self.limits.min_free_bytes // SLACK_PARTS
        while (wanted_bytes := min(goal_bytes, self._missing_on_disk(size_bytes))) > 0:
            freed_bytes = self._evict(wanted_bytes)
            goal_bytes -= freed_bytes
            if not freed_bytes:
                self._looked_s = 0.0
                raise NoRoomError(
                    f"The disk of {self._place} has less than {self.limits.min_free_bytes} bytes free, "
                    "and nothing in the cache may be evicted.",
                    NOT_FREE,
                )

    def _missing_on_disk(self, size_bytes: int) -> int:
        disk = os.statvfs(self._place)
        return self.limits.min_free_bytes + size_bytes - disk.f_bavail * disk.f_frsize


class Reservation:
    """Bytes of the disk for a file that is being fetched. Safe to use from several threads."""

    def __init__(self, quota: Quota, file: Taken) -> None:
        self._quota = quota
        self._file = file

    @property
    def size_bytes(self) -> int:
        """How large the file may become."""
        return self._file.there_bytes + self._file.taken_bytes

    def reach(self, size_bytes: int) -> None:
        """Let the file have so many bytes in all. Raises NoRoomError, StoppedError or OSError."""
        if size_bytes > self.size_bytes:
            self._quota.take(self._file, size_bytes - self.size_bytes)

    def take(self, size_bytes: int) -> None:
        """Let the file have so many bytes more. Raises as `reach` does."""
        self._quota.take(self._file, size_bytes)

    def give_back(self, size_bytes: int) -> None:
        """So many of them were not written."""
        self._quota.give_back(self._file, size_bytes)

    def end(self, kept_bytes: int) -> None:
        """So many bytes stay on the disk, as a complete file or for another try. After that it can begin anew.

        A complete file's row in the state must have been put before.
        """
        self._quota.end(self._file, kept_bytes)


class Progress:
    """Whether incomplete files grow, for a thread that waits for them."""

    def __init__(self, now_s: float) -> None:
        self._seen: object = None
        self._has_grown = False
        self._since_s = now_s

    def is_going_on(self, parts: object, now_s: float, *, is_own: bool) -> bool:
        """Whether any came or grew lately. Those of this process come or fail in the end, so they may take longer."""
        if self._seen is not None and parts != self._seen:
            self._has_grown, self._since_s = True, now_s
        self._seen = parts
        longest_s = OWN_STALLED_AFTER_S if is_own else STALLED_AFTER_S if self._has_grown else HOPELESS_AFTER_S
        return now_s < self._since_s + longest_s
