"""Cache tables as pandas frames: their columns and types, reading them from files, and small frames made of rows.

This module imports pandas; `import onefs` must not import it.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from onefs.catalogue import columns
from onefs.catalogue.layout import EPOCH
from onefs.catalogue.records import QC_CODES, Dataset, Session
from onefs.catalogue.schema import QC_NAMES, sources
from onefs.catalogue.tables import table_errors
from onefs.errors import TableError
from onefs.frames.shapes import COLUMNS, DROPPED, ID_COLUMNS, KEPT_SOURCES

if TYPE_CHECKING:
    import pyarrow as pa

TEXT = object if int(pd.__version__.split(".")[0]) < 3 else str
"""The type of text columns."""

QC_TYPE = pd.CategoricalDtype(categories=list(QC_NAMES), ordered=True)
SESSIONS_COLUMNS: Mapping[str, Any] = {
    "id": TEXT,
    "lab": TEXT,
    "subject": TEXT,
    "date": object,
    "number": np.uint16,
    "task_protocol": TEXT,
    "projects": TEXT,
}
"""Columns of the sessions table, its index included, and their types. Dates are `datetime.date`."""

DATASETS_COLUMNS: Mapping[str, Any] = {
    "eid": TEXT,
    "id": TEXT,
    "rel_path": TEXT,
    "file_size": "UInt64",
    "hash": TEXT,
    "exists": bool,
    "qc": QC_TYPE,
}
"""Columns of the datasets table, its index included, and their types."""

INDEX: Mapping[str, list[str]] = MappingProxyType(
    {"sessions": ["id"], "datasets": ["eid", "id"], "insertions": ["eid", "id"]}
)
"""Index of the tables that are known."""

_MADE_UP = {"task_protocol": "", "projects": "", "qc": "NOT_SET"}
"""What stands in columns that older tables lack."""


def empty_frame(name: str) -> pd.DataFrame:
    """A frame of the sessions or datasets table without rows."""
    kinds = SESSIONS_COLUMNS if name == "sessions" else DATASETS_COLUMNS
    return pd.DataFrame(columns=list(kinds)).astype(dict(kinds)).set_index(INDEX[name])


EMPTY_SESSIONS_FRAME = empty_frame("sessions")
EMPTY_DATASETS_FRAME = empty_frame("datasets")


def read_frame(file: Path, name: str = "") -> pd.DataFrame:
    """The frame of a table in a file, older shapes put right. Raises `TableError` if it cannot be used."""
    import pyarrow.parquet as pq

    with table_errors(file):
        # One file by its descriptor: another may take its name meanwhile. Not pq.read_table, which would take
        # folder names such as `x=1` for columns.
        with file.open("rb") as opened, pq.ParquetFile(opened) as parquet:
            table = parquet.read()
        return frame_of_table(table, name or file.stem, file)


def patched(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """A frame with whatever index and ids of whatever type as that of a table. Raises `TableError`."""
    import pyarrow as pa

    levels = [level for level in frame.index.names if level is not None]
    if frame.index.nlevels > 1 or levels:
        shared = [level for level in levels if level in frame.columns]
        frame = frame.drop(columns=shared).reset_index()
    elif isinstance(frame.index, pd.RangeIndex) or "id" in frame.columns:
        frame = frame.copy(deep=False)
    else:
        frame = frame.rename_axis("id").reset_index()
    for column in frame.columns.intersection(["id", "eid"]):
        frame[column] = frame[column].map(str, na_action="ignore").astype(object)
    with table_errors(Path(name)):
        return frame_of_table(pa.Table.from_pandas(frame, preserve_index=False), name, Path(name))


def frame_of_table(table: "pa.Table", name: str, file: Path) -> pd.DataFrame:
    """The frame of a table that was read from a file. To be used inside `table_errors`."""
    groups = _groups(table, name, file)
    index = [key for key in ("eid", "id") if key in groups and (name != "sessions" or key == "id")]
    used = {one for group in groups.values() for one in group} - KEPT_SOURCES
    dropped = DROPPED.get(name, frozenset())
    made: dict[str, Any] = {}
    for column in table.column_names:  # in the file's order, a renamed one in the place of the old
        wanted = next((key for key, group in groups.items() if column in group), None)
        if column not in used | dropped:
            made[column] = _further(table, column)
        if wanted is not None and wanted not in made:
            made[wanted] = _column(wanted, _arrays(table, groups[wanted]), file)
    if not index:
        return _further_index(table.to_pandas(), file)
    for column, value in _MADE_UP.items():
        if column not in made and any(column == each.name for each in COLUMNS.get(name, ())):
            made[column] = _constant(column, value, len(table))
    levels = [made.pop(key) for key in index]
    rows = pd.Index(levels[0], name=index[0]) if len(index) == 1 else pd.MultiIndex.from_arrays(levels, names=index)
    return by_index(pd.DataFrame(made, index=rows))


def by_index(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame sorted by its index; rows of one id keep their order. Those without eid come first.

    pandas puts them last, and then takes the index for unsorted: it refuses slices, and warns at every look.
    """
    if frame.index.is_monotonic_increasing:
        return frame
    frame = frame.sort_index(kind="stable")
    if frame.index.nlevels == 1:
        return frame
    has_eid = frame.index.codes[0] >= 0
    return frame if has_eid.all() else frame.iloc[np.argsort(has_eid, kind="stable")]


