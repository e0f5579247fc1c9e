"""onefs info: whatever names a session, dataset or probe leads to all that is known of it."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mounted import Mounted, run_onefs
from table_shapes import METADATA, a_dataset, a_session, an_id

from onefs.catalogue.records import QC
from onefs.catalogue.tables import write_tables

DAY = date(2020, 7, 1)
SESSION = a_session("one", "laba", "KS014", DAY, 1)
NAMESAKE = a_session("two", "labb", "KS014", DAY, 1)
OLD = a_dataset(SESSION, "alf/a.b.npy", qc=QC.FAIL, default=False)
NEW = a_dataset(SESSION, "alf/#2024-01-01#/a.b.npy", size=None, md5="")
HIDDEN = a_dataset(SESSION, "alf/bad.b.npy", qc=QC.CRITICAL)
OTHER = a_dataset(NAMESAKE, "alf/a.b.npy")
AGGREGATE = a_dataset(None, "Subjects/laba/KS014/a.b.npy")
PID = an_id("probe")
NOBODY = UUID("6a1c1f6e-54f5-4c09-8d5b-3a7d1a4c1d10")
REFERENCE = "2020-07-01_1_KS014"
SERVER = "https://example.org/public"


def on_server(dataset) -> str:
    stem = dataset.path.removesuffix(".npy").replace("#", "%23")
    return f"{SERVER}/{stem}.{dataset.id}.npy"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    datasets = [OLD, NEW, HIDDEN, OTHER, AGGREGATE]
    write_tables(folder, [SESSION, NAMESAKE], datasets, created="2025-06-30 12:00", origin="test")
    insertions = pa.table({"eid": [str(SESSION.eid)], "id": [str(PID)], "name": ["probe00"]})
    metadata = {"one_metadata": json.dumps(METADATA)}
    pq.write_table(insertions.replace_schema_metadata(metadata), folder / "insertions.pqt")
    return folder


@pytest.fixture(scope="module")
def mount(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    with Mounted(archive, tmp_path_factory.mktemp("mount"), "--data-url", SERVER, "--mode", "local") as mount:
        yield mount


@pytest.fixture(params=["source", "mount"])
def where(request: pytest.FixtureRequest, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    if request.param == "mount":
        return ["--mount", str(request.getfixturevalue("mount").path)]
    cache = tmp_path_factory.mktemp("cache")
    return ["--source", str(archive), "--data-url", SERVER, "--mode", "local", "--cache-dir", str(cache)]


def info(where: list[str], name: str) -> list[dict[str, Any]]:
    """All that a name leads to, as JSON; the text for people has the same facts."""
    done = run_onefs("info", name, "--json", *where)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return found if isinstance(found, list) else [found]


@pytest.mark.parametrize(
    "name",
    [
        str(SESSION.eid),
        f"https://alyx.example.org/sessions/{SESSION.eid}",
        SESSION.path,
        f"/anywhere/{SESSION.path}/",
        str(PID),
    ],
)
def test_a_session(where: list[str], name: str) -> None:
    (facts,) = info(where, name)
    probe = {"probe": "probe00", "pid": str(PID)} if name == str(PID) else {}
    expected = {
        "path": SESSION.path,
        "reference": REFERENCE,
        "eid": str(SESSION.eid),
        "projects": SESSION.projects,
        "task_protocol": SESSION.task_protocol,
        "datasets": 2,
        "size": 10,
        "probes": f"probe00 ({PID})",
    }
    assert facts.items() >= {**expected, **probe}.items()
    assert facts["cache_folder"].endswith(f"/{SESSION.path}")


@pytest.mark.parametrize(
    "name",
    [str(OLD.id), OLD.path, f"/my/cache/{OLD.path}", on_server(OLD), f"file:///data/{OLD.path}"],
)
def test_a_dataset(where: list[str], name: str) -> None:
    (facts,) = info(where, name)
    expected = {
        "path": OLD.path,
        "reference": REFERENCE,
        "id": str(OLD.id),
        "eid": str(SESSION.eid),
        "hash": OLD.md5,
        "size": 10,
        "qc": "FAIL",
        "revision": "",
        "default_revision": False,
        "state": "remote",
        "source": on_server(OLD),
        "urls": [on_server(OLD)],
        "error": None,
        "cache_path": None,
    }
    assert facts.items() >= expected.items()


@pytest.mark.parametrize("name", [str(NEW.id), NEW.path, on_server(NEW)])
def test_a_dataset_of_a_revision_and_of_unknown_size(where: list[str], name: str) -> None:
    (facts,) = info(where, name)
    expected = {"id": str(NEW.id), "revision": "2024-01-01", "default_revision": True, "size": None, "hash": None}
    assert facts.items() >= expected.items()


@pytest.mark.parametrize("name", [str(AGGREGATE.id), AGGREGATE.path, f"{SERVER}/{AGGREGATE.path}"])
def test_a_dataset_of_no_session(where: list[str], name: str) -> None:
    (facts,) = info(where, name)
    assert (facts["id"], facts["eid"], facts.get("reference")) == (str(AGGREGATE.id), None, None)


@pytest.mark.parametrize("name", [REFERENCE, "2020-07-01_001_KS014", "KS014/2020-07-01/001", "KS014/2020-07-01/1"])
def test_all_sessions_of_a_name_are_told(where: list[str], name: str) -> None:
    assert {facts["eid"] for facts in info(where, name)} == {str(SESSION.eid), str(NAMESAKE.eid)}
    text = run_onefs("info", name, *where).stdout
    assert text.startswith(f"{name} is the name of 2 sessions:\n")
    assert str(SESSION.eid) in text
    assert str(NAMESAKE.eid) in text


@pytest.mark.parametrize(
    ("name", "code", "sentence"),
    [
        ("mouse", 2, "Give an eid, the id of a dataset or a probe, a reference such as 2020-07-01_1_KS014"),
        (str(NOBODY), 1, f"{NOBODY} is not in the catalogue of "),
        ("2020-07-02_1_KS014", 1, "2020-07-02_1_KS014 is not in the catalogue of "),
        (f"{SESSION.path}/alf/none.b.npy", 1, "alf/none.b.npy is not in the catalogue of "),
        ("labc/Subjects/KS014/2020-07-01/001", 1, "labc/Subjects/KS014/2020-07-01/001 is not in the catalogue of "),
    ],
)
def test_what_is_not_known_is_told_with_a_remedy(where: list[str], name: str, code: int, sentence: str) -> None:
    if name == "mouse" and where[0] == "--mount":
        code, sentence = 1, "mouse is not in the catalogue of "
    done = run_onefs("info", name, *where)
    assert (done.returncode, done.stdout) == (code, "")
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_is_hidden_says_why(where: list[str]) -> None:
    done = run_onefs("info", HIDDEN.path, *where)
    assert "its QC is CRITICAL" in done.stdout + done.stderr


def test_a_path_in_a_mount_needs_no_flag(mount: Mounted) -> None:
    by_path = info([], str(mount.path / OLD.path))
    assert by_path == info(["--mount", str(mount.path)], str(OLD.id))
    assert info([], str(mount.path / ".onefs" / "by-eid" / str(SESSION.eid))) == info(
        [], str(mount.path / SESSION.path)
    )
    done = run_onefs("info", "--mode", "local", mount.path / OLD.path)
    assert (done.returncode, "setting of the mount" in done.stderr) == (2, True)


def test_several_names_are_told_one_after_the_other(where: list[str]) -> None:
    done = run_onefs("info", OLD.path, str(NOBODY), REFERENCE, "--json", *where)
    assert done.returncode == 1
    first, *others = [facts["eid"] for facts in json.loads(done.stdout)]
    assert (first, set(others)) == (str(SESSION.eid), {str(SESSION.eid), str(NAMESAKE.eid)})
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith(f"onefs: {NOBODY} is not in the catalogue of ")
    told = run_onefs("info", OLD.path, str(NOBODY), REFERENCE, *where)
    assert told.returncode == 1
    blocks = told.stdout.split("\n\n")
    assert [block.count(f"{SESSION.path}\n") for block in blocks] == [0, 1, 0]
    assert blocks[0].startswith(f"path              {OLD.path}\n")
    assert f"{REFERENCE} is the name of 2 sessions:\n" in told.stdout


def test_of_several_names_a_list_is_told_even_if_one_is_left(where: list[str]) -> None:
    done = run_onefs("info", OLD.path, AGGREGATE.path, "--json", *where)
    assert (done.returncode, [facts["id"] for facts in json.loads(done.stdout)]) == (
        0,
        [str(OLD.id), str(AGGREGATE.id)],
    )
    done = run_onefs("info", str(NOBODY), OLD.path, "--json", *where)
    assert (done.returncode, [facts["id"] for facts in json.loads(done.stdout)]) == (1, [str(OLD.id)])
    done = run_onefs("info", str(NOBODY), str(NOBODY), "--json", *where)
    assert (done.returncode, json.loads(done.stdout)) == (1, [])


def test_a_name_that_the_system_refuses_leaves_the_others_out_of_it(mount: Mounted) -> None:
    done = run_onefs("info", "--json", mount.path / ("x" * 300), mount.path / OLD.path)
    assert (done.returncode, [facts["id"] for facts in json.loads(done.stdout)]) == (1, [str(OLD.id)])
    assert "File name too long" in done.stderr
    assert "unforeseen" not in done.stderr
