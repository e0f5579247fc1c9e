"""Owns the rate of a transfer: how many bytes a second came in the last seconds, not since its start."""

import time
from collections import deque
from collections.abc import Callable

WINDOW_S = 5.0
EVERY_S = 0.25


class Meter:
    """Told how far something is, tells how fast it goes. One thread tells; any may ask."""

    __slots__ = ("_clock", "_now_bytes", "_samples")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._now_bytes = 0
        self._samples: deque[tuple[float, int]] = deque([(clock(), 0)], maxlen=int(WINDOW_S / EVERY_S) + 1)

    @property
    def done_bytes(self) -> int:
        """How far it is."""
        return self._now_bytes

    def reach(self, done_bytes: int) -> None:
        """It is so far now. Measuring begins anew where it is set back, and where it goes on from an earlier time."""
        now_s = self._clock()
        if done_bytes < self._now_bytes or not self._now_bytes:
            self._samples.clear()
            self._samples.append((now_s, done_bytes))
        elif now_s >= self._samples[-1][0] + EVERY_S:
            self._samples.append((now_s, self._now_bytes))
        self._now_bytes = done_bytes

    @property
    def rate_bytes_per_s(self) -> float:
        """Bytes a second in the last seconds; 0 while nothing comes."""
        now_s, now_bytes = self._clock(), self._now_bytes
        for since_s, since_bytes in self._samples.copy():
            if since_s >= now_s - WINDOW_S:
                return max(now_bytes - since_bytes, 0) / max(now_s - since_s, EVERY_S)
        return 0.0

    def left_s(self, left_bytes: int) -> float | None:
        """Seconds until so many more bytes are there at this rate; None while nothing comes."""
        rate = self.rate_bytes_per_s
        return left_bytes / rate if rate >= 1 else None
