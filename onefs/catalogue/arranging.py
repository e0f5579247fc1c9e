"""Sorting dataset rows and leaving out those that cannot be shown: pure computing on whole columns."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from onefs.catalogue.layout import EXISTS, HAS_MD5, MAX_SESSION_FOLDERS, LeftOutTally, Reason, Strings
from onefs.catalogue.mixing import U64, combine, mix, words

Rows = NDArray[np.int64]

_PIECE_ROWS = 1 << 16
_BY_MD5 = np.uint64(1)
_BY_SIZE = np.uint64(2)


@dataclass(slots=True)
class DatasetColumns:
    """Columns of datasets, of equal length. `session` is a session row, `path` a code into the sorted paths."""

    session: NDArray[np.int32]
    path: NDArray[np.int32]
    id: NDArray[np.uint8]
    size: NDArray[np.int64]
    md5: NDArray[np.uint8]
    flags: NDArray[np.uint8]
    qc: NDArray[np.uint8]

    def take(self, rows: Rows) -> None:
        """Keep these rows, in this order. One column at a time, so that memory holds one copy of one column."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name)[rows])


@dataclass(frozen=True, slots=True)
class Paths:
    """The distinct rel_paths: texts sorted by bytes, how many folders each is in, which are unsafe, and pairs
    (path, another one that is one of its folders) of the safe ones.
    """

    texts: Strings
    depth: NDArray[np.int32]
    unsafe: NDArray[np.bool_]
    inside: NDArray[np.int64]
    folder: NDArray[np.int64]


def arrange(columns: DatasetColumns, paths: Paths, firsts: NDArray[np.int32], tally: LeftOutTally) -> None:
    """Sort rows by (session, rel_path) and leave out those that cannot stand, counting them by reason.

    `firsts` has for each session the first one on the same path: such sessions share a folder.
    """

    def leave_out(reason: Reason, rows: Rows) -> None:
        tally.add(reason, len(rows), (_describe(columns, paths, row) for row in rows.tolist()))
        stays = np.ones(len(columns.path), bool)
        stays[rows] = False
        columns.take(np.flatnonzero(stays))

    rows = np.flatnonzero(paths.unsafe[columns.path])
    if len(rows):
        leave_out(Reason.DATASET_UNSAFE, rows)
    columns.take(_order(columns, len(paths.texts), firsts))
    first = firsts[columns.session]
    rows = np.flatnonzero((first[1:] == first[:-1]) & (columns.path[1:] == columns.path[:-1])) + 1
    if len(rows):
        leave_out(Reason.DATASET_PATH_TAKEN, rows)
    rows = _files_that_are_folders(columns, paths, firsts)
    if len(rows):
        leave_out(Reason.DATASET_IS_FOLDER, rows)
    rows = _beyond_folders(columns, paths, firsts)
    if len(rows):
        leave_out(Reason.DATASET_FOLDERS, rows)
    if (firsts[columns.session] != columns.session).any():
        columns.take(np.argsort(columns.session, kind="stable"))


def _describe(columns: DatasetColumns, paths: Paths, row: int) -> str:
    """A left-out dataset in one line; the path is quoted, for it may hold anything."""
    return f"{UUID(bytes=columns.id[row].tobytes())} {paths.texts[columns.path[row]]!r}"


def _order(columns: DatasetColumns, n_paths: int, firsts: NDArray[np.int32]) -> Rows:
    """Sorts by first session on the path, path, rows that exist before those that do not, id."""
    keys = firsts[columns.session].astype(np.int64)
    keys *= n_paths
    keys += columns.path
    keys *= 2
    keys += (columns.flags & EXISTS) == 0
    order = np.argsort(keys)
    ordered = keys[order]
    same = ordered[1:] == ordered[:-1]
    if same.any():  # rare, so that ids are compared only where they decide
        tied = np.concatenate(([False], same)) | np.concatenate((same, [False]))
        at = np.flatnonzero(tied)
        rows = order[at]
        high, low = words(columns.id[rows])
        order[at] = rows[np.lexsort((low, high, keys[rows]))]
    return order


