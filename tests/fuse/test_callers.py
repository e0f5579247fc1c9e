"""Whether a program that waits wants to stop, asked of real processes; and the waiting itself."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest
import trio
import trio.testing

from onefs.errors import InterruptedByCallerError
from onefs.fuse.callers import (
    LONGEST_PAUSE_S,
    STOPPING,
    Request,
    begin,
    in_task,
    in_thread,
    is_there,
    until_done,
    wants_to_stop,
)

# Signals sent to a stopped process stay pending, as those of a program that waits in the kernel do.
PROGRAM = """
import signal, sys
blocked, ignored = ([int(number) for number in words.split(",") if number] for words in sys.argv[1:])
signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
for number in ignored:
    signal.signal(number, signal.SIG_IGN)
print("ready", flush=True)
while True:
    signal.pause()
"""
OTHERS = (signal.SIGCHLD, signal.SIGWINCH, signal.SIGALRM, signal.SIGUSR1, signal.SIGURG)


class Stopped:
    """A process that is stopped, so that what it is sent stays pending."""

    def __init__(self, blocked: tuple[int, ...] = (), ignored: tuple[int, ...] = ()) -> None:
        words = [",".join(str(int(number)) for number in numbers) for numbers in (blocked, ignored)]
        command = [sys.executable, "-S", "-c", PROGRAM, *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)

    @property
    def pid(self) -> int:
        return self.process.pid

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def stopped() -> Iterator[Stopped]:
    process = Stopped()
    yield process
    process.end()


@pytest.mark.parametrize("number", [number for number in STOPPING if number != signal.SIGKILL])
def test_each_stopping_signal_counts(stopped: Stopped, number: int) -> None:
    assert not wants_to_stop(stopped.pid)
    stopped.process.send_signal(number)
    assert wants_to_stop(stopped.pid)


def test_a_signal_that_is_handled_may_not_count(stopped: Stopped) -> None:
    """Python handles SIGINT, and writes again what was interrupted."""
    stopped.process.send_signal(signal.SIGINT)
    assert not wants_to_stop(stopped.pid, though_handled=False)
    stopped.process.send_signal(signal.SIGTERM)
    assert wants_to_stop(stopped.pid, though_handled=False)


def test_other_signals_do_not(stopped: Stopped) -> None:
    for number in OTHERS:
        stopped.process.send_signal(number)
    assert not wants_to_stop(stopped.pid)


def test_what_is_blocked_or_ignored_does_not() -> None:
    process = Stopped(blocked=(signal.SIGINT, signal.SIGTERM), ignored=(signal.SIGHUP,))
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process.process.send_signal(number)
        assert not wants_to_stop(process.pid)
        process.process.send_signal(signal.SIGQUIT)
        assert wants_to_stop(process.pid)
    finally:
        process.end()


def test_programs_that_are_not_to_be_seen_are_left_waiting() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    for pid in (0, -1, gone.pid, 1 << 30):
        assert not wants_to_stop(pid)


def test_waiting_ends_with_the_future() -> None:
    future: Future[None] = Future()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_done, future, Request(os.getpid(), 0))
            await trio.testing.wait_all_tasks_blocked()
            await trio.to_thread.run_sync(future.set_result, None)

    trio.run(main)


def test_waiting_for_what_has_failed_ends_too() -> None:
    """The failure itself is raised by whoever asks for the bytes again."""
    future: Future[None] = Future()
    future.set_exception(OSError("wrong"))
    trio.run(until_done, future, Request(os.getpid(), 0))


def test_waiting_ends_when_the_program_is_to_stop(stopped: Stopped) -> None:
    future: Future[None] = Future()
    stopped.process.send_signal(signal.SIGTERM)
    with pytest.raises(InterruptedByCallerError):
        trio.run(until_done, future, Request(stopped.pid, 0))
    future.set_result(None)  # after the loop has ended: nobody is there to be woken


def test_an_operation_that_waits_without_a_task_is_refused() -> None:
    async def careless() -> None:
        await trio.lowlevel.checkpoint()

    async def careful() -> int:
        await in_task()
        await trio.lowlevel.checkpoint()
        return 1

    async def main() -> None:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="call in_task first"):
                begin(careless())
            rest = begin(careful())
            assert not isinstance(rest, int)
            assert await rest == 1

    trio.run(main)


def test_waiting_ends_when_the_program_is_gone() -> None:
    future: Future[None] = Future()
    program = subprocess.Popen(["sleep", "infinity"])
    request = Request(program.pid, 0)

    async def kill() -> None:
        await trio.testing.wait_all_tasks_blocked()
        program.kill()
        program.wait()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill)
            with pytest.raises(InterruptedByCallerError):
                await until_done(future, request)

    trio.run(main)


def test_programs_that_were_never_seen_are_not_taken_for_gone() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert is_there(os.getpid())
    assert is_there(1)
    for pid in (0, -1, gone.pid):
        assert not is_there(pid)
        future: Future[None] = Future()

        async def main(pid: int = pid, future: "Future[None]" = future) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(until_done, future, Request(pid, 0))
                await trio.sleep(10 * LONGEST_PAUSE_S)
                future.set_result(None)

        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_an_answer_that_comes_too_late_is_dropped(stopped: Stopped) -> None:
    stopped.process.send_signal(signal.SIGTERM)
    may_answer, was_dropped = threading.Event(), threading.Event()
    dropped: list[str] = []

    def answer() -> str:
        may_answer.wait()
        return "answer"

    def drop(found: str) -> None:
        dropped.append(found)
        was_dropped.set()

    async def main() -> None:
        with pytest.raises(InterruptedByCallerError):
            await in_thread(answer, Request(stopped.pid, 0), trio.CapacityLimiter(1), drop)

    trio.run(main)
    may_answer.set()
    was_dropped.wait()
    assert dropped == ["answer"]
