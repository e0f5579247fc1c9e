"""Frames of tables: how they are read from every shape of file, and a catalogue that answers from them."""

import json
import subprocess
import sys
from datetime import date, datetime
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from alyx_archive import AlyxArchive
from one.alf import cache as reference
from seeds import seeded
from table_shapes import (
    METADATA,
    RECORDED,
    a_dataset,
    a_session,
    an_archive,
    an_id,
    as_pair,
    dataset_columns,
    save,
    session_columns,
)

from onefs.catalogue.records import QC
from onefs.catalogue.snapshot import NO_EID, load_snapshot
from onefs.errors import TableError
from onefs.frames.catalogue import FrameCatalogue
from onefs.frames.reading import (
    DATASETS_COLUMNS,
    EMPTY_DATASETS_FRAME,
    EMPTY_SESSIONS_FRAME,
    QC_TYPE,
    SESSIONS_COLUMNS,
    datasets_frame,
    read_frame,
    session_series,
    sessions_frame,
)

SESSIONS, DATASETS = an_archive()


def frames_of(directory):
    return {name: read_frame(directory / f"{name}.pqt") for name in ("sessions", "datasets")}


@pytest.fixture
def tables(tmp_path):
    return frames_of(save(tmp_path / "tables", session_columns(SESSIONS), dataset_columns(DATASETS)))


def as_ours(frame):
    """A frame of the reference client's as onefs has it: ids are texts, and no hash is None."""
    names = frame.index.names
    frame = frame.reset_index()
    for name in names:
        frame[name] = frame[name].astype(str)
    if "hash" in frame:
        frame["hash"] = frame["hash"].replace("", None)
    return frame.set_index(names)


@pytest.mark.parametrize("name", ["sessions", "datasets"])
def test_recorded_tables_are_as_the_reference_client_has_them(name):
    ours = read_frame(RECORDED / f"{name}.pqt")
    pd.testing.assert_frame_equal(ours, as_ours(reference.load_tables(RECORDED)[name]))
    assert ours.index.is_monotonic_increasing


def test_tables_that_the_demos_server_exports_are_as_the_reference_client_has_them(tmp_path):
    archive = AlyxArchive(tmp_path)
    archive.put_all({f"lab/Subjects/S/2020-07-0{n}/001/alf/spikes.times.npy": bytes(n) for n in range(1, 6)})
    archive.publish()
    theirs = reference.load_tables(tmp_path / "tables")
    for name, frame in frames_of(tmp_path / "tables").items():
        pd.testing.assert_frame_equal(frame, as_ours(theirs[name]))


@pytest.mark.seeded
@pytest.mark.parametrize("seed", range(12))
def test_random_tables_are_as_the_reference_client_has_them(seed, tmp_path):
    """In an order, with columns and in types that vary as those of exports and of pandas do."""
    rng = seeded(seed)
    sessions = [a_session(n, rng.choice(["", "lab"]), f"S{n % 7}", number=n) for n in range(1, rng.randrange(3, 40))]
    datasets = [
        a_dataset(
            rng.choice(sessions),
            f"alf/probe{n % 3}/spikes.times{n}.npy",
            size=rng.choice([None, 0, rng.randrange(1 << 50)]),
            md5=rng.choice([None, ""]),
            exists=rng.random() < 0.8,
            qc=rng.choice(list(QC)),
            default=rng.random() < 0.5,
        )
        for n in range(rng.randrange(1, 200))
    ]
    columns = {"sessions": session_columns(sessions), "datasets": dataset_columns(datasets)}
    if seed % 3 == 0:
        columns["datasets"]["protected"] = pa.array([rng.random() < 0.1 for _ in datasets])
        columns["sessions"]["n_correct_trials"] = pa.array([rng.choice([None, 7]) for _ in sessions], pa.int64())
    for name, index in (("sessions", ["id"]), ("datasets", ["eid", "id"])):
        names = rng.sample(list(columns[name]), len(columns[name]))
        order = pa.array(rng.sample(range(len(columns[name]["id"])), len(columns[name]["id"])))
        table = pa.table({one: columns[name][one].take(order) for one in names})
        if seed % 2:  # by way of pandas, which keeps types and index in metadata of its own
            frame = table.to_pandas().set_index(index)
            table = pa.Table.from_pandas(frame.astype({"file_size": "UInt64"}) if name == "datasets" else frame)
        metadata = {**(table.schema.metadata or {}), b"one_metadata": json.dumps(METADATA).encode()}
        pq.write_table(table.replace_schema_metadata(metadata), tmp_path / f"{name}.pqt")
    theirs = reference.load_tables(tmp_path)
    for name, frame in frames_of(tmp_path).items():
        expected = as_ours(theirs[name])
        if name == "datasets" and not seed % 2:  # without pandas' metadata it has floats where a size is null
            expected["file_size"] = expected["file_size"].astype("UInt64")
        pd.testing.assert_frame_equal(frame, expected)


