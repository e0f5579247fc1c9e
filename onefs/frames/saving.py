"""Writing frames into cache tables, merged with what is there or in its place, whole and under the tables' lock."""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from onefs.cache.sharing import make_state_folder
from onefs.catalogue.saving import changing_tables
from onefs.catalogue.schema import METADATA_KEY
from onefs.catalogue.tables import read_metadata, replacing
from onefs.errors import TableError
from onefs.frames.merging import joined_metadata, merged_frame, with_text_ids
from onefs.frames.reading import read_frame
from onefs.table_times import table_time_text

if TYPE_CHECKING:
    import pyarrow as pa

_DATES = frozenset(("date",))
_SIZES = frozenset(("file_size",))


@dataclass(frozen=True, slots=True)
class Unsaved:
    """A table to be saved: `rows` go into the file that is there, `frame` is written where there is none."""

    rows: pd.DataFrame
    frame: pd.DataFrame
    metadata: Mapping[str, Any]


def save_frames(directory: Path, tables: Mapping[str, Unsaved], *, clobber: bool, now: datetime) -> None:
    """Save tables by name: all of them, or none. Other tables in the directory stay as they are.

    Raises `TableError` (also if what is there cannot be used), `NoRoomError`, or `BusyError` if another process keeps
    the tables locked.
    """
    with changing_tables(directory, make_state_folder(directory)), ExitStack() as stack:
        for name, table in sorted(tables.items()):  # ends in reverse: sessions come before datasets, which need them
            file = directory / f"{name}.pqt"
            frame, metadata = with_text_ids(table.frame), dict(table.metadata)
            if file.exists() and not clobber:
                there = read_metadata(file).raw
                frame = merged_frame(read_frame(file, name), table.rows)
                metadata = joined_metadata(there, metadata)
            stamp = table_time_text(now)
            metadata = {"date_created": stamp, **metadata, "date_modified": stamp}
            _write(stack.enter_context(replacing(file)), frame, name, metadata)


def _write(file: Path, frame: pd.DataFrame, name: str, metadata: Mapping[str, Any]) -> None:
    import pyarrow.parquet as pq

    table = _arrow_table(frame, name)
    kept = dict(table.schema.metadata) | {METADATA_KEY: json.dumps(metadata, default=_as_list).encode()}
    with file.open("xb") as stream:
        pq.write_table(table.replace_schema_metadata(kept), stream)
        stream.flush()
        os.fsync(stream.fileno())


def _arrow_table(frame: pd.DataFrame, name: str) -> "pa.Table":
    """The frame as an arrow table, with its index as columns."""
    import pyarrow as pa

    try:
        table = pa.Table.from_pandas(frame)
        return table.cast(pa.schema([_field(field) for field in table.schema], table.schema.metadata))
    except pa.ArrowException as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise TableError(f"The table {name} cannot be saved: {why}.", "Give each column values of one type.") from error


def _field(field: "pa.Field") -> "pa.Field":
    """Columns without any value have the type that belongs there, for readers of other languages."""
    import pyarrow as pa

    if not pa.types.is_null(field.type):
        return field
    if field.name in _DATES:
        return field.with_type(pa.date32())
    return field.with_type(pa.uint64() if field.name in _SIZES else pa.string())


def _as_list(value: object) -> list[Any]:
    """Origins, which programs written for ONE may have made a set."""
    if isinstance(value, set | frozenset | Iterable):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} cannot be metadata of a table")
