"""What folders inside a session hold, kept as columns of numbers: there may be a million files in one folder."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, overload

import numpy as np

from onefs import alf
from onefs.catalogue.interface import Catalogue, Rows
from onefs.catalogue.sharing import SharedRows, Source
from onefs.vfs import inodes
from onefs.vfs.nodes import Attributes, DatasetFile, Directory, Node, joined, midnight_s

FILES_KEPT = 1000
"""Nodes of files that are kept for each session, the first that are asked for."""

PART = 500
"""Nodes that are made at once while many are gone through."""

Entry = tuple[str, Attributes]
"""A name in a folder, and what it stands for."""


class Appearance(NamedTuple):
    """How nodes appear in a listing.

    `attributes` computes those of any node. Those of most files are told by `file_mode`, the catalogue, and `cached`,
    the 512-byte blocks of files in the cache by their paths, if `are_blocks_sure`.
    """

    attributes: Callable[[Node], Attributes]
    file_mode: int
    cached: Mapping[str, int]
    are_blocks_sure: bool


class SessionFiles:
    """The files of a session by their rows. Safe to use from several threads."""

    __slots__ = (
        "_by_number",
        "_catalogue",
        "_kept",
        "_numbers",
        "_places",
        "_rows",
        "_shown",
        "_sources",
        "_top",
        "paths",
    )

    def __init__(self, catalogue: Catalogue, rows: Rows, top: Directory) -> None:
        """`rows` may be those of several sessions on one path, whose folder is `top`."""
        self.paths = rows.rel_paths
        self._catalogue = catalogue
        self._rows = rows
        self._sources = rows.sources if isinstance(rows, SharedRows) else None
        self._numbers = _shared_numbers(catalogue, self._sources) if self._sources else numbers_of(catalogue, rows)
        self._shown: array[int] = array("i")
        self._by_number: array[int] | None = None
        self._kept: dict[int, DatasetFile] = {}
        self._top = top
        self._places = {"": (top.path, top.time_s)}

    def show(self, shown: "array[int]") -> None:
        """Set which rows are shown."""
        self._shown, self._by_number = shown, None

    def __len__(self) -> int:
        """How many files are shown."""
        return len(self._shown)

    def shown_of_number(self, ino: int) -> DatasetFile | None:
        """The file of an inode number, if it is shown."""
        by_number = self._by_number
        if by_number is None:  # no listing needs it
            by_number = self._by_number = self._in_order_of_numbers()
        at = bisect_left(by_number, ino, key=self._numbers.__getitem__)
        if at == len(by_number) or self._numbers[by_number[at]] != ino:
            return None
        return self.node(by_number[at])

    def _in_order_of_numbers(self) -> "array[int]":
        """The rows that are shown."""
        rows = np.frombuffer(self._shown, np.int32)
        order = np.argsort(np.frombuffer(self._numbers, np.uint64)[rows])
        return array("i", rows[order].tobytes())

    def of_number(self, ino: int) -> DatasetFile | None:
        """The file of an inode number, shown or not, if it exists. Looks through all of them."""
        row = self._numbers.index(ino) if ino in self._numbers else None
        return self.node(row) if row is not None and self._rows.exists[row] else None

    def node(self, row: int) -> DatasetFile:
        """The file of a row."""
        return self._kept.get(row) or self.nodes(self.paths[row].rpartition("/")[0], (row,))[0]

    def nodes(self, folder: str, rows: Sequence[int]) -> list[DatasetFile]:
        """The files of rows that all stand in one folder in the archive."""
        folder_path, time_s = self.place(folder)
        name_at = len(folder) + 1 if folder else 0
        kept, paths, numbers, sources = self._kept, self.paths, self._numbers, self._sources
        session, sizes, content = self._rows.session, self._rows.sizes, self._rows.content
        nodes = []
        for row in rows:
            node = kept.get(row)
            if node is None:
                at = row
                if sources:
                    session, at = sources[row][0].session, sources[row][1]
                generation, name = inodes.generation(content[row]), paths[row][name_at:]
                node = DatasetFile(
                    numbers[row], generation, name, folder_path, sizes[row], time_s, self._catalogue, session, at
                )
                if len(kept) < FILES_KEPT:
                    kept[row] = node
            nodes.append(node)
        return nodes

    def entries(self, folder: str, rows: Sequence[int], appearance: Appearance) -> list[Entry]:
        """Entries of files that all stand in one folder in the archive, without nodes where none is needed."""
        folder_path, time_s = self.place(folder)
        name_at = len(folder) + 1 if folder else 0
        paths, numbers, sizes, content = self.paths, self._numbers, self._rows.sizes, self._rows.content
        mode, cached = appearance.file_mode, appearance.cached
        entries = []
        for row in rows:
            name, size_bytes = paths[row][name_at:], sizes[row]
            blocks = cached.get(f"{folder_path}/{name}") if cached else None
            if size_bytes < 0 or (blocks is not None and not appearance.are_blocks_sure):
                attributes = appearance.attributes(self.node(row))
            else:
                generation = inodes.generation(content[row])
                attributes = Attributes(numbers[row], generation, mode, size_bytes, blocks or 0, time_s)
            entries.append((name, attributes))
        return entries

    def place(self, folder: str) -> tuple[str, int]:
        """Where a folder stands in the archive, and the time of what is in it: the same in every view."""
        place = self._places.get(folder)
        if place is None:
            place = self._places[folder] = joined(self._top.path, folder), revision_time_s(folder, self._top.time_s)
        return place


class Contents(Mapping[str, Node]):
    """The folders and files of one folder by name. Nodes of files are made as they are asked for.

    `rows` are those of files under their own path in the archive, sorted by it. `moved` are those of files, by name,
    that a view shows in another folder than the archive.
    """

    __slots__ = ("_files", "_folder", "folders", "moved", "rows")

    def __init__(self, files: SessionFiles, folder: str) -> None:
        """`folder` is its path in its session, "" for the session's own."""
        self._files = files
        self._folder = folder
        self.folders: dict[str, Directory] = {}
        self.rows: array[int] = array("i")
        self.moved: dict[str, int] = {}

    def __getitem__(self, name: str) -> Node:
        found: Node | None = self.folders.get(name)
        if found is None:
            row = self._row(name)
            if row is None:
                raise KeyError(name)
            found = self._files.node(row)
        return found

    def _row(self, name: str) -> int | None:
        """The row of the file called `name`."""
        if name in self.moved:
            return self.moved[name]
        path = joined(self._folder, name)
        at = bisect_left(self.rows, path, key=self._files.paths.__getitem__)
        return self.rows[at] if at < len(self.rows) and self._files.paths[self.rows[at]] == path else None

    def __contains__(self, name: object) -> bool:
        return name in self.folders or (isinstance(name, str) and self._row(name) is not None)

    def __len__(self) -> int:
        return len(self.folders) + len(self.rows) + len(self.moved)

    def __iter__(self) -> Iterator[str]:
        yield from self.folders
        for row in self.rows:
            yield self._files.paths[row].rpartition("/")[2]
        yield from self.moved

    def part(self, begin: int, end: int) -> list[Node]:
        """The nodes from one position up to another."""
        found: list[Node] = list(islice(self.folders.values(), begin, end))
        begin, end = max(begin - len(self.folders), 0), max(end - len(self.folders), 0)
        found += self._files.nodes(self._folder, self.rows[begin:end])
        begin, end = max(begin - len(self.rows), 0), max(end - len(self.rows), 0)
        found += map(self._files.node, islice(self.moved.values(), begin, end))
        return found

    def entries(self, begin: int, end: int, appearance: Appearance) -> list[Entry]:
        """The entries from one position up to another."""
        found = [(node.name, appearance.attributes(node)) for node in islice(self.folders.values(), begin, end)]
        begin, end = max(begin - len(self.folders), 0), max(end - len(self.folders), 0)
        found += self._files.entries(self._folder, self.rows[begin:end], appearance)
        begin, end = max(begin - len(self.rows), 0), max(end - len(self.rows), 0)
        for row in islice(self.moved.values(), begin, end):
            found += self._files.entries(self._files.paths[row].rpartition("/")[0], (row,), appearance)
        return found

    def files_after(self, name: str = "") -> Iterator[DatasetFile]:
        """The files behind one in a listing; all without a name."""
        begin, moved = 0, iter(self.moved)
        if name in self.moved:
            begin = len(self.rows)
            for each in moved:
                if each == name:
                    break
        elif name:
            begin = bisect_right(self.rows, joined(self._folder, name), key=self._files.paths.__getitem__)
        yield from (self._files.node(self.rows[at]) for at in range(begin, len(self.rows)))
        yield from (self._files.node(self.moved[each]) for each in moved)

    def files_named(self, prefix: str) -> Iterator[DatasetFile]:
        """The files under their own path in the archive whose names begin so."""
        prefix = joined(self._folder, prefix)
        begin = bisect_left(self.rows, prefix, key=self._files.paths.__getitem__)
        for row in islice(self.rows, begin, None):
            if not self._files.paths[row].startswith(prefix):
                return
            yield self._files.node(row)

    def file_folders(self) -> set[str]:
        """Paths in the archive of the folders that its files are from."""
        folders = {self._folder} if self.rows else set()
        if self.moved:
            folders |= {self._files.paths[row].rpartition("/")[0] for row in self.moved.values()}
        return {self._files.place(folder)[0] for folder in folders}


