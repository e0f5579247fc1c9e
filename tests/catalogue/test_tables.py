"""Cache tables as files: what is written is what pandas and ONE read, and what is no table is refused."""

import json

import one.alf.cache
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from table_shapes import (
    CREATED,
    RECORDED,
    a_dataset,
    a_session,
    an_archive,
    as_pair,
    dataset_columns,
    save,
    session_columns,
)

from onefs.catalogue.snapshot import load_snapshot
from onefs.catalogue.tables import find_tables, read_metadata, write_tables
from onefs.errors import TableError


def test_one_reads_what_is_written(tmp_path):
    sessions, datasets = an_archive()
    write_tables(tmp_path, sessions, datasets, created=CREATED, origin="demo")
    tables = one.alf.cache.load_tables(tmp_path)
    assert tables["_meta"]["raw"]["datasets"] == {
        "date_created": CREATED,
        "origin": {"demo"},
        "min_api_version": "2.10",
    }
    assert len(tables["sessions"]) == len(sessions)
    for session in sessions:
        row = tables["sessions"].loc[session.eid]
        assert [row.lab, row.subject, row.date, row.number] == [
            session.lab, session.subject, session.date, session.number
        ]  # fmt: skip
        assert [row.task_protocol, row.projects] == [session.task_protocol, session.projects]
    assert len(tables["datasets"]) == len(datasets)
    for dataset in datasets:
        row = tables["datasets"].loc[(dataset.eid, dataset.id)]
        assert row.rel_path == dataset.rel_path
        assert (None if pd.isna(row.file_size) else row.file_size) == dataset.size_bytes
        assert (row.hash or "") == dataset.md5
        assert [row.exists, row.qc, row.default_revision] == [
            dataset.exists, dataset.qc.name, dataset.default_revision
        ]  # fmt: skip


@pytest.mark.parametrize("table", ["sessions", "datasets"])
def test_written_columns_have_the_types_of_the_archives_own(tmp_path, table):
    write_tables(tmp_path, *an_archive(), created=CREATED, origin="demo")
    ours, theirs = (pq.read_schema(folder / f"{table}.pqt") for folder in (tmp_path, RECORDED))
    assert {field.name: field.type for field in ours} == {field.name: field.type for field in theirs}
    frames = [pd.read_parquet(folder / f"{table}.pqt") for folder in (tmp_path, RECORDED)]
    assert frames[0].index.names == frames[1].index.names
    assert dict(frames[0].dtypes) == dict(frames[1].dtypes)


def test_written_tables_are_sorted_for_the_reader(tmp_path):
    write_tables(tmp_path, *an_archive(), created=CREATED, origin="demo")
    assert pd.read_parquet(tmp_path / "datasets.pqt").index.is_monotonic_increasing
    assert pd.read_parquet(tmp_path / "sessions.pqt").index.is_monotonic_increasing


def test_an_empty_archive_can_be_written_and_read(tmp_path):
    write_tables(tmp_path, [], [], created=CREATED, origin="demo")
    tables = one.alf.cache.load_tables(tmp_path)
    assert tables["sessions"].empty
    assert tables["datasets"].empty


def test_no_default_revision_column_if_no_dataset_tells(tmp_path):
    session = a_session()
    write_tables(tmp_path, [session], [a_dataset(session, "a.b.npy", default=None)], created=CREATED, origin="")
    assert "default_revision" not in pq.read_schema(tmp_path / "datasets.pqt").names


def test_what_cannot_be_written_leaves_the_tables_that_were_there(tmp_path):
    write_tables(tmp_path, [a_session()], [], created=CREATED, origin="demo")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(TableError, match="cannot hold"):
        write_tables(tmp_path, [a_session(number=70_000)], [], created=CREATED, origin="demo")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_missing_directory_is_told(tmp_path):
    with pytest.raises(TableError, match=r"cannot be written to .*absent: No such file") as caught:
        write_tables(tmp_path / "absent", [], [], created=CREATED, origin="demo")
    assert caught.value.remedy


@pytest.mark.parametrize("missing", ["sessions.pqt", "datasets.pqt"])
def test_a_directory_without_one_of_the_tables(tmp_path, missing):
    files = write_tables(tmp_path, [], [], created=CREATED, origin="demo")
    assert find_tables(tmp_path) == files
    (tmp_path / missing).unlink()
    with pytest.raises(TableError, match=missing) as caught:
        find_tables(tmp_path)
    assert missing in caught.value.remedy


def test_metadata_of_the_recorded_tables():
    metadata = read_metadata(RECORDED / "datasets.pqt")
    assert (metadata.created, metadata.origin, metadata.min_api_version) == ("2026-11-20 09:19", "alyx", "2.10")
    assert metadata.tags == ()


def test_metadata_with_lists(tmp_path):
    raw = {"date_created": CREATED, "origin": ["here", "there"], "database_tags": ["Brainwidemap"]}
    table = pa.table({"id": ["x"]}).replace_schema_metadata({"one_metadata": json.dumps(raw)})
    pq.write_table(table, tmp_path / "sessions.pqt")
    metadata = read_metadata(tmp_path / "sessions.pqt")
    assert metadata.origin == "here, there"
    assert metadata.tags == ("Brainwidemap",)
    assert metadata.raw == raw


