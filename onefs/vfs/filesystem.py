"""Owns what the mount answers: lookup, list, attributes, open, extended attributes, with plain Python values."""

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from onefs.alf import LONGEST_NAME_BYTES
from onefs.catalogue.records import Dataset
from onefs.catalogue.snapshot import Snapshot
from onefs.content.access import Content
from onefs.errors import (
    CacheDamagedError,
    IsADirectoryInTreeError,
    NameTooLongError,
    NoAttributeError,
    NotAllowedError,
    OnefsError,
    ReadOnlyError,
)
from onefs.modes import ALLOWED, Mode
from onefs.vfs import xattrs
from onefs.vfs.handles import ReadableFile
from onefs.vfs.journal import Journal
from onefs.vfs.nodes import (
    DIRECTORY_MODE,
    FILE_MODE,
    WRITABLE_MODE,
    Attributes,
    DatasetFile,
    Directory,
    Node,
    SpecialFile,
)
from onefs.vfs.tree import Tree

BLOCK_BYTES = 512


class Opened(NamedTuple):
    """An open file. `size_bytes` is its length if it is sure: then the kernel may keep pages of it, else None."""

    file: ReadableFile
    path: str
    size_bytes: int | None
    attributes: Attributes


class Usage(NamedTuple):
    """What `statfs` tells: the archive's whole size, all of it taken."""

    total_bytes: int
    files: int


