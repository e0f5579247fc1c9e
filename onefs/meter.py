"""`Meter`: how fast something goes now, by what was done in the last seconds."""

import time
from collections import deque
from collections.abc import Callable

WINDOW_S = 5.0
EVERY_S = 0.25


class Meter:
    """Told how far something is, in bytes or files, tells how fast it goes. One thread tells; any may ask."""

    __slots__ = ("_clock", "_done", "_samples")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._done = 0
        self._samples: deque[tuple[float, int]] = deque([(clock(), 0)], maxlen=int(WINDOW_S / EVERY_S) + 1)

    @property
    def done(self) -> int:
        """How far it is."""
        return self._done

    def reach(self, done: int) -> None:
        """It is so far now. Measuring begins anew where it is set back, and where it goes on from an earlier time."""
        now_s = self._clock()
        if done < self._done or not self._done:
            self._samples.clear()
            self._samples.append((now_s, done))
        elif now_s >= self._samples[-1][0] + EVERY_S:
            self._samples.append((now_s, self._done))
        self._done = done

    @property
    def rate_per_s(self) -> float:
        """How much a second in the last seconds; 0 while nothing comes."""
        now_s, now = self._clock(), self._done
        for since_s, since in self._samples.copy():
            if since_s >= now_s - WINDOW_S:
                return max(now - since, 0) / max(now_s - since_s, EVERY_S)
        return 0.0

    def left_s(self, left: int) -> float | None:
        """Seconds until so much more is done at this rate; None while nothing comes."""
        rate = self.rate_per_s
        return left / rate if rate >= 1 else None
