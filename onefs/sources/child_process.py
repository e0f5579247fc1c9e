"""`run_in_child`: runs a function in a new process, and reports its progress in this one."""

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import IO, Any

from onefs import errors
from onefs.errors import OnefsError, WorkerLostError
from onefs.forks import end_with_parent
from onefs.memory import keep_pandas_out
from onefs.progress import Listener, Step, report

_PROGRAM = "from onefs.sources.child_process import main; main()"
_STEP, _RESULT, _ERROR = "step", "result", "error"
_END_S = 5.0
"""How long the process may take to clean up when it is told to end."""


def run_in_child(purpose: str, function: Callable[..., Any], *arguments: str) -> Any:
    """Call a module's function with strings in a new Python process, and return its result, which JSON can hold.

    The new process may fork: it has neither threads nor open files of this one. It ends if this process ends or is
    interrupted. `purpose` says what it does, such as "read /data". Raises the `OnefsError` that the function raised;
    `WorkerLostError` if the process cannot be started, or was killed.
    """
    # -P: what lies in the folder that onefs was started in is no part of it.
    command = [sys.executable, "-P", "-c", _PROGRAM, str(os.getpid()), function.__module__, function.__name__]
    with os.fdopen(os.memfd_create("onefs"), "w+b") as errors_file:
        try:
            process = subprocess.Popen(
                [*command, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors_file
            )
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise WorkerLostError(f"No process can be started to {purpose}: {why}.") from error
        assert process.stdout is not None
        try:
            with process.stdout:
                answer = _answer(process.stdout)
            process.wait()
        except BaseException:
            _end(process)
            raise
        errors_file.seek(0)
        error_lines = errors_file.read().decode(errors="replace").strip().splitlines()
    if answer[:1] == [_RESULT]:
        return answer[1]
    if answer[:1] == [_ERROR]:
        _, kind, reason, remedy = answer
        raise getattr(errors, kind)(reason, remedy)
    last = error_lines[-1].rstrip(".") if error_lines else f"it ended with {process.returncode}"
    raise WorkerLostError(f"The process that was to {purpose} is gone: {last}.")


def _answer(lines: IO[bytes]) -> list[Any]:
    """The last message of the process, [] if it ended without one. Reports its progress."""
    answer: list[Any] = []
    for line in lines:
        kind, *words = answer = json.loads(line)
        if kind == _STEP:
            report(*words)
            answer = []
    return answer


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Terminate the process, which cleans up; kill it if it does not end in time, as while it waits for a disk."""
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()


class _ProgressSender(Listener):
    """Sends the progress to the parent process."""

    def show(self, step: Step) -> None:
        """Send one step."""
        _send(_STEP, *step)


def main() -> None:
    """Call the function that the arguments name. This is what the new process runs."""
    parent, module, function, *arguments = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to both; the parent decides what to do
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])  # the thread that started this may have blocked it
    if not end_with_parent(int(parent), signal.SIGTERM):
        sys.exit(1)
    keep_pandas_out()
    try:
        with _ProgressSender():
            result = getattr(importlib.import_module(module), function)(*arguments)
    except OnefsError as error:
        _send(_ERROR, type(error).__name__, error.reason, error.remedy)
    else:
        _send(_RESULT, result)


def _send(*words: Any) -> None:
    sys.stdout.write(f"{json.dumps(words)}\n")
    sys.stdout.flush()
