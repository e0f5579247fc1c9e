"""Owns `Partial`: a file on its way into the cache, with the hash of what is there, and whether it can go on."""

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from onefs.cache.atomic import make_folder, read_json, write_json
from onefs.cache.hashing import RunningDigest
from onefs.cache.locks import StoppedError
from onefs.cache.quota import Reservation
from onefs.cache.renaming import give_name, reopened
from onefs.cache.usage import footprint
from onefs.cache.verify import wanted
from onefs.catalogue.records import Dataset
from onefs.digests import CHUNK_BYTES

NOTED_FROM_BYTES = 1 << 20
"""Smaller files are not worth going on with after a restart, nor a note beside them."""
STEP_BYTES = 4 << 20
"""Room is taken in such steps where nobody knows how long a file will be."""
WRITING = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Partial:
    """The bytes of a dataset fetched so far. For one thread, which holds the dataset's lock. Raises OSError.

    What an earlier process left is taken up if the catalogue has a hash to check it against in the end. `one_answer`
    says that the bytes came in one, so that a mismatch is what the server holds.
    """

    def __init__(
        self, folder: Path, dataset: Dataset, stop: threading.Event, reserve: Callable[[int], Reservation]
    ) -> None:
        self._dataset = dataset
        self._stop = stop
        self._digest = RunningDigest()
        self._reader = -1
        self.path = folder / str(dataset.id)
        self.size_bytes = 0
        self.source = ""
        self.edition = ""
        self.one_answer = True
        self._file, note = self._begin()
        self._noted = bool(note)
        self._reservation = reserve(os.fstat(self._file).st_size if note else 0)
        if self._reservation.size_bytes:
            self.source, self.edition = str(note.get("source", "")), str(note.get("edition", ""))
            try:
                self._take_up()
            except (OSError, StoppedError):
                self.close()
                raise

    @property
    def blocks(self) -> int:
        """512-byte blocks that it takes on disk."""
        return os.fstat(self._file).st_blocks

    @property
    def is_whole(self) -> bool:
        """Whether as many bytes are there as the catalogue says, and some."""
        return self.size_bytes > 0 and self.size_bytes == self._dataset.size_bytes

    def comes_from(self, source: str, edition: str) -> None:
        """Say where the bytes from here on come from; noted on disk for a later process."""
        if self.size_bytes:
            self.one_answer = False
        changed = (source, edition) != (self.source, self.edition)
        self.source, self.edition = source, edition
        noted = self._dataset.md5 and (self._dataset.size_bytes or NOTED_FROM_BYTES) >= NOTED_FROM_BYTES
        if noted and (changed or not self._noted):
            self._noted = True
            write_json(self._note, {"wanted": wanted(self._dataset), "source": source, "edition": edition})

    def make_room(self, size_bytes: int) -> None:
        """Have room for a file of such a size before bytes are asked for. Raises NoRoomError, StoppedError."""
        self._reservation.reach(footprint(size_bytes))

    def write(self, chunk: bytes) -> None:
        """Add bytes at the end. Raises NoRoomError, too."""
        if self.size_bytes + len(chunk) > self._reservation.size_bytes:
            self._reservation.reach(self.size_bytes + max(len(chunk), STEP_BYTES))
        written = os.write(self._file, chunk)
        while written < len(chunk):
            written += os.write(self._file, memoryview(chunk)[written:])
        self._digest.update(chunk)
        self.size_bytes += len(chunk)

    def restart(self) -> None:
        """Drop all bytes and begin at 0."""
        self._digest.close()
        self._digest = RunningDigest()
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        self.size_bytes = 0
        self.one_answer = True

    def md5(self) -> str:
        """MD5 of the bytes. Only `restart`, `move_to`, `drop` or `close` can follow."""
        return self._digest.hexdigest()

    def move_to(self, target: Path) -> int:
        """Give the file its name and return a descriptor to read it from. Can be tried again if it raises.

        The folder must exist.
        """
        if self._reader < 0:
            self._seal()
        self._reader = give_name(self.path, self._reader, target)
        self._drop_note()
        self._reservation.end(footprint(self.size_bytes))
        reader, self._reader = self._reader, -1
        return reader

    def drop(self) -> None:
        """Remove it from disk."""
        try:
            self.close()
        finally:
            self.path.unlink(missing_ok=True)
            self._drop_note()
            self._reservation.end(0)

    def close(self) -> None:
        """Let go of it; what is on disk stays for another try. Does nothing the second time."""
        self._digest.close()
        with ExitStack() as stack:  # so that the second is closed although the first tells of an error
            for number in (self._file, self._reader):
                if number >= 0:
                    stack.callback(os.close, number)
            self._file = self._reader = -1
        self._reservation.end(self.size_bytes)

    @property
    def _note(self) -> Path:
        return self.path.with_name(f"{self._dataset.id}.json")

    def _begin(self) -> tuple[int, dict[str, Any]]:
        """A new file, or what an earlier try left and the note beside it."""
        for _ in range(3):
            try:
                return os.open(self.path, WRITING | os.O_EXCL, 0o666), {}
            except FileNotFoundError:
                make_folder(self.path.parent)
            except FileExistsError:
                note = self._note_to_go_on_with()
                if note:
                    try:
                        return os.open(self.path, WRITING, 0o666), note
                    except PermissionError:
                        # Another user who shares the cache left it: it cannot be gone on with, but it can be removed.
                        self._forget_earlier()
        return os.open(self.path, WRITING | os.O_EXCL, 0o666), {}

    def _note_to_go_on_with(self) -> dict[str, Any]:
        """The note beside what an earlier try left; {} and nothing left if that is of no use."""
        try:
            status = self.path.lstat()
        except FileNotFoundError:
            return {}
        note = read_json(self._note)
        size_bytes = self._dataset.size_bytes
        if (
            self._dataset.md5
            and note.get("wanted") == wanted(self._dataset)
            and status.st_nlink == 1
            and (size_bytes is None or status.st_size <= size_bytes)
        ):
            return note
        self._forget_earlier()
        return {}

    def _forget_earlier(self) -> None:
        with suppress(FileNotFoundError):
            self.path.unlink()
        self._note.unlink(missing_ok=True)

    def _drop_note(self) -> None:
        if self._noted:
            self._note.unlink(missing_ok=True)

    def _take_up(self) -> None:
        """Hash what an earlier try left, which may have been torn by a power loss."""
        while chunk := os.read(self._file, CHUNK_BYTES):
            if self._stop.is_set():
                raise StoppedError
            self._digest.update(chunk)
            self.size_bytes += len(chunk)
        self.one_answer = False

    def _seal(self) -> None:
        """Turn from writing to reading. Closing is where NFS tells that there was no room."""
        self._reader = reopened(self._file)
        number, self._file = self._file, -1
        os.close(number)
