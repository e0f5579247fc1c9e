"""Owns the filling of a growing file from one location: which thread fetches what, when to sync, and when to end."""

import time
from collections.abc import Callable
from enum import StrEnum

from onefs.cache.locks import StoppedError
from onefs.errors import ContentError, OnefsError
from onefs.fetch.fetch import Fetch
from onefs.fetch.growing import Growing
from onefs.fetch.parts import Means, Parts
from onefs.fetch.ranges import ChangedError
from onefs.threads import Workers
from onefs.transports.base import Location

IDLE_S = 0.5
SYNCED_EVERY_S = 10.0


class Outcome(StrEnum):
    """Why a filling ended: all is there, nothing is wanted just now, nobody has it open any more, or it was time."""

    WHOLE = "whole"
    RESTING = "resting"
    UNUSED = "unused"
    TURN = "turn"


class Filler:
    """Fills growing files. Safe to use from several threads."""

    def __init__(self, means: Means, max_helpers: int) -> None:
        self.means = means
        self.helpers = Workers("onefs-part", max_helpers)
        self.syncs = Workers("onefs-sync", max_helpers)

    def fill(
        self, location: Location, growing: Growing, fetch: Fetch, is_time: Callable[[], bool] | None = None
    ) -> Outcome:
        """Fetch what is wanted until there is a reason to stop. With `is_time`, asked now and then, it does not rest.

        Raises what kept the location from giving it, ChangedError, OSError or NoRoomError.
        """
        filling = _Filling(self, location, growing, fetch, is_time)
        growing.help_wanted = filling.help
        try:
            outcome = filling.run()
            if outcome is Outcome.WHOLE:
                growing.hash()  # while what is under way to the disk is not waited for, as readers wait for this
        finally:
            growing.help_wanted = _nothing
            filling.end()
        filling.raise_failure()
        return outcome

    def close(self) -> None:
        """Let the threads end, once they have done what a filling waits for."""
        self.helpers.close(drops=False)
        self.syncs.close(drops=False)


class _Filling:
    """One filling: the thread that runs it, and those that help it with further parts."""

    def __init__(
        self,
        filler: Filler,
        location: Location,
        growing: Growing,
        fetch: Fetch,
        is_time: Callable[[], bool] | None,
    ) -> None:
        self._filler = filler
        self._is_time = is_time
        self._growing = growing
        self._fetch = fetch
        self._parts = Parts(filler.means, location, growing, fetch, lambda: self._is_over)
        # All guarded by growing.changed.
        self._error: Exception | None = None
        self._ended = False
        self._helping = 0
        self._is_idle = False
        self._syncing = False
        self._synced_s = time.monotonic()

    def run(self) -> Outcome:
        growing = self._growing
        growing.resumed()
        while True:
            if self._is_time is not None and self._is_time():
                return Outcome.TURN
            with growing.changed:
                self.raise_failure()
                self._filler.means.token.raise_if_cancelled()
                outcome, blocks = self._next()
            if outcome is not None:
                return outcome
            if blocks:
                self._parts.fetch(blocks)

    def end(self) -> None:
        """Wait until nobody works on the file any more."""
        with self._growing.changed:
            self._ended = True
            self._growing.changed.wait_for(lambda: not self._helping and not self._syncing)

    def raise_failure(self) -> None:
        """Raise what another of its threads failed with."""
        if self._error is not None:
            raise self._error

    def help(self) -> None:
        """Let another thread fetch a further part, if one is wanted."""
        growing = self._growing
        with growing.changed:
            if self._is_idle or self._helping >= growing.rules.parts - 1 or self._is_over or growing.streams:
                return
            self._helping += 1
        if not self._filler.helpers.submit(self._help):
            with growing.changed:
                self._helping -= 1

    @property
    def _is_over(self) -> bool:
        if self._ended or self._error is not None or self._fetch.is_unused or self._filler.means.token.is_cancelled:
            return True
        return not self._growing.may_go_on()

    def _next(self) -> tuple[Outcome | None, range]:
        """What to do next: end so, or fetch these blocks; neither, after a while in which nothing was wanted."""
        growing = self._growing
        is_whole, busy = growing.file.map.is_whole, bool(self._helping or self._syncing)
        if is_whole and not self._helping:
            return Outcome.WHOLE, range(0)
        may_go_on = growing.may_go_on()
        if not may_go_on:
            growing.wake()
        elif not is_whole and not self._fetch.is_unused:
            blocks = growing.take(all_at_once=not self._helping)
            if blocks:
                if time.monotonic() - self._synced_s > SYNCED_EVERY_S:
                    self._sync()
                return None, blocks
        self._is_idle = True
        leaves = not busy and (self._fetch.is_unused or not may_go_on)
        was_idle = not growing.changed.wait(0 if leaves else IDLE_S)
        self._is_idle = False
        if not was_idle or self._helping or self._syncing or is_whole:
            return None, range(0)
        if not growing.file.is_synced:
            self._sync()
            return None, range(0)
        if self._fetch.is_unused:
            return Outcome.UNUSED, range(0)
        stays = self._is_time is not None and may_go_on
        return (Outcome.RESTING if not stays and growing.rest() else None), range(0)

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
            while not self._is_over and (blocks := growing.take()):
                self._parts.fetch(blocks)
            failure = None
        except (OnefsError, OSError, ChangedError) as error:
            failure = error
        finally:
            with growing.changed:
                self._helping -= 1
                self._error = self._error or failure
                growing.changed.notify_all()


def _nothing() -> None:
    """Nobody helps."""
