"""The daemon's log: where it goes, its levels, and how it is read in `.onefs/log`."""

import errno
import logging
import logging.handlers
import os
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path

from onefs.daemon.log_formats import TEXT, formatter
from onefs.daemon.systemd import is_journal
from onefs.digests import digest64
from onefs.errors import CacheDamagedError
from onefs.setting_values import levels_by_part, log_parts
from onefs.vfs.handles import LiveFile, LiveText

_LARGEST_BYTES = 2 << 20
_MOST_IN_MEMORY_BYTES = 1 << 20
_ONEFS = "onefs"


@dataclass(frozen=True, slots=True)
class Log:
    """The log of this process. `place` tells people where it is; `text` reads it."""

    place: str
    text: LiveText


def file_name(mountpoint: Path) -> str:
    """The log's name in a state directory that the daemons of several mounts may share."""
    return f"onefs-{digest64([bytes(mountpoint)]):016x}.log"


def install(levels: str, path: Path | None, form: str = TEXT) -> Log:
    """Log to a file of bounded size; without one to standard error, and what came last also to memory."""
    if path is not None:
        file = _LogFile(
            path, maxBytes=_LARGEST_BYTES, backupCount=1, delay=True, encoding="utf-8", errors="backslashreplace"
        )
        file.setFormatter(formatter(form))
        _use([file], levels)
        return Log(str(path), _FileText(path))
    in_journal = is_journal()
    stream, memory = logging.StreamHandler(sys.stderr), MemoryLog()
    stream.setFormatter(formatter(form, for_journal=in_journal))
    memory.setFormatter(formatter(form))
    _use([stream, memory], levels)
    return Log(_journal_command() if in_journal else "standard error", memory)


def set_levels(levels: str) -> None:
    """Log from these levels on: one for all of onefs, others for its parts, as in the setting `log`."""
    by_part = levels_by_part(levels)
    logging.getLogger(_ONEFS).setLevel(by_part[""].upper())
    for part in log_parts():
        logging.getLogger(f"{_ONEFS}.{part}").setLevel(by_part.get(part, "notset").upper())


def levels_in_force() -> str:
    """The levels that are set, in the form of the setting `log`."""
    names = {_ONEFS: "", **{f"{_ONEFS}.{part}": f"{part}=" for part in log_parts()}}
    levels = {name: logging.getLogger(name).level for name in names}
    return ",".join(
        f"{names[name]}{logging.getLevelName(level).lower()}"
        for name, level in levels.items()
        if level != logging.NOTSET
    )


def _use(handlers: list[logging.Handler], levels: str) -> None:
    logging.raiseExceptions = False  # a log that cannot be written must not spoil what a person is told
    root = logging.getLogger()
    root.handlers[:] = handlers
    root.setLevel(logging.WARNING)
    set_levels(levels)
    logging.getLogger("pyfuse3").addFilter(_is_no_late_answer)
    threading.excepthook = _log_thread_failure


def _is_no_late_answer(record: logging.LogRecord) -> bool:
    """False for an answer that the kernel did not take, as it was no longer waiting: that is no failure.

    So it is when a connection ends while requests are under way, such as the closing of the last files of a mount.
    """
    return not ("fuse_reply_* failed" in str(record.msg) and record.args == (os.strerror(errno.ENOENT),))


def _journal_command() -> str:
    """The command that shows the journal of this process's unit."""
    try:
        groups = Path("/proc/self/cgroup").read_text(encoding="ascii", errors="replace").strip().split("/")
    except OSError:
        groups = []
    unit = next((name for name in reversed(groups) if name.endswith(".service")), "")
    is_user = any(name.startswith("user@") for name in groups) and not unit.startswith("user@")
    return f"journalctl{' --user' if is_user else ''} -u {unit}" if unit else "journalctl"


class MemoryLog(logging.Handler):
    """The last lines of the log, in memory. When they become too many, the older part of them goes."""

    def __init__(self, most_bytes: int = _MOST_IN_MEMORY_BYTES) -> None:
        super().__init__()
        self._most_bytes = most_bytes
        self._lines = bytearray()
        self.changed_s = 0.0
        """When the last record came."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        try:
            self._lines += self.format(record).encode(errors="backslashreplace") + b"\n"
        except Exception:  # noqa: BLE001 - as of every handler: what cannot be logged harms nobody who logs
            self.handleError(record)
        self.changed_s = record.created
        if len(self._lines) > self._most_bytes:
            self._lines = self._lines[-self._most_bytes // 4 :].partition(b"\n")[2]

    def size_now(self) -> int:
        """Length."""
        return len(self._lines)

    def read(self, offset: int, size: int) -> bytes:
        """The bytes there are now."""
        return bytes(self._lines[offset : offset + size])

    def open(self) -> LiveFile:
        """An open file that grows with the log."""
        return LiveFile(self)


class _FileText:
    """The text of a log file, whatever file has its name."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def changed_s(self) -> float:
        """When the last line was written; 0 if there is none."""
        try:
            return self._path.stat().st_mtime
        except OSError:
            return 0.0

    def size_now(self) -> int:
        """Length."""
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def read(self, offset: int, size: int) -> bytes:
        """The bytes there are now; none if the file was deleted. Raises `CacheDamagedError`."""
        try:
            with self._path.open("rb", buffering=0) as stream:
                return os.pread(stream.fileno(), size, offset)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise CacheDamagedError(
                f"{self._path} cannot be read: {error.strerror}.", "Check its permissions."
            ) from error

    def open(self) -> LiveFile:
        """An open file that grows with the log."""
        return LiveFile(self)


class _LogFile(logging.handlers.RotatingFileHandler):
    """A log file of bounded size that is made anew, with its folder, after somebody moved or deleted it.

    If what its folder is in was moved, too, it goes on where it is now: that one is not made anew.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        if self.stream is not None and not self._is_in_place() and not self._has_moved_far():
            stream, self.stream = self.stream, None  # the base class opens it again
            with suppress(OSError):  # of what it could not write to a full disk
                stream.close()
        super().emit(record)

    def _is_in_place(self) -> bool:
        assert self.stream is not None
        try:
            return os.path.samestat(Path(self.baseFilename).stat(), os.fstat(self.stream.fileno()))
        except OSError:
            return False

    def _has_moved_far(self) -> bool:
        assert self.stream is not None
        try:
            Path(self.baseFilename).parent.parent.stat()
        except FileNotFoundError:
            return os.fstat(self.stream.fileno()).st_nlink > 0
        except OSError:
            pass
        return False

    def _open(self) -> TextIOWrapper:
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return super()._open()


def _log_thread_failure(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is not None:
        name = failure.thread.name if failure.thread else "a thread"
        logging.getLogger(_ONEFS).error("Unforeseen failure in %s", name, exc_info=failure.exc_value)
