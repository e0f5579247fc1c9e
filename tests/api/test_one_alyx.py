"""`OneAlyx` beside the demo's Alyx: modes, tables, what it asks, and what it learns from the answers."""

import json
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from alyx_archive import AlyxArchive
from archives import change_metadata
from waiting import wait_until

from onefs import OneAlyx
from onefs.api.webclient import no_cache
from onefs.demo.archive import TABLES_DIR
from onefs.demo.export import INFO, describe
from onefs.demo.plan import PLANS
from onefs.demo.server import DemoServer
from onefs.frames.cache import Cache
from onefs.one_errors import ALFObjectNotFound, NoDatabaseError, OnefsError, TableError

EPHYS = str(PLANS[3].session.eid)
NOBODY = str(uuid4())
MOUSE = "lab/Subjects/mouse/2024-01-02/001"
RAT = "lab/Subjects/rat/2024-01-03/001"
NAME = "alf/licks.times.npy"


@pytest.fixture(scope="module")
def demo(demo_archive: Path) -> Iterator[DemoServer]:
    """A server of the demo's archive."""
    with DemoServer(demo_archive) as running:
        yield running


@pytest.fixture
def opened(home: Path) -> Iterator[Callable[..., OneAlyx]]:
    """Makes an object of a database in the test's own cache; it is closed at the end."""
    made = []

    def make(server: DemoServer, **arguments: Any) -> OneAlyx:
        login = {"username": "demo", "password": "demo", "silent": True}
        one = OneAlyx(**{"base_url": server.url, "cache_dir": home / "cache", **login, **arguments})
        made.append(one)
        return one

    yield make
    for one in made:
        one._archive.close()


@pytest.fixture(scope="module")
def fetched(demo: DemoServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache directory with the tables of the demo's archive."""
    cache = tmp_path_factory.mktemp("demo") / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(cache.parent))
        OneAlyx("demo", "demo", demo.url, cache)._archive.close()
    return cache


@pytest.fixture
def one(demo: DemoServer, opened: Callable[..., OneAlyx], fetched: Path, home: Path) -> OneAlyx:
    """An object of the demo's archive, with a cache of its own."""
    shutil.copytree(fetched, home / "cache")
    return opened(demo)


@pytest.fixture
def archive(tmp_path: Path) -> AlyxArchive:
    """One file of one session."""
    archive = AlyxArchive(tmp_path / "archive")
    archive.put(f"{MOUSE}/{NAME}", b"0123")
    archive.publish()
    return archive


def sent(one: OneAlyx) -> int:
    """How many requests were sent to the database."""
    return one._client.requests_sent


@contextmanager
def warned() -> Iterator[list[warnings.WarningMessage]]:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        yield told


# -- opening ------------------------------------------------------------------------------------------------------


def test_tables_are_fetched_at_the_start(demo: DemoServer, opened: Callable[..., OneAlyx]) -> None:
    one = opened(demo)
    assert (one.mode, one.requested_mode, one.offline) == ("auto", "auto", False)
    assert repr(one) == f"One (online, {demo.url})"
    assert EPHYS in one.search()
    assert (one.cache_dir / "sessions.pqt").exists()
    before = sent(one)
    one.search(subject="NL")
    one.list_datasets(EPHYS)
    one.eid2path(EPHYS)
    assert sent(one) == before


def test_tables_at_hand_are_read_without_the_server(
    one: OneAlyx, demo: DemoServer, opened: Callable[..., OneAlyx]
) -> None:
    again = opened(demo, mode="local", username=None, password=None)
    assert again.search() == one.search()
    assert sent(again) == 0
    assert repr(again) == f"One (offline, {demo.url})"


def test_local_without_tables_warns(demo: DemoServer, opened: Callable[..., OneAlyx]) -> None:
    with pytest.warns(UserWarning, match="no cache tables") as told:
        one = opened(demo, mode="local")
    assert told[0].filename == __file__
    assert one.search() == []
    assert sent(one) == 0


