"""Progress of long steps: `report` tells it from anywhere, a `Listener` shows it. Warnings on the way: `warn`."""

import logging
import sys
from types import TracebackType
from typing import NamedTuple, Self

from onefs.text import counted, size_text, visible

LOGGER = logging.getLogger("onefs.progress")
LOGGER.propagate = False  # the log file tells what was done, not how far it is
LOGGER.addHandler(logging.NullHandler())
BYTE = "byte"


class Step(NamedTuple):
    """What is being done, and how much of it, in bytes or another `unit`. `total` is None if unknown."""

    what: str
    done: int = 0
    total: int | None = None
    unit: str = BYTE

    @property
    def share(self) -> float | None:
        """The part that is done, from 0 to 1; None if unknown."""
        return min(self.done / self.total, 1.0) if self.total else None

    @property
    def amount(self) -> str:
        """How much is done: `1.2 GB of 3.4 GB`, `7 of 20 files`; "" if nothing is yet."""
        if not self.done:
            return ""
        if not self.total:
            return self.text(self.done)
        done = self.text(self.done) if self.unit == BYTE else str(self.done)
        return f"{done} of {self.text(self.total)}"

    def text(self, number: int) -> str:
        """A number of what is counted: `1.2 GB`, `20 files`."""
        return size_text(number) if self.unit == BYTE else counted(number, self.unit)

    def __str__(self) -> str:
        return f"{self.what}: {self.amount}" if self.done else self.what


def report(what: str, done: int = 0, total: int | None = None, unit: str = BYTE) -> None:
    """Tell the listeners what is being done."""
    if LOGGER.isEnabledFor(logging.INFO):
        LOGGER.info("%s", Step(what, done, total, unit))


def warn(log: logging.Logger, sentence: str) -> None:
    """Log a warning; and print it if there is no log yet or it is a file, so that it is seen while mounting."""
    handlers = logging.getLogger().handlers
    if handlers:
        log.warning("%s", sentence)
    if not handlers or any(isinstance(handler, logging.FileHandler) for handler in handlers):
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
