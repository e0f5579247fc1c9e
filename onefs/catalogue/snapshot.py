"""`Snapshot`: one immutable edition of the catalogue, its folders, sessions and datasets."""

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from uuid import UUID

import numpy as np

from onefs.catalogue.dataset_batch import DEFAULT_OF, EXISTS_OF, MOST_ROWS, DatasetBatch
from onefs.catalogue.dates import dates_in
from onefs.catalogue.finding import find_id, find_ids, find_key, find_text, sorted_keys
from onefs.catalogue.index import open_index, open_index_at_hand
from onefs.catalogue.insertions import Insertion, Insertions
from onefs.catalogue.layout import (
    EPOCH,
    NO_DATE,
    Index,
    LeftOut,
    Strings,
)
from onefs.catalogue.records import Dataset, Session
from onefs.catalogue.schema import TableFiles, TableMetadata
from onefs.catalogue.stored import StoredTexts
from onefs.catalogue.tables import find_tables, tables_in
from onefs.forks import cached_property

__all__ = ["DatasetRows", "Folder", "LeftOut", "Snapshot", "TableFiles", "TableMetadata", "load_snapshot"]

NO_EID = UUID(int=0)
CACHED_TEXTS = 100_000
MOST_BYTES = 1 << 62
"""The greatest sum of sizes that is told: tables may claim any."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder above or of a session. `session` is the row of the session whose folder it is, `others` are those of
    further sessions on the same path, which come after it by their eids.

    `date` is that of the newest session in it or below; None for the aggregates, and for the root of an empty archive.
    The root is row 0, its own parent, with the name "".
    """

    row: int
    parent: int
    name: str
    session: int | None
    date: date | None
    others: tuple[int, ...] = ()

    @property
    def sessions(self) -> tuple[int, ...]:
        """Rows of all sessions whose folder it is."""
        return () if self.session is None else (self.session, *self.others)


class _Texts(dict[int, str]):
    """Texts of a column by row, decoded once. Threads may decode one twice; the results are equal."""

    def __init__(self, strings: Strings | StoredTexts) -> None:
        super().__init__()
        self._strings = strings

    def __missing__(self, row: int) -> str:
        if len(self) >= CACHED_TEXTS:
            self.clear()
        text = self[row] = self._strings[row]
        return text


class DatasetRows:
    """A session's datasets, existing or not, as columns of equal length, sorted by `rel_paths`.

    `sizes` are in bytes, -1 if unknown. `qc` holds codes 0 to 4. `content` is a 64-bit number that changes if and
    only if the bytes under the name do.
    """

    __slots__ = (
        "_snapshot", "_start", "content", "default_revision", "exists", "qc", "rel_paths", "session", "sizes",
    )  # fmt: skip

    def __init__(self, snapshot: "Snapshot", session: int, start: int, stop: int) -> None:
        arrays = snapshot.index.arrays
        texts = snapshot.path_texts
        flags = arrays.dataset_flags.raw(start, stop)
        self._snapshot = snapshot
        self._start = start
        self.session = session
        self.rel_paths = [texts[code] for code in array("i", arrays.dataset_path.raw(start, stop))]
        self.sizes = array("q", arrays.dataset_size.raw(start, stop))
        self.exists: list[bool] = [EXISTS_OF[flag] for flag in flags]
        self.qc = arrays.dataset_qc.raw(start, stop)
        self.content = array("Q", arrays.dataset_content.raw(start, stop))
        self.default_revision: list[bool | None] = [DEFAULT_OF[flag] for flag in flags]

    def __len__(self) -> int:
        return len(self.rel_paths)

    def id(self, i: int) -> UUID:
        """The id of the i-th dataset."""
        row = self._start + range(len(self))[i]
        return UUID(bytes=self._snapshot.index.arrays.dataset_id.raw(row, row + 1))

    def dataset(self, i: int) -> Dataset:
        """The i-th dataset in full."""
        return self._snapshot.dataset(self._start + range(len(self))[i], self.session)


