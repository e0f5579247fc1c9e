"""Whether the machine was suspended, after which connections are dead though nobody has said so."""

import time
from collections.abc import Callable

_SHORTEST_S = 5.0


def asleep_s() -> float:
    """Seconds since the boot in which the machine was suspended: one clock counts them, the other does not."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


class SuspendWatch:
    """Tells whether the machine was suspended since it was asked last."""

    def __init__(self, asleep_s: Callable[[], float] = asleep_s) -> None:
        self._asleep_s = asleep_s
        self._before_s = asleep_s()

    def was_suspended(self) -> bool:
        """Whether it was for some seconds since the last call."""
        now_s = self._asleep_s()
        was = now_s >= self._before_s + _SHORTEST_S
        if was:
            self._before_s = now_s
        return was
