"""Owns the tree of one snapshot under one view: names and inode numbers to nodes, session subtrees built on demand."""

import threading
from collections.abc import Mapping

from cachetools import LRUCache

from onefs import alf
from onefs.catalogue.snapshot import Folder, Snapshot
from onefs.digests import digest64
from onefs.errors import GoneError, NotADirectoryInTreeError, NotInCatalogueError
from onefs.vfs import inodes
from onefs.vfs.nodes import Children, DatasetFile, Directory, Node, SpecialFile, midnight_s
from onefs.vfs.views import View

NODES_KEPT = 250_000
FOLDERS_KEPT = 20_000


class SessionTree:
    """The folders and files of one session."""

    __slots__ = ("nodes", "top")

    def __init__(self, top: Directory, nodes: dict[int, Node]) -> None:
        self.top = top
        self.nodes = nodes

    def __len__(self) -> int:
        return len(self.nodes) + 1


class Tree:
    """One snapshot seen through one view. Safe to use from several threads."""

    def __init__(
        self,
        snapshot: Snapshot,
        view: View,
        specials: Mapping[str, SpecialFile | Directory],
        *,
        lists_control: bool = False,
    ) -> None:
        """`specials` are the root's own entries by name; its directories are listed only with `lists_control`."""
        self.snapshot = snapshot
        self.view = view
        self._lists_control = lists_control
        self.specials = specials
        self._special_nodes = _by_ino(specials)
        self._lock = threading.Lock()  # guards the three below
        self._folders: LRUCache[int, Directory] = LRUCache(FOLDERS_KEPT)
        self._largest: tuple[int, SessionTree] | None = None  # the last one that had no room among the others
        self._sessions: LRUCache[int, SessionTree] = LRUCache(NODES_KEPT, getsizeof=len)
        self.root = self._directory(snapshot.folder(0), "", inodes.ROOT)

    def node(self, ino: int) -> Node:
        """The node of a number. Raises `GoneError` if the catalogue no longer has it."""
        if ino == inodes.ROOT:
            return self.root
        kind, _, key = inodes.decode(ino)
        found: Node | None
        if kind is inodes.Kind.SPECIAL:
            found = self._special_nodes.get(ino)
        elif kind is inodes.Kind.FOLDER:
            found = self._upper(key)
        else:
            row = self.snapshot.session_of_key(key)
            found = None if row is None else self._session(row).nodes.get(ino)
        if found is None:
            raise GoneError(f"Inode {ino} is no longer in the catalogue.", "Look the path up again.")
        return found

    def child(self, ino: int, name: str) -> Node:
        """The node called `name` in a directory. Raises `NotInCatalogueError`."""
        parent = self.directory(ino)
        found: Node | None = None
        if parent.ino == inodes.ROOT:
            found = self.specials.get(name)
        if found is None:
            found = self._inside(parent).get(name)
        if found is None and parent.folder is not None:
            folder = self.snapshot.child(parent.folder.row, name)
            found = self._directory(folder, parent.path, parent.ino) if folder else None
        if found is None:
            raise NotInCatalogueError(f"{_join(parent.path, name)} is not in the catalogue.")
        return found

    def children(self, ino: int) -> list[Node]:
        """What a listing of a directory shows."""
        return self.children_of(self.directory(ino))

    def children_of(self, parent: Directory) -> list[Node]:
        """The same, of a directory that is at hand."""
        inside = self._inside(parent)
        nodes = list(inside.values())
        if parent.folder is not None:
            nodes += [
                self._directory(folder, parent.path, parent.ino)
                for folder in self.snapshot.folders(parent.folder.row)
                if folder.name not in inside
            ]
        if parent.ino == inodes.ROOT:
            nodes += [node for node in self.specials.values() if self._lists_control or not isinstance(node, Directory)]
        return nodes

    def file_of(self, session: int, rel_path: str) -> DatasetFile | None:
        """The file of a session's dataset, if it is shown."""
        node: Node = self._session(session).top
        for part in rel_path.split("/"):
            child = node.children.get(part) if isinstance(node, Directory) else None
            if child is None:
                return None
            node = child
        return node if isinstance(node, DatasetFile) else None

    def folder_node(self, row: int) -> Directory:
        """The directory of one of the snapshot's folders."""
        node = self._upper(self.snapshot.folder_key(row)) if row else self.root
        if node is None:
            raise GoneError(f"Folder {row} is not in the catalogue.")
        return node

    def session_entries(self, row: int) -> dict[tuple[int, str], Node]:
        """Every file and folder inside a session, by its folder's inode number and its name."""
        entries: dict[tuple[int, str], Node] = {}
        below = [self._session(row).top]
        while below:
            directory = below.pop()
            for name, node in directory.children.items():
                entries[directory.ino, name] = node
                if isinstance(node, Directory):
                    below.append(node)
        return entries

    def directory(self, ino: int) -> Directory:
        """The directory of a number. Raises `GoneError` or `NotADirectoryInTreeError`."""
        node = self.node(ino)
        if not isinstance(node, Directory):
            raise NotADirectoryInTreeError(f"{node.path} is a file, not a directory.")
        return node

    def _inside(self, parent: Directory) -> Children:
        if parent.folder is not None and parent.session is not None:
            return self._session(parent.session).top.children
        return parent.children

    def _upper(self, key: int) -> Directory | None:
        with self._lock:
            known = self._folders.get(key)
        if known is None:
            known = self._find_upper(key)
            if known is not None:
                with self._lock:
                    self._folders[key] = known
        return known

    def _find_upper(self, key: int) -> Directory | None:
        folder = self.snapshot.folder_of_key(key)
        if folder is None:
            return None
        parent_row = folder.parent
        names = []
        while parent_row:
            above = self.snapshot.folder(parent_row)
            names.append(above.name)
            parent_row = above.parent
        return self._directory(folder, "/".join(reversed(names)), self._folder_ino(folder.parent))

    def _folder_ino(self, row: int) -> int:
        return inodes.folder_ino(self.view.number, self.snapshot.folder_key(row)) if row else inodes.ROOT

    def _directory(self, folder: Folder, parent_path: str, parent_ino: int) -> Directory:
        return Directory(
            ino=self._folder_ino(folder.row),
            parent_ino=parent_ino,
            name=folder.name,
            path=_join(parent_path, folder.name),
            time_s=midnight_s(folder.date) if folder.date else 0,
            session=folder.session,
            folder=folder,
        )

    def _session(self, row: int) -> SessionTree:
        with self._lock:
            tree = self._largest[1] if self._largest and self._largest[0] == row else self._sessions.get(row)
        if tree is None:
            tree = self._build(row)
            with self._lock:
                if len(tree) <= self._sessions.maxsize:
                    self._sessions[row] = tree
                else:
                    self._largest = (row, tree)
        return tree

    def _build(self, row: int) -> SessionTree:
        folder = self.snapshot.session_folder(row)
        top = self._upper(self.snapshot.folder_key(folder.row))
        if top is None:
            raise GoneError(f"Session {folder.name} has no folder in the catalogue.")
        return _SessionBuilder(self.view, self.snapshot, row, top).build()


