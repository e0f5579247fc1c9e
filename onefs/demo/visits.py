"""Owns what the demo's server was asked of late: who asked what, and when."""

import threading
from collections import deque
from dataclasses import dataclass

KEPT = 100_000


@dataclass(frozen=True, slots=True)
class Visit:
    """One request. `user` is "" for nobody, `query` is as sent, `time_s` that of the monotonic clock."""

    method: str
    path: str
    query: str
    user: str
    time_s: float


class Visits:
    """The last requests, oldest first. For several threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the visits
        self._visits: deque[Visit] = deque(maxlen=KEPT)

    def add(self, visit: Visit) -> None:
        """Note one."""
        with self._lock:
            self._visits.append(visit)

    def all(self) -> list[Visit]:
        """Those that came so far."""
        with self._lock:
            return list(self._visits)
