"""`FrameCatalogue`: a catalogue that answers from frames, edits made in place included."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np

from onefs import alf
from onefs.catalogue.dataset_rows import ABOVE_AGGREGATES
from onefs.catalogue.insertions import Insertion
from onefs.catalogue.records import QC_CODES, Dataset, Session
from onefs.catalogue.session_rows import refusal
from onefs.catalogue.snapshot import NO_EID
from onefs.digests import digest64
from onefs.frames.values import (
    Positions,
    day_of,
    is_null,
    positions_of,
    qc_code,
    size_of,
    text_of,
    truth_of,
    uuid_of,
    values_at,
)

if TYPE_CHECKING:
    import pandas as pd

    from onefs.frames.columns import FrameColumns


class FrameRows:
    """A session's datasets, existing or not, as columns of equal length, sorted by `rel_paths`.

    As `DatasetRows`. Left out is what the index would leave out: unsafe paths, and of several rows with one path all
    but the first that exists, by id. `positions` are the rows' places in the frame.
    """

    def __init__(self, frame: "pd.DataFrame", positions: Positions, session: int, of: Session | None) -> None:
        self.session = session
        self._eid = of.eid if of else None
        self._session_path = of.path if of else "aggregates"
        paths = [text_of(path) for path in values_at(frame, "rel_path", positions, "")]
        if of is None:
            paths = [ABOVE_AGGREGATES.sub("", path) for path in paths]
        ids = [text_of(id_) for id_ in values_at(frame, "id", positions, "")]
        exists = [truth_of(one) for one in values_at(frame, "exists", positions, value=True)]
        order: dict[str, int] = {}
        for at in sorted(range(len(paths)), key=lambda at: (paths[at], not exists[at], ids[at])):
            if alf.is_safe_relative(paths[at]):
                order.setdefault(paths[at], at)
        kept = list(order.values())
        self.positions = positions[kept]
        self.rel_paths = list(order)
        self._ids = [ids[at] for at in kept]
        self.exists = [exists[at] for at in kept]
        self.sizes: Sequence[int] = [size_of(one) for one in values_at(frame, "file_size", self.positions, None)]
        self.qc: Sequence[int] = [qc_code(one) for one in values_at(frame, "qc", self.positions, 0)]
        self._md5s = [text_of(one) for one in values_at(frame, "hash", self.positions, "")]
        defaults = values_at(frame, "default_revision", self.positions, None)
        self.default_revision = [None if is_null(one) else bool(one) for one in defaults]

    def __len__(self) -> int:
        return len(self.rel_paths)

    @property
    def content(self) -> Sequence[int]:
        """A 64-bit number for each row that changes if and only if the bytes under its name do."""
        told = zip(self.rel_paths, self._md5s, self.sizes, strict=True)
        return [digest64((path.encode(), (md5 or str(size)).encode())) for path, md5, size in told]

    def id(self, i: int) -> UUID:
        """The id of the i-th dataset."""
        return uuid_of(self._ids[i])

    def dataset(self, i: int) -> Dataset:
        """The i-th dataset in full."""
        return Dataset(
            id=self.id(i),
            eid=self._eid,
            session_path=self._session_path,
            rel_path=self.rel_paths[i],
            size_bytes=None if self.sizes[i] < 0 else self.sizes[i],
            md5=self._md5s[i],
            exists=self.exists[i],
            qc=QC_CODES[self.qc[i]],
            default_revision=self.default_revision[i],
        )


class FrameCatalogue:
    """What the frames in `tables` tell at this moment. Nothing is kept between calls.

    The row of a session is its place in the frame `sessions`; it is good until that frame is changed. If there are
    datasets of no session, one more row, `aggregates`, stands for all of them, with the eid UUID(int=0). Sessions that
    the index would leave out (no date or number, unsafe names, an id that is no UUID) are not found.
    """

    may_ask = False

    def __init__(self, tables: "Mapping[str, pd.DataFrame]") -> None:
        self._tables = tables

    def columns(self) -> "FrameColumns":
        """What searches look at: the frames as they are at this moment."""
        from onefs.frames.columns import FrameColumns

        return FrameColumns(self._tables)

    @property
    def n_sessions(self) -> int:
        """Rows of sessions."""
        return len(self._tables["sessions"])

    @property
    def n_datasets(self) -> int:
        """Rows of datasets, of whatever session."""
        return len(self._tables["datasets"])

    @property
    def aggregates(self) -> int | None:
        """The row that stands for the datasets of no session."""
        return self.n_sessions if len(self._datasets_of(None)) else None

    # -- sessions ------------------------------------------------------------------------------------------------

    def session(self, row: int) -> Session:
        """A session by its row. That of the aggregates has no fields but its nil eid."""
        found = self._session(row)
        return Session(NO_EID, "", "", date.min, 0, "", "") if found is None else found

    def _session(self, row: int) -> Session | None:
        """None for the aggregates, and for a session that the index would leave out."""
        frame = self._tables["sessions"]
        if not 0 <= row < len(frame):
            return None
        place = np.array([row])
        eid, lab, subject, day, number, protocol, projects = (
            values_at(frame, name, place, None)[0]
            for name in ("id", "lab", "subject", "date", "number", "task_protocol", "projects")
        )
        lab, subject, day = text_of(lab), text_of(subject), day_of(day)
        number = -1 if is_null(number) else int(number)
        if day is None or refusal(lab, subject, day, number) or uuid_of(eid) == NO_EID:
            return None
        return Session(uuid_of(eid), lab, subject, day, number, text_of(protocol), text_of(projects))

    def rows_of_eid(self, eid: UUID) -> list[int]:
        """Rows of all sessions that have this eid: more than one is a fault of the table."""
        rows = positions_of(self._tables["sessions"], "id", eid).tolist()
        return [row for row in rows if self._session(row) is not None]

    def session_of_eid(self, eid: UUID) -> int | None:
        """The row of the session with this eid."""
        return next(iter(self.rows_of_eid(eid)), None)

    find_session = session_of_eid

    def sessions_of_ref(self, day: date, number: int, subject: str) -> list[int]:
        """Rows of the sessions of this reference."""
        frame = self._tables["sessions"]
        rows = np.flatnonzero((frame["subject"] == subject).fillna(False).to_numpy(bool)).tolist()
        found = ((row, self._session(row)) for row in rows)
        return [row for row, one in found if one is not None and (one.date, one.number) == (day, number)]

    def newest(self, row: int) -> int:
        """The row itself."""
        return row

    def session_path(self, row: int) -> str:
        """Path of a session from the root; `aggregates` for the aggregates."""
        return "aggregates" if row == self.n_sessions else self.session(row).path

    # -- datasets ------------------------------------------------------------------------------------------------

    def datasets(self, row: int) -> FrameRows:
        """The datasets of a session, those that do not exist included."""
        of = self._session(row)
        places = self._datasets_of(of.eid if of else None)
        if of is None and row != self.n_sessions:
            places = places[:0]
        return FrameRows(self._tables["datasets"], places, row, of)

    def _datasets_of(self, eid: UUID | None) -> Positions:
        return positions_of(self._tables["datasets"], "eid", eid)

    def dataset_in(self, session: int, i: int) -> Dataset:
        """The i-th dataset of a session."""
        return self.datasets(session).dataset(i)

    def ids_from(self, session: int, i: int, count: int) -> list[UUID]:
        """The ids of the i-th dataset of a session and of some that follow it, `count` at most."""
        rows = self.datasets(session)
        return [rows.id(at) for at in range(i, min(i + count, len(rows)))]

    def datasets_of_id(self, id: UUID) -> list[Dataset]:  # noqa: A002
        """All datasets that have this id: more than one is a fault of the table."""
        frame = self._tables["datasets"]
        found = []
        for place in positions_of(frame, "id", id):
            eid = uuid_of(values_at(frame, "eid", np.array([place]), None)[0])
            row = self.n_sessions if eid == NO_EID else self.session_of_eid(eid)
            if row is not None:
                rows = FrameRows(frame, np.array([place]), row, self._session(row))
                found += [rows.dataset(i) for i in range(len(rows))]
        return found

    def dataset_of_id(self, id: UUID) -> Dataset | None:  # noqa: A002
        """The dataset with this id, or the first of several."""
        return next(iter(self.datasets_of_id(id)), None)

    find_dataset = dataset_of_id

    # -- insertions ----------------------------------------------------------------------------------------------

    def insertion(self, pid: UUID) -> Insertion | None:
        """The eid and name of a probe insertion."""
        frame = self._tables.get("insertions")
        places = np.empty(0, np.int64) if frame is None else positions_of(frame, "id", pid)
        if frame is None or not len(places):
            return None
        return uuid_of(values_at(frame, "eid", places[:1], None)[0]), text_of(
            values_at(frame, "name", places[:1], "")[0]
        )

    def probes_of(self, eid: UUID) -> list[tuple[str, UUID]]:
        """Names and ids of a session's probe insertions, sorted."""
        frame = self._tables.get("insertions")
        if frame is None:
            return []
        places = positions_of(frame, "eid", eid)
        names, ids = values_at(frame, "name", places, ""), values_at(frame, "id", places, None)
        return sorted((text_of(name), uuid_of(pid)) for name, pid in zip(names, ids, strict=True))