class Nodes(Sequence[Node]):
    """What a listing of a folder shows: what it holds inside a session, and other nodes."""

    __slots__ = ("_contents", "_n_inside", "_others")

    def __init__(self, contents: Contents | None, others: list[Node]) -> None:
        self._contents = contents
        self._n_inside = 0 if contents is None else len(contents)
        self._others = others

    def __len__(self) -> int:
        return self._n_inside + len(self._others)

    def __iter__(self) -> Iterator[Node]:
        for begin in range(0, len(self), PART):
            yield from self._part(begin, begin + PART)

    @overload
    def __getitem__(self, where: int) -> Node: ...
    @overload
    def __getitem__(self, where: slice) -> list[Node]: ...
    def __getitem__(self, where: int | slice) -> Node | list[Node]:
        places = range(len(self))[where]
        if isinstance(places, int):
            return self._part(places, places + 1)[0]
        return self._part(places.start, places.stop)[:: places.step]

    def _part(self, begin: int, end: int) -> list[Node]:
        if self._contents is None:
            return self._others[begin:end]
        others = self._others[max(begin - self._n_inside, 0) : max(end - self._n_inside, 0)]
        return self._contents.part(begin, end) + others

    def entries(self, begin: int, end: int, appearance: Appearance) -> list[Entry]:
        """The entries from one position up to another, made without nodes where none is needed."""
        found = [] if self._contents is None else self._contents.entries(begin, end, appearance)
        others = self._others[max(begin - self._n_inside, 0) : max(end - self._n_inside, 0)]
        return found + [(node.name, appearance.attributes(node)) for node in others]

    def file_folders(self) -> set[str]:
        """Paths in the archive of the folders that files of a session are from."""
        return self._contents.file_folders() if self._contents is not None else set()


