"""Bringing cache tables, whoever made them, up to date with what was found in a folder."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from onefs.cache.sharing import make_state_folder
from onefs.catalogue import columns
from onefs.catalogue.layout import LeftOutTally, Reason
from onefs.catalogue.merging import Merge, RowChanges
from onefs.catalogue.mixing import find_ids
from onefs.catalogue.records import Session
from onefs.catalogue.saving import added_origin, changing_tables, write_batches
from onefs.catalogue.schema import DATASET_COLUMNS, SESSION_COLUMNS, TableFiles
from onefs.catalogue.session_rows import read_sessions
from onefs.catalogue.tables import replacing, table_errors, tables_in
from onefs.errors import BusyError, TableError
from onefs.indexer.listings import Listings
from onefs.indexer.scan import SessionKey
from onefs.indexer.update_defaults import DefaultChanges, Revision, dataset_key
from onefs.indexer.update_matches import Eids, PathKeys, as_ids, match_sessions
from onefs.indexer.update_rows import Comparison, FoundFiles
from onefs.indexer.write import (
    IndexedSession,
    dataset_table,
    defaults_of,
    eid_of,
    in_parts,
    key_of,
    merged_sessions,
    session_keys,
    session_table,
)
from onefs.table_times import table_time_text

if TYPE_CHECKING:
    import pyarrow as pa


def update_tables(directory: Path, listings: Listings, *, origin: str, lab: str = "") -> bool:
    """Bring both tables up to date with the listings, whole and under their lock. Whether there was anything to change.

    Rows of files that are there stay, with the new size and MD5; files and sessions that are new are added; rows of
    files that indexing added, and that are gone now, are removed. All else stays. `lab` is that of sessions whose path
    tells none. Raises `TableError`, `NoRoomError` or `BusyError`, and then nothing has changed.
    """
    with changing_tables(directory, make_state_folder(directory)):
        update = _Update(tables_in(directory), listings, lab)
        update.compare()
        if not update.is_needed:
            return False
        update.write(origin)
    return True


@dataclass(slots=True)
class _Update:
    """One update."""

    _files: TableFiles
    _listings: Listings
    _lab: str
    _found_as: Eids = field(default_factory=dict)
    _new_sessions: list[tuple[UUID, SessionKey]] = field(default_factory=list)
    _removed_sessions: list[UUID] = field(default_factory=list)
    _rows: RowChanges = field(default_factory=lambda: RowChanges(np.empty(0, np.int64), {}))
    _is_known: columns.Mask = field(default_factory=lambda: np.empty(0, bool))
    _new_defaults: dict[int, bool] = field(default_factory=dict)
    _stamps: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def is_needed(self) -> bool:
        """Whether the tables differ from what they should be."""
        return bool(
            self._new_sessions
            or self._removed_sessions
            or len(self._rows.removed)
            or self._rows.values
            or not self._is_known.all()
        )

    def compare(self) -> None:
        """Find out what is to be changed."""
        self._stamps = self._stamps_now()
        known = _sessions_in(self._files.sessions)
        keys = {
            session.eid: SessionKey(session.lab, session.subject, session.date, session.number) for session in known
        }
        found = dict(session_keys(self._listings, self._lab))
        gone, gone_folders = {}, set()
        for eid, folder, path in self._listings.gone():
            gone[eid] = key_of(folder, self._lab)
            if not path:
                gone_folders.add(eid)
        self._found_as, gone_as = match_sessions(known, found, gone)
        self._new_sessions = [(eid, found[eid]) for eid, (first, *_) in self._found_as.items() if first not in keys]
        comparison = Comparison(self._found_files(), self._gone_files(gone_as), _ordered(self._found_as, gone_as))
        comparison.read(self._files.datasets)
        self._is_known = comparison.found.is_known
        used = {eid for eids in self._found_as.values() for eid in eids}
        for eid in chain.from_iterable(gone_as[each] for each in gone_folders):
            if eid in keys and eid not in used and eid == eid_of(keys[eid]) and not comparison.n_left(eid):
                self._removed_sessions.append(eid)
        values = comparison.values()
        if comparison.has_defaults:
            rows, self._new_defaults = self._default_changes(comparison)
            values |= _as_values(rows)
        self._rows = RowChanges(comparison.removed(), values)

    def _found_files(self) -> FoundFiles:
        files = FoundFiles()
        for session in merged_sessions(self._listings, self._lab):
            files.add(session, self._found_as[session.eid])
        files.finish()
        return files

    def _gone_files(self, gone_as: Eids) -> PathKeys:
        keys = PathKeys()
        for eid, _, path in self._listings.gone():
            if path:
                for known in gone_as[eid]:
                    keys.add(0, known.bytes, path)
        keys.finish()
        return keys

    def _default_changes(self, comparison: Comparison) -> tuple[dict[int, bool], dict[int, bool]]:
        """Which rows and which new files become the default or cease to be, of the datasets that the table has."""
        new_eids = {eid for eid, _ in self._new_sessions}
        changes = DefaultChanges(comparison.gone_keys)
        for eid, path, _ in self._new_files():
            if eid not in new_eids:
                changes.changed.add(dataset_key(eid.bytes, path)[0])
        if not changes.changed:
            return {}, {}
        comparison.read_revisions(self._files.datasets, changes)
        for eid, path, number in self._new_files():
            if eid not in new_eids:
                key, revision = dataset_key(eid.bytes, path)
                changes.add_new(key, Revision(revision, number, is_new=True))
        return changes.decided()

    def _new_files(self) -> Iterator[tuple[UUID, str, int]]:
        """The eid, path and number of each file that the table does not have."""
        for session, numbers in self._new_in_sessions():
            for path, number in zip(session.paths, numbers, strict=True):
                yield session.eid, path, number

    def _new_in_sessions(self) -> Iterator[tuple[IndexedSession, list[int]]]:
        """The sessions with files that the table does not have, those alone, and their numbers."""
        first = 0
        for session in merged_sessions(self._listings, self._lab):
            n = len(session.paths)
            at = np.flatnonzero(~self._is_known[first : first + n])
            if len(at):
                eid = self._found_as[session.eid][0]
                yield session.only(at.tolist(), eid), (first + at).tolist()
            first += n

    def _added(self) -> "Iterator[pa.Table]":
        """The new rows of datasets."""
        parts = in_parts(self._new_in_sessions(), lambda each: len(each[1]))
        for part in parts:
            yield dataset_table([self._with_defaults(session, numbers) for session, numbers in part])

    def _with_defaults(self, session: IndexedSession, numbers: list[int]) -> IndexedSession:
        if not self._new_defaults:
            return session
        defaults = zip(numbers, defaults_of(session.paths), strict=True)
        return replace(session, defaults=[self._new_defaults.get(number, default) for number, default in defaults])

    def write(self, origin: str) -> None:
        """Write both tables."""
        changes = {"date_modified": table_time_text()} | added_origin([self._files], origin)
        datasets = Merge(DATASET_COLUMNS, [self._files.datasets], dataset_table([]))
        sessions = Merge(SESSION_COLUMNS, [self._files.sessions], session_table([]))
        removed = _rows_of(self._files.sessions, self._removed_sessions)
        with ExitStack() as stack:  # ends in reverse: sessions get their name first, for datasets refer to them
            _write(stack, datasets, changes, self._rows, self._added())
            _write(stack, sessions, changes, RowChanges(removed, {}), iter([session_table(self._new_sessions)]))
            if self._stamps_now() != self._stamps:
                raise BusyError(
                    f"Another program has changed the cache tables in {self._files.sessions.parent} meanwhile.",
                    "Run it again when that program is done.",
                )

    def _stamps_now(self) -> list[tuple[int, int, int]]:
        found = [file.stat() for file in (self._files.sessions, self._files.datasets)]
        return [(each.st_ino, each.st_size, each.st_mtime_ns) for each in found]


def _write(
    stack: ExitStack, merge: Merge, changes: "dict[str, object]", rows: RowChanges, added: "Iterator[pa.Table]"
) -> None:
    """Write a table beside its place; it is renamed into it when the stack closes without an error."""
    schema = merge.schema(changes)
    batches = chain(merge.changed_batches(schema, rows), (merge.rows(table, schema) for table in added))
    write_batches(stack.enter_context(replacing(merge.files[0])), schema, batches)


def _sessions_in(file: Path) -> list[Session]:
    """The sessions of a table. Raises `TableError` if their ids are no UUIDs."""
    tally = LeftOutTally()
    sessions = read_sessions(file, tally)
    if Reason.SESSION_ID in tally.totals():
        raise TableError(
            f"The table {file} has sessions whose ids are no UUIDs, so it cannot be brought up to date.",
            "Remove both tables to have them made anew, or give --out DIR to have the new ones elsewhere.",
        )
    return sessions


def _ordered(*eids: Eids) -> columns.Ids:
    """All eids, sorted, each once."""
    known = {eid.bytes for each in eids for listed in each.values() for eid in listed}
    return as_ids(b"".join(sorted(known)))


def _rows_of(file: Path, eids: list[UUID]) -> NDArray[np.int64]:
    """The numbers of the rows with these ids."""
    wanted = as_ids(b"".join(sorted(eid.bytes for eid in set(eids))))
    with table_errors(file):
        found = [columns.uuids(batch["id"])[0] for batch in columns.batches(file, SESSION_COLUMNS[:1])]
    return np.flatnonzero(find_ids(np.concatenate([as_ids(b""), *found]), wanted) >= 0)


def _as_values(rows: dict[int, bool]) -> "dict[str, tuple[NDArray[np.int64], pa.Array]]":
    import pyarrow as pa

    if not rows:
        return {}
    ordered = sorted(rows)
    return {"default_revision": (np.array(ordered, np.int64), pa.array([rows[row] for row in ordered], pa.bool_()))}
