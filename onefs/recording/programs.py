"""What programs record that load datasets without a mount: a file for each of them, which mounts show and save.

The files stand in the state directory, so that a mount of the same source finds them. An entry stands there until
somebody saves or clears it, its program or a mount: whoever does takes it away for all. That happens under one lock,
and so does writing, so nothing is lost or saved twice.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from onefs.catalogue.records import Dataset
from onefs.errors import BusyError, UsageError
from onefs.fetch.descriptors import Edition
from onefs.recording.manifest import Entry, manifest_text, parse
from onefs.recording.processes import Reader, reader
from onefs.recording.recorder import Recorder
from onefs.recording.saving import Saved, write_recording
from onefs.recording.unsaved import FOLDER

LOCK_TIMEOUT_S = 20.0
TELL_TIMEOUT_S = 5.0
"""A program that loads waits no longer for others; it writes what it has at its next load."""
_ENDING = ".program.jsonl"
_log = logging.getLogger(__name__)


class ProgramFiles:
    """The files of all programs that recorded something of one source."""

    def __init__(self, state_dir: Path, source: str) -> None:
        self.folder = state_dir / FOLDER
        self._source = source

    @contextmanager
    def locked(self, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
        """Hold the lock under which files are written and removed. Raises OSError, or `BusyError` after a while."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock_file = self.folder / "programs.lock"
        try:
            with FileLock(lock_file, mode=0o600, timeout=timeout_s):
                yield
        except Timeout:
            raise BusyError(
                f"Another process has been saving what was recorded for {timeout_s:.0f} s.",
                f"See what it waits for, or end it; then try again ({lock_file}).",
            ) from None

    def entries(self) -> list[Entry]:
        """What stands in them now. Lines that are not whole, or cannot be read, are left out."""
        return [entry for entries in self._by_file().values() for entry in entries]

    def remove(self) -> None:
        """Remove them, as what stands there was saved or is to be forgotten. The lock is held. Raises OSError."""
        for file in self._by_file():
            file.unlink(missing_ok=True)

    def _by_file(self) -> dict[Path, list[Entry]]:
        try:
            files = sorted(file for file in self.folder.iterdir() if file.name.endswith(_ENDING))
        except OSError:
            return {}
        found = {file: _entries_in(file) for file in files}
        return {file: entries for file, entries in found.items() if entries and entries[0].source == self._source}


def _entries_in(file: Path) -> list[Entry]:
    try:
        *lines, _ = file.read_bytes().split(b"\n")  # behind the last end of a line stands no whole one
    except OSError:
        return []
    entries = []
    for number, line in enumerate(lines, 1):
        with suppress(UsageError):
            entries.append(parse(line, file, number))
    return entries


class ProgramRecording:
    """What one program, or one of its objects, loaded. Safe to use from several threads.

    Each entry is in its file before `note` returns. Where that cannot be written, entries are kept in memory, and that
    is logged once. `md5_of` and `is_default` are those of `Recorder`.
    """

    def __init__(
        self,
        state_dir: Path,
        source: str,
        md5_of: Callable[[Dataset, Edition | None], str],
        is_default: Callable[[Dataset], bool],
    ) -> None:
        self._files = ProgramFiles(state_dir, source)
        self._recorder = Recorder(source, md5_of, is_default=is_default, on_added=self._add)
        self._recorder.turn_on()
        self._lock = threading.RLock()  # guards those below
        self._untold: list[Entry] = []
        self._reader: Reader | None = None
        self._file: Path | None = None
        self._has_complained = False

    def note(self, datasets: Iterable[Dataset]) -> None:
        """Record that these were loaded."""
        with self._lock:
            by = self._begun()
            self._forget_taken()
            for dataset in datasets:
                self._recorder.count(dataset, None, by)
            if self._untold:
                self._tell()

    def entries(self) -> list[Entry]:
        """What was recorded, and neither saved nor cleared since."""
        with self._lock:
            self._forget_taken()
            return self._recorder.entries()

    def save(self, directory: Path, *, sessions_only: bool, keep: bool) -> tuple[list[Entry], Saved | None]:
        """Write what was recorded into a directory, as a mount does, then forget it unless `keep`.

        Returns what was saved, and the files; `[]` and None if there is nothing. Raises an `OnefsError` if it cannot be
        written; then all is as it was.
        """
        with self._lock:
            self._forget_taken()  # before the lock, which makes the folder anew
            with self._locked_if_possible():
                return self._saved(directory, sessions_only=sessions_only, keep=keep)

    def _saved(self, directory: Path, *, sessions_only: bool, keep: bool) -> tuple[list[Entry], Saved | None]:
        entries = self.entries()
        if not entries or (sessions_only and all(entry.eid is None for entry in entries)):
            return [], None
        saved = write_recording(directory, entries, [], sessions_only=sessions_only)
        if not keep:
            if self._file is not None:
                self._file.unlink(missing_ok=True)
            self._forget()
        return entries, saved

    def _begun(self) -> Reader:
        """This process; one that was forked off begins anew, as its parent goes on with what it has."""
        if self._reader is None or self._reader.pid != os.getpid():
            self._forget()
            self._reader = reader(os.getpid(), os.getuid())
        return self._reader

    def _forget_taken(self) -> None:
        """Forget what somebody else has saved or cleared meanwhile. Where all state was deleted, it is written anew."""
        if self._file is None or self._file.exists():
            return
        if not self._files.folder.exists():
            self._untold, self._file = self._recorder.entries(), None
        else:
            untold = self._untold
            self._forget()
            self._recorder.restore(untold)
            self._untold = untold

    def _forget(self) -> None:
        self._recorder.clear()
        self._untold, self._file = [], None

    def _add(self, entry: Entry) -> None:
        self._untold.append(entry)

    def _tell(self) -> None:
        """Write to the file what is not there yet."""
        try:
            with self._files.locked(TELL_TIMEOUT_S):
                self._forget_taken()  # others may have saved since it was last looked
                file = self._file or self._files.folder / f"{uuid4()}{_ENDING}"
                _append(file, manifest_text(self._untold).encode())
            self._file, self._untold = file, []
        except (OSError, BusyError) as error:
            if not self._has_complained:
                self._has_complained = True
                _log.warning("%s What was recorded is in memory alone until it is saved.", error)

    @contextmanager
    def _locked_if_possible(self) -> Iterator[None]:
        """Hold the lock, but where nothing was ever written, as that folder cannot be."""
        if self._file is None:
            yield
            return
        with self._files.locked():
            yield


def _append(file: Path, data: bytes) -> None:
    """Add whole lines to a file that only its owner may read: it tells who ran what. All of them or none."""
    number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        before_bytes = os.fstat(number).st_size
        if os.write(number, data) < len(data):
            os.ftruncate(number, before_bytes)
            raise OSError(f"{file}: the disk is full.")
    finally:
        os.close(number)
