"""`Prefetching` has small files fetched that a user is likely to read next, by their order in the tree."""

import os
import threading
from bisect import bisect_right
from collections.abc import Hashable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from cachetools import LRUCache

from onefs import alf
from onefs.catalogue.interface import Folder
from onefs.catalogue.stored import MustWaitError
from onefs.errors import OnefsError
from onefs.fetch.access import Content
from onefs.fetch.prefetch import Counts, Prefetcher
from onefs.vfs.contents import Contents
from onefs.vfs.forest import Forest
from onefs.vfs.nodes import DatasetFile
from onefs.vfs.tree import Tree

SESSIONS_LOOKED_AT = 8
"""Sessions to look into for a file of one name."""

FOLDERS_KEPT = 64


class CachedNames:
    """Which files are in the cache, by its folders: each is read once, and what is fetched after that is added."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._folders: LRUCache[str, set[str]] = LRUCache(FOLDERS_KEPT)

    def has(self, path: str) -> bool:
        """Whether a file is there, or was fetched since its folder was read."""
        folder, _, name = path.rpartition("/")
        names = self._folders.get(folder)
        if names is None:
            names = self._folders[folder] = self._content.cached_names_in(folder)
        return name in names

    def fetched(self, path: str) -> None:
        """A file is being fetched. If it should have been there, files left the cache: its folder is read again."""
        folder, _, name = path.rpartition("/")
        names = self._folders.get(folder)
        if names is not None:
            if name in names:
                del self._folders[folder]
            else:
                names.add(name)


class SmallFile:
    """A file of the tree, as the prefetcher sees it."""

    __slots__ = ("_content", "_names", "node")

    def __init__(self, node: DatasetFile, content: Content, names: CachedNames) -> None:
        self.node = node
        self._content = content
        self._names = names

    @property
    def id(self) -> int:
        """Its inode number, which is another one for other bytes."""
        return self.node.ino

    @property
    def size_bytes(self) -> int:
        """Its size; -1 if the catalogue does not know."""
        return self.node.size_bytes

    @property
    def is_missing(self) -> bool:
        """Whether it may be prefetched."""
        return (
            self._content.is_small(self.size_bytes)
            and not self._names.has(self.node.dataset.path)
            and self._content.may_prefetch(self.node.dataset)
        )

    def note_fetch(self) -> None:
        """Note that it is being fetched."""
        self._names.fetched(self.node.dataset.path)

    def prefetch(self) -> None:
        """Begin to fetch it."""
        self.note_fetch()
        self._content.prefetch(self.node.dataset)


class Files:
    """Makes the prefetcher's files."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._names = CachedNames(content)

    def of(self, node: DatasetFile) -> SmallFile:
        """A file of the tree."""
        return SmallFile(node, self._content, self._names)


class FolderOrder:
    """The files of one folder, as a listing shows them."""

    def __init__(self, path: str, contents: Contents, files: Files) -> None:
        self._contents = contents
        self._files = files
        self.key: Hashable = ("folder", path)

    def after(self, file: SmallFile | None) -> Iterator[SmallFile]:
        """The files behind one, or all."""
        nodes = self._contents.files_after(file.node.name if file is not None else "")
        return map(self._files.of, nodes)

    def group(self, file: SmallFile) -> str:
        """What the names of a file's ALF object begin with; "" if the name is none of ALF's."""
        name = alf.parse_file_name(file.node.name)
        if name is None:
            return ""
        return f"_{name.namespace}_{name.object}." if name.namespace else f"{name.object}."

    def members(self, group: str) -> Iterator[SmallFile]:
        """The files of one object."""
        nodes = self._contents.files_named(group) if group else ()
        return map(self._files.of, nodes)


