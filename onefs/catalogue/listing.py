"""`path_blocks`: paths of the datasets of many sessions, in blocks of lines, with memory for one block."""

from collections.abc import Iterable, Iterator
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onefs.catalogue.filters import Filter, matching, qc_mask
from onefs.catalogue.layout import EPOCH, Strings
from onefs.catalogue.matching import Mask, Part, Rows, TextSequence, matching_texts, pieces
from onefs.catalogue.records import QC
from onefs.catalogue.search_columns import Columns, Texts
from onefs.catalogue.stored import CHUNK_ROWS

if TYPE_CHECKING:
    import pyarrow as pa

ANY = Filter()


def path_blocks(
    columns: Columns,
    filter: Filter = ANY,  # noqa: A002
    *,
    sessions: Rows | None = None,
    limit: QC = QC.FAIL,
    ignore_not_set: bool = False,
    existing_only: bool = False,
    begin: bytes = b"",
    end: bytes = b"\n",
) -> Iterator[memoryview]:
    """Blocks of paths `lab/Subjects/subject/date/number/rel_path` of the datasets that pass.

    Each stands between `begin` and `end`. They come in the order of the columns, for an index that of the tree; those
    that do not exist included, unless `existing_only`, those of no session not. `sessions` are the rows of sessions to
    list, None for all. A block has up to `CHUNK_ROWS` paths.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    before, nothing = (pa.scalar(text, pa.large_binary()) for text in (begin, b""))
    folders = pc.binary_join_element_wise(before, _session_folders(columns), nothing)
    passes, names = _names(columns.dataset_path.texts, filter, end)
    passing = _Passing(columns, passes, limit, ignore_not_set, existing_only)
    for session, codes in passing.pieces(_wanted(columns, sessions)):
        above, below = folders.take(pa.array(session)), names.take(pa.array(codes))
        yield _bytes_of(pc.binary_join_element_wise(above, below, nothing))


def paths_in(
    columns: Columns,
    filter: Filter = ANY,  # noqa: A002
    *,
    sessions: Rows | None = None,
    limit: QC = QC.FAIL,
    ignore_not_set: bool = False,
) -> list[str]:
    """The distinct relative paths of the datasets that exist and pass, in no order. `sessions` as in `path_blocks`."""
    texts = columns.dataset_path.texts
    passes, _ = _names(texts, filter, b"")
    found = np.zeros(len(passes), bool)
    for _, codes in _Passing(columns, passes, limit, ignore_not_set, existing_only=True).pieces(
        _wanted(columns, sessions)
    ):
        found[codes] = True
    return [texts[code] for code in np.flatnonzero(found).tolist()]


def sessions_with_revisions(columns: Columns) -> Mask:
    """Which rows of sessions have datasets in folders of revisions, of shape (n,)."""
    in_revision = matching_texts(columns.dataset_path.texts, Part("#"))
    found = np.zeros(len(columns.eids), bool)
    passing = _Passing(columns, np.append(in_revision, False), QC.CRITICAL, ignore_not_set=False, existing_only=False)
    for session, _ in passing.pieces(_wanted(columns, None)):
        found[session] = True
    return found


class _Passing:
    """The datasets whose paths, QC and existence pass, looked at in pieces of the columns."""

    def __init__(self, columns: Columns, passes: Mask, limit: QC, ignore_not_set: bool, existing_only: bool) -> None:
        """`passes` says which distinct paths do; the last, which no path finds, does not."""
        self._columns = columns
        self._passes = passes
        self._limit = limit
        self._ignore_not_set = ignore_not_set
        self._existing_only = existing_only

    def pieces(self, is_wanted: Mask) -> "Iterator[tuple[Rows, NDArray[np.int32]]]":
        """For pieces in which some pass: the session and the path's code of each that does."""
        columns = self._columns
        for begin in range(0, len(columns.dataset_session), CHUNK_ROWS):
            where = slice(begin, begin + CHUNK_ROWS)
            session = columns.dataset_session[where]
            keep = is_wanted[session]
            if not keep.any():
                continue
            codes = columns.dataset_path.codes[where]
            keep &= self._passes[codes] & qc_mask(columns.dataset_qc[where], self._limit, self._ignore_not_set)
            if self._existing_only:
                keep &= columns.dataset_exists[where]
            if keep.any():
                yield session[keep], codes[keep]


def _wanted(columns: Columns, sessions: Rows | None) -> Mask:
    """Which rows are sessions to list; the last, which row -1 finds, is none."""
    wanted = np.any(columns.eids != 0, axis=1)
    if sessions is not None:
        given = np.zeros(len(wanted), bool)
        given[sessions] = True
        wanted &= given
    return np.append(wanted, False)


def _names(paths: TextSequence, filter: Filter, end: bytes) -> "tuple[Mask, pa.Array]":  # noqa: A002
    """Which of the distinct relative paths pass (no path, -1, does not), and all of them with `end` behind each."""
    import pyarrow as pa
    import pyarrow.compute as pc

    masks, names = [np.empty(0, bool)], [pa.array([], pa.large_binary())]
    ending, nothing = (pa.scalar(text, pa.large_binary()) for text in (end, b""))
    for piece in pieces(paths):
        texts = _array(piece)
        masks.append(
            np.ones(len(texts), bool)
            if filter == ANY
            else matching(filter, [text.decode(errors="surrogatepass") for text in texts.to_pylist()])
        )
        names.append(pc.binary_join_element_wise(texts, ending, nothing))
    return np.append(np.concatenate(masks), False), pa.concat_arrays(names)


def _session_folders(columns: Columns) -> "pa.Array":
    """The path of each session's folder, with a `/` at its end."""
    import pyarrow as pa
    import pyarrow.compute as pc

    days, day_codes = np.unique(columns.days, return_inverse=True)
    numbers, number_codes = np.unique(columns.numbers, return_inverse=True)
    parts = (
        _taken(columns.labs, "{}/Subjects/"),
        _taken(columns.subjects, "{}/"),
        _taken(Texts(day_codes, [_day(day) for day in days.tolist()]), "{}/"),
        _taken(Texts(number_codes, [f"{number:03d}" for number in numbers.tolist()]), "{}/"),
    )
    return pc.binary_join_element_wise(*parts, pa.scalar(b"", pa.large_binary()))


def _day(day: int) -> str:
    """The date that is so many days after 1970's first; "" for the rows of no session, which have none."""
    ordinal = day + EPOCH
    return date.fromordinal(ordinal).isoformat() if 1 <= ordinal <= date.max.toordinal() else ""


def _taken(column: Texts, form: str) -> "pa.Array":
    """The bytes of each row's text in a form; nothing for an empty text."""
    import pyarrow as pa

    texts: Iterable[str] = (column.texts[at] for at in range(len(column.texts)))
    formed = [form.format(text).encode(errors="surrogatepass") if text else b"" for text in texts]
    codes = np.asarray(column.codes)
    return pa.array([*formed, b""], pa.large_binary()).take(pa.array(np.where(codes < 0, len(formed), codes)))


def _array(texts: Strings) -> "pa.Array":
    """The bytes of the texts, not copied."""
    import pyarrow as pa

    buffers = [None, pa.py_buffer(np.ascontiguousarray(texts.offsets)), pa.py_buffer(np.ascontiguousarray(texts.data))]
    return pa.Array.from_buffers(pa.large_binary(), len(texts), buffers)


def _bytes_of(array: "pa.Array") -> memoryview:
    """The values one after the other."""
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return memoryview(data)[ends[0] : ends[-1]]
