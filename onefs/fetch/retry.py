"""Which location to try, how often and how long: health of servers, retries with back-off, and the limit of a stall."""

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from onefs.errors import (
    BadHttpError,
    BrokenAnswerError,
    ConnectTimedOutError,
    OnefsError,
    OverloadedError,
    TimedOutError,
    TooSlowError,
    UnreachableError,
    again,
)
from onefs.outages import Outages
from onefs.transports.addresses import server_name
from onefs.transports.base import Location

SKIPPED_S = 60.0
PROBED_EVERY_S = 3.0
LONGEST_WAIT_S = 5.0
"""The longest `Retry-After` that is waited for, if no other server has the file."""
PROGRESS_BYTES = 1 << 16
"""A try that brings less counts as made in vain, so that a server cannot keep a fetch going with a byte per try."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How hard one location is tried: so many retries without progress, with exponential back-off between.

    Fewer than `slow_limit` bytes/s, averaged over `slow_window_s`, are a stall; 0 switches that off. A wrong file in
    the cache that changed within `settled_s` counts as one that another program is writing.
    """

    tries: int = 4
    first_pause_s: float = 0.1
    longest_pause_s: float = 5.0
    slow_limit: float = 1000.0
    slow_window_s: float = 30.0
    settled_s: float = 5.0


class LocationHealth:
    """Servers that could not be reached, or had too much to do, are skipped for a minute, for all files.

    Safe to use from several threads. A file that has no other server left tries them all the same; those that accept
    no connection at most once in a few seconds, whatever the number of files that wait: in between they get the error
    of that try. None is asked before the end of its `Retry-After`.
    """

    def __init__(self, outages: Outages) -> None:
        self._outages = outages

    def order(self, locations: Iterable[Location]) -> Iterator[tuple[Location, OnefsError | None]]:
        """Locations to try in turn; with an error instead if the server must not be asked now.

        `locations` is gone through one by one; those that are skipped come last, after all that it gives. A server
        that fails for one of them is not tried for another: each costs a file one time-out at most.
        """
        begun_s = self._outages.now_s()
        skipped = []
        for location in locations:
            if self.is_skipped(location):
                skipped.append(location)
            else:
                yield location, None
        for location in skipped:
            yield location, self._claim(location, begun_s)

    def failed(self, location: Location, error: OnefsError) -> None:
        """Note that a location's server could not be reached, or had too much to do."""
        self._outages.failed(_server(location), error, SKIPPED_S)

    def reached(self, location: Location) -> None:
        """Note that a location's server answered, whatever it said."""
        if not self._outages.are_none:
            self._outages.answered(_server(location), even_asked=False)

    def is_skipped(self, location: Location) -> bool:
        """Whether a location's server is asked only if no other has the file."""
        return not self._outages.are_none and self._outages.left_s(_server(location)) > 0

    def asked_wait_s(self, location: Location) -> float:
        """Seconds of `Retry-After` that are left for a location's server. Raises its error if they are too many."""
        if self._outages.are_none:
            return 0.0
        wait_s = self._outages.asked_wait_s(_server(location))
        outage = self._outages.of(_server(location))
        if outage is not None and wait_s > LONGEST_WAIT_S:
            raise again(outage.error)
        return wait_s

    def waiting(self, location: Location, what: str) -> AbstractContextManager[None]:
        """A block in which `what` is listed among what waits for a location's server."""
        return self._outages.waiting(_server(location), what)

    def _claim(self, location: Location, begun_s: float) -> OnefsError | None:
        """None if the server may be tried now, else the error of its outage. The caller began at `begun_s`."""
        server = _server(location)
        outage = self._outages.of(server)
        if outage is None:
            return None
        if self._outages.asked_wait_s(server) > LONGEST_WAIT_S:
            return again(outage.error)
        if isinstance(outage.error, OverloadedError):
            return None  # busy with one thing, a server may still give another, and takes no time-out to say so
        if outage.tried_s > begun_s:
            return again(outage.error)
        if isinstance(outage.error, TimedOutError) and not isinstance(outage.error, ConnectTimedOutError):
            return None  # silent about one file, a server may still give another
        return self._outages.claim(server, PROBED_EVERY_S)


class Attempts:
    """The tries of one fetch at one location."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._furthest_bytes: int | None = None
        self._position_bytes = 0
        self._in_vain = 0
        self._refused = 0
        self._was_answered = False
        self.is_answered = False
        """Whether the server answered this try."""

    def begin(self, begin: int) -> None:
        """Begin a try at this byte of the file."""
        self.is_answered = False
        if self._furthest_bytes is None:
            self._furthest_bytes = self._position_bytes = begin

    def answered(self) -> None:
        """Note that the server answered."""
        self.is_answered = self._was_answered = True

    def reached(self, offset: int) -> None:
        """Note where the bytes end that came."""
        self._position_bytes = offset

    def succeeded(self) -> None:
        """Forget the failures: a request ended well."""
        self._furthest_bytes = None
        self._in_vain = self._refused = 0

    def refused(self, location: Location) -> None:
        """Note an answer that the sink could not use. Raises BrokenAnswerError after too many in a row."""
        self._refused += 1
        if self._refused > self._patience.tries:
            raise BrokenAnswerError(f"{server_of(location)} answers each request with another edition of the file.")

    def pause_after(self, error: OnefsError) -> float | None:
        """Seconds to wait after a try that failed; None to give up."""
        progressed = self._position_bytes >= (self._furthest_bytes or 0) + PROGRESS_BYTES
        if progressed:
            self._furthest_bytes = self._position_bytes
        self._in_vain = 0 if progressed else self._in_vain + 1
        patience = self._patience
        if isinstance(error, TooSlowError):
            return None
        if isinstance(error, TimedOutError) and not isinstance(error, ConnectTimedOutError):
            return patience.first_pause_s if progressed else None
        if isinstance(error, UnreachableError | BadHttpError) and not self._was_answered:
            return None
        if self._in_vain > patience.tries or error.retry_after_s > patience.longest_pause_s:
            return None
        return max(error.retry_after_s, float(min(patience.first_pause_s * 2**self._in_vain, patience.longest_pause_s)))


class Pace:
    """Finds a connection that is slower than `slow_limit`. The time that the sink takes does not count."""

    __slots__ = ("_location", "_patience", "_resumed_s", "_size_bytes", "_waited_s")

    def __init__(self, location: Location, patience: Patience) -> None:
        self._location = location
        self._patience = patience
        self._waited_s = 0.0
        self._size_bytes = 0
        self._resumed_s = time.monotonic()

    def arrived(self, size_bytes: int) -> None:
        """Count bytes that were waited for since `check`."""
        self._waited_s += time.monotonic() - self._resumed_s
        self._size_bytes += size_bytes

    def check(self) -> None:
        """Raise TooSlowError if there were too few bytes in a window that is over."""
        if self._waited_s >= self._patience.slow_window_s:
            if self._size_bytes < self._waited_s * self._patience.slow_limit:
                limit = f"slow_limit, {self._patience.slow_limit:g} bytes/s"
                raise TooSlowError(f"{server_of(self._location)} sends less than {limit}.")
            self._waited_s, self._size_bytes = 0.0, 0
        self._resumed_s = time.monotonic()


def server_of(location: Location) -> str:
    """Name of a location's server, for people."""
    return server_name(location.url) or "this machine"


def _server(location: Location) -> str:
    return f"{location.url.partition(':')[0]}://{server_name(location.url)}"
