"""The daemon's log: its file, and the format of its lines."""

import logging
import logging.handlers
import os
import sys
import threading
from io import TextIOWrapper
from pathlib import Path

from onefs.digests import digest64
from onefs.redaction import redacted
from onefs.text import visible

_LARGEST_BYTES = 2 << 20
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def file_name(mountpoint: Path) -> str:
    """The log's name in a state directory that the daemons of several mounts may share."""
    return f"onefs-{digest64([bytes(mountpoint)]):016x}.log"


def last_lines(path: Path | None, size_bytes: int = 64 << 10) -> str:
    """The end of a log file; a foreground daemon has none."""
    if path is None:
        return "The daemon runs in the foreground and logs to its standard error.\n"
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - size_bytes))
            text = stream.read(size_bytes).decode(errors="replace")
    except FileNotFoundError:
        return (
            f"There is no {path}: it was deleted, or nothing was logged yet. The next line that is logged makes it.\n"
        )
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}.\n"
    return text if len(text) < size_bytes else text.partition("\n")[2]


def install(level: str, path: Path | None) -> None:
    """Log to a file of bounded size, or to standard error if there is none."""
    handler: logging.Handler = (
        _LogFile(path, maxBytes=_LARGEST_BYTES, backupCount=1, delay=True, encoding="utf-8", errors="backslashreplace")
        if path
        else logging.StreamHandler(sys.stderr)
    )
    handler.setFormatter(VisibleFormatter(_FORMAT))
    logging.raiseExceptions = False  # a log that cannot be written must not spoil what a person is told
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("onefs").setLevel(level.upper())
    threading.excepthook = _log_thread_failure


class _LogFile(logging.handlers.RotatingFileHandler):
    """A log file of bounded size that is made anew, with its folder, after somebody moved or deleted it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        if self.stream is not None and not self._is_in_place():
            self.stream.close()
            self.stream = None  # the base class opens it again
        super().emit(record)

    def _is_in_place(self) -> bool:
        assert self.stream is not None
        try:
            return os.path.samestat(Path(self.baseFilename).stat(), os.fstat(self.stream.fileno()))
        except OSError:
            return False

    def _open(self) -> TextIOWrapper:
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return super()._open()


class VisibleFormatter(logging.Formatter):
    """Lines with control characters escaped, and without what looks like a secret."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines of a record."""
        return "\n".join(map(visible, redacted(super().format(record)).split("\n")))


def _log_thread_failure(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is not None:
        name = failure.thread.name if failure.thread else "a thread"
        logging.getLogger("onefs").error("Unforeseen failure in %s", name, exc_info=failure.exc_value)
