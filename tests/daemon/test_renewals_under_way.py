"""What happens to a renewal, or beside one, while it is under way: other commands, listings, switches of the mode."""

import shutil
import sys
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from alyx_archive import AlyxArchive
from alyx_mounts import Asked
from archives import change_metadata
from tables_in_use import TablesInUse
from waiting import PATIENCE_S, wait_until

from onefs.demo.server import DemoServer
from onefs.errors import OnefsError
from onefs.modes import Mode

SESSION = "lab/Subjects/mouse/2024-01-02/001"
A, B = (f"{SESSION}/alf/{name}.times.npy" for name in "ab")
INFO, ZIP = "/cache/info", "/tables/cache.zip"


@pytest.fixture
def archive(tmp_path: Path) -> AlyxArchive:
    archive = AlyxArchive(tmp_path / "archive", datetime(2024, 1, 3))
    archive.put(A, b"a")
    archive.publish()
    return archive


@pytest.fixture
def tables(server: DemoServer, tmp_path: Path) -> TablesInUse:
    """Tables that have just been fetched, and expired long ago."""
    return TablesInUse(server.url, tmp_path / "cache").open()


def changed(archive: AlyxArchive) -> str:
    archive.put(B, b"b")
    return archive.publish()


class Doing:
    """Something done in a thread of its own."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act
        self._error: OnefsError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._act()
        except OnefsError as error:
            self._error = error

    def waits(self) -> None:
        """See that it waits for its turn."""
        wait_until(lambda: "alone" in self._functions(), "it waits for its turn")

    def _functions(self) -> list[str]:
        frame = sys._current_frames().get(self._thread.ident or 0)
        names = []
        while frame is not None:
            names.append(frame.f_code.co_name)
            frame = frame.f_back
        return names

    def ends(self) -> None:
        """See that it comes to its end, without an error."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        assert self._error is None


def test_who_asks_for_a_refresh_while_one_is_under_way_waits_for_it(
    archive: AlyxArchive, server: DemoServer, tables: TablesInUse
) -> None:
    """As right after the start, when tables that expired are being renewed."""
    created = changed(archive)
    asked = Asked(server)
    server.hold(INFO)
    first = Doing(tables.refresher.refresh_if_due)
    wait_until(asked.paths, "the first one has asked")
    second = Doing(tables.refresher.refresh)
    second.waits()
    server.recover()
    first.ends()
    second.ends()
    assert tables.created == created
    assert asked.paths().count(ZIP) == 1


@pytest.mark.parametrize("background", [False, True])
def test_tables_that_were_loaded_meanwhile_are_not_replaced(
    archive: AlyxArchive, tables: TablesInUse, tmp_path: Path, background: bool
) -> None:
    changed(archive)
    own = tmp_path / "own"
    shutil.copytree(tables.source.tables_dir, own, ignore=shutil.ignore_patterns(".onefs"))
    tables.refresher.switch(Mode.AUTO if background else Mode.REFRESH)
    renew = tables.refresher.refresh_if_due if background else tables.refresher.check_before_listing
    taken, other = threading.Event(), threading.Event()

    def wait() -> None:
        taken.set()
        other.wait()

    tables.when_adopting = wait
    loading = Doing(lambda: tables.refresher.load(own))
    taken.wait()
    renewing = Doing(renew)
    renewing.waits()
    other.set()
    loading.ends()
    renewing.ends()
    assert tables.adopted[-1].files.sessions.parent == own


@pytest.mark.parametrize("mode", [Mode.LOCAL, Mode.REMOTE])
def test_a_mode_without_new_tables_takes_none_that_are_on_their_way(
    archive: AlyxArchive, server: DemoServer, tables: TablesInUse, mode: Mode
) -> None:
    created = changed(archive)
    asked = Asked(server)
    server.hold(ZIP)
    renewing = Doing(tables.refresher.refresh_if_due)
    wait_until(lambda: ZIP in asked.paths(), "the tables are on their way")
    tables.refresher.switch(mode)
    server.recover()
    renewing.ends()
    assert len(tables.adopted) == 1
    assert tables.refresher.state.effective is mode
    tables.refresher.switch(Mode.AUTO)
    assert tables.refresher.refresh()
    assert tables.created == created
    assert asked.paths().count(ZIP) == 1


def test_listings_go_on_while_the_kernel_is_told(archive: AlyxArchive, tables: TablesInUse) -> None:
    """It may be waiting for the answer to a listing of the very folder that it is to forget something of."""
    changed(archive)
    tables.refresher.switch(Mode.REFRESH)
    tables.now_s += 3600
    listings = []

    def tell() -> None:
        tables.now_s += 3600
        listings.append(Doing(tables.refresher.check_before_listing))
        listings[-1].ends()

    tables.tell = tell
    tables.refresher.refresh()
    assert len(listings) == 1


def test_saved_tables_are_not_replaced_without_a_word(
    archive: AlyxArchive, tables: TablesInUse, caplog: pytest.LogCaptureFixture
) -> None:
    change_metadata(tables.source.tables_dir, date_modified="2024-01-03 10:00")
    tables.refresher.switch(Mode.LOCAL)
    tables.refresher.reset()
    assert "saved tables stay" in caplog.text
    changed(archive)
    tables.refresher.switch(Mode.AUTO)
    tables.refresher.refresh()
    assert f"replace those in {tables.source.tables_dir}, and what was saved into them" in caplog.text
