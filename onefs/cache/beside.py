"""Owns `BesideFile`: a large file that another process is fetching, read where that has it and through memory else."""

import os
from contextlib import suppress
from pathlib import Path

from onefs.cache.atomic import read_json
from onefs.cache.floating import FloatingFile, Memory
from onefs.cache.sparse import is_of_this_run, map_path, note_path, parts_path
from onefs.cache.verify import wanted
from onefs.catalogue.records import Dataset

TELLING = ("wanted", "source", "edition", "inode", "boot")
READING = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW


class View:
    """Another process's `SparseFile` as far as it is there, for who does not hold its lock. Raises OSError.

    Without `sees_blocks` it tells but of which edition that file is: what other machines wrote may not be seen here.
    """

    def __init__(self, folder: Path, dataset: Dataset, *, sees_blocks: bool) -> None:
        """Raises FileNotFoundError if there is nothing of a known edition."""
        note = read_json(note_path(folder, dataset))
        self.source, self.edition = str(note.get("source", "")), str(note.get("edition", ""))
        self.block_bytes = int(note.get("block_bytes", 0))
        self._sees_blocks = sees_blocks
        self.number = os.open(parts_path(folder, dataset), READING)
        self._map = -1
        try:
            self._map = os.open(map_path(folder, dataset), READING)
            status = os.fstat(self.number)
            fits = (status.st_ino, status.st_size) == (note.get("inode"), dataset.size_bytes)
            is_useful = (
                self.edition and note.get("wanted") == wanted(dataset) and (is_of_this_run(note) or not sees_blocks)
            )
            # Else a file begun anew, of the same number, may have been opened.
            same = all(read_json(note_path(folder, dataset)).get(key) == note.get(key) for key in TELLING)
            if not (fits and is_useful and same):
                raise FileNotFoundError(f"Nothing of {dataset.path} can be read yet")
        except OSError:
            self.close()
            raise

    def bits(self) -> bytes:
        """The blocks that are there now. They stay."""
        return os.pread(self._map, os.fstat(self._map).st_size, 0) if self._sees_blocks else b""

    def close(self) -> None:
        """Look no longer."""
        for number in (self.number, self._map):
            if number >= 0:
                os.close(number)
        self.number = self._map = -1


class BesideFile(FloatingFile):
    """A floating file that also has the blocks which another process fetched. For who holds the growing file's lock.

    What is in memory and what is there are of one edition.
    """

    def __init__(self, memory: Memory, size_bytes: int, view: View) -> None:
        """Raises NoRoomError. The view is closed with it."""
        super().__init__(memory, size_bytes, view.block_bytes)
        self._view = view
        self._there_bits = b""
        self.source, self.edition = view.source, view.edition

    def reader(self) -> int:
        """A new descriptor of the other one's file."""
        return os.dup(self._view.number)

    def look(self) -> None:
        """Have what the other process has by now. Raises OSError."""
        bits = self._view.bits()
        there = int.from_bytes(self._there_bits, "little") | int.from_bytes(bits, "little")
        self._there_bits = there.to_bytes(max(len(self._there_bits), len(bits)), "little")
        self.map.merge(self._there_bits)

    def is_on_disk(self, offset: int, size: int) -> bool:
        """Whether all of a part is in the other one's file."""
        return all(map(self._is_there, self.map.over(offset, size)))

    def add(self, first: int, stop: int) -> None:
        """Note blocks whose bytes were written; the least used ones go, but for those that are in the other's file."""
        super().add(first, stop)
        self.map.merge(self._there_bits)

    def close(self) -> None:
        """Let go of it. Does nothing the second time."""
        super().close()
        with suppress(OSError):
            self._view.close()

    def _content(self, block: int) -> bytes | bytearray:
        if block in self._there:
            return super()._content(block)
        begin, end = self.map.part(range(block, block + 1))
        return os.pread(self._view.number, end - begin, begin)

    def _is_there(self, block: int) -> bool:
        return block >> 3 < len(self._there_bits) and bool(self._there_bits[block >> 3] & (1 << (block & 7)))
