"""Fetching a large file by blocks: from which location, when to start again, and what becomes of the result."""

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from uuid import UUID

from onefs.cache.atomic import NO_ROOM, cache_error
from onefs.cache.beside import BesideFile
from onefs.cache.floating import FloatingFile, Memory
from onefs.cache.locks import StoppedError
from onefs.cache.sparse import SparseFile
from onefs.cache.store import ContentStore
from onefs.cache.verify import Verdict, Verify, judge
from onefs.catalogue.records import Dataset
from onefs.errors import (
    AccessRefusedError,
    BrokenAnswerError,
    ContentError,
    MismatchError,
    MissingOnServerError,
    NoRoomError,
    OnefsError,
    UnreachableError,
)
from onefs.fetch.download import Found, giver, mismatch
from onefs.fetch.failures import Problem, is_due
from onefs.fetch.fetch import Fetch, Pause
from onefs.fetch.filling import Filler, Outcome
from onefs.fetch.growing import BlockRules, Growing
from onefs.fetch.joining import join
from onefs.fetch.ranges import ChangedError, server_of
from onefs.fetch.standby import Standby
from onefs.threads import Workers
from onefs.transports.addresses import shown
from onefs.transports.base import Location

EDITIONS_IN_A_ROW = 3
BREAKS_IN_A_ROW = 3
"""So often the location that a file was begun from must have failed before its blocks are given up for another's."""
BY_BLOCKS = (Verify.AUTO, Verify.WARN, Verify.OFF)
"""Under `strict` no byte is served before all are there."""
log = logging.getLogger(__name__)

Ordered = Iterable[tuple[Location, OnefsError | None]]


@dataclass(frozen=True, slots=True)
class Whole:
    """A file that is all there, and right, or to be served all the same."""

    file: SparseFile
    found: Found


