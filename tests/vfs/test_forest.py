"""What stands below .onefs: views of the tree under other rules, and links by identifier."""

import itertools
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
from asking import Database, a_dataset, a_session, tables_of

from onefs.catalogue.interface import Catalogue
from onefs.catalogue.live import LiveSnapshot
from onefs.catalogue.records import QC
from onefs.catalogue.snapshot import load_snapshot
from onefs.errors import GoneError, NotADirectoryInTreeError, NotInCatalogueError, UnreachableError
from onefs.vfs import inodes
from onefs.vfs.forest import Forest
from onefs.vfs.handles import MemoryFile
from onefs.vfs.links import resolvers
from onefs.vfs.nodes import DatasetFile, Directory, Link, SpecialFile
from onefs.vfs.patterns import datasets_of
from onefs.vfs.tree import Tree
from onefs.vfs.views import View

SESSION = a_session()
TWIN = a_session("another_lab")
SHOWN = a_dataset(SESSION, "alf/a.times.npy")
BESIDE = a_dataset(SESSION, "b.times.npy")
HIDDEN = a_dataset(SESSION, "alf/bad.times.npy", qc=QC.CRITICAL)
AGGREGATE = a_dataset(None, "Subjects/mouse/table.pqt")
ALONE = a_session("lab", "rat_1", "2024-05-06", 12)
DATASETS = [SHOWN, BESIDE, HIDDEN, AGGREGATE]
PID = UUID(int=SESSION.eid.int + 1)
README = SpecialFile(3, "README", ".onefs/README", lambda: MemoryFile(b"text"))
TABLE = SpecialFile(inodes.special_ino(7), "sessions.pqt", "sessions.pqt", lambda: MemoryFile(b"PAR1"), 4)


def a_forest(catalogue: Catalogue, *, lists_control: bool = False) -> Forest:
    files = {TABLE.name: TABLE}
    views = {name: Tree(catalogue, View(number), files) for number, name in enumerate(("local", "auto"), 1)}
    control = Directory(2, inodes.ROOT, ".onefs", ".onefs", 0, children={README.name: README})
    probes = Database([SESSION, TWIN, ALONE])
    links = resolvers(catalogue, probes.eid_of_pid)
    return Forest(Tree(catalogue, View(), files), control, {"via": views}, links, lists_control=lists_control)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    home = tmp_path_factory.mktemp("tables")
    return load_snapshot(tables_of(home, [SESSION, TWIN, ALONE], DATASETS), home / "state")


@pytest.fixture
def forest(tables: Catalogue) -> Forest:
    return a_forest(tables)


def walk(forest: Forest, ino: int) -> Iterator[tuple[str, int, bool]]:
    for node in forest.listed(ino)[1]:
        yield node.path, node.ino, isinstance(node, Directory)
        if isinstance(node, Directory):
            yield from walk(forest, node.ino)


def names(forest: Forest, path: str) -> list[str]:
    return [node.name for node in forest.listed(forest.find(path).ino)[1]]


def test_a_view_is_the_whole_tree_with_folders_of_its_own(forest: Forest) -> None:
    root = list(walk(forest, inodes.ROOT))
    for mode in ("local", "auto"):
        view = list(walk(forest, forest.find(f".onefs/via/{mode}").ino))
        assert [path for path, _, _ in view] == [path for path, _, _ in root]
        for (_, mine, is_directory), (_, other, _) in zip(view, root, strict=True):
            assert (mine != other) == is_directory
    assert SHOWN.path in {path for path, _, _ in root}


def test_each_parent_is_where_it_was_entered_from(forest: Forest) -> None:
    parts = f".onefs/via/auto/{SESSION.path}/alf".split("/")
    inos = [forest.find("/".join(parts[:depth])).ino for depth in range(len(parts) + 1)]
    assert len(set(inos)) == len(inos)
    for parent, ino in itertools.pairwise(inos):
        assert forest.parent_ino(forest.directory(ino)) == parent
    assert forest.parent_ino(forest.directory(inodes.ROOT)) == inodes.ROOT
    assert [forest.path(ino) for ino in inos] == ["/".join(parts[:depth]) for depth in range(len(parts) + 1)]


def test_every_number_is_found_again_in_a_forest_that_has_looked_at_nothing(forest: Forest, tables: Catalogue) -> None:
    control = forest.find(".onefs").ino
    listed = [*walk(forest, inodes.ROOT), *walk(forest, control)]
    for path, ino, is_directory in listed:
        node = a_forest(tables).node(ino)
        assert (node.path, node.ino, isinstance(node, Directory)) == (path, ino, is_directory)


