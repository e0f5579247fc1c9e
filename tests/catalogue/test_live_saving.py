"""Saving what a database told: tables that onefs and ONE read, whole whatever happens, with all that stood in them."""

import json
import resource
import threading
from dataclasses import replace
from datetime import UTC, datetime

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from one.alf.cache import load_tables, merge_tables
from table_shapes import (
    CREATED,
    METADATA,
    a_dataset,
    a_session,
    an_archive,
    an_id,
    as_pair,
    contents,
    dataset_columns,
    expected,
    save,
    session_columns,
)

from onefs.catalogue import merging, saving
from onefs.catalogue.live import Learned
from onefs.catalogue.records import QC
from onefs.catalogue.saving import save_tables
from onefs.catalogue.snapshot import load_snapshot
from onefs.catalogue.tables import find_tables, read_metadata, write_tables
from onefs.errors import BusyError, TableError

SESSIONS, DATASETS = an_archive()
AGGREGATE = a_dataset(None, "Subjects/laba/S-2/_ibl_subjectTrials.table.pqt")
NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
SHOWN = [dataset for dataset in DATASETS if dataset.exists]


def write(directory, sessions, datasets):
    directory.mkdir(exist_ok=True)
    return write_tables(directory, sessions, datasets, created=CREATED, origin="test")


def saved(directory, learned, clobber=False, **options):
    save_tables(directory, learned, clobber=clobber, now=NOW, **options)
    return load_snapshot(directory, directory / "state")


def contents_of_files(directory):
    return {file.name: file.read_bytes() for file in directory.glob("*.pqt")}


@pytest.fixture(params=[merging.BATCH_ROWS, 7], ids=["one batch", "many batches"])
def _batches(request, monkeypatch):
    monkeypatch.setattr(merging, "BATCH_ROWS", request.param)


@pytest.mark.usefixtures("_batches")
def test_new_rows_are_added_and_known_ones_updated(tmp_path):
    changed = replace(SESSIONS[2], projects="renamed", task_protocol="")
    other = replace(SHOWN[0], size_bytes=77, md5="a" * 32, qc=QC.CRITICAL, exists=False, default_revision=False)
    unknown = replace(SHOWN[3], size_bytes=None, md5="")
    write(tmp_path, SESSIONS[:9], [d for d in SHOWN if d.eid in {s.eid for s in SESSIONS[:9]}])
    learned = Learned([changed, *SESSIONS[9:]], [d for d in SHOWN if d.eid in {s.eid for s in SESSIONS[9:]}])
    snapshot = saved(tmp_path, learned._replace(datasets=[*learned.datasets, other, unknown]))
    sessions = [changed if session.eid == changed.eid else session for session in SESSIONS]
    datasets = {dataset.id: dataset for dataset in (*SHOWN, other, unknown)}
    assert contents(snapshot) == expected(sessions, datasets.values())
    assert not snapshot.left_out
    assert snapshot.metadata.created == CREATED
    assert snapshot.metadata.raw["date_modified"] == "2026-05-06 07:08"
    assert read_metadata(tmp_path / "datasets.pqt").raw == snapshot.metadata.raw


def test_saving_twice_changes_nothing_more(tmp_path):
    write(tmp_path, SESSIONS[:3], [])
    first = contents(saved(tmp_path, Learned(SESSIONS, SHOWN)))
    tables = {name: pq.read_table(tmp_path / name).num_rows for name in ("sessions.pqt", "datasets.pqt")}
    assert contents(saved(tmp_path, Learned(SESSIONS[::-1], SHOWN[::-1]))) == first
    assert tables == {name: pq.read_table(tmp_path / name).num_rows for name in tables}


def test_aggregates_are_saved_too(tmp_path):
    write(tmp_path, SESSIONS, SHOWN)
    snapshot = saved(tmp_path, Learned([], [AGGREGATE]))
    assert snapshot.datasets(snapshot.aggregates).dataset(0) == AGGREGATE


def test_nothing_learned_leaves_all_rows(tmp_path):
    write(tmp_path, SESSIONS, SHOWN)
    assert contents(saved(tmp_path, Learned([], []))) == expected(SESSIONS, SHOWN)


