"""`KeptFolders`: the folders whose listings the kernel keeps (kept listings), and the versions of these listings.

A folder's version is the nanoseconds of its modification time. Before the kernel shows a kept listing, it asks for the
folder's attributes once they have timed out or were invalidated, and drops the listing if the time differs. So a second
walk over a tree sends a GETATTR for each folder, as reading made its access time stale, and a third one nothing.
`onefs.fuse.notify` invalidates what changed; folders whose listings change by themselves are live (`Forest.is_live`).
"""

import itertools
import threading
from collections.abc import Iterable, Iterator

from onefs.vfs import inodes
from onefs.vfs.staleness import EVERY_FOLDER, ITSELF, Name

MOST_KEPT = 100_000
"""The most folders that the kernel may keep, and the most versions that are remembered one by one."""
VERSIONS = 1_000_000_000
"""Versions are less than this: they are nanoseconds."""


class KeptFolders:
    """The folders that the kernel keeps until they are invalidated. Safe to use from several threads.

    A folder gets a new version after its listing changed, and before the kernel is notified. The kernel compares
    versions: it drops a listing that it began under another version, also if it was notified in the midst of it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards changes of all below
        self._numbers = itertools.count(1)
        self._versions: tuple[int, dict[int, int]] = 0, {}  # of all folders without one of their own; own ones
        self._kept: dict[int, set[int]] = {}  # by view
        self._n_kept = 0
        self.n_drops = 0
        """How often noted folders were dropped. A version is valid if this is the same before `note` and after it."""

    def note(self, ino: int) -> bool:
        """Note that the kernel may keep a folder of a view. Returns False if it must not: it keeps too many already."""
        view = _view_of(ino)
        if ino in self._kept.get(view, ()):
            return True
        with self._lock:
            if self._n_kept < MOST_KEPT and ino not in (kept := self._kept.setdefault(view, set())):
                kept.add(ino)
                self._n_kept += 1
            return ino in self._kept.get(view, ())

    def version(self, ino: int) -> int:
        """The version of a folder's listing, less than 10**9."""
        others, versions = self._versions
        return versions.get(ino, others)

    def new_version(self) -> int:
        """A version that no folder has had among the last 10**9."""
        return next(self._numbers) % VERSIONS

    def changed(self, names: Iterable[Name]) -> Iterator[Name]:
        """Give the folders of these names new versions. Yields the names, and all kept folders for `EVERY_FOLDER`.

        Call it once the tree shows the change: a new version must not come with an old listing.
        """
        for name in names:
            if name.name == EVERY_FOLDER:
                yield from self._every(_view_of(name.parent_ino))
            else:
                yield self._renewed(name)
        if self._n_kept >= MOST_KEPT:
            for view in list(self._kept):
                yield from self._every(view)

    def _every(self, view: int) -> Iterator[Name]:
        """Drop the kept folders of a view. Yields them and the view's root, with new versions, each twice.

        Twice, since lookups and listings under way may bring the kernel attributes of noted folders that it did not
        know the first time. It waits for them while it is notified of the folder above.
        """
        folders = [inodes.view_root(view), *self._drop(view)]
        for ino in (*folders, *folders):
            yield self._renewed(Name(ino, ITSELF))

    def _drop(self, view: int) -> set[int]:
        with self._lock:
            self.n_drops += 1
            kept = self._kept.pop(view, set())
            self._n_kept -= len(kept)
            return kept

    def _renewed(self, name: Name) -> Name:
        """Give a name's folder a new version. Returns the name."""
        with self._lock:
            _, versions = self._versions
            versions[name.parent_ino] = self.new_version()
            if len(versions) > MOST_KEPT:
                self._versions = self.new_version(), {}
            return name


def _view_of(ino: int) -> int:
    """The view of a folder that stands in one."""
    return 0 if ino == inodes.ROOT else inodes.view_of(ino) or 0
