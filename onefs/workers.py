"""`Workers`, what runs the tasks of long work: this process, processes of this machine, or those of a cluster."""

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from onefs.errors import WorkerLostError

T = TypeVar("T")
_counter: int | None = None
"""In a process of `LocalWorkers` the eventfd by which it tells how much it has done of its task."""
_PR_SET_PDEATHSIG = 1
_TASKS_PER_PROCESS = 3
"""Enough that no process waits for this one."""


class Workers(Protocol):
    """Runs functions of modules, with arguments and results that can be pickled.

    `at_once` is how many tasks to keep under way: more would only wait in memory.
    """

    at_once: int

    def submit(self, function: Callable[..., T], /, *arguments: Any) -> "Future[T]":
        """Begin a task. Its future raises `WorkerLostError` if the process that ran it is gone."""


class ThisProcess:
    """Runs each task at once, while the caller waits."""

    at_once = 1

    def submit(self, function: Callable[..., T], /, *arguments: Any) -> "Future[T]":
        """Run a task."""
        future: Future[T] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001 - whoever asks for the result gets it
            future.set_exception(error)
        return future


class LocalWorkers:
    """A context that runs tasks in processes of this machine, which are forked off at the first task."""

    def __init__(self, processes: int | None = None) -> None:
        """By default as many processes as this one may use processors."""
        self.processes = processes or len(os.sched_getaffinity(0))
        self.at_once = self.processes * _TASKS_PER_PROCESS
        self._pool: ProcessPoolExecutor | None = None
        self._counter = -1
        self._counted = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            if error is not None:  # what is under way is of no use any more
                for process in list(self._pool._processes.values()):
                    process.kill()
            self._pool.shutdown(cancel_futures=True)
            os.close(self._counter)

    def submit(self, function: Callable[..., T], /, *arguments: Any) -> "Future[T]":
        """Begin a task in one of the processes."""
        try:
            if self._pool is None:
                # Forked, not spawned: a spawned process runs the program's main module again.
                self._counter = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
                started = (os.getpid(), self._counter)
                self._pool = ProcessPoolExecutor(self.processes, get_context("fork"), _start_worker, started)
            return self._pool.submit(function, *arguments)
        except (BrokenProcessPool, OSError) as error:
            raise _lost(error) from error

    def counted(self) -> int:
        """How much all tasks have told by `count` so far, also those under way."""
        if self._pool is not None:
            with contextlib.suppress(BlockingIOError):  # nothing since the last call
                self._counted += os.eventfd_read(self._counter)
        return self._counted


def count(done: int) -> None:
    """Tell from within a task that so much more is done, for who shows its progress."""
    if _counter is not None:
        os.eventfd_write(_counter, done)


class Tasks(Generic[T]):
    """Tasks under way on workers, of which there are never many more than `workers.at_once`."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._pending: set[Future[T]] = set()

    @property
    def has_room(self) -> bool:
        """Whether another task should be begun."""
        return len(self._pending) < self._workers.at_once

    def begin(self, function: Callable[..., T], /, *arguments: Any) -> None:
        """Begin a task."""
        self._pending.add(self._workers.submit(function, *arguments))

    def results(self, timeout_s: float | None = None) -> Iterator[T]:
        """Wait until a task is done, and give the results of all that are; none if no task is under way.

        After `timeout_s` there may be none, too. Raises `WorkerLostError`, and what the task raised.
        """
        if not self._pending:
            return
        done, self._pending = wait(self._pending, timeout_s, FIRST_COMPLETED)
        for future in done:
            try:
                yield future.result()
            except BrokenProcessPool as error:
                raise _lost(error) from error

    def __bool__(self) -> bool:
        return bool(self._pending)


def _start_worker(parent: int, counter: int) -> None:
    """Have this process end when its parent does, and leave Ctrl-C to the parent."""
    global _counter
    _counter = counter
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _lost(error: BaseException) -> WorkerLostError:
    why = (
        "was killed, perhaps for want of memory"
        if isinstance(error, BrokenProcessPool)
        else f"cannot be started: {error}"
    )
    return WorkerLostError(f"A worker process {why}.")
