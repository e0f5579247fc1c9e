"""Owns how a large file is had by blocks: which location gives it, when it begins anew, and what becomes of it."""

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from onefs.catalogue.records import Dataset
from onefs.content.download import Found, mismatch, server_of
from onefs.content.failures import Problem
from onefs.content.fetch import Fetch, Pause
from onefs.content.files import cache_error
from onefs.content.filling import ChangedError, Filler, Outcome
from onefs.content.growing import BlockRules, Growing
from onefs.content.locks import StoppedError
from onefs.content.store import ContentStore
from onefs.content.verification import Verdict, Verify, judge
from onefs.content.workers import Workers
from onefs.errors import (
    AccessRefusedError,
    BrokenAnswerError,
    ContentError,
    MismatchError,
    OnefsError,
    UnreachableError,
)
from onefs.transports.addresses import shown
from onefs.transports.base import Location

EDITIONS_IN_A_ROW = 3
POLICIES = (Verify.AUTO, Verify.OFF)
"""Under the others no byte is served before all are there: what differs may be of another length, too."""
log = logging.getLogger(__name__)

Ordered = Iterable[tuple[Location, OnefsError | None]]


@dataclass(frozen=True, slots=True)
class Whole:
    """A file that is all there, and right."""

    growing: Growing
    found: Found


