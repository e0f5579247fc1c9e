"""What is answered while rules change: as things are after the change, of which nobody tells the kernel again."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from asking import Database, a_dataset, a_session

from onefs.cache.store import ContentStore
from onefs.catalogue.live import LiveSnapshot
from onefs.catalogue.records import Dataset, Session
from onefs.catalogue.revisions import Rule
from onefs.errors import NotInCatalogueError
from onefs.fetch.access import Content
from onefs.fuse.errnos import errno_name
from onefs.modes import Mode
from onefs.transports.http import HttpTransport
from onefs.vfs import inodes
from onefs.vfs.filesystem import FileSystem
from onefs.vfs.forest import Forest
from onefs.vfs.journal import Journal
from onefs.vfs.nodes import Directory
from onefs.vfs.tree import Tree
from onefs.vfs.views import View

SESSION = a_session()
FIRST = replace(a_dataset(SESSION, "a.times.npy"), default_revision=False)
LATER = a_dataset(SESSION, "#2024-05-06#/a.times.npy", b"other")
CONTROL = Directory(2, inodes.ROOT, ".onefs", ".onefs", 0)


class Interrupted(Database):
    """A database that is slow: meanwhile something else happens, once."""

    def __init__(self) -> None:
        super().__init__([SESSION], [FIRST, LATER])
        self.meanwhile: Callable[[], None] | None = None

    def told(self, *question: str) -> tuple[list[Session], list[Dataset]]:
        if question[0] == "datasets" and self.meanwhile:
            happens, self.meanwhile = self.meanwhile, None
            happens()
        return super().told(*question)


class Shown:
    """A mount whose root shows one edition of each file, without a kernel."""

    def __init__(self, home: Path) -> None:
        self.database = Interrupted()
        self._live = LiveSnapshot(self.database, None)
        transport = HttpTransport(connect_timeout_s=1, read_timeout_s=1, max_connections=1, proxy="")
        self.content = Content(ContentStore(home, home / ".onefs"), transport, lambda _: [], lambda _: [])
        self.file_system = FileSystem(
            self.forest(""), self.content, Journal(errno_name), lambda: Mode.REMOTE, serves_mismatches=False
        )

    def forest(self, as_of: str) -> Forest:
        root = Tree(self._live, View(0, Rule(as_of=as_of, default_only=True)), {})
        return Forest(root, CONTROL, {}, {})

    def show_as_of(self, date: str) -> None:
        """What the command does."""
        old, new = self.file_system.forest, self.forest(date)
        self.file_system.forest = new
        assert not list(new.rule_changed_names(old)), "the kernel is told of nothing that it does not know yet"

    def session_ino(self) -> int:
        ino = inodes.ROOT
        for part in SESSION.path.split("/"):
            ino = self.file_system.lookup(ino, part).ino
        return ino


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Shown]:
    shown = Shown(tmp_path)
    yield shown
    shown.content.close()


def test_a_lookup_that_waits_while_the_date_changes_finds_the_edition_of_the_new_date(shown: Shown) -> None:
    ino = shown.session_ino()
    shown.database.meanwhile = lambda: shown.show_as_of("2024-01-01")
    found = shown.file_system.lookup(ino, "a.times.npy")
    assert found.size_bytes == FIRST.size_bytes


def test_a_name_that_is_hidden_while_it_is_looked_for_is_absent(shown: Shown) -> None:
    shown.show_as_of("2024-12-31")
    ino = shown.session_ino()
    shown.database.all_datasets = [LATER]
    shown.database.meanwhile = lambda: shown.show_as_of("2024-01-01")
    with pytest.raises(NotInCatalogueError):
        shown.file_system.lookup(ino, "a.times.npy")
