"""Owns the trees of a mount: the root's, the views beside it, and those entered by name; and the files of all."""

from collections.abc import Iterator, Mapping

from onefs.catalogue.records import Dataset
from onefs.errors import GoneError
from onefs.vfs import inodes
from onefs.vfs.entered import EnteredViews
from onefs.vfs.nodes import Node, SpecialFile
from onefs.vfs.tree import Tree, gone


class Trees:
    """All trees of one forest, told apart by their views' numbers. Safe to use from several threads.

    The number of a view is in the inode number of each of its folders; a file has the same number in all of them.
    """

    def __init__(self, root: Tree, views: Mapping[str, Mapping[str, Tree]], entered: EnteredViews) -> None:
        """`views` are trees by group and name, `entered` those that are made when they are entered."""
        placed = [(group, name, tree) for group, trees in views.items() for name, tree in trees.items()]
        self.root = root
        self.entered = entered
        self.fixed = {tree.view.number: tree for tree in (root, *(tree for _, _, tree in placed))}
        if len(self.fixed) != len(placed) + 1 or self.fixed.get(0) is not root:
            raise ValueError("every view needs a number of its own, and that of the root's is 0")
        self.own_catalogues = [tree for tree in self.fixed.values() if tree.catalogue is not root.catalogue]
        self._places = {tree.view.number: (group, name) for group, name, tree in placed}

    def of(self, ino: int) -> Tree | None:
        """The tree in which a number stands for a directory above or in a session, the tree's root included."""
        if ino == inodes.ROOT:
            return self.root
        view = inodes.view_of(ino)
        return None if view is None else self.fixed.get(view) or self.entered.tree(view)

    def place(self, view: int) -> tuple[str, str]:
        """The group and the name of a view other than the root's. Raises `GoneError`."""
        found = self._places.get(view) or self.entered.numbers.place(view)
        if found is None:
            raise GoneError("That view is no longer there.", "Look the path up again.")
        return found

    def at_hand(self) -> dict[int, Tree]:
        """The trees that need not be made, by their views' numbers."""
        return self.fixed | self.entered.kept()

    def may_ask(self, view: int) -> bool:
        """Whether looking at a view may wait for a database."""
        return self.fixed[view].may_ask if view in self.fixed else self.entered.may_ask(view)

    def take_over(self, old: "Trees") -> None:
        """Take the place of the trees of another forest."""
        for view, tree in self.fixed.items():
            if view in old.fixed:
                tree.take_over(old.fixed[view])
        self.entered.take_over(old.entered)

    def successions(self, old: "Trees") -> Iterator[tuple[Tree, Tree]]:
        """The trees that were there and are, as they were and as they are."""
        before = old.at_hand()
        return ((before[view], tree) for view, tree in self.at_hand().items() if view in before)

    # -- files ---------------------------------------------------------------------------------------------------

    def own_file(self, ino: int) -> SpecialFile | None:
        """The file of a number that an entered view of another catalogue has at its root."""
        own = self.entered.with_own_catalogues()
        return next((file for tree in own for file in tree.files.values() if file.ino == ino), None)

    def file(self, ino: int) -> Node:
        """The dataset of a number, from whichever tree has it. Only the root's may be asked for what it does not know.

        Numbers are as good as unique. Raises `GoneError` where one stands for two files in two catalogues, too.
        """
        try:
            found: Node = self.root.file(ino)
        except GoneError:
            found = self._other_file(ino)
        for tree in (*self.own_catalogues, *self.entered.kept().values()):
            other = None if tree.catalogue is self.root.catalogue else tree.file_at_hand(ino)
            if other is not None and other.generation != getattr(found, "generation", None):
                raise GoneError(
                    f"{found.path} and {other.path} in another catalogue have the same number here.",
                    "Read one of them through a mount of its own.",
                )
        return found

    def _other_file(self, ino: int) -> Node:
        """The dataset of a number that the root's tree does not show. Raises `GoneError`."""
        for tree in self._by_catalogue():
            if _may_look(tree, inodes.session_key_of(ino)):
                found = tree.file_of_number(ino)
                if found is not None:
                    return found
        raise gone(ino)

    def file_ino(self, dataset: Dataset) -> int | None:
        """Inode number of a dataset, if a catalogue has it. Asks nobody."""
        for tree in self._by_catalogue():
            row = tree.catalogue.aggregates if dataset.eid is None else tree.catalogue.session_of_eid(dataset.eid)
            if row is not None and _may_look(tree, tree.catalogue.session_key(row)):
                ino = tree.number_of_file(row, dataset.rel_path)
                if ino is not None:
                    return ino
        return None

    def _by_catalogue(self) -> list[Tree]:
        """A tree for each catalogue that any of them shows."""
        found: dict[int, Tree] = {}
        for tree in (*self.fixed.values(), *self.entered.with_own_catalogues()):
            found.setdefault(id(tree.catalogue), tree)
        return list(found.values())


def _may_look(tree: Tree, session_key: int) -> bool:
    """Whether a tree tells of a session without asking."""
    return not tree.may_ask or tree.has_built(session_key)
