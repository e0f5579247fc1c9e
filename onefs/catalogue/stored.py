"""Columns of an index on disk: written with checksums, which are compared before what is read is used."""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from weakref import finalize
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from onefs.errors import CacheDamagedError

CHUNK_ROWS = 1 << 16
"""Rows per checksum: checking them takes about a millisecond."""

_PIECE_BYTES = 1 << 14
"""Bytes that are read, and kept until others are: what is asked for next is mostly near. Divides a chunk's size."""

_TRIES = 3


class ColumnDamagedError(Exception):
    """A column's file does not hold what was written into it. Never told to a user: the index is built again."""


class MustWaitError(Exception):
    """A damaged index must be rebuilt, and this thread may not wait for that. Ask again in another thread."""


_thread = threading.local()


class NotWaiting:
    """A block in which this thread never waits for the rebuilding of an index: `MustWaitError` is raised instead."""

    def __enter__(self) -> None:
        _thread.may_not_wait = True

    def __exit__(self, *_: object) -> None:
        _thread.may_not_wait = False


class Rebuilder(Protocol):
    """Replaces the damaged index that a column belongs to."""

    def rebuild(self, column: "Column", damaged: "ColumnFile") -> None:
        """Switch all columns of the index to good files, unless this one has left the damaged file already.

        Raises `OnefsError` if that is impossible.
        """


def write_column(file: Path, array: NDArray[np.generic], *, is_synced: bool = True) -> list[int]:
    """Write an array's bytes, synced to the disk if that is wanted; returns the checksums of its chunks."""
    sums = []
    with file.open("wb") as stream:
        for begin in range(0, len(array), CHUNK_ROWS):
            piece = array[begin : begin + CHUNK_ROWS].tobytes()
            sums.append(crc32(piece))
            stream.write(piece)
        if is_synced:
            stream.flush()
            os.fsync(stream.fileno())
    return sums


