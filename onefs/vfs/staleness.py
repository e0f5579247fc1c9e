"""Which names to invalidate in the kernel when a tree replaces another, or when its catalogue learned something.

`onefs.fuse.notify` tells the kernel to forget them.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from onefs.catalogue.changes import Changes
from onefs.catalogue.interface import Catalogue
from onefs.catalogue.live import LiveSnapshot
from onefs.catalogue.sharing import datasets_shown
from onefs.catalogue.snapshot import Folder
from onefs.errors import GoneError, OnefsError
from onefs.vfs.nodes import DatasetFile, Directory, Node
from onefs.vfs.tree import Tree

ITSELF = "."
"""In place of a name: the directory's own attributes and listing. Its entry stays: programs can go on in there."""
EVERY_FOLDER = ".."
"""In place of a name in the root of a view: `ITSELF` of all folders of the view."""


class Name(NamedTuple):
    """An entry of a directory that is gone, new or another file now; with it the directory's attributes and listing.

    Or `ITSELF`, or `EVERY_FOLDER`.
    """

    parent_ino: int
    name: str


def stale_names(old: Tree, new: Tree, changes: Changes) -> Iterator[Name]:
    """Names that are gone, new, or have other attributes in the tree of a new snapshot. Each once."""
    seen: set[Name] = set()
    for name in _candidates(old, new, changes):
        if name not in seen:
            seen.add(name)
            yield name


def _candidates(old: Tree, new: Tree, changes: Changes) -> Iterator[Name]:
    yield from stale_files(old, new)
    for row in changes.folders_gone:
        yield _name_of(old, row)
        yield Name(old.folder_ino(row), ITSELF)  # somebody may work in there
    for row in changes.folders_new:
        if old.catalogue.folder_of_key(new.catalogue.folder_key(row)) is None:
            yield _name_of(new, row)
        else:
            yield Name(new.folder_ino(row), ITSELF)
    for old_row, new_row in changes.sessions:
        try:
            before = old.session_entries(old_row) if old_row is not None else {}
            after = new.session_entries(new_row) if new_row is not None else {}
        except OnefsError:  # one of the indexes is damaged: the kernel forgets the whole folder
            yield from (_folder_of(tree, row) for tree, row in ((old, old_row), (new, new_row)) if row is not None)
            yield Name(new.root_ino, EVERY_FOLDER)
        else:
            yield from _different(before, after)


def stale_files(old: Tree, new: Tree) -> Iterator[Name]:
    """Names of the root's own files that are other files now."""
    for name in old.files.keys() | new.files.keys():
        mine, other = old.files.get(name), new.files.get(name)
        if mine is None or other is None or mine.ino != other.ino:
            yield Name(new.root_ino, name)


def top_names(trees: Iterable[Tree]) -> set[Name]:
    """All known names at the root of trees. Asks no server. The kernel forgets what lies below together with them."""
    names: set[Name] = set()
    for tree in trees:
        catalogue = _silent(tree.catalogue)
        names |= {Name(tree.root_ino, folder.name) for folder in catalogue.folders(0)}
        names |= {Name(tree.root_ino, name) for name in tree.files}
    return names


def rule_changed_names(old: Tree, new: Tree) -> Iterator[Name]:
    """Names that change when a tree's rule does: its as-of date, QC limit or release. Asks no server.

    Only of sessions that were looked into: the kernel knows no name in any other.
    """
    if old.view == new.view:
        return
    catalogue = _silent(new.catalogue)
    for key in list(new.looked_into):
        row = catalogue.session_of_key(key)
        if row is None:
            continue
        rows = datasets_shown(catalogue, catalogue.newest(row))
        if old.view.shown(rows) != new.view.shown(rows):
            before, after = (new.entries_under(view, catalogue, rows.session) for view in (old.view, new.view))
            yield from _different(before, after)


def _silent(catalogue: Catalogue) -> Catalogue:
    """A catalogue that answers without asking a server."""
    return catalogue.silent() if isinstance(catalogue, LiveSnapshot) else catalogue


def learned_names(tree: Tree, changes: Changes) -> list[Name]:
    """Have a tree drop what its catalogue has learned anew. Returns the names that changed by it."""
    kept = tree.forget(changes)
    names = [_name_of(tree, row) for row in changes.folders_gone]
    if changes.folders_gone:
        names.append(Name(tree.root_ino, EVERY_FOLDER))  # those below are not named, and somebody may work in there
    names += [Name(tree.folder_ino(row), ITSELF) for row in changes.folders_new]
    for row in changes.folders_new:
        folder = tree.catalogue.folder(row)
        before = kept.get(row)
        if before is None or not _has_same_sessions(tree, before.folder, folder):
            names.append(_name_of(tree, row))
    for old_row, new_row in changes.sessions:
        if old_row != new_row:
            names += _different(_entries(tree, old_row), _entries(tree, new_row))
    return names


def _name_of(tree: Tree, row: int) -> Name:
    """The entry of a folder in the one above it, also if that is gone."""
    folder = tree.catalogue.folder(row)
    if folder.row == folder.parent:
        return Name(tree.root_ino, ITSELF)
    return Name(tree.folder_ino(folder.parent), folder.name)


def _folder_of(tree: Tree, session: int) -> Name:
    """The entry of a session's folder."""
    return _name_of(tree, tree.catalogue.session_folder(session).row)


def _has_same_sessions(tree: Tree, one: Folder | None, other: Folder) -> bool:
    before = one.sessions if one else ()
    return [*map(tree.catalogue.session_key, before)] == [*map(tree.catalogue.session_key, other.sessions)]


def _entries(tree: Tree, row: int | None) -> dict[tuple[int, str], Node]:
    if row is None:
        return {}
    try:
        if tree.catalogue.session_folder(row).others:  # nothing may be asked of the other sessions there
            return tree.entries_under(tree.view, _silent(tree.catalogue), row)
        return tree.session_entries(row)
    except GoneError:  # its folder has gone meanwhile, and what was in it with that
        return {}


def _different(before: dict[tuple[int, str], Node], after: dict[tuple[int, str], Node]) -> Iterator[Name]:
    for key in before.keys() | after.keys():
        if not _alike(before.get(key), after.get(key)):
            yield Name(*key)


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
