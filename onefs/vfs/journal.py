"""The last failures, from which people learn why a file could not be read."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from onefs.errors import GoneError, NotADirectoryInTreeError, NotInCatalogueError, OnefsError, UnknownRecordError

KEPT = 200
NO_ERRNO = "-"
"""Stands in place of an errno's name for a warning."""
MOST_UNANSWERED = 1000
_ANSWERS = (NotInCatalogueError, NotADirectoryInTreeError, GoneError, UnknownRecordError)
"""What is raised where there was an answer: that there is no such thing."""


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
        self._note(path, error, self._errno_name(error))

    def warn(self, warning: OnefsError) -> None:
        """Note a warning: nothing has failed."""
        self._note("", warning, NO_ERRNO)

    def _note(self, path: str, error: OnefsError, errno_name: str) -> None:
        failure = Failure(self._clock(), path, errno_name, error.reason, error.remedy, 1)
        with self._lock:
            before = self._failures.pop((path, error.reason), None)
            self._failures[path, error.reason] = replace(failure, count=before.count + 1) if before else failure
            while len(self._failures) > KEPT:
                self._failures.popitem(last=False)

    def failures(self) -> list[Failure]:
        """The failures, oldest first."""
        with self._lock:
            return list(self._failures.values())


class Unanswered:
    """Folders about which a question fails now. Each failure is noted once, not at every look.

    Safe to use from several threads: at worst a failure is noted twice.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._reasons: dict[int, str] = {}

    def failed(self, ino: int, error: OnefsError, path: Callable[[int], str]) -> None:
        """A question about a folder ended so. `path` gives a folder's path."""
        if isinstance(error, _ANSWERS) or self._reasons.get(ino) == error.reason:
            return
        if len(self._reasons) >= MOST_UNANSWERED:
            self._reasons.clear()
        self._reasons[ino] = error.reason
        self._journal.record(path(ino), error)

    def answered(self, ino: int) -> None:
        """A question about a folder was answered."""
        if self._reasons:
            self._reasons.pop(ino, None)
