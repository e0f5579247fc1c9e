"""The orders in which files are prefetched are those of the tree's listings."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import a_dataset, a_session, tables_of

from onefs.catalogue.revisions import Rule
from onefs.catalogue.snapshot import Snapshot, load_snapshot
from onefs.vfs.contents import Contents
from onefs.vfs.nodes import DatasetFile, Directory
from onefs.vfs.prefetching import CachedNames, Files, FolderOrder, NameOrder, Sessions, SmallFile
from onefs.vfs.tree import Tree
from onefs.vfs.views import View

TRIALS = "alf/_ibl_trials.table.pqt"
NAMES = (
    "alf/spikes.times.npy",
    "alf/spikes.amps.npy",
    "alf/spikes_other.times.npy",
    "alf/_ibl_trials.intervals.npy",
    "alf/probe00/spikes.times.npy",
    "alf/README",
    "alf/#2024-05-06#/clusters.depths.npy",
    "alf/#2024-05-06#/clusters.amps.npy",
)
SESSIONS = [
    a_session(lab, subject, day, number)
    for lab, subject, day, number in (
        ("lab_b", "mouse", "2024-01-02", 1),
        ("lab_b", "mouse", "2024-01-02", 2),
        ("lab_b", "mouse", "2023-12-31", 1),
        ("lab_b", "Mouse", "2024-01-03", 1),
        ("lab_a", "rat", "2024-02-01", 10),
        ("lab_a", "rat_2", "2024-02-01", 9),
    )
]


class NoContent:
    """Stands where nothing is asked of the cache."""


FILES = Files(NoContent())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    datasets = [a_dataset(session, name) for session in SESSIONS for name in NAMES]
    datasets += [a_dataset(session, TRIALS) for session in SESSIONS[1:]]
    home: Path = tmp_path_factory.mktemp("tables")
    return load_snapshot(tables_of(home, SESSIONS, datasets), home / "state")


@pytest.fixture(params=[False, True], ids=["full", "default"])
def tree(tables: Snapshot, request: pytest.FixtureRequest) -> Tree:
    return Tree(tables, View(0, Rule(default_only=request.param)), {})


def walk(tree: Tree, ino: int) -> Iterator[DatasetFile]:
    for node in tree.children(ino):
        if isinstance(node, Directory):
            yield from walk(tree, node.ino)
        elif isinstance(node, DatasetFile):
            yield node


def small(node: DatasetFile) -> SmallFile:
    return FILES.of(node)


def test_a_name_is_found_in_the_sessions_behind_one(tree: Tree) -> None:
    order: Any = NameOrder(Sessions(tree), TRIALS, FILES)
    listed = [node for node in walk(tree, tree.root_ino) if node.path.endswith(TRIALS)]
    assert len(listed) == len(SESSIONS) - 1
    for at, node in enumerate(listed):
        assert [each.node.ino for each in order.after(small(node))] == [each.ino for each in listed[at + 1 :]]
    assert list(order.after(None)) == []


def test_a_folder_is_gone_through_as_it_is_listed(tree: Tree) -> None:
    n_folders = 0
    for first in list(walk(tree, tree.root_ino)):
        folder = tree.folder_at_hand(first)
        assert folder is not None
        assert isinstance(folder.children, Contents)
        listed = [node for node in tree.children_of(folder) if isinstance(node, DatasetFile)]
        assert first.ino in [node.ino for node in listed]
        if listed[0].ino != first.ino:
            continue
        n_folders += 1
        order = FolderOrder(folder.path, folder.children, FILES)
        assert [each.node.ino for each in order.after(None)] == [node.ino for node in listed]
        for at, node in enumerate(listed):
            assert [each.node.ino for each in order.after(small(node))] == [each.ino for each in listed[at + 1 :]]
    assert n_folders >= 2 * len(SESSIONS)


def test_the_files_of_an_object(tables: Snapshot) -> None:
    tree = Tree(tables, View(), {})
    node = next(
        node for node in walk(tree, tree.root_ino) if node.name == "spikes.times.npy" and "probe" not in node.path
    )
    folder = tree.folder_at_hand(node)
    assert folder is not None
    assert isinstance(folder.children, Contents)
    order = FolderOrder(folder.path, folder.children, FILES)
    group = order.group(small(node))
    assert [each.node.name for each in order.members(group)] == ["spikes.amps.npy", "spikes.times.npy"]
    named = {each.node.name: order.group(each) for each in order.after(None)}
    assert named["_ibl_trials.intervals.npy"] == "_ibl_trials."
    assert named["README"] == ""
    assert list(order.members("")) == []


class Folders:
    """Stands for a content: tells what is in the cache's folders, and counts how often it is asked."""

    def __init__(self, **folders: set[str]) -> None:
        self.folders = folders
        self.n_asked = 0

    def cached_names_in(self, folder: str) -> set[str]:
        self.n_asked += 1
        return set(self.folders.get(folder, ()))


def test_a_folder_of_the_cache_is_read_once_until_files_leave_it() -> None:
    folders = Folders(alf={"a.npy", "b.npy"})
    names = CachedNames(folders)  # type: ignore[arg-type]
    assert [names.has(f"alf/{name}") for name in ("a.npy", "b.npy", "c.npy")] == [True, True, False]
    names.fetched("alf/c.npy")
    assert names.has("alf/c.npy")
    assert not names.has("raw/a.npy")
    assert folders.n_asked == 2
    folders.folders["alf"] = {"b.npy", "c.npy"}
    names.fetched("alf/a.npy")
    assert [names.has(f"alf/{name}") for name in ("a.npy", "b.npy", "c.npy")] == [False, True, True]
