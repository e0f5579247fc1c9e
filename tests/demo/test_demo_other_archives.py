"""The demo's Alyx over archives other than the demo's, and over one that changes while it runs."""

import json
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path
from uuid import uuid4

import pytest
from alyx_user import AlyxUser

from onefs.catalogue.records import QC, Dataset, Session
from onefs.catalogue.tables import write_tables
from onefs.demo.archive import Manifest
from onefs.demo.database_file import BUCKET, BaseSession, DatabaseFile, Repository, Tag, User
from onefs.demo.server import DemoServer

RECORDINGS = Path(__file__).parent.parent / "recordings"


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


def test_any_archive_is_served_by_what_its_tables_say(small: Path) -> None:
    with DemoServer(small) as server:
        client = AlyxUser(server.url)
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
        client = AlyxUser(server.url)
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
        first = AlyxUser(server.url)
        with first.http:
            ids = [row["url"][-36:] for row in first.rows("datasets")]
        DatabaseFile(
            users=[User("ann", "secret")],
            tags=[Tag("paper", protected=True, datasets=ids[:1])],
            repositories=[Repository("aws_lab", "lab", "data/lab/Subjects/", json=BUCKET)],
            base_sessions=[BaseSession(str(uuid4()), "lab", "mouse", "2024-01-02")],
        ).write(small)
        client = AlyxUser(server.url, "ann", "secret")
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
        client = AlyxUser(server.url)
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