def test_index_and_types(tables):
    sessions, datasets = tables["sessions"], tables["datasets"]
    assert sessions.index.names == ["id"]
    assert datasets.index.names == ["eid", "id"]
    assert all(type(one) is str for one in sessions.index)
    assert all(type(one) is date for one in sessions["date"])
    assert sessions["number"].dtype == np.uint16
    assert datasets["file_size"].dtype == pd.UInt64Dtype()
    assert datasets["exists"].dtype == bool
    assert datasets["default_revision"].dtype == bool
    assert datasets["qc"].dtype == QC_TYPE
    assert (datasets["qc"] <= "FAIL").any()
    assert set(datasets["hash"][datasets["hash"].isna()]) <= {None}
    assert datasets["file_size"].isna().any()


def older(shape):  # noqa: C901 - a case for each shape
    """The archive's columns in an older shape, and what is lost in it."""
    sessions, datasets = session_columns(SESSIONS), dataset_columns(DATASETS)
    match shape:
        case "pairs":
            sessions = as_pair("id", [s.eid for s in SESSIONS]) | {k: v for k, v in sessions.items() if k != "id"}
            pairs = as_pair("eid", [d.eid for d in DATASETS]) | as_pair("id", [d.id for d in DATASETS])
            datasets = pairs | {k: v for k, v in datasets.items() if k not in ("eid", "id")}
        case "project":
            sessions["project"] = sessions.pop("projects")
        case "no qc":
            del datasets["qc"]
        case "session_path":
            datasets["session_path"] = pa.array([d.session_path for d in DATASETS])
        case "exists":
            exists = datasets.pop("exists")
            datasets["exists_aws"] = exists
            datasets["exists_flatiron"] = pa.array([False] * len(DATASETS))
        case "large strings":
            sessions = {k: v.cast(pa.large_string()) if v.type == pa.string() else v for k, v in sessions.items()}
            datasets = {k: v.cast(pa.large_string()) if v.type == pa.string() else v for k, v in datasets.items()}
        case "dictionaries":
            datasets["eid"] = datasets["eid"].dictionary_encode()
            datasets["rel_path"] = datasets["rel_path"].dictionary_encode()
            sessions["lab"] = sessions["lab"].dictionary_encode()
        case "other numbers":
            sessions["number"] = sessions["number"].cast(pa.float64())
            datasets["file_size"] = datasets["file_size"].cast(pa.float64())
            sessions["date"] = sessions["date"].cast(pa.timestamp("ns"))
            datasets["qc"] = pa.array([int(d.qc) for d in DATASETS])
        case "upper case":
            sessions["id"] = pa.array([str(s.eid).upper() for s in SESSIONS])
        case "reversed":
            sessions = {k: v[::-1] for k, v in sessions.items()}
            datasets = {k: v[::-1] for k, v in datasets.items()}
    return sessions, datasets


@pytest.mark.parametrize(
    "shape",
    ["pairs", "project", "session_path", "large strings", "dictionaries", "other numbers", "upper case", "reversed"],
)
def test_older_shapes_are_put_right(shape, tables, tmp_path):
    found = frames_of(save(tmp_path / "older", *older(shape)))
    for name, frame in tables.items():
        pd.testing.assert_frame_equal(found[name][frame.columns], frame)
        assert len(found[name].columns) == len(frame.columns)


def test_tables_without_qc(tmp_path):
    assert list(frames_of(save(tmp_path / "t", *older("no qc")))["datasets"]["qc"].unique()) == ["NOT_SET"]


def test_exists_of_several_places_is_kept_beside_exists(tables, tmp_path):
    found = frames_of(save(tmp_path / "older", *older("exists")))["datasets"]
    pd.testing.assert_series_equal(found["exists"], tables["datasets"]["exists"])
    assert not found["exists_flatiron"].any()
    assert {"exists_aws", "exists_flatiron"} <= set(found.columns)


def test_further_columns_are_kept(tmp_path):
    sessions, datasets = session_columns(SESSIONS), dataset_columns(DATASETS)
    sessions["n_trials"] = pa.array(range(len(SESSIONS)), pa.int32())
    datasets["protected"] = pa.array([None, *[True] * (len(DATASETS) - 1)])
    directory = save(tmp_path / "t", sessions, datasets)
    found = frames_of(directory)
    assert found["sessions"]["n_trials"].to_dict() == {str(s.eid): n for n, s in enumerate(SESSIONS)}
    assert found["datasets"]["protected"].isna().sum() == 1


