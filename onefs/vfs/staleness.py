"""Owns which names the kernel must forget when one tree takes the place of another."""

from collections.abc import Iterator
from typing import NamedTuple

from onefs.catalogue.changes import Changes
from onefs.vfs.nodes import DatasetFile, Directory, Node
from onefs.vfs.tree import Tree


class Name(NamedTuple):
    """An entry of a directory, whether it was there, will be there, or means something else."""

    parent_ino: int
    name: str


def stale_names(old: Tree, new: Tree, changes: Changes) -> Iterator[Name]:
    """Names that mean something else in the new tree: gone, come, or with other attributes. Each once."""
    seen: set[Name] = set()
    for name in _candidates(old, new, changes):
        if name not in seen:
            seen.add(name)
            yield name


def _candidates(old: Tree, new: Tree, changes: Changes) -> Iterator[Name]:
    yield from _specials(old, new)
    for tree, rows in ((old, changes.folders_gone), (new, changes.folders_new)):
        for row in rows:
            node = tree.folder_node(row)
            if node.ino != node.parent_ino:
                yield Name(node.parent_ino, node.name)
    for old_row, new_row in changes.sessions:
        before = old.session_entries(old_row) if old_row is not None else {}
        after = new.session_entries(new_row) if new_row is not None else {}
        for key in before.keys() | after.keys():
            if not _alike(before.get(key), after.get(key)):
                yield Name(*key)


def _specials(old: Tree, new: Tree) -> Iterator[Name]:
    before, after = old.specials, new.specials
    for name in before.keys() | after.keys():
        mine, other = before.get(name), after.get(name)
        if mine is None or other is None or mine.ino != other.ino:
            yield Name(old.root.ino, name)


def _alike(one: Node | None, other: Node | None) -> bool:
    if isinstance(one, DatasetFile) and isinstance(other, DatasetFile):
        return (one.ino, one.generation, one.size_bytes, one.time_s) == (
            other.ino,
            other.generation,
            other.size_bytes,
            other.time_s,
        )
    if isinstance(one, Directory) and isinstance(other, Directory):
        return (one.ino, one.time_s) == (other.ino, other.time_s)
    return False
