"""`CacheTables`: what all the tables in a cache directory have, those of releases and replays included."""

from collections.abc import Iterable
from datetime import date
from math import inf
from pathlib import Path
from uuid import UUID

from onefs.alf import TABLE_NAMES
from onefs.cache.sharing import state_folder
from onefs.catalogue.layout import Reason
from onefs.catalogue.listed_files import ListedFiles
from onefs.catalogue.snapshot import Snapshot, load_snapshot
from onefs.catalogue.tables import find_tables
from onefs.errors import TableError, UsageError
from onefs.indexer.prune import is_any_known
from onefs.settings import Settings
from onefs.sources.source import resolve
from onefs.sources.table_index import index_tables_in_child
from onefs.sources.tables import ensure_tables
from onefs.sources.tables_at_hand import Place, minute_of

HIDES_FILES = (
    Reason.SESSION_ID, Reason.SESSION_UNSAFE, Reason.SESSION_RESERVED, Reason.DATASET_ID, Reason.DATASET_EID,
    Reason.DATASET_SESSION, Reason.DATASET_UNSAFE, Reason.DATASET_IS_FOLDER, Reason.DATASET_FOLDERS,
)  # fmt: skip
"""Why rows that may be of files in the cache are not in the index."""
DAY_S = 86400.0


class CacheTables:
    """The files that any tables in a cache directory have: its own, those of releases below it, those of replays.

    Raises `UsageError` if there is no such folder, `TableError` if it has no tables with rows, or if one cannot be
    used as a whole. Indexes the tables if that was not done yet.
    """

    def __init__(self, cache: Path) -> None:
        if not cache.is_dir():
            raise UsageError(f"There is no folder {cache}.", "Give the cache directory: onefs status shows it.")
        self._cache = cache
        self._folders = _folders_with_tables(cache)
        self._has_own = cache in self._folders
        if self._has_own or not self._folders:
            find_tables(cache)
        self._editions = [_edition(folder) for folder in self._folders]
        tables = [_load(folder) for folder in self._folders]
        if not tables[0].n_sessions or not tables[0].n_datasets:
            raise TableError(
                f"The tables in {self._folders[0]} have no rows, so all its files would be missing.",
                "Give a cache directory with the tables of its archive.",
            )
        self._files = ListedFiles(tables)
        origins = tables[0].metadata.origin.split(", ")
        self._are_of_files = not {str(cache), str(cache.absolute()), str(cache.resolve())}.isdisjoint(origins)
        self._made_s = minute_of(tables[0].metadata.created).timestamp()

    def rel_paths(self, lab: str, subject: str, day: date, number: int) -> set[str] | None:
        """Relative paths of a session's datasets, existing or not; None if no table has the session."""
        return self._files.rel_paths(lab, subject, day, number)

    def unlisted(self, ids: Iterable[UUID]) -> list[UUID]:
        """Those of these ids of datasets that no table has."""
        return self._files.unlisted(ids)

    def others_before_s(self, now_s: float) -> float:
        """Until when another program must have put a file there for it to go, in seconds since the epoch.

        That is a day ago, and a day before the tables were made, as they cannot have what came since. It is -inf, as
        nothing of others may go, if there are tables of releases only; if they were made of this folder, so that they
        lack only what could not be seen then, such as a disk that was not mounted; or if none of the files there is in
        the tables, which are of another archive then.
        """
        if not self._has_own or self._are_of_files or not is_any_known(self._cache, self):
            return -inf
        return min(now_s, self._made_s) - DAY_S

    def are_current(self) -> bool:
        """Whether nobody replaced the tables since they were read."""
        is_same = _folders_with_tables(self._cache) == self._folders
        return is_same and [_edition(folder) for folder in self._folders] == self._editions


def _folders_with_tables(cache: Path) -> list[Path]:
    """The cache directory if it has a table of its own, and the folders of tables of releases, and of replays.

    Those of replays are none by themselves, as they have but a part of what was fetched.
    """
    own = {cache for name in TABLE_NAMES if (cache / name).exists()}
    releases = {table.parent for name in TABLE_NAMES for table in cache.glob(f"*/{name}")}
    replays = {table.parent for table in state_folder(cache).glob(f"*/*/{TABLE_NAMES[-1]}")}
    return [*own, *sorted(releases), *sorted(replays)] if own or releases else []


def _edition(folder: Path) -> list[tuple[int, int, int] | None]:
    found: list[tuple[int, int, int] | None] = []
    for name in TABLE_NAMES:
        try:
            status = (folder / name).stat()
        except FileNotFoundError:
            found.append(None)
        else:
            found.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return found


def _load(folder: Path) -> Snapshot:
    """The tables in a folder. Raises `TableError` if some of their rows cannot be used, `CacheDamagedError`."""
    state_dir = resolve(str(folder.absolute()), Settings()).state_dir
    ensure_tables(Place(folder, state_dir), None)
    index_tables_in_child(folder, state_dir)
    snapshot = load_snapshot(folder, state_dir)
    for reason in HIDES_FILES:
        if reason in snapshot.left_out:
            first = snapshot.left_out[reason].examples[0]
            raise TableError(
                f"The tables in {folder} have rows whose files cannot be told ({reason}: {first}), so that they could "
                "be taken for missing.",
                "Have the tables exported anew.",
            )
    return snapshot
