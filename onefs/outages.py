"""The circuit breaker: which servers are not asked for now, why, until when, and who waits for them."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import count

from onefs.errors import OnefsError, UnreachableError, again

PAUSE_S = 15.0
"""For how long a database that did not answer is left alone at first."""
LONGEST_PAUSE_S = 60.0
LONGEST_ASKED_S = 600.0
"""However long a server asks to be left alone."""


@dataclass(slots=True)
class Age:
    """Whether what was answered is of now: `outage` is why an earlier answer had to do, None if none had to."""

    outage: UnreachableError | None = None


_age: ContextVar[Age | None] = ContextVar("onefs_age", default=None)


@contextmanager
def noting_age() -> Iterator[Age]:
    """A block of this thread alone, and whether what is answered in it is of now."""
    age = Age()
    token = _age.set(age)
    try:
        yield age
    finally:
        _age.reset(token)


def answered_earlier(outage: UnreachableError) -> None:
    """Note that an earlier answer has to do, and why."""
    age = _age.get()
    if age is not None:
        age.outage = outage


@dataclass(frozen=True, slots=True)
class Outage:
    """A server that failed, or asked to be left alone, and has not answered since. Times are of the clock in use."""

    number: int
    error: OnefsError
    since_s: float
    tried_s: float
    pause_s: float
    probes: int = 0
    """How often it was tried again."""
    asked_until_s: float = float("-inf")
    """Until when it asked to be left alone."""

    @property
    def until_s(self) -> float:
        """When it may be asked again."""
        return max(self.tried_s + self.pause_s, self.asked_until_s)


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A server that is not asked: since how long, for how long yet, why, and what waits until it may be asked."""

    server: str
    since_s: float
    left_s: float
    reason: str
    waiting: tuple[str, ...] = ()


class Outages:
    """The outages of all servers, by `scheme://host:port`. Safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards the changes of all below
        self._numbers = count()
        self._outages: dict[str, Outage] = {}
        self._waiting: Counter[tuple[str, str]] = Counter()

    def failed(self, server: str, error: OnefsError, pause_s: float) -> None:
        """Note a failure. The server is left alone for `pause_s`, doubled with each probe that fails, up to a minute.

        If it said how long it wants to be left alone, that counts instead.
        """
        now_s = self._clock()
        with self._lock:
            before = self._outages.get(server)
            outage = before or Outage(next(self._numbers), error, now_s, now_s, 0.0)
            if error.retry_after_s:
                pause_s, asked_until_s = 0.0, now_s + min(error.retry_after_s, LONGEST_ASKED_S)
            else:
                pause_s, asked_until_s = min(pause_s * 2**outage.probes, LONGEST_PAUSE_S), outage.asked_until_s
            self._outages[server] = replace(
                outage, error=error, tried_s=now_s, pause_s=pause_s, asked_until_s=asked_until_s
            )

    def answered(self, server: str) -> None:
        """Note that a server answered, whatever it said: it may be asked at once."""
        if server in self._outages:
            with self._lock:
                self._outages.pop(server, None)

    def of(self, server: str) -> Outage | None:
        """The outage of a server; it lasts until the server answers, though the server may be asked before."""
        return self._outages.get(server)

    def left_s(self, server: str) -> float:
        """For how long yet a server is left alone, if there is another way; 0 if it is not."""
        outage = self._outages.get(server)
        return max(0.0, outage.until_s - self._clock()) if outage is not None else 0.0

    def claim(self, server: str, pause_s: float | None = None) -> OnefsError | None:
        """None if the caller may ask the server now; nobody else may, then, during the pause. Else why not.

        The pause is that of the outage, or `pause_s`.
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
        """For how long yet a server asks to be left alone; 0 if it does not."""
        outage = self._outages.get(server)
        return max(0.0, outage.asked_until_s - self._clock()) if outage is not None else 0.0

    @contextmanager
    def waiting(self, server: str, what: str) -> Iterator[None]:
        """A block in which something waits until a server may be asked."""
        with self._lock:
            self._waiting[server, what] += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting[server, what] -= 1
                self._waiting += Counter()  # drops what nobody waits for

    def now_s(self) -> float:
        """The time of the clock in use."""
        return self._clock()

    def lasting(self) -> frozenset[int]:
        """The numbers of the outages that have not ended."""
        with self._lock:
            return frozenset(outage.number for outage in self._outages.values())

    def forget(self, *, even_asked: bool) -> None:
        """Let all servers be asked at once; `even_asked`: those too that asked to be left alone."""
        now_s = self._clock()
        with self._lock:
            kept = self._outages.items() if not even_asked else ()
            self._outages = {server: outage for server, outage in kept if now_s < outage.asked_until_s}

    def facts(self) -> list[PassedOver]:
        """The servers that are left alone now, those that failed first first."""
        now_s = self._clock()
        with self._lock:
            outages = sorted(self._outages.items(), key=lambda item: item[1].since_s)
            waiting = sorted(self._waiting)
        return [
            PassedOver(
                server.partition("://")[2],
                now_s - outage.since_s,
                outage.until_s - now_s,
                outage.error.reason,
                tuple(what for waited_for, what in waiting if waited_for == server),
            )
            for server, outage in outages
            if now_s < outage.until_s
        ]