class FileSystem:
    """The mounted archive. Synchronous and safe to use from several threads; nothing here waits for the network.

    `tree` may be replaced at any time; what is open stays as it was.
    """

    def __init__(
        self,
        tree: Tree,
        content: Content,
        journal: Journal,
        mode: Callable[[], Mode],
        *,
        serves_mismatches: bool,
    ) -> None:
        self.tree = tree
        self.content = content
        self.journal = journal
        self._mode = mode
        self._serves_mismatches = serves_mismatches

    @property
    def snapshot(self) -> Snapshot:
        """The catalogue that is served now."""
        return self.tree.snapshot

    @property
    def may_block(self) -> bool:
        """Whether the cache is on a file system that can keep whoever asks waiting, such as NFS."""
        return self.content.may_block

    def lookup(self, parent: int, name: str) -> Attributes:
        """Attributes of the entry called `name`. Raises `NotInCatalogueError` or `NameTooLongError`."""
        if len(name.encode(errors="surrogateescape")) > LONGEST_NAME_BYTES:
            raise NameTooLongError(f"{name[:20]}… is longer than a name can be.")
        return self._attributes(self.tree.child(parent, name))

    def attributes(self, ino: int) -> Attributes:
        """Attributes of a node. Raises `GoneError`."""
        return self._attributes(self.tree.node(ino))

    def entries(self, ino: int) -> Iterator[tuple[str, Attributes]]:
        """Names and attributes of a directory's entries, `.` and `..` first."""
        tree = self.tree
        directory = tree.directory(ino)
        nodes = tree.children_of(directory)
        has_files = any(isinstance(node, DatasetFile) for node in nodes)
        blocks = self.content.cached_blocks_in(directory.path) if has_files else {}
        yield ".", self._attributes(directory)
        yield "..", Attributes(directory.parent_ino, 0, DIRECTORY_MODE, 0, 0, directory.time_s)
        for node in nodes:
            if isinstance(node, DatasetFile) and node.size_bytes >= 0 and node.name not in blocks:
                yield node.name, node.bare_attributes()
            else:
                yield node.name, self._attributes(node)

    def path(self, ino: int) -> str:
        """Path from the mount's root, "" for the root itself."""
        return self.tree.node(ino).path

    def open(self, ino: int) -> Opened:
        """Open a file. Answers at once: a file that has to be fetched is waited for by `ReadableFile.wait`."""
        node = self.tree.node(ino)
        if isinstance(node, Directory):
            raise IsADirectoryInTreeError(f"{node.path} is a directory.")
        if isinstance(node, SpecialFile):
            return Opened(node.open(), node.path, node.size_bytes or None, self._attributes(node))
        dataset = node.dataset
        try:
            file: ReadableFile = self.content.open(dataset, may_fetch=ALLOWED[self._mode()].fetching)
        except OnefsError as error:
            self.journal.record(dataset.path, error)
            raise
        sure = node.size_bytes >= 0 and not self._serves_mismatches
        return Opened(file, dataset.path, node.size_bytes if sure else None, node.bare_attributes())

    def check_end(self, opened: Opened, end: int) -> None:
        """Raise `CacheDamagedError` if a read that ended early did so before the file's end.

        The kernel would fill up with zeros what is missing.
        """
        if opened.size_bytes is None or end >= opened.size_bytes:
            return
        error = CacheDamagedError(
            f"{opened.path}: its cached copy ended after {end} of {opened.size_bytes} bytes while it was being read.",
            "Something else changes files in the cache directory; open the file again to have it checked.",
        )
        self.journal.record(opened.path, error)
        raise error

    def writer(self, ino: int, uid: int) -> Callable[[str], None]:
        """What carries out commands written to a control file. Raises `ReadOnlyError` or `NotAllowedError`."""
        node = self.tree.node(ino)
        if not isinstance(node, SpecialFile) or node.write is None:
            self.refuse_writing(ino)
            raise AssertionError
        if uid not in (0, os.getuid()):
            raise NotAllowedError(f"{node.path} may be written by the user who mounted, and root.", "Ask them.")
        return node.write

    def is_writable(self, ino: int) -> bool:
        """Whether a node is a control file that takes commands."""
        node = self.tree.node(ino)
        return isinstance(node, SpecialFile) and node.write is not None

    def refuse_writing(self, ino: int) -> None:
        """Raise `ReadOnlyError`, naming what would have been written to."""
        raise ReadOnlyError(f"{self.path(ino) or 'The mount'} is read-only.", "Write elsewhere.")

    def xattr(self, ino: int, name: str) -> bytes:
        """An extended attribute's value. Raises `ForeignAttributeError` or `NoAttributeError`."""
        xattrs.check(name)
        tree = self.tree
        node = tree.node(ino)
        if isinstance(node, DatasetFile):
            return xattrs.value(xattrs.FILE_ATTRIBUTES, name, self._file_facts(node)).encode()
        if isinstance(node, Directory) and node.session is not None:
            facts = self._session_facts(tree, node, node.session)
            return xattrs.value(xattrs.SESSION_ATTRIBUTES, name, facts).encode()
        raise NoAttributeError(f"{node.path} has no attribute {name}.")

    def xattr_names(self, ino: int) -> list[str]:
        """Names of a node's extended attributes."""
        node = self.tree.node(ino)
        if isinstance(node, DatasetFile):
            return xattrs.names(xattrs.FILE_ATTRIBUTES)
        if isinstance(node, Directory) and node.session is not None:
            return xattrs.names(xattrs.SESSION_ATTRIBUTES)
        return []

    def usage(self) -> Usage:
        """Size of the archive."""
        snapshot = self.tree.snapshot
        return Usage(snapshot.total_bytes, snapshot.n_datasets)

    def datasets_at(self, path: str) -> Iterator[Dataset]:
        """The dataset at a path below the mountpoint, or all below a folder. Raises `NotInCatalogueError`."""
        tree = self.tree
        node: Node = tree.root
        for part in filter(None, path.split("/")):
            node = tree.child(node.ino, part)
        below = [node]
        while below:
            node = below.pop()
            if isinstance(node, DatasetFile):
                yield node.dataset
            elif isinstance(node, Directory):
                below += tree.children_of(node)

    def file_ino(self, dataset: Dataset) -> int | None:
        """Inode number of a dataset, if it is shown."""
        tree = self.tree
        snapshot = tree.snapshot
        row = snapshot.aggregates if dataset.eid is None else snapshot.session_of_eid(dataset.eid)
        node = None if row is None else tree.file_of(row, dataset.rel_path)
        return node.ino if node else None

    def _attributes(self, node: Node) -> Attributes:
        if isinstance(node, Directory):
            return Attributes(node.ino, 0, DIRECTORY_MODE, 0, 0, node.time_s)
        if isinstance(node, SpecialFile):
            mode = WRITABLE_MODE if node.write else FILE_MODE
            return Attributes(node.ino, 0, mode, node.size_bytes, 0, node.time_s)
        dataset = node.dataset
        size = max(node.size_bytes, 0)
        if node.size_bytes < 0 or self._serves_mismatches:
            # The kernel cuts off what lies behind this length when a file is sent, spliced or mapped.
            cached = self.content.cached_size(dataset)
            size = size if cached is None else cached
        blocks = self.content.cached_blocks(dataset)
        return Attributes(node.ino, node.generation, FILE_MODE, size, blocks, node.time_s)

    def _file_facts(self, node: DatasetFile) -> xattrs.FileFacts:
        dataset = node.dataset
        return xattrs.FileFacts(dataset, self.content.inspect(dataset), self.content.cached_path(dataset))

    def _session_facts(self, tree: Tree, node: Directory, row: int) -> xattrs.SessionFacts:
        rows = tree.snapshot.datasets(row)
        return xattrs.SessionFacts(
            tree.snapshot.session(row), rows, tree.view.shows(rows), lambda: self._cached_bytes(tree, node)
        )

    def _cached_bytes(self, tree: Tree, directory: Directory) -> int:
        """Bytes on the disk of the files below a session's directory."""
        total = 0
        below = [directory]
        while below:
            node = below.pop()
            children = tree.children_of(node)
            names = {child.name for child in children if isinstance(child, DatasetFile)}
            cached = self.content.cached_blocks_in(node.path) if names else {}
            total += sum(blocks for name, blocks in cached.items() if name in names) * BLOCK_BYTES
            below += [child for child in children if isinstance(child, Directory)]
        return total
