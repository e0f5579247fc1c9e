"""`Evictor`: removes the least recently used of what onefs fetched. What is pinned, linked or in use stays."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from uuid import UUID

from onefs import alf
from onefs.cache.descriptors import Descriptors
from onefs.cache.layout import CacheLayout
from onefs.cache.locks import DatasetLocks, StoppedError
from onefs.cache.part_files import BLOCKS_ENDING, is_open
from onefs.cache.state import State
from onefs.cache.usage import checked, count_usage, footprint, is_usage_right, pinned_bytes, put_checked
from onefs.cache.verify import CopyRecord, Signature, record_of
from onefs.catalogue.records import Dataset
from onefs.errors import BusyError

BEGIN_AT = 0.95
DOWN_TO = 0.9
BATCH = 256
BLOCK_BYTES = 512
ID_LENGTH = len(str(UUID(int=0)))
NOTHING_FOR_S = 1.0
"""After a scan without success the next one waits so long, unless something changed."""
SCAN_SHARE = 5
"""Scans take at most one part in so many of the time."""
CHECKED_EVERY_S = 600.0
CHECK_SHARE = 100
"""Comparing what is known with the disk takes at most one part in so many of the time."""
AT_ONCE = threading.Event()
"""A set Event: acquire without blocking."""
AT_ONCE.set()
_OLDEST = """SELECT * FROM copies WHERE source <> '' AND id NOT IN (SELECT id FROM pins)
    AND (last_use_s, id) > (?, ?) ORDER BY last_use_s, id LIMIT ?"""
_FIRST = (-1.0, b"")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may be evicted. `copy` is None for one that is not complete."""

    dataset_id: UUID
    size_bytes: int
    last_use_s: float
    copy: CopyRecord | None = None


def choose(candidates: Iterable[Candidate], wanted_bytes: int) -> list[Candidate]:
    """The least recently used candidates that have so many bytes together, or all."""
    chosen: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda each: each.last_use_s):
        if wanted_bytes <= 0:
            break
        chosen.append(candidate)
        wanted_bytes -= candidate.size_bytes
    return chosen


def surplus(used_bytes: int, limit_bytes: int) -> int:
    """Bytes to evict ahead of need: none up to 95 % of the limit, else down to 90 %."""
    return used_bytes - int(limit_bytes * DOWN_TO) if used_bytes > limit_bytes * BEGIN_AT else 0


