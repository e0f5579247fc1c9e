"""What a mount shows while tables take each other's place, and while its database answers or does not."""

import gc
import threading
import weakref
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from alyx_archive import AlyxArchive
from alyx_mounts import Asked
from shown import Shown
from tables_in_use import DAY_S, NOW_S, TablesInUse
from waiting import PATIENCE_S, SILENCE_S

from onefs.archive.catalogues import Catalogues
from onefs.archive.questions import AlyxQuestions
from onefs.catalogue.changes import Changes, compare
from onefs.catalogue.index import indexes_of
from onefs.catalogue.snapshot import Snapshot, load_snapshot
from onefs.demo.server import DemoServer
from onefs.errors import CacheDamagedError, OnefsError, UnknownRecordError, UnreachableError
from onefs.modes import Mode
from onefs.outages import PAUSE_S

A = "lab/Subjects/mouse/2024-01-02/001/alf/a.times.npy"
LATER = "lab/Subjects/mouse/2024-01-03/001/alf/a.times.npy"


@pytest.fixture
def archive(tmp_path: Path) -> AlyxArchive:
    archive = AlyxArchive(tmp_path / "archive", datetime(2024, 1, 3))
    archive.put(A, b"a")
    archive.publish()
    return archive


@pytest.fixture
def shown(server: DemoServer, tmp_path: Path) -> Iterator[Shown]:
    shown = Shown(server, tmp_path, Mode.REMOTE)
    yield shown
    shown.close()


def test_tables_that_vanish_before_they_are_shown_change_nothing(archive: AlyxArchive, shown: Shown) -> None:
    old = shown.showing.catalogues.tables
    archive.put(LATER, b"later")
    archive.publish()
    new = shown.tables()
    away = new.files.datasets.rename(new.files.datasets.with_name("away"))
    with pytest.raises(CacheDamagedError, match=r"datasets\.pqt"):
        shown.showing.adopt(new)
    assert shown.showing.catalogues.tables is old
    away.rename(new.files.datasets)
    shown.showing.adopt(new)
    assert shown.names("lab/Subjects/mouse") == {"2024-01-02", "2024-01-03"}


def test_new_tables_take_the_place_of_old_ones_whose_index_is_damaged(archive: AlyxArchive, shown: Shown) -> None:
    """The sentence about that damage says that they do. The kernel forgets the folders that cannot be compared."""
    old, old_forest = shown.showing.catalogues.tables, shown.file_system.forest
    day = old_forest.find(".onefs/via/local/lab/Subjects/mouse/2024-01-02")
    archive.put(A, b"other bytes")
    archive.publish()
    shown.tables()
    for file in indexes_of(old.files.datasets.parent / ".onefs").rglob("dataset_*"):
        with file.open("r+b") as stream:
            stream.write(b"\xff" * 16)
    new = load_snapshot(old.files.datasets.parent, old.files.datasets.parent / ".onefs")
    with pytest.raises(CacheDamagedError, match="onefs refresh"):
        old.datasets(0)
    shown.showing.adopt(new)()
    stale = list(shown.file_system.forest.stale_names(old_forest, compare(old, new)))
    assert (day.ino, "001") in stale
    assert shown.names(A.rpartition("/")[0]) == {"a.times.npy"}


def test_a_mode_is_switched_though_the_files_of_the_tables_are_gone(shown: Shown) -> None:
    for file in (shown.showing.catalogues.tables.files.sessions, shown.showing.catalogues.tables.files.datasets):
        file.unlink()
    shown.mode.switch(Mode.LOCAL)
    shown.showing.renew()
    assert not shown.file_system.forest.root.may_ask


def test_old_tables_and_all_that_was_learned_over_them_are_let_go(shown: Shown, request: pytest.FixtureRequest) -> None:
    """At once, without the garbage collector: each holds forty open files, and a daemon may have a thousand."""
    before = weakref.WeakSet[Snapshot]()
    files = shown.showing.catalogues.tables.files
    gc.collect()
    gc.disable()
    request.addfinalizer(gc.enable)
    for _ in range(20):
        tables = load_snapshot(files.sessions.parent, files.sessions.parent / ".onefs")
        shown.showing.adopt(tables)()
        before.add(tables)
        assert shown.names("lab/Subjects/mouse") == {"2024-01-02"}
    del tables
    assert len(before) == 1


def test_an_answer_over_old_tables_is_not_taken_for_one_over_the_new(
    archive: AlyxArchive, server: DemoServer, tmp_path: Path
) -> None:
    """Rows of the one mean something else in the other. The old answer comes while the new ones are put in use."""
    in_use = TablesInUse(server.url, tmp_path / "cache").open()
    archive.put(LATER, b"later")
    archive.publish()
    tables = in_use.adopted[0]
    new = load_snapshot(tables.files.sessions.parent, tmp_path / "other state")
    taken: list[bool] = []

    def learned(edition: int, changes: Changes) -> None:
        assert changes
        catalogues.adopt(new)
        taken.append(catalogues.takes(edition))

    catalogues = Catalogues(
        tables, lambda known: AlyxQuestions(in_use.client, known), learned, lambda error: None, expiry_s=lambda: 60
    )
    asking = catalogues.asking
    subjects = asking.child(asking.child(0, "lab").row, "Subjects").row
    asking.folders(asking.child(subjects, "mouse").row)
    assert taken == [False]
    assert catalogues.at_rest is new


