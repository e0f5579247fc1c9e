"""Requests for parts of a growing file: which answers are of its edition, and where their bytes go."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from onefs.cache.blocks import BlockFile
from onefs.cache.verify import Verify
from onefs.errors import BrokenAnswerError, MismatchError
from onefs.fetch.cancel import CancelToken
from onefs.fetch.download import agree
from onefs.fetch.fetch import Fetch
from onefs.fetch.growing import Growing
from onefs.fetch.ranges import ChangedError, Ranges, Span, server_of
from onefs.text import counted
from onefs.transports.addresses import shown
from onefs.transports.base import Body, Location

GIVES_NO_PARTS = "gives no parts of it"
TELLS_NO_EDITIONS = "does not tell editions apart (no ETag, no Last-Modified)"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Means:
    """What large files are fetched with. `length` judges lengths alone."""

    ranges: Ranges
    token: CancelToken
    length: Verify


class Parts:
    """Fetches parts of one file from one location. Safe to use from several threads."""

    def __init__(
        self, means: Means, location: Location, growing: Growing, fetch: Fetch, is_over: Callable[[], bool]
    ) -> None:
        self.means = means
        self.location = location
        self.growing = growing
        self.file_fetch = fetch
        self.is_over = is_over
        self.is_streaming = False  # whether a thread receives all from the beginning; guarded by growing.changed

    def fetch(self, blocks: range) -> None:
        """Fetch these blocks, which were taken, and give them back. Ends early once it is over.

        Raises what kept the location from giving them, ChangedError, OSError or NoRoomError.
        """
        try:
            self.means.ranges.fetch(self.location, _Part(self, blocks), self.means.token)
        finally:
            self.growing.give_back(blocks)


class _Part:
    """Blocks that one thread fetches, in as many requests as it takes."""

    def __init__(self, parts: Parts, blocks: range) -> None:
        self._parts = parts
        self._growing = parts.growing
        self._blocks = blocks
        # Where the bytes end that came so far, so that the next request goes on within a block.
        self._reached = blocks.start * parts.growing.file.map.block_bytes
        self._span = Span(0)
        self._room = ExitStack()
        self._is_part = False
        self._end = self._counts_to = self._done = self._position = 0

    def next_span(self) -> Span | None:
        """What is still missing of the part or, if the server gives no parts, all; None if there is nothing to ask."""
        growing = self._growing
        with growing.changed:
            file = growing.file
            is_over = self._parts.is_over()
            if is_over or (growing.streams and (self._parts.is_streaming or file.map.is_whole)):
                return None
            if growing.streams:
                self._span = Span(0)
                return self._span
            missing = next(file.map.missing(self._blocks), None)
            if missing is None:
                return None
            begin, end = file.map.part(range(missing, self._blocks.stop))
            self._span = Span(max(begin, self._reached) if file.edition else begin, end, file.edition)
            return self._span

    def opened(self, body: Body) -> bool:
        """Whether to read this answer, else to ask again; raises ChangedError if it is not of the edition at hand."""
        parts, growing = self._parts, self._growing
        agree(parts.file_fetch.dataset, parts.location, body.total_bytes, parts.means.length)
        with growing.changed:
            file = growing.file
            is_part_of_edition = body.is_part and bool(body.edition) and not growing.streams
            if not is_part_of_edition and parts.is_streaming:
                return False
            if file.source and body.edition != file.edition and not (is_part_of_edition and self._span.edition):
                raise ChangedError
            if not is_part_of_edition:
                why = GIVES_NO_PARTS if body.edition else TELLS_NO_EDITIONS
                if not growing.streams:
                    path, server = parts.file_fetch.dataset.path, server_of(parts.location)
                    log.info("%s: %s %s, so it is read from its beginning on.", path, server, why)
                growing.stream(why)
                if body.is_part:
                    return False  # a part of an edition without a name: ask for the whole, which is of one
                parts.is_streaming = True
            if not file.source or not file.edition:
                file.comes_from(shown(parts.location.url), body.edition)
        self._begin(body)
        return True

    def _begin(self, body: Body) -> None:
        blocks = self._blocks if body.is_part else range(self._growing.file.map.blocks)
        self._is_part = body.is_part
        self._end = self._growing.file.map.part(blocks)[1]
        # Where a server tells no length, the last block counts only once nothing comes after it.
        self._counts_to = self._end - 1 if body.total_bytes is None else self._end
        self._position = body.start
        self._done = body.start // self._growing.file.map.block_bytes
        try:
            self._room.enter_context(self._growing.room_for(blocks))
        except BaseException:
            self.closed(is_complete=False)
            raise

    def write(self, chunk: bytes, offset: int) -> bool:
        """Write what comes where it belongs. Blocks that are there stay as they are."""
        growing, file = self._growing, self._growing.file
        if self._parts.is_over():
            return False
        self._position = offset + len(chunk)
        if self._position > self._end:
            server = server_of(self._parts.location)
            raise MismatchError(f"{server} sends more than the {counted(file.map.size_bytes, 'byte')} of the file.")
        # Without a name for its edition, what came before tells whether this is the same.
        if not file.edition and not growing.has_same(chunk, offset):
            raise ChangedError
        _write_missing(file, memoryview(chunk), offset)
        self._note(min(self._position, self._counts_to))
        self._parts.file_fetch.done_bytes = growing.done_bytes
        return True

    def closed(self, *, is_complete: bool) -> None:
        """Give back the room that was not needed. Raises BrokenAnswerError for an answer that ended too soon."""
        try:
            if is_complete and self._position < self._end:
                server, end = server_of(self._parts.location), counted(self._end, "byte")
                raise BrokenAnswerError(f"{server} ended after {self._position} of {end}.")
            if is_complete:
                self._note(self._end)
        finally:
            self._room.close()
            if not self._is_part:
                with self._growing.changed:
                    self._parts.is_streaming = False
                    self._growing.changed.notify_all()

    def _note(self, position: int) -> None:
        """Tell of the blocks that are written now."""
        blocks = self._growing.file.map
        reached = blocks.blocks if position == blocks.size_bytes else position // blocks.block_bytes
        if reached > self._done:
            self._growing.arrived(range(self._done, reached))
        self._done = reached
        if self._is_part:
            self._reached = position


def _write_missing(file: BlockFile, chunk: "memoryview[int]", position: int) -> None:
    block_bytes = file.map.block_bytes
    while chunk:
        block = position // block_bytes
        is_there, stop = file.map.has(block), (block + 1) * block_bytes
        while stop < position + len(chunk) and file.map.has(stop // block_bytes) == is_there:
            stop += block_bytes
        piece = chunk[: stop - position]
        if not is_there:
            file.write(piece, position)
        position += len(piece)
        chunk = chunk[len(piece) :]
