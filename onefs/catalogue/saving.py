"""Saving what was learned into the cache tables of a directory, which stay whole whatever happens."""

import errno
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from onefs.alf import INSERTIONS_NAME, STATE_FOLDER
from onefs.catalogue.insertions import read_insertions
from onefs.catalogue.interface import Learned
from onefs.catalogue.merging import Merge
from onefs.catalogue.schema import DATASET_COLUMNS, INSERTION_COLUMNS, METADATA_KEY, SESSION_COLUMNS, Column, TableFiles
from onefs.catalogue.tables import (
    MIN_API_VERSION,
    dataset_table,
    find_tables,
    insertion_table,
    pandas_metadata,
    read_metadata,
    replacing,
    session_table,
    tables_in,
)
from onefs.errors import BusyError, NoRoomError, TableError, UsageError
from onefs.table_times import table_time_text

if TYPE_CHECKING:
    import pyarrow as pa

LOCK_TIMEOUT_S = 60.0
"""Whoever asked for the saving waits, and nothing else can be done with a mount's tables meanwhile."""

LEFT_OVER = re.compile(r"\..+\.pqt\.[0-9a-f]{32}")
"""What `replacing` names the tables that it writes, until they are whole."""

REMEDY = "Make the directory writable, or save to another."


def save_tables(
    directory: Path,
    learned: Learned,
    *,
    clobber: bool,
    base: TableFiles | None = None,
    origin: str = "",
    now: datetime | None = None,
    state_dir: Path | None = None,
) -> TableFiles:
    """Merge what was learned, and the tables `base`, into the cache tables in a directory, or replace those.

    New rows are added and known ones, told by their ids, updated; other rows and columns stay. What was learned wins
    over `base`, and `base` over what is in the directory. The tables are written whole or stay as they were; that of
    insertions comes along where there is one. `state_dir` is where the lock is, by default `.onefs` beside the tables.
    Raises `UsageError` if those there are another archive's, `TableError`, `NoRoomError`, or `BusyError` if another
    process keeps the tables locked.
    """
    with changing_tables(directory, state_dir):
        starts = _starts(directory, base, clobber=clobber)
        _check_one_archive(directory, base, starts, origin)
        changes = {"date_modified": table_time_text(now)} | added_origin(starts, origin)
        return _save(directory, learned, starts, changes)


@contextmanager
def changing_tables(directory: Path, state_dir: Path | None = None) -> Iterator[None]:
    """A block that replaces cache tables in a directory, under the lock in `state_dir` that guards them.

    What those that were killed in the midst of it left is removed. Raises `TableError`, `NoRoomError`, or `BusyError`
    if another process keeps the tables locked.
    """
    import pyarrow as pa

    try:
        with _locked(directory, state_dir or directory / STATE_FOLDER):
            _remove_left_over(directory)
            yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoRoomError(
                f"There is no room on the disk to save the cache tables to {directory}.",
                "Free some space, or save to another directory; what stood there is as it was.",
            ) from error
        why = error.strerror or error
        raise TableError(f"The cache tables cannot be saved to {directory}: {why}.", REMEDY) from error
    except (pa.ArrowException, UnicodeDecodeError) as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise TableError(
            f"The cache tables cannot be saved to {directory}: {why}.", "Save to another directory."
        ) from error


@contextmanager
def _locked(directory: Path, state_dir: Path) -> Iterator[None]:
    """Hold the lock that guards the pair of tables in a directory while it is replaced."""
    lock_file = state_dir / "tables.lock"
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock_file, mode=0o600, timeout=LOCK_TIMEOUT_S):
            yield
    except Timeout:
        raise BusyError(
            f"Another process has been changing the cache tables in {directory} for {LOCK_TIMEOUT_S:.0f} s.",
            f"See what it waits for, or end it; then try again ({lock_file}).",
        ) from None


def _remove_left_over(directory: Path) -> None:
    """Remove the temporary files of tables that were never finished. The lock is held."""
    for file in directory.iterdir():
        if LEFT_OVER.fullmatch(file.name):
            file.unlink(missing_ok=True)


