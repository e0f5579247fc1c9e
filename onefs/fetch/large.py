"""`LargeFiles` fetches part files: from the location that began them, another with the same edition, or anew."""

import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from uuid import UUID

from onefs.cache.atomic import NO_ROOM, cache_error
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
    OfflineError,
    OnefsError,
    UnreachableError,
)
from onefs.fetch.failures import Failures, giver, mismatch, offline
from onefs.fetch.fetch import Fetch, FetchEvents, FetchState
from onefs.fetch.filling import Filling, FillingWorkers, Outcome
from onefs.fetch.joining import has_same_edition
from onefs.fetch.locations import Locations, Ordered, untried
from onefs.fetch.part_file import BlockRules, Gate, PartFile
from onefs.fetch.ranges import ChangedError, Ranges, server_of
from onefs.fetch.storage import DiskBlocks, Memory, MemoryBlocks
from onefs.fetch.whole import IN_MEMORY_BYTES
from onefs.threads import Workers
from onefs.transports.addresses import shown
from onefs.transports.base import Location

EDITIONS_IN_A_ROW = 3
BREAKS_IN_A_ROW = 3
"""So often the location that began a file must have failed before its blocks are given up for another's."""
log = logging.getLogger(__name__)


class Pause(StrEnum):
    """Why a worker leaves a fetch that has not ended: nothing is wanted of it just now, or nobody has it open."""

    RESTING = "resting"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class WholePart:
    """A part file that is all there, and right, or to be served all the same."""

    file: DiskBlocks
    md5: str


class _Worker:
    """Fetches what is wanted of one part file."""

    def __init__(self, fetch: Fetch, large: "LargeFiles") -> None:
        self._fetch = fetch
        self._large = large

    def refusal(self) -> OnefsError | None:
        return self._large.refusal(self._fetch.dataset)

    def begin(self) -> None:
        self._fetch.begin()


