"""The back-off for a busy server: as `Retry-After` says, else exponential with jitter, within a limit."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

SHORTEST_WAIT_S = 0.5
LONGEST_GUESS_S = 60.0
LONGER_SHARE = 0.1
"""How much longer than `Retry-After` to wait, at most, as long as the limit allows it."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance, so that tests can have their own.

    `wait` returns after so many seconds, or sooner and True if the event was set. `jitter` is from 0 to 1.
    """

    now_s: Callable[[], float] = time.time
    wait: Callable[[threading.Event, float], bool] = threading.Event.wait
    jitter: Callable[[], float] = random.random


class Patience:
    """What is left of the time that one request may wait for a busy server."""

    def __init__(self, limit_s: float, clock: Clock) -> None:
        self._left_s = limit_s
        self._clock = clock
        self._attempts = 0

    def next_wait_s(self, retry_after: str) -> float:
        """Seconds to wait after an answer with this `Retry-After`, "" for none."""
        asked_s = _retry_after_s(retry_after, self._clock.now_s())
        if asked_s is None:
            guess_s = min(LONGEST_GUESS_S, 2.0**self._attempts)
            return max(SHORTEST_WAIT_S, guess_s * (0.5 + self._clock.jitter() / 2))
        longer_s = asked_s * (1 + self._clock.jitter() * LONGER_SHARE)  # never sooner, and not all clients together
        return max(SHORTEST_WAIT_S, asked_s, min(longer_s, self._left_s))

    def allows(self, wait_s: float) -> bool:
        """Whether a wait fits into what is left of the limit; if so, take it from that."""
        if wait_s > self._left_s:
            return False
        self._attempts += 1
        self._left_s -= wait_s
        return True


def _retry_after_s(value: str, now_s: float) -> float | None:
    """Seconds of a `Retry-After` header, which has seconds or a date; None if it has neither."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # the latter at a year that no clock shows
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - now_s)
