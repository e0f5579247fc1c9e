"""`Inspector`: the state of a dataset, as far as it is known without asking a server or hashing."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from onefs.cache.state import QuarantineRecord
from onefs.cache.store import ContentStore
from onefs.cache.verify import Signature, Verdict, Verify, trusted
from onefs.catalogue.records import Dataset
from onefs.errors import MismatchError, OfflineError, OnefsError
from onefs.fetch.failures import Failures, is_quarantine
from onefs.fetch.fetch import Fetches
from onefs.transports.addresses import shown
from onefs.transports.base import Location


class State(StrEnum):
    """How a dataset stands. CACHED is a complete file that nobody verified yet, or of which only the size is known."""

    REMOTE = "remote"
    FETCHING = "fetching"
    PARTIAL = "partial"
    CACHED = "cached"
    VERIFIED = "verified"
    MISMATCH = "mismatch"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is known of a dataset's bytes. `source` is the URL that they came from, or would come from.

    `error` is why the last attempt failed, one sentence, or "". `urls` are all that they can be asked for at, in the
    order to try, as far as the database need not be asked for them. No login and no query is in a URL.
    """

    state: State
    source: str
    error: str
    urls: tuple[str, ...] = ()


class Inspector:
    """Tells how datasets stand. Safe to use from several threads. `known` gives the locations that can be told."""

    def __init__(
        self,
        store: ContentStore,
        known: Callable[[Dataset], Sequence[Location]],
        failures: Failures,
        fetches: Fetches,
        policy: Verify,
    ) -> None:
        self._store = store
        self._known = known
        self._failures = failures
        self._fetches = fetches
        self._policy = policy

    def inspect(self, dataset: Dataset) -> Inspection:
        """How a dataset stands, without network or hashing."""
        found = self._store.find_copy(dataset)
        error = self._failures.last(dataset)
        if found is not None and isinstance(error, OfflineError):
            error = None  # another program has put it there since
        record = None if found is not None or error is not None else self._store.state.quarantine_of(dataset)
        sentence = str(error) if error is not None else ""
        if record is not None:
            sentence = f"{record.reason} {record.remedy}".rstrip()
        stamp = self._store.state.stamp(dataset.id) if found is not None else None
        urls = tuple(dict.fromkeys(shown(location.url) for location in self._known(dataset)))
        source = stamp.source if stamp is not None else ""
        if found is None:
            source = urls[0] if urls else ""
        return Inspection(self._state(dataset, found, error, record), source, sentence, urls)

    def md5_of(self, dataset: Dataset, edition: tuple[int, int, int] | None) -> str:
        """The MD5 of the copy that an open file reads from, if it is known; else the catalogue's, "" if it has none.

        Without an edition the copy was on its way: where the catalogue has no hash, what came of it counts.
        """
        stamp = self._store.state.stamp(dataset.id)
        if stamp is not None and stamp.md5 and stamp.counts:
            same = not dataset.md5 if edition is None else stamp.signature.edition == edition
            if same:
                return stamp.md5
        return dataset.md5.lower()

    def _state(
        self,
        dataset: Dataset,
        found: tuple[str, os.stat_result] | None,
        error: OnefsError | None,
        record: QuarantineRecord | None,
    ) -> State:
        if found is not None:
            stamp = self._store.state.stamp(dataset.id)
            verdict = trusted(dataset, Signature.of(found[1]), stamp, self._policy)
            if verdict is Verdict.RIGHT:
                is_verified = dataset.md5 and self._policy is not Verify.OFF
                return State.VERIFIED if is_verified else State.CACHED
            if verdict is Verdict.ACCEPTED or isinstance(error, MismatchError):
                return State.MISMATCH
            return State.FETCHING if self._fetches.find(dataset) else State.CACHED
        fetch = self._fetches.find(dataset)
        if fetch is not None:
            return State.PARTIAL if fetch.readable is not None else State.FETCHING
        if record is not None or is_quarantine(error):
            return State.QUARANTINED
        return State.PARTIAL if self._store.partial_blocks(dataset) else State.REMOTE
