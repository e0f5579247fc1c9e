"""The columns of a table that records and frames made from an index lack: of its file, or of its frame."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from onefs.catalogue import columns
from onefs.catalogue.finding import find_id
from onefs.catalogue.mixing import order_of_ids
from onefs.catalogue.schema import sources
from onefs.catalogue.tables import table_errors
from onefs.forks import new_lock
from onefs.frames.shapes import COLUMNS, further_columns
from onefs.frames.values import positions_of
from onefs.memory import without_pandas

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class FurtherOfFile:
    """The columns of one table that the index does not keep, by the rows' ids. Safe to use from several threads.

    They are read when they are first asked for, and stay in memory. `file` None: there is no table.
    Raises `TableError` if the file cannot be read.
    """

    def __init__(self, file: Path | None, table: str) -> None:
        self._file = file
        self._table = table
        self._all: tuple[str, ...] = ()
        if file is not None:
            import pyarrow.parquet as pq

            with table_errors(file):
                self._all = tuple(pq.read_schema(file).names)
        self.names = further_columns(self._all, table)
        self._lock = new_lock()  # held while they are read
        self._read: _Read | None = None

    def has(self, column: str) -> bool:
        """Whether the table has a column of this name."""
        return column in self._all

    def records(self, ids: Sequence[UUID]) -> list[dict[str, Any]]:
        """The values of these rows by column; None where the table has no such row."""
        if not self.names:
            return [{} for _ in ids]
        with without_pandas():
            records: list[dict[str, Any]] = self._rows(ids).to_pylist()
        return records

    def add_to(self, frame: "pd.DataFrame", ids: Sequence[UUID]) -> "pd.DataFrame":
        """The frame with these columns, whose rows have these ids."""
        if self.names:
            rows = self._rows(ids)
            for name in self.names:
                frame[name] = rows.select([name]).to_pandas().reset_index(drop=True)[name].array
        return frame

    def _rows(self, ids: Sequence[UUID]) -> "pa.Table":
        import pyarrow as pa

        with self._lock:
            if self._read is None:
                self._read = self._columns()
            read = self._read
        places = np.array([read.place(id_) for id_ in ids], np.int64)
        with without_pandas():
            return read.rows.take(pa.array(places, mask=places < 0))

    def _columns(self) -> "_Read":
        import pyarrow.parquet as pq

        assert self._file is not None, "without a file there are no columns"
        with table_errors(self._file), without_pandas():
            ids = sources(COLUMNS[self._table], self._all, self._file)["id"]
            with self._file.open("rb") as opened, pq.ParquetFile(opened) as parquet:
                read = parquet.read(columns=[*self.names, *ids])
            arrays = [columns.plain(read.column(name).combine_chunks()) for name in ids]
            return _Read(columns.uuids(arrays)[0], read.select(self.names))


class FurtherOfFrame:
    """The same of a table's frame as it is at this moment, edits included."""

    def __init__(self, frame: "pd.DataFrame", table: str) -> None:
        self._frame = frame
        self.names = further_columns(list(frame.columns), table)

    def has(self, column: str) -> bool:
        """Whether the frame has a column of this name."""
        return column in self._frame.columns

    def records(self, ids: Sequence[UUID]) -> list[dict[str, Any]]:
        """The values of these rows by column; None where the frame has no such row."""
        if not self.names:
            return [{} for _ in ids]
        values = {name: self._frame[name].array for name in self.names}
        return [{name: column[at] if at >= 0 else None for name, column in values.items()} for at in self._places(ids)]

    def add_to(self, frame: "pd.DataFrame", ids: Sequence[UUID]) -> "pd.DataFrame":
        """The frame with these columns, whose rows have these ids."""
        places = self._places(ids) if self.names else []
        for name in self.names:
            frame[name] = self._frame[name].reset_index(drop=True).reindex(places).array
        return frame

    def _places(self, ids: Sequence[UUID]) -> list[int]:
        """The place of each id in the frame, -1 where it has none."""
        return [next(iter(positions_of(self._frame, "id", id_).tolist()), -1) for id_ in ids]


FurtherColumns = FurtherOfFile | FurtherOfFrame


class _Read:
    """Columns in memory, and the ids of their rows."""

    def __init__(self, ids: NDArray[np.uint8], rows: "pa.Table") -> None:
        self._ids = ids
        self._order = order_of_ids(ids).astype(np.int32)
        self.rows = rows

    def place(self, id_: UUID) -> int:
        """The row of an id, -1 if there is none."""
        found = find_id(self._ids, self._order, id_)
        return -1 if found is None else found
