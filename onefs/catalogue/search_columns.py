"""The columns that searches read: those of an index, and those of an index with rows learned from a database."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from onefs.catalogue.editions import Edition
from onefs.catalogue.layout import EPOCH, EXISTS, Index
from onefs.catalogue.matching import JoinedTexts, TextSequence
from onefs.catalogue.records import Session


class Sliced(Protocol):
    """A column that is read piece by piece: a slice of it is an array. Arrays are of this kind, too."""

    def __len__(self) -> int: ...
    def __getitem__(self, where: slice, /) -> Any: ...


class Texts(NamedTuple):
    """A column of texts: `codes` are places in `texts`, -1 stands for "". A text may be in `texts` several times."""

    codes: Any
    texts: TextSequence


class Columns(Protocol):
    """Sessions and datasets as columns. Rows of sessions are the catalogue's; one whose eid is nil is no session.

    `days` count from 1970. `dataset_session` is the row of each dataset's session, -1 for none; `dataset_qc` has codes
    0 to 4. Those of datasets, and the codes of `dataset_path`, are `Sliced`: read a piece at a time.
    """

    @property
    def eids(self) -> NDArray[np.uint8]: ...
    @property
    def labs(self) -> Texts: ...
    @property
    def subjects(self) -> Texts: ...
    @property
    def protocols(self) -> Texts: ...
    @property
    def projects(self) -> Texts: ...
    @property
    def days(self) -> NDArray[Any]: ...
    @property
    def numbers(self) -> NDArray[Any]: ...
    @property
    def dataset_session(self) -> Sliced: ...
    @property
    def dataset_path(self) -> Texts: ...
    @property
    def dataset_exists(self) -> Sliced: ...
    @property
    def dataset_qc(self) -> Sliced: ...
    @property
    def dataset_id(self) -> Sliced: ...


class IndexColumns:
    """The columns of an index. Nothing is copied before it is sliced."""

    def __init__(self, index: Index) -> None:
        arrays = index.arrays
        self.eids = arrays.session_eid
        self.labs = Texts(arrays.session_lab, arrays.labs)
        self.subjects = Texts(arrays.session_subject, arrays.subjects)
        self.protocols = Texts(arrays.session_protocol, arrays.protocols)
        self.projects = Texts(arrays.session_projects, arrays.projects)
        self.days = arrays.session_date
        self.numbers = arrays.session_number
        self.dataset_session: Sliced = _SessionOfDataset(_rows(self.eids), arrays.session_first, arrays.session_count)
        self.dataset_path = Texts(arrays.dataset_path, arrays.paths)
        self.dataset_exists: Sliced = _Flag(arrays.dataset_flags, EXISTS)
        self.dataset_qc: Sliced = arrays.dataset_qc
        self.dataset_id: Sliced = arrays.dataset_id


class LearnedRow(NamedTuple):
    """A learned session. `datasets`: those told by the database, or the index row that has them; None: unknown."""

    row: int
    session: Session
    datasets: Edition | int | None


@dataclass(frozen=True, slots=True)
class PlainColumns:
    """Columns held in memory."""

    eids: NDArray[np.uint8]
    labs: Texts
    subjects: Texts
    protocols: Texts
    projects: Texts
    days: NDArray[Any]
    numbers: NDArray[Any]
    dataset_session: Sliced
    dataset_path: Texts
    dataset_exists: Sliced
    dataset_qc: Sliced
    dataset_id: Sliced


def overlaid(index: Index | None, lost: Iterable[int], learned: Sequence[LearnedRow]) -> PlainColumns:
    """The columns of an index with learned rows, which replace those of their sessions. Rows in `lost` are blanked."""
    base = IndexColumns(index) if index else _no_columns()
    rows = np.array([each.row for each in learned], np.int64)
    n_rows = max([len(base.eids), *(rows + 1).tolist()])
    sessions = [each.session for each in learned]
    editions = [(each.row, each.datasets) for each in learned if isinstance(each.datasets, Edition)]
    datasets = _datasets_of_editions(editions)
    eids = _placed(base.eids, n_rows, rows, _ids(session.eid.bytes for session in sessions))
    eids[list(lost)] = 0
    return PlainColumns(
        eids=eids,
        labs=_with_texts(base.labs, n_rows, rows, [session.lab for session in sessions]),
        subjects=_with_texts(base.subjects, n_rows, rows, [session.subject for session in sessions]),
        protocols=_with_texts(base.protocols, n_rows, rows, [session.task_protocol for session in sessions]),
        projects=_with_texts(base.projects, n_rows, rows, [session.projects for session in sessions]),
        days=_placed(base.days, n_rows, rows, np.array([s.date.toordinal() - EPOCH for s in sessions], np.int32)),
        numbers=_placed(base.numbers, n_rows, rows, np.array([session.number for session in sessions], np.uint16)),
        dataset_session=_Joined(_session_of_index_rows(index, eids, learned), datasets.session),
        dataset_path=_joined_texts(base.dataset_path, datasets.path),
        dataset_exists=_Joined(base.dataset_exists, datasets.exists),
        dataset_qc=_Joined(base.dataset_qc, datasets.qc),
        dataset_id=_Joined(base.dataset_id, datasets.id),
    )


class _Datasets(NamedTuple):
    session: NDArray[np.int32]
    path: Texts
    exists: NDArray[np.bool_]
    qc: NDArray[np.uint8]
    id: NDArray[np.uint8]


def _datasets_of_editions(editions: Sequence[tuple[int, Edition]]) -> _Datasets:
    """The datasets of editions, each with the row of its session."""
    return _Datasets(
        session=np.array([row for row, edition in editions for _ in edition.ids], np.int32),
        path=_coded(path for _, edition in editions for path in edition.rel_paths),
        exists=np.array([each for _, edition in editions for each in edition.exists], bool),
        qc=np.array([each for _, edition in editions for each in edition.qc], np.uint8),
        id=_ids(each.bytes for _, edition in editions for each in edition.ids),
    )


def _session_of_index_rows(index: Index | None, eids: NDArray[np.uint8], learned: Sequence[LearnedRow]) -> Sliced:
    """The session row of each dataset of the index, as it is now."""
    if index is None:
        return np.empty(0, np.int32)
    arrays = index.arrays
    rows = _rows(eids[: len(arrays.session_eid)])
    for each in learned:
        if isinstance(each.datasets, int):
            rows[each.datasets] = each.row
    return _SessionOfDataset(rows, arrays.session_first, arrays.session_count)


@dataclass(frozen=True, slots=True)
class _SessionOfDataset:
    """The row of each dataset's session: `rows` by the index's rows, whose datasets stand one after the other."""

    rows: NDArray[np.int32]
    first: NDArray[np.int64]
    count: NDArray[np.int32]

    def __len__(self) -> int:
        return int(self.first[-1] + self.count[-1]) if len(self.first) else 0

    def __getitem__(self, where: slice) -> NDArray[np.int32]:
        begin, end, _ = where.indices(len(self))
        low, high = int(np.searchsorted(self.first, begin, "right")) - 1, int(np.searchsorted(self.first, end))
        if begin >= end:
            return self.rows[:0]
        first = self.first[low:high]
        stop = np.minimum(first + self.count[low:high], end)
        return np.repeat(self.rows[low:high], stop - np.maximum(first, begin))


@dataclass(frozen=True, slots=True)
class _Flag:
    """Which rows have a flag."""

    flags: Sliced
    flag: int

    def __len__(self) -> int:
        return len(self.flags)

    def __getitem__(self, where: slice) -> NDArray[np.bool_]:
        return (self.flags[where] & self.flag) != 0  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class _Joined:
    """The rows of two columns, one after the other."""

    first: Sliced
    second: NDArray[Any]

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, where: slice) -> NDArray[Any]:
        begin, end, _ = where.indices(len(self))
        n = len(self.first)
        if end <= n:
            return self.first[begin:end]  # type: ignore[no-any-return]
        later = self.second[max(begin - n, 0) : end - n]
        return later if begin >= n else np.concatenate((self.first[begin:n], later))


def _rows(eids: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The number of each row, -1 where its eid is nil."""
    return np.where(eids.any(axis=1), np.arange(len(eids), dtype=np.int32), np.int32(-1))


