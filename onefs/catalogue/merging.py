"""Merging learned rows into an existing table: batch by batch, in the table's own columns and types."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onefs.catalogue import columns
from onefs.catalogue.columns import Ids
from onefs.catalogue.mixing import find_ids, order_of_ids
from onefs.catalogue.records import QC_CODES
from onefs.catalogue.schema import METADATA_KEY, QC_NAMES, Column, sources
from onefs.catalogue.tables import table_errors
from onefs.errors import TableError

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 1 << 17
PAIRS = frozenset(("id_0", "id_1", "eid_0", "eid_1"))
OTHER_NAMES = {
    "eid": ("id",), "__index_level_0__": ("eid", "id"), "__index_level_1__": ("id",), "project": ("projects",),
    "exists_aws": ("exists",), "exists_flatiron": ("exists",),
    "id_0": ("id",), "id_1": ("id",), "eid_0": ("eid", "id"), "eid_1": ("eid", "id"),
}  # fmt: skip
"""Columns of older tables, and which of today's say the same; sessions have their eid as `id`."""

STAYS_IF_UNSAID = frozenset(("default_revision",))
NULLABLE = {"uint64": "UInt64", "int64": "Int64", "uint16": "UInt16", "bool": "boolean"}
"""pandas' types that can hold nulls, by those that cannot."""


@dataclass(frozen=True, slots=True)
class _Source:
    """A table that exists: its columns, and those of them that make the ids."""

    file: Path
    schema: "pa.Schema"
    id_columns: tuple[str, ...]

    @classmethod
    def of(cls, file: Path, known: Sequence[Column]) -> "_Source":
        import pyarrow.parquet as pq

        with table_errors(file), file.open("rb") as stream:  # pyarrow itself takes no path that is not UTF-8
            schema = pq.read_schema(stream)
        return cls(file, schema, sources(known, schema.names, file)["id"])

    def batches(self) -> "Iterator[pa.RecordBatch]":
        import pyarrow.parquet as pq

        with (
            table_errors(self.file),
            self.file.open("rb") as stream,
            pq.ParquetFile(stream, pre_buffer=False) as parquet,
        ):
            yield from parquet.iter_batches(BATCH_ROWS)

    def ids(self, batch: "pa.RecordBatch") -> Ids:
        """The rows' ids, nil where there is none."""
        with table_errors(self.file):
            return columns.uuids([batch.column(name) for name in self.id_columns])[0]


@dataclass(frozen=True, slots=True)
class RowChanges:
    """What becomes of some rows of a table, told by their numbers, which rise.

    Those `removed` go. Of the columns in `values`, by their names of today, others get another value.
    """

    removed: NDArray[np.int64]
    values: "Mapping[str, tuple[NDArray[np.int64], pa.Array]]"

    def applied(self, batch: "pa.RecordBatch", first_row: int) -> "pa.RecordBatch":
        """The rows of the table from a number on, as they become."""
        import pyarrow as pa

        arrays = [self._changed(*column, first_row) for column in zip(batch.schema, batch.columns, strict=True)]
        batch = pa.RecordBatch.from_arrays(arrays, schema=batch.schema)
        stays = np.ones(len(batch), bool)
        stays[self.removed[_between(self.removed, first_row, len(batch))] - first_row] = False
        return batch if stays.all() else batch.filter(pa.array(stays))

    def _changed(self, field: "pa.Field", column: "pa.Array", first_row: int) -> "pa.Array":
        name = _name(field, self.values)
        if name is None:
            return column
        rows, values = self.values[name]
        among = _between(rows, first_row, len(column))
        return _replaced(column, rows[among] - first_row, values[among], field)


