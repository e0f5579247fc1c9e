"""Columns of an index on disk: written with checksums, memory-mapped, and checked before they are read."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Protocol
from weakref import finalize
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

CHUNK_ROWS = 1 << 16
"""Rows per checksum: checking them takes about a millisecond."""


class ColumnDamagedError(Exception):
    """A column's file does not hold what was written into it. Never told to a user: the index is built again."""


class MustWaitError(Exception):
    """A damaged index must be rebuilt, and this thread may not wait for that. Ask again in another thread."""


_thread = threading.local()


@contextmanager
def not_waiting() -> Iterator[None]:
    """A block in which this thread never waits for the rebuilding of an index: `MustWaitError` is raised instead."""
    _thread.may_not_wait = True
    try:
        yield
    finally:
        _thread.may_not_wait = False


class Rebuilder(Protocol):
    """Replaces the damaged index that a column belongs to."""

    def rebuild(self) -> None:
        """Switch all columns of the index to good files. Raises `OnefsError` if that is impossible."""


def write_column(file: Path, array: NDArray[np.generic]) -> list[int]:
    """Write and sync an array's bytes; returns the checksums of its chunks."""
    sums = []
    with file.open("wb") as stream:
        for begin in range(0, len(array), CHUNK_ROWS):
            piece = array[begin : begin + CHUNK_ROWS].tobytes()
            sums.append(crc32(piece))
            stream.write(piece)
        stream.flush()
        os.fsync(stream.fileno())
    return sums


class _File:
    """A file that is open for as long as somebody holds this."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        finalize(self, os.close, self.number)


class Column:
    """A memory-mapped column. Each chunk is checked before it is first read. Safe to use from several threads.

    `rebuilder` is called for a damaged chunk; without one, `ColumnDamagedError` is raised.
    """

    def __init__(self, file: Path, dtype: np.dtype[Any], shape: tuple[int, ...], sums: list[int]) -> None:
        """Raises OSError, or `ColumnDamagedError` if the file is not of the size that it should be."""
        row_bytes = dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
        self.rebuilder: Rebuilder | None = None
        self._chunk_bytes = CHUNK_ROWS * row_bytes
        self._sums = sums
        self._file = _File(file)
        size_bytes = os.fstat(self._file.number).st_size
        if size_bytes != shape[0] * row_bytes or len(sums) != -(-shape[0] // CHUNK_ROWS):
            raise ColumnDamagedError(f"{file} has {size_bytes} bytes")
        self._size_bytes = size_bytes
        self._is_checked = bytearray(len(sums))
        mapped = mmap(self._file.number, size_bytes, access=ACCESS_READ) if size_bytes else b""
        self._rows: NDArray[Any] = np.frombuffer(mapped, dtype).reshape(shape)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, where: int | slice) -> Any:
        begin, end = (where, where + 1) if not isinstance(where, slice) else where.indices(len(self._rows))[:2]
        if end > begin:
            for chunk in range(begin // CHUNK_ROWS, (end - 1) // CHUNK_ROWS + 1):
                if not self._is_checked[chunk]:
                    self._check(chunk)
        return self._rows[where]

    def checked(self) -> NDArray[Any]:
        """All rows, every chunk checked."""
        rows: NDArray[Any] = self[:]
        return rows

    def become(self, other: "Column") -> None:
        """Switch to another file of the same rows, which was checked."""
        self._file, self._sums, self._rows = other._file, other._sums, other._rows
        self._is_checked = other._is_checked  # set last: a thread that sees a chunk as checked must read the new rows

    def _check(self, chunk: int) -> None:
        """Compare a chunk with its checksum.

        It is read, not looked at through the mapping: where the file became shorter, or the disk cannot read it, that
        would end the process.
        """
        file = self._file  # kept, as another thread may switch the column meanwhile
        begin = chunk * self._chunk_bytes
        wanted_bytes = min(self._chunk_bytes, self._size_bytes - begin)
        try:
            piece = os.pread(file.number, wanted_bytes, begin)
        except OSError:
            piece = b""
        if len(piece) == wanted_bytes and crc32(piece) == self._sums[chunk]:
            self._is_checked[chunk] = True
        elif self.rebuilder is not None:
            if getattr(_thread, "may_not_wait", False):
                raise MustWaitError
            self.rebuilder.rebuild()
        else:
            raise ColumnDamagedError(f"chunk {chunk} of {file.path}")


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
