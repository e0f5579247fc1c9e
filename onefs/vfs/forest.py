"""What is where in the mount: the root's tree, other views of it below `.onefs`, and links by identifier."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Enum

from onefs.catalogue.changes import Changes
from onefs.catalogue.records import Dataset
from onefs.catalogue.revisions import edition_of
from onefs.catalogue.snapshot import Snapshot
from onefs.digests import digest64
from onefs.errors import GoneError, NotADirectoryInTreeError, NotInCatalogueError, OnefsError
from onefs.vfs import inodes
from onefs.vfs.contents import Nodes, nodes_of
from onefs.vfs.entered import LISTED_MOST, EnteredViews, Group, Numbers
from onefs.vfs.links import LinksMade, Resolver
from onefs.vfs.nodes import Directory, Link, LinkFolder, LiveFolder, Node, as_directory, joined
from onefs.vfs.queries import Queries
from onefs.vfs.staleness import (
    EVERY_FOLDER,
    ITSELF,
    Name,
    learned_names,
    rule_changed_names,
    stale_files,
    stale_names,
    top_names,
)
from onefs.vfs.tree import Tree
from onefs.vfs.trees import Trees


class Wait(Enum):
    """What a question may have to wait for: WORK is the making of thousands of nodes, or a disk that is far away."""

    NOTHING = "nothing"
    WORK = "work"
    DATABASE = "database"


class Forest:
    """The root's tree and all that stands in `.onefs`. Safe to use from several threads.

    `views` are trees by folder and name: `{"via": {"local": tree}}` stands at `.onefs/via/local`, and those of the
    folder "" in `.onefs` itself. `groups` are folders of views that are made when they are entered; `numbers` are
    theirs. The numbers of views tell their folders apart; a file has the same inode number in all of them. `links` are
    folders of symbolic links; `queries` is the folder of searches, if there is one.
    """

    def __init__(
        self,
        root: Tree,
        control: Directory,
        views: Mapping[str, Mapping[str, Tree]],
        links: Mapping[str, Resolver],
        *,
        groups: Sequence[Group] = (),
        numbers: Numbers | None = None,
        queries: Queries | None = None,
        lists_control: bool = False,
    ) -> None:
        """`control` is `.onefs` with its files; it is listed only with `lists_control`."""
        self.root = root
        self._entered = EnteredViews({group.name: group for group in groups}, numbers or Numbers())
        self._trees = Trees(root, views, self._entered)
        self._lists_control = lists_control
        names = (*views, *(group.name for group in groups))
        self._groups = {group: Directory(_ino(control, group), control.ino, group, _path(control, group), 0)
                        for group in names if group}  # fmt: skip
        folders = {name: self._link_folder(control, name, resolver) for name, resolver in links.items()}
        self.queries = queries
        searches = {queries.root.name: queries.root} if queries is not None else {}
        self.control = replace(control, children={**control.children, **self._groups, **folders, **searches})
        self._groups[""] = self.control
        self._views_in = {self._groups[group].ino: trees for group, trees in views.items()}
        self._group_in = {self._groups[group.name].ino: group for group in groups}
        own: list[Node] = [self.control, *self.control.children.values()]
        own += [file for tree in self._trees.fixed.values() for file in tree.files.values()]
        self._own = {node.ino: node for node in own}
        self._live = [node.nodes for node in control.children.values() if isinstance(node, LiveFolder)]
        self._links = LinksMade()

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
        return self._trees.of(ino)

    def node(self, ino: int) -> Node:
        """The node of a number. Raises `GoneError` if there is none now."""
        if inodes.is_file(ino):
            return self._trees.file(ino)
        tree = self.tree_of(ino)
        if tree is not None:
            return tree.node(ino)
        found = self._own.get(ino) or next((nodes[ino] for nodes in self._live if ino in nodes), None)
        if found is None:
            found = self._links.find(ino) or self._trees.own_file(ino)
        if found is None and self.queries is not None:
            found = self.queries.node(ino)
        if found is None:
            raise GoneError(f"Inode {ino} is no longer there.", "Look the path up again.")
        return found

    @property
    def has_one_catalogue(self) -> bool:
        """Whether a file's number stands for one file, as no other catalogue is shown, and none may be asked."""
        return not (self.root.may_ask or self._trees.own_catalogues or self._entered.are_kept)

    def directory(self, ino: int) -> Directory:
        """The directory of a number. Raises `GoneError` or `NotADirectoryInTreeError`."""
        return as_directory(self.node(ino))

    def looked_up(self, ino: int, name: str) -> Node:
        """The node called `name` in a directory, for a kernel that is told of it and will tell when it forgets it."""
        group = self._group_in.get(ino)
        return self._entered.enter(group, name, for_kernel=True).root if group else self.child(ino, name)

    def forgot(self, ino: int, times: int) -> None:
        """The kernel has forgotten a node so many times."""
        self._entered.numbers.forgot(ino, times)

    def child(self, ino: int, name: str) -> Node:
        """The node called `name` in a directory. Raises `NotInCatalogueError`."""
        tree = self.tree_of(ino)
        if tree is not None:
            return self.control if ino == inodes.ROOT and name == self.control.name else tree.child(ino, name)
        parent = self.directory(ino)
        found: Node | None = parent.children.get(name)
        if self.queries is not None and self.queries.has(ino):
            found = self.queries.child(parent, name)
        elif isinstance(parent, LinkFolder):
            found = self._link(parent, name)
        elif ino in self._group_in:
            found = self._entered.enter(self._group_in[ino], name, for_kernel=False).root
        elif found is None and name in self._views_in.get(ino, {}):
            found = self._views_in[ino][name].root
        if found is None:
            raise NotInCatalogueError(f"{joined(parent.path, name)} does not exist.")
        return found

    def listed(self, ino: int) -> tuple[Directory, Nodes]:
        """A directory and what a listing of it shows."""
        tree = self.tree_of(ino)
        if tree is not None:
            directory = tree.listed(ino)
            nodes = tree.children_of(directory)
            lists_control = self._lists_control and ino == inodes.ROOT
            return directory, Nodes(None, [*nodes, self.control]) if lists_control else nodes
        directory = self.directory(ino)
        if self.queries is not None and self.queries.has(ino):
            return directory, Nodes(None, self.queries.listed(directory))
        views = self._views_in.get(ino) or self._listed_views(ino)
        return directory, nodes_of(directory.children, (replace(view.root, name=name) for name, view in views.items()))

    def _listed_views(self, ino: int) -> dict[str, Tree]:
        """The views of a group that a listing shows. Their numbers are theirs for good."""
        group = self._group_in.get(ino)
        if group is None:
            return {}
        names = group.listed()[-LISTED_MOST:]
        views = {}
        for name in names:
            with contextlib.suppress(OnefsError):  # it says why when it is entered
                views[name] = self._entered.enter(group, name, for_kernel=False)
        return views

    def parent_ino(self, directory: Directory) -> int:
        """What `..` is in a directory."""
        view = inodes.view_of(directory.ino)
        if view and directory.ino == inodes.view_root(view):
            return self._place(view).parent_ino
        return directory.parent_ino

    def _place(self, view: int) -> Name:
        """Where the root of a view stands."""
        return self.name_in_group(*self._trees.place(view))

    def name_in_group(self, group: str, name: str) -> Name:
        """Where a view of a group stands."""
        return Name(self._groups[group].ino, name)

    def path(self, ino: int) -> str:
        """Path from the mount's root, "" for the root itself. That of a file is its path in the archive."""
        path = self.node(ino).path
        view = inodes.view_of(ino)
        if not view:
            return path
        group, name = self._trees.place(view)
        above = f"{self._groups[group].path}/{name}"
        return f"{above}/{path}" if path else above

    def is_live(self, ino: int) -> bool:
        """Whether the listing of a folder changes without `stale_names` or `changed` telling of it.

        The kernel may keep the listings of all others (kept listings).
        """
        view = 0 if ino == inodes.ROOT else inodes.view_of(ino)
        if view is None:
            return True
        tree = self._trees.fixed.get(view)
        return tree.is_live if tree is not None else self._is_live_entered(view)

    def _is_live_entered(self, view: int) -> bool:
        """The same, of the folders of an entered view."""
        return self.root.is_live and not self._entered.has_own_catalogue(view)

    # -- waiting -------------------------------------------------------------------------------------------------

    def may_ask(self, ino: int) -> bool:
        """Whether whoever looks something up in or of a node may have to wait for a database."""
        view = 0 if ino == inodes.ROOT else inodes.view_of(ino)
        if view is not None:
            return self._trees.may_ask(view)
        if inodes.is_file(ino):
            return self.root.may_ask
        if ino in self._group_in:
            return self._group_in[ino].may_ask
        if self.queries is not None and self.queries.has(ino):
            return self.queries.may_search(ino)
        node = self._own.get(ino)
        return isinstance(node, LinkFolder) and node.may_ask

    def keeps_absence(self, ino: int) -> bool:
        """Whether a name that is absent from a directory is absent until `stale_names` or `changed` tells of it.

        No catalogue that takes the place of another can tell which names at the root were asked for in vain.
        """
        tree = self.tree_of(ino)
        return tree is not None and not tree.may_ask and ino != tree.root_ino

    def wait_for(self, ino: int, *, to_list: bool) -> Wait:
        """What a question about a node or a name in it, or with `to_list` a listing of it, may have to wait for."""
        view = 0 if inodes.is_file(ino) or ino == inodes.ROOT else inodes.view_of(ino)
        tree = None if view is None else self._trees.fixed.get(view)
        if tree is None:
            if self.may_ask(ino) or (to_list and self.before_listing(ino) is not None):
                return Wait.DATABASE
            tree = self._trees.of(ino)
        elif tree.may_ask or (to_list and tree.before_listing is not None):
            return Wait.DATABASE
        return Wait.WORK if tree is not None and tree.takes_long(ino, to_list=to_list) else Wait.NOTHING

    def before_listing(self, ino: int) -> Callable[[], object] | None:
        """What is to be called before a directory is listed. It may wait."""
        if ino in self._group_in:
            return self._group_in[ino].listed
        tree = self.tree_of(ino)
        return tree.before_listing if tree else None

    # -- changing ------------------------------------------------------------------------------------------------

    def take_over(self, old: "Forest") -> None:
        """Take the place of another forest."""
        self._trees.take_over(old._trees)

    def stale_names(self, old: "Forest", changes: Changes) -> Iterator[Name]:
        """What the kernel must forget when this takes the place of `old`.

        `changes` are those between the snapshots, where a tree shows one after another. A tree of some other
        catalogue is forgotten as a whole.
        """
        yield from self._other_views(old)
        for before, after in self._trees.successions(old._trees):
            if before.catalogue is after.catalogue:
                yield from stale_files(before, after)
            elif self._entered.has_own_catalogue(after.view.number):
                yield from self._whole_view(after.view.number)
            elif isinstance(before.catalogue, Snapshot) and isinstance(after.catalogue, Snapshot):
                yield from stale_names(before, after, changes)
            elif after is self.root:
                yield from top_names((before, after))
                yield Name(inodes.ROOT, EVERY_FOLDER)
            else:
                yield from self._whole_view(after.view.number)

    def renewed_names(self, old: "Forest") -> Iterator[Name]:
        """The same, where both know the same archive, but for names that `old` called absent and this may ask for."""
        yield from self._other_views(old)
        for before, after in self._trees.successions(old._trees):
            yield from stale_files(before, after)

    def rule_changed_names(self, old: "Forest") -> Iterator[Name]:
        """The same, where only the rules of views changed: as-of date, QC limit or release."""
        yield from self._far_views(old)
        yield from self.turned_live(old)
        for before, after in self._trees.successions(old._trees):
            yield from rule_changed_names(before, after)

    def _other_views(self, old: "Forest") -> Iterator[Name]:
        """Where views came or went."""
        now, before = self._trees.fixed, old._trees.fixed
        for view in now.keys() ^ before.keys():
            yield from (self if view in now else old)._whole_view(view)
        yield from self._far_views(old)
        yield from self.turned_live(old)

    def _whole_view(self, view: int) -> Iterator[Name]:
        """All of a view that was replaced, came or went."""
        yield self._place(view)
        yield Name(inodes.view_root(view), EVERY_FOLDER)

    def _far_views(self, old: "Forest", *, learning: bool = False) -> Iterator[Name]:
        """Where entered views stand of which no tree is at hand that could tell what became of its names."""
        entered = self._entered
        compared = old._entered.kept().keys() & entered.kept().keys()
        for view in entered.numbers.placed():
            place = entered.numbers.place(view)
            if place and view not in compared and not (learning and entered.has_own_catalogue(view)):
                yield self.name_in_group(*place)
                yield Name(inodes.view_root(view), EVERY_FOLDER)

    def turned_live(self, old: "Forest") -> Iterator[Name]:
        """Folders whose listings the kernel may keep in `old`, and may not in this forest."""
        before = old._trees.fixed
        for view, tree in self._trees.fixed.items():
            if tree.is_live and view in before and not before[view].is_live:
                yield Name(tree.root_ino, EVERY_FOLDER)
        if self.root.is_live and not old.root.is_live:
            # Somebody may be entering a view just then.
            yield from (Name(folder.ino, ITSELF) for folder in self._groups.values())
            entered = filter(self._is_live_entered, self._entered.numbers.placed())
            yield from (Name(inodes.view_root(view), EVERY_FOLDER) for view in entered)

    @property
    def may_learn(self) -> bool:
        """Whether what is absent from any tree may come to be known without newer tables."""
        return any(tree.may_ask for tree in self._trees.fixed.values())

    def changed(self, changes: Changes) -> list[Name]:
        """Drop what is kept of what the live catalogue learned. Gives what the kernel must forget, in every view.

        `changes` are rows of the one catalogue that learns, which any number of trees show.
        """
        names: list[Name] = []
        for tree in self._trees.at_hand().values():
            if not isinstance(tree.catalogue, Snapshot):  # which never changes
                names += learned_names(tree, changes)
        names += self._far_views(self, learning=True)
        return names

    # -- finding -------------------------------------------------------------------------------------------------

    def find(self, path: str) -> Node:
        """The node at a path below the mountpoint. Raises `NotInCatalogueError`."""
        node: Node = self.root.root
        for part in filter(None, path.split("/")):
            node = self.child(node.ino, part)
        return node

    def file_ino(self, dataset: Dataset) -> int | None:
        """Inode number of a dataset, if the catalogue has it. Asks nobody."""
        return self._trees.file_ino(dataset)

    def _link(self, folder: LinkFolder, name: str) -> Link | None:
        """The link called `name`, if what it leads to is shown in the root's tree."""
        of = folder.resolve(name)
        if not of:
            return None
        path = edition_of(of)[0] if self.root.view.rule.default_only else of
        try:
            found = self.find(path)
        except (NotInCatalogueError, NotADirectoryInTreeError):
            return None
        if found.path != of:  # another edition is shown in its place
            return None
        return self._links.make(folder.path, name, path)


def _path(control: Directory, name: str) -> str:
    return joined(control.path, name)


def _ino(control: Directory, name: str) -> int:
    return inodes.special_ino(digest64([_path(control, name).encode()]))