def test_remote_mode_tells_that_its_database_is_away(server: DemoServer, archive: AlyxArchive, shown: Shown) -> None:
    assert shown.names("lab/Subjects") == {"mouse"}
    assert shown.mode.state.effective is Mode.REMOTE
    server.stop()
    assert shown.names("lab/Subjects/mouse") == {"2024-01-02"}
    state = shown.mode.state
    assert (state.requested, state.effective, state.retry_s) == (Mode.REMOTE, Mode.LOCAL, NOW_S + PAUSE_S)
    assert "cannot be reached" in state.reason
    server.start()
    shown.clock_s += PAUSE_S
    shown.names("lab/Subjects/mouse/2024-01-02/001")
    assert (shown.mode.state.effective, shown.mode.state.reason) == (Mode.REMOTE, "")


def test_a_database_that_hangs_costs_one_time_out_while_kept_answers_are_served(
    server: DemoServer, archive: AlyxArchive, tmp_path: Path
) -> None:
    folders = ("lab/Subjects", "lab/Subjects/mouse", "lab/Subjects/mouse/2024-01-03/001")
    before = Shown(server, tmp_path, Mode.REMOTE, responses_dir=tmp_path / "responses")
    archive.put(LATER, b"later")  # not in the tables at hand
    archive.publish()
    names = [before.names(folder) for folder in folders]
    before.close()
    assert names == [{"mouse"}, {"2024-01-02", "2024-01-03"}, {"alf"}]
    shown = Shown(server, tmp_path, Mode.REMOTE, responses_dir=tmp_path / "responses", read_timeout_s=SILENCE_S)
    shown.pass_s(2 * DAY_S)
    server.hold()
    asked = Asked(server)
    assert [shown.names(folder) for folder in folders] == names
    assert len(asked.paths()) == 1
    state = shown.mode.state
    assert (state.requested, state.effective) == (Mode.REMOTE, Mode.LOCAL)
    assert "did not answer within 1 s" in state.reason
    server.recover()
    shown.pass_s(PAUSE_S)
    assert shown.names("lab/Subjects/mouse/2024-01-02/001") == {"alf"}
    assert shown.mode.state.effective is Mode.REMOTE
    shown.close()


def test_an_answer_about_one_thing_tells_that_the_database_is_up(server: DemoServer, shown: Shown) -> None:
    shown.mode.heard(UnreachableError("It cannot be reached."), PAUSE_S)
    assert shown.mode.state.effective is Mode.LOCAL
    shown.mode.heard(UnknownRecordError("There is no such session."), PAUSE_S)
    assert shown.mode.state.effective is Mode.REMOTE


@pytest.mark.parametrize(("mode", "asks"), [(Mode.AUTO, True), (Mode.LOCAL, False), (Mode.REMOTE, False)])
def test_a_look_into_refresh_checks_for_tables_where_the_mount_takes_new_ones(
    server: DemoServer, shown: Shown, mode: Mode, asks: bool
) -> None:
    shown.switch_tables(mode)
    asked = Asked(server)
    for _ in range(2):
        shown.names(".onefs/via/refresh/lab/Subjects")
    assert asked.paths().count("/cache/info/") == asks


def test_other_modes_are_in_effect_whatever_a_look_into_remote_says(server: DemoServer, shown: Shown) -> None:
    shown.mode.switch(Mode.AUTO)
    shown.showing.renew()
    server.stop()
    shown.names(".onefs/via/remote/lab/Subjects")
    assert shown.mode.state.effective is Mode.AUTO


def test_many_threads_learn_while_tables_and_modes_change(archive: AlyxArchive, shown: Shown) -> None:
    """Nothing deadlocks, and what is shown in the end is what the database has."""
    archive.put(LATER, b"later")
    archive.publish()
    files = shown.showing.catalogues.tables.files
    failures: list[OnefsError] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            try:
                shown.names("lab/Subjects/mouse")
            except OnefsError as error:
                failures.append(error)

    lookers = [threading.Thread(target=look) for _ in range(4)]
    for thread in lookers:
        thread.start()
    for mode in [Mode.REMOTE, Mode.LOCAL, Mode.AUTO, Mode.REMOTE] * 5:
        tables = load_snapshot(files.sessions.parent, files.sessions.parent / ".onefs")
        shown.mode.switch(mode)
        shown.showing.renew()
        shown.showing.adopt(tables)()
    done.set()
    for thread in lookers:
        thread.join(PATIENCE_S)
    assert not any(thread.is_alive() for thread in lookers)
    assert not failures
    assert shown.names("lab/Subjects/mouse") == {"2024-01-02", "2024-01-03"}