def test_a_directory_without_tables_gets_what_was_learned(tmp_path):
    snapshot = saved(tmp_path / "new" / "folder", Learned(SESSIONS, SHOWN), origin="https://alyx.example.org")
    assert contents(snapshot) == expected(SESSIONS, SHOWN)
    assert snapshot.metadata.created == "2026-05-06 07:08"
    assert snapshot.metadata.origin == "https://alyx.example.org"


def test_clobber_replaces_what_is_there(tmp_path):
    write(tmp_path, SESSIONS, SHOWN)
    mine = [dataset for dataset in SHOWN if dataset.eid == SESSIONS[1].eid]
    assert contents(saved(tmp_path, Learned(SESSIONS[1:2], mine), clobber=True)) == expected(SESSIONS[1:2], mine)


def test_clobber_takes_the_place_of_tables_that_cannot_be_used(tmp_path):
    write(tmp_path, SESSIONS, SHOWN)
    (tmp_path / "datasets.pqt").write_bytes(b"rubbish")
    with pytest.raises(TableError, match=r"datasets\.pqt"):
        saved(tmp_path, Learned(SESSIONS, SHOWN))
    assert (tmp_path / "datasets.pqt").read_bytes() == b"rubbish"
    assert contents(saved(tmp_path, Learned(SESSIONS, SHOWN), clobber=True)) == expected(SESSIONS, SHOWN)


@pytest.mark.usefixtures("_batches")
def test_another_directory_gets_the_tables_in_use_and_what_was_learned(tmp_path):
    base = write(tmp_path / "base", SESSIONS[:8], [d for d in SHOWN if d.eid != SESSIONS[5].eid][:12])
    newest = replace(SHOWN[1], size_bytes=5)
    learned = Learned(SESSIONS[8:9], [newest, *SHOWN[12:20]])
    here = {
        dataset.id: dataset for dataset in (*[d for d in SHOWN if d.eid != SESSIONS[5].eid][:12], *learned.datasets)
    }
    assert contents(saved(tmp_path / "other", learned, base=base)) == expected(SESSIONS[:9], here.values())
    # Merged with what was in the directory: learned rows win, then the tables in use.
    write(tmp_path / "third", SESSIONS, [replace(d, size_bytes=1) for d in SHOWN])
    both = {dataset.id: replace(dataset, size_bytes=1) for dataset in SHOWN} | here
    assert contents(saved(tmp_path / "third", learned, base=base)) == expected(SESSIONS, both.values())
    assert contents(saved(tmp_path / "third", learned, base=base, clobber=True)) == expected(
        SESSIONS[:9], here.values()
    )
    assert contents(saved(tmp_path / "base", learned, base=base)) == expected(SESSIONS[:9], here.values())


def write_insertions(directory, names):
    rows = {"id": [str(an_id(name)) for name in names], "eid": [str(SESSIONS[0].eid)] * len(names), "name": names}
    table = pa.table({**rows, "model": ["3B"] * len(names)})
    pq.write_table(table.replace_schema_metadata({"one_metadata": json.dumps(METADATA)}), directory / "insertions.pqt")


def test_the_table_of_insertions_is_saved_too(tmp_path):
    mine, other = tmp_path / "mine", tmp_path / "other"
    write(mine, SESSIONS, DATASETS)
    write(other, [], [])
    write_insertions(mine, ["probe00", "probe01"])
    base = find_tables(mine)
    for directory in (tmp_path / "new", other):
        directory.mkdir(exist_ok=True)
        snapshot = saved(directory, Learned([], []), base=base)
        assert snapshot.insertion(an_id("probe01")) == (SESSIONS[0].eid, "probe01")
        assert pq.read_table(directory / "insertions.pqt").column("model").to_pylist() == ["3B", "3B"]
    write_insertions(other, ["probe01", "probe02"])
    snapshot = saved(other, Learned([], []), base=base)
    assert [name for name, _ in snapshot.probes_of(SESSIONS[0].eid)] == ["probe00", "probe01", "probe02"]
    assert len(load_tables(other)["sessions"]) == len(SESSIONS)
    before = (mine / "insertions.pqt").read_bytes()
    saved(mine, Learned([], []), base=base)
    assert (mine / "insertions.pqt").read_bytes() == before