def _groups(table: "pa.Table", name: str, file: Path) -> dict[str, tuple[str, ...]]:
    """For each column that onefs knows, those of the table that make it."""
    return sources(COLUMNS.get(name, ID_COLUMNS), table.column_names, file)


def _arrays(table: "pa.Table", names: Iterable[str]) -> "list[pa.Array]":
    import pyarrow as pa

    arrays = []
    for name in names:
        column = table.column(name)
        if pa.types.is_string(column.type):
            column = column.cast(pa.large_string())  # all of them may be more than string's offsets can count
        arrays.append(column.combine_chunks() if column.num_chunks != 1 else column.chunk(0))
    return arrays


def _further(table: "pa.Table", column: str) -> pd.Series:
    """A column as pandas reads it, by the types that the file's metadata tell."""
    return table.select([column]).to_pandas().reset_index(drop=True)[column].array


def _further_index(frame: pd.DataFrame, file: Path) -> pd.DataFrame:
    """A frame that has neither eid nor id, but an index of its own."""
    if isinstance(frame.index, pd.RangeIndex):
        raise TableError(f"The cache table {file} lacks the column 'id'.", "Save it with an index.")
    return by_index(frame)


def _constant(column: str, value: str, rows: int) -> Any:
    if column == "qc":
        return pd.Categorical.from_codes(np.full(rows, QC_NAMES.index(value), np.int8), dtype=QC_TYPE)
    return np.full(rows, value, object) if TEXT is object else pd.array([value] * rows, dtype="str")


def _column(name: str, arrays: "list[pa.Array]", file: Path) -> Any:
    """One of the known columns, as pandas holds it."""
    import pyarrow as pa

    try:
        match name:
            case "id" | "eid":
                return _ids(arrays)
            case "date":
                return _dates(arrays[0])
            case "number":
                return _numbers(arrays[0])
            case "file_size":
                sizes = columns.sizes(arrays[0])
                return pd.arrays.IntegerArray(np.where(sizes < 0, 0, sizes).astype(np.uint64), sizes < 0)
            case "exists":
                return columns.truths(arrays)[0]
            case "default_revision":
                return _truths(arrays)
            case "qc":
                return pd.Categorical.from_codes(columns.qc_codes(arrays[0]).astype(np.int8), dtype=QC_TYPE)
            case "hash":
                return _hashes(arrays[0])
        texts = columns.plain(arrays[0]).cast(pa.large_string())
        return texts.fill_null("").to_pandas().array
    except pa.ArrowException as error:
        held = " and ".join(str(array.type) for array in arrays)
        raise TableError(
            f"The column {name!r} of the cache table {file} holds {held}, not what belongs there."
        ) from error


