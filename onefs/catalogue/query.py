"""`search`: finds the sessions that meet search terms, in columns of sessions and datasets. Asks no database."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onefs.catalogue.layout import EPOCH
from onefs.catalogue.matching import Expression, FileName, Mask, Part, Pattern, Rows, matching_texts
from onefs.catalogue.mixing import words
from onefs.catalogue.records import QC, QC_CODES
from onefs.catalogue.search_columns import Columns, IndexColumns, Sliced, Texts
from onefs.catalogue.snapshot import Snapshot
from onefs.catalogue.stored import CHUNK_ROWS
from onefs.catalogue.terms import Terms

if TYPE_CHECKING:
    from onefs.catalogue.silent import SilentSnapshot

__all__ = ["Columns", "Sliced", "Texts", "columns_of", "eids_of", "search"]


def columns_of(catalogue: "Snapshot | SilentSnapshot") -> Columns:
    """The columns to search in: those of the index, and what was learned beyond it."""
    return IndexColumns(catalogue.index) if isinstance(catalogue, Snapshot) else catalogue.columns()


def search(columns: Columns, terms: Terms) -> Rows:
    """The rows of the sessions that meet all terms: by date, subject and number, all descending, then by eid."""
    high, low = words(columns.eids)
    meets = (high | low) != 0
    for wanted, column in (
        (terms.laboratory, columns.labs),
        (terms.subject, columns.subjects),
        (terms.task_protocol, columns.protocols),
        (terms.projects, columns.projects),
    ):
        if wanted is not None:
            meets &= _containing(column, wanted, terms)
    if terms.numbers is not None:
        meets &= np.isin(columns.numbers, [number for number in terms.numbers if number < 1 << 63])
    if terms.first_day is not None:
        meets &= columns.days >= terms.first_day.toordinal() - EPOCH
    if terms.last_day is not None:
        meets &= columns.days <= terms.last_day.toordinal() - EPOCH
    if not (terms.dataset is None and terms.datasets is None and terms.qc_limit is None):
        meets = _with_datasets(columns, terms, meets)
    return _ordered(columns, np.flatnonzero(meets))


def eids_of(columns: Columns, rows: Rows) -> list[str]:
    """The eids of sessions as texts."""
    digits = columns.eids[rows].tobytes().hex()
    return [
        f"{one[:8]}-{one[8:12]}-{one[12:16]}-{one[16:20]}-{one[20:]}"
        for one in (digits[at : at + 32] for at in range(0, len(digits), 32))
    ]


def _pattern(text: str, terms: Terms) -> Pattern:
    return Expression(text) if terms.are_expressions else Part(text)


def _containing(column: Texts, wanted: Sequence[str], terms: Terms) -> Mask:
    """Which rows have a text that contains one of those wanted."""
    found = np.zeros(len(column.texts), bool)
    is_empty_found = False
    for pattern in [_pattern(text, terms) for text in wanted]:
        found |= matching_texts(column.texts, pattern, ~found)
        is_empty_found |= pattern.matches("")
    contains: Mask = np.append(found, is_empty_found)[column.codes]  # code -1 finds the last
    return contains


def _with_datasets(columns: Columns, terms: Terms, among: Mask) -> Mask:
    """Which of the sessions have counted datasets, and for each name one of that name."""
    patterns = [_pattern(text, terms) for text in terms.dataset or ()]
    patterns += [FileName(name) for name in terms.datasets or ()]
    limit = QC_CODES.index(QC.FAIL if terms.qc_limit is None else terms.qc_limit)
    counted = _Counted(columns, limit)
    if not patterns:
        return counted.sessions(among)
    needed = counted.paths(among)
    for pattern in dict.fromkeys(patterns):
        fitting = matching_texts(columns.dataset_path.texts, pattern, needed)
        among = counted.sessions(among, fitting)
    return among


class _Counted:
    """The datasets that exist with QC up to a limit, looked at in pieces."""

    def __init__(self, columns: Columns, limit: int) -> None:
        self._columns = columns
        self._limit = limit

    def sessions(self, among: Mask, fitting: Mask | None = None) -> Mask:
        """Which of the sessions have such a dataset, of a path that fits."""
        found = np.zeros(len(among), bool)
        for sessions, codes in self._pieces(among):
            found[sessions if fitting is None else sessions[fitting[codes]]] = True
        return found

    def paths(self, among: Mask) -> Mask:
        """Which paths such datasets of the sessions have."""
        found = np.zeros(len(self._columns.dataset_path.texts), bool)
        for _, codes in self._pieces(among):
            found[codes] = True
        return found

    def _pieces(self, among: Mask) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
        """Sessions and path codes of such datasets of the sessions."""
        columns = self._columns
        is_among = np.append(among, False)  # session -1 finds the last
        for begin in range(0, len(columns.dataset_session), CHUNK_ROWS):
            where = slice(begin, begin + CHUNK_ROWS)
            sessions = columns.dataset_session[where]
            counts = is_among[sessions]
            if counts.any():
                counts &= columns.dataset_exists[where]
                counts &= columns.dataset_qc[where] <= self._limit
                yield sessions[counts], columns.dataset_path.codes[where][counts]


def _ordered(columns: Columns, rows: Rows) -> Rows:
    """Rows by date, subject and number, all descending, then by eid."""
    used, codes = np.unique(columns.subjects.codes[rows], return_inverse=True)
    texts = ["" if code < 0 else columns.subjects.texts[code] for code in used.tolist()]
    place = {text: at for at, text in enumerate(sorted(set(texts)))}  # several codes may stand for one text
    rank = np.array([place[text] for text in texts], np.int64)
    high, low = words(columns.eids[rows])
    numbers = columns.numbers[rows].astype(np.int64)
    order = np.lexsort((low, high, -numbers, -rank[codes], -columns.days[rows].astype(np.int64)))
    return rows[order]
