"""What a kernel remembers of a mount, while its database and its tables change: nothing of it may become wrong."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from asking import Database, a_dataset, a_session, tables_of
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from in_memory import folder_in_memory
from remembering_kernel import CONTROL, DAYS, FILES, LABS, SUBJECTS, Kernel

from onefs.catalogue.changes import Changes, compare
from onefs.catalogue.interface import Catalogue
from onefs.catalogue.live import LiveSnapshot
from onefs.catalogue.records import Dataset, Session
from onefs.catalogue.snapshot import Snapshot, load_snapshot
from onefs.vfs import inodes
from onefs.vfs.forest import Forest
from onefs.vfs.nodes import Directory
from onefs.vfs.tree import Tree
from onefs.vfs.views import View

# An archive: of each session that there is, the edition of each file that it has.
places = st.one_of(st.none(), st.tuples(*map(st.sampled_from, (LABS, SUBJECTS, DAYS))))
archives = st.dictionaries(places, st.dictionaries(st.sampled_from(FILES), st.sampled_from([b"", b"1"])), max_size=4)
Archive = dict[tuple[str, str, str] | None, dict[str, bytes]]


def rows_of(archive: Archive) -> tuple[list[Session], list[Dataset]]:
    sessions = {place: a_session(*place) for place in archive if place}
    datasets = [
        a_dataset(sessions[place] if place else None, name, data)
        for place, files in archive.items()
        for name, data in files.items()
    ]
    return list(sessions.values()), datasets


class Mount:
    """A forest over tables at hand and a database that is asked at every look, and the kernel above it."""

    def __init__(self, home: Path, tables: Archive, told: Archive) -> None:
        self.home = home
        self.database = Database(*rows_of(told))
        self.n_tables = 0
        self.live = self.over(self.load(tables))
        self.kernel = Kernel(self.forest(self.live.silent(), self.live.base))

    def load(self, archive: Archive) -> Snapshot:
        self.n_tables += 1
        return load_snapshot(tables_of(self.home / f"{self.n_tables}", *rows_of(archive)), self.home / "state")

    def over(self, tables: Snapshot) -> LiveSnapshot:
        return LiveSnapshot(self.database, tables, expiry_s=lambda: -1, retry_s=-1, on_change=self.learned)

    def forest(self, root: Catalogue, tables: Snapshot | None) -> Forest:
        assert tables is not None
        views = {
            "remote": Tree(self.live, View(1), {}),
            "local": Tree(self.live.silent(), View(2), {}),
            "tables": Tree(tables, View(3), {}),
        }
        return Forest(Tree(root, View(), {}), CONTROL, {"via": views}, {})

    def learned(self, changes: Changes) -> None:
        self.kernel.forget(self.kernel.forest.changed(changes))

    def refresh(self, archive: Archive) -> None:
        before, tables = self.live.base, self.load(archive)
        assert before is not None
        self.live = self.over(tables)
        self.swap(self.forest(self.live.silent(), tables), compare(before, tables))

    def swap(self, new: Forest, changes: Changes | None) -> None:
        old = self.kernel.forest
        new.take_over(old)
        self.kernel.forest = new
        self.kernel.forget(new.stale_names(old, changes))

    def switch(self, root: Callable[["Mount"], Catalogue]) -> None:
        self.swap(self.forest(root(self), self.live.base), None)

    def look_everywhere(self) -> None:
        for ino in (inodes.ROOT, CONTROL.ino):
            self.kernel.look(ino)


ROOTS: dict[str, Callable[[Mount], Catalogue]] = {
    "remote": lambda mount: mount.live,
    "local": lambda mount: mount.live.silent(),
    "tables": lambda mount: mount.live.base or mount.live,
}
steps = st.one_of(
    st.tuples(st.just("told"), archives), st.tuples(st.just("tables"), archives), st.sampled_from(sorted(ROOTS))
)


@contextmanager
def a_mount(tables: Archive, told: Archive) -> Iterator[Mount]:
    with folder_in_memory() as home:
        yield Mount(Path(home), tables, told)


@given(archives, archives, st.lists(steps, max_size=4))
@settings(deadline=None, max_examples=60, phases=(Phase.explicit, Phase.generate))
def test_what_the_kernel_remembers_stays_right(tables: Archive, told: Archive, then: list) -> None:
    with a_mount(tables, told) as mount:
        mount.look_everywhere()
        mount.kernel.check()
        for step in then:
            match step:
                case "told", archive:
                    mount.database.all_sessions, mount.database.all_datasets = rows_of(archive)
                case "tables", archive:
                    mount.refresh(archive)
                case root:
                    mount.switch(ROOTS[root])
            mount.kernel.check()
            mount.look_everywhere()
            mount.kernel.check()


@given(archives, archives)
@settings(deadline=None, max_examples=30)
def test_a_database_and_its_tables_have_the_same_numbers(tables: Archive, told: Archive) -> None:
    """A file's number is the same in every view; that of a folder is another in each."""
    with a_mount(tables, told) as mount:
        mount.look_everywhere()
        forest = mount.kernel.forest
        remote, local = (forest.find(f".onefs/via/{name}").ino for name in ("remote", "local"))
        one, other = dict(walk(forest, remote)), dict(walk(forest, local))
        assert {path: ino for path, ino in one.items() if path.endswith("npy")} == {
            path: ino for path, ino in other.items() if path.endswith("npy")
        }
        assert one.keys() == other.keys()
        assert all(one[path] != other[path] for path in one if not path.endswith("npy"))
        assert all(forest.node(ino).path == path for path, ino in (one | other).items())


def walk(forest: Forest, ino: int) -> Iterator[tuple[str, int]]:
    for node in forest.listed(ino)[1]:
        yield node.path, node.ino
        if isinstance(node, Directory):
            yield from walk(forest, node.ino)