def test_other_columns_and_their_values_stay(tmp_path):
    sessions = session_columns(SESSIONS) | {"weight": pa.array([float(n) for n in range(len(SESSIONS))])}
    datasets = dataset_columns(SHOWN) | {"note": pa.array([f"note {n}" for n in range(len(SHOWN))]).dictionary_encode()}
    save(tmp_path, sessions, datasets, row_group_size=5)
    new = a_session("new", day=SESSIONS[0].date)
    row = a_dataset(new, "x.npy")
    snapshot = saved(tmp_path, Learned([replace(SESSIONS[3], projects="p"), new], [replace(SHOWN[4], md5=""), row]))
    assert contents(snapshot)[new] == [row]
    weights = pq.read_table(tmp_path / "sessions.pqt").select(["id", "weight"]).to_pylist()
    assert {one["id"]: one["weight"] for one in weights} == {
        **{str(session.eid): float(n) for n, session in enumerate(SESSIONS)}, str(new.eid): None,
    }  # fmt: skip
    notes = pq.read_table(tmp_path / "datasets.pqt").select(["id", "note"]).to_pylist()
    assert {one["id"]: one["note"] for one in notes} == {
        **{str(dataset.id): f"note {n}" for n, dataset in enumerate(SHOWN)}, str(row.id): None,
    }  # fmt: skip
    assert pq.read_schema(tmp_path / "datasets.pqt").names == list(datasets)


def test_whether_a_revision_is_the_default_stays_known_if_the_database_does_not_say(tmp_path):
    write(tmp_path, SESSIONS, SHOWN)
    snapshot = saved(tmp_path, Learned([], [replace(dataset, default_revision=None, qc=QC.FAIL) for dataset in SHOWN]))
    assert contents(snapshot) == expected(SESSIONS, [replace(dataset, qc=QC.FAIL) for dataset in SHOWN])


def _older_shapes():
    sessions, datasets = session_columns(SESSIONS), dataset_columns(SHOWN)
    ids, eids = [d.id for d in SHOWN], [d.eid for d in SHOWN]
    named = {key: value for key, value in datasets.items() if key not in ("id", "eid", "exists")}
    pair_sessions = {key: value for key, value in sessions.items() if key not in ("id", "projects")}
    uuids = pa.array([one.bytes for one in ids], pa.binary(16))
    numbers = pa.array([int(d.qc) for d in SHOWN], pa.int64())
    return {
        "ids as pairs": (
            as_pair("id", [s.eid for s in SESSIONS]) | pair_sessions | {"project": sessions["projects"]},
            as_pair("eid", eids) | as_pair("id", ids) | named | {"exists_aws": datasets["exists"]},
        ),
        "large strings": (
            sessions | {"id": sessions["id"].cast(pa.large_string()), "lab": sessions["lab"].dictionary_encode()},
            datasets | {"id": datasets["id"].cast(pa.large_string()), "eid": datasets["eid"].dictionary_encode()},
        ),
        "index without a name": (
            {key: value for key, value in sessions.items() if key != "id"} | {"__index_level_0__": sessions["id"]},
            named
            | {"exists": datasets["exists"], "__index_level_0__": datasets["eid"], "__index_level_1__": datasets["id"]},
        ),
        "other types": (
            sessions | {"date": sessions["date"].cast(pa.string()), "number": sessions["number"].cast(pa.int64())},
            datasets | {"id": uuids, "qc": numbers, "file_size": datasets["file_size"].cast(pa.float64())},
        ),
    }  # fmt: skip


