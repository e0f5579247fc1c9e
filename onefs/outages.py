"""The circuit breaker: which servers are not asked for now, why, until when, and what waits for them."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import count

from onefs.errors import OnefsError, UnreachableError, again
from onefs.forks import begins_anew_in_children, new_lock
from onefs.jitter import Jitter

DATABASE = "alyx+"
"""What a server's name begins with where it is asked as a database, which counts apart from its files."""

PAUSE_S = 15.0
"""The first back-off for a database that did not answer; it doubles up to `LONGEST_PAUSE_S`."""
LONGEST_PAUSE_S = 60.0
LONGEST_ASKED_S = 600.0
"""The longest `Retry-After` that is obeyed."""


@dataclass(slots=True)
class Freshness:
    """Whether answers are fresh: `outage` is why a stale one was used, None if none was."""

    outage: UnreachableError | None = None


_freshness: ContextVar[Freshness | None] = ContextVar("onefs_freshness", default=None)


@contextmanager
def noting_stale_answers() -> Iterator[Freshness]:
    """A block that notes, for this thread alone, whether a stale answer is used in it."""
    freshness = Freshness()
    token = _freshness.set(freshness)
    try:
        yield freshness
    finally:
        _freshness.reset(token)


def note_stale_answer(outage: UnreachableError) -> None:
    """Note that a stale answer is used, and why."""
    freshness = _freshness.get()
    if freshness is not None:
        freshness.outage = outage


@dataclass(frozen=True, slots=True)
class Outage:
    """A server that failed, or sent `Retry-After`, and has not answered since. Times are those of `Outages.now_s`."""

    number: int
    error: OnefsError
    since_s: float
    tried_s: float
    pause_s: float
    probes: int = 0
    """How often it was asked again since."""
    asked_until_s: float = float("-inf")
    """When the last `Retry-After` ends."""

    @property
    def until_s(self) -> float:
        """When the back-off, or `Retry-After`, ends."""
        return max(self.tried_s + self.pause_s, self.asked_until_s)


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A server that is not asked now: since when and for how many seconds more, why, and what waits for it.

    `role` is "database" or "data server": one address may be both.
    """

    server: str
    role: str
    since_s: float
    left_s: float
    reason: str
    waiting: tuple[str, ...] = ()


class Outages:
    """The outages of all servers, by `scheme://host:port`. Safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, jitter: Jitter | None = None) -> None:
        """`jitter` makes back-offs longer at random."""
        self._clock = clock
        self._jitter = jitter or Jitter()
        self._lock = new_lock()  # guards the changes of all below
        self._numbers = count()
        self._outages: dict[str, Outage] = {}
        self._waiting: Counter[tuple[str, str]] = Counter()
        begins_anew_in_children(self)

    def begin_anew(self) -> None:
        """Nobody waits in a process that was forked off; what is known of servers stays."""
        self._waiting = Counter()

    def failed(self, server: str, error: OnefsError, pause_s: float) -> None:
        """Note a failure and start the back-off: `pause_s`, doubled with each probe that fails, up to a minute.

        The error's `retry_after_s` counts instead, if the server sent one.
        """
        now_s = self._clock()
        with self._lock:
            before = self._outages.get(server)
            outage = before or Outage(next(self._numbers), error, now_s, now_s, 0.0)
            if error.retry_after_s:
                pause_s, asked_until_s = 0.0, now_s + min(error.retry_after_s, LONGEST_ASKED_S)
            else:
                pause_s = self._jitter.longer_s(min(pause_s * 2**outage.probes, LONGEST_PAUSE_S))
                asked_until_s = outage.asked_until_s
            self._outages[server] = replace(
                outage, error=error, tried_s=now_s, pause_s=pause_s, asked_until_s=asked_until_s
            )

    def answered(self, server: str, *, even_asked: bool = True) -> None:
        """End the outage of a server: it answered, whatever it said.

        Without `even_asked` a `Retry-After` holds to its end all the same: the answer may be to an earlier request.
        """
        if server in self._outages:
            with self._lock:
                outage = self._outages.get(server)
                if outage is not None and (even_asked or outage.asked_until_s <= self._clock()):
                    del self._outages[server]

    @property
    def are_none(self) -> bool:
        """Whether no server has an outage."""
        return not self._outages

    def of(self, server: str) -> Outage | None:
        """The outage of a server, None without one. It lasts until an answer, which may be long after the back-off."""
        return self._outages.get(server)

    def left_s(self, server: str) -> float:
        """Seconds of back-off or `Retry-After` that are left for a server; 0 if it may be asked."""
        outage = self._outages.get(server)
        return max(0.0, outage.until_s - self._clock()) if outage is not None else 0.0

    def claim(self, server: str, pause_s: float | None = None) -> OnefsError | None:
        """None if the caller may ask the server now, else the error of its outage.

        During an outage this lets one caller probe the server; others get the error for `pause_s`, by default the
        back-off of the outage.
        """
        now_s = self._clock()
        with self._lock:
            outage = self._outages.get(server)
            if outage is None:
                return None
            pause_s = outage.pause_s if pause_s is None else pause_s
            if now_s < outage.tried_s + pause_s:
                return again(outage.error)
            if not pause_s:
                return None
            self._outages[server] = replace(outage, tried_s=now_s, probes=min(outage.probes + 1, 10))
            return None

    def asked_wait_s(self, server: str) -> float:
        """Seconds of `Retry-After` that are left for a server; 0 if it sent none."""
        outage = self._outages.get(server)
        return max(0.0, outage.asked_until_s - self._clock()) if outage is not None else 0.0

    @contextmanager
    def waiting(self, server: str, what: str) -> Iterator[None]:
        """A block in which `what` is listed among what waits for a server."""
        with self._lock:
            self._waiting[server, what] += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting[server, what] -= 1
                self._waiting += Counter()  # drops the entries at zero

    def now_s(self) -> float:
        """The time of the clock in use."""
        return self._clock()

    def lasting(self) -> frozenset[int]:
        """The numbers of the current outages."""
        with self._lock:
            return frozenset(outage.number for outage in self._outages.values())

    def forget(self, *, even_asked: bool) -> None:
        """End outages, so that servers are asked at once; with `even_asked` also those that sent `Retry-After`."""
        now_s = self._clock()
        with self._lock:
            kept = self._outages.items() if not even_asked else ()
            self._outages = {server: outage for server, outage in kept if now_s < outage.asked_until_s}

    def facts(self) -> list[PassedOver]:
        """The servers that are not asked now, sorted by the begin of their outages."""
        now_s = self._clock()
        with self._lock:
            outages = sorted(self._outages.items(), key=lambda item: item[1].since_s)
            waiting = sorted(self._waiting)
        return [
            PassedOver(
                server.partition("://")[2],
                "database" if server.startswith(DATABASE) else "data server",
                now_s - outage.since_s,
                outage.until_s - now_s,
                outage.error.reason,
                tuple(what for waited_for, what in waiting if waited_for == server),
            )
            for server, outage in outages
            if now_s < outage.until_s
        ]
