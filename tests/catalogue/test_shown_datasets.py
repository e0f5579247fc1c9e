"""Lists of what the tree shows: the same as a walk of the tree, under every rule."""

from datetime import date

import pytest
from table_shapes import a_dataset, a_session, an_archive, load

from onefs.catalogue.filters import Filter
from onefs.catalogue.records import QC
from onefs.catalogue.revisions import Rule
from onefs.catalogue.shown_datasets import ShownDatasets
from onefs.vfs.tree import Tree
from onefs.vfs.views import View


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    """Editions, marked or not, datasets that do not exist, all QC outcomes, aggregates, and two sessions on a path."""
    sessions, datasets = an_archive()
    first = sessions[0]
    twin = a_session("twin", "laba", "S.1", date(2020, 1, 2), 1)
    more = [
        a_dataset(twin, "alf/x.y.npy"),
        a_dataset(None, "Subjects/laba/S.1/a.b.npy"),
        a_dataset(first, "alf/e.a.npy", default=False),
        a_dataset(first, "alf/#2020-01-01#/e.a.npy", default=True),
        a_dataset(first, "alf/#2024-01-01#/e.a.npy", default=False),
        a_dataset(first, "alf/gone.a.npy", exists=False),
        *(a_dataset(sessions[-1], f"alf/{qc.name.lower()}.a.npy", qc=qc) for qc in QC),
    ]
    return load(tmp_path_factory.mktemp("tables"), [*sessions, twin], datasets + more)


def walked(catalogue, rule):
    """All files of the tree."""
    tree = Tree(catalogue, View(0, rule), {})
    found, folders = [], [tree.root]
    while folders:
        folder = folders.pop()
        for node in tree.children_of(folder):
            if hasattr(node, "dataset"):
                found.append(f"{folder.path}/{node.name}")
            else:
                folders.append(node)
    return sorted(path for path in found if not path.startswith("aggregates/"))


RULES = [
    Rule(),
    Rule(QC.CRITICAL),
    Rule(QC.PASS, ignore_qc_not_set=True),
    Rule(as_of="2022-01-01"),
    Rule(as_of="2019-01-01"),
    Rule(default_only=True),
    Rule(default_only=True, as_of="2022-01-01"),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_blocks_and_datasets_are_what_the_tree_shows(catalogue, rule):
    shown = ShownDatasets(catalogue, rule, Filter())
    blocks = b"".join(shown.blocks(None)).decode().splitlines()
    assert sorted(blocks) == walked(catalogue, rule)
    assert sorted(path for path, _ in shown.datasets(shown.all_sessions())) == walked(catalogue, rule)
    assert shown.rel_paths(None) == {dataset.rel_path for _, dataset in shown.datasets(shown.all_sessions())}


def test_one_edition_of_each_file_has_the_name_that_the_tree_has(catalogue):
    shown = ShownDatasets(catalogue, Rule(), Filter("e.a.npy"), default_only=True)
    (path,) = b"".join(shown.blocks(None)).decode().splitlines()
    assert path.endswith("/alf/#2020-01-01#/e.a.npy")
    assert path in walked(catalogue, Rule())
    (named,) = (
        b"".join(ShownDatasets(catalogue, Rule(default_only=True), Filter("e.a.npy")).blocks(None))
        .decode()
        .splitlines()
    )
    assert named == path.replace("#2020-01-01#/", "")


@pytest.mark.parametrize("sessions", [[], [0], [1, 0], [3]], ids=str)
def test_some_sessions_alone(catalogue, sessions):
    shown = ShownDatasets(catalogue, Rule(), Filter(), default_only=True)
    expected = sorted(path for path, _ in shown.datasets(sessions))
    assert sorted(b"".join(shown.blocks(sessions, b"/m/", b"\0")).decode().split("\0")[:-1]) == [
        f"/m/{path}" for path in expected
    ]
