"""The demo's Alyx: who may ask, what filters keep, what clients may change, and archives other than the demo's."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import requests

from onefs.catalogue.records import QC, Dataset, Session
from onefs.catalogue.tables import write_tables
from onefs.demo.archive import Manifest
from onefs.demo.database_file import BUCKET, BaseSession, DatabaseFile, Repository, Tag, User
from onefs.demo.logins import Throttle
from onefs.demo.plan import PLANS
from onefs.demo.resources import RestError
from onefs.demo.rows import UserRow
from onefs.demo.server import DemoServer

RECORDINGS = Path(__file__).parent.parent / "recordings"
EPHYS = str(PLANS[3].session.eid)


class Client:
    """Asks one server as one user."""

    def __init__(self, url: str, user: str = "demo", password: str | None = None) -> None:
        self.url = url
        self.http = requests.Session()
        self.http.trust_env = False
        login = {"username": user, "password": password or user}
        token = self.http.post(f"{url}/auth-token", json=login).json()["token"]
        self.http.headers["Authorization"] = f"Token {token}"

    def get(self, path: str) -> requests.Response:
        return self.http.get(f"{self.url}/{path}")

    def rows(self, path: str) -> list[dict]:
        answer = self.get(path)
        assert answer.ok, answer.text
        return answer.json()["results"]

    def patch(self, path: str, value: object) -> requests.Response:
        return self.http.patch(f"{self.url}/{path}", json=value)


@pytest.fixture(scope="module")
def server(archive: Path) -> Iterator[DemoServer]:
    with DemoServer(archive) as running:
        yield running


@pytest.fixture
def client(server: DemoServer) -> Iterator[Client]:
    client = Client(server.url)
    with client.http:
        yield client


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """An archive of one session with two files, without anything that the tables do not say."""
    (tmp_path / "tables").mkdir()
    session = Session(uuid4(), "lab", "mouse", date(2024, 1, 2), 1, "a_task", "one,two")
    rows = [
        Dataset(uuid4(), session.eid, session.path, f"alf/{path}", 4, "", True, QC.PASS, None)
        for path in ("probe00/spikes.times.npy", "probe00/#2024-05-06#/spikes.times.npy")
    ]
    write_tables(tmp_path / "tables", [session], rows, created="2024-01-03 00:00", origin="a test")
    Manifest(layout=1, seed=0, virtual={}).write(tmp_path)
    return tmp_path


def rewrite(directory: Path, sessions: list[Session], created: str) -> None:
    """Replace the tables of an archive, folder and all, as a keeper would."""
    new = directory / "new"
    new.mkdir()
    write_tables(new, sessions, [], created=created, origin="a test")
    (directory / "tables").rename(directory / "old")
    new.rename(directory / "tables")
    shutil.rmtree(directory / "old")


# -- who may ask ---------------------------------------------------------------------------------------------------


def test_each_user_has_one_token_until_it_is_forgotten(server: DemoServer) -> None:
    with Client(server.url).http as one, Client(server.url).http as two, Client(server.url, "member").http as other:
        assert one.headers["Authorization"] == two.headers["Authorization"] != other.headers["Authorization"]
        server.answers.logins.forget()
        answer = one.get(f"{server.url}/sessions")
        assert (answer.status_code, answer.json()["detail"]) == (403, "Invalid token.")


@pytest.mark.parametrize("header", ["Basic ZGVtbzpkZW1v", "Bearer abc", ""])
def test_what_is_no_token_is_no_login(server: DemoServer, header: str) -> None:
    answer = requests.get(f"{server.url}/sessions", headers={"Authorization": header}, timeout=10)
    assert (answer.status_code, answer.json()["detail"]) == (403, "Authentication credentials were not provided.")


def test_nothing_is_known_of_passwords(client: Client) -> None:
    assert "password" not in client.get("users").text


def test_a_limit_ends_after_a_minute() -> None:
    now_s = [0.0]
    throttle = Throttle(2, clock=lambda: now_s[0])
    user = UserRow("", "demo", "", is_public=False)
    throttle.count(user)
    now_s[0] = 20.0
    throttle.count(user)
    now_s[0] = 59.5
    with pytest.raises(RestError) as refused:
        throttle.count(user)
    assert refused.value.headers == {"Retry-After": "1"}
    now_s[0] = 60.0
    throttle.count(user)


# -- what is asked ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "count"),
    [
        ("lab=SOUTHLAB", 6),
        ("lab=south", 0),
        ("subject=nl_001", 4),
        ("number=2", 1),
        ("projects=brainwide", 5),
        ("task_protocol=EPHYS", 5),
        ("users=member", 14),
        ("users=member,demo", 0),
        ("location=rig_south", 6),
        ("type=base", 1),
        ("tag=demowide", 5),
        ("date_range=2023-03-06,2023-03-07", 3),
        ("datasets=spikes.times.npy,_ibl_trials.table.pqt", 5),
        ("datasets=spikes.depths.npy", 4),
        ("datasets=spikes.depths.npy&dataset_qc_lte=CRITICAL", 5),
        ("dataset_types=spikes.times,camera.dlc", 5),
        ("dataset_qc_lte=PASS", 13),
        ("subject=NL_001&number=1", 3),
        ("nothing=known", 15),
        ("django=number__isnull,True", 1),
        ("django=~number__isnull,True", 14),
        ("django=subject__nickname__icontains,nl", 9),
        ("django=start_time__date__gte,2023-04-01,lab__name,northlab", 4),
        ("django=number__in,[2, 3]", 1),
        ("django=data_dataset_session_related__name,spikes.times.npy", 5),
        ("django=data_dataset_session_related__isnull,True", 2),
        ("django=subject__nickname__regex,^NL_0", 8),
        ("django=task_protocol__startswith,_iblrig,number__gt,1", 1),
        (f"django=pk,{EPHYS}", 1),
    ],
)
def test_sessions_are_filtered(client: Client, question: str, count: int) -> None:
    assert client.get(f"sessions?{question}").json()["count"] == count


@pytest.mark.parametrize(
    ("question", "status"),
    [
        ("sessions?date_range=2023-01-01", 500),
        ("sessions?date_range=2023-13-01,2024-01-01", 500),
        ("sessions?django=pk,none", 500),
        ("sessions?django=pk", 500),
        ("sessions?django=number,1,number,2", 500),
        ("sessions?django=number,one", 500),
        ("sessions?django=task_protocol__regex,(", 500),
        ("sessions?django=pk__in,[1", 500),
        ("sessions?dataset_qc_lte=GOOD", 500),
        ("datasets?session=none", 400),
        (f"datasets?session={uuid4()}", 400),
        (f"datasets?probe_insertion={uuid4()}", 500),
        ("datasets?probe_insertion=none", 400),
        ("insertions?session=none", 400),
        (f"sessions/{EPHYS.upper()}", 404),
        (f"sessions/{EPHYS}/", 404),
        ("labs/none", 404),
        ("docs", 404),
    ],
)
def test_bad_questions_are_told_so(client: Client, question: str, status: int) -> None:
    answer = client.get(question)
    assert answer.status_code == status
    if answer.headers["Content-Type"] == "application/json":
        assert answer.json()["status_code"] == status


def test_datasets_and_files_are_filtered(client: Client) -> None:
    assert len(client.rows(f"datasets?session={EPHYS}&dataset_type=spikes.times")) == 6
    assert {row["qc"] for row in client.rows("datasets?qc=critical")} == {"CRITICAL"}
    assert client.rows("datasets?tag=internal")[0]["protected"] == 1
    unserved = client.rows("datasets?django=file_records__data_repository__name,aws_southlab&limit=1000")
    assert [row["name"] for row in unserved if len(row["file_records"]) == 1] == ["_iblrig_leftCamera.raw.mp4"]
    (pid,) = {row["id"] for row in client.rows(f"insertions?session={EPHYS}&name=probe01")}
    of_probe = client.rows(f"datasets?probe_insertion={pid}")
    assert {row["collection"].split("/")[1] for row in of_probe} == {"probe01"}
    assert {UUID(row["url"][-36:]) for row in of_probe} == {
        UUID(row["id"]) for row in client.get(f"insertions/{pid}").json()["datasets"]
    }
    of_subject = client.rows("files?django=dataset__session__subject__nickname,NL_002&globus_is_personal=False")
    assert {row["relative_path"].split("/")[0] for row in of_subject} == {"NL_002"}


def test_a_dataset_is_where_its_record_says(client: Client, server: DemoServer) -> None:
    row = client.rows("datasets?revision=2024-05-06&limit=1")[0]
    url = next(file["data_url"] for file in row["file_records"] if file["data_repository"].startswith("server"))
    assert url.startswith(server.data_url)
    assert "/#2024-05-06#/" in url
    answer = requests.get(url.replace("#", "%23"), auth=("demo", "demo"), timeout=10)
    assert len(answer.content) == row["file_size"]
    aggregate = client.rows("datasets?django=session__isnull,True")[0]
    url = next(file["data_url"] for file in aggregate["file_records"] if file["data_url"])
    assert len(requests.get(url, auth=("demo", "demo"), timeout=10).content) == aggregate["file_size"]


def test_a_note_on_a_file_is_kept(client: Client, server: DemoServer) -> None:
    row = client.rows("files?limit=1")[0]
    path = f"files/{row['url'][-36:]}"
    assert client.patch(path, {"json": {"mismatch_hash": True}}).ok
    assert client.get(path).json()["json"] == {"mismatch_hash": True}
    assert client.patch(path, {"exists": False}).status_code == 403
    assert client.patch(path, [1]).status_code == 400
    assert client.patch(f"sessions/{EPHYS}", {"narrative": "x"}).status_code == 403
    public = Client(server.url, "public")
    with public.http:
        assert public.patch(path, {"json": None}).status_code == 403
    assert client.get(path).json()["json"] == {"mismatch_hash": True}


# -- other archives, and changes while it runs --------------------------------------------------------------------


def test_any_archive_is_served_by_what_its_tables_say(small: Path) -> None:
    with DemoServer(small) as server:
        client = Client(server.url)
        with client.http:
            (session,) = client.rows("sessions")
            assert session["projects"] == ["one", "two"]
            related = client.get(f"sessions/{session['id']}").json()["data_dataset_session_related"]
            assert {row["default_revision"] for row in related} == {"True", "False"}
            assert all(row["data_url"].startswith(f"{server.data_url}/lab/Subjects/mouse/") for row in related)
            assert [row["name"] for row in client.rows("insertions")] == ["probe00"]
            assert [row["name"] for row in client.rows("revisions")] == ["2024-05-06"]
            info = client.get("cache/info").json()
            assert (info["date_created"], info["tables"]["datasets"]["nrecs"]) == ("2024-01-03 00:00", 2)
            assert client.http.get(info["location"]).content[:2] == b"PK"


def test_replaced_tables_are_served_at_once(small: Path) -> None:
    with DemoServer(small) as server:
        client = Client(server.url)
        with client.http:
            client.rows("sessions")
            added = Session(uuid4(), "lab", "rat", date(2024, 2, 3), 4, "", "")
            rewrite(small, [added, replace(added, eid=uuid4(), number=5)], "2024-02-04 00:00")
            assert {row["number"] for row in client.rows("sessions")} == {4, 5}
            assert client.get("cache/info").json()["date_created"] == "2024-02-04 00:00"
            (small / "tables").rename(small / "away")
            assert {row["number"] for row in client.rows("sessions")} == {4, 5}
            (small / "tables").mkdir()
            for name in ("sessions.pqt", "datasets.pqt"):
                (small / "tables" / name).write_bytes(b"not parquet")
            answer = client.get("sessions")
            assert (answer.status_code, "cannot be read" in answer.json()["detail"]) == (500, True)


def test_what_no_table_says_can_be_given(small: Path) -> None:
    with DemoServer(small) as server:
        first = Client(server.url)
        with first.http:
            ids = [row["url"][-36:] for row in first.rows("datasets")]
        DatabaseFile(
            users=[User("ann", "secret")],
            tags=[Tag("paper", protected=True, datasets=ids[:1])],
            repositories=[Repository("aws_lab", "lab", "data/lab/Subjects/", json=BUCKET)],
            base_sessions=[BaseSession(str(uuid4()), "lab", "mouse", "2024-01-02")],
        ).write(small)
        client = Client(server.url, "ann", "secret")
        with client.http:
            assert [row["number"] for row in client.rows("sessions")] == [1, None]
            assert [row["url"][-36:] for row in client.rows("datasets?protected=True")] == ids[:1]
            assert {file["data_url"] for row in client.rows("datasets") for file in row["file_records"]} == {None}
            assert client.get("cache/info/paper").status_code == 500
        assert "secret" not in repr(server.answers) + repr(DatabaseFile.read(small))


def test_the_recorded_archive_is_answered_as_its_database_did(tmp_path: Path) -> None:
    shutil.copytree(RECORDINGS / "tables", tmp_path / "tables")
    Manifest(layout=1, seed=0, virtual={}).write(tmp_path)
    recorded = json.loads((RECORDINGS / "rest/contract.json").read_text())
    with DemoServer(tmp_path) as server:
        client = Client(server.url)
        with client.http:
            for name in ("sessions_read_ephys", "sessions_read"):
                expected = recorded[name]["response"]["json"]
                found = client.get(f"sessions/{expected['id']}").json()
                for field in ("subject", "number", "start_time", "lab", "projects", "task_protocol"):
                    assert found[field] == expected[field]
                by_id = {row["id"]: row for row in found["data_dataset_session_related"]}
                for row in expected["data_dataset_session_related"]:
                    ours = by_id[row["id"]]
                    for field in ("name", "dataset_type", "collection", "file_size", "hash", "qc", "default_revision"):
                        assert ours[field] == row[field]
                probes = {row["name"] for row in expected["probe_insertion"]}
                assert probes <= {row["name"] for row in found["probe_insertion"]}
            order = [row["id"] for row in client.rows("sessions")]
            assert order[:2] == ["6dc15a93-fda8-48db-a842-474b05d2e4f4", "bf432522-ca89-4d77-8852-44051980a74f"]