class Snapshot:
    """One immutable edition of the catalogue, for several threads at once.

    Session rows are 0 to `n_sessions` - 1 in tree order. If there are datasets of no session, one more row,
    `aggregates`, stands for all of them: it has a folder, a key and datasets, and the eid UUID(int=0).
    """

    may_ask = False

    def __init__(self, files: TableFiles, index: Index) -> None:
        self.files = files
        self.index = index
        self.metadata: TableMetadata = index.metadata
        self.left_out: Mapping[str, LeftOut] = index.left_out
        self.n_datasets = len(index.arrays.dataset_path)
        rows = len(index.arrays.session_date)
        has_aggregates = bool(rows) and not index.arrays.session_eid[rows - 1].any()
        self.aggregates: int | None = rows - 1 if has_aggregates else None
        self.n_sessions = rows - 1 if has_aggregates else rows
        self._session_keys = sorted_keys(index.arrays.session_key, index.arrays.session_by_key)
        self._folder_keys = sorted_keys(index.arrays.folder_key, index.arrays.folder_by_key)
        self.path_texts = _Texts(index.arrays.paths)
        self._total_bytes: int | None = None
        self._revision_dates: frozenset[str] | None = None
        self.insertions = Insertions(files.datasets.parent)
        self._lab_texts = _Texts(index.arrays.labs)
        self._subject_texts = _Texts(index.arrays.subjects)
        self._protocol_texts = _Texts(index.arrays.protocols)
        self._project_texts = _Texts(index.arrays.projects)
        self._last_datasets: DatasetRows | None = None
        self._batch: DatasetBatch | None = None
        self._ids_met: dict[int, bytes] = {}

    @property
    def total_bytes(self) -> int:
        """Sum of the known sizes of all datasets, exact up to 2**53, at most `MOST_BYTES`.

        Found out when first asked for: it reads a whole column.
        """
        if self._total_bytes is None:
            pieces = self.index.arrays.dataset_size.pieces()
            total = sum(float(np.sum(sizes, where=sizes > 0, dtype=np.float64)) for sizes in pieces)
            self._total_bytes = min(int(total), MOST_BYTES)
        return self._total_bytes

    @property
    def revision_dates(self) -> frozenset[str]:
        """The revisions that are dates. Found out when first asked for: it reads all distinct paths."""
        if self._revision_dates is None:
            self._revision_dates = dates_in(self.index.arrays.paths)
        return self._revision_dates

    # -- folders -------------------------------------------------------------------------------------------------

    def folder(self, row: int) -> Folder:
        """A folder by its row."""
        arrays = self.index.arrays
        session = int(arrays.folder_session[row])
        return Folder(
            row,
            int(arrays.folder_parent[row]),
            arrays.folder_name[row],
            session if session >= 0 else None,
            _date(int(arrays.folder_date[row])),
            self._others(row, session) if session >= 0 else (),
        )

    def _others(self, folder: int, session: int) -> tuple[int, ...]:
        """Rows of the sessions after one that have the same folder."""
        folders = self.index.arrays.session_folder
        end = session + 1
        while end < len(folders) and folders[end] == folder:
            end += 1
        return tuple(range(session + 1, end))

    @cached_property
    def largest_folder(self) -> int:
        """The greatest number of entries that `n_below` tells of any folder."""
        arrays = self.index.arrays
        most = int(arrays.folder_count.max(initial=0)), int(arrays.session_count.max(initial=0))
        return sum(most)  # an upper bound; sessions that share a path are too few to matter

    def n_below(self, folder: Folder) -> int:
        """The number of folders in a folder plus that of datasets in its sessions: the work of listing it."""
        arrays = self.index.arrays
        return int(arrays.folder_count[folder.row]) + sum(int(arrays.session_count[row]) for row in folder.sessions)

    def folders(self, row: int) -> list[Folder]:
        """The folders in a folder, sorted by the bytes of their names."""
        arrays = self.index.arrays
        first = int(arrays.folder_first[row])
        return [self.folder(child) for child in range(first, first + int(arrays.folder_count[row]))]

    def child(self, row: int, name: str) -> Folder | None:
        """The folder of this name in a folder."""
        arrays = self.index.arrays
        first = int(arrays.folder_first[row])
        found = find_text(arrays.folder_name, name, first, first + int(arrays.folder_count[row]))
        return None if found is None else self.folder(found)

    def folder_path(self, row: int) -> str:
        """Path of a folder from the root, "" for the root."""
        arrays = self.index.arrays
        parts: list[str] = []
        while row:
            parts.append(arrays.folder_name[row])
            row = int(arrays.folder_parent[row])
        return "/".join(reversed(parts))

    def folder_key(self, row: int) -> int:
        """A number below 2**48 computed from the folder's path."""
        return int(self.index.arrays.folder_key[row])

    def folder_of_key(self, key: int) -> Folder | None:
        """The folder that has this key."""
        row = find_key(self._folder_keys, self.index.arrays.folder_by_key, key)
        return None if row is None else self.folder(row)

    # -- sessions ------------------------------------------------------------------------------------------------

    def session(self, row: int) -> Session:
        """A session by its row. That of the aggregates has no fields but its nil eid, and no path of its own."""
        arrays = self.index.arrays
        return Session(
            eid=UUID(bytes=arrays.session_eid[row].tobytes()),
            lab=self._lab_texts[int(arrays.session_lab[row])],
            subject=self._subject_texts[int(arrays.session_subject[row])],
            date=_date(int(arrays.session_date[row])) or date.min,
            number=int(arrays.session_number[row]),
            task_protocol=self._protocol_texts[int(arrays.session_protocol[row])],
            projects=self._project_texts[int(arrays.session_projects[row])],
        )

    def session_key(self, row: int) -> int:
        """A number below 2**34 computed from the session's eid."""
        return int(self.index.arrays.session_key[row])

    def session_of_key(self, key: int) -> int | None:
        """The row of the session that has this key."""
        return find_key(self._session_keys, self.index.arrays.session_by_key, key)

    def session_of_eid(self, eid: UUID) -> int | None:
        """The row of the session with this eid."""
        return find_id(self.index.arrays.session_eid, self.index.arrays.session_by_eid, eid)

    find_session = session_of_eid

    def sessions_of_ref(self, day: date, number: int, subject: str) -> list[int]:
        """Rows of the sessions of this reference; there is more than one only if labs share a subject's name."""
        arrays = self.index.arrays
        code = find_text(arrays.subjects, subject, 0, len(arrays.subjects))
        if code is None:
            return []
        found = (arrays.session_subject == code) & (arrays.session_date == day.toordinal() - EPOCH)
        rows: list[int] = np.flatnonzero(found & (arrays.session_number == number)).tolist()
        return rows

    def newest(self, row: int) -> int:
        """The row that stands now for a row's session: itself, for nothing changes here."""
        return row

    def session_digest(self, row: int) -> int:
        """A number that changes if and only if the session's fields or those of its datasets do."""
        return int(self.index.arrays.session_digest[row])

    def session_folder(self, row: int) -> Folder:
        """The folder of a session."""
        return self.folder(int(self.index.arrays.session_folder[row]))

    def session_path(self, row: int) -> str:
        """Path of a session from the root; `aggregates` for the aggregates."""
        return self.folder_path(int(self.index.arrays.session_folder[row]))

    # -- datasets ------------------------------------------------------------------------------------------------

    def datasets(self, row: int) -> DatasetRows:
        """The datasets of a session, those that do not exist included."""
        found = self._last_datasets  # a session's files are looked at one after the other
        if found is None or found.session != row:
            start = int(self.index.arrays.session_first[row])
            found = DatasetRows(self, row, start, start + int(self.index.arrays.session_count[row]))
            self._last_datasets = found
        return found

    def dataset(self, row: int, session: int) -> Dataset:
        """A dataset by its own row and its session's."""
        return self._batch_of(row, session).dataset(row)

    def _batch_of(self, row: int, session: int) -> DatasetBatch:
        """The batch with a row: the last one if it has it, else a new one."""
        batch = self._batch
        if batch is not None and row in batch.rows:
            return batch
        arrays = self.index.arrays
        first, count = int(arrays.session_first[session]), int(arrays.session_count[session])
        begin = row - (row - first) % MOST_ROWS
        rows = range(begin, min(begin + MOST_ROWS, first + count))
        eid = None if session == self.aggregates else UUID(bytes=arrays.session_eid[session].tobytes())
        batch = self._batch = DatasetBatch(arrays, self.path_texts, eid, self.session_path(session), rows)
        return batch

    def dataset_in(self, session: int, i: int) -> Dataset:
        """The i-th dataset of a session, without building the other rows."""
        return self.dataset(int(self.index.arrays.session_first[session]) + i, session)

    def ids_from(self, session: int, i: int, count: int) -> list[UUID]:
        """The ids of the i-th dataset of a session and of some that follow it, `count` at most."""
        first = int(self.index.arrays.session_first[session]) + i
        batch = self._batch_of(first, session)
        return [batch.id(row) for row in range(first, min(first + count, batch.rows.stop))]

    def dataset_of_id(self, id: UUID) -> Dataset | None:  # noqa: A002
        """The dataset with this id; if several rows have it, the first in tree order."""
        return next(self._each_of_id(id), None)

    def datasets_of_id(self, id: UUID) -> list[Dataset]:  # noqa: A002
        """All datasets that have this id: more than one is a fault of the table."""
        return list(self._each_of_id(id))

    def _each_of_id(self, id: UUID) -> Iterator[Dataset]:  # noqa: A002
        arrays = self.index.arrays
        for row in find_ids(arrays.dataset_id, arrays.dataset_by_id, id, self._ids_met):
            # Sessions without datasets share their first row with the next one, so the last that fits is meant.
            session = int(np.searchsorted(arrays.session_first, row, "right")) - 1
            yield self.dataset(row, session)

    find_dataset = dataset_of_id

    def insertion(self, pid: UUID) -> Insertion | None:
        """The eid and name of a probe insertion, if the tables have one of insertions beside them.

        Raises `TableError` if that cannot be used.
        """
        return self.insertions.find(pid)

    def probes_of(self, eid: UUID) -> list[tuple[str, UUID]]:
        """Names and ids of a session's probe insertions, as far as they are known. May read a table."""
        return self.insertions.of_session(eid)


def load_snapshot(tables_dir: Path, state_dir: Path) -> Snapshot:
    """The catalogue of the tables in a directory; its index is kept in `state_dir`/index.

    Raises `TableError`, `CacheDamagedError` or `NoRoomError`.
    """
    files = find_tables(tables_dir)
    return Snapshot(files, open_index(files, state_dir))


def load_indexed_snapshot(tables_dir: Path, state_dir: Path) -> Snapshot | None:
    """The catalogue of the tables in a directory as `load_snapshot` gives it, if they have an index; else None."""
    files = tables_in(tables_dir)
    index = open_index_at_hand(files, state_dir)
    return None if index is None else Snapshot(files, index)


def _date(days: int) -> date | None:
    return None if days == NO_DATE else date.fromordinal(EPOCH + days)