def nodes_of(children: Mapping[str, Node], others: Iterable[Node] = ()) -> Nodes:
    """What a folder of these children shows, and other nodes."""
    if isinstance(children, Contents):
        return Nodes(children, list(others))
    return Nodes(None, [*children.values(), *others])


def numbers_of(catalogue: Catalogue, rows: Rows) -> "array[int]":
    """The inode numbers of a session's datasets."""
    base = np.uint64(inodes.file_ino(catalogue.session_key(rows.session), 0))
    return array("Q", (inodes.file_fingerprints(rows.content) | base).tobytes())


def _shared_numbers(catalogue: Catalogue, sources: Sequence[Source]) -> "array[int]":
    """The same, of datasets of sessions on one path."""
    found = {rows.session: numbers_of(catalogue, rows) for rows in {id(rows): rows for rows, _ in sources}.values()}
    return array("Q", [found[rows.session][at] for rows, at in sources])


def revision_time_s(folder: str, above_s: int) -> int:
    """The time of what is in a folder, by its path: that of the innermost revision that is a date, else `above_s`."""
    if "#" in folder:
        for name in reversed(folder.split("/")):
            revision = alf.REVISION_FOLDER.fullmatch(name)
            day = alf.revision_date(revision["revision"]) if revision else None
            if day:
                return midnight_s(day)
    return above_s
