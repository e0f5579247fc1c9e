"""Bringing tables up to date with a folder: what stays, what changes, what is added and what goes."""

import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archives import RECORDINGS, copied_tables
from one.alf import cache as reference
from one.api import One
from seeds import seeded
from table_shapes import a_dataset, a_session, as_pair, dataset_columns, save, session_columns

from onefs.alf import archive_path
from onefs.api.cache import make_parquet_db
from onefs.catalogue.records import QC
from onefs.catalogue.tables import write_tables
from onefs.digests import md5_of_file
from onefs.errors import BusyError, TableError
from onefs.indexer import run
from onefs.indexer.run import IndexOptions, IndexResult, index
from onefs.indexer.scan import session_key
from onefs.indexer.update import _Update
from onefs.indexer.update_matches import match_sessions
from onefs.indexer.update_rows import Comparison
from onefs.indexer.write import eid_of
from onefs.workers import ThisProcess

SESSION = "lab/Subjects/subject/2020-01-02/001"
TABLES = ("sessions.pqt", "datasets.pqt")


def put(root: Path, files: Mapping[str, str]) -> Path:
    """Write files, given with their contents."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def update(root: Path, out: Path | None = None, *, lab: str = "", hash_files: bool = False) -> IndexResult:
    options = IndexOptions(lab=lab, hash_files=hash_files, updates=True)
    return index(root, out or root, options, ThisProcess())


def plainly(root: Path, out: Path | None = None, **options: Any) -> IndexResult:
    return index(root, out or root, IndexOptions(**options), ThisProcess())


def rows(directory: Path) -> dict[str, dict[str, Any]]:
    """The datasets by their paths from the root."""
    sessions = {row["id"]: row for row in pq.read_table(directory / "sessions.pqt").to_pylist()}
    told = {}
    for row in pq.read_table(directory / "datasets.pqt").to_pylist():
        session = sessions[row["eid"]]
        lab = f"{session['lab']}/Subjects/" if session["lab"] else ""
        path = f"{lab}{session['subject']}/{session['date']}/{session['number']:03d}/{row['rel_path']}"
        assert path not in told
        told[path] = row
    return told


def session_rows(directory: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in pq.read_table(directory / "sessions.pqt").to_pylist()}


def bytes_of(directory: Path) -> list[tuple[bytes, int]]:
    return [((directory / name).read_bytes(), (directory / name).stat().st_mtime_ns) for name in TABLES]


def defaults(directory: Path) -> set[str]:
    return {row["rel_path"] for row in rows(directory).values() if row["default_revision"]}


def change(file: Path, **values: pa.Array) -> None:
    """Give columns of a table other values."""
    table = pq.read_table(file)
    for name, column in values.items():
        table = table.set_column(table.column_names.index(name), table.schema.field(name), column)
    pq.write_table(table, file)


def of_session(*paths: str, **changes: Any):
    """A session and some of its datasets, as a database would tell them."""
    session = a_session()
    return session, [a_dataset(session, path, **changes) for path in paths]


def written(directory: Path, session, datasets) -> Path:
    directory.mkdir(exist_ok=True)
    write_tables(directory, [session], datasets, created="2020-01-01 00:00", origin="alyx")
    return directory


# What a row becomes


def test_a_known_file_keeps_its_row(tmp_path):
    session, [known, other] = of_session("alf/a.b.npy", "alf/never.here.npy", exists=False, qc=QC.FAIL)
    written(tmp_path, session, [known, other])
    before = pq.read_table(tmp_path / "datasets.pqt").to_pylist()
    put(tmp_path, {f"{SESSION}/alf/a.b.npy": "ten bytes."})
    assert update(tmp_path).is_new
    after = {row["id"]: row for row in pq.read_table(tmp_path / "datasets.pqt").to_pylist()}
    changed = {row["id"]: row | ({"exists": True} if row["id"] == str(known.id) else {}) for row in before}
    assert after == changed
    assert pq.read_table(tmp_path / "sessions.pqt").to_pylist() == [
        {"id": str(session.eid), "lab": "lab", "subject": "subject", "date": session.date, "number": 1}
        | {"task_protocol": "task", "projects": "a,b"}
    ]


@pytest.mark.parametrize(
    ("text", "size", "is_hashed", "stays"),
    [
        ("ten bytes.", 10, False, True),
        ("more bytes.", 10, False, False),
        ("ten bytes.", None, False, False),
        ("ten bytes.", 10, True, False),
    ],
)
def test_the_old_hash_stays_only_beside_the_same_size_and_without_a_new_one(tmp_path, text, size, is_hashed, stays):
    session, [known] = of_session("alf/a.b.npy", size=size, md5="0123456789abcdef" * 2)
    written(tmp_path, session, [known])
    put(tmp_path, {f"{SESSION}/alf/a.b.npy": text})
    update(tmp_path, hash_files=is_hashed)
    [row] = rows(tmp_path).values()
    assert row["file_size"] == len(text)
    right = md5_of_file(tmp_path / SESSION / "alf/a.b.npy")
    assert row["hash"] == (known.md5 if stays else right if is_hashed else None)


def test_hashes_come_later_to_rows_that_have_none(tmp_path):
    session, [known] = of_session("alf/a.b.npy", size=3, md5="")
    written(tmp_path, session, [known])
    put(tmp_path, {f"{SESSION}/alf/a.b.npy": "abc", f"{SESSION}/alf/c.d.npy": "abcd"})
    update(tmp_path)
    assert [row["hash"] for row in rows(tmp_path).values()] == [None, None]
    assert update(tmp_path, hash_files=True).is_new
    assert {path: row["hash"] for path, row in rows(tmp_path).items()} == {
        f"{SESSION}/alf/{name}": md5_of_file(tmp_path / SESSION / "alf" / name) for name in ("a.b.npy", "c.d.npy")
    }
    assert rows(tmp_path)[f"{SESSION}/alf/a.b.npy"]["id"] == str(known.id)


def test_the_name_of_a_file_may_carry_its_id(tmp_path):
    session, [known] = of_session("alf/a.b.npy")
    written(tmp_path, session, [known])
    put(tmp_path, {archive_path(f"{SESSION}/alf/a.b.npy", known.id): "longer than before"})
    update(tmp_path)
    [row] = rows(tmp_path).values()
    assert (row["id"], row["rel_path"], row["file_size"]) == (str(known.id), "alf/a.b.npy", 18)


def test_a_name_with_another_id_is_another_dataset(tmp_path):
    session, [known] = of_session("alf/a.b.npy")
    written(tmp_path, session, [known])
    before = rows(tmp_path)
    put(tmp_path, {archive_path(f"{SESSION}/alf/a.b.npy", UUID(int=known.id.int ^ 1)): "of another id"})
    update(tmp_path)
    assert len(rows(tmp_path)) == 2
    assert before.items() < rows(tmp_path).items()


def test_what_is_new_is_added_with_ids_of_indexing(tmp_path):
    session, [known] = of_session("alf/a.b.npy")
    written(tmp_path, session, [known])
    other = "lab/Subjects/subject/2020-01-03/001"
    put(tmp_path, {f"{SESSION}/alf/a.b.npy": "a", f"{SESSION}/alf/c.d.npy": "cd", f"{other}/c.d.npy": "cde"})
    update(tmp_path, hash_files=True)
    put(tmp_path / "alone", {f"{SESSION}/alf/c.d.npy": "cd", f"{other}/c.d.npy": "cde"})
    plainly(tmp_path / "alone", hash_files=True)
    expected = rows(tmp_path / "alone")
    expected[f"{SESSION}/alf/c.d.npy"]["eid"] = str(session.eid)
    found = rows(tmp_path)
    assert found.pop(f"{SESSION}/alf/a.b.npy")["id"] == str(known.id)
    assert found == expected
    added = str(eid_of(session_key(f"/{other}")))
    assert session_rows(tmp_path)[added] == session_rows(tmp_path / "alone")[added]


def test_nothing_to_change_leaves_the_files_alone(tmp_path):
    session, datasets = of_session("alf/a.b.npy", "alf/c.d.npy")
    written(tmp_path, session, datasets)
    put(tmp_path, {f"{SESSION}/alf/a.b.npy": "ten bytes."})
    before = bytes_of(tmp_path)
    assert not update(tmp_path).is_new
    assert not update(tmp_path).is_new
    assert bytes_of(tmp_path) == before


def test_metadata_tells_when_and_of_what(tmp_path):
    session, [known] = of_session("alf/a.b.npy")
    metadata = {"date_created": "2020-01-01 00:00", "database_tags": ["t"], "min_api_version": "2.0"}
    save(tmp_path, session_columns([session]), dataset_columns([known]), metadata | {"origin": "alyx"})
    put(tmp_path, {f"{SESSION}/alf/a.b.npy": "more than ten"})
    update(tmp_path)
    for name in TABLES:
        raw = json.loads(pq.read_schema(tmp_path / name).metadata[b"one_metadata"])
        assert raw.pop("date_modified") > "2020"
        assert raw == metadata | {"origin": ["alyx", str(tmp_path)]}


# Sessions that are the same


@pytest.mark.parametrize("known_lab", ["", "lab"])
def test_a_lab_that_one_side_does_not_tell_is_the_same(tmp_path, known_lab):
    session = a_session(lab=known_lab)
    written(tmp_path, session, [a_dataset(session, "a.b.npy")])
    folder = f"{'' if known_lab else 'lab/Subjects/'}subject/2020-01-02/1"
    put(tmp_path, {f"{folder}/a.b.npy": "a", f"{folder}/new.file.npy": "ab", "subject/x.y": ""})
    update(tmp_path)
    [row] = session_rows(tmp_path).values()
    assert (row["id"], row["lab"]) == (str(session.eid), known_lab)
    assert sorted(row["file_size"] for row in rows(tmp_path).values()) == [1, 2]
    next(tmp_path.rglob("new.file.npy")).unlink()
    update(tmp_path)
    [row] = rows(tmp_path).values()
    assert row["file_size"] == 1


def test_a_session_that_was_renamed_in_its_table_keeps_its_row(tmp_path):
    put(tmp_path, {f"{SESSION}/a.b.npy": "a"})
    plainly(tmp_path)
    [before] = rows(tmp_path).values()
    change(tmp_path / "sessions.pqt", subject=pa.array(["renamed"]))
    put(tmp_path, {f"{SESSION}/a.b.npy": "changed"})
    update(tmp_path)
    assert list(rows(tmp_path).values()) == [before | {"file_size": 7}]


def keyed(*folders: str) -> dict[UUID, Any]:
    keys = [session_key(f"/{folder}") for folder in folders]
    return {eid_of(key): key for key in keys}


def test_a_session_that_could_be_either_of_two_is_neither():
    labs = [a_session(lab, lab) for lab in ("a", "b")]
    found = keyed("subject/2020-01-02/001")
    assert match_sessions(labs, found, {})[0] == {eid: [eid] for eid in found}
    found = keyed("a/Subjects/subject/2020-01-02/001", "subject/2020-01-02/001")
    assert match_sessions(labs[:1], found, {})[0] == {
        eid: [labs[0].eid if key.lab else eid] for eid, key in found.items()
    }
    found = keyed("a/Subjects/subject/2020-01-02/001", "b/Subjects/subject/2020-01-02/001")
    assert match_sessions([a_session("none", "")], found, {})[0] == {eid: [eid] for eid in found}
    assert match_sessions([labs[0], a_session("none", "")], found, {})[0] == {
        eid: [a_session("none", "").eid if key.lab == "b" else labs[0].eid] for eid, key in found.items()
    }


def test_sessions_on_one_path_share_its_files(tmp_path):
    first, second = a_session("first"), a_session("second")
    datasets = [a_dataset(first, "a.b.npy"), a_dataset(second, "c.d.npy")]
    write_tables(tmp_path, [first, second], datasets, created="2020-01-01 00:00", origin="alyx")
    put(tmp_path, {f"{SESSION}/a.b.npy": "a", f"{SESSION}/c.d.npy": "cd"})
    update(tmp_path)
    told = rows(tmp_path)
    assert {row["id"]: row["file_size"] for row in told.values()} == {str(datasets[0].id): 1, str(datasets[1].id): 2}


# What goes


def test_files_of_indexing_that_are_gone_lose_their_rows_and_those_of_a_database_keep_them(tmp_path):
    session, datasets = of_session("alf/a.b.npy", "alf/c.d.npy", "alf/never.here.npy")
    written(tmp_path, session, datasets)
    own = "lab/Subjects/subject/2020-01-03"
    put(tmp_path, {f"{SESSION}/alf/{name}": "a" for name in ("a.b.npy", "c.d.npy", "new.file.npy")})
    put(tmp_path, {f"{own}/{number}/a.b.npy": "a" for number in ("001", "002")})
    update(tmp_path)
    (tmp_path / own / "003").mkdir()
    update(tmp_path)
    assert len(session_rows(tmp_path)) == 4
    assert f"{SESSION}/alf/new.file.npy" in rows(tmp_path)
    (tmp_path / SESSION / "alf/a.b.npy").unlink()
    (tmp_path / SESSION / "alf/new.file.npy").unlink()
    (tmp_path / own / "001/a.b.npy").unlink()
    (tmp_path / own / "001").rmdir()
    (tmp_path / own / "002/a.b.npy").unlink()
    (tmp_path / own / "003").rmdir()
    update(tmp_path)
    assert set(rows(tmp_path)) == {f"{SESSION}/alf/{name}" for name in ("a.b.npy", "c.d.npy", "never.here.npy")}
    assert {(row["date"].day, row["number"]) for row in session_rows(tmp_path).values()} == {(2, 1), (3, 2)}


def test_sessions_of_a_database_stay_without_files(tmp_path):
    session, datasets = of_session("alf/a.b.npy")
    written(tmp_path, session, datasets)
    put(tmp_path, {f"{SESSION}/alf/a.b.npy": "a", "other/2020-01-01/001/a.b.npy": "a"})
    update(tmp_path)
    (tmp_path / SESSION / "alf/a.b.npy").unlink()
    (tmp_path / SESSION / "alf").rmdir()
    (tmp_path / SESSION).rmdir()
    update(tmp_path)
    assert set(rows(tmp_path)) == {"other/2020-01-01/001/a.b.npy", f"{SESSION}/alf/a.b.npy"}
    assert str(session.eid) in session_rows(tmp_path)


def test_sessions_with_other_rows_or_another_folder_stay(tmp_path):
    put(tmp_path, {f"{SESSION}/{name}": "a" for name in ("a.b.npy", "c.d.npy")})
    for folder in ("empty/2020-01-01/1", "empty/2020-01-01/001"):
        (tmp_path / folder).mkdir(parents=True)
    update(tmp_path)
    paths = [row["rel_path"].replace("c.d", "never.here") for row in rows(tmp_path).values()]
    change(tmp_path / "datasets.pqt", rel_path=pa.array(paths))
    shutil.rmtree(tmp_path / SESSION)
    (tmp_path / "empty/2020-01-01/1").rmdir()
    update(tmp_path)
    assert list(rows(tmp_path)) == [f"{SESSION}/never.here.npy"]
    assert len(session_rows(tmp_path)) == 2


def test_a_pair_of_which_only_sessions_were_renamed_into_place_is_mended(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    root = put(tmp_path / "root", {f"{SESSION}/a.b.npy": "a", "other/2020-01-01/001/a.b.npy": "a"})
    update(root, out)
    shutil.rmtree(root / "other")
    put(root, {"third/2020-01-01/001/a.b.npy": "a"})
    whole = copied(out, tmp_path / "whole")
    update(root, whole)
    shutil.copy(whole / "sessions.pqt", out)
    update(root, out)
    assert rows(out) == rows(whole)
    assert session_rows(out) == session_rows(whole)


def test_what_moved_below_its_lab_stays(tmp_path):
    put(tmp_path, {"subject/2020-01-02/001/a.b.npy": "a"})
    plainly(tmp_path)
    before = rows(tmp_path)
    (tmp_path / SESSION).parent.parent.mkdir(parents=True)
    (tmp_path / "subject/2020-01-02").rename((tmp_path / SESSION).parent)
    update(tmp_path)
    assert rows(tmp_path) == before


def test_another_lab_name_replaces_the_sessions_of_the_first(tmp_path):
    put(tmp_path, {"subject/2020-01-02/001/a.b.npy": "a"})
    plainly(tmp_path, lab="wrong")
    update(tmp_path, lab="right")
    assert [row["lab"] for row in session_rows(tmp_path).values()] == ["right"]
    assert set(rows(tmp_path)) == {"right/Subjects/subject/2020-01-02/001/a.b.npy"}


def test_two_roots_make_one_archive(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    first = put(tmp_path / "first", {"A/2020-01-01/001/a.b.npy": "a", "A/2020-01-01/002/a.b.npy": "a"})
    second = put(tmp_path / "second", {"B/2020-01-01/001/a.b.npy": "a", "B/2020-01-01/002/a.b.npy": "a"})
    update(first, out)
    update(second, out)
    assert len(rows(out)) == len(session_rows(out)) == 4
    (first / "A/2020-01-01/001/a.b.npy").rename(first / "A/2020-01-01/002/c.d.npy")
    (first / "A/2020-01-01/001").rmdir()
    (second / "B/2020-01-01/002/a.b.npy").write_text("changed")
    update(first, out)
    assert {path: row["file_size"] for path, row in rows(out).items()} == {
        "A/2020-01-01/002/a.b.npy": 1, "A/2020-01-01/002/c.d.npy": 1,
        "B/2020-01-01/001/a.b.npy": 1, "B/2020-01-01/002/a.b.npy": 1,
    }  # fmt: skip
    update(second, out)
    assert rows(out)["B/2020-01-01/002/a.b.npy"]["file_size"] == 7
    raw = json.loads(pq.read_schema(out / "datasets.pqt").metadata[b"one_metadata"])
    assert raw["origin"] == [str(first), str(second)]


@pytest.mark.parametrize("number", range(6))
def test_tables_of_indexing_become_those_of_the_folder_indexed_anew(tmp_path, number):
    random = seeded(number)
    root, out = tmp_path / "root", tmp_path / "out"
    out.mkdir()
    folders = [SESSION, "lab/Subjects/subject/2020-01-02/002", "S/2020-01-02/001", "S/2020-01-02/1", "S/2020-01-02/2"]
    names = [f"{folder}a.b.npy" for folder in ("", "#1#/", "#2#/", "alf/", "alf/#1#/", "alf/#2020-01-01#/")] + [
        "c.d.npy"
    ]
    put(root, {f"{SESSION}/a.b.npy": "a"})
    for step in range(6):
        for _ in range(random.randrange(6)):
            folder = random.choice(folders)
            put(root, {f"{folder}/{random.choice(names)}": "x" * random.randrange(3)})
        for file in [file for file in root.rglob("*.npy") if random.random() < 0.2]:
            file.unlink()
        for folder in folders[1:]:
            if random.random() < 0.15:
                shutil.rmtree(root / folder, ignore_errors=True)
        update(root, out, hash_files=True)
        (anew := tmp_path / f"anew{step}").mkdir()
        plainly(root, anew, hash_files=True)
        assert rows(out) == rows(anew)
        assert session_rows(out) == session_rows(anew)


# Editions


def test_a_new_greater_edition_becomes_the_default_where_the_greatest_was(tmp_path):
    session = a_session()
    told = {
        "alf/a.b.npy": False, "alf/#2020-01-01#/a.b.npy": True,
        "alf/c.d.npy": True, "alf/#2020-01-01#/c.d.npy": False,
        "alf/e.f.npy": True, "g.h.npy": None, "#2020-01-01#/g.h.npy": None,
    }  # fmt: skip
    written(tmp_path, session, [a_dataset(session, path, default=default) for path, default in told.items()])
    put(tmp_path, {f"{SESSION}/{path}": "ten bytes." for path in told})
    update(tmp_path)
    new = [f"alf/#2021-01-01#/{name}" for name in ("a.b.npy", "c.d.npy", "e.f.npy")]
    new += ["#2021-01-01#/g.h.npy", "new/#2021-01-01#/i.j.npy"]
    put(tmp_path, {f"{SESSION}/{path}": "ten bytes." for path in [*new, "alf/#2019-01-01#/a.b.npy", "new/i.j.npy"]})
    update(tmp_path)
    assert defaults(tmp_path) == {"alf/c.d.npy", *(path for path in new if "c.d" not in path)}
    assert all(row["default_revision"] is not None for row in rows(tmp_path).values())
    for path in ("alf/#2021-01-01#/a.b.npy", "alf/#2021-01-01#/c.d.npy"):
        (tmp_path / SESSION / path).unlink()
    update(tmp_path)
    left = [path for path in new if "a.b" not in path and "c.d" not in path]
    assert defaults(tmp_path) == {"alf/#2020-01-01#/a.b.npy", "alf/c.d.npy", *left}


def test_a_table_without_the_column_stays_without_it(tmp_path):
    session, datasets = of_session("alf/a.b.npy")
    columns = dataset_columns(datasets)
    del columns["default_revision"], columns["qc"]
    save(tmp_path, session_columns([session]), columns)
    put(tmp_path, {f"{SESSION}/alf/#2021-01-01#/a.b.npy": "a"})
    update(tmp_path)
    assert pq.read_schema(tmp_path / "datasets.pqt").names == list(columns)
    assert len(rows(tmp_path)) == 2


# Tables of others


def test_tables_of_older_shapes_keep_them(tmp_path):
    session, datasets = of_session("alf/a.b.npy", "alf/c.d.npy", size=3)
    sessions = as_pair("id", [session.eid]) | {
        name: column.cast(pa.large_string()) if column.type == pa.string() else column
        for name, column in session_columns([session]).items()
        if name not in ("id", "projects")
    }
    columns = dataset_columns(datasets)
    older = {
        "hash": pa.nulls(2),
        "file_size": columns["file_size"].cast(pa.float64()),
        "rel_path": columns["rel_path"].cast(pa.large_string()),
        "exists_aws": pa.array([False, True]),
        "extra": pa.array([7, 8]),
        **as_pair("eid", [session.eid] * 2),
        **as_pair("id", [each.id for each in datasets]),
    }
    save(tmp_path, sessions, older)
    put(tmp_path, {f"{SESSION}/alf/{name}": "long" for name in ("a.b.npy", "c.d.npy", "new.new.npy")})
    put(tmp_path, {"other/2020-01-01/001/a.b.npy": "a"})
    update(tmp_path, hash_files=True)
    schema = pq.read_schema(tmp_path / "datasets.pqt")
    assert [(field.name, field.type) for field in schema] == [
        (name, column.type if name != "hash" else pa.string()) for name, column in older.items()
    ]
    found = pq.read_table(tmp_path / "datasets.pqt").to_pylist()
    told = [(row["rel_path"], row["file_size"], row["exists_aws"], row["extra"]) for row in found]
    assert told[:2] == [("alf/a.b.npy", 4.0, True, 7), ("alf/c.d.npy", 4.0, True, 8)]
    assert sorted(told[2:]) == [("a.b.npy", 1.0, True, None), ("alf/new.new.npy", 4.0, True, None)]
    assert [(row["id_0"], row["id_1"]) for row in found[:2]] == list(
        zip(older["id_0"].to_pylist(), older["id_1"].to_pylist(), strict=True)
    )
    assert not update(tmp_path).is_new
    assert len(reference.load_tables(tmp_path)["datasets"]) == 4


def reads_the_same(directory: Path) -> Mapping[str, pd.DataFrame]:
    """The tables as ONE reads them, which are checked to be what pandas reads."""
    theirs = reference.load_tables(directory)
    for name in ("sessions", "datasets"):
        frame = pd.read_parquet(directory / f"{name}.pqt")
        ids = frame.index.get_level_values("id")
        assert sorted(ids) == sorted(map(str, theirs[name].index.get_level_values("id")))
    datasets = theirs["datasets"]
    assert [str(datasets[name].dtype) for name in ("file_size", "exists", "qc")] == ["UInt64", "bool", "category"]
    assert list(datasets["qc"].cat.categories) == [each.name for each in QC]
    return theirs


def test_the_recorded_tables_of_alyx(tmp_path):
    copied_tables(tmp_path)
    before = rows_with_aggregates(tmp_path)
    root = tmp_path / "data"
    for source in (RECORDINGS / "data/public").rglob("*"):
        if source.is_file() and "aggregates" not in source.parts:
            target = root / source.relative_to(RECORDINGS / "data/public")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source.resolve())
    result = update(root, tmp_path)
    after = rows_with_aggregates(tmp_path)
    assert result.n_files > 20
    assert after.keys() == before.keys()  # all of the files carry the ids of their rows
    sizes = {UUID(file.name.split(".")[-2]): file.stat().st_size for file in root.rglob("*.*.*") if file.is_file()}
    for id_, row in after.items():
        size = sizes.get(UUID(id_))
        old = before[id_]
        if size is None:
            assert row == old
        else:
            same = size == old["file_size"]
            assert row == old | {"exists": True, "file_size": size, "hash": old["hash"] if same else None}
    put(root, {"cortexlab/Subjects/KS005/2019-04-01/001/alf/new.table.pqt": "new"})
    update(root, tmp_path)
    reads_the_same(tmp_path)
    one = One(cache_dir=tmp_path, mode="local")
    eid = one.search(subject="KS005", date="2019-04-01")[0]
    assert "alf/new.table.pqt" in one.list_datasets(eid)


def rows_with_aggregates(directory: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in pq.read_table(directory / "datasets.pqt").to_pylist()}


def test_tables_that_one_made_keep_its_ids(tmp_path):
    names = ("alf/p0/a.b.npy", "alf/p1/a.b.npy", "c.d.npy")
    folders = (SESSION, "lab/Subjects/subject/2020-01-02/002", "S/2020-01-02/001")
    put(tmp_path, {f"{folder}/{name}": "a" for folder in folders for name in names})
    reference.make_parquet_db(tmp_path)
    before = rows(tmp_path)
    with pytest.raises(TableError, match="--update"):
        plainly(tmp_path)
    put(tmp_path, {f"{SESSION}/alf/p0/a.b.npy": "changed", f"{SESSION}/new.new.npy": "new"})
    update(tmp_path, hash_files=True)
    after = rows(tmp_path)
    new = after.pop(f"{SESSION}/new.new.npy")
    assert new["eid"] == before[f"{SESSION}/c.d.npy"]["eid"]
    for path, row in before.items():
        file = tmp_path / path
        assert after[path] == row | {"file_size": file.stat().st_size, "hash": md5_of_file(file)}
    theirs = reads_the_same(tmp_path)
    assert set(theirs["datasets"]["rel_path"]) == {*names, "new.new.npy"}


def test_the_tables_of_the_demo_tell_the_same_of_its_files(tmp_path, demo_archive):
    demo = copied(demo_archive / "tables", tmp_path / "tables")
    before = {row["id"]: row for row in pq.read_table(demo / "datasets.pqt").to_pylist()}
    data = demo_archive / "data/public"
    update(data, demo)
    assert {row["id"]: row for row in pq.read_table(demo / "datasets.pqt").to_pylist()} == before
    update(data, demo, hash_files=True)
    assert {row["id"]: row for row in pq.read_table(demo / "datasets.pqt").to_pylist()} == before
    reads_the_same(demo)


# What is refused


@pytest.mark.parametrize("missing", TABLES)
def test_one_table_without_the_other_is_refused(tmp_path, missing):
    written(tmp_path, *of_session("a.b.npy"))
    put(tmp_path, {f"{SESSION}/a.b.npy": "a"})
    (tmp_path / missing).unlink()
    with pytest.raises(TableError, match=f"Put {missing} back, or remove"):
        update(tmp_path)
    assert [name for name in TABLES if (tmp_path / name).exists()] == [name for name in TABLES if name != missing]


@pytest.mark.parametrize("damaged", TABLES)
@pytest.mark.parametrize("is_cut", [True, False])
def test_damaged_tables_are_refused(tmp_path, damaged, is_cut):
    written(tmp_path, *of_session("a.b.npy"))
    put(tmp_path, {f"{SESSION}/a.b.npy": "a"})
    data = (tmp_path / damaged).read_bytes()
    # The footer can be read where only the first page of values is damaged.
    (tmp_path / damaged).write_bytes(data[: len(data) // 2] if is_cut else data[:4] + b"\xff" * 40 + data[44:])
    before = bytes_of(tmp_path)
    with pytest.raises(TableError, match="cannot be read"):
        update(tmp_path)
    assert bytes_of(tmp_path) == before


def test_tables_whose_ids_are_paths_are_refused(tmp_path):
    put(tmp_path, {f"{SESSION}/a.b.npy": "a"})
    make_parquet_db(tmp_path, hash_ids=False)
    put(tmp_path, {f"{SESSION}/a.b.npy": "abc"})
    before = bytes_of(tmp_path)
    with pytest.raises(TableError, match=r"no UUIDs.* Remove both tables"):
        update(tmp_path)
    assert bytes_of(tmp_path) == before


def test_without_tables_there_they_are_made(tmp_path):
    put(tmp_path, {f"{SESSION}/a.b.npy": "a"})
    assert update(tmp_path).is_new
    updated = [data for data, _ in bytes_of(tmp_path)]
    for name in TABLES:
        (tmp_path / name).unlink()
    assert plainly(tmp_path).is_new
    assert [pq.read_table(tmp_path / name).to_pylist() for name in TABLES] == [
        pq.read_table(pa.BufferReader(data)).to_pylist() for data in updated
    ]


def test_tables_that_another_program_changes_meanwhile_stay_as_it_left_them(tmp_path, monkeypatch):
    session, datasets = of_session("a.b.npy")
    written(tmp_path, session, datasets)
    put(tmp_path, {f"{SESSION}/a.b.npy": "a"})
    read = Comparison.read

    def read_and_save(self, file):
        read(self, file)
        written(tmp_path, session, [*datasets, a_dataset(session, "c.d.npy")])

    monkeypatch.setattr(Comparison, "read", read_and_save)
    with pytest.raises(BusyError, match="Another program has changed"):
        update(tmp_path)
    assert len(rows(tmp_path)) == 2
    monkeypatch.undo()
    assert update(tmp_path).is_new
    assert sorted(path.name for path in tmp_path.iterdir()) == [".onefs", "datasets.pqt", "lab", "sessions.pqt"]


# Without --update


def test_tables_that_come_while_files_are_hashed_are_not_replaced(tmp_path, monkeypatch):
    root = put(tmp_path / "root", {f"{SESSION}/a.b.npy": "a"})
    out = tmp_path / "out"
    out.mkdir()
    hash_files = run.hash_files

    def save_and_hash(files):
        written(out, *of_session("a.b.npy"))
        return hash_files(files)

    monkeypatch.setattr(run, "hash_files", save_and_hash)
    with pytest.raises(TableError, match="--update"):
        plainly(root, out, hash_files=True)
    monkeypatch.undo()
    assert update(root, out, hash_files=True).n_hashed == 0


@pytest.mark.parametrize("what", ["of one", "saved since", "of another root", "of alyx", "no cache table", "damaged"])
def test_tables_that_may_hold_more_than_the_files_are_not_replaced(tmp_path, what):
    root = put(tmp_path / "root", {f"{SESSION}/a.b.npy": "a"})
    out = tmp_path / "out"
    out.mkdir()
    remedy = "--update"
    if what == "of one":
        reference.make_parquet_db(root, out)
    elif what == "of alyx":
        written(out, *of_session("a.b.npy"))
    else:
        plainly(put(tmp_path / "another", {f"{SESSION}/a.b.npy": "a"}) if what == "of another root" else root, out)
        if what == "saved since":
            update(put(root, {f"{SESSION}/a.b.npy": "changed"}), out)
        elif what == "no cache table":
            pq.write_table(pa.table({"a": [1]}), out / "datasets.pqt")
            remedy = "Remove .*datasets.pqt"
        elif what == "damaged":
            (out / "datasets.pqt").write_bytes(b"PAR1")
            remedy = "Remove .*datasets.pqt"
    before = bytes_of(out)
    with pytest.raises(TableError, match=f"{remedy}.* --out DIR"):
        plainly(root, out)
    assert bytes_of(out) == before


def test_tables_of_a_folder_that_was_moved_can_be_brought_up_to_date(tmp_path):
    root = put(tmp_path / "root", {f"{SESSION}/a.b.npy": "a", f"{SESSION}/c.d.npy": "c"})
    out = tmp_path / "out"
    out.mkdir()
    plainly(root, out)
    before = rows(out)
    moved = root.rename(tmp_path / "moved")
    with pytest.raises(TableError, match=f"is of {root}, not of {moved}.*--update"):
        plainly(moved, out)
    assert not update(moved, out).is_new
    put(moved, {f"{SESSION}/c.d.npy": "changed"})
    update(moved, out)
    assert {path: row["id"] for path, row in rows(out).items()} == {path: row["id"] for path, row in before.items()}
    assert rows(out)[f"{SESSION}/c.d.npy"]["file_size"] == 7


def test_the_path_of_the_tables_may_be_no_text(tmp_path):
    root = put(tmp_path / os.fsdecode(b"root\xff"), {f"{SESSION}/a.b.npy": "a"})
    written(root, *of_session("a.b.npy"))
    assert update(root).is_new
    shutil.copytree(root, tmp_path / "copy")
    assert [row["file_size"] for row in rows(tmp_path / "copy").values()] == [1]


def test_a_lab_folder_mounted_elsewhere_is_the_same_lab(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    plainly(put(tmp_path / "lab/Subjects", {"subject/2020-01-02/001/a.b.npy": "a"}), out)
    before = rows(out)
    assert not update((tmp_path / "lab/Subjects").rename(tmp_path / "elsewhere"), out).is_new
    assert rows(out) == before


# Killed


def test_whatever_the_moment_it_is_killed_the_tables_are_whole(tmp_path):
    """A child ends at a random call of a function while it writes the tables; then the work is done again."""
    random = seeded(12)
    root = put(tmp_path / "root", {f"{SESSION}/{name}": "a" for name in ("a.b.npy", "c.d.npy")})
    put(root, {"other/2020-01-01/001/a.b.npy": "a"})
    session, datasets = of_session("a.b.npy", "e.f.npy")
    out = written(tmp_path / "out", session, datasets)
    update(root, out)
    put(root, {f"{SESSION}/g.h.npy": "new", f"{SESSION}/c.d.npy": "changed", "third/2020-01-01/001/a.b.npy": "a"})
    (root / SESSION / "a.b.npy").unlink()
    (root / "other/2020-01-01/001/a.b.npy").unlink()
    (root / "other/2020-01-01/001").rmdir()
    whole = copied(out, tmp_path / "whole")
    n_calls = _count_calls(lambda: update(root, whole))
    expected, old = rows(whole), [data for data, _ in bytes_of(out)]
    seen = []
    for part in range(KILLS):
        at = random.randrange(part * n_calls // KILLS, (part + 1) * n_calls // KILLS)
        killed = copied(out, tmp_path / f"killed{part}")
        _end_at_call(at, lambda killed=killed: update(root, killed))
        seen.append([data != before for (data, _), before in zip(bytes_of(killed), old, strict=True)])
        assert len(reference.load_tables(killed)["datasets"]) >= 2  # both can be read
        update(root, killed)
        assert rows(killed) == expected
        assert {file.name for file in killed.iterdir()} == {".onefs", *TABLES}
    assert [False, True] not in seen  # sessions come first, for datasets refer to them
    assert [False, False] in seen
    assert [True, True] in seen


KILLS = 12


def copied(directory: Path, target: Path) -> Path:
    return Path(shutil.copytree(directory, target))


def _count_calls(work: Callable[[], object]) -> int:
    """How many functions are called from when tables are written to the end of some work."""
    calls = itertools.count()
    _at_each_call(work, lambda: next(calls))
    return next(calls)


def _end_at_call(number: int, work: Callable[[], object]) -> None:
    """Do some work in a child, which ends without a word at one of these calls."""
    child = os.fork()
    if child == 0:
        calls = itertools.count()
        try:
            _at_each_call(work, lambda: next(calls) == number and os._exit(9))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def _at_each_call(work: Callable[[], object], do: Callable[[], object]) -> None:
    write = _Update.write

    def watched(self: _Update, origin: str) -> None:
        sys.setprofile(lambda _, event, __: do() if event in ("call", "c_call") else None)
        write(self, origin)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Update, "write", watched)
        try:
            work()
        finally:
            sys.setprofile(None)
