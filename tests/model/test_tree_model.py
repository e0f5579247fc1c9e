"""The tree of random catalogues against a plain reference, and what its inode numbers promise."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from random import Random
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from in_memory import folder_in_memory

from onefs import alf
from onefs.catalogue.records import QC, Dataset, Session
from onefs.catalogue.revisions import Rule
from onefs.catalogue.snapshot import load_snapshot
from onefs.catalogue.tables import write_tables
from onefs.errors import GoneError, NotADirectoryInTreeError, NotInCatalogueError
from onefs.vfs import inodes
from onefs.vfs.handles import MemoryFile
from onefs.vfs.nodes import DatasetFile, Directory, Node, SpecialFile
from onefs.vfs.tree import Tree
from onefs.vfs.views import View

slow_enough = settings(deadline=None, max_examples=30)
RESERVED = {".onefs", "sessions.pqt", "datasets.pqt", "aggregates"}


def special(name: str, number: int) -> SpecialFile:
    return SpecialFile(inodes.special_ino(number), name, name, lambda: MemoryFile(b""), 5, 7)


FILES = {"sessions.pqt": special("sessions.pqt", 11), "datasets.pqt": special("datasets.pqt", 12)}


@dataclass(slots=True)
class Catalogue:
    """What the tables hold: all of it, also what cannot stand in a tree."""

    sessions: list[Session]
    datasets: list[Dataset]

    def tree(self, qc: QC = QC.FAIL, shuffle: int = 0) -> Tree:
        """Written as tables, in another order of rows, and read back."""
        Random(shuffle).shuffle(self.sessions)
        Random(shuffle).shuffle(self.datasets)
        with folder_in_memory() as home:
            folder = Path(home)
            write_tables(folder, self.sessions, self.datasets, created="2024-01-02 03:04", origin="model")
            return Tree(load_snapshot(folder, folder / "state"), View(rule=Rule(qc)), FILES)


@dataclass(slots=True)
class Expected:
    """What stands at one path: a folder, or a dataset."""

    time_s: int
    dataset: Dataset | None = None
    names: set[str] = field(default_factory=set)


def midnight_s(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def reference(catalogue: Catalogue, limit: QC) -> dict[str, Expected]:
    """Every path that the mount shows, by the plainest means."""
    sessions: dict[str, Session] = {}
    for session in sorted(catalogue.sessions, key=lambda session: session.eid.bytes):
        safe = alf.is_safe_part(session.subject) and (not session.lab or alf.is_safe_part(session.lab))
        if safe and (session.lab or session.subject) not in RESERVED:
            sessions.setdefault(session.path, session)
    kept = {session.eid: session for session in sessions.values()}
    tree = {"": Expected(0)}
    for session in sessions.values():
        add(tree, session.path, midnight_s(session.date), None)
    for eid in (*kept, None):
        of_session = [dataset for dataset in catalogue.datasets if dataset.eid == eid]
        for dataset in shown(of_session, limit):
            session_time = midnight_s(kept[eid].date) if eid else 0
            place = kept[eid].path if eid else "aggregates"
            add(tree, f"{place}/{dataset.rel_path}", session_time, dataset)
    if any(dataset.eid is None and alf.is_safe_relative(dataset.rel_path) for dataset in catalogue.datasets):
        add(tree, "aggregates", 0, None)
    for day, path in ((session.date, path) for path, session in sessions.items()):
        while path:
            path = path.rpartition("/")[0]
            tree[path].time_s = max(tree[path].time_s, midnight_s(day))
    return tree


def shown(datasets: list[Dataset], limit: QC) -> list[Dataset]:
    """Of the rows of one session those that are shown."""
    by_path: dict[str, Dataset] = {}
    for dataset in sorted(datasets, key=lambda dataset: (not dataset.exists, dataset.id.bytes)):
        if alf.is_safe_relative(dataset.rel_path):
            by_path.setdefault(dataset.rel_path, dataset)
    there = [dataset for dataset in by_path.values() if dataset.exists]
    folders = {folder for dataset in there for folder in folders_of(dataset.rel_path)}
    return [dataset for dataset in there if dataset.rel_path not in folders and dataset.qc <= limit]


def folders_of(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def add(tree: dict[str, Expected], path: str, time_s: int, dataset: Dataset | None) -> None:
    """A node and the folders above it; what lies in a revision has the revision's date."""
    parts = path.split("/")
    n_above = len(parts) - len(dataset.rel_path.split("/")) if dataset else len(parts)
    for depth, name in enumerate(parts):
        parent, here = "/".join(parts[:depth]), "/".join(parts[: depth + 1])
        tree[parent].names.add(name)
        is_file = dataset is not None and depth == len(parts) - 1
        if depth >= n_above and not is_file and alf.REVISION_FOLDER.fullmatch(name):
            day = alf.revision_date(name.strip("#"))
            time_s = midnight_s(day) if day else time_s
        if is_file:
            tree[here] = Expected(time_s, dataset)
        elif here not in tree:
            tree[here] = Expected(time_s if depth >= n_above - 1 else 0)


