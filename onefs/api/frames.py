"""`FrameCatalogue`: a catalogue that answers from frames, edits made in place included."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from onefs import alf
from onefs.catalogue.dataset_rows import ABOVE_AGGREGATES
from onefs.catalogue.insertions import Insertion
from onefs.catalogue.layout import LARGEST_SIZE
from onefs.catalogue.records import QC_CODES, Dataset, Session
from onefs.catalogue.schema import QC_NAMES
from onefs.catalogue.session_rows import refusal
from onefs.catalogue.snapshot import NO_EID
from onefs.digests import digest64

if TYPE_CHECKING:
    import pandas as pd

Positions = NDArray[np.int64]

_CODE_OF_QC: Mapping[object, int] = {
    **{name: code for code, name in enumerate(QC_NAMES)},
    **{int(qc): code for code, qc in enumerate(QC_CODES)},
}


class FrameRows:
    """A session's datasets, existing or not, as columns of equal length, sorted by `rel_paths`.

    As `DatasetRows`. Left out is what the index would leave out: unsafe paths, and of several rows with one path all
    but the first that exists, by id. `positions` are the rows' places in the frame.
    """

    def __init__(self, frame: "pd.DataFrame", positions: Positions, session: int, of: Session | None) -> None:
        self.session = session
        self._eid = of.eid if of else None
        self._session_path = of.path if of else "aggregates"
        paths = [_text(path) for path in _values(frame, "rel_path", positions, "")]
        if of is None:
            paths = [ABOVE_AGGREGATES.sub("", path) for path in paths]
        ids = [_text(id_) for id_ in _values(frame, "id", positions, "")]
        exists = [_truth(one) for one in _values(frame, "exists", positions, value=True)]
        order: dict[str, int] = {}
        for at in sorted(range(len(paths)), key=lambda at: (paths[at], not exists[at], ids[at])):
            if alf.is_safe_relative(paths[at]):
                order.setdefault(paths[at], at)
        kept = list(order.values())
        self.positions = positions[kept]
        self.rel_paths = list(order)
        self._ids = [ids[at] for at in kept]
        self.exists = [exists[at] for at in kept]
        self.sizes: Sequence[int] = [_size(one) for one in _values(frame, "file_size", self.positions, None)]
        self.qc: Sequence[int] = [_CODE_OF_QC.get(one, 0) for one in _values(frame, "qc", self.positions, 0)]
        self._md5s = [_text(one) for one in _values(frame, "hash", self.positions, "")]
        defaults = _values(frame, "default_revision", self.positions, None)
        self.default_revision = [None if _is_null(one) else bool(one) for one in defaults]

    def __len__(self) -> int:
        return len(self.rel_paths)

    @property
    def content(self) -> Sequence[int]:
        """A 64-bit number for each row that changes if and only if the bytes under its name do."""
        told = zip(self.rel_paths, self._md5s, self.sizes, strict=True)
        return [digest64((path.encode(), (md5 or str(size)).encode())) for path, md5, size in told]

    def id(self, i: int) -> UUID:
        """The id of the i-th dataset."""
        return _uuid(self._ids[i])

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
            _values(frame, name, place, None)[0]
            for name in ("id", "lab", "subject", "date", "number", "task_protocol", "projects")
        )
        lab, subject, day = _text(lab), _text(subject), _day(day)
        number = -1 if _is_null(number) else int(number)
        if day is None or refusal(lab, subject, day, number) or _uuid(eid) == NO_EID:
            return None
        return Session(_uuid(eid), lab, subject, day, number, _text(protocol), _text(projects))

    def rows_of_eid(self, eid: UUID) -> list[int]:
        """Rows of all sessions that have this eid: more than one is a fault of the table."""
        rows = _positions(self._tables["sessions"], "id", eid).tolist()
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
        return _positions(self._tables["datasets"], "eid", eid)

    def dataset_in(self, session: int, i: int) -> Dataset:
        """The i-th dataset of a session."""
        return self.datasets(session).dataset(i)

    def datasets_of_id(self, id: UUID) -> list[Dataset]:  # noqa: A002
        """All datasets that have this id: more than one is a fault of the table."""
        frame = self._tables["datasets"]
        found = []
        for place in _positions(frame, "id", id):
            eid = _uuid(_values(frame, "eid", np.array([place]), None)[0])
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
        places = np.empty(0, np.int64) if frame is None else _positions(frame, "id", pid)
        if frame is None or not len(places):
            return None
        return _uuid(_values(frame, "eid", places[:1], None)[0]), _text(_values(frame, "name", places[:1], "")[0])

    def probes_of(self, eid: UUID) -> list[tuple[str, UUID]]:
        """Names and ids of a session's probe insertions, sorted."""
        frame = self._tables.get("insertions")
        if frame is None:
            return []
        places = _positions(frame, "eid", eid)
        names, ids = _values(frame, "name", places, ""), _values(frame, "id", places, None)
        return sorted((_text(name), _uuid(pid)) for name, pid in zip(names, ids, strict=True))


