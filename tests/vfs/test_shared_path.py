"""Two sessions on one path, which Alyx allows: their folder shows the datasets of both."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from asking import Database, a_dataset, a_session, tables_of

from onefs.catalogue.changes import Changes, compare
from onefs.catalogue.interface import Catalogue
from onefs.catalogue.live import LiveSnapshot
from onefs.catalogue.records import Dataset, Session
from onefs.catalogue.snapshot import load_snapshot
from onefs.vfs.links import path_of_dataset, path_of_reference, path_of_session
from onefs.vfs.nodes import DatasetFile, Directory
from onefs.vfs.staleness import Name, learned_names, stale_names
from onefs.vfs.tree import Tree
from onefs.vfs.views import View

FIRST = replace(a_session(), eid=UUID(int=1 << 70))
SECOND = replace(FIRST, eid=UUID(int=2 << 70))
NEIGHBOUR = a_session(number=2)
SESSIONS = [SECOND, NEIGHBOUR, FIRST]


def of(session: Session, rel_path: str, number: int, data: bytes = b"spikes") -> Dataset:
    return replace(a_dataset(session, rel_path, data), id=UUID(int=number << 70))


MINE = of(FIRST, "alf/a.times.npy", 11)
OTHERS = of(SECOND, "alf/b.times.npy", 12, b"others")
LOSES = of(FIRST, "alf/c.times.npy", 14, b"loses")
WINS = of(SECOND, "alf/c.times.npy", 13, b"wins")
ABOVE = of(FIRST, "raw", 15)
INSIDE = of(SECOND, "raw/d.times.npy", 16)
BESIDE = of(NEIGHBOUR, "alf/a.times.npy", 17)
DATASETS = [MINE, OTHERS, LOSES, WINS, ABOVE, INSIDE, BESIDE]
SHOWN = [MINE, OTHERS, WINS, INSIDE]
LEFT_OUT = {"two datasets of one path": 1, "dataset whose path is also a folder": 1}
TABLES, REMOTE, REMOTE_OVER_TABLES = "tables", "remote", "remote over tables"


class Clock:
    """Seconds that pass when a test says so."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Place:
    """A catalogue of one kind, its tree, and the database that it asks."""

    def __init__(self, home: Path, kind: str, sessions: list[Session], datasets: list[Dataset]) -> None:
        self.database = Database(sessions, datasets)
        self.told: list[Changes] = []
        tables = None if kind == REMOTE else load_snapshot(tables_of(home, sessions, datasets), home / "state")
        self.catalogue: Catalogue
        if kind == TABLES:
            assert tables is not None
            self.catalogue = tables
        else:
            self.live = LiveSnapshot(self.database, tables, clock=Clock(), on_change=self._learned)
            self.catalogue = self.live
        self.tree = Tree(self.catalogue, View(), {})
        self.stale: set[Name] = set()

    def _learned(self, changes: Changes) -> None:
        self.stale |= set(learned_names(self.tree, changes))

    def folder(self, path: str) -> Directory:
        ino = self.tree.root_ino
        for part in path.split("/"):
            ino = self.tree.child(ino, part).ino
        return self.tree.directory(ino)

    def files(self, path: str) -> dict[str, DatasetFile]:
        """The files below a folder as they are listed, by their paths."""
        found: dict[str, DatasetFile] = {}
        for node in self.tree.children(self.folder(path).ino):
            if isinstance(node, Directory):
                found |= self.files(node.path)
            elif isinstance(node, DatasetFile):
                found[node.path] = node
        return found

    def way(self, path: str) -> set[Name]:
        """The entries on the way from the root to a path."""
        ino, names = self.tree.root_ino, set()
        for part in path.split("/"):
            names.add(Name(ino, part))
            ino = self.tree.child(ino, part).ino
        return names


@pytest.fixture(params=[TABLES, REMOTE, REMOTE_OVER_TABLES])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(tmp_path, request.param, SESSIONS, DATASETS)


