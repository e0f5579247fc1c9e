"""Owns the filling of a growing file from one location: parts in parallel, or all from its beginning."""

import logging
import threading
import time
from collections.abc import Callable
from enum import StrEnum

from onefs.content.download import Attempts, Pace, Patience, agree, persist, server_of
from onefs.content.fetch import Fetch
from onefs.content.growing import Growing
from onefs.content.health import LocationHealth
from onefs.content.locks import StoppedError
from onefs.content.verification import Verify
from onefs.content.workers import Workers
from onefs.errors import BrokenAnswerError, ContentError, OnefsError
from onefs.transports.addresses import shown
from onefs.transports.base import Body, Location, Transport

IDLE_S = 0.5
SYNCED_EVERY_S = 10.0
log = logging.getLogger(__name__)


class ChangedError(Exception):
    """The location has another edition of the file by now, or none can be told from another."""


class Outcome(StrEnum):
    """Why a filling ended: all is there, nobody wants anything just now, or nobody has it open any more."""

    WHOLE = "whole"
    RESTING = "resting"
    UNUSED = "unused"


class Filler:
    """Fills growing files. `received` is told of every piece's size. Safe to use from several threads."""

    def __init__(
        self,
        transport: Transport,
        health: LocationHealth,
        patience: Patience,
        received: Callable[[int], None],
        stop: threading.Event,
        policy: Verify,
        max_helpers: int,
    ) -> None:
        self.transport = transport
        self.health = health
        self.patience = patience
        self.received = received
        self.stop = stop
        self.policy = policy
        self.helpers = Workers("onefs-part", max_helpers)
        self.syncs = Workers("onefs-sync", max_helpers)

    def fill(self, location: Location, growing: Growing, fetch: Fetch) -> Outcome:
        """Fetch what is wanted until there is a reason to stop.

        Raises what kept the location from giving it, ChangedError, StoppedError or OSError.
        """
        filling = _Filling(self, location, growing, fetch)
        growing.help_wanted = filling.help
        try:
            return filling.run()
        finally:
            growing.help_wanted = _nothing
            filling.end()

    def probe(self, location: Location) -> None:
        """Ask for one byte. Raises what keeps the location from giving it."""
        with self.transport.open(location, 0, "", 1) as body:
            next(body.chunks, b"")

    def close(self) -> None:
        """Let the threads end, once they have done what a filling waits for."""
        self.helpers.close(drops=False)
        self.syncs.close(drops=False)


