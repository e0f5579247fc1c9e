"""`Job`: long work over many datasets, done by threads of this process."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from onefs.catalogue.records import Dataset
from onefs.daemon.job_state import FAILED, Extent, Failure, JobState, Outcomes, Stage, fault
from onefs.daemon.work import Done, Work
from onefs.errors import NoRoomError, OfflineError, OnefsError
from onefs.threads import Workers

WORK_S = REST_S = 0.002
MOST_WITHOUT_ROOM = 100
"""So many files in a row that find no room end a job: a smaller one may still fit where a large one did not."""


class Job(JobState):
    """A piece of work, done by threads that it shares with others. Safe to use from several threads."""

    def __init__(self, number: int, work: Work, workers: Workers, ended: Callable[[], None]) -> None:
        super().__init__(number, work.title, work.key)
        self._work = work
        self._workers = workers
        self._ended = ended
        self._taking = threading.Lock()  # held while the next dataset is found; guards _rest
        self._rest: Iterator[Dataset] = iter(())
        self._lanes = 0

    def begin(self) -> None:
        """Have a thread begin."""
        if not self._workers.submit(self._run):
            self._end(Stage.STOPPED)

    def look(self) -> None:
        """Measure how fast it goes."""
        self._measure(self._work.coming())

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
            self._end(Stage.FAILED, fault(self._work.title))
            raise

    def _begin(self, extent: Extent) -> None:
        self._rest = self._work.datasets()
        self._lanes = lanes = max(1, min(self._work.at_once, extent.files))
        if not self._run_on(extent):
            return
        for _ in range(lanes):
            self._go_on()

    def _counted(self) -> Extent:
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
        return Extent(files, size_bytes, move_bytes)

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
        self._begin_file(dataset.path)
        done = Done(FAILED)
        # What nobody foresaw goes on to the worker's own report, but the job must come to an end.
        failure: OnefsError | None = fault(dataset.path)
        try:
            done = self._work.act(dataset)
            failure = done.error
        except OnefsError as error:
            failure = error
        finally:
            without_room = self._note_done(dataset, done, failure)
        is_full = isinstance(failure, NoRoomError) and without_room >= MOST_WITHOUT_ROOM
        if is_full or isinstance(failure, OfflineError):
            self._end(Stage.FAILED, failure)

    def _note_done(self, dataset: Dataset, done: Done, error: OnefsError | None) -> int:
        given_up_bytes = self._work.size(dataset)[1] if error is not None else 0
        outcomes = Outcomes(
            Counter({done.word: 1}),
            Counter({done.word: done.size_bytes}),
            done.moved_bytes,
            done.moved_bytes + given_up_bytes,
            [Failure(dataset.path, error)] if error is not None else [],
        )
        return self._note(outcomes, dataset.path)

    def _cancel_transfers(self) -> None:
        self._work.stop()

    def _notify_ended(self) -> None:
        self._ended()
