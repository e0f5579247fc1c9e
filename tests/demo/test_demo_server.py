"""The demo's server: held to recordings of a real data server and a real Alyx, and it ends with its parent."""

import hashlib
import http.client
import io
import json
import os
import select
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pandas as pd
import pytest
import requests
from waiting import PATIENCE_S

from onefs.demo.archive import Manifest
from onefs.demo.raw import LARGE_BYTES, LargeRecording
from onefs.demo.server import DemoServer, start_demo
from onefs.errors import MountError, UsageError

RECORDINGS = Path(__file__).parent.parent / "recordings" / "rest"
LOGIN = ("demo", "demo")
OWN_HEADERS = {"server", "date", "connection"}
"""Headers that name the server or the connection, and so differ."""


def recorded(name: str) -> dict:
    return json.loads((RECORDINGS / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoServer]:
    """A server of one file: that of the recordings in path, length and time of change, so that it has their ETag."""
    request = recorded("http_data_full")["request"]
    directory = tmp_path_factory.mktemp("twin")
    path = directory / "data" / urlsplit(request["url"]).path.lstrip("/")
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(range(256)) * 9 + bytes(224))
    os.utime(path, (0x6B001082, 0x6B001082))
    Manifest(layout=1, seed=0, virtual={}).write(directory)
    with DemoServer(directory) as running:
        yield running


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.mark.parametrize("name", sorted(path.stem for path in RECORDINGS.glob("http_data_*.json")))
def test_data_requests_are_answered_as_recorded(name: str, twin: DemoServer, session: requests.Session) -> None:
    record = recorded(name)
    sent = dict(record["request"]["headers"])
    login = LOGIN if sent.pop("Authorization", None) else None
    url = twin.url + urlsplit(record["request"]["url"]).path

    answer = session.get(url, headers=sent, auth=login)

    expected = {key.lower(): value for key, value in record["response"]["headers"].items()}
    found = {key.lower(): value for key, value in answer.headers.items()}
    assert answer.status_code == record["response"]["status"]
    assert set(found) - OWN_HEADERS == set(expected) - OWN_HEADERS
    for key in set(expected) - OWN_HEADERS:
        if key == "www-authenticate":
            assert found[key].startswith("Basic realm=")
        elif key != "content-length" or answer.ok:
            assert found[key] == expected[key]
    if answer.ok:
        assert len(answer.content) == record["response"]["nbytes"]


def test_a_part_is_the_part_that_was_asked_for(twin: DemoServer, session: requests.Session) -> None:
    url = twin.url + urlsplit(recorded("http_data_full")["request"]["url"]).path
    whole = session.get(url, auth=LOGIN)
    for asked, expected in {"bytes=100-199": slice(100, 200), "bytes=2500-": slice(2500, None)}.items():
        part = session.get(url, auth=LOGIN, headers={"Range": asked, "If-Match": whole.headers["ETag"]})
        assert (part.status_code, part.content) == (206, whole.content[expected])
    changed = session.get(url, auth=LOGIN, headers={"Range": "bytes=100-199", "If-Range": '"another-edition"'})
    assert (changed.status_code, changed.content) == (200, whole.content)
    refused = session.get(url, auth=LOGIN, headers={"Range": "bytes=100-199", "If-Match": '"another-edition"'})
    assert refused.status_code == 412


def test_head_has_the_length_and_no_body(twin: DemoServer, session: requests.Session) -> None:
    url = twin.url + urlsplit(recorded("http_data_full")["request"]["url"]).path
    answer = session.head(url, auth=LOGIN)
    assert (answer.status_code, answer.headers["Content-Length"], answer.content) == (200, "2528", b"")


@pytest.mark.parametrize("login", [("demo", "wrong"), ("other", "demo")])
def test_a_wrong_login_is_refused(twin: DemoServer, session: requests.Session, login: tuple[str, str]) -> None:
    url = twin.url + urlsplit(recorded("http_data_full")["request"]["url"]).path
    assert session.get(url, auth=login).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "../archive.json",
        "..%2f..%2farchive.json",
        "%2e%2e/%2e%2e/archive.json",
        "cortexlab/../../../archive.json",
        "/etc/passwd",
        "%00",
        "cortexlab",
        "",
        "a" * 5000,
    ],
)
def test_nothing_outside_the_archive_is_served(twin: DemoServer, path: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(twin.url).netloc, timeout=PATIENCE_S)
    connection.request("GET", f"/public/{path}", headers={"Authorization": "Basic ZGVtbzpkZW1v"})
    answer = connection.getresponse()
    assert answer.status == 404
    assert b"layout" not in answer.read()
    connection.close()