def walk(tree: Tree, ino: int = inodes.ROOT) -> Iterator[Node]:
    """Every node below one that a listing shows."""
    for node in tree.children(ino):
        yield node
        if isinstance(node, Directory):
            yield from walk(tree, node.ino)


labs = st.sampled_from(["", "", "laba", "labb", "a/b", "..", "aggregates", "lab ä", "datasets.pqt"])
subjects = st.sampled_from(
    ["S1", "S.2", "laba", "Subjects", "..", "", "x" * 256, "a\0", "new\nline", ".onefs", "sessions.pqt"]
)
days = st.dates(date(2019, 1, 1), date(2019, 1, 3))
an_eid = st.integers(1, 1 << 127).map(lambda number: UUID(int=number))
parts = st.sampled_from(
    [
        "alf",
        "probe00",
        "#2024-05-06#",
        "#2023-01-01a#",
        "#r1#",
        "a.b.npy",
        "c.d.npy",
        "..",
        "",
        "é",
        "x\0y",
        " ",
        "y" * 255,
    ]
)
rel_paths = st.lists(parts, min_size=1, max_size=4).map("/".join)
sizes = st.sampled_from([None, 0, 1, 10, 1 << 40])
md5s = st.sampled_from(["", "0" * 32, "f" * 32])


@st.composite
def catalogues(draw: st.DrawFn) -> Catalogue:
    eids = draw(st.lists(an_eid, max_size=6, unique=True))
    sessions = [
        Session(eid, draw(labs), draw(subjects), draw(days), draw(st.integers(0, 2)), "task", "project") for eid in eids
    ]
    rows = draw(
        st.lists(
            st.tuples(st.sampled_from([None, *sessions]), rel_paths, sizes, md5s, st.booleans(), st.sampled_from(QC)),
            max_size=30,
        )
    )
    datasets = []
    for number, (session, rel_path, size, md5, missing, qc) in enumerate(rows, 1):
        if session is None and alf.is_safe_relative(rel_path) and rel_path.startswith("aggregates"):
            continue
        eid, place = (session.eid, session.path) if session else (None, "aggregates")
        datasets.append(Dataset(UUID(int=number), eid, place, rel_path, size, md5, not missing, qc, None))
    return Catalogue(sessions, datasets)


@given(catalogues(), st.sampled_from(QC))
@slow_enough
def test_the_walk_is_the_reference(catalogue: Catalogue, limit: QC) -> None:
    tree, expected = catalogue.tree(limit), reference(catalogue, limit)
    nodes = {node.path: node for node in walk(tree) if not isinstance(node, SpecialFile)}
    assert set(nodes) | {""} == set(expected)
    for path, node in nodes.items():
        awaited = expected[path]
        assert node.time_s == awaited.time_s, path
        assert isinstance(node, DatasetFile) == (awaited.dataset is not None), path
        if isinstance(node, DatasetFile) and awaited.dataset is not None:
            assert tree.catalogue.datasets(node.session).dataset(node.row).id == awaited.dataset.id
            assert node.size_bytes == (-1 if awaited.dataset.size_bytes is None else awaited.dataset.size_bytes)
        else:
            assert sorted(child.name for child in tree.children(node.ino)) == sorted(awaited.names)
    names = [node.name for node in tree.children(inodes.ROOT)]
    assert sorted(names) == sorted({*expected[""].names, "sessions.pqt", "datasets.pqt"})


@given(catalogues())
@slow_enough
def test_every_number_leads_back_to_its_node(catalogue: Catalogue) -> None:
    """Also in a tree in which nothing has been looked up, as after a restart."""
    tree = catalogue.tree(QC.CRITICAL)
    listed = list(walk(tree))
    assert len({node.ino for node in listed} | {inodes.ROOT}) == len(listed) + 1
    fresh = Tree(tree.catalogue, tree.view, FILES)
    for node in reversed(listed):
        found = fresh.node(node.ino)
        assert (type(found), found.ino, found.name, found.path) == (type(node), node.ino, node.name, node.path)


@given(catalogues())
@slow_enough
def test_lookup_gives_what_the_listing_gives(catalogue: Catalogue) -> None:
    tree = catalogue.tree(QC.CRITICAL)
    for directory in [tree.root, *(node for node in walk(tree) if isinstance(node, Directory))]:
        listed = {node.name: node.ino for node in tree.children(directory.ino)}
        assert {name: tree.child(directory.ino, name).ino for name in listed} == listed
        for node in tree.children(directory.ino):
            if isinstance(node, Directory):
                assert node.parent_ino == directory.ino
        for absent in ("nothing", "", ".", "..", "alf/a.b.npy", "\0", "\udcff"):
            if absent not in listed:
                with pytest.raises(NotInCatalogueError):
                    tree.child(directory.ino, absent)


