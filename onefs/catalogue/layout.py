"""Owns the index on disk: its arrays, one memory-mapped file each, and what is said of them in `meta.json`."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from pathlib import Path
from tokenize import TokenError
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onefs.catalogue.schema import TableMetadata

LAYOUT = 3
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
    """Why rows of the tables are not in the index, or are there with a value less."""

    SESSION_ID = "session id is no UUID"
    SESSION_REPEATED = "session listed twice"
    SESSION_UNDATED = "session without date or number"
    SESSION_UNSAFE = "session with an unsafe lab or subject"
    SESSION_RESERVED = "session at a reserved name"
    SESSION_PATH_TAKEN = "two sessions of one path"
    DATASET_ID = "dataset id is no UUID"
    DATASET_EID = "dataset eid is no UUID"
    DATASET_SESSION = "dataset of an unknown session"
    DATASET_UNSAFE = "dataset with an unsafe path"
    DATASET_PATH_TAKEN = "two datasets of one path"
    DATASET_IS_FOLDER = "dataset whose path is also a folder"
    DATASET_SIZE = "dataset of an impossible size, shown as unknown"
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

    Dataset rows are ordered by (session, rel_path), folders breadth first with children sorted by name.
    Texts stand as codes into `labs`, `subjects`, `protocols`, `projects` and `paths`, all sorted by their bytes.
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
    dataset_id: NDArray[np.uint8]
    dataset_path: NDArray[np.int32]
    dataset_size: NDArray[np.int64]
    dataset_md5: NDArray[np.uint8]
    dataset_flags: NDArray[np.uint8]
    dataset_qc: NDArray[np.uint8]
    dataset_content: NDArray[np.uint64]
    dataset_by_id: NDArray[np.int32]
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
    paths: Strings


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

STRINGS = ("folder_name", "labs", "subjects", "protocols", "projects", "paths")


@dataclass(frozen=True, slots=True)
class Index:
    """An index, memory-mapped: its arrays, and what its `meta.json` says."""

    arrays: Arrays
    metadata: TableMetadata
    left_out: Mapping[str, LeftOut]


class IndexUnusableError(Exception):
    """An index on disk is absent, damaged or of another layout: never told to a user, it is built again."""


_ODD = (
    OSError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError,
    SyntaxError, TokenError,
)  # fmt: skip
"""What json, numpy and the looks into what they read raise of rubbish; the last two come of numpy's headers."""


@dataclass(slots=True)
class IndexWriter:
    """Writes an index into an empty directory, array by array."""

    directory: Path
    shapes: dict[str, list[int]] = field(default_factory=dict)

    def save(self, name: str, array: NDArray[np.generic]) -> None:
        """Write one array in the type that the layout gives it."""
        kind = COLUMNS[name].split()[0]
        self._write(name, np.ascontiguousarray(array, np.dtype(kind)))

    def save_strings(self, name: str, strings: Strings) -> None:
        """Write a column of texts."""
        self._write(f"{name}.offsets", np.ascontiguousarray(strings.offsets, "<i8"))
        self._write(f"{name}.bytes", np.ascontiguousarray(strings.data, "u1"))

    def _write(self, name: str, array: NDArray[np.generic]) -> None:
        with (self.directory / f"{name}.npy").open("wb") as stream:
            np.save(stream, array)
            stream.flush()
            os.fsync(stream.fileno())
        self.shapes[name] = list(array.shape)

    def finish(self, metadata: TableMetadata, left_out: Mapping[str, LeftOut]) -> None:
        """Write `meta.json`, the last file."""
        meta = {
            "layout": LAYOUT,
            "shapes": self.shapes,
            "metadata": dict(metadata.raw),
            "left_out": {reason: [rows.count, rows.examples] for reason, rows in left_out.items()},
        }
        with (self.directory / "meta.json").open("w", encoding="utf-8") as stream:
            json.dump(meta, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())


def read_index(directory: Path) -> Index:
    """Map an index. Raises `IndexUnusableError` if it is not whole and of this layout."""
    try:
        meta = json.loads((directory / "meta.json").read_text(encoding="utf-8"))
        if meta["layout"] != LAYOUT:
            raise IndexUnusableError(f"layout {meta['layout']}")
        shapes = meta["shapes"]
        columns: dict[str, Any] = {name: _map(directory, name, kind, shapes) for name, kind in COLUMNS.items()}
        for name in STRINGS:
            offsets = _map(directory, f"{name}.offsets", "<i8", shapes)
            columns[name] = Strings(offsets, _map(directory, f"{name}.bytes", "u1", shapes))
        left_out = {
            reason: LeftOut(int(count), tuple(map(str, examples)))
            for reason, (count, examples) in meta["left_out"].items()
        }
        metadata = TableMetadata.of(meta["metadata"])
    except _ODD as error:
        raise IndexUnusableError(str(error)) from error
    return Index(Arrays(**columns), metadata, MappingProxyType(left_out))


def _map(directory: Path, name: str, kind: str, shapes: Mapping[str, list[int]]) -> NDArray[Any]:
    """Map one array, having checked that it is what the layout and `meta.json` say."""
    dtype, *width = kind.split()
    mapped: NDArray[Any] = np.load(directory / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    expected = shapes[name]
    if mapped.dtype != np.dtype(dtype) or list(mapped.shape) != expected or expected[1:] != [int(w) for w in width]:
        raise IndexUnusableError(f"array {name}")
    # A plain view of the mapping: slicing np.memmap itself costs ten times as much.
    return mapped.view(np.ndarray)
