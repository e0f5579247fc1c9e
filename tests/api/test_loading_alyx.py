"""Loading from an Alyx: modes, what the database alone knows, and errors that programs written for ONE catch."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import pytest
import requests
from alyx_archive import AlyxArchive, archive_of_arrays
from waiting import wait_until

from onefs import OneAlyx
from onefs.catalogue.records import QC, Dataset
from onefs.demo.server import DemoServer
from onefs.errors import MismatchError
from onefs.one_errors import ALFMultipleCollectionsFound, ALFObjectNotFound, ALFWarning

SESSION = "lab/Subjects/mouse/2024-01-02/001"
NAMES = [f"{SESSION}/alf/spikes.{name}.npy" for name in ("amps", "depths", "times")]
ENDLESS_S = 60.0
LATER = f"{SESSION}/alf/licks.times.npy"


@pytest.fixture
def archive(home: Path) -> AlyxArchive:
    """A session with three arrays of one object."""
    return archive_of_arrays(home, NAMES)


@pytest.fixture
def one(archive: AlyxArchive, server: DemoServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OneAlyx]:
    monkeypatch.setenv("ONEFS_DATA_URL", server.data_url)
    monkeypatch.setenv("ONEFS_DATA_USER", "demo")
    monkeypatch.setenv("ONEFS_DATA_PASSWORD", "demo")
    monkeypatch.setenv("ONEFS_CONNECT_TIMEOUT", "1s")
    one = OneAlyx(base_url=server.url, username="demo", password="demo", cache_dir=home / "cache", silent=True)
    yield one
    one._archive.close()


def eid_in(archive: AlyxArchive) -> str:
    return str(archive.sessions[SESSION].eid)


def put_aggregate(archive: AlyxArchive, path: str, content: bytes) -> None:
    """Add a file of no session."""
    rel_path = path.removeprefix("aggregates/")
    archive.datasets[path] = Dataset(
        uuid5(NAMESPACE_URL, path), None, "aggregates", rel_path, len(content), hashlib.md5(content).hexdigest(), True,
        QC.PASS, True,
    )  # fmt: skip
    archive.file(path).parent.mkdir(parents=True)
    archive.file(path).write_bytes(content)


def test_files_of_rows_and_of_records_of_alyx(archive: AlyxArchive, one: OneAlyx) -> None:
    rows = one.list_datasets(eid_in(archive), "spikes*", details=True)
    records = one.alyx.rest("datasets", "list", session=eid_in(archive))
    one.mode = "local"
    assert one._download_datasets(rows) == [None] * 3
    one.mode = "auto"
    for datasets in (rows, records):
        found = one._download_datasets(datasets)
        assert sorted(map(str, found)) == [f"{one.cache_dir}/{name}" for name in NAMES]
    assert one._check_filesystem(rows.iloc[:1], offline=True) != [None]


def test_mode_local_fetches_nothing_whatever_the_query_type(archive: AlyxArchive, one: OneAlyx) -> None:
    eid = eid_in(archive)
    one.load_dataset(eid, "spikes.amps")
    one.mode = "local"
    assert len(one.load_dataset(eid, "spikes.amps")) == 10
    for query_type in (None, "auto", "remote"):
        with pytest.raises(ALFObjectNotFound, match="not in the cache, and mode local fetches nothing"):
            one.load_dataset(eid, "spikes.times", query_type=query_type)
    with pytest.warns(ALFWarning, match="2 of 3 files are left out"):
        assert set(one.load_object(eid, "spikes")) == {"amps"}
    contents, records = one.load_datasets(eid, ["spikes.amps", "spikes.times"], assert_present=False)
    assert [content is None for content in contents] == [record is None for record in records] == [False, True]
    one.mode = "auto"
    assert set(one.load_object(eid, "spikes")) == {"amps", "depths", "times"}


def test_what_the_database_alone_knows_is_loaded_by_a_remote_query(archive: AlyxArchive, one: OneAlyx) -> None:
    eid = eid_in(archive)
    archive.put(LATER, archive.file(NAMES[0]).read_bytes())
    archive.publish()
    one.cache_expiry = one.cache_expiry * 1000
    with pytest.raises(ALFObjectNotFound, match=r"no dataset 'licks\.times'"):
        one.load_dataset(eid, "licks.times", query_type="local")
    assert len(one.load_dataset_from_id(archive.id_of(LATER))) == 10
    assert len(one.load_dataset(eid, "licks.times", query_type="remote")) == 10
    assert set(one.load_object(eid, "licks", query_type="remote")) == {"times"}
    one.mode = "local"
    unknown = uuid5(NAMESPACE_URL, "unknown")
    with pytest.raises(ALFObjectNotFound, match="no dataset with the id"):
        one.load_dataset_from_id(unknown)


def test_an_outage_is_no_missing_file(archive: AlyxArchive, server: DemoServer, one: OneAlyx) -> None:
    eid = eid_in(archive)
    one.load_dataset(eid, "spikes.amps")
    server.stop()
    with pytest.raises(requests.ConnectionError):
        one.load_dataset(eid, "spikes.times")
    with pytest.raises(requests.ConnectionError):
        one.load_object(eid, "spikes")
    assert len(one.load_dataset(eid, "spikes.amps")) == 10, "what is there needs no server"


ENDS_MEANWHILE = """
import sys, threading
from onefs import OneAlyx
url, cache_dir, eid = sys.argv[1:]
one = OneAlyx("demo", "demo", url, cache_dir, silent=True)
threading.Thread(target=lambda: one.load_object(eid, "spikes"), daemon=True).start()
sys.stdin.read()
"""


def test_a_program_may_end_while_a_server_keeps_it_waiting(
    archive: AlyxArchive, server: DemoServer, one: OneAlyx, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEFS_READ_TIMEOUT", "1h")
    server.hold(server.data_url.removeprefix(server.url))
    arguments = [server.url, str(one.cache_dir), eid_in(archive)]
    with subprocess.Popen([sys.executable, "-c", ENDS_MEANWHILE, *arguments], stdin=subprocess.PIPE) as program:
        try:
            wait_until(lambda: sum(".npy" in visit.path for visit in server.requests()) == len(NAMES), "it loads")
            assert program.stdin is not None
            program.stdin.close()
            assert program.wait(ENDLESS_S) == 0
        finally:
            program.kill()
            server.recover()


def test_404_everywhere_is_a_missing_file(archive: AlyxArchive, one: OneAlyx) -> None:
    eid = eid_in(archive)
    archive.file(NAMES[2]).unlink()
    with pytest.raises(ALFObjectNotFound, match=r"spikes\.times"):
        one.load_dataset(eid, "spikes.times")
    with pytest.warns(ALFWarning, match=r"1 of 3 files are left out.*spikes\.times"):
        assert set(one.load_object(eid, "spikes")) == {"amps", "depths"}
    with pytest.raises(ALFObjectNotFound, match=r"lacks spikes\.times\."):
        one.load_datasets(eid, ["spikes.amps", "spikes.times"])


def test_wrong_bytes_are_no_half_object(archive: AlyxArchive, one: OneAlyx) -> None:
    eid = eid_in(archive)
    size = archive.file(NAMES[2]).stat().st_size
    archive.file(NAMES[2]).write_bytes(b"x" * size)
    with pytest.raises(MismatchError, match=r"spikes\.times"):
        one.load_object(eid, "spikes")
    with pytest.raises(MismatchError, match=r"spikes\.times"):
        one.load_datasets(eid, ["spikes.times"], assert_present=False)


def test_uuids_in_names_are_switched_while_it_lives(archive: AlyxArchive, one: OneAlyx) -> None:
    eid = eid_in(archive)
    assert one.load_dataset(eid, "spikes.amps", download_only=True).name == "spikes.amps.npy"
    one.uuid_filenames = True
    path = one.load_dataset(eid, "spikes.times", download_only=True)
    assert path.name == f"spikes.times.{archive.id_of(NAMES[2])}.npy"
    assert set(one.load_object(eid, "spikes")) == {"amps", "depths", "times"}


@pytest.mark.parametrize("mode", ["auto", "local"])
def test_aggregates(archive: AlyxArchive, one: OneAlyx, home: Path, mode: str) -> None:
    for subject in ("mouse", "moth"):
        put_aggregate(archive, f"aggregates/Subjects/lab/{subject}/_ibl_trials.table.txt", subject.encode())
    archive.publish()
    one.refresh_cache("refresh")
    one.record_loaded = True
    assert one.load_aggregate("subjects", "mouse").read_bytes() == b"mouse"
    one.mode = mode
    path = one.load_aggregate("Subjects", "lab/mouse", "_ibl_trials.table", download_only=True)
    assert path == home / "cache/aggregates/Subjects/lab/mouse/_ibl_trials.table.txt"
    with pytest.raises(ALFMultipleCollectionsFound, match="mouse"):
        one.load_aggregate("subjects", "lab")
    with pytest.raises(ALFObjectNotFound, match="list_aggregates"):
        one.load_aggregate("subjects", "nobody")
    ids, _ = one.save_loaded_ids()
    assert len(ids) == 1