def test_remote_fetches_no_tables(demo: DemoServer, opened: Callable[..., OneAlyx]) -> None:
    with warned() as told:
        one = opened(demo, mode="remote")
        assert EPHYS in one.search()
    assert not told
    assert not (one.cache_dir / "sessions.pqt").exists()
    assert one.list_datasets(EPHYS, "*wheel.position*") == ["alf/_ibl_wheel.position.npy"]


@pytest.mark.parametrize("mode", ["auto", "refresh", "remote"])
def test_a_given_login_that_is_refused_is_an_http_error(
    demo: DemoServer, opened: Callable[..., OneAlyx], mode: str
) -> None:
    with pytest.raises(requests.HTTPError, match="demo"):
        opened(demo, mode=mode, password="wrong")


@pytest.mark.parametrize(
    "arguments", [{"mode": "offline"}, {"mode": None}, {"base_url": "ftp://host"}, {"cache_rest": "POST"}]
)
def test_what_cannot_be_meant(demo: DemoServer, opened: Callable[..., OneAlyx], arguments: dict[str, Any]) -> None:
    from onefs.errors import OnefsError

    with pytest.raises(OnefsError):
        opened(demo, **arguments)


def test_a_folder_is_no_database(home: Path) -> None:
    with pytest.raises(ValueError, match="no database"):
        OneAlyx(base_url=str(home))


# -- falling back and coming back ---------------------------------------------------------------------------------


def test_an_unreachable_server_is_fallen_back_from_and_come_back_to(
    archive: AlyxArchive, opened: Callable[..., OneAlyx]
) -> None:
    with DemoServer(archive.directory) as server:
        one = opened(server)
        assert one.mode == "auto"
        archive.put(f"{RAT}/{NAME}", b"01")
        archive.publish()
        server.stop()
        with warned() as told:
            assert one.refresh_cache("refresh") is not None
            assert len(one.search()) == 1
        assert [each.category for each in told] == [RuntimeWarning]
        assert (one.mode, one.requested_mode, one.offline) == ("local", "auto", True)
        server.start()
        one.refresh_cache("refresh")
        assert (one.mode, one.offline) == ("auto", False)
        assert len(one.search()) == 2


def test_without_tables_and_server_it_works_as_local(home: Path) -> None:
    with pytest.warns(RuntimeWarning, match="tries again") as told:
        one = OneAlyx("demo", "demo", "http://127.0.0.1:9", home / "cache")
    assert told[0].filename == __file__
    assert "There are no tables in" in str(told[0].message)
    assert (one.mode, one.requested_mode) == ("local", "auto")
    assert one.search() == []
    with pytest.raises(requests.ConnectionError):
        one.search(query_type="remote")
    one._archive.close()


def test_a_kept_login_that_is_refused_makes_it_local(one: OneAlyx, demo: DemoServer) -> None:
    one.cache_expiry = timedelta(0)
    with pytest.warns(RuntimeWarning, match="login"):
        again = OneAlyx(base_url=demo.url, cache_dir=one.cache_dir, silent=True, mode="refresh")
    assert again.mode == "local"
    assert again.search() == one.search()
    again._archive.close()


# -- modes and newer tables ---------------------------------------------------------------------------------------


def test_newer_tables_are_taken_as_the_mode_and_query_type_say(
    archive: AlyxArchive, opened: Callable[..., OneAlyx]
) -> None:
    with DemoServer(archive.directory) as server:
        one = opened(server)
        archive.put(f"{RAT}/{NAME}", b"01")
        archive.publish()
        assert len(one.search()) == 1
        assert len(one.search(query_type="auto")) == 1
        assert len(one.search(query_type="refresh")) == 2
        archive.put("lab/Subjects/vole/2024-01-03/001/alf/a.b.npy", b"1")
        archive.publish()
        one.cache_expiry = timedelta(0)
        assert len(one.search(query_type="local")) == 2
        one.mode = "local"
        before = sent(one)
        assert len(one.search(query_type="auto")) == 2
        assert sent(one) == before
        one.mode = "auto"
        assert len(one.search()) == 3