def test_what_pandas_made_keeps_its_types(tmp_path):
    sessions, datasets = session_columns(SESSIONS), dataset_columns(DATASETS)
    frame = pa.table(datasets).to_pandas().set_index(["eid", "id"])
    frame["count"] = pd.array([None, *range(1, len(frame))], dtype="Int64")
    directory = save(tmp_path / "t", sessions, datasets)
    table = pa.Table.from_pandas(frame)
    metadata = {**table.schema.metadata, b"one_metadata": json.dumps(METADATA).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), directory / "datasets.pqt")
    assert read_frame(directory / "datasets.pqt")["count"].dtype == pd.Int64Dtype()


def test_ids_that_are_no_uuids_stay(tmp_path):
    sessions, datasets = session_columns(SESSIONS[:1]), dataset_columns(DATASETS[:1])
    sessions["id"] = pa.array(["lab/KS014/2020-07-01/001"])
    datasets["eid"], datasets["id"] = sessions["id"], pa.array(["alf/spikes.times.npy"])
    found = frames_of(save(tmp_path / "t", sessions, datasets))
    assert list(found["sessions"].index) == ["lab/KS014/2020-07-01/001"]
    assert list(found["datasets"].index) == [("lab/KS014/2020-07-01/001", "alf/spikes.times.npy")]


def test_numbers_that_are_null_or_out_of_range(tmp_path):
    sessions = session_columns(SESSIONS[:3]) | {"number": pa.array([None, 1, 70000], pa.int64())}
    found = read_frame(save(tmp_path / "t", sessions, dataset_columns([])) / "sessions.pqt")
    assert found["number"].dtype == pd.UInt16Dtype()
    assert sorted(found["number"].dropna()) == [1]


def test_insertions(tmp_path):
    eid, pid = str(SESSIONS[0].eid), str(an_id("probe"))
    table = pa.table({"id": [pid], "eid": [eid], "name": ["probe00"], "json": ["{}"]})
    file = tmp_path / "insertions.pqt"
    pq.write_table(table.replace_schema_metadata({"one_metadata": json.dumps(METADATA)}), file)
    frame = read_frame(file)
    assert list(frame.index) == [(eid, pid)]
    assert frame.index.names == ["eid", "id"]
    assert list(frame.columns) == ["name", "json"]


@pytest.mark.parametrize("lost", ["rel_path", "file_size", "eid"])
def test_a_table_that_lacks_a_needed_column(lost, tmp_path):
    datasets = dataset_columns(DATASETS)
    del datasets[lost]
    with pytest.raises(TableError, match=lost):
        frames_of(save(tmp_path / "t", session_columns(SESSIONS), datasets))


def test_a_column_of_another_type_is_named(tmp_path):
    datasets = dataset_columns(DATASETS[:1]) | {"file_size": pa.array([[1]])}
    with pytest.raises(TableError, match=r"file_size.*list"):
        frames_of(save(tmp_path / "t", session_columns(SESSIONS), datasets))


def test_damaged_files(tmp_path):
    (tmp_path / "sessions.pqt").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(TableError, match=r"sessions\.pqt"):
        read_frame(tmp_path / "sessions.pqt")


# -- small frames ----------------------------------------------------------------------------------------------------


def test_small_frames_are_as_the_big_ones(tables):
    small = datasets_frame(DATASETS).sort_index()
    pd.testing.assert_frame_equal(small, tables["datasets"][small.columns])
    by_id = datasets_frame(DATASETS[:3], keep_eid=False)
    assert by_id.index.names == ["id"]
    assert list(by_id.index) == [str(d.id) for d in DATASETS[:3]]
    pd.testing.assert_frame_equal(sessions_frame(SESSIONS).sort_index(), tables["sessions"])
    series = session_series(SESSIONS[0])
    assert series.name == str(SESSIONS[0].eid)
    assert series.to_dict() == tables["sessions"].loc[series.name].to_dict()


