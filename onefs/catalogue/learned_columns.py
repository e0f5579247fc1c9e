"""The columns of an index with rows learned from a database, for searches."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onefs.catalogue.editions import Edition
from onefs.catalogue.layout import EPOCH, Index
from onefs.catalogue.matching import JoinedTexts
from onefs.catalogue.records import Session
from onefs.catalogue.search_columns import IndexColumns, SessionOfDataset, Sliced, Texts, rows_of


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
    rows = rows_of(eids[: len(arrays.session_eid)])
    for each in learned:
        if isinstance(each.datasets, int):
            rows[each.datasets] = each.row
    return SessionOfDataset(rows, arrays.session_first, arrays.session_count)


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
