"""Which datasets a path or a pattern means."""

import pytest
from asking import a_dataset, a_session, tables_of

from onefs.catalogue.snapshot import load_snapshot
from onefs.errors import NotADirectoryInTreeError, NotInCatalogueError
from onefs.vfs import inodes
from onefs.vfs.forest import Forest
from onefs.vfs.links import resolvers
from onefs.vfs.nodes import Directory
from onefs.vfs.patterns import datasets_of
from onefs.vfs.tree import Tree
from onefs.vfs.views import View

ONE, TWO, THREE = a_session(), a_session("lab", "rat[1]", "2024-05-06", 12), a_session("elsewhere")
NAMES = ["alf/spikes.times.npy", "alf/probe00/spikes.times.npy", "alf/#2024-01-01#/spikes.times.npy", "x.y.npy"]
DATASETS = [a_dataset(session, name) for session in (ONE, TWO, THREE) for name in NAMES]
AGGREGATE = a_dataset(None, "Subjects/mouse/table.pqt")
EMPTY = a_session("lab", "nobody")


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Forest:
    home = tmp_path_factory.mktemp("tables")
    tables = load_snapshot(tables_of(home, [ONE, TWO, THREE, EMPTY], [*DATASETS, AGGREGATE]), home / "state")
    control = Directory(2, inodes.ROOT, ".onefs", ".onefs", 0)
    views = {"via": {"local": Tree(tables, View(1), {})}}
    return Forest(Tree(tables, View(), {}), control, views, resolvers(tables, lambda pid: None), lists_control=True)


def paths(forest: Forest, pattern: str) -> list[str]:
    return [dataset.path for dataset in datasets_of(forest, pattern)]


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("lab/Subjects/mouse/*/001/alf/*.npy", [f"{ONE.path}/alf/spikes.times.npy"]),
        ("lab/*/mouse/*/*/*.npy", [f"{ONE.path}/x.y.npy"]),
        ("lab/**/x.y.npy", [f"{ONE.path}/x.y.npy", f"{TWO.path}/x.y.npy"]),
        ("**/probe0[0-3]/*", [f"{each.path}/alf/probe00/spikes.times.npy" for each in (THREE, ONE, TWO)]),
        ("**/mouse/**/#*#/**", [f"{each.path}/alf/#2024-01-01#/spikes.times.npy" for each in (THREE, ONE)]),
        ("./lab//Subjects/mouse/2024-01-0?/001/x.y.npy", [f"{ONE.path}/x.y.npy"]),
        ("**/table.pqt", [AGGREGATE.path]),
        ("*/Subjects/nobody/**", []),
        ("*", [dataset.path for dataset in DATASETS] + [AGGREGATE.path]),
        ("**/nothing.npy", []),
    ],
)
def test_patterns(forest: Forest, pattern: str, wanted: list[str]) -> None:
    assert sorted(paths(forest, pattern)) == sorted(wanted)


def test_the_order_is_that_of_the_tree_and_each_comes_once(forest: Forest) -> None:
    found = paths(forest, "lab/**/alf/**")
    assert found == sorted(found)
    assert len(found) == len(set(found)) == 6
    assert paths(forest, "**/alf/**/**") == paths(forest, "*/**/alf")


def test_paths_are_taken_as_they_are(forest: Forest) -> None:
    assert paths(forest, f"{TWO.path}/x.y.npy") == [f"{TWO.path}/x.y.npy"]  # there are brackets in its name
    assert paths(forest, f"/{ONE.path}/alf/") == sorted(f"{ONE.path}/{name}" for name in NAMES[:3])
    assert len(paths(forest, "/")) == len(paths(forest, ".")) == len(DATASETS) + 1
    assert paths(forest, EMPTY.path) == []
    with pytest.raises(NotInCatalogueError, match="lab/nowhere"):
        paths(forest, "lab/nowhere")
    with pytest.raises(NotADirectoryInTreeError):
        paths(forest, f"{ONE.path}/x.y.npy/below")


def test_the_control_directory_is_meant_only_where_it_is_named(forest: Forest) -> None:
    assert len(paths(forest, "**")) == len(DATASETS) + 1
    assert paths(forest, f".onefs/via/local/{ONE.path}/x.*") == [f"{ONE.path}/x.y.npy"]
    assert paths(forest, f".onefs/by-id/{DATASETS[3].id}") == [f"{ONE.path}/x.y.npy"]
    assert len(paths(forest, f".onefs/by-eid/{ONE.eid}")) == len(NAMES)


def test_folders_that_hold_none_are_not_looked_into(forest: Forest) -> None:
    asked: list[str] = []

    def may_hold(folder: Directory) -> bool:
        asked.append(folder.path)
        return not folder.path.startswith("lab")

    assert {dataset.eid for dataset in datasets_of(forest, "**/x.y.npy", may_hold)} == {THREE.eid}
    assert not any(path.startswith("lab/") for path in asked)