def test_small_frames_without_rows_have_the_types():
    pd.testing.assert_frame_equal(datasets_frame([]), EMPTY_DATASETS_FRAME)
    pd.testing.assert_frame_equal(sessions_frame([]), EMPTY_SESSIONS_FRAME)
    assert datasets_frame([], keep_eid=False).index.name == "id"
    assert "default_revision" in datasets_frame([], default_revision=True)
    for name, columns, frame in (
        ("SESSIONS_COLUMNS", SESSIONS_COLUMNS, EMPTY_SESSIONS_FRAME),
        ("DATASETS_COLUMNS", DATASETS_COLUMNS, EMPTY_DATASETS_FRAME),
    ):
        assert dict(columns) == getattr(reference, name)
        pd.testing.assert_frame_equal(frame, getattr(reference, f"EMPTY_{name.replace('COLUMNS', 'FRAME')}"))
    assert reference.QC_TYPE == QC_TYPE


def test_defaults_that_some_rows_lack():
    session = a_session()
    frame = datasets_frame([a_dataset(session, "a.b.npy"), a_dataset(session, "c.d.npy", default=None)])
    assert frame["default_revision"].dtype == pd.BooleanDtype()
    assert "default_revision" not in datasets_frame([a_dataset(session, "c.d.npy", default=None)])


# -- the catalogue ---------------------------------------------------------------------------------------------------


def told(catalogue):
    """All sessions and their datasets."""
    everything = {}
    for row in range(catalogue.n_sessions):
        rows = catalogue.datasets(row)
        everything[catalogue.session(row)] = [rows.dataset(i) for i in range(len(rows))]
    return everything


@pytest.mark.parametrize("source", ["recorded", "made"])
def test_frames_tell_what_the_index_tells(source, tmp_path):
    directory = RECORDED
    if source == "made":
        directory = save(tmp_path / "tables", session_columns(SESSIONS), dataset_columns(DATASETS))
    index, frames = load_snapshot(directory, tmp_path), FrameCatalogue(frames_of(directory))
    assert told(frames) == told(index)
    for row in range(index.n_sessions):
        session, rows = index.session(row), index.datasets(row)
        found = frames.find_session(session.eid)
        assert frames.session(found) == session
        assert frames.session_path(found) == index.session_path(row)
        reference_of_it = session.date, session.number, session.subject
        of_the_reference = {frames.session(found) for found in frames.sessions_of_ref(*reference_of_it)}
        assert of_the_reference == {index.session(found) for found in index.sessions_of_ref(*reference_of_it)}
        ours = frames.datasets(found)
        for name in ("rel_paths", "sizes", "exists", "qc", "default_revision"):
            assert list(getattr(ours, name)) == list(getattr(rows, name)), name
        assert [frames.find_dataset(rows.id(i)) for i in range(len(rows))] == [
            rows.dataset(i) for i in range(len(rows))
        ]
    assert frames.aggregates is index.aggregates is None
    assert frames.find_session(an_id("nobody")) is frames.find_dataset(an_id("nothing")) is None


def test_datasets_of_no_session(tmp_path):
    session = a_session()
    aggregate = a_dataset(None, "data/aggregates/Subjects/lab/KS005/trials.table.pqt", default=None)
    datasets = [a_dataset(session, "alf/a.b.npy", default=None), aggregate]
    directory = save(tmp_path / "tables", session_columns([session]), dataset_columns(datasets))
    index, frames = load_snapshot(directory, tmp_path), FrameCatalogue(frames_of(directory))
    assert frames.aggregates == index.aggregates == 1
    assert frames.session(1).eid == NO_EID
    assert frames.datasets(1).dataset(0) == index.datasets(1).dataset(0)
    assert frames.find_dataset(aggregate.id) == index.find_dataset(aggregate.id)
    assert len(frames.datasets(0)) == 1


def test_frames_with_datasets_of_no_session_are_looked_into_as_others(tmp_path):
    """Warnings are errors in tests: pandas has some for an index that it takes for unsorted."""
    datasets = [*DATASETS, a_dataset(None, "aggregates/a.b.npy"), a_dataset(None, "aggregates/c.d.npy")]
    frame = frames_of(save(tmp_path / "t", session_columns(SESSIONS), dataset_columns(datasets)))["datasets"]
    eid = str(DATASETS[0].eid)
    assert len(frame.loc[eid]) == sum(str(d.eid) == eid for d in DATASETS)
    assert len(frame.loc[frame.index[3] : frame.index[5]]) == 3
    assert list(frame.index.get_level_values("eid")[:3].isna()) == [True, True, False]
    doubled = FrameCatalogue({"sessions": sessions_frame(SESSIONS), "datasets": pd.concat([frame, frame.iloc[:1]])})
    assert len(doubled.datasets(len(SESSIONS))) == 2


