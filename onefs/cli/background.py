"""Going to the background: the caller waits until the daemon is usable, or learns why it is not."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from typing import Any

from onefs.cli.progress import Display
from onefs.errors import OnefsError, UsageError
from onefs.progress import Listener, Step

_READY, _STEP, _ERROR = "ready", "step", "error"


def in_background(serve: Callable[[Callable[[], None]], None]) -> None:
    """Run `serve` in a process of its own, show its progress, and return once it calls what it is given.

    Raises what `serve` raised before that, as an `OnefsError` with the same words.
    """
    reader, writer = os.pipe()
    # What the daemon and its helpers print. If they held our own standard error, whoever reads it to its end
    # would wait for the end of the mount.
    said = os.memfd_create("onefs")
    child = os.fork()
    if child:
        os.close(writer)
        with os.fdopen(reader, "rb") as answers, os.fdopen(said, "rb") as words:
            try:
                answer = _answer(answers)
            except KeyboardInterrupt:
                os.kill(child, signal.SIGTERM)  # it has a session of its own, so the terminal did not tell it
                raise
            words.seek(0)
            sys.stderr.buffer.write(words.read())
            sys.stderr.flush()
        _relay(answer)
        return
    os.close(reader)
    os._exit(_child(serve, writer, said))


def _answer(answers: Iterable[bytes]) -> list[Any]:
    """The daemon's last message: that it is usable, or its error; [] if it ended without one. Shows its progress."""
    with Display() as display:
        for line in answers:
            kind, *words = json.loads(line)
            if kind != _STEP:
                return [kind, *words]
            display.step(Step(*words))
    return []


def _relay(answer: list[Any]) -> None:
    if answer[:1] == [_READY]:
        return
    if not answer:
        raise OnefsError("The daemon ended before it was usable.", "Run it with --foreground to see why.")
    _, kind, reason, remedy = answer
    raise (UsageError if kind == UsageError.__name__ else OnefsError)(reason, remedy)


class _Caller(Listener):
    """The end of a pipe by which the daemon tells the waiting process its progress, and then its result."""

    def __init__(self, writer: int) -> None:
        super().__init__()
        self._writer = writer
        self.is_waiting = True

    def show(self, step: Step) -> None:
        """Send one step. A caller that has gone is ignored here, and noticed when the result is sent."""
        with suppress(BrokenPipeError):
            self._tell(_STEP, *step)

    def answer(self, *words: str) -> None:
        """Send the result and close the pipe; does nothing the second time."""
        if self.is_waiting:
            self._tell(*words)
            self.is_waiting = False
            os.close(self._writer)

    def _tell(self, *words: str | int | None) -> None:
        if self.is_waiting:
            os.write(self._writer, f"{json.dumps(words)}\n".encode())


def _is_of_group_of_init() -> bool:
    """Whether this process may have to mount before it leaves its process group.

    systemd mounts at first access from its own group, and until that is done the kernel lets no other one enter.
    """
    try:
        return os.getpgrp() == os.getpgid(1)
    except OSError:
        return False


def _child(serve: Callable[[Callable[[], None]], None], writer: int, said: int) -> int:
    caller = _Caller(writer)
    listening = ExitStack()
    leaves_group_late = _is_of_group_of_init()

    def ready() -> None:
        if leaves_group_late:
            os.setsid()
        listening.close()
        caller.answer(_READY)
        os.chdir("/")
        for stream in (1, 2):
            os.dup2(null, stream)

    try:
        if not leaves_group_late:
            os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        for stream in (1, 2):
            os.dup2(said, stream)
        listening.enter_context(caller)
        serve(ready)
    except OnefsError as error:
        caller.answer(_ERROR, type(error).__name__, error.reason, error.remedy)
        return 1
    except BaseException as error:  # noqa: BLE001 - the process ends here, and somebody waits for its word
        caller.answer(_ERROR, "", f"Unforeseen failure: {error!r}.", "Run it with --foreground to see more.")
        return 1
    return 0
