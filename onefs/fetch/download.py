"""`Pace`, which tells a stalled connection from a slow one."""

import time

from onefs.errors import TimedOutError


class Pace:
    """Tells a connection that trickles from one that is merely slow."""

    def __init__(self, server: str, stall_s: float) -> None:
        self._server = server
        self._stall_s = stall_s
        self._since_s = time.monotonic()
        self._size_bytes = 0

    def add(self, size_bytes: int) -> None:
        self._size_bytes += size_bytes
        now_s = time.monotonic()
        if now_s - self._since_s < self._stall_s:
            return
        if self._size_bytes < now_s - self._since_s:
            raise TimedOutError(f"{self._server} sends less than a byte a second.")
        self._since_s, self._size_bytes = now_s, 0
