"""`KeptFolders`: the folders that the kernel keeps attributes and listings of, and the versions of their listings."""

import itertools
import threading
from collections.abc import Iterable, Iterator

from onefs.vfs import inodes
from onefs.vfs.staleness import EVERY_FOLDER, ITSELF, Name

MOST = 100_000
"""The most folders that the kernel is to keep, and the most versions that are remembered one by one."""
VERSIONS = 1_000_000_000


class KeptFolders:
    """What the kernel keeps of folders until it is told to forget it. Safe to use from several threads.

    A folder gets a new version after its listing changed, and before the kernel is told. The kernel compares versions:
    it drops a listing that it began under another version, also one that was under way while it was told.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all below; `note`, `version` and `times_taken` read without it
        self._numbers = itertools.count(1)
        self._versions: tuple[int, dict[int, int]] = 0, {}  # of folders without one of their own; and those that have
        self._kept: dict[int, set[int]] = {}  # by view
        self._n_kept = 0
        self.times_taken = 0
        """How often folders were taken that were noted. What was noted before counts only if this is still the same."""

    def note(self, ino: int) -> bool:
        """Note that the kernel is to keep a folder of a view. False if it keeps too many already."""
        view = _view_of(ino)
        if ino in self._kept.get(view, ()):
            return True
        with self._lock:
            if self._n_kept < MOST and ino not in (kept := self._kept.setdefault(view, set())):
                kept.add(ino)
                self._n_kept += 1
            return ino in self._kept.get(view, ())

    def version(self, ino: int) -> int:
        """The version of a folder's listing, less than 10**9."""
        others, versions = self._versions
        return versions.get(ino, others)

    def new_version(self) -> int:
        """A version that no folder has or had."""
        return next(self._numbers) % VERSIONS

    def changed(self, names: Iterable[Name]) -> Iterator[Name]:
        """The same names, each once its folder has a new version; in place of `EVERY_FOLDER` all that are kept.

        Call it when what changed is shown already: a version must not be newer than the listing.
        """
        for name in names:
            if name.name == EVERY_FOLDER:
                yield from self._every(_view_of(name.parent_ino))
            else:
                yield self._renewed(name)
        if self._n_kept >= MOST:
            for view in list(self._kept):
                yield from self._every(view)

    def _every(self, view: int) -> Iterator[Name]:
        """All folders of a view that are kept, and its root. They no longer are.

        Each comes twice: the first time the kernel waits for the lookups and listings under way in it. They may bring
        attributes of folders in there that were noted, but that the kernel has not heard of before.
        """
        folders = [inodes.view_root(view), *self._taken(view)]
        for ino in (*folders, *folders):
            yield self._renewed(Name(ino, ITSELF))

    def _taken(self, view: int) -> set[int]:
        with self._lock:
            self.times_taken += 1
            kept = self._kept.pop(view, set())
            self._n_kept -= len(kept)
            return kept

    def _renewed(self, name: Name) -> Name:
        """A name whose folder has a new version from now on."""
        with self._lock:
            _, versions = self._versions
            versions[name.parent_ino] = self.new_version()
            if len(versions) > MOST:
                self._versions = self.new_version(), {}
            return name


def _view_of(ino: int) -> int:
    """The view of a folder that stands in one."""
    return 0 if ino == inodes.ROOT else inodes.view_of(ino) or 0
