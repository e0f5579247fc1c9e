"""The differences between two snapshots: which sessions changed, and which folders above them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onefs.catalogue.layout import Arrays
from onefs.catalogue.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs, as rows of the old and of the new snapshot.

    `sessions` are pairs of rows: (old, None) is gone, (None, new) came, (old, new) has other fields or datasets.
    `folders_gone` are rows of the old snapshot; `folders_new` of the new one, those with another date included.
    """

    sessions: tuple[tuple[int | None, int | None], ...]
    folders_gone: tuple[int, ...]
    folders_new: tuple[int, ...]

    def __bool__(self) -> bool:
        return bool(self.sessions or self.folders_gone or self.folders_new)


def compare(old: Snapshot, new: Snapshot) -> Changes:
    """What differs between two snapshots. Looks at every session's digest, and at no dataset."""
    before, after = old.index.arrays, new.index.arrays
    gone, came = _apart(before.folder_key, after.folder_key)
    return Changes(
        sessions=tuple(_sessions(before, after)),
        folders_gone=tuple(gone.tolist()),
        folders_new=(*came.tolist(), *_redated(before, after)),
    )


def _sessions(before: Arrays, after: Arrays) -> Iterator[tuple[int | None, int | None]]:
    gone, came = _apart(before.session_key, after.session_key)
    yield from ((row, None) for row in gone.tolist())
    yield from ((None, row) for row in came.tolist())
    _, olds, news = np.intersect1d(before.session_key, after.session_key, assume_unique=True, return_indices=True)
    same_session = (before.session_eid[olds] == after.session_eid[news]).all(axis=1)
    changed = before.session_digest[olds] != after.session_digest[news]
    for position in np.flatnonzero(changed | ~same_session).tolist():
        yield int(olds[position]), int(news[position])


def _redated(before: Arrays, after: Arrays) -> list[int]:
    _, olds, news = np.intersect1d(before.folder_key, after.folder_key, assume_unique=True, return_indices=True)
    rows: list[int] = news[before.folder_date[olds] != after.folder_date[news]].tolist()
    return rows


def _apart(before: NDArray[np.uint64], after: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows whose key only the old has, and rows whose key only the new has."""
    return (
        np.flatnonzero(~np.isin(before, after, assume_unique=True)),
        np.flatnonzero(~np.isin(after, before, assume_unique=True)),
    )
