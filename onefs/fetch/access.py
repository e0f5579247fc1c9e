"""`Content`: opens datasets, tells their state, and what is being fetched."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from onefs.cache.layout import FolderBlocks
from onefs.cache.records_ahead import FileInFolder
from onefs.cache.store import ContentStore
from onefs.cache.verify import Signature, Verdict, Verify, trusted
from onefs.catalogue.records import Dataset
from onefs.errors import MismatchError, OnefsError, again
from onefs.fetch.cancel import CancelToken
from onefs.fetch.copies import Copies
from onefs.fetch.failures import Failures, ending, offline
from onefs.fetch.fetch import Fetch, FetchEvents, Transfer
from onefs.fetch.inspection import Inspection, Inspector, State
from onefs.fetch.keeping import Keeping
from onefs.fetch.large import LargeFiles
from onefs.fetch.obtain import Obtainer
from onefs.fetch.open_file import OpenFile
from onefs.fetch.part_file import BlockRules
from onefs.fetch.ranges import Patience, Ranges
from onefs.fetch.retry import LocationHealth
from onefs.fetch.runner import Counts, FetchWorkers, Runner, Totals
from onefs.outages import Outages, PassedOver
from onefs.transports.base import Location, Transport

__all__ = [
    "BlockRules", "Content", "FetchEvents", "Inspection", "NoEvents", "OpenFile", "Patience", "State", "Totals",
    "Transfer", "Verify",
]  # fmt: skip


class NoEvents:
    """`FetchEvents` that does nothing."""

    def changed(self, dataset: Dataset) -> None:
        """Do nothing."""

    def failed(self, dataset: Dataset, error: OnefsError) -> None:
        """Do nothing."""

    def mismatched(self, dataset: Dataset, location: Location) -> None:
        """Do nothing."""

    def withdrawn(self, dataset: Dataset) -> None:
        """Do nothing."""


class Content:
    """The bytes of datasets: from the cache, or fetched once for all who ask. Safe to use from several threads.

    `locate` gives a dataset's locations in the order to try; it may wait and raise, and is asked for one after the
    other. `known` gives those that can be told at once.
    """

    def __init__(
        self,
        store: ContentStore,
        transport: Transport,
        locate: Callable[[Dataset], Iterable[Location]],
        known: Callable[[Dataset], Sequence[Location]],
        *,
        verify: Verify = Verify.AUTO,
        blocks: BlockRules | None = None,
        max_transfers: int = 256,
        prefetches: int = 64,
        patience: Patience | None = None,
        events: FetchEvents | None = None,
        clock: Callable[[], float] = time.monotonic,
        outages: Outages | None = None,
    ) -> None:
        self._store = store
        self._verify = verify
        events = events or NoEvents()
        store.on_evicted(events.changed)
        self._stop = threading.Event()
        self._token = CancelToken()
        self._outages = outages or Outages(clock)
        self._failures = Failures(clock, self._outages)
        health = LocationHealth(self._outages)
        patience = patience or Patience()
        counts = Counts()
        ranges = Ranges(transport, health, patience, counts.received)
        copies = Copies(store, verify, patience.settled_s, self._stop)
        self._blocks = blocks or BlockRules()
        self._large = LargeFiles(
            store, ranges, self._blocks, verify, self._failures, events, max_transfers=max_transfers
        )
        obtainer = Obtainer(store, copies, ranges, self._large, locate, health, verify, self._stop, events)
        self.keeping = Keeping(store, self._failures, copies, events)
        workers = FetchWorkers(max_transfers=max_transfers, max_prefetches=prefetches)
        self._runner = Runner(store, obtainer, self._failures, events, counts, workers)
        self._fetches = self._runner.fetches
        self._inspector = Inspector(store, known, self._failures, self._fetches, verify)

    def open(
        self, dataset: Dataset, *, may_fetch: bool, refusal: OnefsError | None = None, node: FileInFolder | None = None
    ) -> OpenFile:
        """Open a dataset at once, without waiting for network or hashing. `node` is its file in the tree.

        Raises OfflineError, a failure that is remembered, or what is wrong with the cache; `refusal`, if a fetch would
        have to be begun.
        """
        store = self._store
        store.used(dataset)
        found: Signature | None = None
        for copy in store.open_copies(dataset):
            if trusted(dataset, copy.signature, store.state.stamp(dataset.id, node), self._verify) is not None:
                return OpenFile(dataset.path, store.descriptors.share(dataset, copy), None)
            os.close(copy.descriptor)
            found = found or copy.signature
        if self._stop.is_set():
            raise ending(dataset)
        fetch = self._runner.join(dataset, may_fetch=may_fetch)
        if fetch is not None:
            return OpenFile(dataset.path, None, fetch)
        self._raise_remembered(dataset, found, may_fetch=may_fetch)
        if found is None and not (may_fetch and self._store.is_cache):
            raise self._failures.tell_offline(dataset, offline(dataset, self._store))
        if found is None and refusal is not None:
            raise again(refusal)
        fetch = Fetch(dataset, may_fetch=may_fetch, is_demanded=True, parent=self._token)
        fetch = self._runner.start(fetch, has_copy=found is not None)
        return OpenFile(dataset.path, None, fetch, is_fetched=found is None)

    def is_small(self, size_bytes: int | None) -> bool:
        """Whether a file of such a size is fetched whole. Empty ones, and those of unknown size, are not small."""
        return 0 < (size_bytes or 0) <= self._blocks.whole_file_max_bytes

    def may_prefetch(self, dataset: Dataset) -> bool:
        """Whether a dataset is small, is not under way, did not fail, and anything may be fetched.

        It may be in the cache: then `prefetch` fetches nothing.
        """
        return (
            self.is_small(dataset.size_bytes)
            and self._store.is_cache
            and self._large.may_go_on
            and self._fetches.find(dataset) is None
            and self._failures.last(dataset) is None
        )

    def prefetch(self, dataset: Dataset) -> None:
        """Begin to fetch a small file ahead of its first open, if there is room without evicting anything.

        Those who open it meanwhile do not wait behind other prefetches. Until then no failure is told or remembered.
        """
        if not self._stop.is_set() and self.may_prefetch(dataset):
            self._runner.prefetch(dataset, self._token)

    def cancel_prefetches(self) -> None:
        """Stop all prefetches."""
        self._runner.cancel_prefetches()

    def inspect(self, dataset: Dataset) -> Inspection:
        """How a dataset stands, without network or hashing."""
        return self._inspector.inspect(dataset)

    def md5_of(self, dataset: Dataset, edition: tuple[int, int, int] | None) -> str:
        """The MD5 of the copy that an open file reads from, if it is known; else the catalogue's, "" if it has none."""
        return self._inspector.md5_of(dataset, edition)

    def cached_blocks(self, dataset: Dataset) -> int:
        """512-byte blocks on disk, of the complete file or of the part that is there."""
        return self._store.blocks(dataset)

    def cached_blocks_in(self, folder: str) -> FolderBlocks:
        """512-byte blocks of the complete files in one folder, by their names in the tree; {} if there are none."""
        return self._store.blocks_in(folder)

    def cached_names_in(self, folder: str) -> set[str]:
        """The names in the tree of what stands in one folder of the cache, whatever it is."""
        return self._store.names_in(folder)

    def trusted_path(self, dataset: Dataset) -> tuple[str, Verdict] | None:
        """Path of the copy that may be read without hashing it, and what is known of it; None if there is none.

        For whoever is about to read it: it counts as used now. Costs one `stat`, and reading a stamp the first time.
        """
        found = self._store.find_trusted(dataset, self._verify)
        if found is not None:
            self._store.used(dataset)
        return found

    def path_of_right_size(self, dataset: Dataset) -> str | None:
        """Path of a copy that has the catalogue's size, whatever is in it; None if there is none."""
        for path, status in self._store.each_copy(dataset):
            if dataset.size_bytes in (None, status.st_size):
                self._store.used(dataset)
                return path
        return None

    def cached_path(self, dataset: Dataset) -> Path | None:
        """Where the complete file stands in the cache, verified or not."""
        found = self._store.find_copy(dataset)
        return Path(found[0]) if found is not None else None

    def cached_size(self, dataset: Dataset) -> int | None:
        """Size in bytes of the complete file in the cache."""
        found = None if self._store.lacks_folder(dataset) else self._store.find_copy(dataset)
        return found[1].st_size if found is not None else None

    @property
    def may_block(self) -> bool:
        """Whether even `open` and `inspect` may wait for a disk, as the cache is not on one of this machine."""
        return not self._store.is_local_disk

    @property
    def uuid_filenames(self) -> bool:
        """Whether files that are fetched from now on have the dataset's UUID in their names."""
        return self._store.uuid_filenames

    @uuid_filenames.setter
    def uuid_filenames(self, value: bool) -> None:
        self._store.uuid_filenames = value

    def transfers(self) -> list[Transfer]:
        """What is being fetched or verified now."""
        return [fetch.progress() for fetch in self._fetches.running() if fetch.is_at_work]

    def totals(self) -> Totals:
        """What was fetched and what failed since the start."""
        return self._runner.counts.totals()

    def failure_kinds(self) -> dict[type[OnefsError], int]:
        """How often fetches failed since the start, by the class of the error."""
        return self._runner.counts.failure_kinds()

    def passed_over(self) -> list[PassedOver]:
        """The servers that are not asked now, as they failed or sent `Retry-After`."""
        return self._outages.facts()

    def permit(self, *, may_fetch: bool) -> None:
        """Say whether more may be fetched of files that are open; if not, what is under way of large ones stops."""
        self._large.permit(may_go_on=may_fetch)
        if not may_fetch:
            self.cancel_prefetches()

    def retry(self, dataset: Dataset | None) -> None:
        """Forget a dataset's failure, or all, so that the next open tries again, at every server."""
        self._failures.forget(dataset)
        self._store.state.forget_quarantine(dataset)
        self._outages.forget(even_asked=True)

    def forget_failures(self) -> None:
        """Forget all failures, but for servers whose `Retry-After` has not ended."""
        self._failures.forget(None)
        self._store.state.forget_quarantine(None)
        self._outages.forget(even_asked=False)

    def flush(self) -> None:
        """Wait until all verified files are marked as such on disk."""
        self._store.flush()

    def close(self) -> None:
        """Stop: those who wait get an error, what was verified is recorded. Does not wait for stalled connections."""
        self._stop.set()
        self._runner.close()
        self._large.close()
        self._store.close()

    def _raise_remembered(self, dataset: Dataset, found: Signature | None, *, may_fetch: bool) -> None:
        if found is None and self._failures.last(dataset) is None:
            record = self._store.state.quarantine_of(dataset)
            if record is not None:
                error = MismatchError(record.reason, record.remedy)
                self._failures.hold(dataset, error, record.times, record.left_s)
        remembered = self._failures.current(dataset, found, may_fetch=may_fetch)
        if remembered is not None:
            raise remembered