def _ids(arrays: "list[pa.Array]") -> Any:
    """Ids as texts: UUIDs in lower case, others as they are; null where there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if len(arrays) == 2 or pa.types.is_fixed_size_binary(columns.plain(arrays[0]).type):
        ids, _ = columns.uuids(arrays)
        digits = ids.tobytes().hex()
        each = [digits[at : at + 32] for at in range(0, len(digits), 32)]
        texts = [_dashed(one) if one.strip("0") else None for one in each]
        return pa.array(texts, pa.large_string()).to_pandas().array
    texts = columns.plain(arrays[0]).cast(pa.large_string())
    _, valid = columns.uuids([texts])
    nothing = pc.is_in(texts, value_set=pa.array(columns.NO_ID, pa.large_string()))
    lowered = pc.if_else(pa.array(valid), pc.utf8_lower(texts), texts)
    return pc.if_else(nothing, pa.scalar(None, pa.large_string()), lowered).to_pandas().array


def _dashed(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _dates(array: "pa.Array") -> Any:
    """`datetime.date`, None where there is none, or one that no calendar has."""
    import pyarrow as pa

    missing = np.iinfo(np.int32).min
    days = columns.days(array, missing)
    no_date = (days < date.min.toordinal() - EPOCH) | (days > date.max.toordinal() - EPOCH)
    dates = pa.array(days.astype(np.int32), pa.int32(), mask=no_date).cast(pa.date32())
    found = np.empty(len(dates), object)
    found[:] = dates.to_pylist()
    return found


def _numbers(array: "pa.Array") -> Any:
    """uint16; UInt16 if some are null or cannot be a session's number."""
    numbers = columns.integers(array)
    unusable = (numbers < 0) | (numbers > np.iinfo(np.uint16).max)
    if not unusable.any():
        return numbers.astype(np.uint16)
    return pd.arrays.IntegerArray(np.where(unusable, 0, numbers).astype(np.uint16), unusable)


def _truths(arrays: "list[pa.Array]") -> Any:
    """bool; boolean if some are null."""
    true, known = columns.truths(arrays)
    return true if known.all() else pd.arrays.BooleanArray(true, ~known)


def _hashes(array: "pa.Array") -> Any:
    """Texts, None where there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = columns.plain(array).cast(pa.large_string())
    blank = pc.equal(pc.utf8_trim_whitespace(texts), "")
    return pc.if_else(blank, pa.scalar(None, pa.large_string()), texts).to_pandas().array


# -- small frames ----------------------------------------------------------------------------------------------------


def sessions_frame(sessions: Iterable[Session]) -> pd.DataFrame:
    """A frame of these sessions, in their order."""
    rows = list(sessions)
    if not rows:
        return EMPTY_SESSIONS_FRAME.copy()
    made = {
        "id": [str(row.eid) for row in rows],
        "lab": [row.lab for row in rows],
        "subject": [row.subject for row in rows],
        "date": [row.date for row in rows],
        "number": [row.number for row in rows],
        "task_protocol": [row.task_protocol for row in rows],
        "projects": [row.projects for row in rows],
    }
    return pd.DataFrame(made).astype(dict(SESSIONS_COLUMNS)).set_index("id")


def session_series(session: Session, further: Mapping[str, Any] = MappingProxyType({})) -> pd.Series:
    """A session's columns, and further ones of the table, named by its eid."""
    made: dict[str, Any] = {
        "lab": session.lab,
        "subject": session.subject,
        "date": session.date,
        "number": session.number,
        "task_protocol": session.task_protocol,
        "projects": session.projects,
        **further,
    }
    return pd.Series(made, name=str(session.eid), dtype=object)


def datasets_frame(
    datasets: Iterable[Dataset], *, keep_eid: bool = True, default_revision: bool | None = None
) -> pd.DataFrame:
    """A frame of these datasets, in their order, with the index (`eid`, `id`), or `id` without `keep_eid`.

    `default_revision` says whether there is that column; None: if any of them knows.
    """
    rows = list(datasets)
    defaults = [row.default_revision for row in rows]
    if default_revision is None:
        default_revision = any(default is not None for default in defaults)
    made: dict[str, Any] = {
        "eid": [row.eid and str(row.eid) for row in rows],
        "id": [str(row.id) for row in rows],
        "rel_path": [row.rel_path for row in rows],
        "file_size": pd.array([row.size_bytes for row in rows], dtype="UInt64"),
        "hash": [row.md5 or None for row in rows],
        "exists": [row.exists for row in rows],
        "qc": pd.Categorical.from_codes([QC_CODES.index(row.qc) for row in rows], dtype=QC_TYPE),
    }
    frame = pd.DataFrame(made).astype(dict(DATASETS_COLUMNS))
    if default_revision:
        frame["default_revision"] = pd.array(defaults, dtype="boolean" if None in defaults else "bool")
    return frame.set_index(INDEX["datasets"]) if keep_eid else frame.drop(columns="eid").set_index("id")
