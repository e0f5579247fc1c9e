"""The part of a tree that is in one session: its folders and files, built from its rows."""

import threading
from dataclasses import replace

from cachetools import LRUCache

from onefs import alf
from onefs.catalogue.interface import Catalogue, Rows
from onefs.catalogue.sharing import SharedRows, datasets_shown, sessions_sharing
from onefs.digests import digest64
from onefs.vfs import inodes
from onefs.vfs.nodes import DatasetFile, Directory, Node, joined, midnight_s
from onefs.vfs.views import View

NODES_KEPT = 250_000


class SessionTree:
    """The folders and files of one session. `doubled`: names of which several editions are marked as the default."""

    __slots__ = ("doubled", "nodes", "top")

    def __init__(self, top: Directory, nodes: dict[int, Node], doubled: tuple[str, ...] = ()) -> None:
        self.top = top
        self.nodes = nodes
        self.doubled = doubled

    def __len__(self) -> int:
        return len(self.nodes) + 1

    def entries(self) -> dict[tuple[int, str], Node]:
        """Every file and folder, by its folder's inode number and its name."""
        entries: dict[tuple[int, str], Node] = {}
        below = [self.top]
        while below:
            directory = below.pop()
            for name, node in directory.children.items():
                entries[directory.ino, name] = node
                if isinstance(node, Directory):
                    below.append(node)
        return entries


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
    rows = catalogue.datasets(session)
    for row, number in enumerate(_numbers(catalogue, rows)):
        if number == ino and rows.exists[row]:
            folder, _, name = rows.rel_paths[row].rpartition("/")
            place = joined(top.path, folder) if folder else top.path
            return _file(ino, name, place, _time_s(folder, top.time_s), catalogue, rows, row)
    return None


def number_of_file(catalogue: Catalogue, session: int, rel_path: str) -> int | None:
    """The inode number of a dataset that exists in a session's row. May ask for the datasets."""
    rows = catalogue.datasets(session)
    row = rows.rel_paths.index(rel_path) if rel_path in rows.rel_paths else None
    if row is None or not rows.exists[row]:
        return None
    return _numbers(catalogue, rows)[row]


class _SessionBuilder:
    """Builds one session's subtree from its rows, which come sorted by path."""

    def __init__(self, view: View, catalogue: Catalogue, session: int, top: Directory) -> None:
        self._view = view
        self._catalogue = catalogue
        self._session = session
        self._key = catalogue.session_key(sessions_sharing(catalogue, session)[0])
        # What is kept of the folder is shared by all who build it.
        self._top = replace(top, children={})
        self._directories = {"": self._top}
        self._nodes: dict[int, Node] = {}
        self._fingerprints: dict[str, int] = {}

    def build(self) -> SessionTree:
        """Fingerprints count every row, shown or not, so that a number does not depend on what a view hides."""
        rows = datasets_shown(self._catalogue, self._session)
        self._fingerprints = _folder_fingerprints({path.rpartition("/")[0] for path in rows.rel_paths})
        sources = rows.sources if isinstance(rows, SharedRows) else None
        parts = {part.session: part for part, _ in sources} if sources else {rows.session: rows}
        numbers = {session: _numbers(self._catalogue, part) for session, part in parts.items()}
        shown = self._view.shown(rows)
        for row, path in enumerate(shown):
            if path is None:
                continue
            folder, _, name = path.rpartition("/")
            directory = self._directories.get(folder) or self._directory(folder)
            if name in directory.children:
                continue
            place, time_s = directory.path, directory.time_s
            if path != rows.rel_paths[row]:
                place, time_s = self._own_place(rows.rel_paths[row])
            part, at = sources[row] if sources else (rows, row)
            ino = numbers[part.session][at]
            node = _file(ino, name, place, time_s, self._catalogue, part, at)
            directory.children[name] = self._nodes[ino] = node
        return SessionTree(self._top, self._nodes, shown.doubled)

    def _own_place(self, rel_path: str) -> tuple[str, int]:
        """Where a file stands in the archive, and its time: the same in every view."""
        folder = rel_path.rpartition("/")[0]
        place = joined(self._top.path, folder) if folder else self._top.path
        return place, _time_s(folder, self._top.time_s)

    def _directory(self, rel_path: str) -> Directory:
        known = self._directories.get(rel_path)
        if known is not None:
            return known
        above, _, name = rel_path.rpartition("/")
        parent = self._directory(above)
        directory = Directory(
            ino=inodes.collection_ino(self._view.number, self._key, self._fingerprints[rel_path]),
            parent_ino=parent.ino,
            name=name,
            path=joined(parent.path, name),
            time_s=_time_s(name, parent.time_s),
        )
        parent.children[name] = self._nodes[directory.ino] = self._directories[rel_path] = directory
        return directory


def _numbers(catalogue: Catalogue, rows: Rows) -> list[int]:
    """The inode numbers of a session's datasets."""
    base = inodes.file_ino(catalogue.session_key(rows.session), 0)
    return [base | fingerprint for fingerprint in inodes.file_fingerprints(rows.content)]


def _file(
    ino: int, name: str, folder_path: str, time_s: int, catalogue: Catalogue, rows: Rows, row: int
) -> DatasetFile:
    return DatasetFile(
        ino=ino,
        generation=inodes.generation(rows.content[row]),
        name=name,
        folder_path=folder_path,
        size_bytes=rows.sizes[row],
        time_s=time_s,
        catalogue=catalogue,
        session=rows.session,
        row=row,
    )


def _time_s(folder: str, above_s: int) -> int:
    """The time of what is in a folder, by its path: that of the innermost revision that is a date, else `above_s`."""
    if "#" in folder:
        for name in reversed(folder.split("/")):
            revision = alf.REVISION_FOLDER.fullmatch(name)
            day = alf.revision_date(revision["revision"]) if revision else None
            if day:
                return midnight_s(day)
    return above_s


def _folder_fingerprints(folders: set[str]) -> dict[str, int]:
    paths = set()
    for folder in folders:
        while folder and folder not in paths:
            paths.add(folder)
            folder = folder.rpartition("/")[0]
    ordered = sorted(paths)
    numbers = inodes.collection_fingerprints([digest64([path.encode(errors="surrogateescape")]) for path in ordered])
    return dict(zip(ordered, numbers, strict=True))
