"""Cache tables brought from a folder on a server: zipped or beside each other, whole or not at all."""

import json
import random
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archives import change_metadata, make_tables
from filelock import FileLock
from servers import Fault, FaultServer, Nginx
from waiting import PATIENCE_S

from onefs.alf import TABLE_NAMES
from onefs.alyx.client import AlyxClient
from onefs.alyx.credentials import Credentials
from onefs.archive.archive import make_http, make_transport
from onefs.catalogue.snapshot import Snapshot, load_snapshot
from onefs.catalogue.tables import read_metadata, write_tables
from onefs.errors import (
    AccessRefusedError,
    BrokenAnswerError,
    CacheDamagedError,
    DamagedTableError,
    NoRoomError,
    OnefsError,
    SourceError,
    TableError,
    TimedOutError,
    UnreachableError,
    WorkerLostError,
)
from onefs.fetch.ranges import Patience, Ranges
from onefs.settings import Settings
from onefs.sources import tables
from onefs.sources.origins import DatabaseOrigin, FolderOrigin
from onefs.sources.tables import ensure_tables, open_tables
from onefs.sources.tables_at_hand import Place as TablesPlace
from onefs.sources.tables_at_hand import damage_of, version_warning
from onefs.transports.base import Location, Login

EID, PID = UUID(int=5 << 64), UUID(int=6 << 64)
FILES = {"alf/a.b.npy": b"x"}


class Place:
    """A folder behind nginx, and a cache to bring its tables to."""

    def __init__(self, home: Path, url: str) -> None:
        self.server_dir = home / "server"
        self.cache = home / "cache"
        self.url = url
        self.cache.mkdir(exist_ok=True)
        (self.cache / ".onefs").mkdir()
        self.patience = Patience(first_pause_s=0.01)

    def publish(self, *, beside: bool = True, info: bool = True, indexed: bool = True) -> None:
        """Put tables on the server. They are indexed already: to fetch others takes a process that indexes them."""
        make_tables(self.server_dir, FILES)
        if indexed:
            load_snapshot(self.server_dir, self.cache / ".onefs")
        if info:
            (self.server_dir / "cache_info.json").write_text(json.dumps({"date_created": "2024-01-03 00:00"}))
        if not beside:
            self.pack([(name, (self.server_dir / name).read_bytes()) for name in TABLE_NAMES])
            for name in TABLE_NAMES:
                (self.server_dir / name).unlink()

    def pack(self, members: list[tuple[str, bytes]], change: Callable[[zipfile.ZipFile], None] | None = None) -> None:
        """Make cache.zip of these files."""
        with zipfile.ZipFile(self.server_dir / "cache.zip", "w", zipfile.ZIP_DEFLATED) as packed:
            for name, data in members:
                packed.writestr(name, data)
            if change:
                change(packed)

    @property
    def ranges(self) -> Ranges:
        """Downloads from the server."""
        return Ranges(make_transport(make_http(Settings())), patience=self.patience)

    def fetch(self, login: Login | None = None) -> Snapshot:
        origin = FolderOrigin(Location(self.url, login), self.ranges)
        return open_tables(TablesPlace(self.cache, self.cache / ".onefs"), origin)

    def fetch_named(self, server: FaultServer, names: list[str]) -> None:
        """Fetch as from a database that says where each of its tables is."""
        located = {"date_created": "2024-01-03T00:00:00", "location": [f"{self.url}/{name}" for name in names]}
        server.put("/cache/info/", json.dumps(located).encode())
        waits = {"connect_timeout_s": PATIENCE_S, "read_timeout_s": PATIENCE_S, "retry_max_s": 1.0}
        client = AlyxClient(self.url, Credentials(token="t"), responses_dir=None, **waits)
        origin = DatabaseOrigin(client, self.ranges)
        ensure_tables(TablesPlace(self.cache, self.cache / ".onefs"), origin)

    def n_datasets(self) -> int:
        return load_snapshot(self.cache, self.cache / ".onefs").n_datasets

    def refuses(self, kind: type[OnefsError], words: str) -> None:
        """Nothing comes of it, and nothing stays behind."""
        before = self.contents()
        with pytest.raises(kind, match=words):
            self.fetch()
        assert self.contents() == before

    def contents(self) -> dict[str, bytes]:
        """The tables, and what stands beside them but for the lock and the index."""
        inside = (path for path in self.cache.rglob("*") if "index" not in path.relative_to(self.cache).parts)
        files = [path for path in inside if path.is_file() and path.name != "tables.lock"]
        return {str(path.relative_to(self.cache)): path.read_bytes() for path in files}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "server").mkdir()
    with Nginx(tmp_path / "server") as server:
        yield Place(tmp_path, server.url)


