"""The stacks of all threads and tasks, and the state of the mount, written into the log at SIGUSR1."""

import logging
import signal
import sys
import threading
import traceback
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from onefs.text import counted

if TYPE_CHECKING:
    from trio.lowlevel import Task

_log = logging.getLogger(__name__)


class Mounted(Protocol):
    """What a running mount shows of itself."""

    root_task: "Task | None"
    """The first of its tasks; None before they begin."""

    def state_text(self) -> str:
        """Its status, for people. May wait for a disk."""


class StackWriter:
    """Writes stacks and state at SIGUSR1, in threads of its own: it works whatever else hangs."""

    def __init__(self) -> None:
        """Start the listening thread. Call it before importing numpy and the like: their threads must block the signal.

        The kernel may give it to any thread that does not block it; then it is passed on once Python code runs.
        """
        self._mounted: Mounted | None = None
        self._state_writer: threading.Thread | None = None
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # it is to take no other signal
        listener = threading.Thread(target=self._listen, name="stack writer", daemon=True)
        listener.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before | {signal.SIGUSR1})
        assert listener.ident is not None
        ident = listener.ident
        signal.signal(signal.SIGUSR1, lambda number, _: signal.pthread_kill(ident, number))

    def observe(self, mounted: Mounted) -> None:
        """Write the tasks and the state of this mount, too, from now on."""
        self._mounted = mounted

    def _listen(self) -> None:
        while True:
            signal.sigwait([signal.SIGUSR1])
            try:
                self._write()
            except Exception:  # noqa: BLE001 - the next signal is answered all the same
                _log.exception("The stacks cannot be written")

    def _write(self) -> None:
        mounted = self._mounted
        _write("Stacks of threads at SIGUSR1:\n" + thread_stacks())
        if mounted is None:
            _write("The daemon is starting: it has no state yet.")
            return
        if mounted.root_task is not None:
            _write("Stacks of tasks at SIGUSR1:\n" + task_stacks(mounted.root_task))
        if self._state_writer is not None and self._state_writer.is_alive():
            _write("The state of the last SIGUSR1 is still being collected: a disk may hang.")
            return
        self._state_writer = threading.Thread(target=_write_state, args=(mounted,), name="state writer", daemon=True)
        self._state_writer.start()


def thread_stacks() -> str:
    """The stack of each thread, equal ones once."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    stacks = (
        (names.get(ident, str(ident)), "".join(traceback.format_stack(frame)))
        for ident, frame in sys._current_frames().items()
    )
    return _grouped(stacks, "thread")


def task_stacks(root: "Task") -> str:
    """The stack of each task below and including one, equal ones once. For any thread, while the tasks run."""
    return _grouped(((task.name, _task_stack(task)) for task in _tasks(root)), "task")


def _tasks(root: "Task") -> "Iterator[Task]":
    waiting = [root]
    while waiting:
        task = waiting.pop()
        yield task
        waiting += [child for nursery in list(task.child_nurseries) for child in list(nursery.child_tasks)]


def _task_stack(task: "Task") -> str:
    try:
        return "".join(traceback.StackSummary.extract(task.iter_await_frames()).format())
    except Exception as error:  # noqa: BLE001 - the task may run while it is looked at
        return f"  cannot be read: {error!r}\n"


def _grouped(stacks: Iterator[tuple[str, str]], noun: str) -> str:
    by_stack: dict[str, list[str]] = defaultdict(list)
    for name, stack in stacks:
        by_stack[stack].append(name)
    return "".join(
        f"{counted(len(names), noun)}: {', '.join(sorted(set(names))[:10])}\n{stack}"
        for stack, names in sorted(by_stack.items(), key=lambda item: -len(item[1]))
    )


def _write_state(mounted: Mounted) -> None:
    try:
        text = mounted.state_text()
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the mount, it goes on
        text = f"cannot be told: {error!r}"
    _write(f"State at SIGUSR1:\n{text}")


def _write(text: str) -> None:
    """Log a text, whatever the level of the log is."""
    _log.handle(_log.makeRecord(_log.name, logging.WARNING, __file__, 0, text.rstrip("\n"), (), None))
