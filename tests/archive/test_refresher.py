"""Which tables a mount of a database serves, in each mode, with the database there, away, or talking nonsense."""

import io
import json
import shutil
import threading
import zipfile
from datetime import datetime
from pathlib import Path
from random import Random

import pytest
from alyx_archive import AlyxArchive
from alyx_mounts import Asked
from archives import change_metadata, make_tables
from tables_in_use import DAY_S, NOW_S, TablesInUse, export_tag
from waiting import wait_until

from onefs.alf import TABLE_NAMES
from onefs.archive import refresher
from onefs.archive.effect import ModeInEffect
from onefs.catalogue.index import indexes_of
from onefs.demo.archive import TABLES_DIR
from onefs.demo.database_file import DatabaseFile, Tag
from onefs.demo.export import INFO, ZIP
from onefs.demo.server import DemoServer
from onefs.errors import (
    AccessRefusedError,
    BrokenAnswerError,
    BusyError,
    OfflineError,
    OnefsError,
    TableError,
    UnknownRecordError,
    UnreachableError,
    UsageError,
)
from onefs.jitter import Jitter
from onefs.modes import Mode

SESSION = "lab/Subjects/mouse/2024-01-02/001"
A, B, C = (f"{SESSION}/alf/{name}.times.npy" for name in "abc")
TAG = "2024_Q1_paper"
FIRST = datetime(2024, 1, 3)
YEAR_S = 365 * DAY_S


@pytest.fixture
def archive(tmp_path: Path) -> AlyxArchive:
    archive = AlyxArchive(tmp_path / "archive", FIRST)
    archive.put_all({A: b"a", B: b"b"})
    export_tag(archive, TAG, archive.publish(), A)
    return archive


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the index of the archive's first tables is kept, once one test has made it."""
    return tmp_path_factory.mktemp("kept") / "index"


@pytest.fixture
def tables(server: DemoServer, tmp_path: Path, index: Path) -> TablesInUse:
    """Tables that have just been fetched, and expired long ago. To index them takes a process, which the first pays."""
    tables = TablesInUse(server.url, tmp_path / "cache")
    indexes = indexes_of(tables.source.tables_state_dir)
    if index.exists():
        shutil.copytree(index, indexes)
        return tables.open()
    tables.open()
    shutil.copytree(indexes, index)
    return tables


def changed(archive: AlyxArchive) -> str:
    """A file more, and newer tables that have it; when those were made."""
    archive.put(C, b"c")
    return archive.publish()


# Newer tables


def test_a_refresh_that_changes_nothing_is_one_request(server: DemoServer, tables: TablesInUse) -> None:
    asked = Asked(server)
    assert not tables.refresher.refresh()
    assert asked.paths() == ["/cache/info/"]
    assert len(tables.adopted) == 1


def test_newer_tables_are_taken(archive: AlyxArchive, tables: TablesInUse) -> None:
    created = changed(archive)
    assert tables.refresher.refresh()
    assert (tables.created, tables.n_datasets) == (created, 3)
    assert tables.refresher.facts()["created"] == created
    assert not tables.refresher.refresh()


def test_less_than_a_minute_newer_is_not_newer(archive: AlyxArchive, server: DemoServer, tables: TablesInUse) -> None:
    info = archive.directory / TABLES_DIR / INFO
    known = json.loads(info.read_text())
    asked = Asked(server)
    for later, is_new in (("00:00:59", False), ("09:00:59+09:00", False), ("00:01:00", True)):
        info.write_text(json.dumps({**known, "date_created": f"2024-01-03 {later}"}))
        assert tables.refresher.refresh() is is_new
        assert ("/tables/cache.zip" in asked.paths()) is is_new


def test_a_database_that_hands_its_tables_out_itself(archive: AlyxArchive, tmp_path: Path) -> None:
    with DemoServer(archive.directory, keeps_tables=True) as server:
        tables = TablesInUse(server.url, tmp_path / "cache").open()
        assert tables.n_datasets == 2
        assert "/cache.zip" in [visit.path for visit in server.requests()]
        with pytest.raises(TableError, match=f"does not say where the tables of the tag {TAG} are"):
            tables.refresher.use_tag(TAG)
        assert tables.n_datasets == 2


