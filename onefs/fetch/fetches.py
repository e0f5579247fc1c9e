"""Owns the table of fetches under way, which keeps them to one per dataset, and how each comes to a worker."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from uuid import UUID

from onefs.cache.verify import wanted
from onefs.catalogue.records import Dataset
from onefs.errors import (
    AccessRefusedError,
    BrokenAnswerError,
    ContentError,
    MissingOnServerError,
    OnefsError,
    UnreachableError,
)
from onefs.fetch.descriptors import Descriptor
from onefs.fetch.fetch import Fetch, Pause
from onefs.threads import Workers

PASSING = (UnreachableError, AccessRefusedError, BrokenAnswerError, MissingOnServerError)
"""What keeps a server from giving more of a file, but says nothing against what it gave already."""
Step = Callable[[Fetch], Descriptor | Pause | None]


class Fetches:
    """The fetches under way, one per edition of a dataset. Safe to use from several threads.

    `check` looks at the copy that is at hand, among the `checks`; it returns the file, or None if bytes must come.
    `obtain` gets them, among the `transfers`, so that no local file waits behind a server; it returns the file, or
    why it leaves the fetch for now. Both raise. A prefetch waits among the `prefetches` until somebody asks for it; it
    never fails, but is left. `done` is told of each end, before those who wait, so that whoever
    read a file, or failed to, finds its new state.
    """

    def __init__(
        self,
        checks: Workers,
        transfers: Workers,
        prefetches: Workers,
        check: Step,
        obtain: Step,
        done: Callable[[Fetch, OnefsError | None], None],
    ) -> None:
        self._obtaining = ((transfers, obtain),)
        self._prefetches = prefetches
        self._checking = ((checks, check), *self._obtaining)
        self._done = done
        self._lock = threading.RLock()  # guards _running
        self._running: dict[tuple[UUID, str, bool], Fetch] = {}

    def find(self, dataset: Dataset, *, may_fetch: bool = False) -> Fetch | None:
        """The fetch of a dataset that is under way; with `may_fetch`, only one that may fetch too."""
        key = dataset.id, wanted(dataset)
        found = self._running.get((*key, True))
        return found if found is not None or may_fetch else self._running.get((*key, False))

    def running(self) -> list[Fetch]:
        """All that are under way."""
        with self._lock:
            return list(self._running.values())

    def join(self, dataset: Dataset, *, may_fetch: bool) -> Fetch | None:
        """Attach to the fetch of a dataset that is under way; None if there is none, or if it fetches what is read."""
        fetch = self.find(dataset, may_fetch=may_fetch)
        if fetch is None or (fetch.growing is not None and not may_fetch):
            return None
        if not fetch.attach():
            return None
        if fetch.claim():
            self._submit(fetch, self._obtaining)
        return fetch

    def start(self, dataset: Dataset, *, may_fetch: bool, has_copy: bool) -> Fetch:
        """Attach to the fetch of a dataset, which is started if need be."""
        with self._lock:
            fetch = self.join(dataset, may_fetch=may_fetch)
            if fetch is not None:
                return fetch
            fetch = Fetch(dataset, may_fetch=may_fetch)
            fetch.submit = lambda: self._submit(fetch, self._obtaining)
            fetch.attach()
            self._running[_key(fetch)] = fetch
        self._submit(fetch, self._checking if has_copy else self._obtaining)
        return fetch

    def prefetch(self, dataset: Dataset) -> None:
        """Fetch a dataset that nobody asked for, unless it is under way."""
        with self._lock:
            if self.find(dataset) is not None:
                return
            fetch = Fetch(dataset, may_fetch=True, is_prefetch=True)
            fetch.submit = lambda: self._submit(fetch, self._obtaining)
            self._running[_key(fetch)] = fetch
        if not self._prefetches.submit(lambda: self._run_prefetch(fetch)):
            self._leave_prefetch(fetch)

    def cancel_prefetches(self) -> None:
        """Leave all that nobody asked for."""
        for fetch in self.running():
            if fetch.is_prefetch:
                self._leave_prefetch(fetch)

    def _run_prefetch(self, fetch: Fetch) -> None:
        _, obtain = self._obtaining[0]
        if not fetch.claim() or fetch.is_finished:
            return
        outcome: Descriptor | Pause | None = None
        try:
            with suppress(OnefsError):
                outcome = obtain(fetch)
        finally:
            if isinstance(outcome, Descriptor):
                self._end(fetch, outcome)
            elif not self._leave_prefetch(fetch):
                self._submit(fetch, self._obtaining)  # somebody waits for it by now

    def _leave_prefetch(self, fetch: Fetch) -> bool:
        """Give a prefetch up; False if somebody waits for it."""
        is_left = fetch.give_up()
        if is_left:
            self._leave(fetch)
        return is_left

    def abandon(self, error: Callable[[Dataset], OnefsError]) -> None:
        """Fail all that are under way, whatever their threads are stuck in."""
        for fetch in self.running():
            self._leave(fetch)
            fetch.fail(error(fetch.dataset))
            if not fetch.is_at_work:
                fetch.grow(None)

    def _submit(self, fetch: Fetch, steps: Sequence[tuple[Workers, Step]]) -> None:
        workers, step = steps[0]
        if not workers.submit(lambda: self._run(fetch, step, steps[1:])):
            reason = f"{fetch.dataset.path} cannot be fetched: no thread can be had for it."
            self._end(fetch, ContentError(reason, "Try again."))

    def _run(self, fetch: Fetch, step: Step, later: Sequence[tuple[Workers, Step]]) -> None:
        # What nobody foresaw goes on to the worker's own report, but nobody may wait for ever.
        outcome: Descriptor | OnefsError | Pause | None = ContentError(
            f"{fetch.dataset.path} could not be had because of a fault in onefs.",
            "Please report it, with the log.",
        )
        try:
            outcome = step(fetch)
        except OnefsError as error:
            outcome = error
        finally:
            if outcome is None:
                self._submit(fetch, later)
            elif outcome is Pause.RESTING or (isinstance(outcome, PASSING) and fetch.growing is not None):
                self._rest(fetch, outcome)
            else:
                self._end(fetch, outcome)

    def _rest(self, fetch: Fetch, outcome: OnefsError | Pause) -> None:
        """Leave a growing file as it is until more of it is wanted; who waits for what failed is told so."""
        if not fetch.is_finished:
            self._done(fetch, outcome if isinstance(outcome, OnefsError) else None)
        growing = fetch.growing
        if growing is not None and isinstance(outcome, OnefsError):
            growing.pause()
        if fetch.is_finished:
            fetch.grow(None)
        elif not fetch.rest():
            fetch.submit()
        elif fetch.is_unused:
            fetch.begin()

    def _end(self, fetch: Fetch, outcome: Descriptor | OnefsError | Pause) -> None:
        try:
            if outcome is Pause.LEFT:
                fetch.grow(None)  # whoever sees that it is under way no more finds its file closed, and on the disk
        finally:
            self._leave(fetch)
        failure = outcome if isinstance(outcome, OnefsError) else None
        try:
            if not fetch.is_finished or outcome is Pause.LEFT:
                self._done(fetch, failure)
        finally:
            if isinstance(outcome, OnefsError):
                fetch.fail(outcome)
            elif isinstance(outcome, Descriptor):
                fetch.succeed(outcome)
            fetch.grow(None)

    def _leave(self, fetch: Fetch) -> None:
        with self._lock:
            if self._running.get(_key(fetch)) is fetch:
                del self._running[_key(fetch)]


def _key(fetch: Fetch) -> tuple[UUID, str, bool]:
    return fetch.dataset.id, wanted(fetch.dataset), fetch.may_fetch
