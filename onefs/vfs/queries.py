"""Folders of `.onefs/query`: each is a term of a search, such as `subject=KS014`, and holds links to what matches."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import unquote

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from onefs import alf
from onefs.catalogue.interface import Catalogue
from onefs.catalogue.records import Session
from onefs.digests import digest64
from onefs.errors import BadTermError, GoneError, UsageError
from onefs.vfs import inodes
from onefs.vfs.links import rows_of_reference
from onefs.vfs.nodes import Directory, Link, Node, joined

NAME, SAVED = "query", "saved"
FOLDERS_KEPT = 1000


@dataclass(slots=True)
class Found:
    """The result of a search: rows of `catalogue` that are sessions, newest first.

    `n_left_out` is the number of sessions that the database found, too, but that have no place in the tree.
    """

    catalogue: Catalogue
    rows: NDArray[np.int64]
    n_left_out: int = 0
    _members: set[int] = field(default_factory=set)

    def __contains__(self, row: int) -> bool:
        if not self._members and len(self.rows):
            self._members = set(self.rows.tolist())
        return row in self._members


class Searcher(Protocol):
    """Answers searches. `search` and `saved` may wait for a database, and raise what that raises."""

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue in use, at rest: it asks no database."""

    @property
    def terms(self) -> Sequence[str]:
        """The names that terms have."""

    def check(self, words: Sequence[str]) -> None:
        """Raise `UsageError` if a word is no term."""

    def search(self, words: Sequence[str]) -> Found:
        """The sessions that match all words."""

    def saved_names(self) -> list[str]:
        """The names of saved searches, sorted."""

    def saved(self, name: str) -> Found | None:
        """The sessions of a saved search; None if there is none of that name."""


@dataclass(slots=True, eq=False)
class QueryFolder(Directory):
    """A folder of links to sessions: those that match `words`, or those saved under the name `saved`.

    `number` tells it apart in the inode numbers of its links. The folder of a term without a value is empty.
    """

    words: tuple[str, ...] = ()
    saved: str = ""
    number: int = 0
    is_empty: bool = False


class QueryFolders:
    """The query folders that were used last, each with numbers of its own. Not safe to use from several threads."""

    def __init__(self, most: int) -> None:
        self._by_ino: LRUCache[int, QueryFolder] = LRUCache(most)
        self._by_number: dict[int, QueryFolder] = {}
        self._last_number = 0

    def of_ino(self, ino: int) -> QueryFolder | None:
        """The folder of an inode number."""
        return self._by_ino.get(ino)

    def of_number(self, number: int) -> QueryFolder | None:
        """The folder whose links have a number in their inode numbers."""
        folder = self._by_number.get(number)
        return None if folder is None else self._by_ino.get(folder.ino)

    def add(self, folder: QueryFolder) -> QueryFolder:
        """The folder, with free numbers, or the one that is known at its path."""
        while (known := self._by_ino.get(folder.ino)) is not None:
            if known.path == folder.path:
                return known
            folder.ino = inodes.special_ino(folder.ino + 1)
        if len(self._by_ino) == self._by_ino.maxsize:
            _, gone = self._by_ino.popitem()
            del self._by_number[gone.number]
        folder.number = self._free_number()
        self._by_ino[folder.ino] = self._by_number[folder.number] = folder
        return folder

    def _free_number(self) -> int:
        """The next number that no folder has. One that was let go comes again after all others."""
        while True:
            self._last_number = (self._last_number + 1) % (1 << inodes.QUERY_BITS)
            if self._last_number not in self._by_number:
                return self._last_number