def test_edits_are_seen_at_once(tables):
    catalogue = FrameCatalogue(tables)
    eid, row = SESSIONS[1].eid, catalogue.find_session(SESSIONS[1].eid)
    tables["sessions"].loc[str(eid), "projects"] = "other"
    assert catalogue.session(row).projects == "other"
    first = catalogue.datasets(row).dataset(0)
    tables["datasets"].loc[(str(eid), str(first.id)), "qc"] = "CRITICAL"
    assert catalogue.datasets(row).dataset(0).qc is QC.CRITICAL
    tables["datasets"] = tables["datasets"].drop((str(eid), str(first.id)))
    assert catalogue.find_dataset(first.id) is None
    tables["sessions"] = tables["sessions"].drop(str(eid))
    assert catalogue.find_session(eid) is None


def test_rows_added_by_hand(tables):
    """Ids may be UUIDs, dates other things than dates, and columns may be left out, as programs make them."""
    new = UUID("11111111-1111-4111-8111-111111111111")
    tables["sessions"].loc[new, ["lab", "subject", "date", "number"]] = ["lab", "new", datetime(2024, 1, 2, 3), 4]
    catalogue = FrameCatalogue(tables)
    row = catalogue.find_session(new)
    session = catalogue.session(row)
    assert (session.eid, session.subject, session.date, session.number) == (new, "new", date(2024, 1, 2), 4)
    assert session.projects == session.task_protocol == ""
    assert catalogue.sessions_of_ref(date(2024, 1, 2), 4, "new") == [row]
    dataset = an_id("by hand")
    rows = pd.DataFrame({"rel_path": ["a.b.npy"], "exists": [True]}, index=[(new, dataset)])
    rows.index = pd.MultiIndex.from_tuples(rows.index, names=["eid", "id"])
    tables["datasets"] = pd.concat([tables["datasets"], rows])
    found = catalogue.datasets(row).dataset(0)
    assert (found.id, found.rel_path, found.size_bytes, found.md5, found.qc) == (
        dataset,
        "a.b.npy",
        None,
        "",
        QC.NOT_SET,
    )
    assert catalogue.find_dataset(dataset) == found


def test_frames_with_another_index(tables):
    expected = told(FrameCatalogue(tables))
    tables = {name: frame.sample(frac=1, random_state=0).reset_index() for name, frame in tables.items()}
    assert {s.eid for s in told(FrameCatalogue(tables))} == {s.eid for s in expected}
    tables["datasets"] = tables["datasets"].set_index("id")
    assert told(FrameCatalogue(tables)) == expected


def test_paths_and_names_that_are_unsafe_are_left_out(tables):
    catalogue = FrameCatalogue(tables)
    eid = str(SESSIONS[1].eid)
    row = catalogue.find_session(SESSIONS[1].eid)
    n = len(catalogue.datasets(row))
    tables["datasets"].loc[(eid, str(an_id("bad"))), "rel_path"] = "../../../etc/passwd"
    assert len(catalogue.datasets(row)) == n
    assert catalogue.find_dataset(an_id("bad")) is None
    tables["sessions"].loc[eid, "subject"] = ".."
    assert catalogue.find_session(SESSIONS[1].eid) is None


def test_doubled_ids_can_be_told(tables):
    frame = tables["sessions"]
    tables["sessions"] = pd.concat([frame, frame.iloc[:1]])
    catalogue = FrameCatalogue(tables)
    eid = UUID(frame.index[0])
    assert len(catalogue.rows_of_eid(eid)) == 2
    dataset = tables["datasets"].iloc[:1]
    other = pd.MultiIndex.from_tuples([(frame.index[-1], dataset.index[0][1])], names=["eid", "id"])
    tables["datasets"] = pd.concat([tables["datasets"], dataset.set_axis(other)])
    assert len(catalogue.datasets_of_id(UUID(dataset.index[0][1]))) == 2


def test_probes(tables):
    eid, pid = SESSIONS[0].eid, an_id("probe")
    assert FrameCatalogue(tables).probes_of(eid) == []
    index = pd.MultiIndex.from_tuples([(str(eid), str(pid))], names=["eid", "id"])
    tables["insertions"] = pd.DataFrame({"name": ["probe00"]}, index=index)
    assert FrameCatalogue(tables).probes_of(eid) == [("probe00", pid)]
    assert FrameCatalogue(tables).insertion(pid) == (eid, "probe00")
    assert FrameCatalogue(tables).insertion(eid) is None


def test_a_cache_is_opened_without_pandas():
    code = (
        "import sys, pathlib; from onefs.frames.cache import Cache; c = Cache(pathlib.Path(sys.argv[1]));"
        "c.catalogue(); assert 'pandas' not in sys.modules; c.sessions; assert 'pandas' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, str(RECORDED)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
