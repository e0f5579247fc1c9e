"""`Runner` runs fetches: gives each a worker, step by step, remembers what came of it, and counts."""

import os
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from onefs.cache.state import QuarantineRecord
from onefs.cache.store import ContentStore
from onefs.cache.verify import Signature
from onefs.catalogue.records import Dataset
from onefs.errors import (
    AccessRefusedError,
    BrokenAnswerError,
    ContentError,
    MissingOnServerError,
    NoRoomError,
    OfflineError,
    OnefsError,
    UnreachableError,
)
from onefs.fetch.cancel import CancelToken
from onefs.fetch.failures import Failures, ending, fault, is_quarantine
from onefs.fetch.fetch import Fetch, Fetches, FetchEvents, FetchState
from onefs.fetch.large import Pause
from onefs.fetch.obtain import Obtained, Obtainer
from onefs.fetch.ranges import ByteCounter
from onefs.threads import Workers

CHECKS_PER_CORE = 2
FEW_PREFETCHES = 2
"""Files to prefetch at once from a server that is so near that more would gain nothing."""
PASSING = (UnreachableError, AccessRefusedError, BrokenAnswerError, MissingOnServerError)
"""What keeps a server from giving more of a file, but says nothing against what it gave already."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What happened since the start. `failures` counts failed fetches, not failed locations."""

    files_fetched: int
    bytes_fetched: int
    failures: int


