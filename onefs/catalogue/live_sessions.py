"""The session rows of a live catalogue: those of the tables at hand, and new ones that the database told."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from uuid import UUID

import numpy as np

from onefs.catalogue import session_rows
from onefs.catalogue.editions import Edition, EditionRows, edition_of_rows
from onefs.catalogue.interface import Rows
from onefs.catalogue.layout import SESSION_BITS
from onefs.catalogue.mixing import combine, words
from onefs.catalogue.records import Session
from onefs.catalogue.snapshot import NO_EID, Snapshot

_U64 = (1 << 64) - 1
_NOTHING = Edition([], [], [], [], [], [], [], [], 0)
"""What a row tells of its datasets if it has to tell before any are known."""


@dataclass(frozen=True, slots=True)
class _Added:
    """A row that the base has not. `previous` is the row that stood for the session before it."""

    session: Session
    folder: int
    key: int
    previous: int | None


class LiveSessions:
    """Session rows, which are only ever added. Rows of `base` mean what they mean there, and tell the datasets there.

    What was told of a row's datasets stays: a session whose datasets turn out to be others gets a new row. Not for
    several threads: the catalogue locks.
    """

    def __init__(self, base: Snapshot | None) -> None:
        self._base = base
        self._n_base = len(base.index.arrays.session_key) if base else 0
        self._added: list[_Added] = []
        self._newest: dict[UUID, int] = {}  # of sessions that have added rows
        self._eid_of_key: dict[int, UUID] = {}  # of keys that the base has not
        self._eids_of_ref: defaultdict[tuple[date, int, str], dict[UUID, None]] = defaultdict(dict)  # of added rows
        self._editions: dict[int, Edition] = {}  # of added rows that told their datasets

    def session(self, row: int) -> Session:
        """A session by its row."""
        if self._base and row < self._n_base:
            return self._base.session(row)
        return self._added[row - self._n_base].session

    def folder(self, row: int) -> int:
        """The row of the folder of a session."""
        if self._base and row < self._n_base:
            return self._base.session_folder(row).row
        return self._added[row - self._n_base].folder

    def key(self, row: int) -> int:
        """A number below 2**34 computed from the session's eid."""
        if self._base and row < self._n_base:
            return self._base.session_key(row)
        return self._added[row - self._n_base].key

    def of_key(self, key: int) -> int | None:
        """The newest row of the session that has this key."""
        eid = self._eid_of_key.get(key)
        if eid is not None:
            return self._newest[eid]
        row = self._base.session_of_key(key) if self._base else None
        return None if row is None else self._newest.get(self.session(row).eid, row)

    def of_eid(self, eid: UUID) -> int | None:
        """The newest row of a session."""
        row = self._newest.get(eid)
        return row if row is not None or not self._base else self._base.session_of_eid(eid)

    def of_ref(self, day: date, number: int, subject: str) -> list[int]:
        """The newest rows of the sessions that have, or once had, this reference."""
        eids = dict(self._eids_of_ref.get((day, number, subject), ()))
        if self._base:
            eids |= dict.fromkeys(self.session(row).eid for row in self._base.sessions_of_ref(day, number, subject))
        return [row for eid in eids if (row := self.of_eid(eid)) is not None]

    def digest(self, row: int) -> int:
        """A number that changes if and only if the session's fields or those of its known datasets do."""
        source = self._knower(row)
        return (self._own_digest(row) + (0 if source is None else self._told_digest(source))) & _U64

    # -- datasets ------------------------------------------------------------------------------------------------

    def rows(self, row: int, session_path: str) -> Rows:
        """The datasets of a row, as far as they are known when this is first asked of it; from then on the same."""
        if row < self._n_base:
            assert self._base is not None
            return self._base.datasets(row)
        if not self.can_tell(row):
            self._editions[row] = _NOTHING
        eid = self.session(row).eid
        return EditionRows(self._editions[row], row, None if eid == NO_EID else eid, session_path)

    def told_paths(self) -> list[str]:
        """The paths of all datasets that added rows have told of."""
        return [path for edition in self._editions.values() for path in edition.rel_paths]

    def edition(self, row: int) -> Edition | None:
        """The edition that an added row has told; None if it told nothing yet, and for rows of the base."""
        return self._editions.get(row)

    def can_tell(self, row: int) -> bool:
        """Whether anything is known of the datasets of a row's session; the row tells that from now on."""
        if row >= self._n_base and row not in self._editions:
            source = self._knower(row)
            source = self._knower(self.newest(row)) if source is None else source
            if source is None:
                return False
            self._editions[row] = self._told(source)
        return self._editions.get(row) is not _NOTHING

    def known_datasets(self, row: int) -> Edition | int | None:
        """What tells a session's datasets: an edition, or a row of the base. None if they are not known."""
        source = self._knower(row)
        return source if source is None else self._editions.get(source, source)

    def _knower(self, row: int) -> int | None:
        """The newest row, of this one and those before it, that knows datasets."""
        before = self._teller(row)
        while before is not None and self._editions.get(before) is _NOTHING:
            before = self._teller(self._added[before - self._n_base].previous)
        return before

    def _teller(self, row: int | None) -> int | None:
        """The newest row, of this one and those before it, that has told datasets, or that there are none."""
        while row is not None and row not in self._editions and row >= self._n_base:
            row = self._added[row - self._n_base].previous
        return row

    def _told(self, row: int) -> Edition:
        """The edition of a row that can tell its datasets."""
        edition = self._editions.get(row)
        if edition is None:
            assert self._base is not None
            return edition_of_rows(self._base.datasets(row), self._base_digest(row))
        return edition

    def learn_datasets(self, eid: UUID, edition: Edition) -> tuple[int, int]:
        """Take what the database told of a known session's datasets.

        The row that told of them before and the one that does from now on: the same if nothing is different.
        """
        row = self.of_eid(eid)
        assert row is not None
        before = self._teller(row)
        if before is None or self._told_digest(before) == edition.digest:
            if row >= self._n_base:
                self._editions[row] = edition
            return row, row
        if before == row:
            row = self._add(self.session(row), self.folder(row), self.key(row), row)
        self._editions[row] = edition
        return before, row

    def _told_digest(self, row: int) -> int:
        edition = self._editions.get(row)
        return edition.digest if edition else self._base_digest(row)

    def _base_digest(self, row: int) -> int:
        assert self._base is not None
        return (self._base.session_digest(row) - self._own_digest(row)) & _U64

    def _own_digest(self, row: int) -> int:
        session = self.session(row)
        return 0 if session.eid == NO_EID else int(session_rows.digests_of([session], aggregates=False)[0])

    # -- sessions ------------------------------------------------------------------------------------------------

    def learn(self, session: Session, folder: int) -> tuple[int | None, int]:
        """Take what the database told of a session: its row before, if there was one, and that from now on."""
        row = self.of_eid(session.eid)
        if row is not None and self.session(row).is_as(session) and self.folder(row) == folder:
            return row, row
        key = self._new_key(session.eid) if row is None else self.key(row)
        return row, self._add(session, folder, key, row)

    def _add(self, session: Session, folder: int, key: int, previous: int | None) -> int:
        self._added.append(_Added(session, folder, key, previous))
        self._eids_of_ref[session.date, session.number, session.subject][session.eid] = None
        row = self._newest[session.eid] = self._n_base + len(self._added) - 1
        return row

    def _new_key(self, eid: UUID) -> int:
        """The key that the index would give; one that is taken makes the session take the next free one."""
        key = wanted_key(eid)
        while key in self._eid_of_key or (self._base and self._base.session_of_key(key) is not None):
            key = (key + 1) & ((1 << SESSION_BITS) - 1)
        self._eid_of_key[key] = eid
        return key

    def newest(self, row: int) -> int:
        """The row that stands now for a row's session."""
        return self._newest.get(self.session(row).eid, row)

    def size_in_base(self, row: int) -> tuple[int, int]:
        """How many datasets the base has for one of its rows, and the sum of their known sizes in bytes."""
        assert self._base is not None
        sizes = self._base.datasets(row).sizes
        return len(sizes), sum(size for size in sizes if size > 0)

    def known_size(self, row: int) -> tuple[int, int]:
        """How many datasets are known of a session, and the sum of their known sizes in bytes."""
        source = self._knower(row)
        if source is None:
            return 0, 0
        edition = self._editions.get(source)
        return (len(edition.ids), edition.total_bytes) if edition else self.size_in_base(source)


def wanted_key(eid: UUID) -> int:
    """The key that the index gives a session if no other has it: `session_rows.keys_of` for one eid."""
    ids = np.frombuffer(eid.bytes, np.uint8)
    return int(combine(*words(ids))[0]) & ((1 << SESSION_BITS) - 1)