class _SessionBuilder:
    """Builds one session's subtree from its rows, which come sorted by path."""

    def __init__(self, view: View, snapshot: Snapshot, session: int, top: Directory) -> None:
        self._view = view
        self._snapshot = snapshot
        self._session = session
        self._key = snapshot.session_key(session)
        self._top = top
        self._directories = {"": top}
        self._nodes: dict[int, Node] = {}
        self._fingerprints: dict[str, int] = {}

    def build(self) -> SessionTree:
        """Fingerprints count every row, shown or not, so that a number does not depend on what a view hides."""
        rows = self._snapshot.datasets(self._session)
        places = [path.rpartition("/") for path in rows.rel_paths]
        self._fingerprints = _folder_fingerprints({folder for folder, _, _ in places})
        base = inodes.file_ino(self._key, 0)
        numbers = inodes.file_fingerprints(rows.content)
        for row, is_shown in enumerate(self._view.shows(rows)):
            if not is_shown:
                continue
            folder, _, name = places[row]
            directory = self._directories.get(folder) or self._directory(folder)
            if name in directory.children:
                continue
            ino = base | numbers[row]
            directory.children[name] = self._nodes[ino] = DatasetFile(
                ino=ino,
                generation=inodes.generation(rows.content[row]),
                name=name,
                folder_path=directory.path,
                size_bytes=rows.sizes[row],
                time_s=directory.time_s,
                snapshot=self._snapshot,
                session=self._session,
                row=row,
            )
        return SessionTree(self._top, self._nodes)

    def _directory(self, rel_path: str) -> Directory:
        known = self._directories.get(rel_path)
        if known is not None:
            return known
        above, _, name = rel_path.rpartition("/")
        parent = self._directory(above)
        revision = alf.REVISION_FOLDER.fullmatch(name)
        day = alf.revision_date(revision["revision"]) if revision else None
        directory = Directory(
            ino=inodes.collection_ino(self._view.number, self._key, self._fingerprints[rel_path]),
            parent_ino=parent.ino,
            name=name,
            path=_join(parent.path, name),
            time_s=midnight_s(day) if day else parent.time_s,
        )
        parent.children[name] = self._nodes[directory.ino] = self._directories[rel_path] = directory
        return directory


def _folder_fingerprints(folders: set[str]) -> dict[str, int]:
    paths = set()
    for folder in folders:
        while folder and folder not in paths:
            paths.add(folder)
            folder = folder.rpartition("/")[0]
    ordered = sorted(paths)
    numbers = inodes.collection_fingerprints([digest64([path.encode(errors="surrogateescape")]) for path in ordered])
    return dict(zip(ordered, numbers, strict=True))


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _by_ino(specials: Mapping[str, SpecialFile | Directory]) -> dict[int, Node]:
    nodes: dict[int, Node] = {}
    for node in specials.values():
        nodes[node.ino] = node
        if isinstance(node, Directory):
            nodes |= {child.ino: child for child in node.children.values()}
    return nodes