@pytest.mark.parametrize("beside", [True, False], ids=["beside", "zipped"])
def test_tables_are_fetched_and_can_be_loaded(place: Place, beside: bool) -> None:
    place.publish(beside=beside, indexed=False)
    place.fetch()
    assert place.n_datasets() == 1
    assert set(place.contents()) >= set(TABLE_NAMES)
    assert sorted(path.name for path in place.cache.iterdir()) == [".onefs", "datasets.pqt", "sessions.pqt"]


def test_tables_at_hand_are_not_fetched_again(place: Place) -> None:
    place.publish()
    place.fetch()
    shutil.rmtree(place.server_dir)
    place.fetch()
    assert place.n_datasets() == 1


def test_a_folder_without_cache_info_is_no_source(place: Place) -> None:
    place.publish(info=False)
    place.refuses(SourceError, "cache_info.json")


def test_a_folder_with_neither_zip_nor_tables(place: Place) -> None:
    place.publish()
    (place.server_dir / "datasets.pqt").unlink()
    place.refuses(SourceError, r"holds neither cache.zip nor datasets.pqt")


def test_names_in_the_zip_that_lead_elsewhere_are_not_unpacked(place: Place) -> None:
    place.publish(beside=False)
    whole = [(name, zipfile.ZipFile(place.server_dir / "cache.zip").read(name)) for name in TABLE_NAMES]
    place.pack([("../x", b"bad"), ("/tmp/onefs-bad", b"bad"), ("sub/sessions.pqt", b"bad"), *whole])
    place.fetch()
    assert place.n_datasets() == 1
    assert not (place.cache.parent / "x").exists()
    assert not Path("/tmp/onefs-bad").exists()
    assert sorted(path.name for path in place.cache.iterdir()) == [".onefs", "datasets.pqt", "sessions.pqt"]


def test_a_zip_that_lacks_a_table(place: Place) -> None:
    place.publish(beside=False)
    place.pack([("sessions.pqt", b"x")])
    place.refuses(TableError, r"cache.zip .* lacks a table")


@pytest.mark.parametrize("keep", [0, 10, 0.5, -30])
def test_a_truncated_zip(place: Place, keep: float) -> None:
    place.publish(beside=False)
    path = place.server_dir / "cache.zip"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep) if 0 < keep < 1 else int(keep)])
    place.refuses(TableError, "cache.zip")


def test_a_zip_with_damaged_bytes_inside(place: Place) -> None:
    place.publish(beside=False)
    path = place.server_dir / "cache.zip"
    data = bytearray(path.read_bytes())
    for at in range(100, 400):
        data[at] ^= 0x5A
    path.write_bytes(data)
    place.refuses(TableError, "cache.zip")


def test_a_zip_that_claims_to_be_huge(place: Place) -> None:
    def claim(packed: zipfile.ZipFile) -> None:
        for member in packed.filelist:
            member.file_size = 1 << 40

    place.publish(beside=False)
    place.pack([(name, b"x") for name in TABLE_NAMES], claim)
    place.refuses(TableError, str(1 << 40))