def _no_columns() -> PlainColumns:
    codes, texts, ids = np.empty(0, np.int32), _coded([]), _ids([])
    return PlainColumns(ids, texts, texts, texts, texts, codes, codes, codes, texts, codes != 0, codes, ids)


def _ids(ids: Iterable[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(ids), np.uint8).reshape(-1, 16)


def _placed(base: NDArray[Any], n_rows: int, rows: NDArray[np.int64], values: NDArray[Any]) -> NDArray[Any]:
    """A copy of a column with other values in some rows, 0 in those that have none."""
    column = np.zeros((n_rows, *base.shape[1:]), base.dtype)
    column[: len(base)] = base
    column[rows] = values
    return column


def _coded(texts: Iterable[str]) -> Texts:
    code: dict[str, int] = {}
    codes = np.array([code.setdefault(text, len(code)) for text in texts], np.int32)
    return Texts(codes, list(code))


def _with_texts(base: Texts, n_rows: int, rows: NDArray[np.int64], texts: Sequence[str]) -> Texts:
    """A copy of a column of texts with other ones in some rows."""
    codes, distinct = _coded(texts)
    return Texts(
        _placed(base.codes, n_rows, rows, codes + np.int32(len(base.texts))), JoinedTexts(base.texts, distinct)
    )


def _joined_texts(first: Texts, second: Texts) -> Texts:
    """The rows of two columns of texts, one after the other."""
    codes = second.codes + np.int32(len(first.texts))
    return Texts(_Joined(first.codes, codes), JoinedTexts(first.texts, second.texts))