class Blockwise:
    """Fetches large files by blocks. Safe to use from several threads.

    `refusal` says why nothing should be asked for of a dataset just now; `on_withdrawn` is told when what was
    served of one is served no more, `on_mismatch` of each location that gave wrong bytes.
    """

    def __init__(
        self,
        store: ContentStore,
        filler: Filler,
        rules: BlockRules,
        policy: Verify,
        refusal: Callable[[Dataset], OnefsError | None],
        on_withdrawn: Callable[[Dataset], None],
        on_mismatch: Callable[[Dataset, Location], None],
    ) -> None:
        self._store = store
        self._filler = filler
        self._rules = rules
        self._policy = policy
        self._refusal = refusal
        self._on_withdrawn = on_withdrawn
        self._on_mismatch = on_mismatch
        self._hashers = Workers("onefs-hash", 64, yields=True)

    def suits(self, dataset: Dataset) -> bool:
        """Whether a dataset is fetched by blocks."""
        size_bytes = dataset.size_bytes or 0
        return self._policy in POLICIES and size_bytes > self._rules.whole_file_max_bytes

    def fetch(self, fetch: Fetch, ordered: Ordered, problems: list[Problem]) -> Whole | Pause | Ordered:
        """Fill the file from the first location that can, or on from the one that it was begun from.

        Gives the locations that are left to be tried, once bytes were wrong: they shall give the whole at once.
        """
        growing = self._take_up(fetch)
        remaining = iter(ordered)
        others: list[tuple[Location, OnefsError | None]] = []
        for location, too_soon in remaining:
            if too_soon is not None:
                problems.append(Problem(server_of(location), too_soon))
            elif growing.file.map.count and growing.file.source != shown(location.url):
                others.append((location, None))
            else:
                result = self._fetch_from(location, fetch, problems)
                if result is not None:
                    return result
                if fetch.growing is None:
                    return [*self._once_more(growing, location), *others, *remaining]
                growing = fetch.growing
        for location, _ in others:
            if self._answers(location, problems):
                self._withdraw(fetch, growing, _changed(fetch.dataset))
                growing = self._begin(fetch)
                result = self._fetch_from(location, fetch, problems)
                if result is not None:
                    return result
                if fetch.growing is None:
                    break
                growing = fetch.growing
        return ()

    def replaced(self, fetch: Fetch, inode: int) -> None:
        """A verified file is there: serve no more of what there was of it, unless it is that very file."""
        if fetch.growing is not None and fetch.growing.inode != inode:
            self._withdraw(fetch, fetch.growing, _changed(fetch.dataset))

    def withdraw(self, fetch: Fetch, error: OSError | OnefsError) -> None:
        """Serve no more of what there is of a file, as its disk failed."""
        if fetch.growing is not None:
            ours = error if isinstance(error, OnefsError) else cache_error(fetch.dataset.path, "the cache", error)
            self._withdraw(fetch, fetch.growing, ours)

    def close(self) -> None:
        """Let the threads end."""
        self._filler.close()
        self._hashers.close(drops=False)

    def _take_up(self, fetch: Fetch) -> Growing:
        growing = fetch.growing
        if growing is not None:
            if growing.file.take_up():
                return growing
            self._withdraw(fetch, growing, _changed(fetch.dataset))
        return self._begin(fetch)

    def _begin(self, fetch: Fetch) -> Growing:
        dataset = fetch.dataset
        file = self._store.begin_blocks(dataset, self._rules.block_bytes)
        try:
            growing = Growing(file, self._rules, self._hashers, lambda: self._refusal(dataset), fetch.begin)
        except OSError:
            file.close()
            raise
        fetch.done_bytes = growing.done_bytes
        fetch.grow(growing)
        return growing

    def _fetch_from(self, location: Location, fetch: Fetch, problems: list[Problem]) -> Whole | Pause | None:
        server = fetch.host = server_of(location)
        editions = 0
        while (growing := fetch.growing) is not None:
            try:
                outcome = self._filler.fill(location, growing, fetch)
                if outcome is Outcome.WHOLE:
                    return self._judged(location, growing, fetch, problems)
                if outcome is Outcome.RESTING:
                    return Pause.RESTING
                if fetch.give_up():
                    return Pause.LEFT
            except ChangedError:
                log.info("%s: %s has another edition of it by now.", fetch.dataset.path, server)
                self._withdraw(fetch, growing, _changed(fetch.dataset))
                self._begin(fetch)
                editions += 1
                if editions == EDITIONS_IN_A_ROW:
                    error = BrokenAnswerError(f"{server} answers with ever other editions of the file.")
                    problems.append(Problem(server, error))
                    return None
            except (UnreachableError, AccessRefusedError, ContentError) as error:
                self._note(location, fetch, error, problems)
                return None
        return None

    def _judged(self, location: Location, growing: Growing, fetch: Fetch, problems: list[Problem]) -> Whole | None:
        """The file if it is right; else it goes."""
        dataset, size_bytes = fetch.dataset, growing.file.map.size_bytes
        md5 = growing.digest.hexdigest(size_bytes)
        if not md5:
            raise StoppedError
        if judge(dataset, size_bytes, md5, self._policy) is Verdict.RIGHT:
            return Whole(growing, Found(md5, growing.file.source))
        error = mismatch(dataset, f"{server_of(location)} gave", size_bytes, md5)
        self._withdraw(fetch, growing, error)
        if not growing.file.was_begun:
            self._note(location, fetch, error, problems)
        return None

    def _once_more(self, growing: Growing, location: Location) -> list[tuple[Location, OnefsError | None]]:
        """The location itself, if what was wrong may have been what an earlier process left."""
        return [(location, None)] if growing.file.was_begun else []

    def _note(self, location: Location, fetch: Fetch, error: OnefsError, problems: list[Problem]) -> None:
        log.info("%s: %s", fetch.dataset.path, error.reason)
        problems.append(Problem(server_of(location), error))
        if isinstance(error, MismatchError):
            self._on_mismatch(fetch.dataset, location)

    def _answers(self, location: Location, problems: list[Problem]) -> bool:
        """Whether a location gives anything, before blocks of another one are given up for it."""
        try:
            self._filler.probe(location)
        except (UnreachableError, AccessRefusedError, ContentError) as error:
            problems.append(Problem(server_of(location), error))
            return False
        return True

    def _withdraw(self, fetch: Fetch, growing: Growing, error: OnefsError) -> None:
        """Drop what is there. Whoever read of it gets the error from now on; others begin anew."""
        growing.fail(error)
        if growing.is_served:
            self._on_withdrawn(fetch.dataset)
        with suppress(OSError):
            growing.file.drop()
        fetch.grow(None)


def _changed(dataset: Dataset) -> OnefsError:
    return BrokenAnswerError(
        f"{dataset.path} was replaced by another edition while it was being read.", "Open it again."
    )
