"""The two cache tables as parquet files: finding them, their metadata, and writing them whole."""

import errno
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from onefs import alf
from onefs.catalogue.records import QC_CODES, Dataset, Session
from onefs.catalogue.schema import (
    METADATA_KEY,
    NEW_TABLES,
    QC_NAMES,
    TableFiles,
    TableMetadata,
)
from onefs.errors import DamagedTableError, NoRoomError, TableError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "TableFiles", "TableMetadata", "find_tables", "read_metadata", "table_errors", "tables_in",
    "write_tables",
]  # fmt: skip

_log = logging.getLogger(__name__)
MIN_API_VERSION = "2.10"
"""The oldest ONE that understands the columns written here."""

CREATOR = "onefs"
"""What tables that onefs wrote name as the program that did."""


def tables_in(directory: Path) -> TableFiles:
    """Where a directory's tables are, or would be."""
    return TableFiles(*(directory / name for name in alf.TABLE_NAMES))


def find_tables(directory: Path) -> TableFiles:
    """The cache tables in a directory. Raises `TableError` if one is missing."""
    files = tables_in(directory)
    for file in (files.sessions, files.datasets):
        if not file.is_file():
            raise TableError(
                f"There is no cache table {file.name} in {directory}.",
                f"Name a directory that holds {' and '.join(alf.TABLE_NAMES)}.",
            )
    return files


@contextmanager
def table_errors(file: Path) -> Iterator[None]:
    """Turns what pyarrow raises while a table is read into `TableError`: `DamagedTableError` if its bytes are wrong."""
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        why = str(error).strip().splitlines() or [type(error).__name__]
        # pyarrow's own OSErrors, about what it read, have no number.
        is_of_the_system = isinstance(error, OSError) and error.errno not in (None, errno.EIO)
        kind = TableError if is_of_the_system else DamagedTableError
        raise kind(f"The cache table {file} cannot be read: {why[0].rstrip('.')}.", NEW_TABLES) from error


def read_metadata(file: Path) -> TableMetadata:
    """What a table says of itself. Raises `TableError` if the file is not a readable cache table."""
    raw = raw_metadata(file)
    if not raw or not raw.get("date_created"):
        lacks = "is missing" if raw is None else "has no date_created"
        raise TableError(
            f"{file} is not a cache table: its metadata key one_metadata {lacks}.",
            "Take tables that Alyx exported or ONE saved.",
        )
    return TableMetadata.of(raw)


def raw_metadata(file: Path) -> dict[str, Any] | None:
    """A parquet file's `one_metadata`, None if it has none. Raises `TableError` if the file cannot be read."""
    try:
        raw = json.loads(_schema_metadata(file).get(METADATA_KEY, b"null"))
    except ValueError as error:
        raise TableError(f"The metadata of the cache table {file} is not JSON.", NEW_TABLES) from error
    return raw if isinstance(raw, dict) or raw is None else {}


def creator_of(file: Path) -> str:
    """The program that a table names as the one that wrote it, "" if it names none. Raises `TableError`."""
    try:
        return str(json.loads(_schema_metadata(file)[b"pandas"])["creator"]["library"])
    except (KeyError, TypeError, ValueError):
        return ""


def _schema_metadata(file: Path) -> dict[bytes, bytes]:
    import pyarrow.parquet as pq

    with table_errors(file), file.open("rb") as stream:  # pyarrow itself takes no path that is not UTF-8
        return pq.read_schema(stream).metadata or {}


def is_dated(file: Path) -> bool:
    """Whether a parquet file is a cache table, which tells when it was made. If not, that is logged as a warning."""
    raw = raw_metadata(file)
    if raw and raw.get("date_created"):
        return True
    _log.warning("%s is left out: it is not a cache table, for its one_metadata has no date_created.", file)
    return False


def write_tables(
    directory: Path, sessions: Sequence[Session], datasets: Sequence[Dataset], *, created: str, origin: str
) -> TableFiles:
    """Write both tables, each complete or not at all, for onefs, pandas and ONE.

    `created` is "YYYY-MM-DD HH:MM". Raises `TableError` if the directory cannot be written, `NoRoomError`.
    """
    metadata = {"date_created": created, "origin": origin, "min_api_version": MIN_API_VERSION}
    with _writing_errors(directory):
        return write_pair(directory, [session_table(sessions)], [dataset_table(datasets)], metadata)


def write_pair(
    directory: Path,
    sessions: "Iterable[pa.Table]",
    datasets: "Iterable[pa.Table]",
    metadata: Mapping[str, object],
    *,
    is_indexed: bool = True,
) -> TableFiles:
    """Write both tables as `write_tables`, each from one or more parts. `is_indexed`: pandas is to index the ids."""
    files = tables_in(directory)
    with _writing_errors(directory), ExitStack() as stack:
        # It closes in reverse: sessions get their name first, for datasets refer to them.
        _write(stack, files.datasets, datasets, ["eid", "id"] if is_indexed else [], metadata)
        _write(stack, files.sessions, sessions, ["id"] if is_indexed else [], metadata)
    return files


