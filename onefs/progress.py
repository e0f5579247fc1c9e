"""Progress of long steps: `report` tells it from anywhere, a `Listener` shows it. Warnings on the way: `warn`."""

import logging
import sys
from types import TracebackType
from typing import NamedTuple, Self

from onefs.text import size_text, visible

LOGGER = logging.getLogger("onefs.progress")
LOGGER.propagate = False  # the log file tells what was done, not how far it is
LOGGER.addHandler(logging.NullHandler())


class Step(NamedTuple):
    """What is being done, and how far it is. `total_bytes` is None if unknown."""

    what: str
    done_bytes: int = 0
    total_bytes: int | None = None

    @property
    def share(self) -> float | None:
        """The part that is done, from 0 to 1; None if unknown."""
        return min(self.done_bytes / self.total_bytes, 1.0) if self.total_bytes else None

    def __str__(self) -> str:
        if not self.done_bytes:
            return self.what
        of_all = f" of {size_text(self.total_bytes)}" if self.total_bytes else ""
        return f"{self.what}: {size_text(self.done_bytes)}{of_all}"


def report(what: str, done_bytes: int = 0, total_bytes: int | None = None) -> None:
    """Tell the listeners what is being done."""
    if LOGGER.isEnabledFor(logging.INFO):
        LOGGER.info("%s", Step(what, done_bytes, total_bytes))


def warn(log: logging.Logger, sentence: str) -> None:
    """Log a warning, and print it if the log is a file, so that it is seen on the terminal while mounting."""
    log.warning("%s", sentence)
    if any(isinstance(handler, logging.FileHandler) for handler in logging.getLogger().handlers):
        sys.stderr.write(f"onefs: {visible(sentence)}\n")
        sys.stderr.flush()


class Listener(logging.Handler):
    """A context in which steps are passed to `show`, in the thread that reports them. Subclasses show them."""

    def show(self, step: Step) -> None:
        """Show one step."""
        raise NotImplementedError

    def emit(self, record: logging.LogRecord) -> None:
        """Show the step of a record."""
        if record.args:
            for step in record.args:
                if isinstance(step, Step):
                    self.show(step)

    def __enter__(self) -> Self:
        LOGGER.setLevel(logging.INFO)
        LOGGER.addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        LOGGER.removeHandler(self)
        if not any(isinstance(handler, Listener) for handler in LOGGER.handlers):
            LOGGER.setLevel(logging.NOTSET)
