"""Objects that are sent to other processes, and their copies: what they open, and that no secret goes with them."""

import copy
import multiprocessing
import pickle
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alyx_archive import AlyxArchive, archive_of_arrays
from archives import MADE_SESSION, change_metadata, make_tables

from onefs import One, OneAlyx
from onefs.alf import TABLE_NAMES
from onefs.alyx.credentials import Credentials, CredentialsFile, credentials_file
from onefs.api.webclient import AlyxClient
from onefs.demo.server import DemoServer
from onefs.request_errors import AccessRefusedError

SESSION = "lab/Subjects/mouse/2024-01-02/001"
NAMES = [f"{SESSION}/alf/spikes.{name}.npy" for name in ("amps", "times")]


@pytest.fixture
def archive(home: Path) -> AlyxArchive:
    """A session with two arrays."""
    return archive_of_arrays(home, NAMES)


@pytest.fixture
def one(server: DemoServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OneAlyx]:
    """An object whose login was given, and is kept nowhere."""
    monkeypatch.setenv("ONEFS_DATA_URL", server.data_url)
    monkeypatch.setenv("ONEFS_DATA_USER", "demo")
    monkeypatch.setenv("ONEFS_DATA_PASSWORD", "demo")
    one = OneAlyx(base_url=server.url, username="demo", password="demo", cache_dir=home / "cache", silent=True)
    yield one
    one._archive.close()


@pytest.fixture
def folder(home: Path) -> Path:
    """A folder of tables of one session with one array."""
    path = home / "folder" / MADE_SESSION / "alf" / "spikes.times.npy"
    path.parent.mkdir(parents=True)
    np.save(path, np.arange(10.0))
    make_tables(home / "folder", {"alf/spikes.times.npy": path.read_bytes()})
    return home / "folder"


def loads(one: One, eid: str, name: str) -> tuple[float, bool, str]:
    """What another process loads, and how the object is there."""
    return one.load_dataset(eid, name).sum(), one.wildcards, str(one.cache_dir)


def reads(alyx: AlyxClient, eid: str) -> str:
    subject: str = alyx.rest("sessions", "read", id=eid, no_cache=True)["subject"]
    return subject


