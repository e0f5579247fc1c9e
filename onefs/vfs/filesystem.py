"""What the mount answers: lookup, list, attributes, open, extended attributes, with plain Python values."""

import os
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import NamedTuple
from uuid import UUID

from onefs.alf import LONGEST_NAME_BYTES, STATE_FOLDER
from onefs.cache.layout import FolderBlocks
from onefs.catalogue.changes import Changes
from onefs.catalogue.interface import Catalogue, Rows
from onefs.catalogue.records import Dataset
from onefs.catalogue.sharing import datasets_shown, sessions_sharing
from onefs.errors import (
    BadTermError,
    CacheDamagedError,
    CrawlingError,
    GoneError,
    IsADirectoryInTreeError,
    NameTooLongError,
    NoAttributeError,
    NotAllowedError,
    NotInCatalogueError,
    OnefsError,
    ReadOnlyError,
    again,
)
from onefs.fetch.access import Content
from onefs.modes import ALLOWED, Mode
from onefs.recording.recorder import Recorder
from onefs.vfs import xattrs
from onefs.vfs.absences import Absences
from onefs.vfs.contents import Appearance, Nodes
from onefs.vfs.entries import Entries
from onefs.vfs.forest import Forest, Wait
from onefs.vfs.handles import ReadableFile
from onefs.vfs.journal import Journal, Unanswered
from onefs.vfs.kept_folders import KeptFolders
from onefs.vfs.nodes import (
    LINK_MODE,
    MOMENT_S,
    READABLE_MODE,
    WRITABLE_MODE,
    Attributes,
    DatasetFile,
    Directory,
    Link,
    Node,
    NodeModes,
    SpecialFile,
    as_directory,
)
from onefs.vfs.prefetching import Prefetching
from onefs.vfs.queries import QueryFolder
from onefs.vfs.staleness import Name
from onefs.vfs.tree import Tree

BLOCK_BYTES = 512
FILES_KEPT = 1000
"""Files that were looked up and opened last, which are found again at once."""


class Opened(NamedTuple):
    """An open file. `size_bytes` is its length if it is sure: then the kernel may keep pages of it, else None.

    `dataset` is None for a file that is none. `is_fetched` says that a fetch was begun as it was opened, or that it was
    prefetched. With `is_followed`, the first read of it is to be told by `FileSystem.began_to_read`.
    """

    file: ReadableFile
    path: str
    size_bytes: int | None
    node: DatasetFile | SpecialFile
    dataset: Dataset | None = None
    is_fetched: bool = False
    is_followed: bool = False


class Usage(NamedTuple):
    """What `statfs` tells: the size of the archive, and the room that is left in the cache."""

    archive_bytes: int
    free_bytes: int
    files: int


