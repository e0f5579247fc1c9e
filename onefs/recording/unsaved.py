"""What a mount recorded and has not saved yet, in a file that outlives a daemon that is killed."""

import logging
import os
import queue
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from onefs.digests import digest64
from onefs.errors import UsageError
from onefs.recording.manifest import Entry, manifest_text, parse

FOLDER = "recorded"
CLOSING_S = 5.0
_log = logging.getLogger(__name__)


def unsaved_file(state_dir: Path, mountpoint: Path, source: str) -> Path:
    """Where a mount keeps it: the next mount of the same source at the same place finds it."""
    place = (socket.gethostname(), os.fspath(mountpoint), source)
    digest = digest64(part.encode(errors="surrogateescape") for part in place)
    return state_dir / FOLDER / f"{digest:016x}.jsonl"


class Unsaved:
    """A file of entries, written by a thread of its own, so that no reader waits for the disk."""

    def __init__(self, file: Path, all_entries: Callable[[], list[Entry]]) -> None:
        """`all_entries` gives what is to stand in the file when something has been taken out."""
        self._file = file
        self._all_entries = all_entries
        self._waiting: queue.SimpleQueue[Entry | bool] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards _thread
        self._thread: threading.Thread | None = None
        self._is_behind = False
        """Whether the file lacks something, or ends in the middle of a line: then it is written anew next time."""
        self._complained = False

    def load(self) -> list[Entry]:
        """What stands in the file. What cannot be read is left out, and told in the log."""
        try:
            lines = self._file.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            self._complain(error)
            return []
        entries = []
        for number, line in enumerate(lines, 1):
            try:
                entries += [parse(line, self._file, number)] if line else []
            except UsageError as error:  # half a line, of a machine that went down
                self._is_behind = True
                _log.warning("Left out of what was recorded: %s", error.reason)
        return entries

    def add(self, entry: Entry) -> None:
        """Write an entry, soon."""
        self._put(entry)

    def rewrite(self) -> None:
        """Write the whole file anew, soon."""
        self._put(True)

    def close(self) -> None:
        """Write what waits, and end; a disk that does not answer is waited for a little."""
        if self._thread is not None:
            self._waiting.put(False)
            self._thread.join(CLOSING_S)

    def _put(self, item: Entry | bool) -> None:
        self._waiting.put(item)
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="onefs-recorded", daemon=True)
                self._thread.start()

    def _write_all(self) -> None:
        goes_on = True
        while goes_on:
            items = [self._waiting.get()]
            while not self._waiting.empty():
                items.append(self._waiting.get())
            goes_on = False not in items
            try:
                if True in items or self._is_behind:
                    self._replace(self._all_entries())
                else:
                    self._append([item for item in items if isinstance(item, Entry)])
                self._is_behind = self._complained = False
            except OSError as error:
                self._is_behind = True
                self._complain(error)

    def _append(self, entries: list[Entry]) -> None:
        if entries:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with open(self._file, "ab", opener=_private) as stream:
                stream.write(manifest_text(entries).encode())

    def _replace(self, entries: list[Entry]) -> None:
        if not entries:
            self._file.unlink(missing_ok=True)
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._file.with_suffix(".tmp")
        with open(temporary, "wb", opener=_private) as stream:
            stream.write(manifest_text(entries).encode())
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(self._file)

    def _complain(self, error: OSError) -> None:
        """Once, as long as it goes wrong."""
        if not self._complained:
            self._complained = True
            _log.warning("%s: %s. What was recorded is in memory alone until it is saved.", self._file, error.strerror)


def _private(path: str, flags: int) -> int:
    """It tells who ran what, and others may share the cache directory."""
    return os.open(path, flags, 0o600)