def test_the_control_directory_is_listed_only_where_that_is_wanted(forest: Forest, tables: Catalogue) -> None:
    assert ".onefs" not in names(forest, "")
    assert ".onefs" in names(a_forest(tables, lists_control=True), "")
    assert sorted(names(forest, ".onefs")) == ["README", "by-eid", "by-id", "by-pid", "by-ref", "via"]
    assert names(forest, ".onefs/via") == ["local", "auto"]
    for absent in (".onefs/via/.onefs", ".onefs/via/remote", ".onefs/via/local/.onefs", ".onefs/other"):
        with pytest.raises(NotInCatalogueError):
            forest.find(absent)


@pytest.mark.parametrize(
    ("link", "leads_to"),
    [
        (f"by-id/{SHOWN.id}", SHOWN.path),
        (f"by-id/{str(BESIDE.id).upper()}", BESIDE.path),
        (f"by-id/{AGGREGATE.id}", AGGREGATE.path),
        (f"by-eid/{SESSION.eid}", SESSION.path),
        (f"by-pid/{PID}", SESSION.path),
        ("by-ref/2024-05-06_12_rat_1", ALONE.path),
        ("by-ref/2024-05-06_012_rat_1", ALONE.path),
    ],
)
def test_a_link_leads_to_its_path_from_where_it_stands(forest: Forest, link: str, leads_to: str) -> None:
    node = forest.find(f".onefs/{link}")
    assert isinstance(node, Link)
    assert posixpath.normpath(posixpath.join(posixpath.dirname(node.path), node.target)) == leads_to
    assert node.path == f".onefs/{link}"
    assert forest.node(node.ino) is node
    assert forest.find(f".onefs/{link}") == node
    assert forest.may_ask(forest.find(".onefs/by-pid").ino)
    assert not forest.may_ask(forest.find(".onefs/by-id").ino)


@pytest.mark.parametrize(
    "link",
    [
        f"by-id/{HIDDEN.id}",
        f"by-id/{SESSION.eid}",
        f"by-id/{SHOWN.id.hex}",
        f"by-id/{{{SHOWN.id}}}",
        "by-id/x",
        f"by-eid/{SHOWN.id}",
        f"by-eid/{UUID(int=0)}",
        f"by-pid/{UUID(int=ALONE.eid.int)}",
        "by-pid/x",
        "by-ref/2024-05-06_13_rat_1",
        "by-ref/2024-05-06_12_cat",
        "by-ref/2024-13-06_12_rat_1",
        "by-ref/2024-05-06_1200_rat_1",
        "by-ref/2024-05-06_²_rat_1",
        "by-ref/rat_1",
        "by-ref/\udcff",
    ],
)
def test_what_leads_nowhere_is_absent(forest: Forest, link: str) -> None:
    with pytest.raises(NotInCatalogueError):
        forest.find(f".onefs/{link}")
    assert names(forest, ".onefs/" + link.partition("/")[0]) == []


def test_a_number_above_999_is_found_by_its_reference(tmp_path: Path) -> None:
    late = a_session("lab", "rat_1", "2024-05-06", 1200)
    forest = a_forest(load_snapshot(tables_of(tmp_path, [late], []), tmp_path / "state"))
    link = forest.find(".onefs/by-ref/2024-05-06_1200_rat_1")
    assert isinstance(link, Link)
    assert link.target == f"../../{late.path}"
    for absent in ("2024-05-06_99999_rat_1", "2024-05-06_1000000_rat_1"):
        with pytest.raises(NotInCatalogueError):
            forest.find(f".onefs/by-ref/{absent}")


def test_a_reference_that_two_labs_share_leads_to_the_first(forest: Forest, caplog: pytest.LogCaptureFixture) -> None:
    link = forest.find(".onefs/by-ref/2024-01-02_1_mouse")
    assert isinstance(link, Link)
    assert link.target == "../../" + TWIN.path
    assert SESSION.path in caplog.text


def test_a_link_is_no_directory(forest: Forest) -> None:
    with pytest.raises(NotADirectoryInTreeError):
        forest.find(f".onefs/by-eid/{SESSION.eid}/alf")