class Counts:
    """What was fetched, and what failed, since the start. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all below
        self._files = 0
        self.received = ByteCounter()
        self._failures: Counter[type[OnefsError]] = Counter()

    def add_file(self) -> None:
        """Count a file that was fetched."""
        with self._lock:
            self._files += 1

    def add_failure(self, kind: type[OnefsError]) -> None:
        """Count a fetch that failed."""
        with self._lock:
            self._failures[kind] += 1

    def totals(self) -> Totals:
        """The sums."""
        with self._lock:
            return Totals(self._files, self.received.size_bytes, self._failures.total())

    def failure_kinds(self) -> dict[type[OnefsError], int]:
        """How often fetches failed, by the class of the error."""
        with self._lock:
            return dict(self._failures)


class FetchWorkers:
    """The threads of fetches. Local files wait behind no server, and what is asked for behind no prefetch."""

    def __init__(self, *, max_transfers: int, max_prefetches: int) -> None:
        self.checks = Workers("onefs-check", CHECKS_PER_CORE * (os.cpu_count() or 1))
        self.transfers = Workers("onefs-fetch", max_transfers)
        self.prefetches = Workers("onefs-prefetch", max_prefetches, few=FEW_PREFETCHES)

    def close(self) -> None:
        """Drop the jobs that wait, and let the threads end."""
        for workers in (self.checks, self.transfers, self.prefetches):
            workers.close()


class Runner:
    """Runs fetches in worker threads. Safe to use from several threads.

    Readers have a file's bytes before `events` are told of it. Of a failure `events` are told first, so that whoever
    meets it finds it in the log and among the errors.
    """

    def __init__(
        self,
        store: ContentStore,
        obtainer: Obtainer,
        failures: Failures,
        events: FetchEvents,
        counts: Counts,
        workers: "FetchWorkers",
    ) -> None:
        self._store = store
        self._obtainer = obtainer
        self._failures = failures
        self._events = events
        self._workers = workers
        self.counts = counts
        self.fetches = Fetches()

    def join(self, dataset: Dataset, *, may_fetch: bool) -> Fetch | None:
        """Attach to the fetch of a dataset that is under way; None if there is none."""
        fetch = self.fetches.find(dataset, may_fetch=may_fetch)
        if fetch is None or (fetch.readable is not None and not may_fetch):
            return None
        return fetch if self._attach(fetch) else None

    def prefetch(self, dataset: Dataset, token: CancelToken) -> None:
        """Fetch a dataset that nobody asked for. If it fails, nothing is told or remembered, unless somebody joined."""
        fetch = Fetch(dataset, may_fetch=True, is_demanded=False, parent=token)
        if self.fetches.add(fetch) is not fetch:
            return
        fetch.submit = lambda: self._queue(fetch)
        if not self._workers.prefetches.submit(lambda: self._obtain(fetch)):
            self._leave(fetch)

    def cancel_prefetches(self) -> None:
        """Leave all that nobody asked for."""
        # First all that wait, the last first, as a worker whose fetch is cancelled begins the next.
        prefetches = [fetch for fetch in self.fetches.running() if not fetch.is_demanded]
        left = [fetch for fetch in reversed(prefetches) if fetch.abandon()]
        for fetch in left:
            self.fetches.remove(fetch)
        for fetch in left:
            fetch.token.cancel(ending(fetch.dataset))  # its worker, if it has one, closes its file

    def start(self, fetch: Fetch, *, has_copy: bool) -> Fetch:
        """Run a fetch, or the one of the same edition that is under way; attached to."""
        while True:
            found = self.fetches.add(fetch)
            if found is fetch:
                break
            if (found.readable is None or fetch.may_fetch) and self._attach(found):
                return found
            if found.is_finished:
                self.fetches.remove(found)
            else:
                break
        fetch.attach()
        fetch.has_copy = has_copy
        fetch.submit = lambda: self._queue(fetch)
        if has_copy:
            self._submit(fetch, self._workers.checks, self._check)
        else:
            self._queue(fetch)
        return fetch

    def close(self) -> None:
        """Fail all that are under way, whatever their threads are stuck in."""
        self._workers.close()
        for fetch in self.fetches.running():
            self.fetches.remove(fetch)
            was_at_work = fetch.is_at_work
            error = ending(fetch.dataset)
            fetch.token.cancel(error)
            fetch.fail(error)
            if not was_at_work:
                fetch.use(None)

    def _attach(self, fetch: Fetch) -> bool:
        """Join those who wait; False if it is finished. A prefetch that has not begun is begun, before all others."""
        was_demanded = fetch.is_demanded
        if not fetch.attach():
            return False
        if not was_demanded and fetch.state is FetchState.QUEUED:
            self._queue(fetch)
        return True

    def _queue(self, fetch: Fetch) -> None:
        """Have a file fetched as soon as a thread is free."""
        self._submit(fetch, self._workers.transfers, self._obtain)

    def _submit(self, fetch: Fetch, workers: Workers, step: Callable[[Fetch], None]) -> None:
        if not workers.submit(lambda: step(fetch)):
            reason = f"{fetch.dataset.path} cannot be fetched: no thread can be had for it."
            self._end(fetch, ContentError(reason, "Try again."))

    def _check(self, fetch: Fetch) -> None:
        self._run(fetch, FetchState.CHECKING, self._obtainer.check)

    def _obtain(self, fetch: Fetch) -> None:
        self._run(fetch, FetchState.FETCHING, self._obtainer.obtain)

    def _run(self, fetch: Fetch, state: FetchState, step: Callable[[Fetch], Obtained | Pause | None]) -> None:
        # What nobody foresaw goes on to the worker's own report, but nobody may wait for ever.
        outcome: Obtained | OnefsError | Pause | None = fault(fetch.dataset)
        if not fetch.start(state):
            return
        was_demanded = fetch.is_demanded
        try:
            outcome = step(fetch)
        except OnefsError as error:
            outcome = error
        finally:
            found_no_room = isinstance(outcome, NoRoomError) and not was_demanded  # as it evicted nothing
            if isinstance(outcome, OnefsError) and (found_no_room or not fetch.is_demanded):
                if not self._leave(fetch):
                    self._again(fetch)  # somebody waits for it by now
            elif outcome is None:
                self._again(fetch)
            else:
                self._conclude(fetch, outcome)

    def _conclude(self, fetch: Fetch, outcome: Obtained | OnefsError | Pause) -> None:
        try:
            self._note(fetch, outcome)
        finally:
            may_go_on = isinstance(outcome, PASSING) and fetch.readable is not None
            if outcome is Pause.RESTING or may_go_on:
                self._rest(fetch, outcome if isinstance(outcome, OnefsError) else None)
            else:
                self._end(fetch, outcome)

    def _leave(self, fetch: Fetch) -> bool:
        """Give a prefetch up; False if somebody waits for it."""
        is_left = fetch.is_finished or fetch.abandon()
        if is_left:
            self.fetches.remove(fetch)
            fetch.use(None)
        return is_left

    def _again(self, fetch: Fetch) -> None:
        if fetch.is_finished:  # as all ends
            fetch.use(None)
            return
        fetch.move(FetchState.QUEUED)
        self._queue(fetch)

    def _rest(self, fetch: Fetch, error: OnefsError | None) -> None:
        """Leave a large file as it is until more of it is wanted; who waits for what failed is told so."""
        if not fetch.is_finished:
            self._tell(fetch, error)
        part = fetch.part
        if part is not None and error is not None:
            part.pause()
        if fetch.rest():
            if fetch.is_unused:
                fetch.begin()
        elif fetch.is_finished:
            fetch.use(None)
        else:
            fetch.submit()

    def _end(self, fetch: Fetch, outcome: Obtained | OnefsError | Pause) -> None:
        """End a fetch. Readers have their bytes before anybody is told; of a failure others are told first."""
        if outcome is Pause.ABANDONED:
            fetch.use(None)  # whoever sees that it is under way no more finds its file closed, and on the disk
        self.fetches.remove(fetch)
        was_finished = fetch.is_finished and outcome is not Pause.ABANDONED
        try:
            if isinstance(outcome, Obtained):
                fetch.succeed(self._store.descriptors.share(fetch.dataset, outcome.copy))
            if not was_finished:
                self._tell(fetch, outcome if isinstance(outcome, OnefsError) else None)
        finally:
            if isinstance(outcome, OnefsError):
                fetch.fail(outcome)
            fetch.use(None)

    def _tell(self, fetch: Fetch, error: OnefsError | None) -> None:
        if error is not None and not isinstance(error, OfflineError):
            self._events.failed(fetch.dataset, error)
        self._events.changed(fetch.dataset)

    def _note(self, fetch: Fetch, outcome: Obtained | OnefsError | Pause) -> None:
        """Remember what came of a step, and count it."""
        dataset = fetch.dataset
        if isinstance(outcome, Obtained):
            self._failures.forget(dataset)
            self._store.state.forget_quarantine(dataset)
            if outcome.fetched:
                self.counts.add_file()
        elif isinstance(outcome, OfflineError):
            self._failures.tell_offline(dataset, outcome)
        elif isinstance(outcome, OnefsError):
            self._remember(dataset, outcome, is_offline=self._store.is_cache and not fetch.may_fetch)

    def _remember(self, dataset: Dataset, error: OnefsError, *, is_offline: bool) -> None:
        found = self._store.find_copy(dataset)
        copy = Signature.of(found[1]) if found is not None else None
        times, delay_s = self._failures.remember(dataset, error, copy, offline=is_offline)
        self.counts.add_failure(type(error))
        if is_quarantine(error) and copy is None:
            self._store.state.record_quarantine(dataset, QuarantineRecord(error.reason, error.remedy, times, delay_s))