@dataclass(slots=True)
class Merge:
    """One table in the making: `learned` (a table in today's columns) over the rows of `files`, earlier ones first.

    Where rows have the same id, what was learned wins, and then the earlier file. The first file's columns and types
    stay; columns that only later files have are added.
    """

    known: Sequence[Column]
    files: Sequence[Path]
    learned: "pa.Table"
    _sources: list[_Source] = field(default_factory=list)
    _order: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    _ids: Ids = field(default_factory=lambda: np.empty((0, 16), np.uint8))

    def __post_init__(self) -> None:
        self._sources = [_Source.of(file, self.known) for file in self.files]
        first, *others = self._sources
        for other in others:
            if other.id_columns != first.id_columns:
                raise TableError(
                    f"{other.file} has its ids in other columns than {first.file}, so they cannot become one table.",
                    "Save to another directory, or replace the tables there (onefs tables save --clobber).",
                )
        ids, _ = columns.uuids([self.learned.column("id").combine_chunks()])
        self._order = order_of_ids(ids)
        self._ids = ids[self._order]

    def schema(self, changes: Mapping[str, object]) -> "pa.Schema":
        """The columns of the result, with `changes` to the first file's `one_metadata`."""
        import pyarrow as pa

        first = self._sources[0]
        fields: dict[str, pa.Field] = {}
        for source in self._sources:
            for one in source.schema:
                fields.setdefault(one.name, self._normal(one))
        metadata = dict(first.schema.metadata or {})
        metadata[METADATA_KEY] = json.dumps(json.loads(metadata[METADATA_KEY]) | dict(changes)).encode()
        if b"pandas" in metadata:
            metadata[b"pandas"] = json.dumps(self._with_nulls(json.loads(metadata[b"pandas"]))).encode()
        return pa.schema(fields.values(), metadata)

    def _normal(self, field: "pa.Field") -> "pa.Field":
        """A column's type in the result: coded QC gets the order of its names, a column of nulls the type of today."""
        import pyarrow as pa

        if field.name == "qc" and pa.types.is_dictionary(field.type):
            return field.with_type(pa.dictionary(pa.int8(), pa.string(), ordered=True))
        name = _name(field, self.learned.column_names) if pa.types.is_null(field.type) else None
        return field if name is None else field.with_type(self.learned.schema.field(name).type)

    def _with_nulls(self, pandas: dict[str, Any]) -> dict[str, Any]:
        """What pandas is told of the columns, in which there may be nulls from now on."""
        for column in pandas.get("columns", ()):
            name = column.get("name")
            if name in self.learned.column_names and self.learned.column(name).null_count:
                column["numpy_type"] = NULLABLE.get(column["numpy_type"], column["numpy_type"])
        return pandas

    def batches(self, schema: "pa.Schema") -> "Iterator[pa.RecordBatch]":
        """The rows of the result: those of the files in their order, then those that are new."""
        import pyarrow as pa

        rows = self.rows(self.learned, schema)
        unsaid = {field.name for field in schema if _name(field, self.learned.column_names) is None} | STAYS_IF_UNSAID
        is_new = np.ones(len(self._ids), bool)
        seen: list[Ids] = []
        for at, source in enumerate(self._sources):
            earlier = _distinct(seen)
            for batch in source.batches():
                ids = source.ids(batch)
                if at + 1 < len(self._sources):
                    seen.append(ids)
                found = find_ids(ids, self._ids)
                stays = find_ids(ids, earlier) < 0
                if at:
                    stays &= (found < 0) | np.append(is_new, True)[found]  # a row that was learned stands once
                batch = _conformed(batch, schema)
                yield _updated(batch, rows, np.append(self._order, -1)[found], stays, unsaid)
                is_new[found[(found >= 0) & stays]] = False
        yield rows.take(pa.array(np.sort(self._order[is_new])))

    def changed_batches(self, schema: "pa.Schema", changes: RowChanges) -> "Iterator[pa.RecordBatch]":
        """The rows of the first file alone, as they become by changes that are told by their numbers."""
        first_row = 0
        for batch in self._sources[0].batches():
            yield changes.applied(_conformed(batch, schema), first_row)
            first_row += len(batch)

    def rows(self, table: "pa.Table", schema: "pa.Schema") -> "pa.RecordBatch":
        """A table in today's columns, in those of the result; null where it says nothing of a column."""
        import pyarrow as pa

        return pa.RecordBatch.from_arrays([self._column(table, field) for field in schema], schema=schema)

    def _column(self, table: "pa.Table", field: "pa.Field") -> "pa.Array":
        import pyarrow as pa

        name = _name(field, table.column_names)
        if name is None:
            return pa.nulls(len(table), field.type)
        values = table.column(name).combine_chunks()
        try:
            if field.name in PAIRS:
                return pa.array(_halves(values)[:, int(field.name[-1])]).cast(field.type)
            return _column_of(_qc(values, field.type) if name == "qc" else values, field)
        except pa.ArrowException as error:
            raise TableError(
                f"The column {field.name!r} of {self.files[0]} holds {field.type}, into which this does not fit.",
                "Save to another directory, or replace the tables there (onefs tables save --clobber).",
            ) from error


