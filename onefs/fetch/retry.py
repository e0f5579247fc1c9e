"""The order in which to try the locations of a file, by the outages of their servers."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager

from onefs.errors import ConnectTimedOutError, OnefsError, OverloadedError, TimedOutError, again
from onefs.outages import Outages
from onefs.transports.addresses import server_name
from onefs.transports.base import Location

SKIPPED_S = 60.0
PROBED_EVERY_S = 3.0
LONGEST_WAIT_S = 5.0
"""The longest `Retry-After` that is waited for, if no other server has the file."""


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


def _server(location: Location) -> str:
    return f"{location.url.partition(':')[0]}://{server_name(location.url)}"