class ColumnFile:
    """A column's file, open for as long as somebody holds this. Safe to use from several threads.

    Each chunk is checked before it is first used, and again after anything was written to the file. It is read, not
    mapped: where a mapped file becomes shorter, or its disk cannot read it, a look into it ends the process.
    """

    def __init__(self, path: Path, size_bytes: int, chunk_bytes: int, sums: list[int]) -> None:
        """Raises OSError, or `ColumnDamagedError` if the file is not of the size that it should be."""
        self.path = path
        self._size_bytes = size_bytes
        self._chunk_bytes = chunk_bytes
        self._sums = sums
        self._number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        finalize(self, os.close, self._number)
        stat = self._stat()
        if stat[0] != size_bytes or len(sums) != -(-size_bytes // chunk_bytes):
            raise ColumnDamagedError(f"{path} has {stat[0]} bytes")
        self._checked = stat, bytearray(len(sums))
        """The file's stat, and which chunks were found to be right since it has that. Replaced together."""
        self._piece = 0, b""
        """What was read last, and where it begins."""

    def read(self, begin: int, end: int) -> bytes:
        """The bytes from `begin` to `end`, as they were written. Raises `ColumnDamagedError`."""
        start, piece = self._piece
        if begin < start or end > start + len(piece):
            start = begin - begin % _PIECE_BYTES
            piece = self._read(start, max(end, min(start + _PIECE_BYTES, self._size_bytes)))
            if len(piece) <= 2 * _PIECE_BYTES:
                self._piece = start, piece
        return piece[begin - start : end - start]

    def _read(self, begin: int, end: int) -> bytes:
        """The bytes from `begin` to `end`, from the file."""
        if begin >= end:
            return b""
        chunks = range(begin // self._chunk_bytes, (end - 1) // self._chunk_bytes + 1)
        try:
            old, is_checked = self._checked
            are_checked = all(is_checked[chunk] for chunk in chunks)
            data = os.pread(self._number, end - begin, begin) if are_checked else b""
            stat = self._stat()
            if stat != old:
                is_checked = bytearray(len(self._sums))
                self._checked = stat, is_checked
            elif are_checked and len(data) == end - begin:
                return data
            whole = b"".join(self._chunk(chunk, is_checked) for chunk in chunks)
        except OSError as error:
            raise ColumnDamagedError(f"{self.path}: {error}") from error
        first = chunks[0] * self._chunk_bytes
        return whole[begin - first : end - first]

    def _chunk(self, chunk: int, is_checked: bytearray) -> bytes:
        """A chunk's bytes, compared with their checksum."""
        begin = chunk * self._chunk_bytes
        wanted_bytes = min(self._chunk_bytes, self._size_bytes - begin)
        piece = os.pread(self._number, wanted_bytes, begin)
        if len(piece) != wanted_bytes or crc32(piece) != self._sums[chunk]:
            raise ColumnDamagedError(f"chunk {chunk} of {self.path}")
        is_checked[chunk] = True
        return piece

    def _stat(self) -> tuple[int, int, int]:
        """What changes whenever the file is written to or cut."""
        stat = os.fstat(self._number)
        return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


class Column:
    """A column that is read from its file, checked, at each look. Safe to use from several threads.

    `rebuilder` is called where the file is damaged; without one, `ColumnDamagedError` is raised.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], sums: list[int]) -> None:
        """Raises OSError, or `ColumnDamagedError` if the file is not of the size that it should be."""
        self._n_rows = shape[0]
        self._width = shape[1:]
        self._dtype = dtype
        self._row_bytes = dtype.itemsize * int(np.prod(self._width, dtype=np.int64))
        self.rebuilder: Rebuilder | None = None
        self.file = ColumnFile(path, self._n_rows * self._row_bytes, CHUNK_ROWS * self._row_bytes, sums)

    def __len__(self) -> int:
        return self._n_rows

    def __getitem__(self, where: int | slice) -> Any:
        """A row, or a copy of those of a slice without step."""
        if isinstance(where, slice):
            begin, end = where.indices(self._n_rows)[:2]
            n_rows = max(0, end - begin)
            rows = np.frombuffer(self.raw(begin, begin + n_rows), self._dtype)
            return rows.reshape(n_rows, *self._width) if self._width else rows
        row = range(self._n_rows)[where]
        values = np.frombuffer(self.raw(row, row + 1), self._dtype)
        return values if self._width else values[0]

    def rows(self) -> NDArray[Any]:
        """All rows, in memory."""
        rows: NDArray[Any] = self[:]
        return rows

    def pieces(self) -> Iterator[NDArray[Any]]:
        """All rows, a chunk at a time."""
        for begin in range(0, self._n_rows, CHUNK_ROWS):
            yield self[begin : begin + CHUNK_ROWS]

    def check(self) -> None:
        """Read every chunk. Raises `ColumnDamagedError`."""
        for _ in self.pieces():
            pass

    def raw(self, begin: int, end: int) -> bytes:
        """The bytes of the rows from `begin` to `end`, which must be there."""
        for _ in range(_TRIES):
            file = self.file  # kept, as another thread may switch the column meanwhile
            try:
                return file.read(begin * self._row_bytes, end * self._row_bytes)
            except ColumnDamagedError:
                if self.rebuilder is None:
                    raise
            if getattr(_thread, "may_not_wait", False):
                raise MustWaitError
            self.rebuilder.rebuild(self, file)
        raise CacheDamagedError(
            f"The index in {self.file.path.parent} is damaged again as soon as it is made.",
            "Check the disk, and that no other program writes there.",
        )


@dataclass(frozen=True, slots=True)
class StoredTexts:
    """A column of texts on disk: UTF-8 bytes one after the other, and where each begins."""

    offsets: Column
    data: Column

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> str:
        begin, end = self.offsets[row : row + 2].tolist()
        text: bytes = self.data[begin:end].tobytes()
        return text.decode()
