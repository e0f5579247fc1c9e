"""Waiting on behalf of a program: until it may go on, or a signal asks it to stop."""

import functools
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from math import inf
from pathlib import Path
from typing import Any, TypeVar

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

R = TypeVar("R")
_thread = threading.local()


async def until_done(future: "Future[Any]", pid: int, longest_s: float = inf) -> None:
    """Wait for a future for the thread `pid`, at most so long.

    Raises `InterruptedByCallerError` when the thread is to be interrupted.
    """
    done, end_s = trio.Event(), trio.current_time() + longest_s
    token = trio.lowlevel.current_trio_token()

    def wake(_: "Future[Any]") -> None:
        try:
            token.run_sync_soon(done.set)
        except trio.RunFinishedError:
            return  # the mount has ended, and with it whoever waited

    future.add_done_callback(wake)
    pause_s = FIRST_LOOK_S
    while not done.is_set():
        with trio.move_on_at(min(trio.current_time() + pause_s, end_s)):
            await done.wait()
        pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)
        if not done.is_set() and wants_to_stop(pid):
            raise InterruptedByCallerError("The program that was waiting has been interrupted.")
        if trio.current_time() >= end_s:
            return


async def in_thread(question: Callable[[], R], pid: int, limiter: trio.CapacityLimiter) -> R:
    """Ask in a worker thread, for the thread `pid`. Raises `InterruptedByCallerError` when that is to be interrupted.

    The question is put to its end in any case; nobody takes an answer that comes too late.
    """
    answer: Future[R] = Future()
    stopped: InterruptedByCallerError | None = None
    ask = functools.partial(_settle, answer, question)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            functools.partial(trio.to_thread.run_sync, ask, limiter=limiter, abandon_on_cancel=True), name="question"
        )
        try:
            await until_done(answer, pid)
        except InterruptedByCallerError as error:
            stopped = error
            nursery.cancel_scope.cancel()
    if stopped is not None:
        raise stopped
    return answer.result()


def _settle(answer: "Future[R]", question: Callable[[], R]) -> None:
    """Everything that is thrown goes to whoever awaits the answer."""
    _thread.is_answering = True
    try:
        answer.set_result(question())
    except BaseException as error:  # noqa: BLE001
        answer.set_exception(error)
    finally:
        _thread.is_answering = False


def is_answering() -> bool:
    """Whether this thread is about to answer the kernel, which may hold locks until it does."""
    return getattr(_thread, "is_answering", False)


def wants_to_stop(pid: int) -> bool:
    """Whether a signal that stops programs is pending for a thread. A thread unknown here is left waiting."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return False
    pending = blocked = 0
    for line in status.splitlines():
        if line.startswith(_PENDING):
            pending |= int(line[7:], 16)
        elif line.startswith(_BLOCKED):
            blocked = int(line[7:], 16)
    return bool(pending & ~blocked & _STOPPING_MASK)
