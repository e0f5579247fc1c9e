"""Cache tables for programs: making them from a folder, loading, merging and removing them, and pruning files.

This module imports pandas; `import onefs` must not import it.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID
from warnings import warn

from onefs.alf_files.bunch import Bunch
from onefs.archive.pruning import Rules, Unlisted, prune
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
from onefs.frames.values import is_null, text_of
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

    Their paths, sorted; with `dry` they are printed, and nothing is removed. Links, and files that onefs has pinned,
    stay. Raises `TableError` if there are no tables, or a table has no rows: then everything would be missing.
    """
    root = Path(cache_dir)
    rules = Rules(is_delete=not dry, empty_sessions=remove_empty_sessions)
    with _reading_errors(root):
        found = list(prune(root, _FilesOfFrames(root, tables), rules))
    missing = sorted(root / each.path for each in found if not each.stays and not each.failure)
    _raise_failure(root, found)
    if dry:
        print("\n\t".join(("These files and session folders would be removed:", *map(str, missing))))  # noqa: T201
    return missing


def _raise_failure(root: Path, found: Iterable[Unlisted]) -> None:
    """Raise `SourceError` for the first file or folder that could not be read or removed."""
    for each in found:
        if each.failure:
            raise SourceError(
                f"{root / each.path}: {each.failure}.",
                "Mend the permissions of the folder; what was done so far stays.",
            )


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


def _rows(root: Path, tables: Mapping[str, Any], name: str) -> "pd.DataFrame":
    """A frame that has rows, with today's columns. Raises `TableError`."""
    frame = tables.get(name)
    if frame is None or not len(frame):
        raise TableError(
            f"There is no table of {name} with rows for {root}, so nothing can be told to be missing.",
            "Give the tables of that folder.",
        )
    return patched(frame, name)


class _FilesOfFrames:
    """The files that frames have of each session: the given ones, else those in the cache directory.

    Raises `TableError` if one is missing or has no rows.
    """

    def __init__(self, root: Path, tables: "Mapping[str, pd.DataFrame] | None") -> None:
        held: Mapping[str, Any] = Cache(root) if tables is None else tables
        sessions, datasets = (_rows(root, held, name) for name in ("sessions", "datasets"))
        self._sessions: dict[tuple[str, date, int], dict[str, set[str]]] = {}  # by lab
        of_eid: dict[str, list[set[str]]] = {}
        columns = (sessions[name] for name in ("lab", "subject", "date", "number"))
        for eid, lab, subject, day, number in zip(sessions.index, *columns, strict=True):
            if not (is_null(day) or is_null(number)):  # else it has no folder
                labs = self._sessions.setdefault((subject, day, int(number)), {})
                of_eid.setdefault(eid, []).append(labs.setdefault(text_of(lab), set()))
        for eid, path in zip(datasets.index.get_level_values("eid"), datasets["rel_path"], strict=True):
            for paths in of_eid.get(eid, ()):
                paths.add(path)
        self._ids = set(datasets.index.get_level_values("id"))

    def rel_paths(self, lab: str, subject: str, day: date, number: int) -> set[str] | None:
        """Relative paths of a session's datasets; None if the frames do not have the session."""
        labs = self._sessions.get((subject, day, number), {})
        found = [paths for each, paths in labs.items() if not (each and lab) or each == lab]
        return set().union(*found) if found else None

    def unlisted(self, ids: Iterable[UUID]) -> list[UUID]:
        """Those of these ids of datasets that the frames do not have."""
        return [each for each in ids if str(each) not in self._ids]

    def are_current(self) -> bool:
        """True: frames are what they were."""
        return True


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