def _positions(frame: "pd.DataFrame", name: str, key: UUID | None) -> Positions:
    """Where an id (None: no id) stands in a frame's index or column, in the frame's order."""
    index = frame.index
    wanted = [None, "", str(NO_EID), NO_EID] if key is None else [str(key), key]
    if name not in index.names:
        if name not in frame.columns:
            return np.empty(0, np.int64)
        column = frame[name]
        found = column.isna() | column.isin(wanted[1:]) if key is None else column.isin(wanted)
        return np.flatnonzero(found.to_numpy(bool))
    if index.nlevels == 1:
        return np.flatnonzero(index.isna() | index.isin(wanted[1:])) if key is None else _places(index, wanted)
    level = index.names.index(name)
    codes = [int(code) for code in _places(index.levels[level], wanted[1:] if key is None else wanted)]
    codes += [-1] if key is None else []
    places = [_places_of_code(index, level, code) for code in codes]
    return np.sort(np.concatenate([np.empty(0, np.int64), *places]))


def _places(index: "pd.Index", wanted: Sequence[object]) -> Positions:
    """Where any of these stands in an index of one level."""
    found = [np.empty(0, np.int64)]
    for one in wanted:
        try:
            found.append(np.atleast_1d(np.arange(len(index))[index.get_loc(one)]))
        except (KeyError, TypeError):
            continue
    return np.sort(np.concatenate(found))


def _places_of_code(index: "pd.MultiIndex", level: int, code: int) -> Positions:
    codes = index.codes[level]
    is_sorted = level == 0 and index.is_monotonic_increasing and index.levels[0].is_monotonic_increasing
    if is_sorted:  # pandas remembers that, so a session costs no look at all rows
        begin, end = np.searchsorted(codes, (code, code + 1))
        return np.arange(begin, end)
    return np.flatnonzero(codes == code)


def _values(frame: "pd.DataFrame", name: str, places: Positions, value: object) -> list[Any]:
    """The values of a column, or of a level of the index, at these places; `value` for each if there is no such."""
    if name in frame.columns:
        return list(frame[name].array[places])
    if name in frame.index.names:
        return list(frame.index[places].get_level_values(name))
    return [value] * len(places)


def _is_null(value: object) -> bool:
    import pandas as pd

    return value is None or bool(pd.api.types.is_scalar(value) and pd.isna(value))


def _text(value: object) -> str:
    return "" if _is_null(value) else str(value)


def _truth(value: object) -> bool:
    return not _is_null(value) and bool(value)


def _size(value: Any) -> int:
    """-1 if it is not known."""
    size = -1 if _is_null(value) else int(value)
    return size if 0 <= size <= LARGEST_SIZE else -1


def _uuid(value: object) -> UUID:
    """The nil one for what is none."""
    try:
        return value if isinstance(value, UUID) else UUID(_text(value))
    except ValueError:
        return NO_EID


def _day(value: Any) -> date | None:
    if _is_null(value):
        return None
    if isinstance(value, datetime):
        return value.date()
    return value if isinstance(value, date) else alf.calendar_date(str(value)[:10])