def _name(field: "pa.Field", names: Collection[str]) -> str | None:
    """Which of some columns of today says what a column of a table says, if there is one."""
    wanted = (field.name, *OTHER_NAMES.get(field.name, ()))
    return next((name for name in wanted if name in names), None)


def _between(rows: NDArray[np.int64], first_row: int, n_rows: int) -> slice:
    """Which of some numbers of rows, which rise, are among the `n_rows` from the first on."""
    return slice(*np.searchsorted(rows, (first_row, first_row + n_rows)).tolist())


def _replaced(column: "pa.Array", at: NDArray[np.int64], values: "pa.Array", field: "pa.Field") -> "pa.Array":
    """A column with other values in some places."""
    import pyarrow as pa

    if not len(at):
        return column
    take = np.arange(len(column))
    take[at] = len(column) + np.arange(len(at))
    both = pa.concat_arrays([columns.plain(column), _cast(columns.plain(values), columns.plain(column).type)])
    return _column_of(both.take(pa.array(take)), field)


def _halves(ids: "pa.Array") -> NDArray[np.int64]:
    """Ids in ONE's old form: two int64 for the 16 bytes."""
    return np.ascontiguousarray(columns.uuids([ids])[0]).view("<i8").reshape(-1, 2)


def _distinct(seen: list[Ids]) -> Ids:
    ids = np.concatenate([np.empty((0, 16), np.uint8), *seen])
    ids = ids[order_of_ids(ids)]
    is_first = np.append(True, (ids[1:] != ids[:-1]).any(axis=1))[: len(ids)]
    distinct: Ids = ids[is_first]
    return distinct


def _conformed(batch: "pa.RecordBatch", schema: "pa.Schema") -> "pa.RecordBatch":
    import pyarrow as pa

    names = set(batch.schema.names)
    arrays = [
        _column_of(batch.column(field.name), field) if field.name in names else pa.nulls(len(batch), field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _updated(
    batch: "pa.RecordBatch",
    rows: "pa.RecordBatch",
    found: NDArray[np.int64],
    stays: NDArray[np.bool_],
    unsaid: Set[str],
) -> "pa.RecordBatch":
    """A batch without the rows that do not stay, and with those of `rows` in the places where they were found.

    Of the columns in `unsaid` only what is not null is taken.
    """
    import pyarrow as pa

    at = np.flatnonzero(found >= 0)
    if len(at):
        arrays = []
        for column, old, new in zip(batch.schema, batch.columns, rows.columns, strict=True):
            said = new.is_valid().to_numpy(zero_copy_only=False)[found[at]]
            replaced = at[said] if column.name in unsaid else at
            arrays.append(_replaced(old, replaced, new.take(pa.array(found[replaced])), column))
        batch = pa.RecordBatch.from_arrays(arrays, schema=batch.schema)
    return batch if stays.all() else batch.filter(pa.array(stays))


def _column_of(array: "pa.Array", field: "pa.Field") -> "pa.Array":
    import pyarrow as pa

    if field.name == "qc" and pa.types.is_dictionary(field.type):
        codes = pa.array(columns.qc_codes(array).astype(np.int8))
        return pa.DictionaryArray.from_arrays(codes, pa.array(QC_NAMES), ordered=True)
    return _cast(array, field.type)


def _cast(array: "pa.Array", kind: "pa.DataType") -> "pa.Array":
    import pyarrow as pa

    if array.type == kind:
        return array
    array = columns.plain(array)
    if pa.types.is_dictionary(kind):
        return array.cast(kind.value_type).dictionary_encode().cast(kind)
    if pa.types.is_fixed_size_binary(kind):
        return pa.array([bytes(one) for one in columns.uuids([array])[0]], kind)
    return array.cast(kind)


def _qc(values: "pa.Array", kind: "pa.DataType") -> "pa.Array":
    """QC as a column has it: names, or Alyx's numbers."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind) or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return values
    return pa.array([int(QC_CODES[code]) for code in columns.qc_codes(values).tolist()], pa.int64())