@pytest.mark.parametrize("shape", _older_shapes())
def test_tables_of_older_shapes_take_new_rows_in_their_own_shape(tmp_path, shape):
    save(tmp_path, *_older_shapes()[shape])
    names = {name: pq.read_schema(tmp_path / name).names for name in ("sessions.pqt", "datasets.pqt")}
    new, changed = a_session("new", day=SESSIONS[0].date), replace(SESSIONS[4], projects="p", task_protocol="q")
    row, other = a_dataset(new, "x.npy", qc=QC.WARNING), replace(SHOWN[6], size_bytes=99, qc=QC.PASS)
    snapshot = saved(tmp_path, Learned([new, changed], [row, other]))
    sessions = {session.eid: session for session in (*SESSIONS, new, changed)}
    datasets = {dataset.id: dataset for dataset in (*SHOWN, row, other)}
    assert contents(snapshot) == expected(sessions.values(), datasets.values())
    assert names == {name: pq.read_schema(tmp_path / name).names for name in names}


# -- ONE reads it, and would have saved the same ---------------------------------------------------------------------


def _as_one_learns(learned):
    """The same rows as ONE makes them from Alyx's answers."""
    sessions = pd.DataFrame(
        [(s.eid, s.lab, s.subject, s.date, s.number, s.task_protocol, s.projects) for s in learned.sessions],
        columns=["id", "lab", "subject", "date", "number", "task_protocol", "projects"],
    ).set_index("id")
    names = ["eid", "id", "file_size", "hash", "exists", "rel_path", "default_revision", "qc"]
    datasets = pd.DataFrame(
        [
            (d.eid, d.id, d.size_bytes, d.md5, d.exists, d.rel_path, bool(d.default_revision), d.qc.name)
            for d in learned.datasets
        ],
        columns=names,
    ).set_index(["eid", "id"])
    return {"sessions": sessions, "datasets": datasets}


def test_the_reference_client_reads_what_it_would_have_merged_itself(tmp_path):
    known = [d for d in SHOWN if d.eid in {s.eid for s in SESSIONS[:9]}]
    changed = replace(known[2], md5="b" * 32, qc=QC.WARNING)
    learned = Learned([replace(SESSIONS[2], projects="p"), *SESSIONS[9:]], [*SHOWN[len(known) :], changed])
    write(tmp_path / "one", SESSIONS[:9], known)
    oracle = load_tables(tmp_path / "one")
    merge_tables(oracle, **_as_one_learns(learned))
    write(tmp_path / "onefs", SESSIONS[:9], known)
    saved(tmp_path / "onefs", learned)
    ours = load_tables(tmp_path / "onefs")
    assert ours["_meta"]["raw"]["datasets"]["date_modified"] == "2026-05-06 07:08"
    for name in ("sessions", "datasets"):
        theirs = oracle[name].sort_index()
        mine = ours[name].sort_index()[theirs.columns]
        assert list(mine.index) == list(theirs.index)
        if name == "datasets":
            theirs, mine = theirs.fillna({"hash": ""}), mine.fillna({"hash": ""})
        pd.testing.assert_frame_equal(mine, theirs, check_dtype=False, check_categorical=True)
        assert (
            mine.dtypes["qc" if name == "datasets" else "number"]
            == theirs.dtypes["qc" if name == "datasets" else "number"]
        )


def test_unknown_sizes_are_nulls_for_the_reference_client_not_fractions(tmp_path):
    known = [replace(dataset, size_bytes=1 << 60, default_revision=True) for dataset in SHOWN[:3]]
    save(tmp_path, session_columns(SESSIONS), dataset_columns(known))
    frame = pd.read_parquet(tmp_path / "datasets.pqt").set_index(["eid", "id"]).astype({"file_size": "uint64"})
    table = pa.Table.from_pandas(frame)
    metadata = {**table.schema.metadata, b"one_metadata": json.dumps({"date_created": CREATED}).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "datasets.pqt")
    saved(tmp_path, Learned([], [replace(SHOWN[4], size_bytes=None, default_revision=None)]))
    frame = load_tables(tmp_path)["datasets"]
    assert str(frame.dtypes["file_size"]) == "UInt64"
    assert frame["file_size"].isna().sum() == 1
    assert frame["file_size"].dropna().unique().tolist() == [1 << 60]


