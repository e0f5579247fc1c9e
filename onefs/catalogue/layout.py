"""The index on disk: its arrays, one file each, and their shapes and checksums in `meta.json`."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from onefs.catalogue.schema import TableMetadata
from onefs.catalogue.stored import Column, ColumnDamagedError, StoredTexts, write_column

LAYOUT = 4
"""To be raised whenever the arrays, or how they are computed, change."""

TEMPORARY = ".building-"
"""What the names of indexes begin with that are still being made."""

EPOCH = date(1970, 1, 1).toordinal()
"""The day that dates in arrays count from."""

NO_DATE = int(np.iinfo(np.int32).min)
UNKNOWN_SIZE = -1
LARGEST_SIZE = 1 << 50
"""Bytes that a file may claim to have. No recording has more; a row that says so is wrong."""

EXISTS, DEFAULT, HAS_DEFAULT, HAS_MD5 = 1, 2, 4, 8
"""Bits of a dataset's flags: it exists; it is the default revision; the table says whether; its MD5 is known."""

SESSION_BITS, FOLDER_BITS = 34, 48
"""Widths of a session's key and of an upper folder's, from which inode numbers are made."""

MAX_SESSION_FOLDERS = 1 << 16
"""Folders in one session: half of the numbers that an inode number has room for, so that a free one is near."""

MAX_EXAMPLES, EXAMPLE_CHARACTERS = 20, 400


class Reason(StrEnum):
    """Why rows of the tables are not in the index, or lack a value there."""

    SESSION_ID = "session id is no UUID"
    SESSION_REPEATED = "session listed twice"
    SESSION_UNDATED = "session without date or number"
    SESSION_UNSAFE = "session with an unsafe lab or subject"
    SESSION_RESERVED = "session at a reserved name"
    DATASET_ID = "dataset id is no UUID"
    DATASET_EID = "dataset eid is no UUID"
    DATASET_SESSION = "dataset of an unknown session"
    DATASET_UNSAFE = "dataset with an unsafe path"
    DATASET_PATH_TAKEN = "two datasets of one path"
    DATASET_IS_FOLDER = "dataset whose path is also a folder"
    DATASET_SIZE = "dataset of an impossible size, shown as unknown"
    DATASET_HASH = "dataset with a hash that is no MD5, so that the file is not verified"
    DATASET_FOLDERS = "dataset in a session of too many folders"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many rows were left out for one reason, with a few of them."""

    count: int
    examples: tuple[str, ...]


@dataclass(slots=True)
class LeftOutTally:
    """Counts rows left out while an index is built."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: Reason, count: int, examples: Iterable[str]) -> None:
        """Count rows; `examples` is consumed only as far as there is room."""
        if not count:
            return
        self.counts[reason] = self.counts.get(reason, 0) + count
        kept = self.examples.setdefault(reason, [])
        kept.extend(
            text[:EXAMPLE_CHARACTERS] for text, _ in zip(examples, range(MAX_EXAMPLES - len(kept)), strict=False)
        )

    def totals(self) -> dict[str, LeftOut]:
        """What was left out, by reason."""
        return {reason: LeftOut(self.counts[reason], tuple(self.examples[reason])) for reason in self.counts}


@dataclass(frozen=True, slots=True)
class Strings:
    """A column of texts: UTF-8 bytes one after the other, and where each begins."""

    offsets: NDArray[np.int64]
    data: NDArray[np.uint8]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Strings":
        """The column that holds these texts."""
        encoded = [text.encode() for text in texts]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(text) for text in encoded], out=offsets[1:])
        return cls(offsets, np.frombuffer(b"".join(encoded), np.uint8))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> str:
        return self.encoded(row).decode()

    def encoded(self, row: int) -> bytes:
        """The text's bytes."""
        return self.data[self.offsets[row] : self.offsets[row + 1]].tobytes()


@dataclass(frozen=True, slots=True)
class Arrays:
    """Every array of an index. Session rows are in tree order, then the aggregates if there are any.

    Sessions on one path stand one after the other and have one folder, whose `folder_session` is the first of them.
    Dataset rows are ordered by (session, rel_path), folders breadth first with children sorted by name.
    Texts stand as codes into `labs`, `subjects`, `protocols`, `projects` and `paths`, all sorted by their bytes.
    The columns of datasets and their paths are large: they are read, and checked, at each look. The others are in
    memory: what happens to their files later changes no answer.
    """

    session_eid: NDArray[np.uint8]
    session_lab: NDArray[np.int32]
    session_subject: NDArray[np.int32]
    session_protocol: NDArray[np.int32]
    session_projects: NDArray[np.int32]
    session_date: NDArray[np.int32]
    session_number: NDArray[np.uint16]
    session_first: NDArray[np.int64]
    session_count: NDArray[np.int32]
    session_digest: NDArray[np.uint64]
    session_key: NDArray[np.uint64]
    session_folder: NDArray[np.int32]
    session_by_key: NDArray[np.int32]
    session_by_eid: NDArray[np.int32]
    dataset_id: Column
    dataset_path: Column
    dataset_size: Column
    dataset_md5: Column
    dataset_flags: Column
    dataset_qc: Column
    dataset_content: Column
    dataset_by_id: Column
    folder_parent: NDArray[np.int32]
    folder_first: NDArray[np.int32]
    folder_count: NDArray[np.int32]
    folder_session: NDArray[np.int32]
    folder_date: NDArray[np.int32]
    folder_key: NDArray[np.uint64]
    folder_by_key: NDArray[np.int32]
    folder_name: Strings
    labs: Strings
    subjects: Strings
    protocols: Strings
    projects: Strings
    paths: StoredTexts


