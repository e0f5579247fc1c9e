"""`Tally`: how far a job is, what became of its files, and how it ended."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from onefs.content.metering import Meter
from onefs.daemon.causes import Causes
from onefs.errors import NoRoomError, OnefsError
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
"""How a sentence calls what became of files, where that is not the word itself."""
_log = logging.getLogger(__name__)


class Stage(StrEnum):
    """How a job is: still counting its files, at work, or ended in one way or another."""

    COUNTING = "counting"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Failure:
    """What could not be done to one dataset."""

    path: str
    error: OnefsError


@dataclass(frozen=True, slots=True)
class Extent:
    """How much there is to do."""

    files: int
    size_bytes: int
    move_bytes: int


@dataclass(slots=True)
class Became:
    """What became of files: how many, and how many bytes, by the word for it.

    `settled_bytes` of those to be moved were moved, or need not or cannot be.
    """

    files: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    moved_bytes: int = 0
    settled_bytes: int = 0
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: "Became") -> None:
        """Count others, too. Of their failures no more than `FAILURES_TOLD` are kept."""
        self.files += other.files
        self.bytes.update(other.bytes)  # unlike +, this keeps a word whose files are empty
        self.moved_bytes += other.moved_bytes
        self.settled_bytes += other.settled_bytes
        self.failures += other.failures[: FAILURES_TOLD - len(self.failures)]


class Tally:
    """The state of a job. Safe to use from several threads.

    `askers` counts those who want it, for whoever begins jobs.
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
        self._became = Became()
        self._causes = Causes()
        self._without_room = 0
        self._under_way: dict[str, int] = {}
        self._meter = Meter()

    @property
    def is_over(self) -> bool:
        """Whether it has ended, from the moment on at which `facts` say so."""
        return self.ended_s > 0

    @property
    def became(self) -> Became:
        """What became of its files so far. Failures are kept one by one up to `FAILURES_TOLD`."""
        with self._lock:
            became = Became()
            became.add(self._became)
            return became

    @property
    def failures(self) -> list[Failure]:
        """What could not be done, as far as that is kept one by one."""
        return self.became.failures

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for its end; whether it came."""
        return self._has_ended.wait(timeout_s)

    def stop(self) -> None:
        """End it: no more files are begun, and those under way are not waited for."""
        self._end(Stage.STOPPED)

    def facts(self) -> dict[str, Any]:
        """How it is, as JSON values. `files` and `bytes` are by what became of them."""
        with self._lock:
            became, extent = self._became, self._extent
            coming_bytes = sum(self._under_way.values())
            left_s = None
            if extent is not None and not self.ended_s:
                left_s = self._meter.left_s(max(extent.move_bytes - became.settled_bytes - coming_bytes, 0))
            return {
                "number": self.number,
                "command": self._title,
                "key": self.key,
                "stage": self.stage.value,
                "askers": self.askers,
                "begun": moment(self._begun_s),
                "ended": moment(self.ended_s),
                "done_files": became.files.total(),
                "total_files": extent.files if extent is not None else None,
                "done_bytes": became.bytes.total() + coming_bytes,
                "total_bytes": extent.size_bytes if extent is not None else None,
                "rate_bytes_per_s": 0 if self.ended_s else round(self._meter.rate_per_s),
                "left_s": None if left_s is None else round(left_s, 1),
                "files": dict(became.files),
                "bytes": {f"{word}_bytes": size_bytes for word, size_bytes in became.bytes.items() if size_bytes},
                "sentence": self.sentence,
                "failures": [
                    {"path": failure.path, "reason": failure.error.reason, "remedy": failure.error.remedy}
                    for failure in became.failures
                ],
                "causes": self._causes.facts(),
            }

    def _run_on(self, extent: Extent) -> bool:
        """Its files are counted; False if it has ended meanwhile."""
        with self._lock:
            if self.ended_s:
                return False
            self.stage, self._extent = Stage.RUNNING, extent
        return True

    def _measure(self, coming: Mapping[str, int]) -> None:
        """Measure how fast it goes. `coming` tells how much of files under way was moved so far."""
        with self._lock:
            under_way = self._under_way
            under_way.update((path, coming[path]) for path in under_way.keys() & coming.keys())
            self._meter.reach(self._became.moved_bytes + sum(under_way.values()))

    def _begin_file(self, path: str) -> None:
        with self._lock:
            self._under_way[path] = 0

    def _note(self, became: Became, *ended: str) -> int:
        """Count what became of files, of which those `ended` were under way; how many in a row now found no room."""
        with self._lock:
            for path in ended:
                self._under_way.pop(path, None)
            if self.ended_s:
                return 0
            self._became.add(became)
            if became.moved_bytes:
                self._without_room = 0
            self._without_room += sum(isinstance(failure.error, NoRoomError) for failure in became.failures)
            for failure in became.failures:
                self._causes.add(failure.path, failure.error)
            return self._without_room

    def _end(self, stage: Stage, error: OnefsError | None = None) -> None:
        with self._lock:
            if self.ended_s:
                return
            self.stage, self.error, self.ended_s = stage, error, time.time()
            self.sentence = self._summed_up()
            self._under_way.clear()
        self._let_go()
        _log.info("%s", self.sentence)
        self._has_ended.set()
        self._tell_end()

    def _let_go(self) -> None:
        """Let go of what is under way, at the end."""

    def _tell_end(self) -> None:
        """Tell whoever keeps it that it has ended."""

    def _summed_up(self) -> str:
        words = [
            f"{files} {PHRASES.get(word, word)}"
            + (f" ({size_text(self._became.bytes[word])})" if self._became.bytes[word] else "")
            for word, files in sorted(self._became.files.items())
        ]
        became = ", ".join(words)
        done_files, extent = self._became.files.total(), self._extent
        after = f"{done_files} of {counted(extent.files, 'file')}" if extent else counted(done_files, "file")
        if self.stage is Stage.DONE:
            return f"{self._title}: {became or 'nothing to do'}."
        how = f"ended early, after {after}" + (f" ({became})" if became else "")
        return f"{self._title}: {how}: {self.error}" if self.error is not None else f"{self._title}: {how}."


def fault(what: str) -> OnefsError:
    """The error for what nobody foresaw."""
    return OnefsError(f"{what}: a fault in onefs.", "Please report it, with the log.")
