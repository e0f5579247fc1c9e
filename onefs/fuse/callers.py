"""Requests of the kernel: answering them at once where that is possible, else waiting on behalf of a program.

An operation is a coroutine. `begin` runs its first part without a task, which is all of it when nothing has to be
waited for. Before it waits, the coroutine calls `in_task`; what is left of it then runs in a task of trio.

FUSE_INTERRUPT says once of a request that its thread has some signal. From then on `until_done` looks at the thread's
pending signals, and raises what becomes EINTR if one of `STOPPING` is among them. Where the kernel sends no interrupt
(pyfuse3, and reads through the kernel's cache), it looks from time to time.
"""

import errno
import functools
import os
import signal
import threading
import types
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from types import CoroutineType
from typing import Any, TypeAlias, TypeVar, TypeVarTuple

import trio

from onefs.errors import InterruptedByCallerError

# How often to look for signals: less and less, so that thousands can wait.
FIRST_LOOK_S = 0.05
LONGEST_PAUSE_S = 1.0
# Signals by which people stop programs. Others (SIGCHLD, SIGWINCH, timers) must not break a read.
STOPPING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL, signal.SIGTERM)
_STOPPING_MASK = sum(1 << number - 1 for number in STOPPING)
_PENDING = (b"SigPnd:", b"ShdPnd:")
_BLOCKED = b"SigBlk:"
_HANDLED = b"SigCgt:"

R = TypeVar("R")
About = TypeVarTuple("About")
Answer: TypeAlias = R | Coroutine[Any, Any, R]
"""An answer, or the coroutine that gives it once it has waited."""
Buffer: TypeAlias = bytes | bytearray | memoryview
"""Bytes of a file."""

AFTER_SIGNAL_S = 0.01
"""How often to look for a signal that stops programs once the kernel has told of some signal: it tells only once."""


class _Thread(threading.local):
    is_answering = False
    """Whether this thread is about to answer the kernel."""
    has_no_task = False
    """Whether this thread runs the first part of an operation."""


_thread = _Thread()


@dataclass(slots=True, eq=False)
class Request:
    """Who asks for something: a thread, and the user it acts as.

    `pid` is 0 for the kernel, and for processes of another PID namespace. With `is_told_of_signals`, the kernel tells
    when the thread has a signal, and the adapter calls `interrupt`; else whoever waits has to look for signals.

    With `is_done_once`, only signals that end the program interrupt it: one that handles a signal asks again, as
    Python does, and what it asks for would be done twice. `was_there` is set once the thread has been seen: only then
    does its absence tell that it has ended.
    """

    pid: int
    uid: int
    is_told_of_signals: bool = False
    is_interrupted: bool = False
    is_done_once: bool = False
    was_there: bool = False
    _waker: trio.Event | None = None

    def interrupt(self) -> None:
        """Note that the thread has a signal, and wake whoever waits on its behalf."""
        self.is_interrupted = True
        self.wake()

    def wake(self) -> None:
        """End the pause of whoever waits on its behalf."""
        if self._waker is not None:
            self._waker.set()

    async def pause(self, until_s: float) -> None:
        """Wait until `wake` is called, or until a time of trio's clock."""
        self._waker = trio.Event()
        with trio.move_on_at(until_s):
            await self._waker.wait()


def begin(coroutine: Coroutine[Any, Any, R]) -> Answer[R]:
    """Run an operation until it has to wait. Returns its answer, or a coroutine for what is left. Raises its error.

    Raises RuntimeError if it waits without `in_task`, before that could wake a task that waits for something else.
    """
    _thread.has_no_task = True
    try:
        waits_for = coroutine.send(None)
    except StopIteration as done:
        answer: R = done.value
        return answer
    finally:
        _thread.has_no_task = False
    if waits_for is not None:  # in_task yields None, whatever waits in trio yields something
        coroutine.close()
        raise RuntimeError("An operation waits without a task: it must call in_task first.")
    return _go_on(coroutine)


async def finished(answer: Answer[R]) -> R:
    """The answer itself, waited for if need be. Raises what the operation raises."""
    return await answer if isinstance(answer, CoroutineType) else answer  # type: ignore[return-value]


async def _go_on(coroutine: Coroutine[Any, Any, R]) -> R:
    return await _rest(coroutine)