@given(catalogues(), catalogues(), st.integers(1, 1000))
@slow_enough
def test_numbers_hold_in_another_order_and_beside_other_sessions(one: Catalogue, other: Catalogue, order: int) -> None:
    before = {node.path: node.ino for node in walk(one.tree(QC.CRITICAL))}
    known, taken = {session.eid for session in one.sessions}, {session.path for session in one.sessions}
    more = [session for session in other.sessions if session.eid not in known and session.path not in taken]
    added = [
        replace(dataset, id=UUID(int=dataset.id.int + (1 << 64)))
        for dataset in other.datasets
        if dataset.eid in {session.eid for session in more}
    ]
    grown = Catalogue(one.sessions + more, one.datasets + added)
    after = {node.path: node.ino for node in walk(grown.tree(QC.CRITICAL, shuffle=order))}
    assert {path: after[path] for path in before} == before


@given(catalogues(), st.data())
@slow_enough
def test_new_bytes_get_a_new_number_and_nothing_else_does(catalogue: Catalogue, data: st.DataObject) -> None:
    tree = catalogue.tree(QC.CRITICAL)
    files = [node for node in walk(tree) if isinstance(node, DatasetFile)]
    if not files:
        return
    changed = data.draw(st.sampled_from(files))
    dataset = tree.catalogue.datasets(changed.session).dataset(changed.row)
    edition = data.draw(st.sampled_from([{"md5": "a" * 32}, {"md5": "", "size_bytes": 77}]))
    datasets = [replace(row, **edition) if row.id == dataset.id else row for row in catalogue.datasets]
    later = {node.path: node.ino for node in walk(Catalogue(catalogue.sessions, datasets).tree(QC.CRITICAL))}
    for node in walk(tree):
        assert (later[node.path] == node.ino) == (node.path != changed.path)


@given(catalogues())
@slow_enough
def test_a_dataset_is_found_by_session_and_path(catalogue: Catalogue) -> None:
    tree = catalogue.tree(QC.CRITICAL)
    for node in walk(tree):
        if isinstance(node, DatasetFile):
            dataset = tree.catalogue.datasets(node.session).dataset(node.row)
            assert tree.number_of_file(node.session, dataset.rel_path) == node.ino
            assert tree.number_of_file(node.session, dataset.rel_path + "/x") is None
            assert tree.number_of_file(node.session, "nothing") is None
            with pytest.raises(NotADirectoryInTreeError):
                tree.children(node.ino)
            with pytest.raises(NotADirectoryInTreeError):
                tree.child(node.ino, "x")


def test_numbers_of_what_has_left_are_gone() -> None:
    tree = Catalogue([], []).tree()
    for ino in (
        inodes.file_ino(5, 5),
        inodes.collection_ino(0, 5, 5),
        inodes.folder_ino(0, 5),
        inodes.special_ino(99),
        3,
        0,
        (1 << 64) - 1,
    ):
        with pytest.raises(GoneError):
            tree.node(ino)


def test_forced_collisions_in_one_session_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """With numbers of two bits only, of what is looked up and listed nothing is mistaken for something else."""
    monkeypatch.setattr(inodes, "FILE_BITS", 2)
    monkeypatch.setattr(inodes, "COLLECTION_BITS", 2)
    session = Session(UUID(int=1), "lab", "S1", date(2019, 1, 1), 1, "", "")
    paths = ["p/a.b.npy", "q/a.b.npy", "r/c.d.npy", "r/s/e.f.npy"]
    datasets = [
        Dataset(UUID(int=number), session.eid, session.path, path, 1, f"{number:032x}", True, QC.PASS, None)
        for number, path in enumerate(paths, 1)
    ]
    tree = Catalogue([session], datasets).tree()
    files = [node for node in walk(tree) if isinstance(node, DatasetFile)]
    assert sorted(tree.node(node.ino).path for node in files) == [f"{session.path}/{path}" for path in sorted(paths)]


def test_the_least_recently_used_sessions_are_forgotten_and_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onefs.vfs.sessions.NODES_KEPT", 4)
    sessions = [Session(UUID(int=n), "lab", f"S{n}", date(2019, 1, 1), 1, "", "") for n in range(1, 9)]
    datasets = [
        Dataset(UUID(int=session.eid.int * 8 + n), session.eid, session.path, path, 1, "", True, QC.PASS, None)
        for session in sessions
        for n, path in enumerate(["alf/a.b.npy", "c.d.npy", "alf/e.f.npy"][: session.eid.int % 4])
    ]
    tree = Catalogue(sessions, datasets).tree()
    first = {node.path: node.ino for node in walk(tree)}
    assert {node.path: node.ino for node in walk(tree)} == first
    assert all(tree.node(ino).path == path for path, ino in first.items())