COLUMNS = {
    "session_eid": "u1 16", "session_lab": "<i4", "session_subject": "<i4", "session_protocol": "<i4",
    "session_projects": "<i4", "session_date": "<i4", "session_number": "<u2", "session_first": "<i8",
    "session_count": "<i4", "session_digest": "<u8", "session_key": "<u8", "session_folder": "<i4",
    "session_by_key": "<i4", "session_by_eid": "<i4",
    "dataset_id": "u1 16", "dataset_path": "<i4", "dataset_size": "<i8", "dataset_md5": "u1 16",
    "dataset_flags": "u1", "dataset_qc": "u1", "dataset_content": "<u8", "dataset_by_id": "<i4",
    "folder_parent": "<i4", "folder_first": "<i4", "folder_count": "<i4", "folder_session": "<i4",
    "folder_date": "<i4", "folder_key": "<u8", "folder_by_key": "<i4",
}  # fmt: skip
"""Type of each array on disk, and the width of its rows if they are not single values."""

STRINGS = ("folder_name", "labs", "subjects", "protocols", "projects")
"""Columns of texts that are read when the index is opened; `paths`, the only other one, is large."""


@dataclass(frozen=True, slots=True)
class Index:
    """An index that is open: its arrays, and what its `meta.json` says."""

    arrays: Arrays
    metadata: TableMetadata
    left_out: Mapping[str, LeftOut]

    def large_columns(self) -> Iterator[Column]:
        """The columns that are not in memory, always in the same order."""
        yield from (getattr(self.arrays, name) for name in COLUMNS if _is_large(name))
        yield from (self.arrays.paths.offsets, self.arrays.paths.data)

    def check(self) -> None:
        """Check the checksums of all large columns. Raises `IndexUnusableError`."""
        try:
            for column in self.large_columns():
                column.check()
        except ColumnDamagedError as error:
            raise IndexUnusableError(str(error)) from error


class IndexUnusableError(Exception):
    """An index on disk is absent, damaged or of another layout: never told to a user, it is built again."""


_ODD = (
    OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError,
    ColumnDamagedError,
)  # fmt: skip
"""What json, numpy and the looks into what they read raise of rubbish."""


@dataclass(slots=True)
class IndexWriter:
    """Writes an index into an empty directory, array by array. Without `is_synced` it may not outlive a power cut."""

    directory: Path
    is_synced: bool = True
    columns: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    def save(self, name: str, array: NDArray[np.generic]) -> None:
        """Write one array in the type that the layout gives it."""
        kind = COLUMNS[name].split()[0]
        self._write(name, np.ascontiguousarray(array, np.dtype(kind)))

    def save_strings(self, name: str, strings: Strings) -> None:
        """Write a column of texts."""
        self._write(f"{name}.offsets", np.ascontiguousarray(strings.offsets, "<i8"))
        self._write(f"{name}.bytes", np.ascontiguousarray(strings.data, "u1"))

    def _write(self, name: str, array: NDArray[np.generic]) -> None:
        sums = write_column(self.directory / name, array, is_synced=self.is_synced)
        self.columns[name] = {"shape": list(array.shape), "crc32": sums}

    def finish(self, metadata: TableMetadata, left_out: Mapping[str, LeftOut]) -> None:
        """Write `meta.json`, the last file."""
        meta = {
            "layout": LAYOUT,
            "columns": self.columns,
            "metadata": dict(metadata.raw),
            "left_out": {reason: [rows.count, rows.examples] for reason, rows in left_out.items()},
        }
        with (self.directory / "meta.json").open("w", encoding="utf-8") as stream:
            json.dump(meta | {"crc32": sum_of(meta)}, stream)
            if self.is_synced:
                stream.flush()
                os.fsync(stream.fileno())


def read_index(directory: Path) -> Index:
    """Read an index, all but its large columns. Raises `IndexUnusableError` if it is not of this layout."""
    try:
        meta = json.loads((directory / "meta.json").read_text(encoding="utf-8"))
        if meta.pop("crc32") != sum_of(meta) or meta["layout"] != LAYOUT:
            raise IndexUnusableError(f"{directory}: damaged, or of layout {meta['layout']}")
        about = meta["columns"]
        columns: dict[str, Any] = {}
        for name, kind in COLUMNS.items():
            column = _column(directory, name, kind, about)
            columns[name] = column if _is_large(name) else column.rows()
        for name in (*STRINGS, "paths"):
            parts = (
                _column(directory, f"{name}.offsets", "<i8", about),
                _column(directory, f"{name}.bytes", "u1", about),
            )
            columns[name] = StoredTexts(*parts) if name == "paths" else Strings(*(part.rows() for part in parts))
        left_out = {
            reason: LeftOut(int(count), tuple(map(str, examples)))
            for reason, (count, examples) in meta["left_out"].items()
        }
        metadata = TableMetadata.of(meta["metadata"])
    except _ODD as error:
        raise IndexUnusableError(str(error)) from error
    return Index(Arrays(**columns), metadata, MappingProxyType(left_out))


def _is_large(name: str) -> bool:
    return name.startswith("dataset_")


def _column(directory: Path, name: str, kind: str, about: Mapping[str, Mapping[str, list[int]]]) -> Column:
    dtype, *width = kind.split()
    shape = about[name]["shape"]
    if shape[1:] != [int(w) for w in width]:
        raise IndexUnusableError(f"column {name}")
    return Column(directory / name, np.dtype(dtype), tuple(shape), about[name]["crc32"])


def sum_of(value: Mapping[str, object]) -> int:
    """The checksum of what a file of JSON says."""
    return crc32(json.dumps(value, sort_keys=True).encode())