@pytest.mark.parametrize("one_metadata", [None, b"{}", b"[]", b'{"date_created": ""}', b"{", b"\xff"])
def test_a_parquet_file_that_is_no_cache_table(tmp_path, one_metadata):
    file = tmp_path / "sessions.pqt"
    metadata = {} if one_metadata is None else {b"one_metadata": one_metadata}
    pq.write_table(pa.table({"id": ["x"]}).replace_schema_metadata(metadata), file)
    with pytest.raises(TableError, match=r"sessions\.pqt") as caught:
        read_metadata(file)
    assert caught.value.remedy
    assert ("its metadata key one_metadata is missing." in caught.value.reason) == (one_metadata is None)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all", None])
def test_a_file_that_is_not_parquet(tmp_path, content):
    whole = (RECORDED / "sessions.pqt").read_bytes()
    file = tmp_path / "sessions.pqt"
    file.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(TableError, match=r"sessions\.pqt cannot be read") as caught:
        read_metadata(file)
    assert caught.value.remedy


# -- tables looked through before they are taken ---------------------------------------------------------------------


def odd_tables(directory, damage):
    sessions, datasets = an_archive()
    columns = {"sessions": session_columns(sessions), "datasets": dataset_columns(datasets)}
    damage(columns)
    save(directory, columns["sessions"], columns["datasets"])
    return find_tables(directory)


def other_bytes(column):
    """A text column's values with a byte that no UTF-8 text has."""
    texts = [text.encode() + b"\xff" for text in column.to_pylist()]
    return pa.array(texts, pa.binary()).view(pa.string())


HARMLESS = {
    "as it should be": lambda tables: None,
    "older ids": lambda tables: tables["sessions"].update(as_pair("id", [s.eid for s in an_archive()[0]])),
    "no qc": lambda tables: tables["datasets"].pop("qc"),
    "numbers as text": lambda tables: tables["sessions"].update(number=tables["sessions"]["number"].cast(pa.string())),
    "a column more": lambda tables: tables["datasets"].update(more=tables["datasets"]["id"]),
}
DAMAGES = {
    "no hash": lambda tables: tables["datasets"].pop("hash"),
    "no lab": lambda tables: tables["sessions"].pop("lab"),
    "sizes of lists": lambda tables: tables["datasets"].update(
        file_size=pa.array([[1]] * len(tables["datasets"]["id"]))
    ),
    "sizes of words": lambda tables: tables["datasets"].update(
        file_size=pa.array(["many"] * len(tables["datasets"]["id"]))
    ),
    "numbers of words": lambda tables: tables["sessions"].update(
        number=pa.array(["one"] * len(tables["sessions"]["id"]))
    ),
    "paths that are no text": lambda tables: tables["datasets"].update(
        rel_path=other_bytes(tables["datasets"]["rel_path"])
    ),
    "labs that are no text": lambda tables: tables["sessions"].update(lab=other_bytes(tables["sessions"]["lab"])),
}


@pytest.mark.parametrize("damage", HARMLESS)
def test_odd_but_good_tables_are_indexed(tmp_path, damage):
    odd_tables(tmp_path / "tables", HARMLESS[damage])
    assert load_snapshot(tmp_path / "tables", tmp_path / "state").n_sessions == len(an_archive()[0])


def test_the_recorded_tables_and_empty_ones_are_indexed(tmp_path):
    assert load_snapshot(RECORDED, tmp_path / "recorded").n_sessions
    write_tables(tmp_path, [], [], created=CREATED, origin="test")
    assert load_snapshot(tmp_path, tmp_path / "empty").n_sessions == 0


@pytest.mark.parametrize("damage", DAMAGES)
def test_tables_that_no_index_can_be_made_of_are_refused(tmp_path, damage):
    odd_tables(tmp_path / "tables", DAMAGES[damage])
    with pytest.raises(TableError, match=r"\w+\.pqt") as caught:
        load_snapshot(tmp_path / "tables", tmp_path / "state")
    assert caught.value.remedy


@pytest.mark.parametrize("table", ["sessions", "datasets"])
@pytest.mark.parametrize("cut", [lambda whole: whole[:-100], lambda whole: whole[:4] + b"\xff" * 400 + whole[404:]])
def test_tables_are_read_to_the_end(tmp_path, table, cut):
    write_tables(tmp_path, *an_archive(), created=CREATED, origin="test")
    file = tmp_path / f"{table}.pqt"
    file.write_bytes(cut(file.read_bytes()))
    with pytest.raises(TableError, match=rf"{table}\.pqt cannot be read"):
        load_snapshot(tmp_path, tmp_path / "state")


def test_both_tables_must_have_metadata(tmp_path):
    files = write_tables(tmp_path, *an_archive(), created=CREATED, origin="test")
    pq.write_table(pq.read_table(files.datasets).replace_schema_metadata(None), files.datasets)
    with pytest.raises(TableError, match="is not a cache table"):
        load_snapshot(tmp_path, tmp_path / "state")
