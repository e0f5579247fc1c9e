"""Requests for parts of a growing file: which answers are of its edition, and where their bytes go."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from onefs.cache.blocks import BlockFile
from onefs.cache.verify import Verify
from onefs.errors import BrokenAnswerError, MismatchError
from onefs.fetch.download import Attempts, Pace, Patience, agree, persist, server_of
from onefs.fetch.fetch import Fetch
from onefs.fetch.growing import Growing
from onefs.fetch.retry import LocationHealth
from onefs.text import counted
from onefs.transports.addresses import shown
from onefs.transports.base import Body, Location, Transport

GIVES_NO_PARTS = "gives no parts of it"
TELLS_NO_EDITIONS = "does not tell editions apart (no ETag, no Last-Modified)"
log = logging.getLogger(__name__)


class ChangedError(Exception):
    """The location has another edition of the file by now."""


@dataclass(frozen=True, slots=True)
class Means:
    """What large files are fetched with. `received` is told of every piece's size; `length` judges lengths alone."""

    transport: Transport
    health: LocationHealth
    patience: Patience
    received: Callable[[int], None]
    stop: threading.Event
    length: Verify


@dataclass(slots=True)
class _Part:
    """Blocks that one thread fetches, in as many requests as it takes."""

    blocks: range
    reached: int
    """Where the bytes end that came so far, so that the next request goes on within a block."""
    gained_bytes: int = 0
    """How much came that was not there. It tells a server that gives more at each try from one that does not."""


@dataclass(frozen=True, slots=True)
class _Question:
    """One request, from `begin` to before `end`; for the whole file, in any edition, if `end` is None."""

    begin: int
    edition: str
    end: int | None


class Parts:
    """Fetches parts of one file from one location. Safe to use from several threads."""

    def __init__(
        self, means: Means, location: Location, growing: Growing, fetch: Fetch, is_over: Callable[[], bool]
    ) -> None:
        self._means = means
        self._location = location
        self._growing = growing
        self._fetch = fetch
        self._is_over = is_over
        self._is_streaming = False  # whether a thread receives all from the beginning; guarded by growing.changed

    def fetch(self, blocks: range) -> None:
        """Fetch these blocks, which were taken, and give them back. Ends early once it is over.

        Raises what kept the location from giving them, ChangedError, StoppedError, OSError or NoRoomError.
        """
        means = self._means
        part = _Part(blocks, blocks.start * self._growing.file.map.block_bytes)
        try:
            persist(
                lambda attempts: self._ask(part, attempts),
                Attempts(means.patience, 0),
                lambda: part.gained_bytes,
                means.health,
                self._location,
                means.stop,
            )
        finally:
            self._growing.give_back(blocks)

    def _ask(self, part: _Part, attempts: Attempts) -> None:
        while (question := self._next_question(part)) is not None:
            means = self._means
            with means.transport.open(self._location, question.begin, question.edition, question.end) as body:
                attempts.opened = attempts.answered = True
                means.health.reached(self._location)
                agree(self._fetch.dataset, self._location, body.total_bytes, means.length)
                self._location.remember_name_form()
                if self._is_for_us(body, question):
                    try:
                        self._receive(part, body)
                    finally:
                        self._left(body)
                    return

    def _next_question(self, part: _Part) -> _Question | None:
        """What is still missing of a part or, if the server gives no parts, all; None if there is nothing to ask."""
        growing = self._growing
        with growing.changed:
            file = growing.file
            if self._is_over() or (growing.streams and (self._is_streaming or file.map.is_whole)):
                return None
            if growing.streams:
                return _Question(0, "", None)
            missing = next(file.map.missing(part.blocks), None)
            if missing is None:
                return None
            begin, end = file.map.part(range(missing, part.blocks.stop))
            return _Question(max(begin, part.reached) if file.edition else begin, file.edition, end)

    def _is_for_us(self, body: Body, question: _Question) -> bool:
        """Whether to read this answer, else to ask again; raises ChangedError if it is not of the edition at hand."""
        growing = self._growing
        with growing.changed:
            file = growing.file
            is_part_of_edition = body.is_part and bool(body.edition) and not growing.streams
            if not is_part_of_edition and self._is_streaming:
                return False
            if file.source and body.edition != file.edition and not (is_part_of_edition and question.edition):
                raise ChangedError
            if not is_part_of_edition:
                why = GIVES_NO_PARTS if body.edition else TELLS_NO_EDITIONS
                if not growing.streams:
                    path, server = self._fetch.dataset.path, server_of(self._location)
                    log.info("%s: %s %s, so it is read from its beginning on.", path, server, why)
                growing.stream(why)
                if body.is_part:
                    return False  # a part of an edition without a name: ask for the whole, which is of one
                self._is_streaming = True
            if not file.source or not file.edition:
                file.comes_from(shown(self._location.url), body.edition)
            return True

    def _left(self, body: Body) -> None:
        if not body.is_part:
            with self._growing.changed:
                self._is_streaming = False
                self._growing.changed.notify_all()

    def _receive(self, part: _Part, body: Body) -> None:
        blocks = part.blocks if body.is_part else range(self._growing.file.map.blocks)
        with self._growing.room_for(blocks):
            self._write(part, body, self._growing.file.map.part(blocks)[1])

    def _write(self, part: _Part, body: Body, end: int) -> None:
        """Write what comes where it belongs. Blocks that are there stay as they are."""
        growing, fetch, means = self._growing, self._fetch, self._means
        file = growing.file
        pace = Pace(server_of(self._location), means.patience.stall_s)
        # Where a server tells no length, the last block counts only once nothing comes after it.
        counts_to = end - 1 if body.total_bytes is None else end
        position = body.start
        done = position // file.map.block_bytes
        for chunk in body.chunks:
            if self._is_over():
                return
            if position + len(chunk) > end:
                raise self._too_long(body)
            # Without a name for its edition, what came before tells whether this is the same.
            if not file.edition and not growing.has_same(chunk, position):
                raise ChangedError
            _write_missing(file, memoryview(chunk), position)
            position += len(chunk)
            done = self._note(part, body, done, min(position, counts_to))
            fetch.done_bytes = growing.done_bytes
            means.received(len(chunk))
            pace.add(len(chunk))
        if position < end:
            raise BrokenAnswerError(f"{server_of(self._location)} ended after {position} of {counted(end, 'byte')}.")
        self._note(part, body, done, end)

    def _note(self, part: _Part, body: Body, done: int, position: int) -> int:
        """Tell of the blocks that are written now; gives the first that is not."""
        growing = self._growing
        blocks = growing.file.map
        reached = blocks.blocks if position == blocks.size_bytes else position // blocks.block_bytes
        new = growing.arrived(range(done, reached)) if reached > done else 0
        if body.is_part:
            part.gained_bytes += position - max(part.reached, body.start)
            part.reached = position
        else:
            part.gained_bytes += new * blocks.block_bytes
        return reached

    def _too_long(self, body: Body) -> BrokenAnswerError | MismatchError:
        server = server_of(self._location)
        if body.is_part or body.total_bytes is not None:
            return BrokenAnswerError(f"{server} sends more than it said.")
        size_bytes = self._growing.file.map.size_bytes
        return MismatchError(f"{server} sends more than the {counted(size_bytes, 'byte')} of the file.")


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
