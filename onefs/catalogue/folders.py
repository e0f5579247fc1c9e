"""The upper part of the tree, from the root down to the sessions, as rows in breadth-first order."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from onefs.catalogue.layout import FOLDER_BITS, NO_DATE, Strings
from onefs.catalogue.mixing import distinct_keys
from onefs.digests import digest64


@dataclass(frozen=True, slots=True)
class Leaf:
    """A session's folder: the parts of its path, its row, and its date in days (`NO_DATE` for aggregates)."""

    parts: tuple[str, ...]
    session: int
    date: int


@dataclass(slots=True)
class _Level:
    """The folders of one depth, in the order of their paths. Lists of equal length."""

    names: list[str] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    sessions: list[int] = field(default_factory=list)
    dates: list[int] = field(default_factory=list)
    digests: list[int] = field(default_factory=list)

    def add(self, name: str, parent: int, digest: int) -> None:
        self.names.append(name)
        self.parents.append(parent)
        self.sessions.append(-1)
        self.dates.append(NO_DATE)
        self.digests.append(digest)


@dataclass(frozen=True, slots=True)
class FolderRows:
    """The columns of the folders. Row 0 is the root, its own parent; children are contiguous, sorted by name."""

    name: Strings
    parent: NDArray[np.int32]
    first: NDArray[np.int32]
    count: NDArray[np.int32]
    session: NDArray[np.int32]
    date: NDArray[np.int32]
    key: NDArray[np.uint64]

    def of_sessions(self, n_sessions: int) -> NDArray[np.int32]:
        """The folder's row for each session row; sessions that share a folder come one after the other."""
        rows = np.flatnonzero(self.session >= 0).astype(np.int32)
        folder = np.empty(n_sessions, np.int32)
        folder[self.session[rows]] = rows
        has_own = np.zeros(n_sessions, bool)
        has_own[self.session[rows]] = True
        folders: NDArray[np.int32] = folder[np.maximum.accumulate(np.where(has_own, np.arange(n_sessions), 0))]
        return folders


def arrange_folders(leaves: Sequence[Leaf]) -> FolderRows:
    """The tree above these session folders, none of which is above another. Of those on one path the first counts."""
    # NUL is in no name and below every byte, so that this is the order by parts.
    levels = _levels(sorted(leaves, key=lambda leaf: "\0".join(leaf.parts).encode()))
    starts = np.cumsum([0, *(len(level.names) for level in levels)])
    parent = np.concatenate(
        [np.array(level.parents, np.int64) + start for level, start in zip(levels[1:], starts, strict=False)]
        or [np.empty(0, np.int64)]
    )
    n = int(starts[-1])
    first = np.searchsorted(parent, np.arange(n), "left") + 1
    count = np.searchsorted(parent, np.arange(n), "right") + 1 - first
    digests = np.array([digest for level in levels for digest in level.digests], np.uint64)
    return FolderRows(
        name=Strings.of(name for level in levels for name in level.names),
        parent=np.concatenate(([0], parent)).astype(np.int32),
        first=first.astype(np.int32),
        count=count.astype(np.int32),
        session=np.array([session for level in levels for session in level.sessions], np.int32),
        date=np.array([date for level in levels for date in level.dates], np.int32),
        key=distinct_keys(digests, FOLDER_BITS),
    )


def _levels(leaves: Sequence[Leaf]) -> list[_Level]:
    """One pass over leaves in path order; `branch` holds the current leaf's folder in each level."""
    root = _Level()
    root.add("", 0, digest64(()))
    levels = [root]
    branch = [0]
    before: tuple[str, ...] = ()
    for leaf in leaves:
        shared = _shared(before, leaf.parts)
        del branch[shared + 1 :]
        for depth in range(shared, len(leaf.parts)):
            if depth + 1 == len(levels):
                levels.append(_Level())
            digest = digest64(part.encode() for part in leaf.parts[: depth + 1])
            levels[depth + 1].add(leaf.parts[depth], branch[depth], digest)
            branch.append(len(levels[depth + 1].names) - 1)
        own = levels[len(leaf.parts)].sessions
        own[branch[-1]] = leaf.session if own[branch[-1]] < 0 else own[branch[-1]]
        for level, row in zip(levels, branch, strict=False):
            level.dates[row] = max(level.dates[row], leaf.date)
        before = leaf.parts
    return levels


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """How many parts two paths have in common from the root on."""
    shared = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        shared += 1
    return shared
