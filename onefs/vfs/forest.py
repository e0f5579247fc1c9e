"""Owns what stands where in the mount: the root's tree, other views of it below `.onefs`, and links by identifier."""

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from cachetools import LRUCache

from onefs.catalogue.changes import Changes
from onefs.catalogue.records import Dataset
from onefs.catalogue.snapshot import Snapshot
from onefs.digests import digest64
from onefs.errors import GoneError, NotADirectoryInTreeError, NotInCatalogueError
from onefs.vfs import inodes
from onefs.vfs.links import Resolver
from onefs.vfs.nodes import Directory, Link, LinkFolder, Node, as_directory, joined
from onefs.vfs.staleness import Name, learned_names, stale_files, stale_names, top_names
from onefs.vfs.tree import Tree

LINKS_KEPT = 10_000


class Forest:
    """The root's tree and all that stands in `.onefs`. Safe to use from several threads.

    `views` are trees by folder and name: `{"via": {"local": tree}}` stands at `.onefs/via/local`. Their numbers tell
    their folders apart; a file has the same inode number in all of them. `links` are folders of symbolic links.
    """

    def __init__(
        self,
        root: Tree,
        control: Directory,
        views: Mapping[str, Mapping[str, Tree]],
        links: Mapping[str, Resolver],
        *,
        lists_control: bool = False,
    ) -> None:
        """`control` is `.onefs` with its files; it is listed only with `lists_control`."""
        self.root = root
        self.views = views
        placed = [(group, name, tree) for group, trees in views.items() for name, tree in trees.items()]
        self.trees = {tree.view.number: tree for tree in (root, *(tree for _, _, tree in placed))}
        if len(self.trees) != len(placed) + 1 or self.trees.get(0) is not root:
            raise ValueError("every view needs a number of its own, and that of the root's is 0")
        self._lists_control = lists_control
        self._view_names = {tree.view.number: (group, name) for group, name, tree in placed}
        self._groups = {group: Directory(_ino(control, group), control.ino, group, _path(control, group), 0)
                        for group in views}  # fmt: skip
        folders = {name: self._link_folder(control, name, resolver) for name, resolver in links.items()}
        self.control = replace(control, children={**control.children, **self._groups, **folders})
        self._views_in = {self._groups[group].ino: trees for group, trees in views.items()}
        own: list[Node] = [self.control, *self.control.children.values()]
        own += [file for tree in self.trees.values() for file in tree.files.values()]
        self._own = {node.ino: node for node in own}
        self._lock = threading.Lock()  # guards _links
        self._links: LRUCache[int, Link] = LRUCache(LINKS_KEPT)

    def _link_folder(self, control: Directory, name: str, resolver: Resolver) -> LinkFolder:
        return LinkFolder(
            _ino(control, name),
            control.ino,
            name,
            _path(control, name),
            0,
            resolve=resolver.resolve,
            may_ask=resolver.may_ask or self.root.may_ask,
        )

    # -- looking -------------------------------------------------------------------------------------------------

    def tree_of(self, ino: int) -> Tree | None:
        """The tree in which a number stands for a directory above or in a session, the tree's root included."""
        if ino == inodes.ROOT:
            return self.root
        view = inodes.view_of(ino)
        return None if view is None else self.trees.get(view)

    def node(self, ino: int) -> Node:
        """The node of a number. Raises `GoneError` if there is none now."""
        tree = self.tree_of(ino)
        if tree is not None:
            return tree.node(ino)
        if inodes.is_file(ino):
            return self._file(ino)
        found = self._own.get(ino)
        if found is None:
            with self._lock:
                found = self._links.get(ino)
        if found is None:
            raise GoneError(f"Inode {ino} is no longer there.", "Look the path up again.")
        return found

    def _file(self, ino: int) -> Node:
        """The file of a number, from whichever tree has it. Only the root's may be asked for what it does not know."""
        try:
            return self.root.node(ino)
        except GoneError:
            session_key = inodes.decode(ino).key
            for tree in self.trees.values():
                if tree is not self.root and (not tree.may_ask or tree.has_built(session_key)):
                    try:
                        return tree.node(ino)
                    except GoneError:  # nor does this one have it
                        continue
            raise

    def directory(self, ino: int) -> Directory:
        """The directory of a number. Raises `GoneError` or `NotADirectoryInTreeError`."""
        return as_directory(self.node(ino))

    def child(self, ino: int, name: str) -> Node:
        """The node called `name` in a directory. Raises `NotInCatalogueError`."""
        tree = self.tree_of(ino)
        if tree is not None:
            return self.control if ino == inodes.ROOT and name == self.control.name else tree.child(ino, name)
        parent = self.directory(ino)
        found: Node | None = parent.children.get(name)
        if isinstance(parent, LinkFolder):
            found = self._link(parent, name)
        elif ino in self._views_in:
            view = self._views_in[ino].get(name)
            found = view.root if view else None
        if found is None:
            raise NotInCatalogueError(f"{joined(parent.path, name)} does not exist.")
        return found

    def listed(self, ino: int) -> tuple[Directory, list[Node]]:
        """A directory and what a listing of it shows."""
        tree = self.tree_of(ino)
        if tree is not None:
            directory = tree.listed(ino)
            nodes = tree.children_of(directory)
            return directory, [*nodes, self.control] if ino == inodes.ROOT and self._lists_control else nodes
        directory = self.directory(ino)
        views = self._views_in.get(ino, {})
        return directory, [
            *directory.children.values(),
            *(replace(view.root, name=name) for name, view in views.items()),
        ]

    def parent_ino(self, directory: Directory) -> int:
        """What `..` is in a directory."""
        view = inodes.view_of(directory.ino)
        if view and directory.ino == self.trees[view].root_ino:
            return self._place(view).parent_ino
        return directory.parent_ino

    def _place(self, view: int) -> Name:
        """Where the root of a view stands."""
        group, name = self._view_names[view]
        return Name(self._groups[group].ino, name)

    def path(self, ino: int) -> str:
        """Path from the mount's root, "" for the root itself. That of a file is its path in the archive."""
        path = self.node(ino).path
        view = inodes.view_of(ino)
        if not view:
            return path
        group, name = self._view_names[view]
        above = f"{self._groups[group].path}/{name}"
        return f"{above}/{path}" if path else above

    # -- waiting -------------------------------------------------------------------------------------------------

    def may_ask(self, ino: int) -> bool:
        """Whether whoever looks something up in or of a node may have to wait for a database."""
        tree = self.tree_of(ino)
        if tree is not None:
            return tree.may_ask
        if inodes.is_file(ino):
            return self.root.may_ask
        node = self._own.get(ino)
        return isinstance(node, LinkFolder) and node.may_ask

    def keeps_absence(self, ino: int) -> bool:
        """Whether a name that is absent from a directory is absent until `stale_names` or `changed` tells of it.

        No catalogue that takes the place of another can tell which names at the root were asked for in vain.
        """
        tree = self.tree_of(ino)
        return tree is not None and not tree.may_ask and ino != tree.root_ino

    def before_listing(self, ino: int) -> Callable[[], None] | None:
        """What is to be called before a directory is listed. It may wait."""
        tree = self.tree_of(ino)
        return tree.before_listing if tree else None

    # -- changing ------------------------------------------------------------------------------------------------

    def take_over(self, old: "Forest") -> None:
        """Take the place of another forest."""
        for view, tree in self.trees.items():
            if view in old.trees:
                tree.take_over(old.trees[view])

    def stale_names(self, old: "Forest", changes: Changes) -> Iterator[Name]:
        """What the kernel must forget when this takes the place of `old`.

        `changes` are those between the snapshots, where a tree shows one after another. A tree of some other
        catalogue is forgotten as a whole.
        """
        yield from self._other_views(old)
        for before, after in self._successions(old):
            if before.catalogue is after.catalogue:
                yield from stale_files(before, after)
            elif isinstance(before.catalogue, Snapshot) and isinstance(after.catalogue, Snapshot):
                yield from stale_names(before, after, changes)
            elif after is self.root:
                yield from top_names((before, after))
            else:
                yield self._place(after.view.number)

    def renewed_names(self, old: "Forest") -> Iterator[Name]:
        """The same, where both know the same archive, but for names that `old` called absent and this may ask for."""
        yield from self._other_views(old)
        for before, after in self._successions(old):
            yield from stale_files(before, after)

    def _successions(self, old: "Forest") -> Iterator[tuple[Tree, Tree]]:
        """The trees that were there and are, as they were and as they are."""
        return ((old.trees[view], tree) for view, tree in self.trees.items() if view in old.trees)

    def _other_views(self, old: "Forest") -> Iterator[Name]:
        """Where views came or went."""
        for view in self.trees.keys() ^ old.trees.keys():
            yield (self if view in self.trees else old)._place(view)

    @property
    def may_learn(self) -> bool:
        """Whether what is absent from any tree may come to be known without newer tables."""
        return any(tree.may_ask for tree in self.trees.values())

    def changed(self, changes: Changes) -> list[Name]:
        """Drop what is kept of what the live catalogue learned. Gives what the kernel must forget, in every view.

        `changes` are rows of the one catalogue that learns, which any number of trees show.
        """
        names: list[Name] = []
        for tree in self.trees.values():
            if not isinstance(tree.catalogue, Snapshot):  # which never changes
                names += learned_names(tree, changes)
        return names

    # -- finding -------------------------------------------------------------------------------------------------

    def find(self, path: str) -> Node:
        """The node at a path below the mountpoint. Raises `NotInCatalogueError`."""
        node: Node = self.root.root
        for part in filter(None, path.split("/")):
            node = self.child(node.ino, part)
        return node

    def file_ino(self, dataset: Dataset) -> int | None:
        """Inode number of a dataset, if it is shown. Asks nobody."""
        for tree in self.trees.values():
            row = tree.catalogue.aggregates if dataset.eid is None else tree.catalogue.session_of_eid(dataset.eid)
            if row is not None and (not tree.may_ask or tree.has_built(tree.catalogue.session_key(row))):
                file = tree.file_of(row, dataset.rel_path)
                if file is not None:
                    return file.ino
        return None

    def _link(self, folder: LinkFolder, name: str) -> Link | None:
        """The link called `name`, if what it leads to is shown in the root's tree."""
        path = folder.resolve(name)
        if not path:
            return None
        try:
            self.find(path)
        except (NotInCatalogueError, NotADirectoryInTreeError):
            return None
        target = "../" * (folder.path.count("/") + 1) + path
        number = digest64(text.encode(errors="surrogateescape") for text in (folder.path, name, target))
        link = Link(inodes.link_ino(number), name, joined(folder.path, name), target)
        with self._lock:
            self._links[link.ino] = link
        return link


def _path(control: Directory, name: str) -> str:
    return joined(control.path, name)


def _ino(control: Directory, name: str) -> int:
    return inodes.special_ino(digest64([_path(control, name).encode()]))