@types.coroutine
def _rest(coroutine: Coroutine[Any, Any, R]) -> Generator[Any, Any, R]:
    """What is left of a coroutine that has begun, which `await` would refuse."""
    answer: R = yield from coroutine
    return answer


@types.coroutine
def in_task() -> Generator[None, None, None]:
    """Go on in a task: call it before anything that may wait."""
    if _thread.has_no_task:
        yield


async def until_done(future: "Future[Any]", request: Request, longest_s: float = inf) -> None:
    """Wait for a future on behalf of a program, at most so long.

    Raises `InterruptedByCallerError` when a signal that stops programs is pending for its thread, or has ended it:
    who waits for the same pages of the kernel then asks for itself.
    """
    request.was_there |= not request.is_told_of_signals and is_there(request.pid)  # it may be killed at any time
    await in_task()
    end_s = trio.current_time() + longest_s
    token = trio.lowlevel.current_trio_token()

    def wake(_: "Future[Any]") -> None:
        # The mount may have ended, and with it whoever waited.
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(request.wake)

    future.add_done_callback(wake)
    pause_s = FIRST_LOOK_S
    while not future.done() and trio.current_time() < end_s:
        if request.is_interrupted:
            pause_s = AFTER_SIGNAL_S  # it is told of one signal only: the next may be one that stops programs
        elif request.is_told_of_signals:
            pause_s = inf
        await request.pause(min(trio.current_time() + pause_s, end_s))
        if future.done():
            break
        may_have_signal = request.is_interrupted or not request.is_told_of_signals
        has_ended = request.was_there and not is_there(request.pid)
        if has_ended or (may_have_signal and _wants_to_stop(request)):
            raise InterruptedByCallerError("The program that was waiting has been interrupted.")
        pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)


async def in_thread(
    question: Callable[[], R],
    request: Request,
    limiter: trio.CapacityLimiter,
    drop: Callable[[R], object] | None = None,
) -> R:
    """Ask in a worker thread, on behalf of a program. Raises `InterruptedByCallerError` at its signals.

    The question is put to its end in any case; an answer that comes too late is given to `drop`.
    """
    await in_task()
    answer: Future[R] = Future()
    stopped: InterruptedByCallerError | None = None
    ask = functools.partial(_settle, answer, question, drop)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            functools.partial(trio.to_thread.run_sync, ask, limiter=limiter, abandon_on_cancel=True), name="question"
        )
        try:
            await until_done(answer, request)
        except InterruptedByCallerError as error:
            if answer.cancel():  # else the answer has just come
                stopped = error
                nursery.cancel_scope.cancel()
    if stopped is not None:
        raise stopped
    return answer.result()


def _settle(answer: "Future[R]", question: Callable[[], R], drop: Callable[[R], object] | None) -> None:
    """Everything that is thrown goes to whoever awaits the answer."""
    try:
        found = question()
    except BaseException as error:  # noqa: BLE001
        with suppress(InvalidStateError):  # nobody awaits it any more
            answer.set_exception(error)
        return
    try:
        answer.set_result(found)
    except InvalidStateError:
        if drop is not None:
            drop(found)


def answering(question: Callable[[*About], R], *about: *About) -> R:
    """What a question gives whose answer the kernel waits for: `is_answering` is true meanwhile."""
    _thread.is_answering = True
    try:
        return question(*about)
    finally:
        _thread.is_answering = False


def is_answering() -> bool:
    """Whether this thread is about to answer the kernel, which may hold locks until it does."""
    return _thread.is_answering


def is_there(pid: int) -> bool:
    """Whether a thread is known here. 0 and -1 are none."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno == errno.EPERM
    return True


def _wants_to_stop(request: Request) -> bool:
    return wants_to_stop(request.pid, though_handled=not request.is_done_once)


def wants_to_stop(pid: int, *, though_handled: bool = True) -> bool:
    """Whether a signal that stops programs is pending for a thread. A thread unknown here is left waiting.

    Signals that the program handles by itself count only with `though_handled`.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return False
    pending = ignored = 0
    for line in status.splitlines():
        if line.startswith(_PENDING):
            pending |= int(line[7:], 16)
        elif line.startswith(_BLOCKED) or (not though_handled and line.startswith(_HANDLED)):
            ignored |= int(line[7:], 16)
    return bool(pending & ~ignored & _STOPPING_MASK)