def in_new_process(call: Callable[..., Any], *arguments: Any) -> Any:
    """What a call returns in a process that has nothing of this one but the pickles of its arguments."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(call, arguments)


def keep_login(url: str) -> None:
    CredentialsFile(credentials_file()).put(url, Credentials("demo", "demo"))


def test_a_new_process_loads_with_the_object_of_a_folder(folder: Path) -> None:
    one = One(folder, wildcards=False)
    assert in_new_process(loads, one, one.search()[0], r"spikes\.times.*") == (45.0, False, str(folder))


def test_a_new_process_loads_and_asks_with_the_object_of_a_database(
    one: OneAlyx, archive: AlyxArchive, server: DemoServer
) -> None:
    eid = str(archive.sessions[SESSION].eid)
    keep_login(server.url)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(loads, (one, eid, "spikes.times")) == (45.0, True, str(one.cache_dir))
        assert pool.apply(reads, (one.alyx, eid)) == "mouse"
    assert one.load_dataset(eid, "spikes.amps").sum() == 45.0


@pytest.mark.filterwarnings("ignore:There are no cache tables")
def test_a_pickle_holds_no_password_and_no_token(server: DemoServer, home: Path) -> None:
    secret = "s3cr3t-7d1f"
    for login in ({"username": "demo", "password": secret}, {"token": secret}):
        one = OneAlyx(base_url=server.url, cache_dir=home / "cache", mode="local", **login)
        alyx = AlyxClient(server.url, cache_dir=home / "cache", silent=True, **login)
        for each in (one, one.alyx, alyx):
            assert secret.encode() not in pickle.dumps(each)
        one._archive.close()


@pytest.mark.filterwarnings("ignore:There are no cache tables")
def test_a_pickle_holds_no_password_of_the_data_server(
    server: DemoServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEFS_DATA_URL", "http://somebody:s3cr3t-7d1f@127.0.0.1:9/data")
    one = OneAlyx(base_url=server.url, cache_dir=home / "cache", mode="local", silent=True)
    for each in (one, one.alyx, AlyxClient(server.url, cache_dir=home / "cache", silent=True)):
        assert b"s3cr3t-7d1f" not in pickle.dumps(each)
    one._archive.close()


def test_a_copy_that_cannot_be_opened_says_so_as_a_new_object_does(one: OneAlyx, server: DemoServer) -> None:
    pickled = pickle.dumps(one)
    keep_login(server.url)
    credentials_file().chmod(0o644)
    with pytest.raises(AccessRefusedError):
        pickle.loads(pickled)


def test_a_copy_has_the_tables_of_the_tag_wherever_it_was_set(
    one: OneAlyx, archive: AlyxArchive, server: DemoServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "cache" / "2024_Q1").mkdir()
    for name in TABLE_NAMES:
        shutil.copy(home / "cache" / name, home / "cache" / "2024_Q1" / name)
    change_metadata(home / "cache" / "2024_Q1", database_tags=["2024_Q1"])
    monkeypatch.setenv("ONEFS_TAG", "2024_Q1")
    tagged = OneAlyx(base_url=server.url, cache_dir=home / "cache", mode="local", silent=True)
    monkeypatch.delenv("ONEFS_TAG")
    again = pickle.loads(pickle.dumps(tagged))
    assert (tagged._tables_dir, again._tables_dir) == (home / "cache" / "2024_Q1", home / "cache" / "2024_Q1")
    tagged._archive.close()


def test_without_a_kept_login_a_copy_reads_the_tables_at_hand_and_says_what_is_missing(
    one: OneAlyx, archive: AlyxArchive
) -> None:
    again = pickle.loads(pickle.dumps(one))
    with pytest.warns(RuntimeWarning, match="none was given"):
        found = again.search()
    assert found == [str(archive.sessions[SESSION].eid)]
    with pytest.raises(AccessRefusedError, match="none was given"):
        again.alyx.get("/sessions")
    assert again.alyx.user == "demo"


def test_the_login_of_another_user_is_not_used(one: OneAlyx, server: DemoServer) -> None:
    CredentialsFile(credentials_file()).put(server.url, Credentials("other", "password"))
    again = pickle.loads(pickle.dumps(one))
    assert (again.alyx.user, bool(again._client.credentials)) == ("demo", False)


def test_what_was_set_is_copied(one: OneAlyx) -> None:
    one.mode = "local"
    one.wildcards, one.allow_pickle, one.record_loaded = False, True, True
    one.cache_expiry = timedelta(hours=3)
    one.alyx.cache_mode, one.alyx.default_expiry = None, timedelta(minutes=5)
    again = pickle.loads(pickle.dumps(one))
    assert (again.mode, again.wildcards, again.allow_pickle, again.record_loaded) == ("local", False, True, True)
    assert (again.cache_expiry, again._archive.refresher.expiry_s) == (timedelta(hours=3), 3 * 3600)
    assert (again.alyx.cache_mode, again.alyx.default_expiry) == (None, timedelta(minutes=5))
    assert again._client.requests_sent == 0


@pytest.mark.filterwarnings("ignore:The tables in use are from tests")
def test_tables_that_were_loaded_by_hand_are_opened_again(one: OneAlyx, folder: Path, home: Path) -> None:
    of_folder = One(folder)
    make_tables(home / "others", {"alf/licks.times.npy": b"1"})
    for each in (of_folder, one):
        each.load_cache(home / "others")
        again = pickle.loads(pickle.dumps(each))
        assert again._tables_dir == home / "others"
        again.reset_cache()
        assert again._tables_dir == each.cache_dir


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copy_shares_neither_connections_nor_state(
    one: OneAlyx, archive: AlyxArchive, duplicate: Callable[[OneAlyx], OneAlyx]
) -> None:
    eid = str(archive.sessions[SESSION].eid)
    again = duplicate(one)
    one.mode = "local"
    one._archive.close()
    assert again.mode == "auto"
    assert reads(again.alyx, eid) == "mouse"  # with the login that was given
    assert again.load_dataset(eid, "spikes.times").sum() == 45.0
    again._archive.close()


def test_copies_of_a_folder_go_on_when_the_first_is_at_another_folder(folder: Path, home: Path) -> None:
    one = One(folder)
    again = copy.copy(one)
    (home / "elsewhere").mkdir()
    one.cache_dir = home / "elsewhere"
    assert again.load_dataset(again.search()[0], "spikes.times").sum() == 45.0