def test_a_connection_serves_many_requests(server: DemoServer) -> None:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=PATIENCE_S)
    connection.connect()
    port = connection.sock.getsockname()[1]
    for path, status in [
        ("/cache/info/", 403),
        ("/public/none", 401),
        ("/nothing", 404),
        ("/tables/sessions.pqt", 200),
    ]:
        connection.request("POST" if path == "/nothing" else "GET", path, body=b"some body")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
        assert connection.sock.getsockname()[1] == port
    connection.close()


def test_every_dataset_is_served(server: DemoServer, archive: Path, session: requests.Session) -> None:
    public = archive / "data/public"
    files = [path for path in public.rglob("*.*") if path.is_file()]
    for path in files[:: len(files) // 25]:
        url = f"{server.url}/public/{quote(str(path.relative_to(public)))}"
        assert session.get(url, auth=LOGIN).content == path.read_bytes()
    revised = next(path for path in files if "#" in str(path))
    url = f"{server.url}/public/{quote(str(revised.relative_to(public)))}"
    assert session.get(url, auth=LOGIN).content == revised.read_bytes()


def test_the_large_recording_is_served_by_parts(server: DemoServer, archive: Path, session: requests.Session) -> None:
    ((path, seed),) = Manifest.read(archive).virtual.items()
    url = f"{server.url}/public/{quote(path)}"
    assert session.head(url, auth=LOGIN).headers["Content-Length"] == str(LARGE_BYTES)
    start = 200 << 20
    part = session.get(url, auth=LOGIN, headers={"Range": f"bytes={start}-{start + 99_999}"})
    assert part.headers["Content-Range"] == f"bytes {start}-{start + 99_999}/{LARGE_BYTES}"
    with LargeRecording(seed) as stream:
        stream.seek(start)
        assert part.content == stream.read(100_000)


def test_tables_are_served(server: DemoServer, session: requests.Session) -> None:
    for folder in (server.tables_url, f"{server.tables_url}/Demowide"):
        info = session.get(f"{folder}/cache_info.json").json()
        assert info["tables"]["datasets"]["nrecs"] > 100
        with zipfile.ZipFile(io.BytesIO(session.get(f"{folder}/cache.zip").content)) as packed:
            for name in ("sessions.pqt", "datasets.pqt", "cache_info.json"):
                content = session.get(f"{folder}/{name}").content
                assert hashlib.md5(content).digest() == hashlib.md5(packed.read(name)).digest()
    sessions = pd.read_parquet(io.BytesIO(session.get(f"{server.tables_url}/sessions.pqt").content))
    assert len(sessions) >= 12


@pytest.mark.parametrize(
    "path", ["archive.json", "../archive.json", "..%2fdatabase.json", "../tables/%2e%2e/database.json"]
)
def test_nothing_but_tables_is_in_their_folder(server: DemoServer, path: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=PATIENCE_S)
    connection.request("GET", f"/tables/{path}")
    answer = connection.getresponse()
    assert answer.status == 404
    assert b"demo" not in answer.read()
    connection.close()


def test_a_started_demo_answers_and_ends(archive: Path, session: requests.Session) -> None:
    with start_demo(archive) as demo:
        assert session.get(f"{demo.tables_url}/cache_info.json").ok
        assert session.get(f"{demo.data_url}/none", auth=(demo.user, demo.password)).status_code == 404
        assert "password" not in repr(demo)
    demo.close()
    with pytest.raises(requests.ConnectionError):
        session.get(f"{demo.tables_url}/cache_info.json")


def test_the_server_dies_with_the_process_that_started_it(archive: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from onefs.demo.server import start_demo;"
        "demo = start_demo(Path(sys.argv[1])); print(demo.tables_url, demo._process.pid, flush=True);"
        "time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(archive)], stdout=subprocess.PIPE, text=True)
    url, pid = parent.stdout.readline().split()
    child = os.pidfd_open(int(pid))
    assert requests.get(f"{url}/cache_info.json", timeout=PATIENCE_S).ok
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    assert select.select([child], [], [], PATIENCE_S)[0], "the server outlived its parent"
    os.close(child)


def test_a_directory_without_an_archive_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="no demo archive"):
        DemoServer(tmp_path)
    with pytest.raises(MountError, match="did not start"):
        start_demo(tmp_path)
    assert "There is no demo archive in" in capfd.readouterr().err


def test_whoever_started_it_may_go_before_it_serves(archive: Path) -> None:
    words = [sys.executable, "-m", "onefs.demo.server", str(archive)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0
