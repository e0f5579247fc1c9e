"""The part of a tree that lies in one session, built from its rows, and the sessions that were built last."""

import threading
from array import array
from dataclasses import replace
from functools import lru_cache

from cachetools import LRUCache

from onefs.catalogue.interface import Catalogue
from onefs.catalogue.sharing import merged, sessions_sharing
from onefs.digests import digest64
from onefs.vfs import inodes
from onefs.vfs.contents import Contents, SessionFiles, nodes_of, numbers_of, revision_time_s
from onefs.vfs.nodes import DatasetFile, Directory, Node, joined
from onefs.vfs.views import View

NODES_KEPT = 250_000
DIGESTS_KEPT = 10_000
"""Digests of folders' paths in their sessions, which most sessions have in common."""


class SessionTree:
    """The folders and files of one session. `doubled`: names of which several editions are marked as the default."""

    __slots__ = ("_files", "_folders", "doubled", "top")

    def __init__(
        self, top: Directory, folders: dict[int, Directory], files: SessionFiles, doubled: tuple[str, ...]
    ) -> None:
        """`folders` are those below `top`, by their inode numbers."""
        self.top = top
        self._folders = folders
        self._files = files
        self.doubled = doubled

    def __len__(self) -> int:
        return len(self._files) + len(self._folders) + 1

    def find(self, ino: int) -> Node | None:
        """The file or folder of an inode number."""
        return self.file(ino) if inodes.is_file(ino) else self._folders.get(ino)

    def file(self, ino: int) -> DatasetFile | None:
        """The file of an inode number."""
        return self._files.shown_of_number(ino)

    def entries(self) -> dict[tuple[int, str], Node]:
        """Every file and folder, by its folder's inode number and its name."""
        return {
            (folder.ino, node.name): node
            for folder in (self.top, *self._folders.values())
            for node in nodes_of(folder.children)
        }


class SessionsKept:
    """The sessions that were built last, of any number of trees. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards those below
        self._sessions: LRUCache[tuple[object, int], SessionTree] = LRUCache(NODES_KEPT, getsizeof=len)
        self._largest: tuple[tuple[object, int], SessionTree] | None = None  # the last that had no room among them

    def find(self, tree: object, row: int) -> SessionTree | None:
        """What was built of a session's row for a tree, if it is still kept."""
        key = tree, row
        with self._lock:
            return self._largest[1] if self._largest and self._largest[0] == key else self._sessions.get(key)

    def keep(self, tree: object, row: int, built: SessionTree) -> None:
        """Keep what was built."""
        with self._lock:
            if len(built) <= self._sessions.maxsize:
                self._sessions[tree, row] = built
            else:
                self._largest = ((tree, row), built)

    def drop(self, tree: object, row: int) -> None:
        """Keep it no longer."""
        key = tree, row
        with self._lock:
            self._sessions.pop(key, None)
            if self._largest and self._largest[0] == key:
                self._largest = None


def built(view: View, catalogue: Catalogue, session: int, top: Directory) -> SessionTree:
    """The folders and files of a session's row, in its folder `top`. May ask for its datasets."""
    return _SessionBuilder(view, catalogue, session, top).build()


def file_of_number(catalogue: Catalogue, session: int, top: Directory, ino: int) -> DatasetFile | None:
    """The file of a number in a session's row, whether or not a view shows it. May ask for the datasets."""
    return SessionFiles(catalogue, catalogue.datasets(session), top).of_number(ino)


def number_of_file(catalogue: Catalogue, session: int, rel_path: str) -> int | None:
    """The inode number of a dataset that exists in a session's row. May ask for the datasets."""
    rows = catalogue.datasets(session)
    row = rows.rel_paths.index(rel_path) if rel_path in rows.rel_paths else None
    if row is None or not rows.exists[row]:
        return None
    return numbers_of(catalogue, rows)[row]


class _SessionBuilder:
    """Builds one session's subtree from its rows, which come sorted by path."""

    def __init__(self, view: View, catalogue: Catalogue, session: int, top: Directory) -> None:
        self._view = view
        sharing = sessions_sharing(catalogue, session)
        self._key = catalogue.session_key(sharing[0])
        self._rows = merged(catalogue, session, sharing)
        self._files = SessionFiles(catalogue, self._rows, top)
        self._contents = {"": Contents(self._files, "")}
        # What is kept of the folder is shared by all who build it.
        self._directories = {"": replace(top, children=self._contents[""])}
        self._fingerprints: dict[str, int] = {}

    def build(self) -> SessionTree:
        """Fingerprints count every row, shown or not, so that a number does not depend on what a view hides."""
        rel_paths = self._rows.rel_paths
        folders = [path.rpartition("/")[0] for path in rel_paths]
        self._fingerprints = _folder_fingerprints(set(folders))
        shown_paths = self._view.shown(self._rows)
        shown = array("i")
        folder, rows = "", self._contents[""].rows
        for row, path in enumerate(shown_paths):
            if path is None:
                continue
            shown.append(row)
            if path != rel_paths[row]:
                new_folder, _, name = path.rpartition("/")
                self._contents_of(new_folder).moved[name] = row
                continue
            if folders[row] != folder:  # mostly it is the one before
                folder = folders[row]
                rows = self._contents_of(folder).rows
            rows.append(row)
        self._files.show(shown)
        top = self._directories.pop("")
        by_ino = {directory.ino: directory for directory in self._directories.values()}
        return SessionTree(top, by_ino, self._files, shown_paths.doubled)

    def _contents_of(self, folder: str) -> Contents:
        """What a folder holds. Makes it if need be."""
        contents = self._contents.get(folder)
        return self._make_folder(folder) if contents is None else contents

    def _make_folder(self, rel_path: str) -> Contents:
        """Make a folder, and those above it that are not there; what it holds."""
        above, _, name = rel_path.rpartition("/")
        if above not in self._contents:
            self._make_folder(above)
        parent = self._directories[above]
        contents = self._contents[rel_path] = Contents(self._files, rel_path)
        self._directories[rel_path] = self._contents[above].folders[name] = Directory(
            ino=inodes.collection_ino(self._view.number, self._key, self._fingerprints[rel_path]),
            parent_ino=parent.ino,
            name=name,
            path=joined(parent.path, name),
            time_s=revision_time_s(name, parent.time_s),
            children=contents,
        )
        return contents


def _folder_fingerprints(folders: set[str]) -> dict[str, int]:
    paths = set()
    for folder in folders:
        while folder and folder not in paths:
            paths.add(folder)
            folder = folder.rpartition("/")[0]
    ordered = sorted(paths)
    numbers = inodes.collection_fingerprints([_folder_digest(path) for path in ordered])
    return dict(zip(ordered, numbers, strict=True))


@lru_cache(DIGESTS_KEPT)
def _folder_digest(rel_path: str) -> int:
    return digest64([rel_path.encode(errors="surrogateescape")])