def test_two_at_once_over_one_cache_download_once(
    archive: AlyxArchive, server: DemoServer, tables: TablesInUse, tmp_path: Path
) -> None:
    other = TablesInUse(server.url, tmp_path / "cache").open()
    created = changed(archive)
    asked = Asked(server)
    found: list[bool] = []
    threads = [
        threading.Thread(target=lambda each=each: found.append(each.refresher.refresh())) for each in (tables, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True, True]
    assert tables.created == other.created == created
    assert asked.paths().count("/tables/cache.zip") == 1


def test_another_origin_is_warned_about(
    archive: AlyxArchive, tables: TablesInUse, caplog: pytest.LogCaptureFixture
) -> None:
    assert "warning" not in tables.refresher.facts()
    changed(archive)
    edit(archive, origin="elsewhere")
    assert tables.refresher.refresh()
    assert "from elsewhere" in caplog.text
    assert "from elsewhere" in tables.refresher.facts()["warning"]


def edit(archive: AlyxArchive, **changes: object) -> None:
    """Let the tables on the server say something else of themselves."""
    directory = archive.directory / TABLES_DIR
    change_metadata(directory, **changes)
    for name in (INFO, ZIP):
        (directory / name).unlink()


# Modes


def test_tables_of_a_server_whose_clock_is_ahead_of_utc_expire_in_time(server: DemoServer, tmp_path: Path) -> None:
    tables = TablesInUse(server.url, tmp_path / "cache")
    tables.now_s = 1_704_240_000.0 - 9 * 3600
    tables.open()
    assert not tables.refresher.is_expired
    tables.now_s += DAY_S + 1
    assert tables.refresher.is_expired
    assert tables.refresher.facts()["expired"]


def test_expired_tables_are_renewed_in_the_background(
    archive: AlyxArchive, server: DemoServer, tables: TablesInUse
) -> None:
    assert tables.refresher.facts()["expired"]
    asked = Asked(server)
    tables.refresher.refresh_if_due()
    tables.refresher.refresh_if_due()
    assert asked.paths() == ["/cache/info/"]
    created = changed(archive)
    tables.now_s += DAY_S + 1
    tables.refresher.refresh_if_due()
    assert tables.created == created


def test_mounts_that_start_together_do_not_ask_together(
    server: DemoServer, tables: TablesInUse, tmp_path: Path
) -> None:
    """Each draws once for each check: the first comes within the jitter, later ones within a tenth of the expiry."""
    asked = Asked(server)
    first_s, later_s = [], []
    for seed in range(5):
        mount = TablesInUse(server.url, tmp_path / "cache", jitter=Jitter(30.0, Random(seed))).open()
        while mount.refresher.facts()["checked"] is None:
            mount.refresher.refresh_if_due()
            mount.now_s += 1
        first_s.append(mount.now_s - NOW_S)
        checked_s = mount.now_s
        mount.now_s += DAY_S - 2
        while mount.refresher.is_expired is False:
            mount.now_s += 60
        later_s.append(mount.now_s - checked_s - DAY_S)
    assert asked.paths().count("/cache/info/") == 5
    assert len(set(first_s)) > 3
    assert max(first_s) <= 31
    assert len(set(later_s)) == 5
    assert max(later_s) <= DAY_S / 10 + 60


def test_one_mount_waits_no_longer_than_the_expiry_is_worth(
    server: DemoServer, tables: TablesInUse, tmp_path: Path
) -> None:
    mount = TablesInUse(server.url, tmp_path / "cache", jitter=Jitter(30.0, Highest()))
    mount.refresher.expiry_s = 10
    mount.open()
    mount.now_s += 0.9
    assert not mount.refresher.is_expired
    mount.now_s += 0.2
    assert mount.refresher.is_expired


class Highest(Random):
    """Draws the highest number each time."""

    def random(self) -> float:
        return 1.0


@pytest.mark.parametrize(("asked_s", "pause_s"), [(0.0, 6.25), (100.0, 125.0)])
def test_after_a_failure_mounts_do_not_come_back_together(asked_s: float, pause_s: float) -> None:
    """A `Retry-After` is the least."""
    now_s = 1000.0
    for chance, expected_s in ((Highest(), pause_s), (None, asked_s or 5.0)):
        jitter = Jitter() if chance is None else Jitter(30.0, chance)
        mode = ModeInEffect(Mode.AUTO, lambda: now_s, jitter=jitter)
        mode.failed(UnreachableError("alyx.example cannot be reached.", retry_after_s=asked_s))
        assert mode.state.retry_s == now_s + expected_s


@pytest.mark.parametrize("was_away", [False, True], ids=["it answered", "it was away"])
@pytest.mark.parametrize("when", ["before the start", "after the start"])
def test_a_clock_that_was_a_year_ahead_keeps_no_newer_tables_away(
    archive: AlyxArchive, server: DemoServer, tmp_path: Path, was_away: bool, when: str
) -> None:
    tables = TablesInUse(server.url, tmp_path / "cache")
    tables.now_s += YEAR_S if when == "before the start" else 0.0
    tables.open()
    tables.now_s += 0.0 if when == "before the start" else YEAR_S
    if was_away:
        server.stop()
    tables.refresher.refresh_if_due()
    assert bool(tables.refresher.state.reason) == was_away
    if was_away:
        server.start()
    tables.now_s -= YEAR_S
    created = changed(archive)
    asked = Asked(server)
    tables.refresher.refresh_if_due()
    tables.refresher.refresh_if_due()
    assert tables.created == created
    assert asked.paths().count("/cache/info/") == 1
    assert not tables.refresher.state.reason


def test_a_clock_that_is_set_back_has_listings_checked_in_mode_refresh(server: DemoServer, tables: TablesInUse) -> None:
    tables.refresher.switch(Mode.REFRESH)
    tables.refresher.check_before_listing()
    tables.now_s -= YEAR_S
    asked = Asked(server)
    tables.refresher.check_before_listing()
    tables.refresher.check_before_listing()
    assert asked.paths() == ["/cache/info/"]


def test_tables_that_have_not_expired_are_not_asked_about(server: DemoServer, tables: TablesInUse) -> None:
    tables.now_s = 1_704_240_000.0 + DAY_S / 2
    tables.open()
    assert not tables.refresher.facts()["expired"]
    asked = Asked(server)
    tables.refresher.refresh_if_due()
    assert asked.paths() == []


@pytest.mark.parametrize(("mode", "error"), [(Mode.LOCAL, OfflineError), (Mode.REMOTE, UsageError)])
def test_modes_without_new_tables(
    archive: AlyxArchive, server: DemoServer, tables: TablesInUse, mode: Mode, error: type[OnefsError]
) -> None:
    tables.refresher.switch(mode)
    changed(archive)
    asked = Asked(server)
    tables.refresher.refresh_if_due()
    tables.refresher.check_before_listing()
    with pytest.raises(error, match=str(mode)):
        tables.refresher.refresh()
    assert asked.paths() == []
    assert len(tables.adopted) == 1


def test_mode_refresh_asks_before_a_listing_but_not_before_each(
    archive: AlyxArchive, server: DemoServer, tables: TablesInUse
) -> None:
    tables.refresher.switch(Mode.REFRESH)
    asked = Asked(server)
    for _ in range(5):
        tables.refresher.check_before_listing()
    assert asked.paths() == ["/cache/info/"]
    created = changed(archive)
    tables.refresher.check_before_listing()
    assert tables.created != created
    tables.now_s += 61
    tables.refresher.check_before_listing()
    assert tables.created == created
    for mode, asks in ((Mode.AUTO, ["/cache/info/"]), (Mode.LOCAL, [])):  # in which it is a look into via/refresh
        tables.refresher.switch(mode)
        tables.now_s += 61
        asked = Asked(server)
        tables.refresher.check_before_listing()
        assert asked.paths() == asks


def test_many_listings_at_once_ask_once(server: DemoServer, tables: TablesInUse) -> None:
    tables.refresher.switch(Mode.REFRESH)
    asked = Asked(server)
    threads = [threading.Thread(target=tables.refresher.check_before_listing) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked.paths() == ["/cache/info/"]


def test_a_renewal_that_takes_too_long_is_not_waited_for(
    server: DemoServer, tables: TablesInUse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresher, "WAIT_S", 0.01)
    server.hold("/cache/info")
    asked = Asked(server)
    first = threading.Thread(target=tables.refresher.refresh)
    first.start()
    wait_until(lambda: asked.paths(), "the first one has asked")
    with pytest.raises(BusyError):
        tables.refresher.refresh()
    server.recover()
    first.join()
    tables.refresher.refresh()


# Failures


def test_a_server_that_is_away_and_comes_back(archive: AlyxArchive, server: DemoServer, tables: TablesInUse) -> None:
    created = changed(archive)
    server.stop()
    pauses = []
    for _ in range(10):
        tables.refresher.refresh_if_due()
        state = tables.refresher.state
        assert (state.requested, state.effective, state.since_s) == (Mode.AUTO, Mode.LOCAL, NOW_S)
        assert "cannot be reached" in state.reason
        pauses.append(state.retry_s - tables.now_s)
        tables.now_s = state.retry_s
    assert pauses == [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]
    server.start()
    asked = Asked(server)
    tables.now_s -= 1
    tables.refresher.refresh_if_due()
    assert asked.paths() == []
    tables.now_s += 1
    tables.refresher.refresh_if_due()
    assert tables.created == created
    assert (tables.refresher.state.effective, tables.refresher.state.reason) == (Mode.AUTO, "")


def test_in_mode_refresh_a_listing_is_answered_though_the_server_is_away(
    server: DemoServer, tables: TablesInUse, caplog: pytest.LogCaptureFixture
) -> None:
    tables.refresher.switch(Mode.REFRESH)
    server.stop()
    tables.refresher.check_before_listing()
    assert tables.refresher.state.effective == "local"
    assert "cannot be reached" in caplog.text
    server.start()
    tables.now_s += 61
    tables.refresher.check_before_listing()
    assert tables.refresher.state.effective == "refresh"


def test_a_wrong_password_counts_like_any_failure(server: DemoServer, tables: TablesInUse, tmp_path: Path) -> None:
    wrong = TablesInUse(server.url, tmp_path / "cache", password="secret-word").open()
    assert wrong.n_datasets == 2
    wrong.refresher.refresh_if_due()
    state = wrong.refresher.state
    assert state.effective is Mode.LOCAL
    assert "wrong name or password" in state.reason
    assert "secret-word" not in state.reason
    with pytest.raises(AccessRefusedError):
        TablesInUse(server.url, tmp_path / "other", password="secret-word").open()


def test_a_token_that_expired_is_renewed(archive: AlyxArchive, server: DemoServer, tables: TablesInUse) -> None:
    created = changed(archive)
    server.answers.logins.forget()
    assert tables.refresher.refresh()
    assert tables.created == created


def test_a_busy_server_is_waited_for_as_it_asks(
    archive: AlyxArchive, server: DemoServer, tables: TablesInUse, tmp_path: Path
) -> None:
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        server.answers.throttle.requests_per_minute = None

    patient = TablesInUse(server.url, tmp_path / "cache", waits=wait).open()
    server.answers.throttle.requests_per_minute = 0
    assert not patient.refresher.refresh()
    assert len(waited) == 1
    assert 1 <= waited[0] <= 60
    server.answers.throttle.requests_per_minute = 0
    with pytest.raises(UnreachableError, match="too busy"):
        tables.refresher.refresh()


def zipped(*members: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members:
            packed.writestr(name, data)
    return stream.getvalue()


BAD_ZIPS = {
    "a web page": b"<html>Please log in</html>",
    "a bomb": zipped(("sessions.pqt", bytes(32 << 20)), ("datasets.pqt", b"x")),
    "no tables": zipped(("../sessions.pqt", b"x"), ("/datasets.pqt", b"x")),
    "cut off": zipped(*((name, bytes(range(256)) * 99) for name in TABLE_NAMES))[:-50],
}


@pytest.mark.parametrize("content", BAD_ZIPS.values(), ids=BAD_ZIPS)
def test_bad_zips_are_refused_and_the_old_tables_serve_on(
    archive: AlyxArchive, tables: TablesInUse, tmp_path: Path, content: bytes
) -> None:
    created = changed(archive)
    path = archive.directory / TABLES_DIR / ZIP
    good = path.read_bytes()
    path.write_bytes(content)
    before = files_in(tmp_path / "cache")
    with pytest.raises(TableError, match=r"cache\.zip") as refused:
        tables.refresher.refresh()
    assert refused.value.reason.count(".\n") == 0
    assert files_in(tmp_path / "cache") == before
    assert tables.n_datasets == 2
    assert tables.refresher.state.reason == refused.value.reason
    path.write_bytes(good)
    assert tables.refresher.refresh()
    assert tables.created == created


def files_in(directory: Path) -> dict[str, bytes]:
    files = [path for path in directory.rglob("*") if path.is_file() and not path.name.endswith("lock")]
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def test_names_in_the_zip_that_lead_elsewhere_stay_there(
    archive: AlyxArchive, tables: TablesInUse, tmp_path: Path
) -> None:
    created = changed(archive)
    with zipfile.ZipFile(archive.directory / TABLES_DIR / ZIP, "a") as packed:
        packed.writestr("../x", b"bad")
        packed.writestr("../../sessions.pqt", b"bad")
    before = {path for path in tmp_path.rglob("*") if ".onefs" not in path.parts}
    assert tables.refresher.refresh()
    assert tables.created == created
    assert {path for path in tmp_path.rglob("*") if ".onefs" not in path.parts} == before


@pytest.mark.parametrize("status", [500, 200], ids=["500", "a web page"])
@pytest.mark.parametrize("path", ["/cache/info", "/tables/cache.zip"])
def test_error_pages(archive: AlyxArchive, server: DemoServer, tables: TablesInUse, path: str, status: int) -> None:
    created = changed(archive)
    server.fail(path, status)
    with pytest.raises(OnefsError) as refused:
        tables.refresher.refresh()
    assert isinstance(refused.value, BrokenAnswerError | TableError)
    assert "<" not in str(refused.value)
    assert tables.n_datasets == 2
    server.recover()
    assert tables.refresher.refresh()
    assert tables.created == created


def test_tables_for_a_newer_reader_are_taken_with_a_warning(
    archive: AlyxArchive, tables: TablesInUse, caplog: pytest.LogCaptureFixture
) -> None:
    changed(archive)
    edit(archive, min_api_version="9.1")
    assert tables.refresher.refresh()
    assert tables.n_datasets == 3
    for told in (caplog.text, tables.refresher.facts()["warning"]):
        assert "for ONE 9.1 and newer" in told


def test_a_refresh_fetches_damaged_tables_though_there_are_no_newer_ones(
    tables: TablesInUse, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = tmp_path / "cache" / "datasets.pqt"
    whole = table.read_bytes()
    table.write_bytes(whole[:100] + b"?" + whole[101:])
    assert tables.refresher.refresh()
    assert table.read_bytes() == whole
    assert tables.n_datasets == 2
    assert "datasets.pqt is damaged" in caplog.text
    assert not tables.refresher.refresh()


# The start


def test_tables_at_hand_need_no_network(server: DemoServer, tables: TablesInUse, tmp_path: Path) -> None:
    server.stop()
    assert TablesInUse(server.url, tmp_path / "cache").open().n_datasets == 2
    with pytest.raises(UnreachableError):
        TablesInUse(server.url, tmp_path / "other").open()


def test_mode_local_asks_nobody_at_the_start(server: DemoServer, tmp_path: Path) -> None:
    asked = Asked(server)
    with pytest.raises(OfflineError, match="no cache tables"):
        TablesInUse(server.url, tmp_path / "cache", mode=Mode.LOCAL).open()
    assert asked.paths() == []
    TablesInUse(server.url, tmp_path / "cache").open()
    asked = Asked(server)
    assert TablesInUse(server.url, tmp_path / "cache", mode=Mode.LOCAL).open().n_datasets == 2
    assert asked.paths() == []


# Tags


def test_tables_of_a_tag_stand_apart_and_are_renewed_apart(
    archive: AlyxArchive, server: DemoServer, tables: TablesInUse, tmp_path: Path
) -> None:
    full = {name: (tmp_path / "cache" / name).read_bytes() for name in TABLE_NAMES}
    tables.refresher.use_tag(TAG)
    assert tables.n_datasets == 1
    facts = tables.refresher.facts()
    assert (facts["tag"], facts["directory"]) == (TAG, str(tmp_path / "cache" / TAG))
    assert facts["metadata"]["datasets"]["database_tags"] == [TAG]
    export_tag(archive, TAG, changed(archive), A, C)
    assert tables.refresher.refresh()
    assert tables.n_datasets == 2
    assert {name: (tmp_path / "cache" / name).read_bytes() for name in TABLE_NAMES} == full
    tables.refresher.reset()
    assert tables.refresher.facts()["tag"] == ""
    server.stop()
    again = TablesInUse(server.url, tmp_path / "cache", tag=TAG).open()
    assert again.n_datasets == 2
    again.refresher.use_tag("")
    assert again.refresher.facts()["tag"] == ""
    again.refresher.reset()
    assert again.refresher.facts()["tag"] == TAG


def test_a_mount_of_a_tag_never_takes_the_full_tables(
    archive: AlyxArchive, server: DemoServer, tables: TablesInUse, tmp_path: Path
) -> None:
    """As a server does that ignores the tag, or says one thing and sends another."""
    shutil.copy(archive.directory / TABLES_DIR / ZIP, archive.directory / TABLES_DIR / TAG / ZIP)
    with pytest.raises(TableError, match=f"other tables than those of the tag {TAG}"):
        TablesInUse(server.url, tmp_path / "other", tag=TAG).open()
    assert not list((tmp_path / "other").rglob("*.pqt"))
    for name in TABLE_NAMES:
        (tmp_path / "cache" / TAG).mkdir(exist_ok=True)
        shutil.copy(tmp_path / "cache" / name, tmp_path / "cache" / TAG / name)
    with pytest.raises(TableError, match="not restricted to the tag"):
        tables.refresher.use_tag(TAG)
    assert tables.n_datasets == 2


def test_full_tables_are_never_replaced_by_those_of_a_tag(archive: AlyxArchive, tables: TablesInUse) -> None:
    changed(archive)
    edit(archive, database_tags=[TAG])
    with pytest.raises(TableError, match=f"restricted to {TAG}"):
        tables.refresher.refresh()
    assert tables.n_datasets == 2
    assert tables.refresher.facts()["tag"] == ""


@pytest.mark.parametrize("name", ["..", "a/b", "/etc", ".onefs", "sessions.pqt", "a\0b", "a\nb", "x" * 300])
def test_hostile_names_of_tags(tables: TablesInUse, server: DemoServer, tmp_path: Path, name: str) -> None:
    before = set(tmp_path.rglob("*"))
    asked = Asked(server)
    with pytest.raises(UsageError, match="no name of a tag"):
        tables.refresher.use_tag(name)
    assert set(tmp_path.rglob("*")) == before
    assert asked.paths() == []


def test_an_unknown_tag_changes_nothing(tables: TablesInUse, tmp_path: Path) -> None:
    with pytest.raises(UnknownRecordError, match="nope"):
        tables.refresher.use_tag("nope")
    assert not (tmp_path / "cache" / "nope").exists()
    assert tables.n_datasets == 2


def test_a_tag_without_tables_is_told_as_such(archive: AlyxArchive, tables: TablesInUse) -> None:
    DatabaseFile(tags=[Tag(TAG)]).write(archive.directory)
    shutil.rmtree(archive.directory / TABLES_DIR / TAG)
    with pytest.raises(BrokenAnswerError) as refused:
        tables.refresher.use_tag(TAG)
    assert refused.value.reason.startswith(f"The tag {TAG} has no tables on http://127.0.0.1")
    assert "Give another tag" in refused.value.remedy
    assert tables.n_datasets == 2


# Loaded and saved tables


def test_loaded_tables_stay_until_they_are_reset(
    archive: AlyxArchive, server: DemoServer, tables: TablesInUse, tmp_path: Path
) -> None:
    make_tables(tmp_path / "saved", {f"alf/x{number}.y.npy": b"z" for number in range(5)})
    before = set((tmp_path / "saved").iterdir())
    tables.refresher.load(tmp_path / "saved")
    assert tables.n_datasets == 5
    assert tables.refresher.facts()["directory"] == str(tmp_path / "saved")
    created = changed(archive)
    asked = Asked(server)
    tables.now_s += 2 * DAY_S
    tables.refresher.refresh_if_due()
    with pytest.raises(UsageError, match="tables reset"):
        tables.refresher.refresh()
    assert asked.paths() == []
    assert set((tmp_path / "saved").iterdir()) == before
    tables.refresher.reset()
    assert tables.n_datasets == 2
    assert tables.refresher.refresh()
    assert tables.created == created


@pytest.mark.parametrize("spoil", ["nothing there", "half", "no tables", "lacks a column"])
def test_what_cannot_be_loaded_changes_nothing(tables: TablesInUse, tmp_path: Path, spoil: str) -> None:
    saved = tmp_path / "saved"
    make_tables(saved, {"alf/x.y.npy": b"z"})
    if spoil == "nothing there":
        shutil.rmtree(saved)
    elif spoil == "half":
        (saved / "datasets.pqt").unlink()
    elif spoil == "no tables":
        (saved / "sessions.pqt").write_bytes(b"<html></html>")
    else:
        shutil.copy(saved / "sessions.pqt", saved / "datasets.pqt")
    with pytest.raises(TableError) as refused:
        tables.refresher.load(saved)
    assert str(saved) in str(refused.value)
    assert tables.n_datasets == 2
    assert not tables.refresher.refresh()


def test_reset_brings_the_downloaded_tables_back_in_place_of_saved_ones(
    server: DemoServer, tables: TablesInUse, tmp_path: Path
) -> None:
    make_tables(tmp_path / "cache", {"alf/x.y.npy": b"z"}, created="2024-01-03 00:00")
    change_metadata(tmp_path / "cache", date_modified="2024-02-01 00:00")
    tables.refresher.noted_saved()
    tables.refresher.load()
    assert tables.n_datasets == 1
    facts = tables.refresher.facts()
    assert (facts["modified"], facts["saved"]) == ("2024-02-01 00:00", "2025-06-15T15:06:40Z")
    server.stop()
    tables.refresher.reset()
    assert tables.n_datasets == 1
    server.start()
    tables.refresher.reset()
    assert tables.n_datasets == 2


def test_a_file_that_cannot_be_had_has_the_server_asked(server: DemoServer, tables: TablesInUse) -> None:
    tables.refresher.refresh()
    server.stop()
    tables.now_s += 20
    tables.refresher.refresh_if_due()
    assert tables.refresher.state.effective is Mode.AUTO, "nothing was asked"
    tables.refresher.doubt()
    tables.refresher.refresh_if_due()
    fallen = tables.refresher.state
    assert (fallen.requested, fallen.effective, fallen.since_s) == (Mode.AUTO, Mode.LOCAL, tables.now_s)
    tables.refresher.switch(Mode.AUTO)
    assert tables.refresher.state.reason == fallen.reason, "asking for the mode again does not mend the server"
    server.start()
    tables.refresher.refresh_if_due()
    assert tables.refresher.state.effective is Mode.AUTO
    assert not tables.refresher.facts()["expired"]


def test_a_mode_that_asks_nobody_has_nothing_to_fall_back_from(server: DemoServer, tables: TablesInUse) -> None:
    server.stop()
    tables.refresher.refresh_if_due()
    assert tables.refresher.state.reason
    tables.refresher.switch(Mode.LOCAL)
    assert (tables.refresher.state.reason, tables.refresher.state.effective) == ("", Mode.LOCAL)
