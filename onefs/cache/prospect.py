"""Owns how long room is waited for: while files are on their way that can be evicted once they came."""

import time
from collections.abc import Callable

PATIENT_S = 3.0
"""Long enough for others to be done with small files, and for a count to find what a killed daemon left."""
STALLED_S = 10.0
"""What others fetch counts as under way for so long after more of it came."""


class Prospect:
    """Whether it is worth waiting for room any longer. For one thread.

    `is_held` tells whether this process has room for files on their way, which come or fail in the end; `parts` what
    there is of the files that anybody has not whole.
    """

    def __init__(self, is_held: Callable[[], bool], parts: Callable[[], frozenset[tuple[str, int]]]) -> None:
        self._is_held = is_held
        self._parts = parts
        self._seen: frozenset[tuple[str, int]] | None = None
        self._until_s = time.monotonic() + PATIENT_S

    def is_good(self) -> bool:
        """Whether room may come. Raises OSError."""
        now_s = time.monotonic()
        if self._is_held():
            self._until_s = max(self._until_s, now_s + PATIENT_S)
            return True
        before, self._seen = self._seen, self._parts()
        if before is not None and before != self._seen:
            self._until_s = now_s + STALLED_S
        return now_s < self._until_s
