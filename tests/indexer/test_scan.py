"""Making tables from a folder, against what the reference client makes of it."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID

import pandas as pd
import pyarrow.parquet as pq
import pytest
from one.alf import cache as reference
from one.alf.io import iter_sessions

from onefs.api.cache import load_tables, make_parquet_db
from onefs.catalogue.snapshot import load_snapshot
from onefs.catalogue.tables import find_tables
from onefs.digests import md5_of_file
from onefs.indexer.scan import is_dataset, session_key
from onefs.one_errors import UsageError

FILES = (
    "cortexlab/Subjects/KS014/2020-07-01/001/alf/probe00/spikes.times.npy",
    "cortexlab/Subjects/KS014/2020-07-01/001/alf/probe01/spikes.times.npy",
    "cortexlab/Subjects/KS014/2020-07-01/001/alf/#2024-05-06#/spikes.times.npy",
    "cortexlab/Subjects/KS014/2020-07-01/001/alf/spikes.times.npy",
    "cortexlab/Subjects/KS014/2020-07-01/002/alf/spikes.times.npy",
    "mainenlab/Subjects/KS014/2020-07-01/001/alf/spikes.times.npy",
    "a.subject-1/2020-07-01/001/_ibl_trials.table.pqt",
    "a.subject-1/2020-07-01/001/channels._phy_ids.csv",
)
OTHERS = (
    "cortexlab/Subjects/KS014/2020-07-01/001/spike_train.npy",
    "cortexlab/Subjects/KS014/2020-07-01/001/alf/notes with spaces.x.npy",
    "cortexlab/Subjects/KS014/2020-07-01/001/.hidden.x.npy",
    "cortexlab/Subjects/KS014/2020-07-01/spikes.times.npy",
    "not/a/session/spikes.times.npy",
    "sessions.lost.npy",
)


def fill(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(file.encode())
    return root


@pytest.fixture
def root(tmp_path):
    return fill(tmp_path / "data", *FILES, *OTHERS)


def indexed(root: Path) -> set[str]:
    """The paths that the tables of a folder tell, from its root."""
    snapshot = load_snapshot(root, root / "state")
    rows = [snapshot.datasets(row) for row in range(snapshot.n_sessions)]
    return {each.dataset(i).path for each in rows for i in range(len(each))}


def test_valid_names_at_any_depth_are_indexed(root):
    make_parquet_db(root)
    assert indexed(root) == set(FILES)


def test_the_reference_client_finds_the_same(tmp_path):
    root = fill(tmp_path / "valid", *FILES)  # of invalid names it makes tables that it cannot read
    make_parquet_db(root)
    ours = reference.load_tables(root)
    (tmp_path / "theirs").mkdir()
    reference.make_parquet_db(root, tmp_path / "theirs")
    theirs = reference.load_tables(tmp_path / "theirs")

    def told(tables):
        sessions = tables["sessions"]
        joined = tables["datasets"].join(sessions, on="eid")
        columns = ["lab", "subject", "date", "number", "rel_path", "file_size", "exists", "qc", "projects"]
        return set(joined[columns].astype(str).itertuples(index=False, name=None)), len(joined), len(sessions)

    assert told(ours) == told(theirs)


def test_sessions_are_those_of_the_reference_client(root):
    (root / "empty/2020-07-01/001").mkdir(parents=True)
    (root / "empty/2020-07-01/01x").mkdir(parents=True)
    make_parquet_db(root)
    subjects = list(load_tables(root)["sessions"]["subject"])
    assert subjects.count("empty") == 1
    assert len(subjects) == len(list(iter_sessions(root)))


def test_ids_differ_between_sessions_and_are_the_same_at_every_run(root, tmp_path):
    make_parquet_db(root)
    first = load_tables(root)
    make_parquet_db(root)
    pd.testing.assert_frame_equal(first["datasets"], load_tables(root)["datasets"])
    ids = first["datasets"].index.get_level_values("id")
    assert ids.is_unique
    assert {UUID(text).version for text in (*ids, *first["sessions"].index)} == {3}


def test_a_change_elsewhere_keeps_the_ids(root):
    make_parquet_db(root)
    before = load_tables(root)["datasets"]
    fill(root, "another/2020-07-01/001/alf/spikes.times.npy")
    make_parquet_db(root)
    after = load_tables(root)["datasets"]
    assert set(before.index) < set(after.index)


def test_ids_that_are_paths(root):
    sessions, datasets = make_parquet_db(root, hash_ids=False)
    frame = pd.read_parquet(datasets)
    assert isinstance(frame.index, pd.RangeIndex)
    assert list(frame.id) == list(frame.rel_path)
    assert list(pd.read_parquet(sessions).id) == [
        "a.subject-1/2020-07-01/001",
        "cortexlab/KS014/2020-07-01/001",
        "cortexlab/KS014/2020-07-01/002",
        "mainenlab/KS014/2020-07-01/001",
    ]
    assert list(frame.eid.unique()) == list(pd.read_parquet(sessions).id)
    assert len(reference.load_tables(root)["datasets"]) == len(FILES)


def test_rows_whose_ids_are_paths_are_in_the_order_of_folders(tmp_path):
    folders = ["a/2020-01-02/001", "a/2020-01-02/002", "a-b/2020-01-02/001", "a.b/2020-01-02/001", "aa/2020-01-02/001"]
    names = ["x/a.b.npy", "x/y/a.b.npy", "x-y/a.b.npy"]
    fill(tmp_path, *(f"{folder}/{name}" for folder in reversed(folders) for name in reversed(names)))
    sessions, datasets = make_parquet_db(tmp_path, hash_ids=False)
    assert list(pd.read_parquet(sessions).id) == folders
    assert list(zip(*(pd.read_parquet(datasets)[name] for name in ("eid", "id")), strict=True)) == [
        (folder, name) for folder in folders for name in names
    ]


def test_hashes_are_null_or_right(root):
    make_parquet_db(root)
    assert load_tables(root)["datasets"]["hash"].isna().all()
    make_parquet_db(root, hash_files=True)
    joined = load_tables(root)["datasets"]
    assert set(joined["hash"]) == {md5_of_file(root / file) for file in FILES}


def test_only_the_greatest_edition_is_default(root):
    make_parquet_db(root)
    frame = load_tables(root)["datasets"]
    assert list(frame.rel_path[~frame.default_revision]) == ["alf/spikes.times.npy"]
    fill(root, "cortexlab/Subjects/KS014/2020-07-01/001/alf/#2023-05-06#/spikes.times.npy")
    make_parquet_db(root)
    frame = load_tables(root)["datasets"]
    older = ["alf/#2023-05-06#/spikes.times.npy", "alf/spikes.times.npy"]
    assert sorted(frame.rel_path[~frame.default_revision]) == older


def test_metadata_has_two_keys(root):
    for file in make_parquet_db(root):
        raw = json.loads(pq.read_schema(file).metadata[b"one_metadata"])
        assert set(raw) == {"date_created", "origin"}
        assert raw["origin"] == str(root)


@pytest.mark.usefixtures("_far_from_utc")
def test_tables_are_dated_in_utc(root):
    before = datetime.now(UTC).replace(second=0, microsecond=0)
    for file in make_parquet_db(root):
        raw = json.loads(pq.read_schema(file).metadata[b"one_metadata"])
        created = datetime.strptime(raw["date_created"], "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
        assert before <= created <= datetime.now(UTC)


def test_a_given_lab_fills_in(root):
    with pytest.raises(UsageError, match="cortexlab, and not of otherlab"):
        make_parquet_db(root, lab="otherlab")
    make_parquet_db(root / "a.subject-1", root, lab="otherlab")
    assert list(load_tables(root)["sessions"]["lab"]) == ["otherlab"]


def test_the_lab_may_stand_above_the_root(root):
    make_parquet_db(root / "mainenlab/Subjects", root)
    session = load_tables(root)["sessions"].iloc[0]
    assert (session["lab"], session["subject"], session["date"]) == ("mainenlab", "KS014", date(2020, 7, 1))


def test_folders_of_one_session_make_one(tmp_path):
    fill(tmp_path, "S/2020-07-01/1/a.b.npy", "S/2020-07-01/001/a.b.npy", "S/2020-07-01/001/c.d.npy")
    make_parquet_db(tmp_path)
    assert len(load_tables(tmp_path)["sessions"]) == 1
    assert sorted(load_tables(tmp_path)["datasets"]["rel_path"]) == ["a.b.npy", "c.d.npy"]


def test_days_that_no_calendar_has_are_no_sessions():
    assert session_key("/data/S/2020-13-45/001") is None


def test_links_to_folders_are_not_followed(tmp_path):
    fill(tmp_path, "S/2020-07-01/001/alf/a.b.npy")
    (tmp_path / "S/2020-07-01/001/alf/loop").symlink_to(tmp_path)
    (tmp_path / "S/2020-07-02").symlink_to(tmp_path / "S/2020-07-01")
    make_parquet_db(tmp_path)
    assert list(load_tables(tmp_path)["datasets"]["rel_path"]) == ["alf/a.b.npy"]


def test_nothing_found_makes_tables_without_rows(tmp_path):
    with pytest.warns(RuntimeWarning, match="No sessions"):
        make_parquet_db(tmp_path)
    assert find_tables(tmp_path)
    for frame in (reference.load_tables(tmp_path), load_tables(tmp_path)):
        assert frame["sessions"].empty
        assert frame["datasets"].empty
    (tmp_path / "S/2020-07-01/001").mkdir(parents=True)
    with pytest.warns(RuntimeWarning, match="No datasets"):
        make_parquet_db(tmp_path)
    assert len(load_tables(tmp_path)["sessions"]) == 1


def test_folders_must_be_there(tmp_path):
    with pytest.raises(UsageError, match="nowhere cannot be indexed: No such file"):
        make_parquet_db(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="nowhere cannot hold the tables: No such file"):
        make_parquet_db(tmp_path, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("path", "is_valid"),
    [
        ("alf/probe00/#2024-01-01#/_ibl_spikes.times_ephysClock.probe00.npy", True),
        ("alf/#2024-01-01#/more/spikes.times.npy", False),
        ("my data/spikes.times.npy", False),
        ("a.b", False),
        ("channels._phy_ids.csv", True),
    ],
)
def test_paths_that_are_valid(path, is_valid):
    assert is_dataset(path) is is_valid
