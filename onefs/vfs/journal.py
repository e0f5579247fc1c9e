"""Owns the last failures: what a person reads to learn why a file could not be read."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from onefs.errors import OnefsError

KEPT = 200


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure, or several alike in a row. `time_s` is the last one's, seconds since the epoch."""

    time_s: float
    path: str
    errno_name: str
    reason: str
    remedy: str
    count: int


class Journal:
    """The last failures, newest last. Safe to use from several threads."""

    def __init__(self, errno_name: Callable[[OnefsError], str], clock: Callable[[], float] = time.time) -> None:
        self._errno_name = errno_name
        self._clock = clock
        self._lock = threading.Lock()  # guards _failures
        self._failures: OrderedDict[tuple[str, str], Failure] = OrderedDict()

    def record(self, path: str, error: OnefsError) -> None:
        """Note a failure. The same one again only raises its count."""
        failure = Failure(self._clock(), path, self._errno_name(error), error.reason, error.remedy, 1)
        with self._lock:
            before = self._failures.pop((path, error.reason), None)
            self._failures[path, error.reason] = replace(failure, count=before.count + 1) if before else failure
            while len(self._failures) > KEPT:
                self._failures.popitem(last=False)

    def failures(self) -> list[Failure]:
        """The failures, oldest first."""
        with self._lock:
            return list(self._failures.values())
