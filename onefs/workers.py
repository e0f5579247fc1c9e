"""`Workers` run tasks: in this process (`ThisProcess`), or in others of this machine (`LocalWorkers`)."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from queue import Empty, SimpleQueue
from threading import Thread, local
from types import TracebackType
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

from onefs.errors import WorkerLostError
from onefs.forks import end_with_parent

T = TypeVar("T")
_counter: int | None = None
"""In a process of `LocalWorkers`, the eventfd to which `count` adds."""
_here = local()
"""`on_count` is what `count` calls in a thread that has set it by `counting`."""
_TASKS_PER_PROCESS = 3
"""Enough that no process is idle while this one handles results."""


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
        self._workers: list[_Worker] = []
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._counter = -1
        self._counted = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(Empty):
            while task := self._tasks.get_nowait():
                task.future.cancel()
        for worker in self._workers:
            self._tasks.put(None)
            if error is not None:  # what is under way is of no use any more
                worker.process.kill()
        for worker in self._workers:
            worker.join()
        if self._counter >= 0:
            os.close(self._counter)

    def submit(self, function: Callable[..., T], /, *arguments: Any) -> "Future[T]":
        """Begin a task in one of the processes. Raises `WorkerLostError` if they cannot be started."""
        if not self._workers:
            self._start()
        task = _Task(Future(), function, arguments)
        self._tasks.put(task)
        return task.future

    def counted(self) -> int:
        """The sum of what all tasks passed to `count` so far, also those under way."""
        if self._counter >= 0:
            with contextlib.suppress(BlockingIOError):  # nothing since the last call
                self._counted += os.eventfd_read(self._counter)
        return self._counted

    def _start(self) -> None:
        masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # until they leave Ctrl-C to this process
        try:
            self._counter = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            for _ in range(self.processes):
                self._workers.append(_Worker(self._tasks, self._counter))
        except OSError as error:
            raise WorkerLostError(f"A worker process cannot be started: {error.strerror}.") from error
        finally:
            for worker in self._workers:  # when all are forked: a fork does not take other threads along
                worker.start()
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)


class _Task(NamedTuple):
    future: "Future[Any]"
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


class _Worker(Thread):
    """A process, and the thread that gives it tasks.

    It has a pipe of its own: if it is killed in the midst of writing a result, that is the end of the pipe, and
    others neither wait for it nor read half a result, as they may with those of `concurrent.futures`.
    """

    def __init__(self, tasks: "SimpleQueue[_Task | None]", counter: int) -> None:
        """Fork the process off, in which `count` adds to an eventfd. Raises OSError."""
        super().__init__(name="onefs-worker", daemon=True)
        self._tasks = tasks
        self._pipe, theirs = Pipe()
        # Forked, not spawned: a spawned process runs the program's main module again.
        self.process = get_context("fork").Process(target=_work, args=(theirs, os.getpid(), counter), daemon=True)
        self.process.start()
        theirs.close()

    def run(self) -> None:
        """Pass tasks to the process until there is None. If the process has ended, every task fails."""
        while task := self._tasks.get():
            if task.future.set_running_or_notify_cancel():
                self._do(task)
        with contextlib.suppress(OSError):
            self._pipe.send(None)
        self.process.join()
        self._pipe.close()

    def _do(self, task: _Task) -> None:
        try:
            self._pipe.send((task.function, task.arguments))
            is_done, result = self._pipe.recv()
        except (EOFError, OSError):
            is_done, result = False, WorkerLostError("A worker process was killed, perhaps for want of memory.")
        except Exception as error:  # noqa: BLE001 - it cannot be pickled, or not be unpickled
            is_done, result = False, error
        if is_done:
            task.future.set_result(result)
        else:
            task.future.set_exception(result)


def count(done: int) -> None:
    """Add to the progress of the task that calls this. May raise an error to end the task."""
    if _counter is not None:
        os.eventfd_write(_counter, done)
    elif on_count := getattr(_here, "on_count", None):
        on_count(done)


@contextlib.contextmanager
def counting(on_count: Callable[[int], None]) -> Iterator[None]:
    """A context in which `count`, in this thread, calls `on_count`."""
    _here.on_count = on_count
    try:
        yield
    finally:
        del _here.on_count


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
        """Wait until a task has ended, and give the results of all that have; none if no task is under way.

        After `timeout_s` it gives none. Raises `WorkerLostError`, and what the task raised.
        """
        if not self._pending:
            return
        done, self._pending = wait(self._pending, timeout_s, FIRST_COMPLETED)
        for future in sorted(done, key=_has_failed):  # results first: they count even if another task failed
            yield future.result()

    def __bool__(self) -> bool:
        return bool(self._pending)


def _has_failed(future: "Future[Any]") -> bool:
    return future.exception() is not None


def _work(pipe: "Connection[Any, Any]", parent: int, counter: int) -> None:
    """Run the tasks that come through a pipe, until there is None. The main function of a worker process."""
    global _counter
    _counter = counter
    _set_signals()
    if not end_with_parent(parent, signal.SIGKILL):
        os._exit(1)
    try:
        while task := pipe.recv():
            function, arguments = task
            try:
                answer = ForkingPickler.dumps((True, function(*arguments)))
            except Exception as error:  # noqa: BLE001 - whoever asks for the result gets it
                answer = ForkingPickler.dumps((False, error))
            pipe.send_bytes(answer)
    finally:
        # Flushes no stream: a thread of the parent, such as that of a bar, may have held its lock at the fork.
        os._exit(0)


def _set_signals() -> None:
    """Ignore Ctrl-C, which the parent handles."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
