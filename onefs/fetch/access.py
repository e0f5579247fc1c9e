"""`Content`: opens datasets, tells their state, and what is being fetched."""

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from onefs.cache.state import QuarantineRecord
from onefs.cache.store import ContentStore
from onefs.cache.verify import Signature, Verdict, Verify, trusted
from onefs.catalogue.records import Dataset
from onefs.errors import MismatchError, OfflineError, OnefsError, again
from onefs.fetch.blockwise import Blockwise
from onefs.fetch.copies import Copies
from onefs.fetch.descriptors import Descriptor
from onefs.fetch.download import Downloader, Patience
from onefs.fetch.failures import Failures
from onefs.fetch.fetch import Fetch, Pause, Transfer
from onefs.fetch.fetches import Fetches, Step
from onefs.fetch.filling import Filler
from onefs.fetch.growing import BlockRules
from onefs.fetch.inspection import Inspection, Inspector, State, is_quarantine
from onefs.fetch.keeping import Keeping
from onefs.fetch.open_file import OpenFile
from onefs.fetch.parts import Means
from onefs.fetch.retry import LocationHealth
from onefs.fetch.transfer import Obtained, Obtainer, ending, offline
from onefs.outages import Outages, PassedOver
from onefs.threads import Workers
from onefs.transports.base import Location, Transport

__all__ = ["BlockRules", "Content", "Inspection", "OpenFile", "Patience", "State", "Totals", "Transfer", "Verify"]

CHECKS_PER_CORE = 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Totals:
    """What happened since the start. `failures` counts failed fetches, not failed locations."""

    files_fetched: int
    bytes_fetched: int
    failures: int


