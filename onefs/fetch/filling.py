"""`Filling` fetches blocks of a part file from one location: by how many threads, when to sync, and when to stop."""

import logging
import time
from enum import StrEnum

from onefs.cache.locks import StoppedError
from onefs.cache.verify import Verify
from onefs.errors import BrokenAnswerError, MismatchError, OfflineError, OnefsError
from onefs.fetch.cancel import CancelToken
from onefs.fetch.failures import agree, fault
from onefs.fetch.fetch import Fetch
from onefs.fetch.part_file import Gate, PartFile
from onefs.fetch.ranges import ChangedError, Ranges, Span, server_of
from onefs.fetch.scheduler import SHORTEST_SPAN_BYTES
from onefs.fetch.storage import NamedByOtherError
from onefs.text import counted
from onefs.threads import Workers
from onefs.transports.addresses import shown
from onefs.transports.base import Body, Location

IDLE_S = 0.5
OTHERS_S = 0.05
"""How often to look for blocks that another process fetches."""
SYNCED_EVERY_S = 10.0
GIVES_NO_PARTS = "gives no parts of it"
TELLS_NO_EDITIONS = "does not tell editions apart (no ETag, no Last-Modified)"
log = logging.getLogger(__name__)


class Outcome(StrEnum):
    """Why a filling ended: all is there, nothing is wanted just now, or nobody has it open any more."""

    WHOLE = "whole"
    RESTING = "resting"
    UNUSED = "unused"


