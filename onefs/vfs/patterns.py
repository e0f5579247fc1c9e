"""Paths with wildcards, and the datasets they stand for: `*` stays within one folder, `**` does not."""

import os
from collections.abc import Callable, Iterator

from onefs.catalogue.globs import is_pattern, path_rules
from onefs.catalogue.records import Dataset
from onefs.errors import NotADirectoryInTreeError, NotInCatalogueError
from onefs.vfs.forest import Forest
from onefs.vfs.nodes import DatasetFile, Directory, Link, Node
from onefs.vfs.queries import QueryFolder

__all__ = ["Pattern", "Position", "datasets_of", "is_pattern"]

Position = frozenset[int]


class Pattern:
    """A path, or a shell's pattern, from the mount's root on. What it names, it means with all that is below.

    `start` and `after` tell what is left to be matched, as a set of positions, on the way down a tree; a path is
    matched once `is_match`, and nothing below it can be once the set is empty.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts = [part for part in text.split("/") if part not in ("", ".")]
        self._rules = path_rules(text)

    @property
    def start(self) -> Position:
        """At the root."""
        return self._with_none_between({0})

    def after(self, positions: Position, name: str) -> Position:
        """One step further down, into what is called `name`."""
        after: set[int] = set()
        for position in positions:
            rule = self._rules[position] if position < len(self._rules) else None
            if rule is None:
                after.add(position)
            elif rule.match(name):
                after.add(position + 1)
        return self._with_none_between(after)

    def is_match(self, positions: Position) -> bool:
        """Whether what stands here is meant, and all below it."""
        return len(self._parts) in positions

    def only_name(self, positions: Position) -> str | None:
        """The one name that can lead on from here; None if others can, too."""
        (position, *others) = positions
        if others or position == len(self._parts) or is_pattern(self._parts[position]):
            return None
        return self._parts[position]

    def _with_none_between(self, positions: set[int]) -> Position:
        """`**` stands for no folder, too."""
        for position, rule in enumerate(self._rules):
            if position in positions and rule is None:
                positions.add(position + 1)
        return frozenset(positions)


def datasets_of(
    forest: Forest,
    pattern: str,
    may_hold: Callable[[Directory], bool] = lambda folder: True,  # noqa: ARG005
) -> Iterator[Dataset]:
    """The datasets of a path or a pattern, in the order of the tree; folders that `may_hold` none are passed over.

    A path that exists is taken as it is, whatever stands in it. Raises `NotInCatalogueError` for one that does not; a
    pattern that nothing matches gives nothing. `.onefs` is meant only where it is named.
    """
    try:
        whole = _beyond(forest, forest.find("/".join(part for part in pattern.split("/") if part != ".")))
    except (NotInCatalogueError, NotADirectoryInTreeError):
        if not is_pattern(pattern):
            raise
        return _matching(forest, Pattern(pattern), may_hold)
    return _below(forest, whole, may_hold, set())


def _matching(forest: Forest, pattern: Pattern, may_hold: Callable[[Directory], bool]) -> Iterator[Dataset]:
    below: list[tuple[Node, Position]] = [(forest.root.root, pattern.start)]
    followed: set[str] = set()
    while below:
        node, positions = below.pop()
        if pattern.is_match(positions):
            yield from _below(forest, node, may_hold, followed)
        elif isinstance(node, Directory) and may_hold(node):
            found = [(child, pattern.after(positions, name)) for name, child in _next(forest, node, pattern, positions)]
            below += [each for each in reversed(found) if each[1]]


def _next(forest: Forest, folder: Directory, pattern: Pattern, positions: Position) -> list[tuple[str, Node]]:
    """What a way down can lead to, by name: a view's root has none of its own."""
    name = pattern.only_name(positions)
    if name is None:
        return [(child.name, child) for child in forest.listed(folder.ino)[1] if child is not forest.control]
    try:
        return [(name, forest.child(folder.ino, name))]
    except (NotInCatalogueError, NotADirectoryInTreeError):
        return []


def _below(forest: Forest, top: Node, may_hold: Callable[[Directory], bool], followed: set[str]) -> Iterator[Dataset]:
    """The datasets of a node and all below it. `followed` is where links led to so far: each place counts once."""
    below = [top]
    while below:
        node = below.pop()
        if isinstance(node, Link):
            node = _beyond(forest, node)
            if node.path in followed:
                continue
            followed.add(node.path)
        if isinstance(node, DatasetFile):
            yield node.dataset
        elif isinstance(node, Directory) and node is not forest.control and may_hold(node):
            follows = isinstance(node, QueryFolder)
            below += reversed([each for each in forest.listed(node.ino)[1] if follows or not isinstance(each, Link)])


def _beyond(forest: Forest, node: Node) -> Node:
    """What a symbolic link leads to; else the node itself."""
    if not isinstance(node, Link):
        return node
    return forest.find(os.path.normpath(f"{node.path}/../{node.target}"))
