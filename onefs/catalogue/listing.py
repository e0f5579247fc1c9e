"""Paths of all datasets of an index, in blocks of lines: many sessions at once, in memory that does not grow."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onefs.catalogue.filters import Filter, Mask, matching, qc_mask
from onefs.catalogue.layout import Strings
from onefs.catalogue.records import QC
from onefs.catalogue.snapshot import Snapshot
from onefs.catalogue.stored import CHUNK_ROWS, StoredTexts

if TYPE_CHECKING:
    import pyarrow as pa

ANY = Filter()


def path_blocks(
    snapshot: Snapshot,
    filter: Filter = ANY,  # noqa: A002
    *,
    sessions: Sequence[int] | NDArray[np.integer] | None = None,
    limit: QC = QC.FAIL,
    ignore_not_set: bool = False,
    end: bytes = b"\n",
) -> Iterator[memoryview]:
    """Blocks of paths `lab/Subjects/subject/date/number/rel_path` of the datasets that pass, each followed by `end`.

    They come in the order of the index: by session in tree order, then by relative path; those that do not exist
    included. `sessions` are rows of sessions, None for all but the aggregates. A block stands for up to `CHUNK_ROWS`
    datasets.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    arrays = snapshot.index.arrays
    folders = _session_folders(snapshot)
    names = _texts(arrays.paths)
    passes = _passes(names, filter)
    ending, nothing = (pa.scalar(text, pa.large_binary()) for text in (end, b""))
    lines = pc.binary_join_element_wise(names, ending, nothing)
    del names
    is_wanted = _wanted(snapshot, sessions)
    for begin, session in _pieces(snapshot, is_wanted):
        where = slice(begin, begin + len(session))
        codes = arrays.dataset_path[where]
        keep = passes[codes] & qc_mask(arrays.dataset_qc[where], limit, ignore_not_set) & is_wanted[session]
        if keep.any():
            above, below = folders.take(pa.array(session[keep])), lines.take(pa.array(codes[keep]))
            yield _bytes_of(pc.binary_join_element_wise(above, below, nothing))


def _pieces(snapshot: Snapshot, is_wanted: Mask) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Consecutive dataset rows: the first one, and the session of each. Pieces without wanted sessions are left out."""
    first, count = snapshot.index.arrays.session_first, snapshot.index.arrays.session_count
    for begin in range(0, snapshot.n_datasets, CHUNK_ROWS):
        end = min(begin + CHUNK_ROWS, snapshot.n_datasets)
        # The last session that begins there or before; those without datasets begin where the next one does.
        start, stop = np.searchsorted(first, [begin, end - 1], "right") - (1, 0)
        if is_wanted[start:stop].any():
            last = first[start:stop] + count[start:stop]
            inside = np.minimum(last, end) - np.maximum(first[start:stop], begin)
            yield begin, np.repeat(np.arange(start, stop), np.maximum(inside, 0))


def _wanted(snapshot: Snapshot, sessions: Sequence[int] | NDArray[np.integer] | None) -> Mask:
    wanted = np.zeros(len(snapshot.index.arrays.session_first), bool)
    wanted[slice(snapshot.n_sessions) if sessions is None else np.asarray(sessions, np.int64)] = True
    return wanted


def _passes(names: "pa.Array", filter: Filter) -> Mask:  # noqa: A002
    """Which of the distinct relative paths pass; they become Python texts piece by piece."""
    pieces = (names[begin : begin + CHUNK_ROWS] for begin in range(0, len(names), CHUNK_ROWS))
    masks = [matching(filter, [text.decode() for text in piece.to_pylist()]) for piece in pieces]
    return np.concatenate([np.empty(0, bool), *masks])


def _session_folders(snapshot: Snapshot) -> "pa.Array":
    """The path of each session's folder, with a `/` at its end. Made level by level: folders are breadth first."""
    import pyarrow as pa
    import pyarrow.compute as pc

    arrays = snapshot.index.arrays
    names, parent = _texts(arrays.folder_name), arrays.folder_parent
    slash, nothing = (pa.scalar(text, pa.large_binary()) for text in (b"/", b""))
    levels = [pa.array([b""], pa.large_binary())]
    begin, end = 0, 1
    while end < len(names):
        above, begin, end = begin, end, int(np.searchsorted(parent, end))
        parents = levels[-1].take(pa.array(parent[begin:end] - above))
        levels.append(pc.binary_join_element_wise(parents, names[begin:end], slash, nothing))
    return pa.concat_arrays(levels).take(pa.array(arrays.session_folder))


def _texts(column: Strings | StoredTexts) -> "pa.Array":
    """A column of texts as an array of their bytes, not copied once they are read."""
    import pyarrow as pa

    offsets, data = (
        (column.offsets, column.data) if isinstance(column, Strings) else (column.offsets.rows(), column.data.rows())
    )
    buffers = [None, pa.py_buffer(np.ascontiguousarray(offsets, np.int64)), pa.py_buffer(np.ascontiguousarray(data))]
    return pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)


def _bytes_of(array: "pa.Array") -> memoryview:
    """The values one after the other."""
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return memoryview(data)[ends[0] : ends[-1]]
