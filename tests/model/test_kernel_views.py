"""What a kernel remembers of a mount's views, while rules switch and tables come: nothing of it may become wrong."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from asking import a_dataset, a_session, tables_of
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from in_memory import folder_in_memory
from remembering_kernel import Kernel

from onefs.catalogue.records import QC, Dataset
from onefs.catalogue.revisions import Rule, edition_of
from onefs.catalogue.snapshot import load_snapshot
from onefs.daemon.showing import Showing
from onefs.modes import Abilities, Mode
from onefs.settings import Settings
from onefs.sources.releases import Releases
from onefs.sources.source import resolve
from onefs.vfs import inodes
from onefs.vfs.forest import Forest
from onefs.vfs.kept_folders import KeptFolders
from onefs.vfs.nodes import DatasetFile, Directory
from onefs.vfs.staleness import Name

SESSIONS = [a_session(), a_session("lab", "rat")]
DATES = ("2023-01-01", "2024-05-06")
REVISIONS = ("", "#2023-01-01#/", "#2024-05-06#/", "#test#/")
FILES = tuple(f"{folder}{revision}{name}" for folder in ("", "x/") for revision in REVISIONS for name in ("a.npy", "b"))
PLACES = ("", ".onefs/default", ".onefs/as-of/2023-01-01", ".onefs/as-of/2024-06-01", ".onefs/via/local")

rows = st.dictionaries(
    st.tuples(st.sampled_from(SESSIONS), st.sampled_from(FILES)),
    st.tuples(st.sampled_from([QC.NOT_SET, QC.FAIL, QC.CRITICAL]), st.sampled_from([None, False, True]), st.booleans()),
    max_size=8,
)
rules = st.tuples(st.sampled_from(["", "2022-01-01", *DATES]), st.sampled_from([QC.NOT_SET, QC.FAIL, QC.CRITICAL]))
steps = st.lists(st.one_of(rules, rows, st.sampled_from(PLACES)), max_size=6)


def datasets_of(chosen: dict[Any, tuple[QC, bool | None, bool]]) -> list[Dataset]:
    return [
        replace(a_dataset(session, path, b"1" if other else b"", qc=qc), default_revision=default)
        for (session, path), (qc, default, other) in chosen.items()
    ]


class Telling:
    """Stands where the kernel is told from: it forgets at once."""

    def __init__(self) -> None:
        self.kernel: Kernel | None = None

    def names_changed(self, names: Iterable[Name]) -> None:
        assert self.kernel
        self.kernel.forget(list(names))

    tell_names = names_changed

    def listings_changed(self, folders: Collection[int]) -> None:
        """Do nothing: this kernel keeps no listings."""


class Looking(Kernel):
    """A kernel that enters views by name, as their folders list no more than some of them."""

    def look_at(self, place: str) -> None:
        ino = inodes.ROOT
        for name in filter(None, place.split("/")):
            node = self.forest.looked_up(ino, name)
            self.known[Name(ino, name)] = node.ino, self.time_of(node)
            ino = node.ino
        self.look(ino)

    def found(self, ino: int, name: str) -> tuple[int, int] | None:
        found = super().found(ino, name)
        assert found is None or self.forest.node(found[0]).ino == found[0]
        return found


class Mount:
    def __init__(self, home: Path, chosen: Any, *, view: str) -> None:
        self.home = home
        self.n_tables = 0
        told = Telling()
        control = Directory(2, inodes.ROOT, ".onefs", ".onefs", 0)
        self.showing = Showing(
            self.load(chosen),
            None,
            control,
            Abilities(has_server=False, has_database=False),
            lambda: Mode.LOCAL,
            lambda: None,
            lambda error: None,
            lambda: self.shown,  # type: ignore[arg-type, return-value]
            told,  # type: ignore[arg-type]
            Settings(view=view),
            Releases(resolve(str(home), Settings()), None, lambda: False),
            home / "state",
        )
        self.shown: Any = Swapping(self.showing.forest())
        self.kernel = told.kernel = self.shown.kernel = Looking(self.shown.forest)

    def close(self) -> None:
        """Let go of the files of the tables at once, without the garbage collector."""
        for each in (self.shown, self.kernel, self.showing, self):
            vars(each).clear()

    def load(self, chosen: Any) -> Any:
        self.n_tables += 1
        home = self.home / str(self.n_tables)
        return load_snapshot(tables_of(home, SESSIONS, datasets_of(chosen)), home / "state")


@contextmanager
def a_mount(chosen: Any, view: str) -> Iterator[Mount]:
    with folder_in_memory() as home:
        mount = Mount(Path(home), chosen, view=view)
        try:
            yield mount
        finally:
            mount.close()


class Swapping:
    """Has the forest that is shown, as a file system does."""

    def __init__(self, forest: Forest) -> None:
        self._forest = forest
        self.folders = KeptFolders()
        self.kernel: Kernel | None = None

    @property
    def forest(self) -> Forest:
        return self._forest

    @forest.setter
    def forest(self, forest: Forest) -> None:
        forest.take_over(self._forest)
        self._forest = forest
        if self.kernel:
            self.kernel.forest = forest


def files_below(forest: Forest, ino: int, above: str = "") -> dict[str, DatasetFile]:
    found: dict[str, DatasetFile] = {}
    for node in forest.listed(ino)[1]:
        if isinstance(node, Directory):
            found |= files_below(forest, node.ino, f"{above}{node.name}/")
        elif isinstance(node, DatasetFile):
            found[above + node.name] = node
    return found


@given(st.data(), rows, st.sampled_from(["full", "default"]), steps)
@settings(deadline=None, max_examples=60, phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink])
def test_names_that_mean_something_else_are_forgotten_and_no_others_matter(
    data: st.DataObject, chosen: Any, view: str, steps: list[Any]
) -> None:
    with a_mount(chosen, view) as mount:
        for place in data.draw(st.lists(st.sampled_from(PLACES), max_size=3)):
            mount.kernel.look_at(place)
        for step in steps:
            match step:
                case str():
                    mount.kernel.look_at(step)
                case dict():
                    mount.showing.adopt(mount.load(step))()
                case _:
                    mount.showing.show(as_of=step[0], qc_limit=step[1])
            mount.kernel.check()


@given(rows, rules, st.booleans())
@settings(deadline=None, max_examples=40)
def test_a_file_is_the_same_in_every_view(chosen: Any, rule: tuple[str, QC], ignores: bool) -> None:
    """Its number, and all that stat tells, come from the dataset alone; and a name in a view is of a shown edition."""
    with a_mount(chosen, "full") as mount:
        mount.showing.rule = Rule(ignore_qc_not_set=ignores)
        mount.showing.show(as_of=rule[0], qc_limit=rule[1])
        forest = mount.shown.forest
        full = files_below(forest, inodes.ROOT)
        for place in PLACES[1:]:
            shown = files_below(forest, forest.find(place).ino)
            assert not any("#" in path or ".onefs" in path for path in shown) or "via" in place
            for path, file in shown.items():
                assert path == edition_of(file.path)[0] or "via" in place
                assert forest.node(file.ino).path == file.path
                mine = full.get(file.path)
                if mine is not None:
                    assert mine.bare_attributes(0) == file.bare_attributes(0)
                    assert mine.dataset == file.dataset
                else:
                    assert rule[0] and "as-of" in place
                    assert forest.node(file.ino).bare_attributes(0) == file.bare_attributes(0)  # type: ignore[union-attr]
        names = {edition_of(path)[0] for path in full}
        folders = {path.rpartition("/")[0] for path in names}
        assert set(files_below(forest, forest.find(".onefs/default").ino)) == names - folders