class Content:
    """The bytes of datasets: from the cache, or fetched once for all who ask. Safe to use from several threads.

    `locate` gives a dataset's locations in the order to try; it may wait and raise, and is asked for one after the
    other. `known` gives those that can be told at once. Told in worker threads: `on_change` when what is on disk of
    a dataset changed, `on_failure` of each failure, `on_mismatch` of each location that gave wrong bytes,
    `on_withdrawn` when what was served of a dataset is served no more, as it turned out wrong. `may_go_on` tells
    whether more may be fetched now of files that are open and not whole.
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
        patience: Patience | None = None,
        on_change: Callable[[Dataset], None] = lambda dataset: None,  # noqa: ARG005
        on_failure: Callable[[Dataset, OnefsError], None] = lambda dataset, error: None,  # noqa: ARG005
        on_mismatch: Callable[[Dataset, Location], None] = lambda dataset, location: None,  # noqa: ARG005
        on_withdrawn: Callable[[Dataset], None] = lambda dataset: None,  # noqa: ARG005
        may_go_on: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
        outages: Outages | None = None,
    ) -> None:
        self._store = store
        self._verify = verify
        self._on_change = on_change
        store.on_evicted(on_change)
        self._on_failure = on_failure
        self._stop = threading.Event()
        self._may_go_on = may_go_on
        self._outages = outages or Outages(clock)
        self._failures = Failures(clock, self._outages)
        self._health = LocationHealth(self._outages)
        self._totals = Totals(0, 0, 0)
        self._failure_kinds: Counter[type[OnefsError]] = Counter()
        self._totals_lock = threading.Lock()  # guards the two above
        patience = patience or Patience()
        copies = Copies(store, verify, patience.settled_s, self._stop)
        downloader = Downloader(transport, self._health, patience, self._received, self._stop)
        # By blocks a file is of the catalogue's length or not served: what the policy accepts all the same comes whole.
        length = Verify.STRICT if verify is Verify.WARN else verify
        means = Means(transport, self._health, patience, self._received, self._stop, length)
        filler = Filler(means, max_transfers)
        self._blockwise = Blockwise(
            store, filler, blocks or BlockRules(), verify, self._refusal, self._broken, on_withdrawn, on_mismatch
        )
        obtainer = Obtainer(
            store, copies, downloader, self._blockwise, locate, self._health, verify, self._stop, on_mismatch
        )
        self.keeping = Keeping(
            store, self._failures, verify, patience.settled_s, self._stop, on_change, on_failure, on_withdrawn
        )
        self._checks = Workers("onefs-check", CHECKS_PER_CORE * (os.cpu_count() or 1))
        self._transfers = Workers("onefs-fetch", max_transfers)
        self._fetches = Fetches(
            self._checks, self._transfers, self._noting(obtainer.check), self._noting(obtainer.obtain), self._done
        )
        self._inspector = Inspector(store, known, self._failures, self._fetches, verify)

    def open(self, dataset: Dataset, *, may_fetch: bool, refusal: OnefsError | None = None) -> OpenFile:
        """Open a dataset at once, without waiting for network or hashing.

        Raises OfflineError, a failure that is remembered, or what is wrong with the cache; `refusal`, if a fetch would
        have to be begun.
        """
        self._store.used(dataset)
        for copy in self._store.open_copies(dataset):
            stamp = self._store.state.stamp(dataset.id)
            if trusted(dataset, copy.signature, stamp, self._verify) is not None:
                return OpenFile(dataset.path, Descriptor(copy.descriptor, copy.signature), None)
            os.close(copy.descriptor)
        if self._stop.is_set():
            raise ending(dataset)
        fetch = self._fetches.join(dataset, may_fetch=may_fetch)
        is_fetched = False
        if fetch is None:
            found = self._store.find_copy(dataset)
            self._raise_remembered(dataset, found, may_fetch=may_fetch)
            if found is None and not (may_fetch and self._store.is_cache):
                raise self._told_offline(dataset, offline(dataset, self._store))
            if found is None and refusal is not None:
                raise again(refusal)
            fetch = self._fetches.start(dataset, may_fetch=may_fetch, has_copy=found is not None)
            is_fetched = found is None
        return OpenFile(dataset.path, None, fetch, is_fetched=is_fetched)

    def inspect(self, dataset: Dataset) -> Inspection:
        """How a dataset stands, without network or hashing."""
        return self._inspector.inspect(dataset)

    def md5_of(self, dataset: Dataset, edition: tuple[int, int, int] | None) -> str:
        """The MD5 of the copy that an open file reads from, if it is known; else the catalogue's, "" if it has none."""
        return self._inspector.md5_of(dataset, edition)

    def cached_blocks(self, dataset: Dataset) -> int:
        """512-byte blocks on disk, of the complete file or of the part that is there."""
        found = self._store.find_copy(dataset)
        return found[1].st_blocks if found is not None else self._store.partial_blocks(dataset)

    def cached_blocks_in(self, folder: str) -> dict[str, int]:
        """512-byte blocks of the complete files in one folder, by their names in the tree; {} if there are none."""
        return self._store.blocks_in(folder)

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
        found = self._store.find_copy(dataset)
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
        return self._totals

    def failure_kinds(self) -> dict[type[OnefsError], int]:
        """How often fetches failed since the start, by the class of the error."""
        with self._totals_lock:
            return dict(self._failure_kinds)

    def passed_over(self) -> list[PassedOver]:
        """The servers that are not asked now, as they failed or sent `Retry-After`."""
        return self._outages.facts()

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
        self._checks.close()
        self._transfers.close()
        self._fetches.abandon(ending)
        self._blockwise.close()
        self._store.close()

    def _raise_remembered(self, dataset: Dataset, found: tuple[str, os.stat_result] | None, *, may_fetch: bool) -> None:
        if found is None and self._failures.last(dataset) is None:
            record = self._store.state.quarantine_of(dataset)
            if record is not None:
                error = MismatchError(record.reason, record.remedy)
                self._failures.hold(dataset, error, record.times, record.left_s)
        signature = None if found is None else Signature.of(found[1])
        remembered = self._failures.current(dataset, signature, may_fetch=may_fetch)
        if remembered is not None:
            raise remembered

    def _told_offline(self, dataset: Dataset, error: OfflineError) -> OfflineError:
        """Log the error and note it as the dataset's last, without holding back later tries; returns it."""
        last = self._failures.last(dataset)
        if not isinstance(last, OfflineError):
            _log.info("%s", error)
        if not is_quarantine(last):  # which says more
            self._failures.tell(dataset, error)
        return error

    def _refusal(self, dataset: Dataset) -> OnefsError | None:
        if not self._may_go_on():
            return self._told_offline(dataset, offline(dataset, self._store))
        return self._failures.current(dataset, None, may_fetch=True)

    def _received(self, size_bytes: int) -> None:
        self._count(size_bytes=size_bytes)

    def _noting(self, step: Callable[[Fetch], Obtained | Pause | None]) -> Step:
        """A step whose outcome is remembered and counted."""

        def run(fetch: Fetch) -> Descriptor | Pause | None:
            try:
                obtained = step(fetch)
            except OfflineError as error:
                self._told_offline(fetch.dataset, error)
                raise
            except OnefsError as error:
                self._remember(fetch.dataset, error, offline=self._store.is_cache and not fetch.may_fetch)
                raise
            if not isinstance(obtained, Obtained):
                return obtained
            self._failures.forget(fetch.dataset)
            self._store.state.forget_quarantine(fetch.dataset)
            if obtained.fetched:
                self._count(files=1)
            return Descriptor(obtained.copy.descriptor, obtained.copy.signature)

        return run

    def _done(self, fetch: Fetch, error: OnefsError | None) -> None:
        if error is not None and not isinstance(error, OfflineError):
            self._on_failure(fetch.dataset, error)
        self._on_change(fetch.dataset)

    def _broken(self, dataset: Dataset, error: OnefsError) -> None:
        self._failures.tell(dataset, error)
        self._on_failure(dataset, error)

    def _remember(self, dataset: Dataset, error: OnefsError, *, offline: bool) -> None:
        found = self._store.find_copy(dataset)
        copy = Signature.of(found[1]) if found is not None else None
        times, delay_s = self._failures.remember(dataset, error, copy, offline=offline)
        with self._totals_lock:
            self._failure_kinds[type(error)] += 1
        self._count(failures=1)
        if is_quarantine(error) and copy is None:
            self._store.state.record_quarantine(dataset, QuarantineRecord(error.reason, error.remedy, times, delay_s))

    def _count(self, *, files: int = 0, size_bytes: int = 0, failures: int = 0) -> None:
        with self._totals_lock:
            was = self._totals
            self._totals = Totals(was.files_fetched + files, was.bytes_fetched + size_bytes, was.failures + failures)