def test_a_zip_bomb(place: Place) -> None:
    """64 MiB of zeros in 64 kB: not more than any disk holds, but nothing that tables are."""
    place.publish(beside=False)
    place.pack([("sessions.pqt", bytes(64 << 20)), ("datasets.pqt", b"x")])
    place.refuses(TableError, f"sessions.pqt in cache.zip claims {64 << 20} bytes")


def test_a_zip_that_holds_more_than_it_claims(place: Place) -> None:
    def claim(packed: zipfile.ZipFile) -> None:
        for member in packed.filelist:
            member.file_size = 10

    place.publish(beside=False)
    place.pack([(name, bytes(1 << 20)) for name in TABLE_NAMES], claim)
    place.refuses(TableError, "cache.zip from the server is damaged")


def test_a_zip_that_claims_more_than_the_disk_holds(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.publish(beside=False)
    usage = shutil.disk_usage(place.cache)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    place.refuses(NoRoomError, "100 are free")


def test_tables_for_a_newer_reader_are_used_with_a_warning(place: Place) -> None:
    place.publish()
    change_metadata(place.server_dir, min_api_version="4.0.1")
    info = {"date_created": "2024-01-03 00:00", "min_api_version": "4.0.1"}
    (place.server_dir / "cache_info.json").write_text(json.dumps(info))
    metadata = place.fetch().metadata
    assert place.n_datasets() == 1
    assert "for ONE 4.0.1 and newer, this onefs knows those for 3.6" in version_warning(metadata)
    assert version_warning(metadata).endswith("Update onefs.")


def test_tables_for_a_newer_reader_that_cannot_be_read(place: Place) -> None:
    place.publish()
    (place.server_dir / "datasets.pqt").write_bytes(b"of another form")
    info = {"date_created": "2024-01-03 00:00", "min_api_version": "4.0.1"}
    (place.server_dir / "cache_info.json").write_text(json.dumps(info))
    place.refuses(TableError, r"they are for ONE 4\.0\.1 and newer.*datasets\.pqt.*Update onefs")


def test_an_encrypted_zip(place: Place) -> None:
    def claim(packed: zipfile.ZipFile) -> None:
        for member in packed.filelist:
            member.flag_bits |= 1

    place.publish(beside=False)
    place.pack([(name, b"x" * 50) for name in TABLE_NAMES], claim)
    place.refuses(TableError, "cache.zip")


def test_a_zip_of_what_are_no_tables(place: Place) -> None:
    place.publish(beside=False)
    place.pack([(name, b"<html>login</html>") for name in TABLE_NAMES])
    place.refuses(TableError, "sessions.pqt")


HTML = b"<html>Please log in</html>"


def test_a_web_page_instead_of_the_information(place: Place) -> None:
    """As a portal answers that wants a login, with status 200."""
    place.publish()
    (place.server_dir / "cache_info.json").write_bytes(HTML)
    place.refuses(BrokenAnswerError, "cache_info.json")


@pytest.mark.parametrize("name", ["cache.zip", *TABLE_NAMES])
def test_a_web_page_instead_of_a_file(place: Place, name: str) -> None:
    """As a portal answers that wants a login, with status 200."""
    place.publish()
    (place.server_dir / name).write_bytes(HTML)
    place.refuses(TableError, name)


@pytest.mark.parametrize("moved", [(), ("sessions.pqt",)], ids=["before the first", "between the two"])
def test_a_pair_half_replaced_is_completed(place: Place, moved: tuple[str, ...]) -> None:
    """As a daemon leaves it that was killed between fetching and renaming; the server is not needed."""
    place.publish()
    place.fetch()
    ready = place.cache / ".onefs" / "tables.ready"
    ready.mkdir()
    write_tables(ready, [], [], created="2025-01-01 00:00", origin="tests")
    for name in moved:
        (ready / name).replace(place.cache / name)
    shutil.rmtree(place.server_dir)
    place.fetch()
    assert place.n_datasets() == 0
    assert not ready.exists()


def test_tables_at_hand_that_do_not_belong_together_are_refused_and_stay(place: Place) -> None:
    place.publish()
    place.fetch()
    write_tables(place.server_dir, [], [], created="2025-01-01 00:00", origin="tests")
    shutil.copy(place.server_dir / "sessions.pqt", place.cache / "sessions.pqt")
    place.refuses(TableError, "2025-01-01 00:00 and 2024-01-03 00:00")


def test_what_a_killed_process_left_is_cleared_away(place: Place) -> None:
    place.publish()
    work = place.cache / ".onefs" / "tables.new"
    work.mkdir()
    (work / "cache.zip").write_bytes(b"half")
    place.fetch()
    assert set(place.contents()) == {*TABLE_NAMES, ".onefs/tables.json"}
    assert not work.exists()


def test_a_state_directory_on_another_disk(place: Place) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        (place.cache / ".onefs").rmdir()
        (place.cache / ".onefs").symlink_to(other)
        place.publish()
        place.fetch()
        for table in TABLE_NAMES:
            assert (place.cache / table).read_bytes() == (place.server_dir / table).read_bytes()
        assert sorted(path.name for path in place.cache.iterdir()) == [".onefs", "datasets.pqt", "sessions.pqt"]


def test_tables_that_lack_their_pair_stay(place: Place) -> None:
    place.publish()
    write_tables(place.cache, [], [], created="2025-01-01 00:00", origin="tests")
    (place.cache / "sessions.pqt").unlink()
    place.refuses(TableError, r"no cache table sessions.pqt.*Move datasets.pqt away")
    (place.cache / "datasets.pqt").unlink()
    place.fetch()
    assert set(place.contents()) == {*TABLE_NAMES, ".onefs/tables.json"}


def test_damaged_tables_that_onefs_did_not_fetch_are_kept_beside_new_ones(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.publish()
    write_tables(place.cache, [], [], created="2025-01-01 00:00", origin="tests")
    (place.cache / "sessions.pqt").write_bytes(HTML)
    place.fetch()
    assert place.n_datasets() == 1
    assert "sessions.pqt cannot be read" in caplog.text
    assert f"fetched anew from {place.url}" in caplog.text
    assert place.contents()[".onefs/tables.damaged/sessions.pqt"] == HTML


def test_damaged_tables_that_took_the_place_of_fetched_ones_are_kept_too(place: Place) -> None:
    """Such as those into which results were saved."""
    place.publish()
    place.fetch()
    write_tables(place.cache, [], [], created="2025-01-01 00:00", origin="tests")
    saved = (place.cache / "datasets.pqt").read_bytes()
    (place.cache / "sessions.pqt").write_bytes(HTML)
    place.fetch()
    assert place.n_datasets() == 1
    assert place.contents()[".onefs/tables.damaged/sessions.pqt"] == HTML
    assert place.contents()[".onefs/tables.damaged/datasets.pqt"] == saved


def test_damaged_tables_are_fetched_anew(place: Place) -> None:
    place.publish()
    right = place.fetch()
    before = place.contents()
    for number, how in enumerate(("byte", "footer", "cut", "zeros", "gone")):
        if number % 3 == 0:
            shutil.rmtree(place.cache / ".onefs" / "index")
        spoil(place.cache / TABLE_NAMES[number % 2], how)
        assert place.fetch().n_datasets == right.n_datasets == 1
        assert place.contents() == before


def spoil(file: Path, how: str) -> None:
    data = bytearray(file.read_bytes())
    match how:
        case "byte":
            data[10] ^= 1
        case "footer":
            data[-20] ^= 1
        case "cut":
            del data[len(data) // 2 :]
        case "zeros":
            data[:] = bytes(len(data))
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(data)


@pytest.mark.parametrize("how", ["byte", "cut", "gone"])
def test_damaged_tables_without_a_server_are_told_with_a_remedy(place: Place, how: str) -> None:
    place.publish()
    place.fetch()
    spoil(place.cache / "datasets.pqt", how)
    with pytest.raises(DamagedTableError, match=r"datasets\.pqt is (damaged|no longer there)") as caught:
        open_tables(TablesPlace(place.cache, place.cache / ".onefs"), None)
    assert "mode auto" in caught.value.remedy
    shutil.rmtree(place.server_dir)
    place.refuses(SourceError, r"cache_info\.json")


def test_why_damaged_tables_are_not_replaced_is_told(place: Place) -> None:
    place.publish()
    place.fetch()
    spoil(place.cache / "datasets.pqt", "byte")
    (place.server_dir / "sessions.pqt").write_bytes(HTML)
    place.refuses(TableError, r"datasets\.pqt is damaged.* New ones cannot be had: .*sessions\.pqt")


def test_tables_that_others_saved_in_place_of_fetched_ones_are_not_damaged(place: Place) -> None:
    place.publish()
    place.fetch()
    write_tables(place.cache, [], [], created="2024-01-03 00:00", origin="tests")
    change_metadata(place.cache, date_modified="2024-02-03 00:00")
    assert place.fetch().n_datasets == 0


def test_any_other_byte_of_a_fetched_table_is_noticed(place: Place) -> None:
    place.publish()
    place.fetch()
    chance = random.Random(9)
    kept = TablesPlace(place.cache, place.cache / ".onefs")
    for table in TABLE_NAMES:
        file = place.cache / table
        whole = file.read_bytes()
        for _ in range(100):
            data = bytearray(whole)
            data[chance.randrange(len(data))] ^= chance.randrange(1, 256)
            file.write_bytes(data)
            damage = damage_of(kept)
            if damage is None:  # then it is a byte of the time that the table tells: it says that it is another
                assert read_metadata(file).created != "2024-01-03 00:00"
            else:
                assert isinstance(damage, DamagedTableError)
        file.write_bytes(whole)
        assert damage_of(kept) is None


def test_who_waits_for_another_is_told(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place.publish()
    monkeypatch.setattr(tables, "_TOLD_AFTER_S", 0.01)
    monkeypatch.setattr(tables, "_LOCK_TIMEOUT_S", 0.01)
    with FileLock(place.cache / ".onefs" / "tables.lock"), pytest.raises(CacheDamagedError, match="Another onefs"):
        place.fetch()
    assert "Waiting for another onefs" in caplog.text
    place.fetch()


def test_a_server_that_is_down(tmp_path: Path) -> None:
    place = Place(tmp_path, "http://127.0.0.1:9/tables")
    place.refuses(UnreachableError, "127.0.0.1")


@pytest.mark.parametrize("login", [None, Login("me", "wrong")])
def test_a_server_that_wants_another_login(tmp_path: Path, login: Login | None) -> None:
    (tmp_path / "server").mkdir()
    with Nginx(tmp_path / "server", "me", "right") as server:
        place = Place(tmp_path, server.url)
        place.publish()
        with pytest.raises(AccessRefusedError) as refused:
            place.fetch(login)
        assert "wrong" not in str(refused.value).replace("wrong name or password", "")
        place.fetch(Login("me", "right"))
        assert place.n_datasets() == 1


@pytest.mark.parametrize("fault", [Fault(cut_after=100), Fault(reset_after=100), Fault(status=500)])
def test_a_transfer_that_breaks_leaves_nothing(faulty: tuple[Place, FaultServer], fault: Fault) -> None:
    place, server = faulty
    server.fault("/datasets.pqt", fault)
    place.refuses(OnefsError, "127.0.0.1")
    server.fault("/datasets.pqt")
    place.fetch()
    assert place.n_datasets() == 1


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[tuple[Place, FaultServer]]:
    """Tables on a server that fails as a test sets it."""
    with FaultServer() as server:
        place = Place(tmp_path, server.url)
        place.server_dir.mkdir()
        place.publish()
        for name in ("cache_info.json", *TABLE_NAMES):
            server.put(f"/{name}", (place.server_dir / name).read_bytes())
        yield place, server


@pytest.mark.parametrize("fault", [Fault(cut_after=3000), Fault(cut_after=3000, no_edition=True, times=1)])
def test_a_transfer_that_breaks_goes_on(faulty: tuple[Place, FaultServer], fault: Fault) -> None:
    place, server = faulty
    server.fault("/datasets.pqt", fault)
    place.fetch()
    assert place.contents()["datasets.pqt"] == (place.server_dir / "datasets.pqt").read_bytes()


def test_tables_that_trickle_are_given_up(faulty: tuple[Place, FaultServer]) -> None:
    place, server = faulty
    place.patience = Patience(slow_window_s=0.1)
    server.fault("/datasets.pqt", Fault(trickle_bytes=1))
    place.refuses(TimedOutError, "less than slow_limit")


def test_a_bucket_that_refuses_what_is_not_there(faulty: tuple[Place, FaultServer]) -> None:
    """As S3 does for whoever may not list it."""
    place, server = faulty
    for name in ("cache.zip", "datasets.pqt"):
        server.fault(f"/{name}", Fault(status=403))
    place.refuses(AccessRefusedError, "127.0.0.1")
    server.fault("/datasets.pqt")
    place.fetch()
    assert place.n_datasets() == 1


def put_insertions(place: Place, metadata: dict[str, str] | None = None) -> bytes:
    """A table of one insertion on the server; its bytes."""
    columns = {"eid": [str(EID)], "id": [str(PID)], "name": ["probe00"]}
    about = json.dumps({"date_created": "2024-01-03 00:00"} if metadata is None else metadata)
    file = place.server_dir / "insertions.pqt"
    pq.write_table(pa.table(columns).replace_schema_metadata({"one_metadata": about}), file)
    return file.read_bytes()


@pytest.mark.parametrize("how", ["beside", "zipped", "named by a database"])
def test_the_table_of_insertions_comes_along(faulty: tuple[Place, FaultServer], how: str) -> None:
    place, server = faulty
    insertions = put_insertions(place)
    if how == "zipped":
        names = (*TABLE_NAMES, "insertions.pqt")
        place.pack([(name, (place.server_dir / name).read_bytes()) for name in names])
        server.put("/cache.zip", (place.server_dir / "cache.zip").read_bytes())
    else:
        server.put("/insertions.pqt", insertions)
    if how == "named by a database":
        place.fetch_named(server, [*TABLE_NAMES, "insertions.pqt"])
    else:
        place.fetch()
    assert (place.cache / "insertions.pqt").read_bytes() == insertions
    assert load_snapshot(place.cache, place.cache / ".onefs").insertion(PID) == (EID, "probe00")


def test_tables_that_are_named_but_unknown_or_not_there_do_no_harm(faulty: tuple[Place, FaultServer]) -> None:
    place, server = faulty
    server.put("/probes.pqt", b"anything")
    place.fetch_named(server, ["probes.pqt", *TABLE_NAMES, "insertions.pqt"])
    assert place.n_datasets() == 1
    assert sorted(path.name for path in place.cache.iterdir()) == [".onefs", "datasets.pqt", "sessions.pqt"]


def test_insertions_that_cannot_be_read_are_told_and_do_not_replace_those_at_hand(
    faulty: tuple[Place, FaultServer], caplog: pytest.LogCaptureFixture
) -> None:
    place, server = faulty
    good = put_insertions(place)
    (place.cache / "insertions.pqt").write_bytes(good)
    server.put("/insertions.pqt", put_insertions(place, {}))
    place.fetch()
    assert place.n_datasets() == 1
    assert (place.cache / "insertions.pqt").read_bytes() == good
    assert "insertions.pqt" in caplog.text


def test_the_folder_that_onefs_was_started_in_is_not_run(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.cache / "json.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(place.cache)
    place.publish()
    place.fetch()
    assert place.n_datasets() == 1


def test_no_process_can_be_started_to_read_the_tables(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.publish(indexed=False)
    monkeypatch.setattr(sys, "executable", str(place.cache / "gone"))
    place.refuses(WorkerLostError, "No process can be started")
