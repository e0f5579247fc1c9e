"""Owns the health of servers: which could not be reached or had too much to do, and when to try them again."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from onefs.content.failures import again
from onefs.errors import OnefsError, OverloadedError, TimedOutError
from onefs.transports.addresses import server_name
from onefs.transports.base import Location

SKIPPED_S = 60.0
LONGEST_SKIPPED_S = 600.0
"""However long a server asks to be left alone."""
PROBED_EVERY_S = 3.0


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A server that is not asked while another has the file: since how long, for how long yet, and why."""

    server: str
    since_s: float
    left_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class _Trouble:
    error: OnefsError
    since_s: float
    until_s: float
    tried_s: float

    @property
    def is_down(self) -> bool:
        """Whether no file at all can be had there: a server that is merely silent may still answer for another."""
        return not isinstance(self.error, TimedOutError)


class LocationHealth:
    """Servers that could not be reached, or had too much to do, are skipped for a minute, for all files.

    Safe to use from several threads. A file that has no other server left tries them all the same; those that accept
    no connection at most once in a few seconds, whatever the number of files that wait: in between they get the error
    of that try.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards _troubles
        self._troubles: dict[str, _Trouble] = {}

    def order(self, locations: Iterable[Location]) -> Iterator[tuple[Location, OnefsError | None]]:
        """Locations to try in turn; with an error instead if the server was tried just now and must not be.

        `locations` is gone through one by one; those that are skipped come last, after all that it gives. A server
        that fails for one of them is not tried for another: each costs a file one time-out at most.
        """
        begun_s = self._clock()
        skipped = []
        for location in locations:
            if self._is_skipped(location):
                skipped.append(location)
            else:
                yield location, None
        for location in skipped:
            yield location, self._claim(location, begun_s)

    def failed(self, location: Location, error: OnefsError) -> None:
        """Note that a location's server could not be reached, or had too much to do."""
        asked_s = error.retry_after_s if isinstance(error, OverloadedError) else 0.0
        skipped_s = min(max(SKIPPED_S, asked_s), LONGEST_SKIPPED_S)
        now_s = self._clock()
        with self._lock:
            before = self._troubles.get(_server(location))
            since_s = before.since_s if before is not None else now_s
            self._troubles[_server(location)] = _Trouble(error, since_s, now_s + skipped_s, now_s)

    def reached(self, location: Location) -> None:
        """Note that a location's server answered."""
        if self._troubles:
            with self._lock:
                self._troubles.pop(_server(location), None)

    def forget(self) -> None:
        """Trust all servers again."""
        with self._lock:
            self._troubles.clear()

    def facts(self) -> list[PassedOver]:
        """The servers that are passed over now, those that failed first first."""
        now_s = self._clock()
        with self._lock:
            troubles = dict(self._troubles)
        return [
            PassedOver(
                server.partition("://")[2], now_s - trouble.since_s, trouble.until_s - now_s, trouble.error.reason
            )
            for server, trouble in sorted(troubles.items(), key=lambda item: item[1].since_s)
            if now_s < trouble.until_s
        ]

    def _is_skipped(self, location: Location) -> bool:
        trouble = self._troubles.get(_server(location))
        return trouble is not None and self._clock() < trouble.until_s

    def _claim(self, location: Location, begun_s: float) -> OnefsError | None:
        """None if the caller, who `begun_s`, may try the server now, and nobody else for a few seconds."""
        now_s = self._clock()
        server = _server(location)
        with self._lock:
            trouble = self._troubles.get(server)
            if trouble is None or isinstance(trouble.error, OverloadedError):
                return None  # busy with one thing, a server may still give another, and takes no time-out to say so
            if trouble.tried_s > begun_s:
                return again(trouble.error)
            if not trouble.is_down:
                return None
            if now_s < trouble.tried_s + PROBED_EVERY_S:
                return again(trouble.error)
            self._troubles[server] = replace(trouble, tried_s=now_s)
            return None


def _server(location: Location) -> str:
    return f"{location.url.partition(':')[0]}://{server_name(location.url)}"