def _files_that_are_folders(columns: DatasetColumns, paths: Paths, firsts: NDArray[np.int32]) -> Rows:
    """Rows that exist and whose path is a folder of another row that exists, in a session on the same path."""
    if not len(paths.inside):
        return np.empty(0, np.int64)
    n_paths = len(paths.texts)
    involved = np.zeros(n_paths, bool)
    involved[paths.inside] = True
    involved[paths.folder] = True
    rows = np.flatnonzero(involved[columns.path] & ((columns.flags & EXISTS) != 0))
    session = firsts[columns.session[rows]].astype(np.int64)
    path = columns.path[rows].astype(np.int64)
    # Pairs sorted by `inside`: each row meets all the folders above it.
    order = np.argsort(paths.inside, kind="stable")
    inside, folder = paths.inside[order], paths.folder[order]
    begin, end = np.searchsorted(inside, path, "left"), np.searchsorted(inside, path, "right")
    repeats = end - begin
    ends = np.cumsum(repeats)
    pairs = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(begin - (ends - repeats), repeats)
    above = np.repeat(session, repeats) * n_paths + folder[pairs]
    return rows[np.isin(session * n_paths + path, above)]


def _beyond_folders(columns: DatasetColumns, paths: Paths, firsts: NDArray[np.int32]) -> Rows:
    """Rows of sessions with too many folders, in each from the first row on whose folders have no number left."""
    of = firsts[columns.session]
    deepest = int(paths.depth[columns.path].max(initial=0))
    beyond = [np.empty(0, np.int64)]
    for session in np.flatnonzero(np.bincount(of) * deepest > MAX_SESSION_FOLDERS).tolist():
        begin, end = np.searchsorted(of, (session, session + 1)).tolist()
        codes = columns.path[begin:end]
        if int(paths.depth[codes].sum()) > MAX_SESSION_FOLDERS:
            beyond.append(np.arange(begin + _that_fit(paths.texts[code] for code in codes.tolist()), end))
    return np.concatenate(beyond)


def _that_fit(paths: Iterable[str]) -> int:
    """How many of these paths, the first ones, together are in as many folders as a session may have."""
    folders: set[str] = set()
    fitting = 0
    for path in paths:
        folder = path.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
        if len(folders) > MAX_SESSION_FOLDERS:
            break
        fitting += 1
    return fitting


def contents(columns: DatasetColumns, path_digests: U64) -> U64:
    """A number per row that changes if and only if the bytes under the name do, as far as the table can tell."""

    def some(rows: slice) -> U64:
        names = path_digests[columns.path[rows]]
        sizes = columns.size[rows]
        by_md5 = combine(names ^ _BY_MD5, *words(columns.md5[rows]))
        by_size = combine(names ^ _BY_SIZE, sizes.astype(np.uint64))
        known = (columns.flags[rows] & HAS_MD5) != 0
        return np.where(known, by_md5, np.where(sizes >= 0, by_size, mix(names)))

    return _in_pieces(len(columns.path), some)


def session_digests(columns: DatasetColumns, path_digests: U64, first: Rows, count: Rows) -> U64:
    """The sum, for each session, of a number for each of its rows that tells apart all that users can see."""

    def some(rows: slice) -> U64:
        small = columns.flags[rows].astype(np.uint64) << np.uint64(8) | columns.qc[rows]
        numbers = (*words(columns.id[rows]), *words(columns.md5[rows]), columns.size[rows].astype(np.uint64), small)
        return combine(path_digests[columns.path[rows]], *numbers)

    sums = _in_pieces(len(columns.path), some)
    np.cumsum(sums, out=sums)
    sums = np.concatenate((np.zeros(1, np.uint64), sums))
    result: U64 = sums[first + count] - sums[first]
    return result


def _in_pieces(n_rows: int, function: Callable[[slice], U64]) -> U64:
    """A column computed piece by piece, so that what is made on the way stays small."""
    column = np.empty(n_rows, np.uint64)
    for begin in range(0, n_rows, _PIECE_ROWS):
        rows = slice(begin, begin + _PIECE_ROWS)
        column[rows] = function(rows)
    return column