class Filling:
    """Fills a part file from one location: the thread that runs it, and those that help it with further spans."""

    def __init__(
        self, fetch: Fetch, part: PartFile, location: Location, ranges: Ranges, workers: "FillingWorkers"
    ) -> None:
        self.fetch = fetch
        self.part = part
        self.location = location
        self._ranges = ranges
        self._workers = workers
        self._token = CancelToken(fetch.token)
        # All guarded by part.changed.
        self.is_streaming = False
        """Whether a thread receives all from the beginning."""
        self._error: Exception | None = None
        self._is_ended = False
        self._helpers = 0
        self._is_idle = False
        self._is_syncing = False
        self._synced_s = time.monotonic()

    @property
    def length(self) -> Verify:
        """The policy that judges lengths alone."""
        return self._workers.length

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be fetched."""
        if self._is_ended or self._error is not None or self.fetch.is_unused or self._token.is_cancelled:
            return True
        return not self.part.may_go_on()

    def interrupt(self, error: OnefsError) -> None:
        """Break off what is under way, and let the file rest."""
        self._token.cancel(error)

    def run(self) -> Outcome:
        """Fetch what is wanted until there is a reason to stop.

        Raises what kept the location from giving it, ChangedError, the token's error, OSError or NoRoomError.
        """
        part = self.part
        part.filling = self
        self._workers.running.add(self)
        part.resume()
        if part.gate is Gate.WHOLE and part.storage.map.size_bytes > SHORTEST_SPAN_BYTES:
            for _ in range(part.rules.parts - 1):
                self.help()
        try:
            part.refresh()
            while True:
                self.fetch.token.raise_if_cancelled()
                with part.changed:
                    self._raise_failure()
                    outcome, blocks = self._next()
                if outcome is not None:
                    break
                if blocks:
                    self._fetch(blocks)
                elif part.awaits_others:
                    part.refresh()
        finally:
            self._workers.running.discard(self)
            part.filling = None
            self._token.cancel(OfflineError("The filling of this file has ended."))  # nobody waits for a silent server
            with part.changed:
                self._is_ended = True
                part.changed.wait_for(lambda: not self._helpers and not self._is_syncing)
        self._raise_failure()
        return outcome

    def help(self) -> None:
        """Let another thread fetch a further span, if one is wanted."""
        part = self.part
        with part.changed:
            if self._is_idle or self._helpers >= part.rules.parts - 1 or self.is_over or part.streams:
                return
            self._helpers += 1
        if not self._workers.helpers.submit(self._help):
            with part.changed:
                self._helpers -= 1
                part.changed.notify_all()  # `run` may wait for that

    def _next(self) -> tuple[Outcome | None, range]:
        """What to do next: end so, or fetch these blocks; neither, after a while in which nothing was wanted."""
        part = self.part
        if self._token.is_cancelled:  # as nothing may be fetched any more
            part.pause()
            return Outcome.RESTING, range(0)
        is_whole = part.storage.map.is_whole
        if is_whole and not self._helpers:
            return Outcome.WHOLE, range(0)
        may_go_on = part.may_go_on()
        if not may_go_on:
            part.wake()
        elif not is_whole and not self.fetch.is_unused:
            blocks = part.next_span(all_at_once=not self._helpers)
            if blocks:
                if time.monotonic() - self._synced_s > SYNCED_EVERY_S:
                    self._sync()
                return None, blocks
            if part.awaits_others:
                part.changed.wait(OTHERS_S)
                return None, range(0)
        return self._rest(may_go_on=may_go_on), range(0)

    def _rest(self, *, may_go_on: bool) -> Outcome | None:
        """Wait for more to be wanted, and then sync; the outcome if nothing is for a while."""
        part = self.part
        is_busy, is_whole = bool(self._helpers or self._is_syncing), part.storage.map.is_whole
        self._is_idle = True
        leaves = not is_busy and (self.fetch.is_unused or not may_go_on)
        was_idle = not part.changed.wait(0 if leaves else IDLE_S)
        self._is_idle = False
        if not was_idle or self._helpers or self._is_syncing or is_whole:
            return None
        if not part.storage.is_synced:
            self._sync()
            return None
        if self.fetch.is_unused:
            return Outcome.UNUSED
        return Outcome.RESTING if part.rest() else None

    def _fetch(self, blocks: range) -> None:
        """Fetch these blocks, which were taken, and give them back. Ends early once it is over."""
        try:
            self.part.refresh()  # another process may have fetched some until they were claimed
            self._ranges.fetch(self.location, SpanSink(self, blocks), self._token)
        except OnefsError:
            if self.fetch.token.is_cancelled or not self._token.is_cancelled:
                raise
        finally:
            self.part.storage.flush_notes()  # before they can be claimed by another process
            self.part.give_back(blocks)

    def _help(self) -> None:
        failure: Exception | None = fault(self.fetch.dataset)
        try:
            while not self.is_over and (blocks := self.part.next_span()):
                self._fetch(blocks)
            failure = None
        except (OnefsError, OSError, ChangedError, NamedByOtherError, StoppedError) as error:
            failure = error
        finally:
            with self.part.changed:
                self._helpers -= 1
                self._error = self._error or failure
                self.part.changed.notify_all()
            if failure is not None:  # what others wait for at this location is asked for elsewhere
                self._token.cancel(OfflineError("Another request for this file failed."))

    def _sync(self) -> None:
        """Bring what there is to the disk, in a thread of its own, so that no reader waits for that."""
        if self._is_syncing:
            return
        self._synced_s = time.monotonic()

        def sync() -> None:
            failure: OSError | None = None
            try:
                self.part.storage.sync()
            except OSError as error:
                failure = error  # what was written may be lost, though it can still be read
            finally:
                with self.part.changed:
                    self._is_syncing = False
                    self._error = self._error or failure
                    self.part.changed.notify_all()

        self._is_syncing = self._workers.syncs.submit(sync)

    def _raise_failure(self) -> None:
        if self._error is not None:
            raise self._error


class FillingWorkers:
    """The threads that fillings share. `length` is the policy that judges lengths alone."""

    def __init__(self, most: int, length: Verify) -> None:
        self.helpers = Workers("onefs-part", most)
        self.syncs = Workers("onefs-sync", most)
        self.length = length
        self.running: set[Filling] = set()  # changed by one operation at a time, each of them atomic

    def interrupt(self, error: OnefsError) -> None:
        """Break off all that is under way."""
        for filling in tuple(self.running):
            filling.interrupt(error)

    def close(self) -> None:
        """Let the threads end, once they have done what a filling waits for."""
        self.helpers.close(drops=False)
        self.syncs.close(drops=False)


class SpanSink:
    """Asks for some blocks of a part file, and puts their bytes where they belong. For one thread."""

    def __init__(self, filling: Filling, blocks: range) -> None:
        self._filling = filling
        self._part = filling.part
        self._blocks = blocks
        self._reached = blocks.start * filling.part.storage.map.block_bytes
        self._block = blocks.start  # the first that was not noted yet
        self._is_part = True
        self._is_done = False
        self._has_some = False
        self._asked_edition = ""
        self._end = self._counts_to = 0
        self._reserved = range(0)

    def next_span(self) -> Span | None:
        """What is still missing of the blocks or, if the server gives no parts, all; None if nothing is wanted."""
        part = self._part
        with part.changed:
            storage = part.storage
            if (
                self._is_done
                or self._filling.is_over
                or (part.streams and (self._filling.is_streaming or storage.map.is_whole))
            ):
                return None
            self._asked_edition = "" if part.streams else storage.edition
            if part.streams:
                return Span(0)
            missing = next(storage.map.missing(self._blocks), None)
            if missing is None:
                return None
            begin, end = storage.map.part(range(missing, self._blocks.stop))
            return Span(max(begin, self._reached) if storage.edition else begin, end, storage.edition)

    def opened(self, body: Body) -> bool:
        """Whether the answer is of the edition at hand; False to ask again. Raises ChangedError, MismatchError."""
        filling, part = self._filling, self._part
        agree(filling.fetch.dataset, filling.location, body.total_bytes, filling.length)
        if not self._is_of_edition(body):
            return False
        if self._has_some:
            part.storage.is_mixed = True
        self._is_part = body.is_part
        blocks = self._blocks if body.is_part else range(part.storage.map.blocks)
        part.reserve(blocks)
        self._reserved = blocks
        self._end = part.storage.map.part(blocks)[1]
        # Where a server tells no length, the last block counts only once nothing comes after it.
        self._counts_to = self._end - 1 if body.total_bytes is None else self._end
        self._reached = body.start
        self._block = body.start // part.storage.map.block_bytes
        return True

    def write(self, chunk: bytes, offset: int) -> bool:
        """Write the bytes of blocks that are missing; those that are there stay as they are."""
        filling, part = self._filling, self._part
        if filling.is_over:
            return False
        storage, end = part.storage, offset + len(chunk)
        if end > self._end:
            raise self._too_long()
        # Without a name for its edition, what came before tells whether this is the same.
        if not storage.edition and not part.has_same(chunk, offset):
            raise ChangedError
        view, block_bytes = memoryview(chunk), storage.map.block_bytes
        while view:
            block = offset // block_bytes
            is_there, stop = storage.map.has(block), (block + 1) * block_bytes
            while stop < end and storage.map.has(stop // block_bytes) == is_there:
                stop += block_bytes
            piece = view[: stop - offset]
            if not is_there:
                storage.write(piece, offset)
            offset += len(piece)
            view = view[len(piece) :]
        self._note(min(end, self._counts_to))
        self._reached = end
        self._has_some = True
        incomplete_bytes = end - self._block * block_bytes
        filling.fetch.done_bytes = max(filling.fetch.done_bytes, part.done_bytes + incomplete_bytes)
        return True

    def closed(self, *, is_complete: bool) -> None:
        """Note what is complete by now. Raises BrokenAnswerError if the answer ended before its blocks did."""
        part = self._part
        try:
            if is_complete and self._reached < self._end:
                server, size = server_of(self._filling.location), counted(self._end, "byte")
                raise BrokenAnswerError(f"{server} ended after {self._reached} of {size}.")
            if is_complete:
                self._note(self._end)
                self._is_done = True  # though in memory some of its blocks may have made room for others again
        finally:
            part.give_back_room(self._reserved)
            if not self._is_part:
                with part.changed:
                    self._filling.is_streaming = False
                    part.changed.notify_all()

    def _note(self, position: int) -> None:
        """Note the blocks that end before `position`."""
        blocks = self._part.storage.map
        reached = blocks.blocks if position == blocks.size_bytes else position // blocks.block_bytes
        if reached > self._block:
            self._part.arrived(range(self._block, reached))
            self._block = reached

    def _is_of_edition(self, body: Body) -> bool:
        filling, part = self._filling, self._part
        with part.changed:
            storage = part.storage
            is_part_of_edition = body.is_part and bool(body.edition) and not part.streams
            if not is_part_of_edition and filling.is_streaming:
                return False
            is_confirmed = is_part_of_edition and bool(self._asked_edition)  # by If-Range
            if storage.source and body.edition != storage.edition and not is_confirmed:
                raise ChangedError
            if not is_part_of_edition:
                why = GIVES_NO_PARTS if body.edition else TELLS_NO_EDITIONS
                if not part.streams:
                    path, server = filling.fetch.dataset.path, server_of(filling.location)
                    log.info("%s: %s %s, so it is read from its beginning on.", path, server, why)
                part.stream(why)
                if body.is_part:
                    return False  # a part of an edition without a name: ask for the whole, which is of one
                filling.is_streaming = True
            if not storage.source or not storage.edition:
                storage.comes_from(shown(filling.location.url), body.edition)
            return True

    def _too_long(self) -> BrokenAnswerError | MismatchError:
        server = server_of(self._filling.location)
        if self._is_part or self._counts_to == self._end:
            return BrokenAnswerError(f"{server} sends more than it said.")
        return MismatchError(f"{server} sends more than the {counted(self._end, 'byte')} of the file.")