class Queries:
    """The folder `.onefs/query` and all below it. Safe to use from several threads.

    Folders are made as they are entered, and those entered last are kept.
    """

    def __init__(self, control: Directory, searcher: Searcher) -> None:
        self._searcher = searcher
        self._lock = threading.Lock()  # guards _folders
        self._folders = QueryFolders(FOLDERS_KEPT)
        path = joined(control.path, NAME)
        self.root = QueryFolder(_ino(path), control.ino, NAME, path, 0, is_empty=True)
        saved = joined(path, SAVED)
        self._saved = Directory(_ino(saved), self.root.ino, SAVED, saved, 0)

    def node(self, ino: int) -> Node | None:
        """The node of a number, if it is below this folder and was looked up lately."""
        if ino in (self.root.ino, self._saved.ino):
            return self.root if ino == self.root.ino else self._saved
        place = inodes.decode_query_link(ino)
        with self._lock:
            found = self._folders.of_ino(ino)
            folder = self._folders.of_number(place[0]) if place else None
        if found is not None or place is None:
            return found
        return self._link_of_key(folder, place[1]) if folder is not None else None

    def has(self, ino: int) -> bool:
        """Whether a number stands for something below this folder, or for the folder itself."""
        if ino in (self.root.ino, self._saved.ino) or inodes.decode_query_link(ino):
            return True
        with self._lock:
            return self._folders.of_ino(ino) is not None

    def may_search(self, ino: int) -> bool:
        """Whether a question about a number may search, which takes long even where no database is asked.

        What a link leads to is in its number.
        """
        return inodes.decode_query_link(ino) is None

    def child(self, parent: Directory, name: str) -> Node | None:
        """The node called `name` in a folder, None if there is none.

        Raises `BadTermError` for what is no term, and what a database raises. May ask.
        """
        if parent is self._saved:
            return self._saved_folder(name) if self._searcher.saved(name) is not None else None
        if parent is self.root and name == SAVED:
            return self._saved
        assert isinstance(parent, QueryFolder)
        if "=" in name and alf.parse_reference(name) is None:
            return self._term(parent, name)
        link = None if parent.is_empty else self._link(parent, name)
        if link is None and parent is self.root and not name.startswith("."):
            raise BadTermError(f"{joined(parent.path, name)}: {name!r} is no term.", self._remedy())
        return link

    def listed(self, folder: Directory) -> list[Node]:
        """What a listing of a folder shows: at the top the terms that there are. May ask."""
        if folder is self._saved:
            return [self._saved_folder(name) for name in self._searcher.saved_names()]
        if folder is self.root:
            return [self._saved, *(self._term(self.root, f"{name}=") for name in self._searcher.terms)]
        assert isinstance(folder, QueryFolder)
        return [] if folder.is_empty else list(self._links(folder))

    # -- folders -------------------------------------------------------------------------------------------------

    def _term(self, parent: QueryFolder, name: str) -> QueryFolder:
        word = unquote(name, errors="surrogateescape")
        key, _, value = word.partition("=")
        is_empty = not value
        words = parent.words if is_empty else (*parent.words, word)
        path = joined(parent.path, name)
        try:
            self._searcher.check([*parent.words, f"{key}=" if is_empty else word])
        except UsageError as error:
            raise BadTermError(f"{path}: {error.reason}", error.remedy) from None
        return self._kept(QueryFolder(_ino(path), parent.ino, name, path, 0, words=words, is_empty=is_empty))

    def _saved_folder(self, name: str) -> QueryFolder:
        path = joined(self._saved.path, name)
        return self._kept(QueryFolder(_ino(path), self._saved.ino, name, path, 0, saved=name))

    def _kept(self, folder: QueryFolder) -> QueryFolder:
        """The folder, or the one that is known at its path."""
        with self._lock:
            return self._folders.add(folder)

    def _remedy(self) -> str:
        return f"Write term=value, with one of the terms {', '.join(self._searcher.terms)}."

    def n_left_out(self, folder: QueryFolder) -> int:
        """The number of sessions that match and have no place in the tree. May ask."""
        return 0 if folder.is_empty else self._found(folder).n_left_out

    # -- results -------------------------------------------------------------------------------------------------

    def _found(self, folder: QueryFolder) -> Found:
        """The sessions of a folder now."""
        found = self._searcher.saved(folder.saved) if folder.saved else self._searcher.search(folder.words)
        if found is None:
            raise GoneError(f"There is no saved search {folder.saved!r} any more.", "Look the path up again.")
        return found

    def _links(self, folder: QueryFolder) -> Iterator[Link]:
        found = self._found(folder)
        sessions = [(row, found.catalogue.session(row)) for row in found.rows.tolist()]
        paths = {session.path: (row, session) for row, session in reversed(sessions)}  # two sessions may be at one
        shared = Counter(session.reference for _, session in paths.values())
        for row, session in dict.fromkeys(paths[session.path] for _, session in sessions):
            yield self._made_link(folder, found.catalogue, row, session, is_shared=shared[session.reference] > 1)

    def _link(self, folder: QueryFolder, name: str) -> Link | None:
        """The link called `name` in a folder: a reference, with the lab behind `@` where several labs have it."""
        if alf.parse_reference(name) is None:
            return None
        found = self._found(folder)
        reference, at, lab = name.rpartition("@")
        for wanted, of_lab in ((name, None), (reference, lab)) if at else ((name, None),):
            rows = [row for row in rows_of_reference(found.catalogue, wanted) if row in found]
            places = {found.catalogue.session(row).path: row for row in reversed(rows)}
            for row in places.values():
                session = found.catalogue.session(row)
                if (of_lab is None and len(places) == 1) or (of_lab == session.lab and len(places) > 1):
                    return self._made_link(folder, found.catalogue, row, session, is_shared=len(places) > 1)
        return None

    def _link_of_key(self, folder: QueryFolder, key: int) -> Link | None:
        """The link in a folder to the session of a key, None if there is no such session now. Asks nobody."""
        catalogue = self._searcher.catalogue
        row = catalogue.session_of_key(key)
        return None if row is None else self._made_link(folder, catalogue, row, catalogue.session(row), is_shared=False)

    def _made_link(
        self, folder: QueryFolder, catalogue: Catalogue, row: int, session: Session, *, is_shared: bool
    ) -> Link:
        reference = session.reference
        name = f"{reference}@{session.lab}" if is_shared else reference
        ino = inodes.query_link_ino(folder.number, catalogue.session_key(row))
        target = "../" * (folder.path.count("/") + 1) + session.path
        return Link(ino, name, joined(folder.path, name), target)


def _ino(path: str) -> int:
    return inodes.special_ino(digest64([path.encode(errors="surrogateescape")]))
