"""`Evictor`: finds what may be evicted from the cache, and evicts it."""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from heapq import nsmallest
from itertools import chain
from pathlib import Path
from uuid import UUID

from onefs.cache.beneath import Folder
from onefs.cache.eviction import Candidate, footprint
from onefs.cache.labs import LabCount, Labs
from onefs.cache.locks import DatasetLocks, StoppedError
from onefs.cache.marks import BLOCKS_ENDING, is_open
from onefs.cache.shares import Share
from onefs.cache.state import State
from onefs.cache.verify import CopyRecord
from onefs.catalogue.records import Dataset
from onefs.errors import BusyError

CANDIDATES = 50_000
"""How many are remembered of one look, so that memory does not grow with the cache."""
BLOCK_BYTES = 512
PART_ENDINGS = ("", BLOCKS_ENDING)
NOTES = {"": (".json",), BLOCKS_ENDING: (".map", f"{BLOCKS_ENDING}.json")}
"""What lies beside a file that is not complete."""
AT_ONCE = threading.Event()
"""For who will not wait for a lock."""
AT_ONCE.set()
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Survey:
    """What onefs fetched into the cache, and the least recently used of it, in that order.

    `kept_bytes` are those of files that stay for as long as they are pinned or have a second name.
    """

    used_bytes: int
    kept_bytes: int
    files: int
    oldest: list[Candidate]


class Evictor:
    """Looks through a cache and removes from it. Safe to use from several threads, beside other processes.

    `partials` is the folder of files that are not complete.
    """

    def __init__(
        self,
        root: Folder,
        state: State,
        partials: Callable[[], Path],
        locks: DatasetLocks,
    ) -> None:
        self.on_evicted: Callable[[Dataset], None] = lambda dataset: None  # noqa: ARG005
        self.labs = Labs()
        self._folder = root
        self._root = os.fspath(root.path)
        self._state = state
        self._partials = partials
        self._locks = locks

    def survey(self, shares: list[Share], stop: threading.Event) -> Survey:
        """Look at all that onefs fetched, and add what is under way. Takes a while. Raises OSError, StoppedError."""
        # What another process told of may have come since, and be gone again.
        there = {name for name, _ in self.parts()}
        held = {each: size for share in shares for each, size in share.held.items() if str(each) in there}
        used_bytes, kept_bytes, files = sum(share.granted_bytes for share in shares), 0, 0
        by_lab = self.labs.begin_count()

        def found() -> Iterator[Candidate]:
            nonlocal used_bytes, kept_bytes, files
            pinned = self._state.pinned()
            for candidate in chain(self._copies(by_lab), self._parts(set(held))):
                if stop.is_set():
                    raise StoppedError
                used_bytes += candidate.size_bytes
                if candidate.signature is not None:
                    held.pop(candidate.dataset_id, None)  # it has come since
                    files += 1
                if candidate.is_kept or str(candidate.dataset_id) in pinned:
                    kept_bytes += candidate.size_bytes
                else:
                    yield candidate

        oldest = nsmallest(CANDIDATES, found(), key=lambda each: each.last_use_s)
        self.labs.end_count(by_lab)
        return Survey(used_bytes + sum(held.values()), kept_bytes, files, oldest)

    def parts(self) -> frozenset[tuple[str, int]]:
        """The files that are not complete, and how much there is of each. Raises OSError."""
        found: set[tuple[str, int]] = set()
        with suppress(FileNotFoundError), os.scandir(self._partials()) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    found.add((entry.name, entry.stat(follow_symlinks=False).st_blocks))
        return frozenset(found)

    def evict(self, candidate: Candidate) -> int:
        """Remove a candidate unless it was used, pinned or changed since, or is in use; bytes that came free."""
        dataset_id = candidate.dataset_id
        if self._state.is_pinned(dataset_id) or self._state.recent_use_s(dataset_id) > candidate.last_use_s:
            return 0
        try:
            with self._locks.hold(dataset_id, AT_ONCE):
                if candidate.signature is None:
                    return self.drop_parts(dataset_id)
                record = self._state.copy(dataset_id)
                if record is None or not record.is_fetched or record.stamp.signature != candidate.signature:
                    return 0
                return 0 if record.last_use_s > candidate.last_use_s else self._drop_copy(record)
        except (StoppedError, BusyError):
            return 0
        except OSError as error:
            log.warning("%s could not leave the cache: %s", dataset_id, error)
            return 0

    def drop_parts(self, dataset_id: UUID) -> int:
        """Remove what there is of a file that is not complete; bytes that came free. To be called with its lock held.

        Raises OSError, or BusyError if somebody has it open.
        """
        freed_bytes, folder = 0, self._partials()
        for ending in PART_ENDINGS:
            path = folder / f"{dataset_id}{ending}"
            with suppress(FileNotFoundError):
                if ending and is_open(path, sees_all=not self._locks.are_leased):
                    raise BusyError(f"{path} is being read.", "Close the programs that have it open.")
                freed_bytes += path.stat().st_blocks * BLOCK_BYTES
            for note in (*NOTES[ending], ending):  # a process that was killed may have left but the notes
                path.with_name(f"{dataset_id}{note}").unlink(missing_ok=True)
        return freed_bytes

    def _drop_copy(self, record: CopyRecord) -> int:
        found = record.find_file(self._root)
        if found is None or found[1].st_nlink > 1:
            return 0
        path, status = found
        if not self._folder.remove_file(path.removeprefix(f"{self._root}/"), status):
            return 0
        self._state.drop(record.dataset.id)
        self.labs.removed(record.dataset, footprint(status.st_size))
        log.debug("%s left the cache to make room.", record.dataset.path)
        self.on_evicted(record.dataset)
        return footprint(status.st_size)

    def _copies(self, by_lab: LabCount) -> Iterator[Candidate]:
        for record in self._state.copies(fetched_only=True):
            found = record.find_file(self._root)
            if found is not None:
                size_bytes = footprint(found[1].st_size)
                by_lab.add(record.dataset, size_bytes)
                last_use_s = max(record.last_use_s, self._state.recent_use_s(record.dataset.id))
                is_kept = found[1].st_nlink > 1
                yield Candidate(record.dataset.id, size_bytes, last_use_s, is_kept, record.stamp.signature)

    def _parts(self, held: set[UUID]) -> Iterator[Candidate]:
        """What there is of files that are not complete, but for those that room is held for."""
        with suppress(FileNotFoundError), os.scandir(self._partials()) as entries:
            for entry in entries:
                with suppress(ValueError, OSError):
                    dataset_id = UUID(entry.name.removesuffix(BLOCKS_ENDING))
                    if dataset_id not in held:
                        status = entry.stat(follow_symlinks=False)
                        used_s = max(status.st_mtime, self._state.recent_use_s(dataset_id))
                        yield Candidate(dataset_id, status.st_blocks * BLOCK_BYTES, used_s)