def test_the_links_kept_are_bounded(forest: Forest, tables: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onefs.vfs.links.LINKS_KEPT", 2)
    few = a_forest(tables)
    inos = [few.find(f".onefs/by-eid/{session.eid}").ino for session in (SESSION, TWIN, ALONE)]
    with pytest.raises(GoneError):
        few.node(inos[0])
    assert few.node(inos[2]).path.endswith(str(ALONE.eid))
    assert few.find(f".onefs/by-eid/{SESSION.eid}").ino == inos[0]


def test_datasets_are_found_below_any_path(forest: Forest) -> None:
    below = {dataset.id for dataset in datasets_of(forest, f".onefs/via/local/{SESSION.path}")}
    assert below == {SHOWN.id, BESIDE.id}
    assert [dataset.id for dataset in datasets_of(forest, BESIDE.path)] == [BESIDE.id]


def test_two_views_of_one_number_are_refused(tables: Catalogue) -> None:
    control = Directory(2, inodes.ROOT, ".onefs", ".onefs", 0)
    with pytest.raises(ValueError, match="number of its own"):
        Forest(Tree(tables, View(), {}), control, {"via": {"local": Tree(tables, View(), {})}}, {})


# -- over a database ---------------------------------------------------------------------------------------------------


@dataclass
class Down(Database):
    """A database that can be out of reach."""

    is_down: bool = False

    def __init__(self) -> None:
        super().__init__([SESSION], [SHOWN, HIDDEN])

    def told(self, *question: str) -> object:  # type: ignore[override]
        if self.is_down:
            raise UnreachableError("The database cannot be reached.", "Try later.")
        return super().told(*question)


def a_live_forest(database: Database, root: Catalogue) -> Forest:
    live = LiveSnapshot(database, None, expiry_s=lambda: -1, retry_s=-1)
    control = Directory(2, inodes.ROOT, ".onefs", ".onefs", 0)
    return Forest(Tree(root, View(), {}), control, {"via": {"remote": Tree(live, View(4), {})}}, resolvers(root))


def test_a_file_that_only_the_database_knows_is_found_by_its_number(tmp_path: Path) -> None:
    none = load_snapshot(tables_of(tmp_path, [], []), tmp_path / "state")
    forest = a_live_forest(Down(), none)
    file = forest.find(f".onefs/via/remote/{SHOWN.path}")
    assert isinstance(file, DatasetFile)
    assert forest.node(file.ino).path == SHOWN.path
    assert forest.file_ino(SHOWN) == file.ino
    assert not forest.may_ask(file.ino)
    assert forest.may_ask(forest.find(".onefs/via/remote").ino)
    with pytest.raises(NotInCatalogueError):
        forest.find(SHOWN.path)
    with pytest.raises(GoneError):  # nobody is asked for a number alone: the kernel looks the path up again
        a_live_forest(Down(), none).node(file.ino)


def test_a_folder_of_which_nothing_is_known_fails_as_its_question_does(tables: Catalogue) -> None:
    database = Down()
    forest = a_live_forest(database, tables)
    database.is_down = True
    ino = forest.find(".onefs/via/remote").ino
    with pytest.raises(UnreachableError):
        forest.listed(ino)
    with pytest.raises(UnreachableError):
        forest.child(ino, "lab")
    assert names(forest, SESSION.path) == ["alf", "b.times.npy"]
    database.is_down = False
    assert names(forest, ".onefs/via/remote") == ["lab"]


@pytest.mark.slow
def test_two_files_of_one_number_in_two_catalogues_are_never_taken_for_each_other(tmp_path: Path) -> None:
    """The number that a name wants may be another's in one catalogue, and free in the other."""
    many = [a_dataset(SESSION, f"x{number}.times.npy") for number in range(60_000)]
    full = load_snapshot(tables_of(tmp_path / "full", [SESSION], many), tmp_path / "state")
    rows = full.datasets(0)
    wanted: dict[int, int] = {}
    pairs = [
        (wanted[short], row)
        for row, content in enumerate(rows.content)
        if wanted.setdefault(short := content & ((1 << inodes.FILE_BITS) - 1), row) != row
    ]
    first, second = map(rows.dataset, pairs[0])
    both = load_snapshot(tables_of(tmp_path / "both", [SESSION], [first, second]), tmp_path / "state of both")
    one = load_snapshot(tables_of(tmp_path / "one", [SESSION], [second]), tmp_path / "state of one")
    control = Directory(2, inodes.ROOT, ".onefs", ".onefs", 0)
    views = {"": {"release": Tree(one, View(1), {})}}
    forest = Forest(Tree(both, View(), {}), control, views, {})
    mine = forest.find(first.path)
    assert forest.node(mine.ino).path == first.path
    other = forest.find(f".onefs/release/{second.path}")
    assert other.ino == mine.ino
    with pytest.raises(GoneError):
        forest.node(mine.ino)