class LargeFiles:
    """Fetches files by blocks. Safe to use from several threads.

    Those above `whole_file_max` can be read before they are whole, unless the policy is STRICT.
    """

    def __init__(
        self,
        store: ContentStore,
        ranges: Ranges,
        rules: BlockRules,
        policy: Verify,
        failures: Failures,
        events: FetchEvents,
        *,
        max_transfers: int,
    ) -> None:
        self._store = store
        self._ranges = ranges
        self._rules = rules
        self._policy = policy
        self._failures = failures
        self._events = events
        self.may_go_on = True
        """Whether more may be fetched of files that are open."""
        # By blocks a file is of the catalogue's length or not served: what the policy accepts all the same comes whole.
        self._workers = FillingWorkers(max_transfers, Verify.STRICT if policy is Verify.WARN else policy)
        self._hashers = Workers("onefs-hash", 64, yields=True)
        self._memory = Memory()
        self._breaks: dict[UUID, int] = {}  # by dataset, how often in a row the location that began it failed

    def gate(self, dataset: Dataset) -> Gate | None:
        """What readers may have of a dataset before it is verified; None if it is fetched in one request."""
        size_bytes = dataset.size_bytes or 0
        if size_bytes <= IN_MEMORY_BYTES and size_bytes <= self._rules.whole_file_max_bytes:
            return None
        if self._policy is Verify.STRICT or size_bytes <= self._rules.whole_file_max_bytes:
            return Gate.WHOLE if self._policy in (Verify.STRICT, Verify.AUTO) else None
        return Gate.OPEN if self._policy is Verify.OFF or not dataset.md5 else Gate.END

    def refusal(self, dataset: Dataset) -> OnefsError | None:
        """Why no more can be asked for of a dataset just now; None if it can."""
        if not self.may_go_on:
            return self._failures.tell_offline(dataset, offline(dataset, self._store))
        return self._failures.current(dataset, None, may_fetch=True)

    def permit(self, *, may_go_on: bool) -> None:
        """Say whether more may be fetched of files that are open; if not, what is under way is broken off."""
        self.may_go_on = may_go_on
        if not may_go_on:
            self._workers.interrupt(OfflineError("The mode was switched to one that fetches nothing.", ""))

    def fetch(self, fetch: Fetch, locations: Locations) -> WholePart | Pause | Ordered:
        """Fill the file from the first location that can, or on from the one that it was begun from.

        Gives the locations that are left to be tried, once bytes were wrong: they shall give the whole at once. Raises
        NamedByOtherError.
        """
        part = fetch.part
        if part is None or part.storage.is_displaced:  # by a process that had nothing to go on with: both fill its file
            part = self._begin(fetch)
        if isinstance(part.storage, DiskBlocks):
            part.storage.is_shared = fetch.is_shared
        remaining = iter(locations.ordered)
        others: list[Location] = []
        is_gone = True
        for location, too_soon in remaining:
            has_some = part.storage.map.count > 0 or part.is_served
            is_begun = has_some and part.storage.source == shown(location.url)
            if too_soon is not None:
                locations.pass_over(location, too_soon)
                is_gone = is_gone and not is_begun
            elif has_some and not is_begun:
                others.append(location)
            elif is_begun or locations.is_due(location):
                result = self._fetch_from(location, fetch, locations)
                if result is not None:
                    return result
                if fetch.part is None:
                    return [*self._once_more(part, location), *untried(others), *remaining]
                part = fetch.part
                is_gone = isinstance(locations.problems[-1].error, MissingOnServerError | MismatchError)
        return self._fetch_from_others(others, fetch, locations, is_gone=is_gone)

    def replaced(self, fetch: Fetch, inode: int) -> None:
        """A verified file is there: serve no more of what there was of it, unless it is that very file."""
        if fetch.part is not None and fetch.part.inode != inode:
            self._withdraw(fetch, fetch.part, _changed(fetch.dataset))

    def withdraw(self, fetch: Fetch, error: OSError | OnefsError) -> None:
        """Serve no more of what there is of a file, as its disk failed."""
        if fetch.part is not None:
            ours = error if isinstance(error, OnefsError) else cache_error(fetch.dataset.path, "the cache", error)
            self._withdraw(fetch, fetch.part, ours, is_told=True)

    def close(self) -> None:
        """Let the threads end."""
        self._workers.close()
        self._hashers.close(drops=False)

    def _begin(self, fetch: Fetch) -> PartFile:
        """A file on disk, which goes on with what an earlier process left; in memory if there is no room."""
        dataset = fetch.dataset
        try:
            is_whole = self.gate(dataset) is Gate.WHOLE
            storage = DiskBlocks(
                self._store, dataset, self._rules.block_bytes, is_whole=is_whole, evicts=fetch.is_demanded
            )
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            return self._float(fetch, cache_error(dataset.path, self._store.data_dir, error))
        storage.is_shared = fetch.is_shared
        return self._use(fetch, storage, self._rules)

    def _float(self, fetch: Fetch, why: OnefsError) -> PartFile:
        """Serve the file through memory from now on, as there is no room for it. Raises NoRoomError."""
        before, dataset = fetch.part, fetch.dataset
        if self.gate(dataset) is Gate.WHOLE:
            raise why
        blocks = MemoryBlocks(self._memory, dataset.size_bytes or 0, self._rules.block_bytes)
        log.warning("%s It is served through memory.", why.reason)
        if before is not None:
            with suppress(OSError):
                before.storage.drop()
            if before.storage.source:
                blocks.comes_from(before.storage.source, before.storage.edition)
        ahead_bytes = min(self._rules.read_ahead_max_bytes, self._memory.share_bytes // 4)
        return self._use(fetch, blocks, replace(self._rules, read_ahead_max_bytes=ahead_bytes))

    def _use(self, fetch: Fetch, storage: DiskBlocks | MemoryBlocks, rules: BlockRules) -> PartFile:
        try:
            gate = self.gate(fetch.dataset) or Gate.WHOLE
            part = PartFile(storage, rules, gate, _Worker(fetch, self), self._hashers)
        except OSError:
            storage.close()
            raise
        fetch.done_bytes = part.done_bytes
        before = fetch.part
        fetch.use(part)
        if before is not None and before.is_served:
            part.is_served = True
        return part

    def _fetch_from_others(
        self, others: list[Location], fetch: Fetch, locations: Locations, *, is_gone: bool
    ) -> WholePart | Pause | Ordered:
        """The rest from locations that did not begin it, as the one that did `is_gone`, or just failed."""
        if others and not is_gone:
            self._breaks[fetch.dataset.id] = self._breaks.get(fetch.dataset.id, 0) + 1
        for number, location in enumerate(others):
            part = fetch.part
            if part is None or not locations.is_due(location):
                continue
            if self._goes_on(location, fetch, part, locations, is_gone=is_gone):
                part = fetch.part or part
                result = self._fetch_from(location, fetch, locations)
                if result is not None:
                    return result
                if fetch.part is None:
                    return [*self._once_more(part, location), *untried(others[number + 1 :])]
        return ()

    def _goes_on(
        self, location: Location, fetch: Fetch, part: PartFile, locations: Locations, *, is_gone: bool
    ) -> bool:
        """Whether a location can give the rest of a file that another one began, or begins anew, as that one is gone.

        Not at that one's first failure, as what is there and was read would be lost.
        """
        dataset, server = fetch.dataset, server_of(location)
        try:
            if self._policy is not Verify.OFF and has_same_edition(fetch, part, location, self._ranges):
                log.info("%s: %s goes on with it.", dataset.path, server)
                return True
        except (UnreachableError, AccessRefusedError, ContentError) as error:
            locations.failed(location, error)
            return False
        is_passing = not is_gone and self._breaks.get(dataset.id, 0) < BREAKS_IN_A_ROW
        if is_passing and (part.is_served or part.gate is not Gate.WHOLE):
            log.info("%s: %s has it too, but nothing tells that it is the same edition.", dataset.path, server)
            return False
        self._withdraw(fetch, part, _changed(dataset))
        self._begin(fetch)
        return True

    def _fetch_from(self, location: Location, fetch: Fetch, locations: Locations) -> WholePart | Pause | None:
        server = fetch.host = server_of(location)
        editions = 0
        while (part := fetch.part) is not None:
            try:
                outcome = Filling(fetch, part, location, self._ranges, self._workers).run()
                self._breaks.pop(fetch.dataset.id, None)
                if outcome is Outcome.WHOLE:
                    return self._judged(location, part, fetch, locations)
                pause = self._pause(outcome, part, fetch)
                if pause is not None:
                    return pause
            except ChangedError:
                log.info("%s: %s has another edition of it by now.", fetch.dataset.path, server)
                self._withdraw(fetch, part, _changed(fetch.dataset))
                self._begin(fetch)
                editions += 1
                if editions == EDITIONS_IN_A_ROW:
                    error = BrokenAnswerError(f"{server} answers each request with another edition of the file.")
                    locations.failed(location, error)
                    return None
            except (UnreachableError, AccessRefusedError, ContentError) as error:
                locations.failed(location, error)
                if isinstance(error, MismatchError) and (part.streams or self._policy is Verify.WARN):
                    self._withdraw(fetch, part, error)  # what is there is of another length than it should be
                return None
            except (OSError, NoRoomError) as error:
                self._without_room(fetch, part, error)
        return None

    def _pause(self, outcome: Outcome, part: PartFile, fetch: Fetch) -> Pause | None:
        """Why to leave it for now; None to go on. Raises why it cannot, to those who wait for a whole file."""
        if outcome is Outcome.UNUSED:
            return Pause.ABANDONED if fetch.abandon() else None
        if part.gate is not Gate.WHOLE:
            return Pause.RESTING
        refusal = self.refusal(fetch.dataset)
        if refusal is not None:
            raise refusal
        return None

    def _without_room(self, fetch: Fetch, part: PartFile, error: OSError | NoRoomError) -> None:
        """Go on through memory. Raises the error if it is another one, or if memory does not help."""
        if isinstance(error, OSError):
            if error.errno not in NO_ROOM:
                raise error
            self._float(fetch, cache_error(fetch.dataset.path, self._store.data_dir, error))
        elif part.storage.is_kept:
            self._float(fetch, error)
        else:
            raise error

    def _judged(self, location: Location, part: PartFile, fetch: Fetch, locations: Locations) -> WholePart | None:
        """The file if it is right, or accepted as what a server holds; else it goes."""
        dataset, storage = fetch.dataset, part.storage
        fetch.move(FetchState.HASHING)
        md5 = part.hash()
        fetch.token.raise_if_cancelled()
        fetch.move(FetchState.FETCHING)
        if not md5 or not isinstance(storage, DiskBlocks):
            raise BrokenAnswerError(f"{dataset.path} was closed while it was hashed.", "Open it again.")
        size_bytes = storage.map.size_bytes
        verdict = judge(dataset, size_bytes, md5, self._policy)
        if verdict is Verdict.RIGHT:
            part.verified()
            return WholePart(storage, md5)
        error = mismatch(dataset, f"{giver(location)} gave", size_bytes, md5)
        if not (storage.was_begun or storage.is_mixed):  # one answer
            locations.failed(location, error)
            if verdict is Verdict.ACCEPTED:
                return WholePart(storage, md5)
        self._withdraw(fetch, part, error)
        return None

    def _once_more(self, part: PartFile, location: Location) -> Ordered:
        """The location itself, if what it gave was not all of one answer, or if it may be of any length."""
        is_mixed = part.storage.was_begun or part.storage.is_mixed or self._policy is Verify.WARN
        return untried([replace(location, form=None)] if is_mixed else [])  # its name is sure, as it gave something

    def _withdraw(self, fetch: Fetch, part: PartFile, error: OnefsError, *, is_told: bool = False) -> None:
        """Drop what is there. Whoever read of it gets the error from now on; others begin anew."""
        if part.is_served and not is_told:
            self._failures.tell(fetch.dataset, error)
            self._events.failed(fetch.dataset, error)
        part.fail(error)
        if part.is_served:
            self._events.withdrawn(fetch.dataset)
        with suppress(OSError):
            part.storage.drop()
        fetch.use(None)


def _changed(dataset: Dataset) -> OnefsError:
    return BrokenAnswerError(
        f"{dataset.path} was replaced by another edition while it was being read.", "Open it again."
    )
