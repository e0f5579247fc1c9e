"""`Tree`, one catalogue under one view: inode numbers and names to nodes, sessions built on demand."""

import threading
from collections.abc import Callable, Iterable, Mapping

from cachetools import LRUCache

from onefs.catalogue.changes import Changes
from onefs.catalogue.interface import Catalogue
from onefs.catalogue.silent import SilentSnapshot
from onefs.catalogue.snapshot import Folder
from onefs.errors import GoneError, NotInCatalogueError
from onefs.vfs import inodes, sessions
from onefs.vfs.contents import Nodes, nodes_of
from onefs.vfs.nodes import Children, DatasetFile, Directory, Node, SpecialFile, as_directory, joined, midnight_s
from onefs.vfs.sessions import SessionsKept, SessionTree
from onefs.vfs.views import View

FOLDERS_KEPT = 20_000
MOST_AT_ONCE = 1000
"""The most nodes to make in the event loop: that takes some 20 ms, in which nothing else is answered."""

_ROOT_ROW = 0


class Tree:
    """One catalogue seen through one view. Safe to use from several threads.

    If it `may_ask`, then looking up and listing may wait for a database, and raise what that raises. `before_listing`
    is to be called before a listing is answered; it may wait, too, and have another tree take this one's place.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        view: View,
        files: Mapping[str, SpecialFile],
        *,
        before_listing: Callable[[], None] | None = None,
        kept: SessionsKept | None = None,
        folders_kept: int = FOLDERS_KEPT,
        on_doubled: Callable[[str], None] = lambda path: None,  # noqa: ARG005
    ) -> None:
        """`files` are the root's own by name. View 0 is that of the mount's root. `kept` may be several trees'.

        `on_doubled` is told the path of a file of which several editions are marked as the default.
        """
        self.catalogue = catalogue
        self.view = view
        self.files = files
        self.before_listing = before_listing
        self.may_ask = catalogue.may_ask
        self.is_live = catalogue.may_ask or before_listing is not None
        """Whether listings change without anybody telling of it, as they are asked for when somebody lists."""
        self.root_ino = self.folder_ino(_ROOT_ROW)
        self.root = self._directory(catalogue.folder(_ROOT_ROW), "", self.root_ino)
        self._files_by_ino = {file.ino: file for file in files.values()}
        self.looked_into: set[int] = set()
        """Keys of the sessions in which something was looked up, or listed: of no others the kernel knows a name."""
        self._on_doubled = on_doubled
        self._kept = kept or SessionsKept()
        self._token = object()  # what is kept of sessions is this tree's
        self._lock = threading.Lock()  # guards the two below
        self._folders: LRUCache[int, Directory] = LRUCache(folders_kept)
        self._times_changed = 0

    # -- looking -------------------------------------------------------------------------------------------------

    def node(self, ino: int) -> Node:
        """The node of a number. Raises `GoneError` if the catalogue no longer has it."""
        if ino == self.root_ino:
            return self.root
        kind, _, key = inodes.decode(ino)
        found: Node | None = None
        if kind is inodes.Kind.SPECIAL:
            found = self._files_by_ino.get(ino)
        elif kind is inodes.Kind.FOLDER:
            found = self._upper(key)
        elif kind is not inodes.Kind.LINK:
            row = self.catalogue.session_of_key(key)
            found = None if row is None else self._session(row).find(ino)
        if found is None:
            raise gone(ino)
        return found

    def file(self, ino: int) -> DatasetFile:
        """The file of a number, as `node` finds it."""
        row = self.catalogue.session_of_key(inodes.session_key_of(ino))
        found = None if row is None else self._session(row).file(ino)
        if found is None:
            raise gone(ino)
        return found

    def directory(self, ino: int) -> Directory:
        """The directory of a number. Raises `GoneError` or `NotADirectoryInTreeError`."""
        return as_directory(self.node(ino))

    def child(self, ino: int, name: str) -> Node:
        """The node called `name` in a directory. Raises `NotInCatalogueError`."""
        parent = self.directory(ino)
        found: Node | None = None
        if ino == self.root_ino:
            found = self.files.get(name)
        if found is None:
            found = self._inside(parent).get(name)
        if found is None and parent.folder is not None:
            folder = self.catalogue.child(parent.folder.row, name)
            found = self._directory(folder, parent.path, parent.ino) if folder else None
        if found is None:
            raise NotInCatalogueError(f"{joined(parent.path, name)} is not in the catalogue.")
        return found

    def children(self, ino: int) -> Nodes:
        """What a listing of a directory shows."""
        return self.children_of(self.listed(ino))

    def listed(self, ino: int) -> Directory:
        """The directory of a number for a listing: one inside a session as that is when its datasets are known."""
        if self.may_ask:
            kind, _, key = inodes.decode(ino)
            row = self.catalogue.session_of_key(key) if kind is inodes.Kind.COLLECTION else None
            if row is not None:
                self._renew(self.catalogue.session_folder(row))
        return self.directory(ino)

    def children_of(self, parent: Directory) -> Nodes:
        """What a listing shows of a directory that is at hand."""
        inside = self._inside(parent)
        others: list[Node] = []
        if parent.folder is not None:
            others += [
                self._directory(folder, parent.path, parent.ino)
                for folder in self.catalogue.folders(parent.folder.row)
                if folder.name not in inside
            ]
        if parent.ino == self.root_ino:
            others += self.files.values()
        return nodes_of(inside, others)

    def takes_long(self, ino: int, *, to_list: bool) -> bool:
        """Whether a question about a node, or its listing, makes more than `MOST_AT_ONCE` nodes first."""
        if self.catalogue.largest_folder <= MOST_AT_ONCE:
            return False
        kind, _, key = inodes.decode(ino)
        folder: Folder | None = None
        built: SessionTree | None = None
        if kind in (inodes.Kind.FILE, inodes.Kind.COLLECTION):
            row = self.catalogue.session_of_key(key)
            if row is not None:
                built = self._built(row)
                folder = built.top.folder if built else self.catalogue.session_folder(row)
        elif ino == self.root_ino or kind is inodes.Kind.FOLDER:
            directory = self.root if ino == self.root_ino else self._upper(key)
            folder = directory.folder if directory else None
            built = self._built(folder.session) if folder and folder.session is not None else None
        if folder is None or self.catalogue.n_below(folder) <= MOST_AT_ONCE:
            return False
        return to_list or (folder.session is not None and built is None)

    def number_of_file(self, session: int, rel_path: str) -> int | None:
        """The inode number of a dataset, shown or not. May ask only where its session has not been looked at."""
        node: Node = self._session(session).top
        for part in rel_path.split("/"):
            child = node.children.get(part) if isinstance(node, Directory) else None
            if child is None:
                return sessions.number_of_file(self.catalogue, session, rel_path)
            node = child
        # In views of one edition of each file, another than this one may have its name.
        is_it = isinstance(node, DatasetFile) and node.path.endswith(f"/{rel_path}")
        is_its = is_it and inodes.decode(node.ino).key == self.catalogue.session_key(session)
        return node.ino if is_its else sessions.number_of_file(self.catalogue, session, rel_path)

    def file_of_number(self, ino: int) -> DatasetFile | None:
        """The file of a number, whether it is shown or not. May ask only where its session was not looked at."""
        row = self.catalogue.session_of_key(inodes.session_key_of(ino))
        return None if row is None else sessions.file_of_number(self.catalogue, row, self._top(row), ino)

    def file_at_hand(self, ino: int) -> DatasetFile | None:
        """The file of a number, if its session's part stands ready and shows it."""
        row = self.catalogue.session_of_key(inodes.session_key_of(ino))
        built = None if row is None else self._built(row)
        return built.file(ino) if built else None

    def folder_at_hand(self, file: DatasetFile) -> Directory | None:
        """The folder that shows a file, if its session's part stands ready."""
        row = self.catalogue.session_of_key(inodes.decode(file.ino).key)
        built = None if row is None else self._built(row)
        if built is None:
            return None
        found = built.top
        for part in filter(None, file.folder_path.removeprefix(found.path).split("/")):
            child = found.children.get(part)
            if not isinstance(child, Directory):
                break  # a view shows it without the folder of its revision
            found = child
        return found

    def file_in_session(self, row: int, rel_path: str) -> DatasetFile | None:
        """The file of a path inside a session. Makes the session's part if need be, unless that takes long."""
        folder_ino = self.folder_ino(self.catalogue.session_folder(row).row)
        if self._built(row) is None and self.takes_long(folder_ino, to_list=True):
            return None
        node: Node | None = self._session(row).top
        for part in rel_path.split("/"):
            node = node.children.get(part) if isinstance(node, Directory) else None
        return node if isinstance(node, DatasetFile) else None

    def entries_under(self, view: View, catalogue: Catalogue, row: int) -> dict[tuple[int, str], Node]:
        """Every file and folder inside a session as a view would show it, if `catalogue` told of the row."""
        return sessions.built(view, catalogue, row, self._top(row)).entries()

    def has_built(self, session_key: int) -> bool:
        """Whether a session's part stands ready, so that its nodes can be had without asking."""
        row = self.catalogue.session_of_key(session_key)
        return row is not None and self._built(row) is not None

    def session_entries(self, row: int) -> dict[tuple[int, str], Node]:
        """Every file and folder inside a session, by its folder's inode number and its name."""
        return self._session(row).entries()

    def folder_ino(self, row: int) -> int:
        """The number of one of the catalogue's folders."""
        if row == _ROOT_ROW and not self.view.number:
            return inodes.ROOT
        return inodes.folder_ino(self.view.number, self.catalogue.folder_key(row))

    # -- forgetting ----------------------------------------------------------------------------------------------

    def forget(self, changes: Changes) -> dict[int, Directory]:
        """Drop what is kept of what the catalogue has changed. Gives the folders that were kept, by their rows."""
        changed = (*changes.folders_gone, *changes.folders_new)
        with self._lock:
            self._times_changed += 1
            kept = {row: self._folders.pop(self.catalogue.folder_key(row), None) for row in changed}
            self._drop_below(tuple(self.catalogue.folder_path(row) + "/" for row in changes.folders_gone))
            for before, _ in changes.sessions:
                if before is not None:
                    self._drop_sessions((before, *self.catalogue.session_folder(before).sessions))
            for row in changes.folders_new:
                self._drop_sessions(self.catalogue.folder(row).sessions)
        if _ROOT_ROW in kept:
            kept[_ROOT_ROW] = self.root
            self.root = self._directory(self.catalogue.folder(_ROOT_ROW), "", self.root_ino)
        return {row: folder for row, folder in kept.items() if folder is not None}

    def _drop_below(self, gone: tuple[str, ...]) -> None:
        if gone:
            for key in [key for key, folder in self._folders.items() if folder.path.startswith(gone)]:
                del self._folders[key]

    def take_over(self, old: "Tree") -> None:
        """Keep what an older tree kept of folders, if rows mean the same here: `forget` has to know what was there.

        What was looked into there counts for both: whoever is still using the older one may look further.
        """
        self.looked_into = old.looked_into
        base = self.catalogue.base if isinstance(self.catalogue, SilentSnapshot) else None
        if old.catalogue is not self.catalogue and old.catalogue is not base:
            return
        with old._lock:
            kept = list(old._folders.items())
        found = [(key, directory, self.catalogue.folder_of_key(key)) for key, directory in kept]
        with self._lock:
            self._folders.update(
                (key, directory)
                for key, directory, folder in found
                if folder and directory.folder and folder.sessions == directory.folder.sessions
            )

    def _drop_sessions(self, rows: Iterable[int]) -> None:
        for row in rows:
            self._kept.drop(self._token, row)

    # -- making --------------------------------------------------------------------------------------------------

    def _inside(self, parent: Directory) -> Children:
        if parent.folder is not None and parent.session is not None:
            self._renew(parent.folder)
            return self._session(self.catalogue.newest(parent.session)).top.children
        return parent.children

    def _renew(self, folder: Folder) -> None:
        """Have the catalogue refresh the datasets of all sessions in a folder, if it may ask a database."""
        if self.may_ask:
            for row in folder.sessions:
                self.catalogue.newest(row)

    def _upper(self, key: int) -> Directory | None:
        with self._lock:
            known = self._folders.get(key)
            times_changed = self._times_changed
        if known is None:
            known = self._find_upper(key)
            if known is not None:
                with self._lock:
                    if times_changed == self._times_changed:
                        self._folders[key] = known
        return known

    def _find_upper(self, key: int) -> Directory | None:
        folder = self.catalogue.folder_of_key(key)
        if folder is None:
            return None
        if folder.row == _ROOT_ROW:
            return self.root
        above = self._upper(self.catalogue.folder_key(folder.parent))
        return None if above is None else self._directory(folder, above.path, above.ino)

    def _directory(self, folder: Folder, parent_path: str, parent_ino: int) -> Directory:
        return Directory(
            ino=self.folder_ino(folder.row),
            parent_ino=parent_ino,
            name=folder.name,
            path=joined(parent_path, folder.name),
            time_s=midnight_s(folder.date) if folder.date else 0,
            session=folder.session,
            folder=folder,
        )

    def _session(self, row: int) -> SessionTree:
        tree = self._built(row)
        if tree is None:
            self.looked_into.add(self.catalogue.session_key(row))
            times_changed = self._times_changed
            tree = self._build(row)
            if tree.doubled:
                self._on_doubled(f"{tree.top.path}/{tree.doubled[0]}")
            with self._lock:
                if times_changed == self._times_changed:  # else another session on its path may have changed
                    self._kept.keep(self._token, row, tree)
        return tree

    def _built(self, row: int) -> SessionTree | None:
        return self._kept.find(self._token, row)

    def _build(self, row: int) -> SessionTree:
        return sessions.built(self.view, self.catalogue, row, self._top(row))

    def _top(self, row: int) -> Directory:
        folder = self.catalogue.session_folder(row)
        top = self._upper(self.catalogue.folder_key(folder.row))
        if top is None:
            raise GoneError(f"Session {folder.name} has no folder in the catalogue.")
        return top


def gone(ino: int) -> GoneError:
    """The error for a number that stands for nothing now."""
    return GoneError(f"Inode {ino} is no longer in the catalogue.", "Look the path up again.")