def test_mode_refresh_looks_for_tables_by_itself(archive: AlyxArchive, opened: Callable[..., OneAlyx]) -> None:
    with DemoServer(archive.directory) as server:
        one = opened(server, mode="refresh")
        one._archive.refresher._interval_s = 0
        archive.put(f"{RAT}/{NAME}", b"01")
        archive.publish()
        assert len(one.list_datasets(RAT)) == 1


def test_refreshing(archive: AlyxArchive, opened: Callable[..., OneAlyx]) -> None:
    with DemoServer(archive.directory) as server:
        one = opened(server)
        archive.put(f"{RAT}/{NAME}", b"01")
        archive.publish()
        before = one.refresh_cache()
        for mode in ("local", "remote", "auto"):
            assert one.refresh_cache(mode) == before
            assert len(one.search()) == 1
        assert one.refresh_cache("refresh") > before
        assert len(one.search()) == 2
        with pytest.raises(ValueError, match="mode"):
            one.refresh_cache("now")


def test_other_tables_stay_until_a_reset(archive: AlyxArchive, opened: Callable[..., OneAlyx], home: Path) -> None:
    with DemoServer(archive.directory) as server:
        one = opened(server)
        (home / "saved").mkdir()
        one.save_cache(home / "saved", clobber=True)
        archive.put(f"{RAT}/{NAME}", b"01")
        archive.publish()
        one.refresh_cache("refresh")
        one.load_cache(home / "saved")
        assert one._tables_dir == home / "saved"
        assert len(one.search()) == 1
        one.cache_expiry = timedelta(0)
        assert len(one.search()) == len(one.search(query_type="refresh")) == 1
        one.reset_cache()
        assert len(one.search()) == 2


def test_the_tables_of_a_tag(one: OneAlyx) -> None:
    everything = one.search()
    with pytest.raises(requests.HTTPError, match="nowhere"):
        one.load_cache(tag="nowhere")
    assert one.search() == everything
    assert one.load_cache(tag="Demowide") is not None
    tagged = one.search()
    assert set(tagged) < set(everything)
    assert one._tables_dir == one.cache_dir / "Demowide"
    one.refresh_cache("refresh")
    one.load_cache()
    assert one.search() == tagged
    one.reset_cache()
    assert one.search() == everything


def test_tables_are_fetched_anew_with_clobber(archive: AlyxArchive, opened: Callable[..., OneAlyx]) -> None:
    with DemoServer(archive.directory) as server:
        one = opened(server)
        made = (one.cache_dir / "sessions.pqt").read_bytes()
        one._cache.sessions["subject"] = "rat"
        one.save_cache()
        assert len(one.search(subject="rat")) == 1
        one.load_cache(clobber=True)
        assert one.search(subject="rat") == []
        assert (one.cache_dir / "sessions.pqt").read_bytes() == made


def test_what_was_edited_stays_when_newer_tables_come(archive: AlyxArchive, opened: Callable[..., OneAlyx]) -> None:
    with DemoServer(archive.directory) as server:
        one = opened(server)
        (eid,) = one.search()
        one._cache.sessions.loc[eid, "task_protocol"] = "mine"
        archive.put(f"{RAT}/{NAME}", b"01")
        archive.publish()
        one.refresh_cache("refresh")
        assert len(one.search()) == 2
        assert one.search(task="mine") == [eid]
        one.reset_cache()
        assert one.search(task="mine") == []


def test_what_was_edited_stays_if_a_refresh_is_interrupted(
    archive: AlyxArchive, opened: Callable[..., OneAlyx], monkeypatch: pytest.MonkeyPatch
) -> None:
    with DemoServer(archive.directory) as server:
        one = opened(server)
        (eid,) = one.search()
        one._cache.sessions.loc[eid, "task_protocol"] = "mine"
        archive.put(f"{RAT}/{NAME}", b"01")
        archive.publish()
        with monkeypatch.context() as patch:
            patch.setattr(Cache, "changed", _interrupted)
            with pytest.raises(KeyboardInterrupt):
                one.refresh_cache("refresh")
        assert one.search(task="mine") == [eid]


