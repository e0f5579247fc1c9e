"""Running a program to its end, with all that it starts kept below this process."""

import ctypes
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType

from onefs.cli.printing import complain

_PR_SET_CHILD_SUBREAPER = 36
_PASSED_ON = (signal.SIGTERM, signal.SIGHUP)
_LEFT_TO_THE_PROGRAM = (signal.SIGINT, signal.SIGQUIT)
"""Signals that a terminal sends to the program as well as to this process."""
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)
"""Python ignores these, and a program would go on ignoring them."""
NOT_RUN, NOT_FOUND = 126, 127
"""What a shell gives for a program that it cannot run, and for one that is not there."""
BY_SIGNAL = 128
"""What a shell adds to the number of the signal that ended a program."""


def keep_orphans() -> None:
    """Whatever loses its parent below this process becomes its child, and not that of the system's first process."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run_program(arguments: Sequence[str]) -> int:
    """Run a program and give its exit code, as a shell tells it, also of one that cannot be started."""
    try:
        child = os.posix_spawnp(arguments[0], list(arguments), os.environ, setsigdef=_RESTORED)
    except OSError as error:
        complain(f"{arguments[0]} cannot be run: {error.strerror}. Give a program and its words.")
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUN

    def pass_on(number: int, _: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    def leave(number: int, _: FrameType | None) -> None:
        pass

    handlers: dict[int, Callable[[int, FrameType | None], None]] = dict.fromkeys(_PASSED_ON, pass_on)
    handlers |= dict.fromkeys(_LEFT_TO_THE_PROGRAM, leave)
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        while True:
            ended, status = os.wait()
            if ended == child:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else BY_SIGNAL - code
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
