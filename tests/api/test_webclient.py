"""The client that programs have as `one.alyx`: ONE's answers, its kept responses, its login, and what it refuses."""

import contextlib
import hashlib
import pickle
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from filelock import FileLock
from one_in_remote_mode import Requests, one_at

from onefs import ONE
from onefs.alyx import client as alyx
from onefs.alyx.credentials import Credentials, CredentialsFile, credentials_file
from onefs.api import webclient
from onefs.api.webclient import AlyxClient, dataset_record_to_url, file_record_to_url, no_cache
from onefs.catalogue import saving
from onefs.demo.plan import PLANS
from onefs.demo.server import DemoServer
from onefs.errors import BusyError, NotAllowedError
from onefs.request_errors import AccessRefusedError, UnknownRecordError, UnreachableError
from onefs.sources.names import save_name

EPHYS = str(PLANS[3].session.eid)
NOBODY = "6a1c1f6e-54f5-4c09-8d5b-3a7d1a4c1d10"


@pytest.fixture(scope="module")
def server(demo_archive: Path) -> Iterator[DemoServer]:
    with DemoServer(demo_archive) as running:
        yield running


@pytest.fixture(scope="module")
def ones(server: DemoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """ONE's client."""
    with one_at(server, tmp_path_factory.mktemp("one")) as one:
        yield one.alyx


Make = Callable[..., AlyxClient]


@pytest.fixture
def make(server: DemoServer, home: Path) -> Iterator[Make]:
    """Makes clients of the server that share one folder of responses."""
    with contextlib.ExitStack() as stack:

        def make(user: str = "demo", url: str = "") -> AlyxClient:
            times = {"connect_timeout_s": 30, "read_timeout_s": 30, "retry_max_s": 1}
            login = Credentials(user, user) if user else Credentials()
            client = alyx.AlyxClient(url or server.url, login, responses_dir=home / "responses", **times)
            stack.callback(client.close)
            return AlyxClient.over(client, cache_dir=home / "cache", silent=True)

        yield make


@pytest.fixture
def client(make: Make) -> AlyxClient:
    return make()


@pytest.mark.filterwarnings("ignore")  # ONE's own
@pytest.mark.parametrize(
    ("arguments", "filters"),
    [
        (("sessions", "list"), {}),
        (("sessions", "list"), {"subject": "NL_001", "number": 1}),
        (("sessions", "list"), {"datasets": ["spikes.times.npy", "_ibl_trials.table.pqt"]}),
        (("sessions", "list"), {"id": EPHYS}),
        (("sessions", "list"), {"id": EPHYS, "django": "number,1"}),
        (("/sessions?subject=NL_001",), {}),
        (("sessions", "read"), {"id": EPHYS}),
        (("sessions", "read"), {"id": f"https://alyx.example/sessions/{EPHYS}"}),
        (("subjects", "read"), {"id": "NL_001"}),
        (("dataset-types", "list"), {}),
        (("insertions", "list"), {"session": EPHYS}),
        (("revisions", "read"), {"id": "2024-05-06"}),
    ],
    ids=str,
)
def test_records_are_those_that_one_reads(
    server: DemoServer, ones: Any, client: AlyxClient, arguments: tuple[str, ...], filters: dict[str, Any]
) -> None:
    ones.rest_schemes  # noqa: B018 - asked for before, as of ours
    client.rest_schemes  # noqa: B018
    with Requests(server) as theirs:
        expected = ones.rest(*arguments, **filters)
    with Requests(server) as ours:
        found = client.rest(*arguments, **filters)
    assert found == expected
    assert ours.sent == theirs.sent
    assert found


def test_lists_of_several_pages_are_fetched_when_touched(server: DemoServer, ones: Any, client: AlyxClient) -> None:
    client.rest_schemes, ones.rest_schemes  # noqa: B018
    with Requests(server) as theirs:
        expected = ones.rest("sessions", "list", limit=4)
        last = expected[-1]
    with Requests(server) as ours:
        found = client.rest("sessions", "list", limit=4)
        assert found[-1] == last
    assert ours.sent == theirs.sent
    assert [each["id"] for each in found] == [expected[place]["id"] for place in range(15)]
    datasets = client.rest("datasets", "list")
    assert len(datasets) == 410
    with Requests(server) as ours:
        assert len({each["url"] for each in datasets}) == 410
    assert len(ours.sent) == 1, "the rest of them"
    part = client.get("/sessions?limit=4&offset=12")
    assert [each["id"] for each in part] == [each["id"] for each in found[12:]]
    assert client.get(f"{server.url}/sessions/{EPHYS}")["id"] == EPHYS


def test_the_schema_says_what_ones_says(ones: Any, client: AlyxClient) -> None:
    theirs, ours = ones.rest_schemes, client.rest_schemes
    assert ours.endpoints == theirs.endpoints
    for endpoint in theirs.endpoints:
        assert ours.actions(endpoint) == theirs.actions(endpoint)
        for action in theirs.actions(endpoint):
            assert ours.field_names(endpoint, action) == theirs.field_names(endpoint, action)
            assert ours.url(endpoint, action) == theirs.url(endpoint, action)
    assert ours.actions("nothing") == ours.fields("sessions", "delete") == []


def test_without_an_action_what_there_is_is_printed(client: AlyxClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert client.rest() is None
    assert "'dataset-types'" in capsys.readouterr().out
    assert client.rest("sessions") is None
    assert "list: /sessions" in (printed := capsys.readouterr().out)
    assert "    task_protocol\n" in printed
    client.print_endpoint_info("sessions", "read")
    assert capsys.readouterr().out == "read: /sessions/{id}\n    id\n"
    assert "tags" in client.list_endpoints()


def test_what_cannot_be_asked(server: DemoServer, client: AlyxClient) -> None:
    client.rest_schemes  # noqa: B018
    with Requests(server) as ours:
        with pytest.raises(ValueError, match=r"no endpoint 'session'\. Use one of .*sessions"):
            client.rest("session", "list")
        with pytest.raises(ValueError, match="no action 'open'"):
            client.rest("sessions", "open")
        with pytest.raises(ValueError, match="needs the id"):
            client.rest("sessions", "read")
        with pytest.raises(ValueError, match="no question to"):
            client.get("https://elsewhere.example/sessions")
        with pytest.raises(ValueError, match="no cache mode"):
            client.cache_mode = "POST"
    assert not ours.sent
    with pytest.raises(requests.HTTPError) as caught:
        client.rest("sessions", "read", id=NOBODY)
    assert isinstance(caught.value, UnknownRecordError)
    assert caught.value.response.status_code == 404
    with pytest.raises(requests.HTTPError) as caught:
        client.get("/nosuch")
    assert caught.value.response.status_code == 404, "of a page in HTML, too"
    with pytest.raises(requests.HTTPError) as caught:
        client.get("/sessions?date_range=zzz")
    assert caught.value.response.status_code == 500
    with pytest.raises(requests.HTTPError) as caught:
        client.get("/sessions?number=many")
    assert isinstance(caught.value, ValueError)
    assert caught.value.response.status_code == 400
    assert pickle.loads(pickle.dumps(caught.value)).response.status_code == 400
    with pytest.warns(UserWarning, match="no filter colour") as told:
        assert len(client.rest("sessions", "list", colour="red")) == 15
    assert told[0].filename == __file__


def test_nothing_changes_the_database(server: DemoServer, client: AlyxClient) -> None:
    with Requests(server) as ours:
        for name in ("post", "put", "patch", "delete", "json_field_write", "json_field_delete"):
            with pytest.raises(NotAllowedError, match="does not change"):
                getattr(client, name)("/sessions", data={})
        for action in ("create", "update", "partial_update", "partial-update", "delete"):
            with pytest.raises(NotAllowedError, match="does not change"):
                client.rest("sessions", action, id=EPHYS, data={"number": 5})
        with pytest.raises(NotAllowedError, match="load_dataset"):
            webclient.http_download_file  # noqa: B018
    assert not ours.sent


def test_answers_are_kept_and_shared(server: DemoServer, make: Make) -> None:
    client, other = make(), make()
    assert client.default_expiry == timedelta(days=1)
    expected = client.rest("subjects", "list")
    with Requests(server) as ours:
        assert client.rest("subjects", "list") == other.rest("subjects", "list") == expected
        assert client.get("/subjects") == expected
    assert not ours.sent
    with Requests(server) as ours:
        client.rest("subjects", "list", no_cache=True)
        client.get("/subjects", clobber=True)
        with no_cache(client) as within:
            assert within is client
            within.rest("subjects", "list")
    assert len(ours.sent) == 3
    with Requests(server) as ours:
        client.rest("subjects", "list")
        client.default_expiry = timedelta(0)
        client.rest("subjects", "list")
        other.cache_mode = None
        other.rest("subjects", "list")
        assert other.cache_mode is None
        other.cache_mode = "*"
        assert other.cache_mode == "GET"
        other.rest("subjects", "list")
        other.clear_rest_cache()
        other.get("/subjects", expires=True)
        other.get("/subjects", expires=timedelta(hours=1))
        other.get("/subjects", expires=timedelta(hours=1))
    assert len([path for _, path, _ in ours.sent if path == "/subjects"]) == 5


def test_the_block_without_the_cache_is_its_own_threads(server: DemoServer, client: AlyxClient) -> None:
    client.rest("subjects", "list")
    with no_cache(client), Requests(server) as ours:
        thread = threading.Thread(target=client.rest, args=("subjects", "list"))
        thread.start()
        thread.join()
    assert not ours.sent


def test_a_kept_answer_stands_in_for_a_server_that_is_gone(demo_archive: Path, make: Make) -> None:
    with DemoServer(demo_archive) as server:
        client = make(url=server.url)
        expected = client.rest("subjects", "list")
        server.stop()
        client.default_expiry = timedelta(0)
        with pytest.warns(RuntimeWarning, match="An earlier answer is used") as told:
            assert client.rest("subjects", "list") == expected
        assert told[0].filename == __file__
        with pytest.raises(UnreachableError):
            client.rest("tags", "list")


def test_login_and_logout(server: DemoServer, make: Make) -> None:
    client = make("")
    assert (client.user, client.is_logged_in) == (None, False)
    with pytest.raises(AccessRefusedError, match="asks for a login"):
        client.rest("subjects", "list")
    with pytest.raises(ValueError, match="no password or token"):
        client.authenticate("member")
    client.authenticate("member", "member")
    assert (client.user, client.is_logged_in) == ("member", True)
    file = CredentialsFile(credentials_file())
    kept = file.get(server.url)
    assert (kept.user, kept.password, bool(kept.token)) == ("member", "", True)
    with pytest.raises(requests.HTTPError, match="wrong name or password"):
        client.authenticate("demo", "mistaken")
    assert client.user == "member"
    assert client.rest("subjects", "list"), "the login stays what it was"
    client.authenticate("demo", "demo", cache_token=False)
    assert client.user == "demo"
    assert file.get(server.url) == kept
    with Requests(server) as ours:
        client.authenticate()
        client.authenticate("member")
        assert client.user == "member"
    assert not ours.sent, "the kept token will do"
    client.logout()
    assert (client.user, client.is_logged_in) == (None, False)
    assert not file.get(server.url).token
    client.logout()
    client.authenticate(token=kept.token)
    assert client.rest("subjects", "list")


@pytest.mark.parametrize("login", [{"password": "mistaken"}, {"token": "two\nlines"}])
def test_a_login_that_is_refused_leaves_the_one_before(make: Make, login: dict[str, str]) -> None:
    client = make()
    with pytest.raises(AccessRefusedError):
        client.authenticate("demo", **login)
    assert CredentialsFile(credentials_file()).get(client.base_url) == Credentials()
    assert client.rest("subjects", "list")


def test_a_client_is_opened_by_its_address(server: DemoServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "password").write_text("of another login")
    monkeypatch.setenv("ONEFS_ALYX_PASSWORD_FILE", str(home / "password"))
    monkeypatch.setenv("ONEFS_ALYX_USER", "another")
    monkeypatch.setenv("ONE_REVISION_LAST_BEFORE", "any text")
    client = AlyxClient(base_url=f"{server.url}/", username="demo", password="demo", silent=True, cache_rest=None)
    assert client.base_url == server.url
    assert client.cache_mode is None
    assert client.cache_dir.is_relative_to(home)
    assert client.rest("subjects", "read", id="NL_001")["nickname"] == "NL_001"
    elsewhere = AlyxClient(server.url, "demo", "demo", cache_dir=str(home / "mine"))
    assert elsewhere.cache_dir == home / "mine"
    parameters = vars(elsewhere._par)
    assert {name: parameters[name] for name in ("ALYX_URL", "ALYX_LOGIN", "CACHE_DIR")} == {
        "ALYX_URL": server.url,
        "ALYX_LOGIN": "demo",
        "CACHE_DIR": str(home / "mine"),
    }
    monkeypatch.delenv("ONEFS_ALYX_PASSWORD_FILE")
    monkeypatch.delenv("ONEFS_ALYX_USER")
    public = AlyxClient("openalyx")
    assert public.base_url == "https://openalyx.internationalbrainlab.org"
    assert public._par.HTTP_DATA_SERVER == "https://ibl.flatironinstitute.org/public"


def test_addresses_of_files(server: DemoServer, client: AlyxClient) -> None:
    record = client.rest("datasets", "list", session=EPHYS, revision="2024-05-06")[0]
    urls = dataset_record_to_url(record)
    assert urls == dataset_record_to_url([record]) == file_record_to_url(record["file_records"])
    assert len(urls) == sum(each["data_url"] is not None for each in record["file_records"]) > 0
    assert dataset_record_to_url({**record, "file_records": []}) == []
    path = f"{PLANS[3].session.path}/alf/probe00/pykilosort/#2024-05-06#/spikes.times.npy"
    assert client.rel_path2url(path) == f"{server.data_url}/{path.replace('#', '%23')}"
    with pytest.raises(ValueError, match="URL already"):
        client.rel_path2url(urls[0])


def test_files_and_tables_are_fetched_into_a_folder(
    server: DemoServer, client: AlyxClient, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("USER", "PASSWORD"):
        monkeypatch.setenv(f"ONEFS_DATA_{name}", "demo")
    monkeypatch.setenv("ONEFS_DATA_URL", server.data_url)
    record = client.rest("datasets", "list", session=EPHYS, revision="2024-05-06", name="spikes.times.npy")[0]
    raw = next(url for url in dataset_record_to_url(record) if url.startswith(server.data_url))
    assert "/#2024-05-06#/" in raw
    one, (same,) = client.download_file(raw, home / "mine"), client.download_file([raw], home / "mine")
    assert one == same == home / "mine" / raw.rpartition("/")[2]
    assert hashlib.md5(one.read_bytes()).hexdigest() == record["hash"]
    one.write_bytes(b"")
    assert client.download_file(raw, home / "mine").stat().st_size == 0, "it is there"
    assert client.download_file(raw, home / "mine", clobber=True).stat().st_size == record["file_size"]
    with pytest.raises(ValueError, match="no URL of a file"):
        client.download_file("ftp://x/y")
    tables = client.download_cache_tables()
    assert [path.relative_to(home) for path in tables] == [Path("cache/datasets.pqt"), Path("cache/sessions.pqt")]
    assert sorted(path.name for path in (home / "cache").iterdir()) == [".onefs", "datasets.pqt", "sessions.pqt"]
    assert [path.name for path in (home / "mine").iterdir()] == [one.name]
    before = {path: path.stat().st_ino for path in tables}
    monkeypatch.setattr(saving, "LOCK_TIMEOUT_S", 0.01)
    with FileLock(home / "cache" / ".onefs" / "tables.lock"), pytest.raises(BusyError):
        client.download_cache_tables()
    assert {path: path.stat().st_ino for path in tables} == before, "somebody else is saving them"


def test_names_of_databases_that_were_set_up(server: DemoServer, home: Path) -> None:
    save_name("mine", {"source": server.url})
    assert AlyxClient("mine", "demo", "demo").base_url == server.url


def test_no_cache_without_a_client_is_for_that_of_the_default_database(server: DemoServer, home: Path) -> None:
    save_name("default", {"source": server.url, "alyx_user": "demo", "alyx_password": "demo"})
    ONE.cache_clear()
    try:
        with no_cache() as client:
            assert client is ONE().alyx
            before = client._client.requests_sent
            for _ in range(2):
                client.rest("subjects", "list")
            assert client._client.requests_sent >= before + 2
        client.rest("subjects", "list")
        after = client._client.requests_sent
        client.rest("subjects", "list")
        assert client._client.requests_sent == after
    finally:
        ONE()._archive.close()
        ONE.cache_clear()