def _interrupted(cache: Cache) -> None:
    raise KeyboardInterrupt


def test_what_was_edited_stays_though_another_thread_searches_while_newer_tables_come(
    archive: AlyxArchive, opened: Callable[..., OneAlyx]
) -> None:
    with DemoServer(archive.directory) as server:
        one = opened(server)
        (eid,) = one.search()
        one._cache.sessions.loc[eid, "task_protocol"] = "mine"
        archive.put(f"{RAT}/{NAME}", b"01")
        archive.publish()
        server.hold()
        before = len(server.requests())
        refreshing = threading.Thread(target=lambda: one.refresh_cache("refresh"))
        refreshing.start()
        wait_until(lambda: len(server.requests()) > before, "it asks for newer tables")
        assert one.search() == [eid]
        server.recover()
        refreshing.join()
        assert len(one.search()) == 2
        assert one.search(task="mine") == [eid]


def test_tables_of_another_origin_are_warned_of(
    archive: AlyxArchive, opened: Callable[..., OneAlyx], home: Path
) -> None:
    with DemoServer(archive.directory) as server:
        one = opened(server)
        shutil.copytree(one.cache_dir, home / "odd")
        change_metadata(home / "odd", origin="elsewhere")
        with pytest.warns(UserWarning, match="from elsewhere") as told:
            one.load_cache(home / "odd")
        assert told[0].filename == __file__


NEWER = r"are for ONE 99\.1 and newer.*, so they are not taken\. Update onefs\.$"


def publish_for_newer(archive: AlyxArchive) -> None:
    """Publish one session more, in tables for a newer reader."""
    archive.put(f"{RAT}/{NAME}", b"01")
    archive.publish()
    tables = archive.directory / TABLES_DIR
    change_metadata(tables, min_api_version="99.1")
    (tables / INFO).write_text(json.dumps(describe(tables)))


@pytest.mark.parametrize(
    "renew",
    [
        lambda one: one.refresh_cache("refresh"),
        lambda one: one.search(query_type="refresh"),
        lambda one: one.load_cache(clobber=True),
    ],
)
def test_tables_of_the_server_for_a_newer_reader_are_not_taken(
    archive: AlyxArchive, opened: Callable[..., OneAlyx], renew: Callable[[OneAlyx], object]
) -> None:
    with DemoServer(archive.directory) as server:
        one = opened(server)
        found = one.search()
        before = (one.cache_dir / "sessions.pqt").read_bytes()
        publish_for_newer(archive)
        with pytest.warns(UserWarning, match=NEWER) as told:
            renew(one)
        assert [each.filename for each in told] == [__file__]
        assert one.search() == found
        assert one.mode == "auto"
        assert (one.cache_dir / "sessions.pqt").read_bytes() == before


def test_without_tables_at_hand_those_for_a_newer_reader_are_not_taken(
    archive: AlyxArchive, opened: Callable[..., OneAlyx]
) -> None:
    publish_for_newer(archive)
    with DemoServer(archive.directory) as server:
        with pytest.warns(UserWarning, match=NEWER) as told:
            one = opened(server)
        assert [each.filename for each in told] == [__file__]
        assert one.search() == []
        assert not (one.cache_dir / "sessions.pqt").exists()
        assert len(one.search(query_type="remote")) == 2


def test_tables_of_a_directory_for_a_newer_reader_are_not_taken(one: OneAlyx, home: Path) -> None:
    found = one.search()
    shutil.copytree(one.cache_dir, home / "odd", ignore=shutil.ignore_patterns(".onefs"))
    change_metadata(home / "odd", min_api_version="99.1")
    with pytest.warns(UserWarning, match=NEWER) as told:
        one.load_cache(home / "odd")
    assert told[0].filename == __file__
    assert (one.search(), one._tables_dir) == (found, one.cache_dir)


