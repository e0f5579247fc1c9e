"""Files that were looked up lately: they are opened without a search, as long as nothing changed since."""

from pathlib import Path

import pytest
from asking import a_dataset, a_session, tables_of
from file_systems import file_system_of, silent_control

from onefs.cache.store import ContentStore
from onefs.catalogue.records import Dataset
from onefs.catalogue.snapshot import Snapshot, load_snapshot
from onefs.errors import GoneError
from onefs.fetch.access import Content
from onefs.modes import Mode
from onefs.transports.file import FileTransport
from onefs.vfs import inodes
from onefs.vfs.filesystem import FileSystem
from onefs.vfs.forest import Forest
from onefs.vfs.journal import Journal
from onefs.vfs.tree import Tree
from onefs.vfs.views import View

SESSION = a_session()
FILE, OTHER = a_dataset(SESSION, "alf/a.times.npy"), a_dataset(SESSION, "alf/b.times.npy")


def snapshot(home: Path, *datasets: Dataset) -> Snapshot:
    name = "-".join(dataset.rel_path.rpartition("/")[2] for dataset in datasets)
    (home / name).mkdir()
    return load_snapshot(tables_of(home / name, [SESSION], datasets), home / "state")


def shown(home: Path, catalogue: Snapshot, **views: Tree) -> FileSystem:
    content = Content(
        ContentStore(home / "cache", home / "cache" / ".onefs"), FileTransport(), lambda _: [], lambda _: []
    )
    return file_system_of(Tree(catalogue, View(), {}), content, Mode.AUTO, views={"via": views})


def looked_up(file_system: FileSystem) -> int:
    ino = inodes.ROOT
    for name in FILE.path.split("/"):
        ino = file_system.lookup(ino, name).ino
    return ino


def test_a_file_is_at_hand_until_the_tree_changes(tmp_path: Path) -> None:
    file_system = shown(tmp_path, snapshot(tmp_path, FILE, OTHER))
    ino = looked_up(file_system)
    node = file_system.file_at_hand(ino)
    assert node is not None
    assert node.dataset == FILE
    without = Tree(snapshot(tmp_path, OTHER), View(), {})
    file_system.forest = Forest(without, silent_control(Journal(str)), {}, {})
    assert file_system.file_at_hand(ino) is None
    with pytest.raises(GoneError):
        file_system.open(ino)


def test_where_two_catalogues_are_shown_each_opening_looks_in_both(tmp_path: Path) -> None:
    other = Tree(snapshot(tmp_path, OTHER), View(1), {})
    file_system = shown(tmp_path, snapshot(tmp_path, FILE, OTHER), local=other)
    assert file_system.file_at_hand(looked_up(file_system)) is None