def _starts(directory: Path, base: TableFiles | None, *, clobber: bool) -> list[TableFiles]:
    """The tables to start from, the more important first. Raises `TableError` if they cannot be used."""
    starts = [base] if base else []
    names = tables_in(directory)
    if not clobber and (names.sessions.exists() or names.datasets.exists()):
        files = find_tables(directory)
        if not base or not files.datasets.samefile(base.datasets):
            starts.append(files)
    return starts


def _check_one_archive(directory: Path, base: TableFiles | None, starts: Sequence[TableFiles], origin: str) -> None:
    """Raise `UsageError` if the tables in a directory say that they are of other archives than what is to be saved."""
    there = [start for start in starts if start is not base]
    theirs = _origins(there[0]) if there else []
    ours = [*(_origins(base) if base else []), *([origin] if origin else [])]
    if theirs and ours and not set(theirs) & set(ours):
        raise UsageError(
            f"The cache tables in {directory} are of {', '.join(theirs)}, and not of {', '.join(ours)}.",
            "Save to another directory, or have them replaced: onefs tables save DIR --clobber.",
        )


def _origins(files: TableFiles) -> list[str]:
    known = read_metadata(files.datasets).raw.get("origin")
    return [str(each) for each in known] if isinstance(known, list) else [str(known)] if known else []


def added_origin(starts: Sequence[TableFiles], origin: str) -> dict[str, object]:
    """The origins that the tables have from now on, if there is one to be added."""
    origins = _origins(starts[0]) if starts else []
    if not origin or origin in origins:
        return {}
    return {"origin": [*origins, origin] if origins else origin}


def _save(directory: Path, learned: Learned, starts: Sequence[TableFiles], changes: Mapping[str, object]) -> TableFiles:
    files = tables_in(directory)
    sessions = [start.sessions for start in starts]
    datasets = [start.datasets for start in starts]
    with ExitStack() as stack:  # ends in reverse: sessions get their name first, for datasets refer to them
        _write(stack.enter_context(replacing(files.datasets)), DATASETS, datasets, learned, changes)
        _write(stack.enter_context(replacing(files.sessions)), SESSIONS, sessions, learned, changes)
        insertions = [start.datasets.with_name(INSERTIONS_NAME) for start in starts]
        insertions = [file for file in insertions if read_insertions(file) is not None]
        target = files.datasets.with_name(INSERTIONS_NAME)
        if insertions and insertions != [target]:
            _write(stack.enter_context(replacing(target)), INSERTIONS, insertions, learned, changes)
    return files


@dataclass(frozen=True, slots=True)
class _Kind:
    """One of the tables: its columns, its index, and how rows become one."""

    columns: Sequence[Column]
    index: list[str]
    table: "Callable[[Learned], pa.Table]"


SESSIONS = _Kind(SESSION_COLUMNS, ["id"], lambda learned: session_table(learned.sessions))
INSERTIONS = _Kind(INSERTION_COLUMNS, ["eid", "id"], lambda _: insertion_table())
DATASETS = _Kind(DATASET_COLUMNS, ["eid", "id"], lambda learned: dataset_table(learned.datasets))


def _write(
    temporary: Path, kind: _Kind, starts: Sequence[Path], learned: Learned, changes: Mapping[str, object]
) -> None:
    """Write one table and have it on the disk."""
    table = kind.table(learned)
    if starts:
        for start in starts:
            read_metadata(start)
        merge = Merge(kind.columns, starts, table)
        schema = merge.schema(changes)
        batches = merge.batches(schema)
    else:
        schema = _new_schema(table, kind.index, changes)
        batches = iter(table.to_batches())
    write_batches(temporary, schema, batches)


def write_batches(file: Path, schema: "pa.Schema", batches: "Iterable[pa.RecordBatch]") -> None:
    """Write a table that is not there yet, and have it on the disk."""
    import pyarrow.parquet as pq

    with file.open("xb") as stream:
        with pq.ParquetWriter(stream, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        stream.flush()
        os.fsync(stream.fileno())


def _new_schema(table: "pa.Table", index: list[str], changes: Mapping[str, object]) -> "pa.Schema":
    metadata = {"date_created": changes["date_modified"], "min_api_version": MIN_API_VERSION, **changes}
    texts = {METADATA_KEY: json.dumps(metadata), "pandas": json.dumps(pandas_metadata(table, index))}
    return table.schema.with_metadata(texts)
