"""`JobState`, the base of jobs: their progress, the outcomes of their files, and how they ended."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from onefs.daemon.causes import Causes
from onefs.errors import NoRoomError, OnefsError
from onefs.meter import Meter
from onefs.text import counted, moment, size_text

FAILURES_TOLD = 1000
FAILED = "failed"
PHRASES = {
    "cached": "in the cache already",
    "absent": "not in the cache",
    "hashed": "hashed, though the catalogue has no hash to compare",
    "quarantined": "wrong, moved to quarantine",
    "wrong": "wrong, left where they are",
    "pinned": "pinned, so kept",
    "foreign": "not fetched by onefs, so kept",
}
"""How a sentence names an outcome, where that is not the word itself."""
_log = logging.getLogger(__name__)


class Stage(StrEnum):
    """The stages of a job: it counts its files, works, or has ended in one of three ways."""

    COUNTING = "counting"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Failure:
    """A dataset for which the work failed, and why."""

    path: str
    error: OnefsError


@dataclass(frozen=True, slots=True)
class Extent:
    """How much a job has to do: its files, their bytes, and how many of these are to be moved."""

    files: int
    size_bytes: int
    move_bytes: int


@dataclass(slots=True)
class Outcomes:
    """How many files, and how many bytes, had each outcome, such as `fetched`; and the failures one by one.

    `settled_bytes`: how many of the bytes to be moved need no more work, as they were moved, or could not be.
    """

    files: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    moved_bytes: int = 0
    settled_bytes: int = 0
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: "Outcomes") -> None:
        """Add other outcomes. At most `FAILURES_TOLD` failures are kept."""
        self.files += other.files
        self.bytes.update(other.bytes)  # unlike +, this keeps a word whose files are empty
        self.moved_bytes += other.moved_bytes
        self.settled_bytes += other.settled_bytes
        self.failures += other.failures[: FAILURES_TOLD - len(self.failures)]


class JobState:
    """The state of a job. Safe to use from several threads.

    `askers` is how many commands wait for it.
    """

    def __init__(self, number: int, title: str, key: str) -> None:
        self.number = number
        self.key = key
        self.askers = 1
        self.ended_s = 0.0
        self.sentence = ""
        self.stage = Stage.COUNTING
        self.error: OnefsError | None = None
        self._title = title
        self._begun_s = time.time()
        self._has_ended = threading.Event()
        self._lock = threading.Lock()  # guards all below, and the changes of stage, sentence, error and ended_s
        self._extent: Extent | None = None
        self._outcomes = Outcomes()
        self._causes = Causes()
        self._without_room = 0
        self._under_way: dict[str, int] = {}
        self._meter = Meter()

    @property
    def is_over(self) -> bool:
        """Whether it has ended. `facts` agrees at every moment."""
        return self.ended_s > 0

    @property
    def outcomes(self) -> Outcomes:
        """A copy of the outcomes so far. At most `FAILURES_TOLD` failures are in it."""
        with self._lock:
            outcomes = Outcomes()
            outcomes.add(self._outcomes)
            return outcomes

    @property
    def failures(self) -> list[Failure]:
        """The first failures, at most `FAILURES_TOLD`."""
        return self.outcomes.failures

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it has ended; False if the time ran out first."""
        return self._has_ended.wait(timeout_s)

    def stop(self) -> None:
        """End it: no more files are begun, and those under way are not waited for."""
        self._end(Stage.STOPPED)

    def facts(self) -> dict[str, Any]:
        """Its state as JSON values. `files` and `bytes` are by outcome."""
        with self._lock:
            outcomes, extent = self._outcomes, self._extent
            coming_bytes = sum(self._under_way.values())
            left_s = None
            if extent is not None and not self.ended_s:
                left_s = self._meter.left_s(max(extent.move_bytes - outcomes.settled_bytes - coming_bytes, 0))
            return {
                "number": self.number,
                "command": self._title,
                "key": self.key,
                "stage": self.stage.value,
                "askers": self.askers,
                "begun": moment(self._begun_s),
                "ended": moment(self.ended_s),
                "done_files": outcomes.files.total(),
                "total_files": extent.files if extent is not None else None,
                "done_bytes": outcomes.bytes.total() + coming_bytes,
                "total_bytes": extent.size_bytes if extent is not None else None,
                "rate_bytes_per_s": 0 if self.ended_s else round(self._meter.rate_per_s),
                "left_s": None if left_s is None else round(left_s, 1),
                "files": dict(outcomes.files),
                "bytes": {f"{word}_bytes": size_bytes for word, size_bytes in outcomes.bytes.items() if size_bytes},
                "sentence": self.sentence,
                "failures": [
                    {"path": failure.path, "reason": failure.error.reason, "remedy": failure.error.remedy}
                    for failure in outcomes.failures
                ],
                "causes": self._causes.facts(),
            }

    def _run_on(self, extent: Extent) -> bool:
        """Begin the work, now that its files are counted; False if it was ended meanwhile."""
        with self._lock:
            if self.ended_s:
                return False
            self.stage, self._extent = Stage.RUNNING, extent
        return True

    def _measure(self, coming: Mapping[str, int]) -> None:
        """Update the rate. `coming` is how many bytes of each file under way were moved so far."""
        with self._lock:
            under_way = self._under_way
            under_way.update((path, coming[path]) for path in under_way.keys() & coming.keys())
            self._meter.reach(self._outcomes.moved_bytes + sum(under_way.values()))

    def _begin_file(self, path: str) -> None:
        with self._lock:
            self._under_way[path] = 0

    def _note(self, outcomes: Outcomes, *ended: str) -> int:
        """Add outcomes; the files `ended` are no longer under way. Returns how many files in a row found no room."""
        with self._lock:
            for path in ended:
                self._under_way.pop(path, None)
            if self.ended_s:
                return 0
            self._outcomes.add(outcomes)
            if outcomes.moved_bytes:
                self._without_room = 0
            self._without_room += sum(isinstance(failure.error, NoRoomError) for failure in outcomes.failures)
            for failure in outcomes.failures:
                self._causes.add(failure.path, failure.error)
            return self._without_room

    def _end(self, stage: Stage, error: OnefsError | None = None) -> None:
        with self._lock:
            if self.ended_s:
                return
            self.stage, self.error, self.ended_s = stage, error, time.time()
            self.sentence = self._summed_up()
            self._under_way.clear()
        self._cancel_transfers()
        _log.info("%s", self.sentence)
        self._has_ended.set()
        self._notify_ended()

    def _cancel_transfers(self) -> None:
        """Cancel the transfers under way. Called when the job ends."""

    def _notify_ended(self) -> None:
        """Notify the owner of the job that it has ended."""

    def _summed_up(self) -> str:
        words = [
            f"{files} {PHRASES.get(word, word)}"
            + (f" ({size_text(self._outcomes.bytes[word])})" if self._outcomes.bytes[word] else "")
            for word, files in sorted(self._outcomes.files.items())
        ]
        outcomes = ", ".join(words)
        done_files, extent = self._outcomes.files.total(), self._extent
        after = f"{done_files} of {counted(extent.files, 'file')}" if extent else counted(done_files, "file")
        if self.stage is Stage.DONE:
            return f"{self._title}: {outcomes or 'nothing to do'}."
        how = f"ended early, after {after}" + (f" ({outcomes})" if outcomes else "")
        return f"{self._title}: {how}: {self.error}" if self.error is not None else f"{self._title}: {how}."


def fault(what: str) -> OnefsError:
    """The error for an exception that is a fault in onefs."""
    return OnefsError(f"{what}: a fault in onefs.", "Please report it, with the log.")
