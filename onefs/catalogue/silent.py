"""`SilentSnapshot`: what a live catalogue knows already; never asks the database."""

import threading
from collections.abc import Mapping
from datetime import date
from uuid import UUID

from onefs.catalogue.dates import dates_of
from onefs.catalogue.interface import Rows
from onefs.catalogue.layout import LeftOut
from onefs.catalogue.learned_columns import PlainColumns
from onefs.catalogue.learning import Learning
from onefs.catalogue.records import Dataset, Session
from onefs.catalogue.snapshot import NO_EID, Folder, Snapshot, TableMetadata

NO_TABLES = TableMetadata("", "", "", (), {})


class SilentSnapshot:
    """A `Catalogue` of the tables at hand and of what was learned beyond them. Safe to use from several threads."""

    may_ask = False

    def __init__(self, base: Snapshot | None, known: Learning, lock: threading.RLock) -> None:
        """`lock` guards `known`. It is shared with whoever learns, and not held while a database is asked."""
        self.base = base
        self.metadata = base.metadata if base else NO_TABLES
        self._known = known
        self._lock = lock

    # -- counts --------------------------------------------------------------------------------------------------

    @property
    def left_out(self) -> Mapping[str, LeftOut]:
        """Rows of the tables and of the answers that cannot stand in the tree, by reason."""
        with self._lock:
            return self._known.left_out()

    @property
    def n_sessions(self) -> int:
        """Sessions known so far."""
        return self._counts()[0]

    @property
    def n_datasets(self) -> int:
        """Datasets known so far."""
        return self._counts()[1]

    @property
    def total_bytes(self) -> int:
        """Sum of the known sizes of the datasets known so far, at most `MOST_BYTES`."""
        return self._counts()[2]

    @property
    def revision_dates(self) -> frozenset[str]:
        """The revisions that are dates, as far as they are known."""
        with self._lock:
            told = self._known.sessions.told_paths()
        return dates_of(told) | (self.base.revision_dates if self.base else frozenset())

    @property
    def aggregates(self) -> int | None:
        """The row that stands for all datasets of no session, if there are any."""
        with self._lock:
            row = self._known.sessions.of_eid(NO_EID)
            return row if row is not None and self._known.stands(row) else None

    def _counts(self) -> tuple[int, int, int]:
        with self._lock:
            return self._known.counts()

    def columns(self) -> PlainColumns:
        """The columns to search in, with what is known by now."""
        with self._lock:
            return self._known.columns()

    # -- folders -------------------------------------------------------------------------------------------------

    def folder(self, row: int) -> Folder:
        """A folder by its row, one that is gone included."""
        with self._lock:
            return self._known.folders.folder(row)

    def folders(self, row: int) -> list[Folder]:
        """The folders in a folder, sorted by the bytes of their names."""
        with self._lock:
            return self._known.folders.children(row)

    def child(self, row: int, name: str) -> Folder | None:
        """The folder of this name in a folder."""
        with self._lock:
            return self._known.folders.child(row, name)

    @property
    def largest_folder(self) -> int:
        """The greatest number of entries that `n_below` tells of a folder of the tables."""
        return self.base.largest_folder if self.base else 0

    def n_below(self, folder: Folder) -> int:
        """How many folders the tables have in a folder, and how many datasets are known of its sessions."""
        with self._lock:
            base = self._known.folders.base_folder(folder.row)
            told = [self._known.sessions.edition(row) for row in folder.sessions]
        in_base = self.base.n_below(base) if self.base and base else 0
        return in_base + sum(len(edition.ids) for edition in told if edition)

    def folder_path(self, row: int) -> str:
        """Path of a folder from the root, "" for the root."""
        with self._lock:
            return "/".join(self._known.folders.parts(row))

    def folder_key(self, row: int) -> int:
        """A number below 2**48 computed from the folder's path."""
        with self._lock:
            return self._known.folders.key(row)

    def folder_of_key(self, key: int) -> Folder | None:
        """The folder that has this key, if it is in the tree as far as that is known."""
        with self._lock:
            return self._known.folders.of_key(key)

    # -- sessions ------------------------------------------------------------------------------------------------

    def session(self, row: int) -> Session:
        """A session by its row."""
        with self._lock:
            return self._known.sessions.session(row)

    def session_key(self, row: int) -> int:
        """A number below 2**34 computed from the session's eid."""
        with self._lock:
            return self._known.sessions.key(row)

    def session_of_key(self, key: int) -> int | None:
        """The row that now stands for the session that has this key."""
        with self._lock:
            return self._standing(self._known.sessions.of_key(key))

    def session_of_eid(self, eid: UUID) -> int | None:
        """The row that now stands for the session with this eid."""
        with self._lock:
            return self._standing(self._known.sessions.of_eid(eid))

    find_session = session_of_eid

    def sessions_of_ref(self, day: date, number: int, subject: str) -> list[int]:
        """Rows of the sessions of this reference; there is more than one only if labs share a subject's name."""
        with self._lock:
            found = [
                (row, self._known.sessions.session(row)) for row in self._known.sessions.of_ref(day, number, subject)
            ]
            return sorted(
                row
                for row, session in found
                if (session.date, session.number, session.subject) == (day, number, subject) and self._known.stands(row)
            )

    def session_digest(self, row: int) -> int:
        """A number that changes if and only if the session's fields or those of its known datasets do."""
        with self._lock:
            return self._known.sessions.digest(row)

    def session_folder(self, row: int) -> Folder:
        """The folder of a session."""
        with self._lock:
            return self._known.folders.folder(self._known.sessions.folder(row))

    def session_path(self, row: int) -> str:
        """Path of a session from the root; `aggregates` for the aggregates."""
        with self._lock:
            return "/".join(self._known.folders.parts(self._known.sessions.folder(row)))

    def newest(self, row: int) -> int:
        """The row that stands now for a row's session."""
        with self._lock:
            return self._known.sessions.newest(row)

    def _standing(self, row: int | None) -> int | None:
        return row if row is not None and self._known.stands(row) else None

    # -- datasets ------------------------------------------------------------------------------------------------

    def datasets(self, row: int) -> Rows:
        """The datasets of a session, those that do not exist included; none if none are known.

        For one row always the same: what is learned of them later is told of another row.
        """
        with self._lock:
            return self._known.sessions.rows(row, self.session_path(row))

    def dataset_in(self, session: int, i: int) -> Dataset:
        """The i-th dataset of a session's row."""
        base = self.base
        if base and session < base.n_sessions + (base.aggregates is not None):
            return base.dataset_in(session, i)
        return self.datasets(session).dataset(i)

    def ids_from(self, session: int, i: int, count: int) -> list[UUID]:
        """The ids of the i-th dataset of a session's row and of some that follow it, `count` at most."""
        base = self.base
        if base and session < base.n_sessions + (base.aggregates is not None):
            return base.ids_from(session, i, count)
        rows = self.datasets(session)
        return [rows.id(at) for at in range(i, min(i + count, len(rows)))]

    def dataset_of_id(self, id: UUID) -> Dataset | None:  # noqa: A002
        """The dataset with this id, as far as it is known."""
        with self._lock:
            found = self.base.dataset_of_id(id) if self.base else None
            eid = self._known.session_of_dataset.get(id, (found.eid or NO_EID) if found else None)
            row = None if eid is None else self._standing(self._known.sessions.of_eid(eid))
            if row is None:
                return None
            edition = self._known.sessions.edition(row)
            if edition is None:
                return found
            rows = self._known.sessions.rows(row, self.session_path(row))
            return rows.dataset(edition.ids.index(id)) if id in edition.ids else None

    def probes_of(self, eid: UUID) -> list[tuple[str, UUID]]:
        """Names and ids of a session's probe insertions, as far as they are known. May read a table."""
        return self.base.probes_of(eid) if self.base else []

    find_dataset = dataset_of_id