@contextmanager
def _writing_errors(directory: Path) -> Iterator[None]:
    """Turns what is raised while tables are made and written into `TableError` and `NoRoomError`."""
    import pyarrow as pa

    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoRoomError(
                f"There is no room on the disk to write the cache tables to {directory}.",
                "Free some space, or write to another directory; what stood there is as it was.",
            ) from error
        raise TableError(
            f"The cache tables cannot be written to {directory}: {error.strerror or error}.",
            "Make the directory writable, or free some disk space.",
        ) from error
    except pa.ArrowException as error:
        raise TableError(
            f"The cache tables for {directory} cannot hold this: {error}.", "Correct the value."
        ) from error


def _write(
    stack: ExitStack, file: Path, parts: "Iterable[pa.Table]", index: list[str], metadata: Mapping[str, object]
) -> None:
    """Write a table beside its place; it is renamed into it when the stack closes without an error."""
    import pyarrow.parquet as pq

    parts = iter(parts)
    first = next(parts)
    pandas = pandas_metadata(first, index)
    schema = first.schema.with_metadata({METADATA_KEY: json.dumps(metadata), b"pandas": json.dumps(pandas)})
    temporary = stack.enter_context(replacing(file))
    with temporary.open("xb") as stream:
        with pq.ParquetWriter(stream, schema, use_dictionary=_repeated(first)) as writer:
            for part in chain((first,), parts):
                writer.write_table(part)
        stream.flush()
        os.fsync(stream.fileno())


def _repeated(table: "pa.Table") -> list[str]:
    """The columns in which values come again: in others a dictionary would only take time."""
    return [name for name in table.column_names if name not in ("id", "hash")]


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A temporary sibling that takes the file's name at the end, or vanishes on an error."""
    temporary = file.with_name(f".{file.name}.{uuid4().hex}")
    try:
        yield temporary
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def session_table(sessions: Sequence[Session]) -> "pa.Table":
    """The sessions as a table, sorted by id."""
    import pyarrow as pa

    rows = sorted(sessions, key=lambda session: str(session.eid))
    columns: dict[str, tuple[list[Any], Any]] = {
        "lab": ([row.lab for row in rows], pa.string()),
        "subject": ([row.subject for row in rows], pa.string()),
        "date": ([row.date for row in rows], pa.date32()),
        "number": ([row.number for row in rows], pa.uint16()),
        "task_protocol": ([row.task_protocol for row in rows], pa.string()),
        "projects": ([row.projects for row in rows], pa.string()),
        "id": ([str(row.eid) for row in rows], pa.string()),
    }
    return pa.table({name: pa.array(values, kind) for name, (values, kind) in columns.items()})


def dataset_table(datasets: Sequence[Dataset]) -> "pa.Table":
    """The datasets as a table, sorted by eid and id; `default_revision` is a column if any of them has it."""
    import pyarrow as pa

    rows = sorted(datasets, key=lambda dataset: (str(dataset.eid or ""), str(dataset.id)))
    columns: dict[str, tuple[list[Any], Any]] = {
        "file_size": ([row.size_bytes for row in rows], pa.uint64()),
        "hash": ([row.md5 or None for row in rows], pa.string()),
        "exists": ([row.exists for row in rows], pa.bool_()),
        "rel_path": ([row.rel_path for row in rows], pa.string()),
        "eid": ([str(row.eid) if row.eid else None for row in rows], pa.string()),
        "id": ([str(row.id) for row in rows], pa.string()),
    }
    defaults = [row.default_revision for row in rows]
    if not rows or any(default is not None for default in defaults):
        columns["default_revision"] = (defaults, pa.bool_())
    arrays = {name: pa.array(values, kind) for name, (values, kind) in columns.items()}
    codes = pa.array([QC_CODES.index(row.qc) for row in rows], pa.int8())
    arrays["qc"] = pa.DictionaryArray.from_arrays(codes, pa.array(QC_NAMES), ordered=True)
    return pa.table(arrays)


def insertion_table() -> "pa.Table":
    """A table of insertions without rows."""
    import pyarrow as pa

    return pa.table({name: pa.array([], pa.string()) for name in ("eid", "id", "name")})


def pandas_metadata(table: "pa.Table", index: list[str]) -> dict[str, object]:
    """What pandas writes beside its columns, so that it finds its types and index again."""
    columns = [_pandas_column(field) for field in table.schema]
    names = {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object"}
    return {
        "index_columns": index,
        "column_indexes": [{**names, "metadata": {"encoding": "UTF-8"}}],
        "columns": columns,
        "attributes": {},
        "creator": {"library": CREATOR, "version": "1"},
        "pandas_version": "2.2.0",
    }


PANDAS_TYPES = {
    "string": ("unicode", "object"),
    "bool": ("bool", "bool"),
    "date32[day]": ("date", "object"),
    "uint16": ("uint16", "uint16"),
    "uint64": ("uint64", "UInt64"),
}
"""pandas' and numpy's names by pyarrow's name of a type."""


def _pandas_column(field: "pa.Field") -> dict[str, object]:
    name: dict[str, object] = {"name": field.name, "field_name": field.name}
    if str(field.type).startswith("dictionary"):
        categories = {"num_categories": len(QC_NAMES), "ordered": True}
        return {**name, "pandas_type": "categorical", "numpy_type": "int8", "metadata": categories}
    pandas_type, numpy_type = PANDAS_TYPES[str(field.type)]
    return {**name, "pandas_type": pandas_type, "numpy_type": numpy_type, "metadata": None}