class Evictor:
    """Evicts from a cache, beside other processes that do so too. For one thread, but for what says otherwise.

    `kept_bytes` are those of files that were seen to stay for as long as they are pinned or have a second name; 0
    where something changed since. `evicted_bytes` and `evicted_files` count since this process began.
    """

    def __init__(self, layout: CacheLayout, state: State, locks: DatasetLocks, descriptors: Descriptors) -> None:
        self.on_evicted: Callable[[Dataset], None] = lambda dataset: None  # noqa: ARG005
        self.kept_bytes = 0
        self.evicted_bytes = 0
        self.evicted_files = 0
        self._layout = layout
        self._state = state
        self._locks = locks
        self._descriptors = descriptors
        self._candidates: list[Candidate] = []
        self._after = _FIRST  # last use and id of the copy up to which they were looked for
        self._is_last = False  # no further ones are to be looked for
        self._linked_bytes = 0
        self._began_s = 0.0
        self._nothing_until_s = self._rests_until_s = self._checked_until_s = 0.0

    def evict(self, wanted_bytes: int, stop: threading.Event) -> int:
        """Evict the least recently used files; by how many bytes the cache shrank, 0 if nothing can go now.

        Raises StoppedError, OSError.
        """
        freed_bytes = 0
        if not self._candidates and time.monotonic() < self._nothing_until_s:
            return 0
        is_whole_scan = not self._candidates and self._after == _FIRST
        while freed_bytes < wanted_bytes:
            for candidate in self._take(wanted_bytes - freed_bytes):
                if stop.is_set():
                    raise StoppedError
                freed_bytes += self._evict(candidate)
            if self._candidates or freed_bytes >= wanted_bytes:
                continue
            if not self._is_last:
                self._find_more()
                continue
            self._end_scan()
            if is_whole_scan:
                self._rest()
                break
            is_whole_scan = True
        return freed_bytes

    def invalidate_scan(self) -> None:
        """Drop the «nothing to evict» result, as something changed. May be called from any thread."""
        self._nothing_until_s = self._rests_until_s
        self.kept_bytes = 0

    def parts(self) -> dict[UUID, Candidate]:
        """The incomplete files on the disk. May be called from any thread. Raises OSError."""
        found: dict[UUID, Candidate] = {}
        with suppress(FileNotFoundError), os.scandir(self._layout.parts_dir()) as entries:
            for entry in entries:
                with suppress(ValueError, FileNotFoundError):
                    dataset_id = UUID(entry.name[:ID_LENGTH])
                    status = entry.stat(follow_symlinks=False)
                    other = found.get(dataset_id, Candidate(dataset_id, 0, 0.0))
                    size_bytes = other.size_bytes + status.st_blocks * BLOCK_BYTES
                    found[dataset_id] = Candidate(dataset_id, size_bytes, max(other.last_use_s, status.st_mtime))
        return found

    def drop_parts(self, dataset_id: UUID) -> int:
        """Remove what there is of an incomplete file; bytes that came free. For whoever holds its lock, in any thread.

        Raises OSError, or BusyError if somebody has it open.
        """
        freed_bytes = 0
        paths = list(self._layout.parts_dir().glob(f"{dataset_id}*"))
        for path in paths:
            if path.name.endswith(BLOCKS_ENDING) and is_open(path, sees_all=not self._locks.are_leased):
                raise BusyError(f"{path} is being read.", "Close the programs that have it open.")
        for path in paths:
            with suppress(FileNotFoundError):
                freed_bytes += path.lstat().st_blocks * BLOCK_BYTES
                path.unlink()
        return freed_bytes

    @property
    def is_check_due(self) -> bool:
        """Whether it is time for `check`. May be called from any thread."""
        return time.monotonic() >= self._checked_until_s

    def check(self, stop: threading.Event) -> None:
        """Forget the copies that others removed or replaced, unless that was done lately. In a thread of its own."""
        self._checked_until_s = time.monotonic() + CHECKED_EVERY_S
        with suppress(OSError, StoppedError):
            began_s, (at_s, took_s) = time.time(), self._state.read(checked)
            if abs(began_s - at_s) >= max(CHECKED_EVERY_S, CHECK_SHARE * took_s):
                self._state.write(partial(put_checked, at_s=began_s, took_s=took_s))  # no other process does it, too
                self._forget_absent(stop)
                if not self._state.read(is_usage_right):
                    self._state.write(count_usage)
                self._state.write(partial(put_checked, at_s=began_s, took_s=time.time() - began_s))

    def _forget_absent(self, stop: threading.Event) -> None:
        absent, is_any_there = list[CopyRecord](), False
        for copy in self._state.copies(fetched_only=True):
            if stop.is_set():
                raise StoppedError
            with suppress(OSError):  # it lies behind a link, or cannot be asked now: it may be there
                if self._found(copy) is None:
                    absent.append(copy)
                else:
                    is_any_there = True
        for copy in absent if is_any_there else ():  # else the disk may not be mounted
            with suppress(StoppedError, OSError), self._locks.hold(copy.dataset.id, AT_ONCE):
                if self._is_current(copy) and self._found(copy) is None:
                    self._state.drop(copy.dataset.id)

    def _take(self, wanted_bytes: int) -> list[Candidate]:
        chosen = choose(self._candidates, wanted_bytes)
        del self._candidates[: len(chosen)]
        return chosen

    def _find_more(self) -> None:
        """Look for the candidates that were used next."""
        if self._after == _FIRST:
            self._began_s, self._linked_bytes = time.monotonic(), 0
            self._state.write_uses()  # else what was used lately could not be evicted, even if all was
        rows = self._state.read(lambda connection: connection.execute(_OLDEST, (*self._after, BATCH)).fetchall())
        self._is_last = len(rows) < BATCH
        after_s, until_s = self._after[0], inf if self._is_last else rows[-1][-1]
        copies = [copy for row in rows if (copy := record_of(row, self._state.run)) is not None]
        self._candidates = [
            Candidate(copy.dataset.id, footprint(copy.stamp.signature.size_bytes), copy.last_use_s, copy)
            for copy in copies
        ]
        for part in self.parts().values():
            last_use_s = max(part.last_use_s, self._state.recent_use_s(part.dataset_id))
            if after_s < last_use_s <= until_s and not self._state.is_pinned(part.dataset_id):
                self._candidates.append(replace(part, last_use_s=last_use_s))
        self._candidates.sort(key=lambda each: each.last_use_s)
        if rows:
            self._after = (rows[-1][-1], rows[-1][0])

    def _end_scan(self) -> None:
        self.kept_bytes = self._linked_bytes + self._state.read(pinned_bytes)
        self._after, self._is_last = _FIRST, False

    def _rest(self) -> None:
        """Scan no more for a while, as a scan that began and ended just now was not enough."""
        now_s = time.monotonic()
        self._rests_until_s = now_s + (SCAN_SHARE - 1) * (now_s - self._began_s)
        self._nothing_until_s = max(now_s + NOTHING_FOR_S, self._rests_until_s)

    def _evict(self, candidate: Candidate) -> int:
        """Remove a candidate unless it was used, pinned or changed since, or is in use."""
        dataset_id = candidate.dataset_id
        if (
            self._state.is_pinned(dataset_id)
            or self._state.recent_use_s(dataset_id) > candidate.last_use_s
            or self._descriptors.needs_its_name(dataset_id)
        ):
            return 0
        try:
            with self._locks.hold(dataset_id, AT_ONCE):
                return self.drop_parts(dataset_id) if candidate.copy is None else self._drop_copy(candidate.copy)
        except (StoppedError, BusyError):
            return 0
        except OSError as error:
            log.warning("%s could not leave the cache: %s", dataset_id, error)
            return 0

    def _drop_copy(self, copy: CopyRecord) -> int:
        if not self._is_current(copy):
            return 0
        size_bytes, found = footprint(copy.stamp.signature.size_bytes), self._found(copy)
        if found is not None:
            path, status = found
            if status.st_nlink > 1:
                self._linked_bytes += size_bytes
                return 0
            if not self._layout.folder.remove_file(path, status):
                return 0
            self.evicted_files += 1
            self.evicted_bytes += size_bytes
            log.debug("%s left the cache to make room.", path)
        self._state.drop(copy.dataset.id)  # if somebody else removed the file, it counted until now
        self.on_evicted(copy.dataset)
        return size_bytes

    def _is_current(self, copy: CopyRecord) -> bool:
        """Whether a copy is the one that is recorded now, fetched by onefs and not used since."""
        found = self._state.copy(copy.dataset.id)
        return (
            found is not None
            and found.is_fetched
            and found.stamp.signature.edition == copy.stamp.signature.edition
            and found.last_use_s <= copy.last_use_s
        )

    def _found(self, copy: CopyRecord) -> tuple[str, os.stat_result] | None:
        """Path below the cache, under either name, and status of a copy; None if it is gone or another stands there."""
        plain = copy.dataset.path
        for path in (plain, alf.archive_path(plain, copy.dataset.id)):
            with suppress(FileNotFoundError, NotADirectoryError):
                status = self._layout.folder.status(path)
                if Signature.of(status).edition == copy.stamp.signature.edition:
                    return path, status
        return None