def test_tables_of_two_tags_are_refused(
    one: OneAlyx, demo: DemoServer, opened: Callable[..., OneAlyx], home: Path
) -> None:
    found = one.search()
    shutil.copytree(one.cache_dir, home / "odd", ignore=shutil.ignore_patterns(".onefs"))
    change_metadata(home / "odd", database_tags=["2022_Q2", "2023_Q4"])
    for kind in (NotImplementedError, OnefsError):
        with pytest.raises(kind, match="2022_Q2, 2023_Q4"):
            one.load_cache(home / "odd")
    assert one.search() == found
    with pytest.raises(NotImplementedError, match="tags"):
        opened(demo, cache_dir=home / "odd", mode="local")


# -- what Alyx tells ----------------------------------------------------------------------------------------------


@pytest.fixture
def ahead(archive: AlyxArchive, opened: Callable[..., OneAlyx]) -> Iterator[OneAlyx]:
    """An object of a database that knows one session more than the tables at hand."""
    with DemoServer(archive.directory) as server:
        one = opened(server)
        archive.put(f"{RAT}/{NAME}", b"01")
        archive.put(f"{MOUSE}/alf/new.times.npy", b"012")
        archive.publish()
        yield one


@pytest.mark.parametrize("is_touched", [False, True])
def test_what_a_search_finds_is_in_the_tables_from_then_on(ahead: OneAlyx, is_touched: bool) -> None:
    if is_touched:
        assert len(ahead._cache.sessions) == 1
    (eid,) = ahead.search(query_type="remote", subject="rat")
    assert ahead.search(subject="rat") == [eid]
    assert len(ahead._cache.sessions) == 2
    assert ahead.eid2path(eid, query_type="local") == ahead.cache_dir / RAT


@pytest.mark.parametrize("is_touched", [False, True])
def test_what_a_session_has_is_in_the_tables_from_then_on(ahead: OneAlyx, is_touched: bool) -> None:
    if is_touched:
        assert len(ahead._cache.datasets) == 1
    assert ahead.list_datasets(MOUSE) == [NAME]
    before = sent(ahead)
    assert ahead.list_datasets(MOUSE, query_type="remote") == [NAME, "alf/new.times.npy"]
    assert sent(ahead) <= before + 2
    assert ahead.list_datasets(MOUSE) == [NAME, "alf/new.times.npy"]
    assert len(ahead._cache.datasets) == 2


def test_even_while_the_mode_is_local_a_query_may_be_remote(ahead: OneAlyx) -> None:
    ahead.mode = "local"
    assert len(ahead.search(query_type="remote")) == 2
    assert len(ahead.search()) == 2


def test_what_was_learned_is_saved(ahead: OneAlyx, home: Path) -> None:
    ahead.search(query_type="remote")
    ahead.list_datasets(RAT, query_type="remote")
    (home / "saved").mkdir()
    ahead.save_cache(home / "saved")
    from onefs import One

    saved = One(home / "saved")
    assert saved.search() == ahead.search()
    assert saved.list_datasets(RAT) == [NAME]
    ahead.reset_cache()
    assert len(ahead.search()) == 1


def test_paths_that_tables_do_not_know_are_asked_for(ahead: OneAlyx) -> None:
    eid = ahead.path2eid(RAT)
    assert eid is not None
    assert ahead.eid2path(eid) == ahead.cache_dir / RAT
    ahead.mode = "local"
    assert ahead.path2eid("lab/Subjects/nobody/2024-01-03/001") is None


def test_an_unknown_dataset_is_asked_for(ahead: OneAlyx, archive: AlyxArchive) -> None:
    path = ahead.load_dataset_from_id(archive.id_of(f"{RAT}/{NAME}"), download_only=True)
    assert path == ahead.cache_dir / RAT / NAME
    assert path.read_bytes() == b"01"


