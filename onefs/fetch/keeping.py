"""`Keeping`: what a person asks of the cache: pin, evict or verify a copy, and how full it is."""

from collections.abc import Callable
from uuid import UUID

from onefs.cache.locks import StoppedError
from onefs.cache.quota import Usage
from onefs.cache.state import QuarantineRecord
from onefs.cache.store import ContentStore
from onefs.cache.usage import LabUsage
from onefs.catalogue.records import Dataset
from onefs.errors import MismatchError
from onefs.fetch.copies import Copies, Outcome
from onefs.fetch.failures import Failures, ending
from onefs.fetch.fetch import FetchEvents


class Keeping:
    """Pins, evicts and verifies single copies, and tells how full the cache is. Safe to use from several threads."""

    def __init__(
        self,
        store: ContentStore,
        failures: Failures,
        copies: Copies,
        events: FetchEvents,
    ) -> None:
        self._store = store
        self._failures = failures
        self._copies = copies
        self._events = events

    def pin(self, dataset: Dataset) -> None:
        """Keep a dataset whatever room is wanted, whether it is in the cache or not."""
        self._store.pin(dataset)

    def unpin(self, dataset: Dataset) -> None:
        """Keep it no longer than others."""
        self._store.unpin(dataset)

    def is_pinned(self, dataset: Dataset) -> bool:
        """Whether it is kept."""
        return self._store.is_pinned(dataset.id)

    def usage(self) -> Usage:
        """What the cache holds, and what it may."""
        return self._store.usage(counts=True)

    def labs(self) -> list[tuple[str, LabUsage]] | None:
        """What the cache holds of each lab, the largest first; None if it is no cache."""
        return self._store.labs()

    def free_bytes(self) -> int:
        """Bytes that the cache may still take."""
        return self._store.free_bytes()

    def holds(self, folder: str) -> bool:
        """Whether there may be copies below a folder of the tree."""
        return self._store.holds(folder)

    def unfinished(self) -> set[UUID]:
        """The ids of datasets of which a part is there."""
        return self._store.unfinished()

    def forget_failure(self, dataset: Dataset) -> None:
        """Let the next open of a dataset try again, without trusting servers again that could not be reached."""
        self._failures.forget(dataset)
        self._store.state.forget_quarantine(dataset)

    def evict(self, dataset: Dataset) -> int:
        """Remove what the cache has of a dataset; bytes that came free. Raises why it has to stay."""
        freed_bytes = self._store.evict(dataset)
        if freed_bytes:
            self._events.changed(dataset)
        return freed_bytes

    def pinned(self) -> set[str]:
        """The ids of all datasets that are kept, as text."""
        return self._store.pinned()

    def verify(self, dataset: Dataset, on_bytes: Callable[[int], None]) -> tuple[Outcome, MismatchError | None]:
        """Hash the copy anew: a right one is stamped, a wrong one moved to quarantine. Gives what is wrong, too.

        `on_bytes` is told of each part that was read, and may raise StoppedError. Raises BusyError, or what is wrong
        with the cache.
        """
        try:
            outcome, reason, remedy = self._copies.verify(dataset, on_bytes)
        except StoppedError:
            raise ending(dataset) from None
        error = MismatchError(reason, remedy) if reason else None
        if outcome in (Outcome.RIGHT, Outcome.HASHED):
            self.forget_failure(dataset)
        if outcome is Outcome.MOVED and error is not None:
            # Told, and not held against the next open: a server may have the right bytes.
            self._failures.hold(dataset, error, 1, 0.0)
            self._store.state.record_quarantine(dataset, QuarantineRecord(reason, remedy, 1, 0.0))
            self._events.withdrawn(dataset)
        if error is not None:
            self._events.failed(dataset, error)
        if outcome is not Outcome.ABSENT:
            self._events.changed(dataset)
        return outcome, error
