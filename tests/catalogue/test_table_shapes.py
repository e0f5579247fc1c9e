"""Tables of every shape that archives and older clients have written give the same catalogue."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import numpy as np
import one.alf.cache
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from iblutil.io.parquet import str2np
from in_memory import folder_in_memory
from table_shapes import (
    a_dataset,
    a_session,
    an_archive,
    as_pair,
    contents,
    dataset_columns,
    expected,
    save,
    session_columns,
)

from onefs.catalogue.interface import Learned
from onefs.catalogue.records import QC
from onefs.catalogue.saving import save_tables
from onefs.catalogue.snapshot import load_snapshot
from onefs.errors import TableError

SESSIONS, DATASETS = an_archive()
TEXTS = {
    "string": lambda array: array,
    "large": lambda array: array.cast(pa.large_string()),
    "dictionary": lambda array: array.dictionary_encode(),
    "large dictionary": lambda array: array.cast(pa.large_string()).dictionary_encode(),
}
DATES = {
    "date32": lambda array: array,
    "date64": lambda array: array.cast(pa.date64()),
    "timestamp": lambda array: array.cast(pa.timestamp("ns")),
    "text": lambda array: array.cast(pa.string()),
    "time as text": lambda array: pa.array([f"{day}T12:34:56" for day in array.to_pylist()]),
}
NUMBERS = {
    "uint16": lambda array: array,
    "int64": lambda array: array.cast(pa.int64()),
    "float": lambda array: array.cast(pa.float64()),
    "text": lambda array: array.cast(pa.string()),
}
IDS = {
    "text": lambda name, ids: {name: pa.array([i and str(i) for i in ids])},
    "capitals": lambda name, ids: {name: pa.array([i and str(i).upper() for i in ids])},
    "pair": as_pair,
    "bytes": lambda name, ids: {name: pa.array([i and i.bytes for i in ids], pa.binary(16))},
    "uuid": lambda name, ids: {name: pa.array([i and i.bytes for i in ids], pa.uuid())},
}
EXISTS = {
    "exists": lambda array: {"exists": array},
    "number": lambda array: {"exists": array.cast(pa.int64())},
    "two servers": lambda array: {"exists_aws": array, "exists_flatiron": pa.array([False] * len(array))},
    "one server": lambda array: {"exists_flatiron": array},
}


def shuffled(draw, columns):
    """The columns in another order, and the rows in another order."""
    rows = draw(st.permutations(range(len(next(iter(columns.values()))))))
    names = draw(st.permutations(list(columns)))
    return {name: columns[name].take(pa.array(rows)) for name in names}


def pick(draw, shapes):
    return shapes[draw(st.sampled_from(sorted(shapes)))]


@st.composite
def shapes(draw):
    sessions, datasets = session_columns(SESSIONS), dataset_columns(DATASETS)
    sessions |= {name: pick(draw, TEXTS)(sessions[name]) for name in ("lab", "subject", "task_protocol")}
    projects = pick(draw, TEXTS)(sessions.pop("projects"))
    sessions[draw(st.sampled_from(["project", "projects"]))] = projects
    sessions["date"] = pick(draw, DATES)(sessions["date"])
    sessions["number"] = pick(draw, NUMBERS)(sessions["number"])
    del sessions["id"], datasets["id"], datasets["eid"]
    sessions |= pick(draw, IDS)("id", [s.eid for s in SESSIONS])
    datasets |= pick(draw, IDS)("id", [d.id for d in DATASETS])
    datasets |= pick(draw, IDS)("eid", [d.eid for d in DATASETS])
    datasets["rel_path"] = pick(draw, TEXTS)(datasets["rel_path"])
    datasets["hash"] = pick(draw, TEXTS)(datasets["hash"])
    datasets |= pick(draw, EXISTS)(datasets.pop("exists"))
    if draw(st.booleans()):
        datasets["qc"] = datasets["qc"].dictionary_decode()
    if draw(st.booleans()):
        datasets["file_size"] = datasets["file_size"].cast(pa.float64())
    if draw(st.booleans()):
        datasets["session_path"] = pa.array([d.session_path for d in DATASETS])
    return shuffled(draw, sessions), shuffled(draw, datasets), draw(st.sampled_from([7, 1 << 20]))


@settings(max_examples=60, deadline=None)
@given(shapes())
def test_every_shape_tells_the_same(shape):
    sessions, datasets, group = shape
    with folder_in_memory() as folder:
        tables = save(Path(folder) / "t", sessions, datasets, row_group_size=group)
        snapshot = load_snapshot(tables, Path(folder) / "state")
        assert contents(snapshot) == expected(SESSIONS, DATASETS)
        assert set(snapshot.left_out) == {"two datasets of one path"}


def test_int_ids_as_the_reference_client_encodes_and_decodes_them(tmp_path):
    sessions, datasets = session_columns(SESSIONS), dataset_columns(DATASETS)
    texts = {"id": sessions.pop("id"), "dataset": datasets.pop("id"), "eid": datasets.pop("eid")}
    pairs = {name: str2np(column.to_pylist()) for name, column in texts.items()}
    sessions |= {"id_0": pa.array(pairs["id"][:, 0]), "id_1": pa.array(pairs["id"][:, 1])}
    for name, source in (("id", "dataset"), ("eid", "eid")):
        datasets |= {f"{name}_{half}": pa.array(pairs[source][:, half]) for half in (0, 1)}
    tables = save(tmp_path / "tables", sessions, datasets)
    snapshot = load_snapshot(tables, tmp_path / "state")
    assert contents(snapshot) == expected(SESSIONS, DATASETS)
    theirs = one.alf.cache.load_tables(tables)
    assert {s.eid for s in contents(snapshot)} == set(theirs["sessions"].index)


def test_tables_that_pandas_wrote_with_nameless_indexes(tmp_path):
    tables = save(tmp_path / "tables", session_columns(SESSIONS), dataset_columns(DATASETS))
    for name, index in (("sessions", ["id"]), ("datasets", ["eid", "id"])):
        file = tables / f"{name}.pqt"
        metadata = pa.parquet.read_schema(file).metadata
        frame = pd.read_parquet(file).set_index(index)
        frame.index.names = [None] * len(index)
        table = pa.Table.from_pandas(frame)
        pa.parquet.write_table(table.replace_schema_metadata({**table.schema.metadata, **metadata}), file)
    assert contents(load_snapshot(tables, tmp_path / "state")) == expected(SESSIONS, DATASETS)


def test_optional_columns_may_be_absent(tmp_path):
    sessions, datasets = session_columns(SESSIONS), dataset_columns(DATASETS)
    for columns, names in ((sessions, ["task_protocol", "projects"]), (datasets, ["qc", "default_revision"])):
        for name in names:
            del columns[name]
    told = contents(load_snapshot(save(tmp_path / "tables", sessions, datasets), tmp_path / "state"))
    assert told == expected(
        [replace(s, task_protocol="", projects="") for s in SESSIONS],
        [replace(d, qc=QC.NOT_SET, default_revision=None) for d in DATASETS],
    )


@pytest.mark.parametrize(
    ("values", "expected_qc"),
    [
        (["FAIL", "warning", None, "strange"], [QC.FAIL, QC.WARNING, QC.NOT_SET, QC.NOT_SET]),
        ([40.0, 30.0, float("nan"), 7.5], [QC.FAIL, QC.WARNING, QC.NOT_SET, QC.NOT_SET]),
        ([40, 30, None, 7], [QC.FAIL, QC.WARNING, QC.NOT_SET, QC.NOT_SET]),
    ],
)
def test_qc_as_plain_texts_or_numbers(tmp_path, values, expected_qc):
    session = a_session()
    rows = [a_dataset(session, f"{n}.times.npy") for n in "abcd"]
    datasets = dataset_columns(rows) | {"qc": pa.array(values)}
    snapshot = load_snapshot(save(tmp_path / "tables", session_columns([session]), datasets), tmp_path / "state")
    assert [dataset.qc for dataset in contents(snapshot)[session]] == expected_qc


def test_qc_categories_in_another_order(tmp_path):
    session = a_session()
    names = pa.array(["CRITICAL", "PASS", "NOT_SET"])
    datasets = dataset_columns([a_dataset(session, f"{n}.times.npy") for n in "abc"])
    datasets["qc"] = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2]), names)
    snapshot = load_snapshot(save(tmp_path / "tables", session_columns([session]), datasets), tmp_path / "state")
    assert list(snapshot.datasets(0).qc) == [4, 1, 0]


def test_unknown_sizes_and_hashes(tmp_path):
    session = a_session()
    rows = [a_dataset(session, f"{n}.times.npy") for n in "abcdef"]
    datasets = dataset_columns(rows)
    datasets["file_size"] = pa.array([-1, None, 0, 1.5, float("nan"), 2.0**70])
    dashed = str(UUID("AB" * 16)).upper()
    datasets["hash"] = pa.array([None, "", "0" * 31, dashed.replace("-", "_"), "0" * 64, "AB" * 16])
    told = contents(load_snapshot(save(tmp_path / "tables", session_columns([session]), datasets), tmp_path / "state"))
    assert [dataset.size_bytes for dataset in told[session]] == [None, None, 0, None, None, None]
    assert [dataset.md5 for dataset in told[session]] == ["", "", "", "", "", "ab" * 16]


@pytest.mark.parametrize("kind", ["string", "dictionary"])
def test_an_md5_with_the_dashes_of_a_uuid(tmp_path, kind):
    session = a_session()
    datasets = dataset_columns([a_dataset(session, f"{n}.times.npy") for n in "abcd"])
    plain = "0123456789abcdef0123456789abcdef"
    hashes = [str(UUID(plain)), plain, str(UUID(plain)).upper(), str(UUID(plain)).replace("-", "_")]
    datasets["hash"] = TEXTS[kind](pa.array(hashes))
    snapshot = load_snapshot(save(tmp_path / "tables", session_columns([session]), datasets), tmp_path / "state")
    rows = snapshot.datasets(0)
    assert [rows.dataset(i).md5 for i in range(4)] == [plain, plain, plain, ""]


@pytest.mark.parametrize("kind", [*TEXTS, "binary"])
def test_hashes_that_are_no_md5_are_counted(tmp_path, kind):
    session = a_session()
    hashes = ["xyz", None, "", "None", " ", "nan", "<NA>", "0123456789abcdef" * 2, "None of these", "nan " * 8]
    datasets = dataset_columns([a_dataset(session, f"{n}.times.npy") for n in range(len(hashes))])
    column = pa.array(hashes)
    datasets["hash"] = column.cast(pa.binary()) if kind == "binary" else TEXTS[kind](column)
    snapshot = load_snapshot(save(tmp_path / "tables", session_columns([session]), datasets), tmp_path / "state")
    (reason,), (left,) = snapshot.left_out.keys(), snapshot.left_out.values()
    assert (reason, left.count) == ("dataset with a hash that is no MD5, so that the file is not verified", 3)
    assert all(f"{n}.times" in text for n, text in zip((0, 8, 9), left.examples, strict=True))
    assert shown_hashes(snapshot) == [""] * 7 + [hashes[7], "", ""]


def shown_hashes(snapshot):
    rows = snapshot.datasets(0)
    return [rows.dataset(i).md5 for i in range(len(rows))]


def test_sizes_beyond_32_bits(tmp_path):
    session = a_session()
    datasets = dataset_columns([a_dataset(session, f"{n}.times.npy") for n in "abcd"])
    datasets["file_size"] = pa.array([2**40, 2**50, 2**50 + 1, 2**63 + 5], pa.uint64())
    snapshot = load_snapshot(save(tmp_path / "tables", session_columns([session]), datasets), tmp_path / "state")
    assert list(snapshot.datasets(0).sizes) == [2**40, 2**50, -1, -1]
    (reason,), (left,) = snapshot.left_out.keys(), snapshot.left_out.values()
    assert (reason, left.count) == ("dataset of an impossible size, shown as unknown", 2)
    assert "c.times.npy" in left.examples[0]


@pytest.mark.parametrize(("table", "column"), [("sessions", "lab"), ("datasets", "rel_path"), ("datasets", "other")])
def test_a_column_that_is_there_twice_is_named(tmp_path, table, column):
    columns = {"sessions": session_columns(SESSIONS), "datasets": dataset_columns(DATASETS)}
    tables = save(tmp_path / "tables", **columns)
    file = tables / f"{table}.pqt"
    whole = pa.parquet.read_table(file)
    values = columns[table].get(column, pa.nulls(len(whole), pa.string()))
    pa.parquet.write_table(whole.append_column(column, values).append_column(column, values), file)
    for use in (
        lambda: load_snapshot(tables, tmp_path / "state"),
        lambda: save_tables(tables, Learned([], []), clobber=False),
    ):
        with pytest.raises(TableError, match=rf"{table}\.pqt has two columns '{column}'") as caught:
            use()
        assert caught.value.remedy


def test_null_texts_and_flags(tmp_path):
    session = a_session(lab="", protocol="", projects="")
    sessions = session_columns([session])
    sessions |= {name: pa.nulls(1) for name in ("lab", "task_protocol", "projects")}
    datasets = dataset_columns([a_dataset(session, f"{n}.times.npy") for n in "ab"])
    datasets |= {"exists": pa.array([True, None]), "default_revision": pa.array([None, True])}
    snapshot = load_snapshot(save(tmp_path / "tables", sessions, datasets), tmp_path / "state")
    assert snapshot.session(0) == session
    assert snapshot.datasets(0).exists == [True, False]
    assert snapshot.datasets(0).default_revision == [None, True]


def test_timestamps_with_a_zone(tmp_path):
    session = a_session()
    when = datetime.combine(session.date, datetime.min.time(), UTC)
    sessions = session_columns([session]) | {"date": pa.array([when], pa.timestamp("us", "UTC"))}
    snapshot = load_snapshot(save(tmp_path / "tables", sessions, dataset_columns([])), tmp_path / "state")
    assert snapshot.session(0) == session


@pytest.mark.parametrize(
    ("table", "column"),
    [
        *(("sessions", name) for name in ("id", "lab", "subject", "date", "number")),
        *(("datasets", name) for name in ("id", "eid", "rel_path", "file_size", "hash", "exists")),
    ],
)
def test_a_missing_column_is_named(tmp_path, table, column):
    columns = {"sessions": session_columns(SESSIONS), "datasets": dataset_columns(DATASETS)}
    del columns[table][column]
    tables = save(tmp_path / "tables", **columns)
    with pytest.raises(TableError, match=rf"{table}\.pqt lacks the column '{column}'") as caught:
        load_snapshot(tables, tmp_path / "state")
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("table", "column"),
    [("sessions", "id"), ("sessions", "date"), ("sessions", "lab"), ("datasets", "eid"), ("datasets", "exists")],
)
def test_a_column_of_a_wrong_type_is_named(tmp_path, table, column):
    columns = {"sessions": session_columns(SESSIONS), "datasets": dataset_columns(DATASETS)}
    columns[table][column] = pa.array([{"a": 1}] * len(columns[table][column]))
    tables = save(tmp_path / "tables", **columns)
    with pytest.raises(TableError, match=rf"column '{column}' of the cache table .*{table}\.pqt"):
        load_snapshot(tables, tmp_path / "state")


@pytest.mark.parametrize(
    ("table", "column"), [("sessions", "subject"), ("sessions", "projects"), ("datasets", "rel_path")]
)
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_text_that_is_not_utf8(tmp_path, table, column, kind):
    columns = {"sessions": session_columns(SESSIONS), "datasets": dataset_columns(DATASETS)}
    values = [b"caf\xe9"] * len(columns[table][column])
    offset = np.int32 if kind == pa.string() else np.int64
    offsets = pa.py_buffer(np.arange(0, 4 * len(values) + 1, 4, dtype=offset))
    columns[table][column] = pa.Array.from_buffers(kind, len(values), [None, offsets, pa.py_buffer(b"".join(values))])
    tables = save(tmp_path / "tables", **columns)
    with pytest.raises(TableError, match=rf"{table}\.pqt") as caught:
        load_snapshot(tables, tmp_path / "state")
    assert caught.value.remedy


def test_qc_that_is_not_utf8_is_not_saved_over(tmp_path):
    names = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(np.int32([0, 4])), pa.py_buffer(b"caf\xe9")])
    datasets = dataset_columns(DATASETS)
    datasets["qc"] = pa.DictionaryArray.from_arrays(pa.array([0] * len(DATASETS), pa.int32()), names)
    tables = save(tmp_path / "tables", session_columns(SESSIONS), datasets)
    before = (tables / "datasets.pqt").read_bytes()
    with pytest.raises(TableError, match=r"(?i)utf-?8") as caught:
        save_tables(tables, Learned([], []), clobber=False)
    assert caught.value.remedy
    assert (tables / "datasets.pqt").read_bytes() == before