def test_the_server_itself_is_asked_within_no_cache(archive: AlyxArchive, opened: Callable[..., OneAlyx]) -> None:
    with DemoServer(archive.directory) as server:
        one = opened(server, mode="remote")
        assert one.list_datasets(MOUSE) == [NAME]
        archive.put(f"{MOUSE}/alf/new.times.npy", b"012")
        archive.publish()
        assert one.list_datasets(MOUSE) == [NAME]
        with no_cache(one.alyx):
            assert one.list_datasets(MOUSE) == [NAME, "alf/new.times.npy"]
        assert one.list_datasets(MOUSE) == [NAME, "alf/new.times.npy"]


# -- records ------------------------------------------------------------------------------------------------------


def test_details_are_alyx_s_but_in_mode_local(one: OneAlyx) -> None:
    found = one.get_details(EPHYS)
    assert list(found) == [
        "subject", "start_time", "number", "lab", "projects", "url", "task_protocol", "date", "local_path",
    ]  # fmt: skip
    assert isinstance(found["date"], date)
    assert found["local_path"] == one.eid2path(EPHYS)
    assert isinstance(found["projects"], str)
    assert "data_dataset_session_related" in one.get_details(EPHYS, full=True)
    assert [each["url"] for each in one.get_details([EPHYS, EPHYS])] == [found["url"]] * 2
    with pytest.raises(requests.HTTPError) as raised:
        one.get_details(NOBODY)
    assert raised.value.response.status_code == 404
    one.mode = "local"
    assert one.get_details(EPHYS).name == EPHYS
    with pytest.raises(ALFObjectNotFound):
        one.get_details(NOBODY)


def test_probes(one: OneAlyx) -> None:
    pids, labels = one.eid2pid(EPHYS)
    assert labels == sorted(labels)
    assert one.pid2eid(pids[0]) == (EPHYS, labels[0])
    assert one.eid2pid(EPHYS, name=labels[0]) == ([pids[0]], [labels[0]])
    assert [record["id"] for record in one.eid2pid(EPHYS, details=True)[2]] == pids
    assert one.eid2pid(NOBODY) == (None, None)
    assert one.eid2pid(None, details=True) == (None, None, None)
    assert one.pid2eid(NOBODY) == (None, None)
    assert set(pids) <= set(one.search_insertions(subject=PLANS[3].session.subject))
    one.mode = "local"
    assert sorted(one.eid2pid(EPHYS)[0]) == sorted(pids)
    assert one.eid2pid(EPHYS, name=labels[0])[0] == [pids[0]]
    assert one.pid2eid(pids[0]) == (EPHYS, labels[0])
    assert one.eid2pid(NOBODY) == (None, None)
    assert one.pid2eid(NOBODY) == (None, None)


def test_probes_in_local_need_a_table(archive: AlyxArchive, opened: Callable[..., OneAlyx]) -> None:
    with DemoServer(archive.directory) as server:
        one = opened(server)
        one.mode = "local"
        (eid,) = one.search()
        (one.cache_dir / "insertions.pqt").unlink(missing_ok=True)
        one.load_cache()
        for call in (lambda: one.eid2pid(eid), lambda: one.pid2eid(NOBODY), lambda: one.search_insertions()):
            with pytest.raises(NoDatabaseError):
                call()


def test_types_of_datasets(one: OneAlyx, capsys: pytest.CaptureFixture[str]) -> None:
    found = one.type2datasets(EPHYS, "spikes.times")
    assert found.tolist() == sorted(one.list_datasets(EPHYS, "*spikes.times*"))
    both = one.type2datasets(EPHYS, ["spikes.times", "spikes.clusters"], details=True)
    assert list(both.index.names) == ["eid", "id"]
    assert set(found) < set(both.rel_path)
    assert one.dataset2type(both.index[0][1]) in ("spikes.times", "spikes.clusters")
    assert one.dataset2type("spikes.times.npy") == "spikes.times"
    record = one.describe_dataset("spikes.times")
    assert record["name"] == "spikes.times"
    assert record["description"] in capsys.readouterr().out
    assert "spikes.times" in {each["name"] for each in one.describe_dataset()}
    assert one.describe_revision("nobody's") is None
    assert "nobody's" in capsys.readouterr().out
    with pytest.raises(TypeError):
        one.type2datasets(EPHYS, 3)  # type: ignore[arg-type]
    with pytest.raises(ALFObjectNotFound):
        one.type2datasets(NOBODY, "spikes.times")
    with pytest.raises(ValueError, match="leads to no session"):
        one.type2datasets("mouse/2001-01-01/001", "spikes.times")
    one.mode = "local"
    for call in (
        lambda: one.type2datasets(EPHYS, "spikes.times"),
        lambda: one.dataset2type("spikes.times.npy"),
        lambda: one.describe_dataset("spikes.times"),
        lambda: one.describe_revision("2024-01-01"),
    ):
        with pytest.raises(NoDatabaseError):
            call()


