"""How a failure of a command becomes a sentence on standard error, and which kind of failure it is."""

import errno
import logging
import os
import sys
from enum import Enum, auto
from pathlib import Path

import click

from onefs.cli.printing import complain
from onefs.errors import OnefsError, UsageError


class Failure(Enum):
    """The kinds of failures for which programs have exit codes of their own."""

    WRONG_USE = auto()
    FAILED = auto()
    UNFORESEEN = auto()
    INTERRUPTED = auto()


def report(error: BaseException) -> Failure:
    """Write a failure to standard error, unless the user interrupted the command, and return its kind."""
    if isinstance(error, click.exceptions.Abort | KeyboardInterrupt):
        return Failure.INTERRUPTED
    if isinstance(error, click.ClickException):
        error.show()
        return Failure.WRONG_USE
    if isinstance(error, OnefsError):
        complain(str(error))
        return Failure.WRONG_USE if isinstance(error, UsageError) else Failure.FAILED
    return _report_unforeseen(error)


def _report_unforeseen(error: BaseException) -> Failure:
    if isinstance(error, OSError) and not error.filename and error.errno in (errno.EPIPE, errno.ENOSPC, errno.EDQUOT):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes what is left at its end
        if error.errno != errno.EPIPE:  # then whoever read the output has seen enough
            complain(f"The output cannot be written: {error.strerror}. Free some space, or write it elsewhere.")
        return Failure.UNFORESEEN
    if isinstance(error, FileNotFoundError) and not _is_anywhere():
        complain("The current folder has vanished, so no path can be found from it. Go to another.")
        return Failure.WRONG_USE
    if os.environ.get("ONEFS_LOG", "").lower() == "debug":
        logging.basicConfig(level=logging.DEBUG)
    logging.getLogger(__name__).debug("Unforeseen failure", exc_info=error)
    complain(f"Unforeseen failure: {error!r}. Please report it; ONEFS_LOG=debug shows more.")
    return Failure.UNFORESEEN


def _is_anywhere() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True