# -- whole or as they were -------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_tables_as_they_were(tmp_path):
    write(tmp_path, SESSIONS, SHOWN)
    before = contents_of_files(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(TableError, match="cannot be saved to") as caught:
            save_tables(tmp_path, Learned(SESSIONS, SHOWN), clobber=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.remedy
    assert contents_of_files(tmp_path) == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".onefs", "datasets.pqt", "sessions.pqt"]


def test_a_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TableError, match="cannot be saved to") as caught:
        save_tables(tmp_path / "file", Learned(SESSIONS, SHOWN), clobber=False)
    assert "writable" in caught.value.remedy


def test_a_single_table_is_no_pair_to_merge_with(tmp_path):
    write(tmp_path, SESSIONS, SHOWN).sessions.unlink()
    with pytest.raises(TableError, match=r"no cache table sessions\.pqt"):
        save_tables(tmp_path, Learned(SESSIONS, SHOWN), clobber=False)


def test_a_file_that_is_no_cache_table_is_not_merged_with(tmp_path):
    save(tmp_path, session_columns(SESSIONS), dataset_columns(SHOWN), metadata={})
    before = contents_of_files(tmp_path)
    with pytest.raises(TableError, match="its metadata key one_metadata has no date_created"):
        save_tables(tmp_path, Learned(SESSIONS, SHOWN), clobber=False)
    assert contents_of_files(tmp_path) == before


def test_a_table_whose_middle_is_damaged_stays_as_it_is(tmp_path):
    file = write(tmp_path, SESSIONS, SHOWN).datasets
    whole = file.read_bytes()
    file.write_bytes(whole[:4] + b"\xff" * 400 + whole[404:])
    before = contents_of_files(tmp_path)
    with pytest.raises(TableError, match=r"datasets\.pqt cannot be read"):
        save_tables(tmp_path, Learned(SESSIONS, SHOWN), clobber=False)
    assert contents_of_files(tmp_path) == before


def test_two_that_save_at_once_both_have_their_rows_saved(tmp_path):
    write(tmp_path, SESSIONS[:1], [])
    halves = [Learned(SESSIONS[n::2], [d for d in SHOWN if d.eid in {s.eid for s in SESSIONS[n::2]}]) for n in (0, 1)]
    saving_now = [
        threading.Thread(target=save_tables, args=(tmp_path, half), kwargs={"clobber": False}) for half in halves
    ]
    for thread in saving_now:
        thread.start()
    for thread in saving_now:
        thread.join()
    assert contents(load_snapshot(tmp_path, tmp_path / "state")) == expected(SESSIONS, SHOWN)


def test_tables_that_somebody_keeps_locked_are_not_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "LOCK_TIMEOUT_S", 0.01)
    (tmp_path / ".onefs").mkdir()
    with FileLock(tmp_path / ".onefs" / "tables.lock"), pytest.raises(BusyError, match="Another process"):
        save_tables(tmp_path, Learned(SESSIONS, SHOWN), clobber=False)
    assert not list(tmp_path.glob("*.pqt"))


def test_tables_with_ids_in_other_columns_are_not_mixed(tmp_path):
    base = write(tmp_path / "base", SESSIONS, SHOWN)
    save(tmp_path / "old", *_older_shapes()["ids as pairs"])
    with pytest.raises(TableError, match="ids in other columns"):
        save_tables(tmp_path / "old", Learned([], []), clobber=False, base=base)


def test_a_column_that_cannot_hold_what_was_learned_is_named(tmp_path):
    datasets = dataset_columns(SHOWN) | {"file_size": pa.array([1] * len(SHOWN), pa.int8())}
    save(tmp_path, session_columns(SESSIONS), datasets)
    before = contents_of_files(tmp_path)
    with pytest.raises(TableError, match=r"column 'file_size' of .* holds int8"):
        save_tables(tmp_path, Learned([], [replace(SHOWN[0], size_bytes=1000)]), clobber=False)
    assert contents_of_files(tmp_path) == before


def test_a_snapshot_that_is_open_goes_on_while_its_tables_are_replaced(tmp_path):
    write(tmp_path, SESSIONS[:5], [])
    before = load_snapshot(tmp_path, tmp_path / "state")
    saved(tmp_path, Learned(SESSIONS, SHOWN))
    assert contents(before) == expected(SESSIONS[:5], [])
    assert find_tables(tmp_path) == before.files