def test_aggregates_are_alyx_s_or_those_of_the_tables(one: OneAlyx) -> None:
    found = one.list_aggregates("subjects")
    assert set(found.relation) == {"subjects"}
    assert found.rel_path.str.startswith("aggregates/Subjects/").all()
    one.mode = "local"
    assert sorted(one.list_aggregates("subjects").rel_path) == sorted(found.rel_path)


def test_urls_have_the_id_and_are_encoded(one: OneAlyx) -> None:
    path = one.eid2path(EPHYS) / "alf" / "_ibl_wheel.position.npy"
    record = one.path2record(path)
    url = one.path2url(path)
    assert url.startswith("http")
    assert record.name[1] in url
    assert requests.get(url, auth=("demo", "demo"), timeout=60).ok


def test_search_terms_of_alyx(one: OneAlyx) -> None:
    terms = one.search_terms("remote")
    assert terms[:3] == ("dataset", "datasets", "date_range")
    assert list(terms[9:]) == sorted(terms[9:])
    assert "name" in one.search_terms("remote", "insertions")
    assert one.search_terms(endpoint="insertions") is None


def test_the_datasets_of_all_sessions_are_listed_from_the_tables(one: OneAlyx) -> None:
    wanted = one.list_datasets(collection="alf")
    one.mode = "remote"
    before = sent(one)
    with pytest.warns(UserWarning, match="from the tables") as told:
        assert one.list_datasets(collection="alf") == wanted
    assert told[0].filename == __file__
    assert sent(one) == before


def test_nothing_is_found_remotely(one: OneAlyx) -> None:
    assert one.search(query_type="remote", subject="nobody") == []
    assert one.search(query_type="remote", subject="nobody", details=True) == ([], [])


def test_no_answers_are_kept_if_nobody_wants_them(demo: DemoServer, opened: Callable[..., OneAlyx]) -> None:
    one = opened(demo, cache_rest=None)
    one.get_details(EPHYS)
    before = sent(one)
    one.get_details(EPHYS)
    assert sent(one) == before + 1
    assert one.alyx.cache_mode is None


@pytest.mark.parametrize("mode", ["auto", "remote"])
def test_an_unknown_dataset_costs_one_request(one: OneAlyx, mode: str) -> None:
    one.mode = mode
    with no_cache(one.alyx):  # in which no answer is good for later
        before = sent(one)
        with pytest.raises(ALFObjectNotFound):
            one.load_dataset_from_id(NOBODY)
        assert sent(one) == before + 1


@pytest.mark.parametrize("mode", ["local", "auto"])
def test_one_table_without_the_other_is_an_error_that_says_what_to_do(
    one: OneAlyx, demo: DemoServer, opened: Callable[..., OneAlyx], home: Path, mode: str
) -> None:
    (home / "half").mkdir()
    shutil.copy(one.cache_dir / "sessions.pqt", home / "half")
    with pytest.raises(TableError) as raised:
        opened(demo, cache_dir=home / "half", mode=mode)
    assert str(raised.value) == (
        f"There is no cache table datasets.pqt in {home / 'half'}. "
        "Move sessions.pqt away to have the server's tables fetched, or give another cache_dir."
    )
    (home / "half" / "sessions.pqt").rename(home / "half" / "kept")
    assert opened(demo, cache_dir=home / "half").search() == one.search()
