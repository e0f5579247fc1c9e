"""The stamps: which copies were verified, in memory at once and on disk once the bytes are synced."""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from onefs.cache import sync as syncing
from onefs.cache.arrivals import Arrivals
from onefs.cache.stamped import Fetched, StampedFile, StampFiles, fetched_of, file_of, noted, stamp_of
from onefs.cache.verify import Signature, Stamp
from onefs.catalogue.records import Dataset

KEPT_IN_MEMORY = 200_000
QUIET_S = 0.5
"""When no file came for so long, those that did are brought to the disk."""
LONGEST_S = 2.0
"""So long they wait if more keep coming. Until then only a flush of this process makes them such as can be evicted."""
Waiting = tuple[Dataset, Stamp, str]
log = logging.getLogger(__name__)


class Stamps:
    """Stamps by dataset, below `folder`, of copies below `root`.

    Safe to use from several threads. A stamp reaches the disk only after the bytes that it vouches for, in a thread
    of its own, so that nobody waits for the disk; until then it counts in this process only. Files that come in quick
    succession are brought to the disk together, as each alone would cost many times as much.
    """

    def __init__(self, folder: Path, root: Path, arrivals: Arrivals) -> None:
        self._files = StampFiles(os.fspath(folder))
        self._root = root
        self._arrivals = arrivals
        self._lock = threading.Condition()  # guards the arrivals, and all below
        self._known: dict[UUID, Stamp | None] = {}
        self._unsynced: dict[UUID, Stamp] = {}
        self._unwritten: dict[UUID, Fetched] = {}
        self._waiting: list[Waiting] = []
        self._since_s = self._latest_s = 0.0
        self._flushing = 0
        self._thread: threading.Thread | None = None
        self._closed = False
        self._complained = False

    def get(self, dataset_id: UUID) -> Stamp | None:
        """The stamp of a dataset's copy, from memory after the first time."""
        try:
            return self._known[dataset_id]
        except KeyError:
            return self.reload(dataset_id)

    def reload(self, dataset_id: UUID) -> Stamp | None:
        """The stamp as it is on disk now, where another process may have written it, or will."""
        stamp = self._files.read(dataset_id) or self._coming(dataset_id)
        with self._lock:
            # What was never written to disk still counts here: it vouches for one file only, by its signature.
            stamp = self._unsynced.get(dataset_id) or stamp or self._known.get(dataset_id)
            self._remember(dataset_id, stamp)
        return stamp

    def put(self, dataset: Dataset, stamp: Stamp, path: str) -> None:
        """Vouch for the file at `path`: at once in this process, on disk once the file is synced."""
        with self._lock:
            self._remember(dataset.id, stamp)
            if self._closed or not self._has_thread():
                return
            replaced, self._unsynced[dataset.id] = self._unsynced.get(dataset.id), stamp
            if replaced is not None and replaced.signature != stamp.signature:
                self._is_written(dataset.id, replaced)  # it never will be: the file that it was about is another one
            self._note_unwritten(dataset, stamp)
            self._latest_s = time.monotonic()
            self._waiting.append((dataset, stamp, path))
            if len(self._waiting) == 1:
                self._since_s = self._latest_s
            if len(self._waiting) == 1 or self._flushing:
                self._lock.notify_all()

    def expect(self, dataset: Dataset, signature: Signature, source: str) -> None:
        """A file is about to get its name: should this process be killed then, it is still known whose it is."""
        with self._lock:
            self._note_unwritten(dataset, Stamp(signature, "", source=source))

    def drop(self, dataset_id: UUID) -> None:
        """Forget a stamp, on disk too."""
        with self._lock:
            self._unsynced.pop(dataset_id, None)
            self._unwritten.pop(dataset_id, None)
            self._remember(dataset_id, None)
            self._lock.notify_all()
        try:
            self._files.remove(dataset_id)
        except OSError as error:
            self._complain(error)

    def path(self, dataset_id: UUID) -> str:
        """Where a dataset's stamp is kept; the time of that file is when the dataset was last used."""
        return self._files.path(dataset_id)

    def fetched(self, dataset_id: UUID) -> Fetched | None:
        """The stamp on disk now, if it is that of a file that onefs fetched."""
        return self._files.fetched(dataset_id)

    def ids(self) -> Iterator[UUID]:
        """The ids of the datasets that have a stamp on disk. Raises OSError."""
        return self._files.ids()

    def file(self, dataset_id: UUID) -> StampedFile | None:
        """The file that the stamp on disk is of, whoever put it there; None if there is none, or it is damaged."""
        return self._files.file(dataset_id)

    def all_fetched(self) -> Iterator[Fetched]:
        """The stamps on disk of the files that onefs fetched. Raises OSError."""
        return self._files.all_fetched()

    def unwritten_anywhere(self) -> dict[tuple[UUID, Signature], Fetched]:
        """As `unwritten`, those of other processes too; some of them may be written, or gone, by now.

        What was left by a process that was killed is stamped: as ours, and as not verified.
        """
        found = {(each.dataset.id, each.signature): each for each in self.unwritten().values()}
        for path, is_there, values in self._arrivals.of_others():
            for value in values:
                with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                    fetched = fetched_of(UUID(value["id"]), value, time.time())
                    if fetched is not None and is_there:
                        found[fetched.dataset.id, fetched.signature] = fetched
                    elif fetched is not None:
                        self._adopt(fetched, value)
            if not is_there:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
        return found

    def unwritten(self) -> dict[UUID, Fetched]:
        """The stamps of files that onefs fetched that are not on disk yet."""
        with self._lock:
            return self._unwritten.copy()

    @property
    def is_flushed(self) -> bool:
        """Whether no stamp waits to be written."""
        return not self._unsynced

    def flush(self, timeout_s: float | None = None) -> bool:
        """Have every stamp written now, and wait for that; False if it took longer than `timeout_s`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._lock:
            self._flushing += 1
            self._lock.notify_all()
            try:
                while self._unsynced and self._thread is not None:
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        return False
                    self._lock.wait(left)
            finally:
                self._flushing -= 1
        return True

    def close(self, timeout_s: float) -> None:
        """Write what waits, for so long at most, and end the thread."""
        self.flush(timeout_s)
        with self._lock, suppress(OSError):
            self._closed = True
            self._lock.notify_all()
            self._arrivals.close()

    def _has_thread(self) -> bool:
        """Start the thread that writes stamps; False if the machine gives none, and this one stays in memory."""
        if self._thread is None:
            thread = threading.Thread(target=self._sync_all, name="onefs-stamps", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._thread = thread
        return True

    def _remember(self, dataset_id: UUID, stamp: Stamp | None) -> None:
        self._known.pop(dataset_id, None)
        self._known[dataset_id] = stamp
        if len(self._known) > KEPT_IN_MEMORY:
            del self._known[next(iter(self._known))]

    def _sync_all(self) -> None:
        while batch := self._next():
            synced = syncing.sync_at_once(self._root) if len(batch) > syncing.FEW else None
            for each in batch:
                self._sync(*each, synced)
            with self._lock:
                self._lock.notify_all()

    def _next(self) -> list[Waiting]:
        """What came until it was time to write it; [] at the end."""
        with self._lock:
            while not self._closed:
                due_s = min(self._latest_s + QUIET_S, self._since_s + LONGEST_S) - time.monotonic()
                if self._waiting and (self._flushing or due_s <= 0):
                    batch, self._waiting = self._waiting, []
                    return batch
                self._lock.wait(due_s if self._waiting else None)
            return []

    def _sync(self, dataset: Dataset, stamp: Stamp, path: str, synced: int | None) -> None:
        with self._lock:
            if self._unsynced.get(dataset.id) != stamp or self._closed:
                return
        lost = False
        try:
            if _sync_file(path, stamp, synced):
                self._write(dataset, stamp)
        except FileNotFoundError:
            log.debug("%s went away before it was synced.", path)
        except OSError as error:
            lost = True  # what is in memory may never come to disk
            log.warning("%s could not be written to disk (%s); it will be checked again.", path, error)
        with self._lock:
            if self._unsynced.get(dataset.id) == stamp:
                del self._unsynced[dataset.id]
                self._is_written(dataset.id, stamp)
                if not self._unwritten and not self._complained:  # else the notes alone tell whose the files are
                    with suppress(OSError):
                        self._arrivals.clear()
                if lost:
                    self._remember(dataset.id, None)

    def _write(self, dataset: Dataset, stamp: Stamp) -> None:
        sourced = self._with_source(dataset.id, stamp)
        with self._lock:
            if self._known.get(dataset.id) == stamp:
                self._remember(dataset.id, sourced)
        try:
            self._files.write(dataset, sourced)
        except OSError as error:
            self._complain(error)

    def _coming(self, dataset_id: UUID) -> Stamp | None:
        """What another process has fetched and not stamped yet, as not verified; None if there is none."""
        for value in self._arrivals.told_by_others(dataset_id):
            stamp = stamp_of(value)
            if stamp is not None:
                return Stamp(stamp.signature, "", source=stamp.source)
        return self._files.read(dataset_id)  # its stamp may have come since, as only then its note goes

    def _with_source(self, dataset_id: UUID, stamp: Stamp) -> Stamp:
        """The stamp of a copy that was found, with where it came from if another onefs fetched it."""
        if not stamp.source:
            told = [stamp_of(value) for value in self._arrivals.told_by_others(dataset_id)]
            for other in (*told, self._files.read(dataset_id)):
                if other is not None and other.source and other.signature == stamp.signature:
                    return replace(stamp, source=other.source)
        return stamp

    def _is_written(self, dataset_id: UUID, stamp: Stamp) -> None:
        if dataset_id in self._unwritten and self._unwritten[dataset_id].signature == stamp.signature:
            del self._unwritten[dataset_id]

    def _note_unwritten(self, dataset: Dataset, stamp: Stamp) -> None:
        known = self._unwritten.get(dataset.id)
        if stamp.source and (known is None or known.signature != stamp.signature):
            self._unwritten[dataset.id] = Fetched(dataset, stamp.signature, time.time())
            with suppress(OSError):
                self._arrivals.add({"id": str(dataset.id), **noted(dataset, stamp)})

    def _adopt(self, fetched: Fetched, value: dict[str, Any]) -> None:
        if file_of(os.fspath(self._root), fetched) is not None:
            self._files.adopt(fetched.dataset.id, value)

    def _complain(self, error: OSError) -> None:
        """Once: without stamps on disk all works, but copies are hashed again after a restart."""
        if not self._complained:
            self._complained = True
            folder = self._files.folder
            log.warning("%s cannot be written (%s): files are verified anew after a restart.", folder, error)


def _sync_file(path: str, stamp: Stamp, synced: int | None) -> bool:
    """Bring a file's bytes to disk; False if it is no longer the one that was verified.

    After an error the kernel takes the pages that it could not write for written: they must not be hashed again. So
    a file that onefs fetched goes, and another program's is read from the disk at its next look.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        syncing.finish(descriptor, synced)
        return Signature.of(os.fstat(descriptor)) == stamp.signature
    except OSError:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        with suppress(OSError):
            if stamp.source and Signature.of(os.stat(path)) == stamp.signature:  # noqa: PTH116
                os.unlink(path)  # noqa: PTH108  (paths are strings here)
        raise
    finally:
        os.close(descriptor)
