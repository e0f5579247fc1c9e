"""Cache tables for programs: making them from a folder, loading, merging and removing them, and pruning files.

This module imports pandas; `import onefs` must not import it.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import warn

from onefs.alf_files.bunch import Bunch
from onefs.errors import SourceError
from onefs.frames.cache import Cache
from onefs.frames.merging import merge_tables
from onefs.frames.reading import (
    DATASETS_COLUMNS,
    EMPTY_DATASETS_FRAME,
    EMPTY_SESSIONS_FRAME,
    QC_TYPE,
    SESSIONS_COLUMNS,
    patched,
)
from onefs.frames.values import is_null
from onefs.indexer.prune import SessionKey, find_missing, remove
from onefs.indexer.run import IndexOptions, index
from onefs.one_errors import TableError, api_errors
from onefs.workers import LocalWorkers

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "DATASETS_COLUMNS", "EMPTY_DATASETS_FRAME", "EMPTY_SESSIONS_FRAME", "QC_TYPE", "SESSIONS_COLUMNS", "load_tables",
    "make_parquet_db", "merge_tables", "patch_cache", "patch_tables", "remove_cache_table_files",
    "remove_missing_datasets", "remove_table_files",
]  # fmt: skip

StrPath = str | os.PathLike[str]
_log = logging.getLogger(__name__)


@api_errors
def make_parquet_db(
    root_dir: StrPath, out_dir: StrPath | None = None, hash_ids: bool = True, hash_files: bool = False,
    lab: str | None = None,
) -> tuple[Path, Path]:  # fmt: skip
    """Index the ALF files below a folder. The files of the sessions and of the datasets table.

    They are written into `out_dir`, else into the folder. `hash_ids`: ids are UUIDs made of the paths, else the paths
    themselves. `hash_files`: the MD5 of each file is found out. `lab`: of sessions whose path tells none. Warns of
    what cannot be read.
    """
    options = IndexOptions(lab=lab or "", hash_files=hash_files, hash_ids=hash_ids, replaces=True, may_be_empty=True)
    with LocalWorkers() as workers:
        result = index(Path(root_dir), Path(out_dir or root_dir), options, workers)
    if result.n_unreadable:
        what = "1 file or folder" if result.n_unreadable == 1 else f"{result.n_unreadable} files and folders"
        path, why = result.unreadable[0]
        warn(f"{what} could not be read, such as {path}: {why}.", RuntimeWarning, stacklevel=3)
    if not result.n_files:
        what = "datasets" if result.n_sessions else "sessions"
        warn(f"No {what} found in {Path(root_dir).resolve()}", RuntimeWarning, stacklevel=3)
    return result.files.sessions, result.files.datasets


@api_errors
def remove_missing_datasets(
    cache_dir: StrPath, tables: "Mapping[str, pd.DataFrame] | None" = None, remove_empty_sessions: bool = True,
    dry: bool = True,
) -> list[Path]:  # fmt: skip
    """Remove ALF files that the tables do not have for that session, and empty folders of sessions unknown to them.

    Their paths, sorted; with `dry` they are printed, and nothing is removed. Raises `TableError` if there are no
    tables, or a table has no rows: then everything would be missing.
    """
    root = Path(cache_dir)
    known = _known_paths(root, tables)
    with _reading_errors(root):
        missing = find_missing(root, known, empty_sessions=remove_empty_sessions)
    if dry:
        print("\n\t".join(("These files and session folders would be removed:", *map(str, missing))))  # noqa: T201
    else:
        with _reading_errors(root):
            remove(missing)
    return missing


@contextmanager
def _reading_errors(root: Path) -> Iterator[None]:
    """Turns what the system refuses below a folder into `SourceError`."""
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"{error.filename or root}: {error.strerror or error}.",
            "Mend the permissions of the folder; what was done so far stays.",
        ) from error


def _known_paths(root: Path, tables: "Mapping[str, pd.DataFrame] | None") -> dict[SessionKey, set[str]]:
    """The relative paths that tables have for each session."""
    held: Mapping[str, Any] = Cache(root) if tables is None else tables
    frames = {}
    for name in ("sessions", "datasets"):
        frame = held.get(name)
        if frame is None or not len(frame):
            raise TableError(
                f"There is no table of {name} with rows for {root}, so nothing can be told to be missing.",
                "Give the tables of that folder.",
            )
        frames[name] = patched(frame, name)
    sessions, datasets = frames["sessions"], frames["datasets"]
    known: dict[SessionKey, set[str]] = {}
    of_eid: dict[str, list[set[str]]] = {}
    told = zip(sessions.index, sessions["lab"], sessions["subject"], sessions["date"], sessions["number"], strict=True)
    for eid, lab, subject, day, number in told:
        if is_null(day) or is_null(number):
            continue  # it has no folder
        paths = known.setdefault(SessionKey(lab, subject, day, int(number)), set())
        of_eid.setdefault(eid, []).append(paths)
    for eid, path in zip(datasets.index.get_level_values("eid"), datasets["rel_path"], strict=True):
        for paths in of_eid.get(eid, ()):
            paths.add(path)
    return known


@api_errors
def load_tables(tables_dir: StrPath, glob_pattern: str = "*.pqt") -> Bunch:
    """The tables of a directory as a bunch of frames, with `_meta`; empty frames where there are none.

    Raises `TableError` if one cannot be used. What is no cache table is left out, with a warning in the log.
    """
    return Cache(Path(tables_dir), pattern=glob_pattern).copy()


@api_errors
def patch_tables(
    table: "pd.DataFrame", min_api_version: str | None = None, name: str | None = None  # noqa: ARG001 - by its looks
) -> "pd.DataFrame":  # fmt: skip
    """A frame of an older table in today's columns and types. `name` is `sessions`, `datasets` or another table's."""
    return patched(table, name or ("datasets" if "rel_path" in table.columns else "sessions"))


patch_cache = patch_tables


@api_errors
def remove_table_files(folder: StrPath, tables: Iterable[str] = ("sessions", "datasets")) -> list[Path]:
    """Remove the files of tables, and `cache_info.json`, from a folder. Those that were there."""
    removed = []
    for name in ("cache_info.json", *(f"{table}.pqt" for table in tables)):
        file = Path(folder) / name
        try:
            file.unlink()
        except FileNotFoundError:
            _log.warning("There is no %s to be removed.", file)
        else:
            removed.append(file)
    return removed


remove_cache_table_files = remove_table_files