def test_the_folder_shows_the_datasets_of_both_and_of_two_with_one_name_the_first_by_id(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    files = place.files(FIRST.path)
    assert {path: file.dataset for path, file in files.items()} == {dataset.path: dataset for dataset in SHOWN}
    assert {path: file.size_bytes for path, file in files.items()} == {each.path: each.size_bytes for each in SHOWN}
    assert len({file.ino for file in files.values()}) == len(SHOWN)
    assert set(place.files(NEIGHBOUR.path)) == {BESIDE.path}
    times = 2 if isinstance(place.catalogue, LiveSnapshot) and place.catalogue.base else 1  # tables, then answers
    assert {reason: left.count / times for reason, left in place.catalogue.left_out.items()} == LEFT_OUT
    examples = place.catalogue.left_out["two datasets of one path"].examples
    assert str(LOSES.id) in examples[0]
    if isinstance(place.catalogue, LiveSnapshot):
        assert sum(str(LOSES.id) in record.getMessage() for record in caplog.records) == 1


def test_every_number_leads_back_to_its_node_in_a_tree_that_has_looked_at_nothing(place: Place) -> None:
    files = place.files(FIRST.path)
    fresh = Tree(place.catalogue, View(), {})
    for folder in (FIRST.path, f"{FIRST.path}/alf", f"{FIRST.path}/raw"):
        assert fresh.node(place.folder(folder).ino).path == folder
    for path, file in files.items():
        found = fresh.node(file.ino)
        assert isinstance(found, DatasetFile)
        assert (found.path, found.dataset) == (path, file.dataset)
        row = place.catalogue.session_of_eid(file.dataset.eid or UUID(int=0))
        assert row is not None
        assert fresh.number_of_file(row, file.dataset.rel_path) == file.ino


def test_both_eids_and_the_reference_lead_there(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.files(FIRST.path)
    caplog.clear()
    assert [path_of_session(place.catalogue, str(each.eid)) for each in (FIRST, SECOND)] == [FIRST.path] * 2
    assert path_of_reference(place.catalogue, "2024-01-02_1_mouse") == FIRST.path
    assert not caplog.records
    rows = [place.catalogue.session_of_eid(each.eid) for each in (FIRST, SECOND)]
    assert [row is not None and place.catalogue.session(row).eid for row in rows] == [FIRST.eid, SECOND.eid]


def test_an_id_leads_to_its_own_dataset_and_to_no_other_on_its_path(place: Place) -> None:
    for _ in range(2):  # before anything was looked at, and after
        for dataset in (*SHOWN, BESIDE):
            assert path_of_dataset(place.catalogue, str(dataset.id)) == dataset.path
        for dataset in (LOSES, ABOVE):
            assert path_of_dataset(place.catalogue, str(dataset.id)) is None
        place.files(FIRST.path)


def move(sessions: list[Session], datasets: list[Dataset]) -> tuple[list[Session], list[Dataset]]:
    moved = replace(SECOND, number=3)
    return [FIRST, NEIGHBOUR, moved], [
        replace(each, session_path=moved.path) if each.eid == moved.eid else each for each in datasets
    ]


CHANGES: dict[str, Callable[[list[Session], list[Dataset]], tuple[list[Session], list[Dataset]]]] = {
    "the second has other datasets": lambda s, d: (s, [each for each in d if each is not WINS]),
    "the first has other datasets": lambda s, d: (
        s,
        [replace(each, md5="0" * 32) if each is MINE else each for each in d],
    ),
    "the first goes": lambda s, d: ([SECOND, NEIGHBOUR], [each for each in d if each.eid != FIRST.eid]),
    "the second goes": lambda s, d: ([FIRST, NEIGHBOUR], [each for each in d if each.eid != SECOND.eid]),
    "the second moves": move,
}


@pytest.mark.parametrize(("change", "turned"), list(itertools.product(CHANGES, (False, True))))
@pytest.mark.parametrize("kind", [TABLES, REMOTE, REMOTE_OVER_TABLES])
def test_what_changes_is_shown_and_told_to_the_kernel(tmp_path: Path, kind: str, change: str, turned: bool) -> None:
    both = [(SESSIONS, DATASETS), CHANGES[change](SESSIONS, DATASETS)]
    (old_sessions, old_datasets), (sessions, datasets) = both[::-1] if turned else both
    place = Place(tmp_path / "old", kind, old_sessions, old_datasets)
    before = place.files(FIRST.path)
    ways = {path: place.way(path) for path in before}
    if kind == TABLES:
        new = Place(tmp_path / "new", TABLES, sessions, datasets)
        old_snapshot, new_snapshot = (
            load_snapshot(tmp_path / each, tmp_path / each / "state") for each in ("old", "new")
        )
        place.stale = set(stale_names(place.tree, new.tree, compare(old_snapshot, new_snapshot)))
    else:
        new = place
        place.database.all_sessions, place.database.all_datasets = sessions, datasets
        place.live.expire()
        place.tree.children(place.folder(FIRST.path.rpartition("/")[0].rpartition("/")[0]).ino)
    after = new.files(FIRST.path)
    fresh = Place(tmp_path / "fresh", TABLES, sessions, datasets).files(FIRST.path)
    assert {path: file.dataset for path, file in after.items()} == {path: file.dataset for path, file in fresh.items()}
    for path in before.keys() | after.keys():
        if path not in before or path not in after or before[path].ino != after[path].ino:
            entries = ways.get(path, set()) | (new.way(path) if path in after else set())
            assert entries & place.stale, path
