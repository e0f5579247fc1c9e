"""`Job`: long work over many datasets, with its progress and its result."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from onefs.catalogue.records import Dataset
from onefs.content.metering import Meter
from onefs.content.workers import Workers
from onefs.daemon.causes import Causes
from onefs.daemon.work import Done, Work
from onefs.errors import NoRoomError, OfflineError, OnefsError
from onefs.text import counted, moment, size_text

FAILURES_TOLD = 1000
WORK_S = REST_S = 0.002
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
MOST_WITHOUT_ROOM = 100
"""So many files in a row that find no room end a job: a smaller one may still fit where a large one did not."""
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
class _Extent:
    """How much there is to do."""

    files: int
    size_bytes: int
    move_bytes: int


@dataclass(slots=True)
class _Progress:
    """What was done. `settled_bytes` of those to be moved were, or cannot be."""

    files: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    moved_bytes: int = 0
    settled_bytes: int = 0
    failures: list[Failure] = field(default_factory=list)
    causes: Causes = field(default_factory=Causes)
    without_room: int = 0
    under_way: dict[str, int] = field(default_factory=dict)


class Job:
    """A piece of work, done by threads that it shares with others. Safe to use from several threads.

    `askers` counts those who want it, for whoever begins jobs.
    """

    def __init__(self, number: int, work: Work, workers: Workers, ended: Callable[[], None]) -> None:
        self.number = number
        self.key = work.key
        self.askers = 1
        self.ended_s = 0.0
        self.sentence = ""
        self.stage = Stage.COUNTING
        self.error: OnefsError | None = None
        self._work = work
        self._workers = workers
        self._ended = ended
        self._begun_s = time.time()
        self._has_ended = threading.Event()
        self._taking = threading.Lock()  # held while the next dataset is found; guards _rest
        self._rest: Iterator[Dataset] = iter(())
        self._lock = threading.Lock()  # guards all below, and the changes of stage, sentence, error and ended_s
        self._extent: _Extent | None = None
        self._progress = _Progress()
        self._meter = Meter()
        self._lanes = 0

    @property
    def is_over(self) -> bool:
        """Whether it has ended, from the moment on at which `facts` say so."""
        return self.ended_s > 0

    @property
    def failures(self) -> list[Failure]:
        """What could not be done, as far as that is kept one by one."""
        with self._lock:
            return self._progress.failures.copy()

    def begin(self) -> None:
        """Have a thread begin."""
        if not self._workers.submit(self._run):
            self._end(Stage.STOPPED)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for its end; whether it came."""
        return self._has_ended.wait(timeout_s)

    def stop(self) -> None:
        """End it: no more files are begun, and those under way are not waited for."""
        self._end(Stage.STOPPED)

    def look(self) -> None:
        """Measure how fast it goes."""
        coming = self._work.coming()
        with self._lock:
            under_way = self._progress.under_way
            under_way.update((path, coming[path]) for path in under_way.keys() & coming.keys())
            self._meter.reach(self._progress.moved_bytes + sum(under_way.values()))

    def facts(self) -> dict[str, Any]:
        """How it is, as JSON values. `files` and `bytes` are by what became of them."""
        with self._lock:
            progress, extent = self._progress, self._extent
            coming_bytes = sum(progress.under_way.values())
            left_s = None
            if extent is not None and not self.ended_s:
                left_s = self._meter.left_s(max(extent.move_bytes - progress.settled_bytes - coming_bytes, 0))
            return {
                "number": self.number,
                "command": self._work.title,
                "key": self.key,
                "stage": self.stage.value,
                "askers": self.askers,
                "begun": moment(self._begun_s),
                "ended": moment(self.ended_s),
                "done_files": progress.files.total(),
                "total_files": extent.files if extent is not None else None,
                "done_bytes": progress.bytes.total() + coming_bytes,
                "total_bytes": extent.size_bytes if extent is not None else None,
                "rate_bytes_per_s": 0 if self.ended_s else round(self._meter.rate_per_s),
                "left_s": None if left_s is None else round(left_s, 1),
                "files": dict(progress.files),
                "bytes": {f"{word}_bytes": size_bytes for word, size_bytes in progress.bytes.items() if size_bytes},
                "sentence": self.sentence,
                "failures": [
                    {"path": failure.path, "reason": failure.error.reason, "remedy": failure.error.remedy}
                    for failure in progress.failures
                ],
                "causes": progress.causes.facts(),
            }

    def _run(self) -> None:
        with self._ending_at_errors():
            self._begin(self._counted())

    @contextmanager
    def _ending_at_errors(self) -> Iterator[None]:
        """What goes wrong with all of it, and not with one file, is its end; what nobody foresaw is reported, too."""
        try:
            yield
        except OnefsError as error:
            self._end(Stage.FAILED, error)
        except BaseException:
            self._end(Stage.FAILED, _fault(self._work.title))
            raise

    def _begin(self, extent: _Extent) -> None:
        self._rest = self._work.datasets()
        with self._lock:
            if self.ended_s:
                return
            self.stage, self._extent = Stage.RUNNING, extent
            self._lanes = lanes = max(1, min(self._work.at_once, extent.files))
        for _ in range(lanes):
            self._go_on()

    def _counted(self) -> _Extent:
        """Go through all once, giving way now and then: one thread at a time runs Python, and readers come first."""
        files = size_bytes = move_bytes = 0
        begun_s = time.monotonic()
        for dataset in self._work.datasets():
            its_bytes, to_move_bytes = self._work.size(dataset)
            files, size_bytes, move_bytes = files + 1, size_bytes + its_bytes, move_bytes + to_move_bytes
            if time.monotonic() - begun_s > WORK_S:
                if self.is_over:
                    break
                time.sleep(REST_S)
                begun_s = time.monotonic()
        return _Extent(files, size_bytes, move_bytes)

    def _go_on(self) -> None:
        """Put one of its lanes at the end of the queue, so that each of several jobs has its turn."""
        if not self._workers.submit(self._step):
            self._end(Stage.STOPPED)

    def _step(self) -> None:
        dataset = None
        with self._ending_at_errors(), self._taking:
            dataset = None if self.is_over else next(self._rest, None)
        if dataset is not None:
            try:
                self._do(dataset)
            finally:
                self._go_on()
            return
        with self._lock:
            self._lanes -= 1
            is_last = not self._lanes
        if is_last:
            self._end(Stage.DONE)

    def _do(self, dataset: Dataset) -> None:
        with self._lock:
            self._progress.under_way[dataset.path] = 0
        done = Done(FAILED)
        # What nobody foresaw goes on to the worker's own report, but the job must come to an end.
        failure: OnefsError | None = _fault(dataset.path)
        try:
            done = self._work.act(dataset)
            failure = done.error
        except OnefsError as error:
            failure = error
        finally:
            self._note(dataset, done, failure)
        is_full = isinstance(failure, NoRoomError) and self._progress.without_room >= MOST_WITHOUT_ROOM
        if is_full or isinstance(failure, OfflineError):
            self._end(Stage.FAILED, failure)

    def _note(self, dataset: Dataset, done: Done, error: OnefsError | None) -> None:
        given_up_bytes = self._work.size(dataset)[1] if error is not None else 0
        with self._lock:
            progress = self._progress
            progress.under_way.pop(dataset.path, None)
            if self.ended_s:
                return
            progress.files[done.word] += 1
            progress.bytes[done.word] += done.size_bytes
            progress.moved_bytes += done.moved_bytes
            progress.settled_bytes += done.moved_bytes + given_up_bytes
            if isinstance(error, NoRoomError):
                progress.without_room += 1
            elif done.moved_bytes:
                progress.without_room = 0
            if error is None:
                return
            progress.causes.add(dataset.path, error)
            if len(progress.failures) < FAILURES_TOLD:
                progress.failures.append(Failure(dataset.path, error))

    def _end(self, stage: Stage, error: OnefsError | None = None) -> None:
        with self._lock:
            if self.ended_s:
                return
            self.stage, self.error, self.ended_s = stage, error, time.time()
            self.sentence = self._summed_up()
            self._progress.under_way.clear()
        self._work.stop()
        _log.info("%s", self.sentence)
        self._has_ended.set()
        self._ended()

    def _summed_up(self) -> str:
        progress = self._progress
        words = [
            f"{files} {PHRASES.get(word, word)}"
            + (f" ({size_text(progress.bytes[word])})" if progress.bytes[word] else "")
            for word, files in sorted(progress.files.items())
        ]
        became = ", ".join(words)
        done_files, extent = progress.files.total(), self._extent
        after = f"{done_files} of {counted(extent.files, 'file')}" if extent else counted(done_files, "file")
        if self.stage is Stage.DONE:
            return f"{self._work.title}: {became or 'nothing to do'}."
        how = f"ended early, after {after}" + (f" ({became})" if became else "")
        return f"{self._work.title}: {how}: {self.error}" if self.error is not None else f"{self._work.title}: {how}."


def _fault(what: str) -> OnefsError:
    return OnefsError(f"{what}: a fault in onefs.", "Please report it, with the log.")