class _Filling:
    """One filling: the thread that runs it, and those that help it with further parts."""

    def __init__(self, filler: Filler, location: Location, growing: Growing, fetch: Fetch) -> None:
        self._filler = filler
        self._location = location
        self._growing = growing
        self._fetch = fetch
        # All guarded by growing.changed.
        self._error: Exception | None = None
        self._ended = False
        self._helping = 0
        self._is_idle = False
        self._syncing = False
        self._synced_s = time.monotonic()
        self._received_bytes = 0
        self._streamer = 0

    def run(self) -> Outcome:
        growing = self._growing
        growing.resumed()
        while True:
            with growing.changed:
                if self._error is not None:
                    raise self._error
                if self._filler.stop.is_set():
                    raise StoppedError
                outcome, blocks = self._next()
            if outcome is not None:
                return outcome
            if blocks:
                self._fetch_part(blocks)

    def end(self) -> None:
        """Wait until nobody works on the file any more."""
        with self._growing.changed:
            self._ended = True
            self._growing.changed.wait_for(lambda: not self._helping and not self._syncing)

    def help(self) -> None:
        """Let another thread fetch a further part, if one is wanted."""
        growing = self._growing
        with growing.changed:
            if self._is_idle or self._helping >= growing.rules.parts - 1 or self._stops or growing.streams:
                return
            self._helping += 1
        if not self._filler.helpers.submit(self._help):
            with growing.changed:
                self._helping -= 1

    @property
    def _stops(self) -> bool:
        return self._ended or self._error is not None or self._fetch.is_unused or self._filler.stop.is_set()

    def _next(self) -> tuple[Outcome | None, range]:
        """What to do next: end so, or fetch these blocks; neither, after a while in which nothing was wanted."""
        growing = self._growing
        is_whole, busy = growing.file.map.is_whole, bool(self._helping or self._syncing)
        if is_whole and not busy:
            return Outcome.WHOLE, range(0)
        if not is_whole and not self._fetch.is_unused:
            blocks = growing.take()
            if growing.streams and not self._helping:
                blocks = range(growing.file.map.blocks)
            if blocks:
                if time.monotonic() - self._synced_s > SYNCED_EVERY_S:
                    self._sync()
                return None, blocks
        self._is_idle = True
        was_idle = not growing.changed.wait(0 if self._fetch.is_unused and not busy else IDLE_S)
        self._is_idle = False
        if not was_idle or self._helping or self._syncing or is_whole:
            return None, range(0)
        if not growing.file.is_synced:
            self._sync()
            return None, range(0)
        if self._fetch.is_unused:
            return Outcome.UNUSED, range(0)
        return (Outcome.RESTING if growing.rest() else None), range(0)

    def _sync(self) -> None:
        """Bring what there is to the disk, in a thread of its own, so that no reader waits for that."""
        if self._syncing:
            return
        self._synced_s = time.monotonic()
        bits = bytes(self._growing.file.map.bits)

        def sync() -> None:
            failure: OSError | None = None
            try:
                self._growing.file.sync(bits)
            except OSError as error:
                failure = error  # what was written may be lost, though it can still be read
            finally:
                with self._growing.changed:
                    self._syncing = False
                    self._error = self._error or failure
                    self._growing.changed.notify_all()

        self._syncing = True
        if not self._filler.syncs.submit(sync):
            self._syncing = False
            raise StoppedError

    def _help(self) -> None:
        growing = self._growing
        failure: Exception | None = ContentError(
            f"{self._fetch.dataset.path} could not be had because of a fault in onefs.",
            "Please report it, with the log.",
        )
        try:
            while not self._stops and (blocks := growing.take()):
                self._fetch_part(blocks)
            failure = None
        except (OnefsError, OSError, StoppedError, ChangedError) as error:
            failure = error
        finally:
            with growing.changed:
                self._helping -= 1
                self._error = self._error or failure
                growing.changed.notify_all()

    def _fetch_part(self, blocks: range) -> None:
        filler = self._filler
        try:
            persist(
                lambda attempts: self._ask(blocks, attempts),
                Attempts(filler.patience, self._received_bytes),
                lambda: self._received_bytes,
                filler.health,
                self._location,
                filler.stop,
            )
        finally:
            self._growing.give_back(blocks)

    def _ask(self, blocks: range, attempts: Attempts) -> None:
        """One request, for what is still missing of these blocks or, if the server gives no parts, for all."""
        growing, filler = self._growing, self._filler
        file = growing.file
        while True:
            with growing.changed:
                missing = next(file.map.missing(blocks), None)
                if missing is None or self._stops:
                    return
                streams, edition = growing.streams, file.edition
                begin, end = file.map.part(range(missing, blocks.stop))
            asked: tuple[int, str, int | None] = (0, "", None) if streams else (begin, edition, end)
            with filler.transport.open(self._location, *asked) as body:
                attempts.opened = attempts.answered = True
                filler.health.reached(self._location)
                agree(self._fetch.dataset, self._location, body.total_bytes, filler.policy)
                if not self._accept(body, edition):
                    return
                if growing.streams and body.is_part:
                    continue  # a part of an edition without a name: ask for the whole, which is of one
                self._receive(body, end if body.is_part else file.map.size_bytes)
                return

    def _accept(self, body: Body, edition: str) -> bool:
        """Whether to read this answer; raises ChangedError if it is not of the edition that is there."""
        growing = self._growing
        file = growing.file
        with growing.changed:
            is_begun = bool(file.source)
            if body.is_part and body.edition and not growing.streams:
                if is_begun and body.edition != file.edition and not edition:
                    raise ChangedError
            else:
                me = threading.get_ident()
                if growing.streams and self._streamer not in (0, me):
                    return False
                if is_begun and (body.edition != file.edition or (file.map.count and not file.edition)):
                    raise ChangedError
                growing.streams, self._streamer = True, me
            if not is_begun or not file.edition:
                file.comes_from(shown(self._location.url), body.edition)
            return True

    def _receive(self, body: Body, end: int) -> None:
        """Write what comes where it belongs. Blocks that are there stay as they are."""
        growing = self._growing
        pace = Pace(server_of(self._location), self._filler.patience.stall_s)
        block_bytes, position = growing.file.map.block_bytes, body.start
        done = position // block_bytes
        for chunk in body.chunks:
            if self._stops:
                return
            position = self._write(memoryview(chunk)[: end - position], position)
            reached = growing.file.map.blocks if position == growing.file.map.size_bytes else position // block_bytes
            if reached > done:
                growing.arrived(range(done, reached))
                done = reached
            self._received_bytes += len(chunk)
            self._fetch.done_bytes = growing.done_bytes
            self._filler.received(len(chunk))
            pace.add(len(chunk))
            if position >= end:
                return
        raise BrokenAnswerError(f"{server_of(self._location)} ended after {position} of {end} bytes.")

    def _write(self, chunk: "memoryview[int]", position: int) -> int:
        file, block_bytes = self._growing.file, self._growing.file.map.block_bytes
        while chunk:
            block, within = divmod(position, block_bytes)
            piece = chunk[: block_bytes - within]
            if not file.map.has(block):
                file.write(piece, position)
            position += len(piece)
            chunk = chunk[len(piece) :]
        return position


def _nothing() -> None:
    """Nobody helps."""