class Sessions:
    """The sessions of a tree in the order of its listings. Keeps the folders that were listed last."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._listed: LRUCache[int, list[Folder]] = LRUCache(FOLDERS_KEPT)

    def after(self, row: int) -> Iterator[int]:
        """Rows of the sessions behind that of a row."""
        folder = self.tree.catalogue.session_folder(row)
        while folder.row:  # that of the root is 0
            siblings = self._folders(folder.parent)
            at = bisect_right(siblings, _bytes(folder), key=_bytes)  # they are sorted by the bytes of their names
            yield from self._sessions_in(islice(siblings, at, None))
            folder = self.tree.catalogue.folder(folder.parent)

    def _sessions_in(self, folders: Iterable[Folder]) -> Iterator[int]:
        for folder in folders:
            if folder.session is not None:
                yield folder.session
            else:
                yield from self._sessions_in(self._folders(folder.row))

    def _folders(self, row: int) -> list[Folder]:
        found = self._listed.get(row)
        if found is None:
            found = self._listed[row] = self.tree.catalogue.folders(row)
        return found


def _bytes(folder: Folder) -> bytes:
    return os.fsencode(folder.name)


class NameOrder:
    """The files of one path in session after session, as listings show them; none where a database may be asked."""

    def __init__(self, sessions: Sessions, rel_path: str, files: Files) -> None:
        self._sessions = sessions
        self._rel_path = rel_path
        self._files = files
        self.key: Hashable = ("name", rel_path)

    def after(self, file: SmallFile | None) -> Iterator[SmallFile]:
        """The files behind one."""
        tree = self._sessions.tree
        if file is None or tree.may_ask:
            return
        for row in islice(self._sessions.after(file.node.session), SESSIONS_LOOKED_AT):
            node = tree.file_in_session(row, self._rel_path)
            if node is not None:
                yield self._files.of(node)

    def group(self, file: SmallFile) -> str:  # noqa: ARG002
        """Attributes of one object do not stand beside one another here."""
        return ""

    def members(self, group: str) -> Iterator[SmallFile]:  # noqa: ARG002
        """None."""
        return iter(())


class Prefetching:
    """Follows what is opened and read, and has fetched what is likely next. Safe to use from several threads."""

    def __init__(self, content: Content, most_files: int, most_bytes: int) -> None:
        """Keep at most so many files and bytes ahead of each run of files that are read; no files: prefetch nothing."""
        self._content = content
        self._files = Files(content)
        self._is_on = most_files > 0
        self._lock = threading.Lock()  # guards those below
        self._prefetcher: Prefetcher[SmallFile] = Prefetcher(most_files, most_bytes)
        self._forest: Forest | None = None
        self._sessions: Sessions

    @property
    def counts(self) -> Counts:
        """What became of the files that were prefetched."""
        return self._prefetcher.counts

    def facts(self) -> dict[str, Any]:
        """The same, as JSON values."""
        return {f"{key}_files": number for key, number in self.counts._asdict().items()}

    def is_ahead(self, node: DatasetFile) -> bool:
        """Whether a file was prefetched, and was not read since."""
        return self._prefetcher.is_ahead(node.ino)

    def opened(self, forest: Forest, node: DatasetFile, user: int, *, is_fetched: bool) -> bool:
        """A user opened a file. Gives whether to tell of the first bytes that are read of it, by `read`."""
        if not is_fetched:
            return self.is_ahead(node)
        if not self._is_on or not self._content.is_small(node.size_bytes):
            return False
        with self._lock, suppress(OnefsError, MustWaitError):
            if forest is not self._forest:
                self._prefetcher.forget()
                self._forest, self._sessions = forest, Sessions(forest.root)
            orders = self._orders(self._sessions, node)
            if orders is not None:
                file = self._files.of(node)
                file.note_fetch()
                self._fetch(self._prefetcher.opened(user, file, *orders))
                return True
        return False

    def read(self, node: DatasetFile, user: int) -> None:
        """A user reads the first bytes of a file that was fetched for that, or ahead."""
        with self._lock, suppress(OnefsError, MustWaitError):
            self._fetch(self._prefetcher.read(user, self._files.of(node)))

    def _fetch(self, files: list[SmallFile]) -> None:
        for file in files:
            file.prefetch()

    def _orders(self, sessions: Sessions, node: DatasetFile) -> tuple[FolderOrder, NameOrder] | None:
        """The orders in which a file stands; None if its folder is not at hand in the root's tree."""
        tree = sessions.tree
        folder = tree.folder_at_hand(node) if node.catalogue is tree.catalogue else None
        if folder is None or not isinstance(folder.children, Contents):
            return None
        session_path = tree.catalogue.session_path(node.session)
        rel_path = f"{folder.path}/{node.name}".removeprefix(f"{session_path}/")
        in_folder = FolderOrder(folder.path, folder.children, self._files)
        return in_folder, NameOrder(sessions, rel_path, self._files)