class Blockwise:
    """Fetches large files by blocks. Safe to use from several threads.

    `refusal` says why nothing should be asked for of a dataset just now; `on_broken` is told why those who read of
    one get no more of it, though its fetch goes on, and `on_withdrawn` once what was served is served no more;
    `on_mismatch` of each location that gave wrong bytes.
    """

    def __init__(
        self,
        store: ContentStore,
        filler: Filler,
        rules: BlockRules,
        policy: Verify,
        refusal: Callable[[Dataset], OnefsError | None],
        on_broken: Callable[[Dataset, OnefsError], None],
        on_withdrawn: Callable[[Dataset], None],
        on_mismatch: Callable[[Dataset, Location], None],
    ) -> None:
        self._store = store
        self._filler = filler
        self._rules = rules
        self._policy = policy
        self._refusal = refusal
        self._on_broken = on_broken
        self._on_withdrawn = on_withdrawn
        self._on_mismatch = on_mismatch
        self._hashers = Workers("onefs-hash", 64, yields=True)
        self._memory = Memory()
        self.standby = Standby(
            store,
            filler,
            self._memory,
            lambda fetch, file: self._grow(fetch, file, self._rules_in_memory()),
            lambda fetch, growing: self._withdraw(fetch, growing, _changed(fetch.dataset)),
        )
        self._breaks: dict[UUID, int] = {}  # by dataset, how often in a row the location that began it failed

    def suits(self, dataset: Dataset) -> bool:
        """Whether a dataset is fetched by blocks."""
        size_bytes = dataset.size_bytes or 0
        return self._policy in BY_BLOCKS and size_bytes > self._rules.whole_file_max_bytes

    def fetch(self, fetch: Fetch, ordered: Ordered, problems: list[Problem]) -> Whole | Pause | Ordered:
        """Fill the file from the first location that can, or on from the one that it was begun from.

        Gives the locations that are left to be tried, once bytes were wrong: they shall give the whole at once.
        """
        growing = self._take_up(fetch)
        remaining = iter(ordered)
        others: list[Location] = []
        is_gone = True
        for location, too_soon in remaining:
            has_some = growing.file.map.count > 0 or growing.is_served
            is_begun = has_some and growing.file.source == shown(location.url)
            if too_soon is not None:
                problems.append(Problem(server_of(location), too_soon))
                is_gone = is_gone and not is_begun
            elif has_some and not is_begun:
                others.append(location)
            elif is_begun or is_due(location, problems):
                result = self._fetch_from(location, fetch, problems)
                if result is not None:
                    return result
                if fetch.growing is None:
                    return [*self._once_more(growing, location), *_untried(others), *remaining]
                growing = fetch.growing
                is_gone = isinstance(problems[-1].error, MissingOnServerError | MismatchError)
        return self._fetch_from_others(others, fetch, problems, is_gone=is_gone)

    def _fetch_from_others(
        self, others: list[Location], fetch: Fetch, problems: list[Problem], *, is_gone: bool
    ) -> Whole | Pause | Ordered:
        """The rest from locations that did not begin it, as the one that did `is_gone`, or just failed."""
        if others and not is_gone:
            self._breaks[fetch.dataset.id] = self._breaks.get(fetch.dataset.id, 0) + 1
        for number, location in enumerate(others):
            growing = fetch.growing
            if growing is None or not is_due(location, problems):
                continue
            if self._goes_on(location, fetch, growing, problems, is_gone=is_gone):
                growing = fetch.growing or growing
                result = self._fetch_from(location, fetch, problems)
                if result is not None:
                    return result
                if fetch.growing is None:
                    return [*self._once_more(growing, location), *_untried(others[number + 1 :])]
        return ()

    def replaced(self, fetch: Fetch, inode: int) -> None:
        """A verified file is there: serve no more of what there was of it, unless it is that very file."""
        if fetch.growing is not None and fetch.growing.inode != inode:
            self._withdraw(fetch, fetch.growing, _changed(fetch.dataset))

    def withdraw(self, fetch: Fetch, error: OSError | OnefsError) -> None:
        """Serve no more of what there is of a file, as its disk failed."""
        if fetch.growing is not None:
            ours = error if isinstance(error, OnefsError) else cache_error(fetch.dataset.path, "the cache", error)
            self._withdraw(fetch, fetch.growing, ours, is_told=True)

    def close(self) -> None:
        """Let the threads end."""
        self._filler.close()
        self._hashers.close(drops=False)

    def _take_up(self, fetch: Fetch) -> Growing:
        growing = fetch.growing
        if growing is not None and not isinstance(growing.file, BesideFile):
            if growing.file.take_up():
                return growing
            self._withdraw(fetch, growing, _changed(fetch.dataset))
        return self._begin(fetch)

    def _begin(self, fetch: Fetch) -> Growing:
        """A file on disk, which may go on with what was read beside another process that had it until now."""
        dataset, before = fetch.dataset, fetch.growing
        try:
            file = self._store.begin_blocks(dataset, self._rules.block_bytes)
            if fetch.outdated == (file.source, file.edition):
                file.drop()
                file.close()
                file = self._store.begin_blocks(dataset, self._rules.block_bytes)
            if before is not None and not file.source:
                file.comes_from(before.file.source, before.file.edition)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            return self._float(fetch, cache_error(dataset.path, self._store.data_dir, error))
        if before is not None and (file.source, file.edition) != (before.file.source, before.file.edition):
            self._withdraw(fetch, before, _changed(dataset))
        return self._grow(fetch, file, self._rules)

    def _float(self, fetch: Fetch, why: OnefsError) -> Growing:
        """Serve the file through memory from now on, as there is no room for it. Raises NoRoomError."""
        before, dataset = fetch.growing, fetch.dataset
        file = FloatingFile(self._memory, dataset.size_bytes or 0, self._rules.block_bytes)
        log.warning("%s It is served through memory.", why.reason)
        if before is not None:
            with suppress(OSError):
                before.file.drop()
            if before.file.source:
                file.comes_from(before.file.source, before.file.edition)
        return self._grow(fetch, file, self._rules_in_memory())

    def _rules_in_memory(self) -> BlockRules:
        ahead_bytes = min(self._rules.read_ahead_max_bytes, self._memory.share_bytes // 4)
        return replace(self._rules, read_ahead_max_bytes=ahead_bytes)

    def _grow(self, fetch: Fetch, file: SparseFile | FloatingFile, rules: BlockRules) -> Growing:
        try:
            growing = Growing(file, rules, self._hashers, lambda: self._refusal(fetch.dataset), fetch.begin)
        except OSError:
            file.close()
            raise
        if self._policy is not Verify.OFF and fetch.dataset.md5:
            growing.is_right = lambda md5: judge(fetch.dataset, file.map.size_bytes, md5, self._policy) is Verdict.RIGHT
        fetch.done_bytes = growing.done_bytes
        before = fetch.growing
        fetch.grow(growing)
        if before is not None and before.is_served:
            growing.is_served = True
        return growing

    def _goes_on(
        self, location: Location, fetch: Fetch, growing: Growing, problems: list[Problem], *, is_gone: bool
    ) -> bool:
        """Whether a location can give the rest of a file that another one began, or begins anew, as that one is gone.

        Not at that one's first failure, as what is there and was read would be lost.
        """
        dataset, server = fetch.dataset, server_of(location)
        try:
            if self._policy is not Verify.OFF and join(self._filler.means, location, growing, dataset):
                log.info("%s: %s goes on with it.", dataset.path, server)
                return True
        except (UnreachableError, AccessRefusedError, ContentError) as error:
            self._note(location, fetch, error, problems)
            return False
        if not is_gone and self._breaks.get(dataset.id, 0) < BREAKS_IN_A_ROW:
            log.info("%s: %s has it too, but nothing tells that it is the same edition.", dataset.path, server)
            return False
        self._withdraw(fetch, growing, _changed(dataset))
        self._begin(fetch)
        return True

    def _fetch_from(self, location: Location, fetch: Fetch, problems: list[Problem]) -> Whole | Pause | None:
        server = fetch.host = server_of(location)
        editions = 0
        while (growing := fetch.growing) is not None:
            try:
                outcome = self._filler.fill(location, growing, fetch)
                self._breaks.pop(fetch.dataset.id, None)
                if outcome is Outcome.WHOLE:
                    return self._judged(location, growing, fetch, problems)
                if outcome is Outcome.RESTING or fetch.give_up():
                    return Pause.RESTING if outcome is Outcome.RESTING else Pause.LEFT
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
                if isinstance(error, MismatchError) and (growing.streams or self._policy is Verify.WARN):
                    self._withdraw(fetch, growing, error)  # what is there is of another length than it should be
                return None
            except (OSError, NoRoomError) as error:
                self._without_room(fetch, growing, error)
        return None

    def _without_room(self, fetch: Fetch, growing: Growing, error: OSError | NoRoomError) -> None:
        """Go on through memory. Raises the error if it is another one, or if memory does not help."""
        if isinstance(error, OSError):
            if error.errno not in NO_ROOM:
                raise error
            self._float(fetch, cache_error(fetch.dataset.path, self._store.data_dir, error))
        elif growing.file.is_kept:
            self._float(fetch, error)
        else:
            raise error

    def _judged(self, location: Location, growing: Growing, fetch: Fetch, problems: list[Problem]) -> Whole | None:
        """The file if it is right, or accepted as what a server holds; else it goes."""
        dataset, size_bytes, file = fetch.dataset, growing.file.map.size_bytes, growing.file
        md5 = growing.hash()
        if not md5 or not isinstance(file, SparseFile):
            raise StoppedError
        verdict = judge(dataset, size_bytes, md5, self._policy)
        if verdict is Verdict.RIGHT:
            return Whole(file, Found(md5, file.source))
        error = mismatch(dataset, f"{giver(location)} gave", size_bytes, md5)
        is_one_answer = not (file.was_begun or file.is_mixed)
        if is_one_answer:
            self._note(location, fetch, error, problems)
            if verdict is Verdict.ACCEPTED:
                return Whole(file, Found(md5, file.source))
        self._withdraw(fetch, growing, error)
        return None

    def _once_more(self, growing: Growing, location: Location) -> Ordered:
        """The location itself, if what it gave was not all of one answer, or if it may be of any length."""
        file = growing.file
        again = file.was_begun or file.is_mixed or self._policy is Verify.WARN
        return _untried([replace(location, form=None)] if again else [])  # its name is sure, as it gave something

    def _note(self, location: Location, fetch: Fetch, error: OnefsError, problems: list[Problem]) -> None:
        log.info("%s: %s", fetch.dataset.path, error.reason)
        problems.append(Problem(server_of(location), error, location.url, location.instead_of))
        if isinstance(error, MismatchError):
            self._on_mismatch(fetch.dataset, location)

    def _withdraw(self, fetch: Fetch, growing: Growing, error: OnefsError, *, is_told: bool = False) -> None:
        """Drop what is there. Whoever read of it gets the error from now on; others begin anew."""
        if growing.is_served and not is_told:
            self._on_broken(fetch.dataset, error)
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


def _untried(locations: Iterable[Location]) -> Ordered:
    return ((location, None) for location in locations)