class FileSystem:
    """The mounted archive. Synchronous and safe to use from several threads.

    Nothing here waits for the network, but where `wait_for` says so. `forest` may be replaced
    at any time; what is open stays as it was.
    """

    def __init__(
        self,
        forest: Forest,
        content: Content,
        journal: Journal,
        mode: Callable[[], Mode],
        *,
        serves_mismatches: bool,
        recorder: Recorder | None = None,
        modes: NodeModes | None = None,
        prefetching: Prefetching | None = None,
    ) -> None:
        """Without a `recorder`, nothing is ever recorded; without `prefetching`, nothing is prefetched."""
        self._forest = forest
        self.times_changed = 0
        """How often the tree changed. The kernel may not keep answers to what was asked before the last change."""
        self.content = content
        self.journal = journal
        self._mode = mode
        self.recorder = recorder or Recorder("", content.md5_of)
        self._serves_mismatches = serves_mismatches
        self._modes = modes or NodeModes()
        self._prefetching = prefetching or Prefetching(content, 0, 0)
        self.absences = Absences()
        self.folders = KeptFolders()
        self._tree_version = self.folders.new_version()  # a new one with each change of the tree
        self._unanswered = Unanswered(journal)
        # Both so that what mostly follows, the opening and the end of a fetch, need not look for the file again.
        self._looked_up_last: dict[int, tuple[int, DatasetFile]] = {}  # with `times_changed` before the look
        self._opened: dict[UUID, DatasetFile] = {}

    @property
    def forest(self) -> Forest:
        """What stands where now. It is replaced by one thread at a time."""
        return self._forest

    @forest.setter
    def forest(self, forest: Forest) -> None:
        forest.take_over(self._forest)
        self._forest = forest
        self._note_changed()

    def learned(self, changes: Changes) -> list[Name]:
        """Show what the live catalogue learned. Gives what the kernel must forget. For one thread at a time."""
        names = self._forest.changed(changes)
        self._note_changed()
        return names

    def _note_changed(self) -> None:
        self.times_changed += 1
        self._tree_version = self.folders.new_version()

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue that the mount's root shows now."""
        return self._forest.root.catalogue

    @cached_property
    def may_block(self) -> bool:
        """Whether the cache is on a file system that can keep whoever asks waiting, such as NFS."""
        return self.content.may_block

    def wait_for(self, ino: int, *, to_list: bool = False) -> Wait:
        """What a question about a node or a name in it, or with `to_list` a listing of it, may have to wait for."""
        wait = self._forest.wait_for(ino, to_list=to_list)
        return Wait.WORK if wait is Wait.NOTHING and self.may_block else wait

    def keeps_absence(self, ino: int, name: str) -> bool:
        """Whether the kernel will be told when a name that is absent from a directory comes to exist."""
        forest = self._forest
        if not forest.keeps_absence(ino):
            return False
        return not forest.may_learn or self.absences.add(Name(ino, name))

    def lookup(self, parent: int, name: str) -> Attributes:
        """Attributes of the entry called `name`. Raises `NotInCatalogueError` or `NameTooLongError`."""
        if len(name.encode(errors="surrogateescape")) > LONGEST_NAME_BYTES:
            raise NameTooLongError(f"{name[:20]}… is longer than a name can be.")
        times_changed = self.times_changed
        try:
            node = self._looked_up(parent, name)
        except BadTermError as error:
            self.journal.record(f"{self.path(parent)}/{name}", error)
            raise
        except OnefsError as error:
            self._unanswered.failed(parent, error, self.path)
            raise
        self._unanswered.answered(parent)
        attributes = self._attributes(node)
        if isinstance(node, DatasetFile):
            if len(self._looked_up_last) >= FILES_KEPT:
                self._looked_up_last.clear()
            self._looked_up_last[node.ino] = times_changed, node
        return attributes

    def _looked_up(self, parent: int, name: str) -> Node:
        """The node in the forest that is shown when it is found: nobody tells what became of another's names."""
        while True:
            forest = self._forest
            try:
                node = forest.looked_up(parent, name)
            except OnefsError:
                if forest is self._forest:
                    raise
            else:
                if forest is self._forest:
                    return node
                forest.forgot(node.ino, 1)

    def forgot(self, ino: int, times: int) -> None:
        """The kernel has forgotten a node as often as it was told of it by `lookup`."""
        self._forest.forgot(ino, times)

    def attributes(self, ino: int) -> Attributes:
        """Attributes of a node. Raises `GoneError`."""
        return self._attributes(self.file_at_hand(ino) or self._forest.node(ino))

    def parent_attributes(self, ino: int) -> Attributes:
        """Attributes of the directory above a directory, as NFS servers look up `..`. Raises `GoneError`."""
        return self.attributes(self._forest.parent_ino(as_directory(self._forest.node(ino))))

    def file_at_hand(self, ino: int) -> DatasetFile | None:
        """A file that was looked up lately and can be opened without waiting; None if `open` must find it."""
        found = self._looked_up_last.get(ino)
        if found is None:
            return None
        times_changed, node = found
        is_valid = times_changed == self.times_changed and self._forest.has_one_catalogue and not self.may_block
        return node if is_valid else None

    def has_text(self, ino: int) -> bool:
        """Whether a node is a file with a text that changes, whose size `size_now` gives. Raises `GoneError`."""
        node = self._forest.node(ino)
        return isinstance(node, SpecialFile) and node.text is not None

    def attributes_now(self, ino: int) -> Attributes:
        """Attributes of a file with a text. Generates the text if need be, which may take long. Raises `GoneError`."""
        node = self._forest.node(ino)
        if isinstance(node, SpecialFile) and node.text is not None:
            node.size_bytes = node.text.size_now()
            node.time_s = int(node.text.changed_s)
        return self._attributes(node)

    def target(self, ino: int) -> str:
        """Where a symbolic link leads, from the folder that it stands in. Raises `GoneError`."""
        node = self._forest.node(ino)
        if not isinstance(node, Link):
            raise NotInCatalogueError(f"{node.path} is no symbolic link.")
        return node.target

    def entries(self, ino: int) -> Entries:
        """A directory's entries. The first is `.`: its version tells listings of different trees apart."""
        if before_listing := self._forest.before_listing(ino):
            before_listing()
        tree_version, forest = self._tree_version, self._forest
        try:
            directory, nodes = forest.listed(ino)
        except OnefsError as error:
            self._unanswered.failed(ino, error, self.path)
            raise
        self._unanswered.answered(ino)
        own = self._attributes(directory)
        if not own.is_live:
            own = own._replace(version=tree_version)
        above = Attributes(forest.parent_ino(directory), 0, self._modes.directory, 0, 0, directory.time_s)
        cached = self._blocks_of(nodes)
        is_sure = cached.are_sure and not self._serves_mismatches
        appearance = Appearance(self._attributes, self._modes.file, cached, are_blocks_sure=is_sure)
        return Entries([(".", own), ("..", above)], nodes, appearance)

    def path(self, ino: int) -> str:
        """Path from the mount's root, "" for the root itself."""
        return self._forest.path(ino)

    def open(self, ino: int, refusal: CrawlingError | None = None, user: int = 0) -> Opened:
        """Open a file for a user. Answers at once: what has to be fetched is waited for by `ReadableFile.wait`.

        Raises `refusal`, if there is one, rather than begin a fetch, or give what was prefetched.
        """
        node = self.file_at_hand(ino) or self._forest.node(ino)
        if isinstance(node, Directory | Link):
            raise IsADirectoryInTreeError(f"{node.path} is not a file.")
        if isinstance(node, SpecialFile):
            size_bytes = None if node.text is not None else node.size_bytes
            return Opened(node.open(), node.path, size_bytes, node)
        dataset = node.dataset
        is_ahead = self._prefetching.is_ahead(node)
        try:
            if is_ahead and refusal is not None:
                raise again(refusal)
            may_fetch = ALLOWED[self._mode()].fetching
            file = self.content.open(dataset, may_fetch=may_fetch, refusal=refusal, node=node)
        except CrawlingError as error:
            self.journal.record("", error)  # the same for thousands of files
            raise
        except OnefsError as error:
            self.journal.record(dataset.path, error)
            raise
        is_followed = self._prefetching.opened(self.forest, node, user, is_fetched=file.is_fetched)
        if len(self._opened) >= FILES_KEPT:
            self._opened.clear()
        self._opened[dataset.id] = node
        size_bytes = node.size_bytes if node.size_bytes >= 0 and not self._serves_mismatches else None
        return Opened(file, dataset.path, size_bytes, node, dataset, file.is_fetched or is_ahead, is_followed)

    def began_to_read(self, ino: int, user: int) -> None:
        """A user reads the first bytes of a file for which `is_followed` was said."""
        with suppress(GoneError):
            node = self.forest.node(ino)
            if isinstance(node, DatasetFile):
                self._prefetching.read(node, user)

    def opened_attributes(self, opened: Opened) -> Attributes:
        """Attributes of an open file that has left the catalogue."""
        node = opened.node
        return self._attributes(node) if isinstance(node, SpecialFile) else node.bare_attributes(self._modes.file)

    def reopen(self, ino: int, opened: Opened) -> Opened:
        """Open a file again whose copy was removed while a program had it open. Raises `GoneError`.

        Only the same bytes are as good, so its dataset must still be in the catalogue, and have a hash.
        """
        if opened.size_bytes is None or opened.dataset is None or not opened.dataset.md5:
            raise GoneError(f"{opened.path} was removed or replaced while it was open.", "Open it again.")
        return self.open(ino)

    def check_end(self, opened: Opened, end: int) -> None:
        """Raise `CacheDamagedError` if a read that ended early did so before the file's end.

        The kernel would fill up with zeros what is missing.
        """
        if opened.size_bytes is None or end >= opened.size_bytes:
            return
        error = CacheDamagedError(
            f"{opened.path}: its cached copy ended after {end} of {opened.size_bytes} bytes while it was being read.",
            "Open the file again to have it checked: another program changes files in the cache directory.",
        )
        self.journal.record(opened.path, error)
        raise error

    def writer(self, ino: int, uid: int) -> Callable[[str], None]:
        """What carries out commands written to a control file. Raises `ReadOnlyError` or `NotAllowedError`."""
        node = self._forest.node(ino)
        if not isinstance(node, SpecialFile) or node.writer is None:
            self.refuse_writing(ino)
            raise AssertionError
        if uid not in (0, os.getuid()):
            raise NotAllowedError(
                f"{node.path} may be written by the user who mounted, and root.", "Ask one of them to do it."
            )
        return node.writer()

    def refuse_writing(self, ino: int) -> None:
        """Raise `ReadOnlyError`, naming what would have been written to."""
        raise ReadOnlyError(f"{self.path(ino) or 'The mount'} is read-only.", "Write elsewhere.")

    def xattr(self, ino: int, name: str) -> bytes:
        """An extended attribute's value. Raises `ForeignAttributeError` or `NoAttributeError`."""
        xattrs.check(name)
        node = self._forest.node(ino)
        if isinstance(node, DatasetFile):
            return xattrs.value(xattrs.FILE_ATTRIBUTES, name, self._file_facts(node)).encode()
        if isinstance(node, Directory) and node.session is not None:
            if name.startswith(xattrs.HIDDEN):
                tree, rows = self._session_rows(node, node.session)
                return xattrs.hidden(name, rows, tree.view.rule).encode()
            facts = self._session_facts(node, node.session)
            return xattrs.value(xattrs.SESSION_ATTRIBUTES, name, facts).encode()
        if isinstance(node, QueryFolder) and name == xattrs.LEFT_OUT and self._forest.queries is not None:
            return str(self._forest.queries.n_left_out(node)).encode()
        raise NoAttributeError(f"{node.path} has no attribute {name}.")

    def xattr_names(self, ino: int) -> list[str]:
        """Names of a node's extended attributes."""
        node = self._forest.node(ino)
        if isinstance(node, DatasetFile):
            return xattrs.names(xattrs.FILE_ATTRIBUTES)
        if isinstance(node, Directory) and node.session is not None:
            return xattrs.names(xattrs.SESSION_ATTRIBUTES)
        return []

    def usage(self) -> Usage:
        """Size of the archive and room in the cache. May wait for the cache's disk."""
        catalogue = self.catalogue
        return Usage(catalogue.total_bytes, self.content.keeping.free_bytes(), catalogue.n_datasets)

    def file_ino(self, dataset: Dataset) -> int | None:
        """Inode number of a dataset, if it is shown. Asks nobody."""
        node = self._opened.get(dataset.id)
        if node is not None and node.dataset is dataset:
            return node.ino
        return self._forest.file_ino(dataset)

    def _attributes(self, node: Node) -> Attributes:
        if isinstance(node, Directory):
            kept_s = MOMENT_S if isinstance(node, QueryFolder) else None
            version, is_live = self._version_of(node.ino)
            return Attributes(node.ino, 0, self._modes.directory, 0, 0, node.time_s, kept_s, version, is_live)
        if isinstance(node, SpecialFile):
            kept_s = None if node.text is None else 0.0
            return Attributes(node.ino, 0, self._special_mode(node), node.size_bytes, 0, node.time_s, kept_s)
        if isinstance(node, Link):
            return Attributes(node.ino, 0, LINK_MODE, len(node.target.encode(errors="surrogateescape")), 0, 0, MOMENT_S)
        dataset = node.dataset
        size = max(node.size_bytes, 0)
        if node.size_bytes < 0 or self._serves_mismatches:
            # The kernel cuts off what lies behind this length when a file is sent, spliced or mapped.
            cached = self.content.cached_size(dataset)
            size = size if cached is None else cached
        blocks = self.content.cached_blocks(dataset)
        return Attributes(node.ino, node.generation, self._modes.file, size, blocks, node.time_s)

    def _version_of(self, ino: int) -> tuple[int, bool]:
        """The version of a folder's listing, and whether it is live, as it is too if too many are kept."""
        folders = self.folders
        while True:
            n_drops = folders.n_drops
            if self._forest.is_live(ino) or not folders.note(ino):
                return folders.new_version(), True
            version = folders.version(ino)
            if n_drops == folders.n_drops:  # else the forest was replaced meanwhile, and may not let it be kept
                return version, False

    def _special_mode(self, node: SpecialFile) -> int:
        """The mode of a control file, or of a table, which stands outside of the control directory."""
        if node.writer is not None:
            return WRITABLE_MODE
        return READABLE_MODE if node.path.startswith(f"{STATE_FOLDER}/") else self._modes.file

    def _file_facts(self, node: DatasetFile) -> xattrs.FileFacts:
        dataset = node.dataset
        content = self.content
        inspection, is_pinned = content.inspect(dataset), content.keeping.is_pinned(dataset)
        return xattrs.FileFacts(dataset, inspection, content.cached_path(dataset), is_pinned)

    def _session_facts(self, node: Directory, row: int) -> xattrs.SessionFacts:
        tree, rows = self._session_rows(node, row)
        shown = [path is not None for path in tree.view.shown(rows)]
        on_path = [tree.catalogue.session(each) for each in sessions_sharing(tree.catalogue, rows.session)]
        return xattrs.SessionFacts(on_path, tree.catalogue, rows, shown, lambda: self._cached_bytes(tree, node))

    def _session_rows(self, node: Directory, row: int) -> tuple[Tree, Rows]:
        tree = self._forest.tree_of(node.ino)
        if tree is None:
            raise GoneError(f"{node.path} is no longer there.", "Look the path up again.")
        return tree, datasets_shown(tree.catalogue, tree.catalogue.newest(row))

    def _blocks_of(self, nodes: Nodes) -> FolderBlocks:
        """Blocks on the disk of all that is cached in the folders that nodes are from, by path in the archive."""
        found = FolderBlocks()
        for folder in nodes.file_folders():
            there = self.content.cached_blocks_in(folder)
            found.update((f"{folder}/{name}", blocks) for name, blocks in there.items())
            found.are_sure &= there.are_sure
        return found

    def _cached_bytes(self, tree: Tree, directory: Directory) -> int:
        """Bytes on the disk of the files below a session's directory."""
        total = 0
        below = [directory]
        while below:
            node = below.pop()
            children = tree.children_of(node)
            paths = {child.path for child in children if isinstance(child, DatasetFile)}
            total += sum(blocks for path, blocks in self._blocks_of(children).items() if path in paths) * BLOCK_BYTES
            below += [child for child in children if isinstance(child, Directory)]
        return total
