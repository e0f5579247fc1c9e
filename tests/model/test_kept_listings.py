"""Listings that the kernel keeps, while tables, rules, modes and the database change: none shows an old name after."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from asking import Database, tables_of
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from in_memory import folder_in_memory
from listing_kernel import InlineOperations, ListingKernel
from test_kernel_memory import Archive, archives, rows_of

from onefs.archive.catalogues import Known
from onefs.cache.store import ContentStore
from onefs.catalogue.snapshot import Snapshot, load_snapshot
from onefs.daemon.showing import Showing
from onefs.errors import GoneError
from onefs.fetch.access import Content
from onefs.fuse.errnos import errno_name
from onefs.fuse.notify import forget_listings, forget_names
from onefs.modes import Abilities, Mode
from onefs.settings import Settings
from onefs.sources.releases import Releases
from onefs.sources.source import resolve
from onefs.transports.http import HttpTransport
from onefs.vfs import inodes, kept_folders
from onefs.vfs.filesystem import FileSystem
from onefs.vfs.journal import Journal
from onefs.vfs.nodes import Directory
from onefs.vfs.staleness import Name

PLACES = (
    "",
    ".onefs/default",
    ".onefs/as-of/2024-01-15",
    ".onefs/via/local",
    ".onefs/via/remote",
    ".onefs/via/refresh",
)
steps = st.one_of(
    st.tuples(st.just("told"), archives),
    st.tuples(st.just("tables"), archives),
    st.tuples(st.just("as of"), st.sampled_from(["", "2024-01-15"])),
    st.tuples(st.just("mode"), st.sampled_from(Mode)),
    st.tuples(st.just("walk"), st.sampled_from(PLACES)),
)


class Told:
    """Stands where the kernel is told from. What is to be told soon waits here until somebody tells it."""

    def __init__(self) -> None:
        self.kernel: ListingKernel | None = None
        self.is_stuck = False
        self._soon: deque[list[Name]] = deque()

    def listings_changed(self, folders: Collection[int]) -> None:
        if self.kernel:
            forget_listings(sorted(folders), self.kernel)

    def names_changed(self, names: Iterable[Name]) -> None:
        batch = list(names)
        self.listings_changed({name.parent_ino for name in batch})
        self.tell_names(batch)
        self.tell()

    def tell_names(self, names: Iterable[Name]) -> None:
        self._soon.append(list(names))

    def tell(self) -> None:
        while self._soon and self.kernel and not self.is_stuck:
            forget_names(self._soon.popleft(), self.kernel)


class Client:
    """Stands where the client of a database is asked to expire answers."""

    cache_rest = False
    default_expiry_s = 0.0

    def expire_responses(self) -> None:
        """Do nothing: no answer is kept."""


class AlwaysAsking(Showing):
    """Asks a database in lists, at every look; programs go on between a change and the telling of it."""

    database: Database
    meanwhile: Callable[[], None]

    def _questions(self, known: Known) -> Any:
        return self.database

    def _expiry_s(self) -> float:
        return -1

    def _searches_asked(self) -> None:
        """Nothing: the catalogue answers searches."""

    def _changed(self, names: Iterable[Name]) -> Iterator[Name]:
        self.meanwhile()
        return super()._changed(names)


class Mount:
    """What a mount shows, and the kernel above it."""

    def __init__(self, home: Path, tables: Archive, told: Archive, seed: int) -> None:
        self._home = home
        self._n_tables = 0
        self.mode = Mode.AUTO
        self.database = Database(*rows_of(told))
        self.told = Told()
        self.showing = AlwaysAsking(
            self.load(tables),
            Client(),  # type: ignore[arg-type]
            Directory(2, inodes.ROOT, ".onefs", ".onefs", 0),
            Abilities(has_server=True, has_database=True),
            lambda: self.mode,
            lambda: None,
            lambda error: None,
            lambda: self.file_system,
            self.told,  # type: ignore[arg-type]
            Settings(),
            Releases(resolve(str(_empty(home)), Settings()), None, lambda: False),
            home / "state",
        )
        self.showing.database = self.database
        transport = HttpTransport(connect_timeout_s=1, read_timeout_s=1, max_connections=1, proxy="")
        self.content = Content(ContentStore(home, home / ".onefs"), transport, lambda _: [], lambda _: [])
        self.file_system = FileSystem(
            self.showing.forest(), self.content, Journal(errno_name), lambda: self.mode, serves_mismatches=False
        )
        self.kernel = ListingKernel(InlineOperations(self.file_system, open_wait_s=0), Random(seed))
        self.told.kernel = self.kernel
        self.showing.meanwhile = self.kernel.meanwhile

    def load(self, archive: Archive) -> Snapshot:
        self._n_tables += 1
        return load_snapshot(tables_of(self._home / f"{self._n_tables}", *rows_of(archive)), self._home / "state")

    def change(self, what: str, to: Any) -> None:
        match what:
            case "told":
                self.database.all_sessions, self.database.all_datasets = rows_of(to)
            case "tables":
                self.showing.adopt(self.load(to))()
            case "as of":
                self.showing.show(as_of=to)
            case "mode":
                self.mode = to
                self.showing.renew()
            case "walk":
                self.walk(to)
        self.told.tell()

    def walk(self, place: str) -> None:
        """List all below a place, as programs do that look the way to it up first."""
        ino = inodes.ROOT
        for part in filter(None, place.split("/")):
            ino = self.kernel.looked_up(ino, part)
        below = [ino]
        for each in below:
            found = self.kernel.listed(each) or {}
            below += [number for number in found.values() if self.kernel.inodes[number].is_directory]

    def check(self) -> None:
        """Every listing that begins now is as the mount is; for what is asked, after the answers are known."""
        for ino in self.kernel.directories():
            found = self.kernel.listed(ino)
            self.told.tell()
            assert found == self.listed(ino), self.where(ino)

    def listed(self, ino: int) -> dict[str, int] | None:
        try:
            return {node.name: node.ino for node in self.file_system.forest.listed(ino)[1]}
        except GoneError:
            return None

    def where(self, ino: int) -> str:
        try:
            return self.file_system.path(ino)
        except GoneError:
            return f"{ino} is gone"


def _empty(home: Path) -> Path:
    (home / "source").mkdir()
    return home / "source"


@contextmanager
def a_mount(tables: Archive, told: Archive, seed: int) -> Iterator[Mount]:
    with folder_in_memory() as home:
        mount = Mount(Path(home), tables, told, seed)
        try:
            yield mount
        finally:
            mount.content.close()


BEFORE: Archive = {("la", "s", "2024-01-01"): {}}
AFTER: Archive = {("lb", "s", "2024-01-01"): {}}


@pytest.fixture
def mount() -> Iterator[Mount]:
    """A mount on which programs go on only as a test lets them."""
    with a_mount(BEFORE, BEFORE, 0) as mount:
        mount.kernel.may_go_on = False
        yield mount


def test_a_listing_that_ends_after_a_change_is_not_kept(mount: Mount) -> None:
    """Names may have to wait for somebody who looks one up; the listings of their directories do not."""
    late = mount.kernel.answered_listing(inodes.ROOT)
    mount.told.is_stuck = True
    mount.change("tables", AFTER)
    late.end()
    assert late.found is not None and "la" in late.found
    assert mount.kernel.listed(inodes.ROOT) == mount.listed(inodes.ROOT)


def test_what_a_late_listing_brings_is_not_kept_as_that_of_another_that_began_later(
    mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = mount.kernel.answered_listing(inodes.ROOT)
    later = []
    invalidate_entry = mount.kernel.invalidate_entry

    def another_begins(parent: int, name: bytes) -> None:
        if not later:
            later.append(mount.kernel.answered_listing(inodes.ROOT))
        invalidate_entry(parent, name)

    monkeypatch.setattr(mount.kernel, "invalidate_entry", another_begins)
    mount.change("tables", AFTER)
    late.end()
    later[0].end()
    assert later[0].found == mount.listed(inodes.ROOT)
    assert mount.kernel.listed(inodes.ROOT) == mount.listed(inodes.ROOT)


def test_the_kernel_keeps_no_more_folders_than_it_can_be_told_of(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_folders, "MOST_KEPT", 3)
    mount.walk("")
    mount.walk(".onefs/default")
    lab, subjects = (mount.file_system.forest.find(f".onefs/default/la{more}").ino for more in ("", "/Subjects"))
    assert [mount.file_system.attributes(ino).is_live for ino in (inodes.ROOT, lab, subjects)] == [False, True, True]
    mount.change("tables", AFTER)
    lab = mount.file_system.forest.find(".onefs/default/lb").ino
    assert not mount.file_system.attributes(lab).is_live, "a change makes room"
    mount.check()


@given(archives, archives, st.lists(steps, min_size=1, max_size=6), st.integers(0, 1 << 32))
@settings(deadline=None, max_examples=40, phases=(Phase.explicit, Phase.generate))
def test_no_listing_that_begins_after_a_change_shows_an_old_name(
    tables: Archive, told: Archive, then: list[tuple[str, Any]], seed: int
) -> None:
    with a_mount(tables, told, seed) as mount:
        mount.walk("")
        for what, to in then:
            mount.change(what, to)
            mount.check()
        mount.kernel.end_all()
        mount.change("walk", "")
        mount.check()
