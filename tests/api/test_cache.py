"""`Cache`: frames made when touched; loading and saving tables; and pruning a cache directory."""

import json
import logging
import os
import pickle
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from one.alf import cache as reference
from table_shapes import (
    CREATED,
    METADATA,
    RECORDED,
    a_dataset,
    a_session,
    an_archive,
    an_id,
    dataset_columns,
    save,
    session_columns,
)

from onefs import errors
from onefs.api import cache as face
from onefs.cache.store import ContentStore
from onefs.catalogue import saving
from onefs.catalogue.interface import Learned
from onefs.catalogue.snapshot import load_snapshot
from onefs.errors import BusyError
from onefs.frames.cache import Cache
from onefs.frames.reading import datasets_frame, session_series, sessions_frame
from onefs.one_errors import TableError

SESSIONS, DATASETS = an_archive()
NEW = a_session("new", subject="new", day=date(2024, 1, 2))


class Taught:
    """What somebody learned."""

    def __init__(self, sessions=(), datasets=()):
        self.what = Learned(list(sessions), list(datasets))

    def learned(self):
        return self.what


@pytest.fixture
def directory(tmp_path):
    return save(tmp_path / "tables", session_columns(SESSIONS), dataset_columns(DATASETS))


def raw_of(directory, name="sessions"):
    return json.loads(pq.read_schema(directory / f"{name}.pqt").metadata[b"one_metadata"])


def add_table(directory, name, columns, metadata=METADATA):
    table = pa.table(columns).replace_schema_metadata({"one_metadata": json.dumps(metadata)} if metadata else None)
    pq.write_table(table, directory / f"{name}.pqt")


# -- a dict of frames ------------------------------------------------------------------------------------------------


def test_nothing_is_touched_by_looking_around(directory):
    cache = Cache(directory)
    assert set(cache) == set(cache.keys()) == {"sessions", "datasets", "_meta"}
    assert "sessions" in cache
    assert len(cache) == 3
    assert cache._meta["raw"]["sessions"] == METADATA
    assert cache["_meta"] is cache._meta
    assert "insertions" not in cache
    assert cache.get("insertions") is None
    assert not cache.is_touched


@pytest.mark.parametrize(
    "look",
    [
        lambda cache: cache["sessions"],
        lambda cache: cache.sessions,
        lambda cache: cache.get("sessions"),
        lambda cache: dict(cache)["sessions"],
        lambda cache: {**cache}["sessions"],
        lambda cache: dict(cache.items())["sessions"],
        lambda cache: next(one for one in cache.values() if isinstance(one, pd.DataFrame) and "lab" in one),
        lambda cache: cache.copy()["sessions"],
        lambda cache: cache.setdefault("sessions", None),
        lambda cache: cache.pop("sessions"),
        lambda cache: pickle.loads(pickle.dumps(cache))["sessions"],
    ],
    ids=["item", "attribute", "get", "dict", "stars", "items", "values", "copy", "setdefault", "pop", "pickle"],
)
def test_every_way_to_a_frame_makes_it(look, directory):
    cache = Cache(directory)
    frame = look(cache)
    pd.testing.assert_frame_equal(frame, sessions_frame(SESSIONS).sort_index())
    assert cache.is_touched


def test_a_frame_is_made_once(directory):
    cache = Cache(directory)
    found = []
    threads = [threading.Thread(target=lambda: found.append(cache["datasets"])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(frame) for frame in found}) == 1


def test_touching_one_table_does_not_read_the_other(directory):
    cache = Cache(directory)
    (directory / "datasets.pqt").unlink()
    assert len(cache.catalogue().session(0).subject)
    assert cache.is_touched


def test_frames_that_are_set_count(directory):
    cache = Cache(directory)
    cache.sessions = sessions_frame([NEW])
    assert cache.is_touched
    assert cache.catalogue().find_session(NEW.eid) == 0


def test_what_was_learned_is_in_the_frames(directory):
    new = a_dataset(NEW, "alf/a.b.npy", default=None)
    cache = Cache(directory, Taught([NEW], [new]))
    row = cache.catalogue().find_session(NEW.eid)
    assert cache.catalogue().session(row) == NEW
    assert cache.catalogue().find_dataset(new.id) == new


def test_times_in_meta(directory):
    metadata = {**METADATA, "date_created": "2020-05-06 07:08"}
    add_table(directory, "insertions", {"eid": ["a"], "id": ["b"], "name": ["c"]}, metadata)
    meta = Cache(directory)._meta
    assert meta["created_time"].astimezone(UTC) == datetime(2020, 5, 6, 7, 8, tzinfo=UTC)
    assert meta["loaded_time"] is not None
    assert meta["modified_time"] is meta["saved_time"] is None
    assert meta["expired"]
    assert set(meta["raw"]) == {"sessions", "datasets", "insertions"}
    cache = Cache(directory)
    assert cache.set_expired(timedelta(days=1 << 16)) is False
    assert cache._meta["expired"] is False


@pytest.mark.usefixtures("_far_from_utc")
def test_times_of_tables_are_in_utc_and_those_in_meta_local(tmp_path):
    before = datetime.now(UTC).replace(second=0, microsecond=0)
    made = {**METADATA, "date_created": f"{before:%Y-%m-%d %H:%M}"}
    save(tmp_path, session_columns(SESSIONS), dataset_columns(DATASETS), metadata=made)
    cache = Cache(tmp_path)
    assert cache._meta["created_time"] == before.astimezone().replace(tzinfo=None)
    cache.merge(sessions=session_series(NEW), subjects=pd.DataFrame())
    cache.save(tmp_path)
    cache.save(tmp_path / "copy", clobber=True)
    for folder in (tmp_path, tmp_path / "copy"):
        modified = datetime.fromisoformat(raw_of(folder)["date_modified"]).replace(tzinfo=UTC)
        assert before <= modified <= datetime.now(UTC)
        expired = Cache(folder)
        assert not expired.set_expired(timedelta(hours=1))
        assert expired.set_expired(timedelta())


def test_no_tables(tmp_path):
    for cache in (Cache(tmp_path), Cache()):
        assert cache._meta["expired"]
        assert cache._meta["loaded_time"] is None
        assert cache.set_expired(timedelta(days=1 << 16))
        pd.testing.assert_frame_equal(cache.sessions, face.EMPTY_SESSIONS_FRAME)
        pd.testing.assert_frame_equal(cache.datasets, face.EMPTY_DATASETS_FRAME)


def test_other_tables_are_there_and_what_is_no_table_is_not(directory, caplog):
    add_table(directory, "insertions", {"eid": [str(NEW.eid)], "id": [str(an_id("p"))], "name": ["probe00"]})
    add_table(directory, "subjects", {"id": ["KS014"], "sex": ["F"]})
    add_table(directory, "spikes.table", {"x": [1]}, None)
    add_table(directory, "undated", {"id": ["x"]}, {"origin": "x"})
    with caplog.at_level(logging.WARNING):
        cache = Cache(directory)
    assert set(cache) == {"sessions", "datasets", "insertions", "subjects", "_meta"}
    assert sum("date_created" in record.message for record in caplog.records) == 2
    assert list(cache.subjects.index) == ["KS014"]
    assert cache.catalogue().probes_of(NEW.eid) == [("probe00", an_id("p"))]
    cache = Cache(directory)
    assert len(cache.insertions) == 1
    assert not cache.is_touched


def test_damaged_tables_are_refused(directory):
    (directory / "datasets.pqt").write_bytes(b"PAR1 damaged")
    with pytest.raises(TableError, match=r"datasets\.pqt"):
        face.load_tables(directory)
    with pytest.raises(KeyError):
        face.load_tables(directory)


def test_load_tables_is_as_the_reference_client_has_it():
    ours, theirs = face.load_tables(RECORDED), reference.load_tables(RECORDED)
    assert ours["_meta"]["created_time"].astimezone(UTC) == theirs["_meta"]["created_time"].replace(tzinfo=UTC)
    assert ours.sessions.shape == theirs.sessions.shape
    assert list(ours.datasets.columns) == list(theirs.datasets.columns)
    assert [str(one) for one in theirs.sessions.index] == list(ours.sessions.index)


# -- saving ----------------------------------------------------------------------------------------------------------


def test_nothing_edited_is_not_saved(directory):
    before = {file.name: file.stat().st_mtime_ns for file in directory.glob("*.pqt")}
    cache = Cache(directory)
    cache.save()
    assert len(cache.sessions)
    assert len(cache.datasets)
    cache.save()
    assert {file.name: file.stat().st_mtime_ns for file in directory.glob("*.pqt")} == before
    assert cache._meta["saved_time"] is None
    cache.save(clobber=True)
    assert {file.name: file.stat().st_mtime_ns for file in directory.glob("*.pqt")} != before


def test_edits_are_saved_and_read_by_all(directory, tmp_path):
    cache = Cache(directory)
    eid = cache.sessions.index[0]
    cache.sessions.loc[eid, "projects"] = "edited"
    cache.merge(sessions=session_series(NEW), datasets=datasets_frame([a_dataset(NEW, "alf/a.b.npy")]))
    cache.save()
    assert cache._meta["saved_time"] is not None
    for name in ("sessions", "datasets"):
        read = face.load_tables(directory)[name]
        pd.testing.assert_frame_equal(read, cache[name])
        plain = pd.read_parquet(directory / f"{name}.pqt")
        assert plain.index.names == read.index.names
        assert len(reference.load_tables(directory)[name]) == len(plain) == len(cache[name])
    index = load_snapshot(directory, tmp_path / "state")
    assert index.session(index.find_session(UUID(eid))).projects == "edited"
    assert index.session(index.find_session(NEW.eid)) == NEW
    assert raw_of(directory)["date_created"] == CREATED
    assert raw_of(directory)["date_modified"] >= CREATED
    stamp = (directory / "sessions.pqt").stat().st_mtime_ns
    cache.save()
    assert (directory / "sessions.pqt").stat().st_mtime_ns == stamp


def test_what_others_saved_meanwhile_stays(directory):
    """Only what was changed here is written: rows that were merely read are not put back."""
    mine, theirs = Cache(directory), Cache(directory)
    first, second = mine.sessions.index[:2]
    mine.sessions.loc[first, "projects"] = "mine"
    theirs.sessions.loc[second, "projects"] = "theirs"
    theirs.merge(sessions=session_series(NEW))
    theirs.save()
    mine.save()
    read = face.load_tables(directory).sessions
    assert read.loc[[first, second], "projects"].tolist() == ["mine", "theirs"]
    assert str(NEW.eid) in read.index


def test_learned_rows_are_saved_without_being_touched(directory):
    Cache(directory, Taught([NEW])).save()
    assert str(NEW.eid) in face.load_tables(directory).sessions.index


def test_saving_elsewhere_takes_all_tables_along(directory, tmp_path):
    add_table(directory, "insertions", {"eid": [str(NEW.eid)], "id": [str(an_id("p"))], "name": ["probe00"]})
    cache = Cache(directory)
    cache.merge(sessions=session_series(NEW))
    (tmp_path / "other").mkdir()
    cache.save(tmp_path / "other")
    saved = face.load_tables(tmp_path / "other")
    pd.testing.assert_frame_equal(saved.sessions, cache.sessions)
    pd.testing.assert_frame_equal(saved.datasets, cache.datasets)
    assert len(saved.insertions) == 1
    assert raw_of(tmp_path / "other")["date_created"] == CREATED


def test_merging_into_other_tables_keeps_the_earliest_date_and_all_origins(directory, tmp_path):
    older = a_session("older", subject="older")
    other = save(
        tmp_path / "other",
        session_columns([older, SESSIONS[0]]),
        dataset_columns([a_dataset(older, "x.y.npy")]),
        {"date_created": "2019-01-01 00:00", "origin": ["elsewhere"]},
    )
    cache = Cache(directory)
    cache.merge(sessions=session_series(NEW))
    cache.save(other)
    merged = face.load_tables(other)
    assert len(merged.sessions) == len(SESSIONS) + 2
    assert len(merged.datasets) == len(DATASETS) + 1
    for name in ("sessions", "datasets"):
        assert raw_of(other, name)["date_created"] == "2019-01-01 00:00"
        assert sorted(raw_of(other, name)["origin"]) == ["elsewhere", "test"]
    cache.save(other, clobber=True)
    assert len(face.load_tables(other).sessions) == len(SESSIONS) + 1
    assert raw_of(other)["origin"] == "test"


def test_what_cannot_be_saved_leaves_all_files_as_they_were(directory):
    cache = Cache(directory)
    before = {file.name: file.read_bytes() for file in directory.glob("*.pqt")}
    cache.sessions["odd"] = [1, "a", *[None] * (len(SESSIONS) - 2)]
    cache.datasets.iloc[0, cache.datasets.columns.get_loc("exists")] = False
    with pytest.raises(errors.TableError, match="sessions"):
        cache.save(clobber=True)
    assert {file.name: file.read_bytes() for file in directory.glob("*.pqt")} == before
    assert not list(directory.glob(".*.pqt.*"))


def test_a_damaged_file_is_not_replaced_by_a_merge(directory):
    cache = Cache(directory)
    cache.merge(sessions=session_series(NEW))
    (directory / "sessions.pqt").write_bytes(b"PAR1 damaged")
    with pytest.raises(errors.TableError, match=r"sessions\.pqt"):
        cache.save()
    assert (directory / "sessions.pqt").read_bytes() == b"PAR1 damaged"
    cache.save(clobber=True)
    assert str(NEW.eid) in face.load_tables(directory).sessions.index


def test_the_lock_is_the_mounts(directory, monkeypatch):
    monkeypatch.setattr(saving, "LOCK_TIMEOUT_S", 0.01)
    cache = Cache(directory)
    (directory / ".onefs").mkdir()
    with FileLock(directory / ".onefs" / "tables.lock"), pytest.raises(BusyError):
        cache.save(clobber=True)


def test_left_over_files_are_removed_when_tables_are_saved(directory):
    left = directory / f".insertions.pqt.{'0' * 32}"
    left.touch()
    (directory / ".mine.pqt").touch()
    Cache(directory).save(clobber=True)
    assert not left.exists()
    assert (directory / ".mine.pqt").exists()


def test_tables_without_rows_are_saved(tmp_path):
    Cache().save(tmp_path, clobber=True)
    for name, frame in (("sessions", face.EMPTY_SESSIONS_FRAME), ("datasets", face.EMPTY_DATASETS_FRAME)):
        pd.testing.assert_frame_equal(face.load_tables(tmp_path)[name], frame)
        assert reference.load_tables(tmp_path)[name].empty
    assert load_snapshot(tmp_path, tmp_path / "state").n_sessions == 0


def test_ids_that_a_program_made_uuids_are_saved_as_texts(directory):
    cache = Cache(directory)
    columns = ["lab", "subject", "date", "number", "task_protocol", "projects"]
    values = [NEW.lab, NEW.subject, NEW.date, NEW.number, NEW.task_protocol, NEW.projects]
    cache.sessions.loc[NEW.eid, columns] = values
    cache.save()
    assert cache.catalogue().find_session(NEW.eid) is not None
    assert str(NEW.eid) in face.load_tables(directory).sessions.index
    cache.merge(sessions=session_series(NEW).replace(NEW.projects, "changed"))
    row = cache.catalogue().find_session(NEW.eid)
    assert cache.catalogue().rows_of_eid(NEW.eid) == [row]
    assert cache.catalogue().session(row).projects == "changed"


def test_insertions_begin_with_what_was_merged(directory):
    cache = Cache(directory)
    index = pd.MultiIndex.from_tuples([(str(NEW.eid), str(an_id("p")))], names=["eid", "id"])
    cache.merge(origin="https://alyx", insertions=pd.DataFrame({"name": ["probe00"], "model": ["3B2"]}, index=index))
    assert cache.catalogue().insertion(an_id("p")) == (NEW.eid, "probe00")
    cache.save()
    assert raw_of(directory, "insertions")["origin"] == "https://alyx"
    assert len(reference.load_tables(directory)["insertions"]) == 1


# -- older tables, removing tables -----------------------------------------------------------------------------------


def test_patch_tables_puts_frames_right():
    frame = datasets_frame(DATASETS[:3]).drop(columns="qc").assign(session_path="x")
    patched = face.patch_cache(frame, None, "datasets")
    assert list(patched["qc"]) == ["NOT_SET"] * 3
    assert "session_path" not in patched
    assert "session_path" in frame
    sessions = sessions_frame(SESSIONS).rename(columns={"projects": "project"})
    assert "projects" in face.patch_tables(sessions, name="sessions")


def test_remove_table_files(directory):
    (directory / "cache_info.json").write_text("{}")
    removed = face.remove_table_files(directory)
    assert [file.name for file in removed] == ["cache_info.json", "sessions.pqt", "datasets.pqt"]
    assert face.remove_cache_table_files(directory) == []


# -- pruning ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def pruned(tmp_path):
    """A cache directory with its tables, and what the tables do not have."""
    root = tmp_path / "cache"
    known = [
        "lab/Subjects/S/2020-07-01/001/alf/a.b.npy",
        "lab/Subjects/S/2020-07-01/001/alf/probe00/#2024-01-01#/a.b.npy",
        "lab/Subjects/S/2020-07-01/002/c.d.npy",
    ]
    others = [
        "lab/Subjects/S/2020-07-01/001/notes.txt",
        "lab/Subjects/T/2020-07-01/001/alf/read me",
        "aggregates/Subjects/S/a.b.npy",
    ]
    missing = [
        "lab/Subjects/S/2020-07-01/001/alf/probe01/a.b.npy",
        "lab/Subjects/S/2020-07-01/002/alf/a.b.npy",
        "lab/Subjects/T/2020-07-01/001/alf/e.f.npy",
        "other/Subjects/S/2020-07-01/001/alf/a.b.npy",
    ]
    for file in known:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"x")
    face.make_parquet_db(root)
    for file in (*others, *missing):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"x")
    (root / "gone/2020-07-01/001/alf/empty").mkdir(parents=True)
    folders = ["other/Subjects/S/2020-07-01/001", "gone/2020-07-01/001"]
    return root, {root / path for path in (*missing, *folders)}


def files_in(root):
    return {path for path in root.rglob("*") if path.is_file()}


def test_what_is_missing_is_told_and_stays_when_dry(pruned, capsys):
    root, missing = pruned
    before = set(root.rglob("*"))
    found = face.remove_missing_datasets(root)
    assert set(found) == missing
    assert found == sorted(found)
    assert set(root.rglob("*")) == before
    printed = capsys.readouterr().out
    assert all(str(path) in printed for path in missing)


def test_what_is_missing_is_removed_and_nothing_else(pruned):
    root, missing = pruned
    before = files_in(root)
    assert set(face.remove_missing_datasets(root, dry=False)) == missing
    assert files_in(root) == before - missing
    assert not (root / "gone/2020-07-01/001").exists()
    assert (root / "lab/Subjects/T/2020-07-01/001/alf/read me").exists()
    assert face.remove_missing_datasets(root, dry=False) == []


@pytest.mark.parametrize("empty_sessions", [True, False])
def test_of_unknown_sessions_the_reference_client_tells_the_same(empty_sessions, pruned):
    """Of known ones it takes files that the tables have."""
    root, _ = pruned
    face.remove_missing_datasets(root, dry=False)
    shutil.rmtree(root / "lab/Subjects/T")
    for name in ("a.b.npy", "c.d.npy"):
        (root / "x/2020-07-01/001").mkdir(parents=True, exist_ok=True)
        (root / "x/2020-07-01/001" / name).touch()
    (root / "lab/Subjects/y/2020-07-01/002").mkdir(parents=True)
    theirs = reference.remove_missing_datasets(root, remove_empty_sessions=empty_sessions, dry=True)
    unknown = [path for path in theirs if "lab/Subjects/S" not in str(path)]
    assert list(map(str, unknown)) == list(
        map(str, face.remove_missing_datasets(root, remove_empty_sessions=empty_sessions))
    )
    assert len(unknown) == 2 + 2 * empty_sessions


def test_what_is_pinned_stays(pruned):
    root, missing = pruned
    file = root / "lab/Subjects/S/2020-07-01/002/alf/a.b.npy"
    pinned = a_dataset(a_session("S", "lab", "S", date(2020, 7, 1), 2), "alf/a.b.npy")
    named = file.with_name(f"a.b.{pinned.id}.npy")
    file.rename(named)
    ContentStore(root, root / ".onefs").pin(pinned)
    assert set(face.remove_missing_datasets(root, dry=False)) <= missing - {file}
    assert named.exists()


def test_session_folders_may_stay(pruned):
    root, missing = pruned
    found = face.remove_missing_datasets(root, remove_empty_sessions=False, dry=False)
    assert set(found) == {path for path in missing if path.suffix == ".npy"}
    assert (root / "gone/2020-07-01/001/alf/empty").is_dir()


@pytest.mark.parametrize("shape", ["ours", "theirs", "flat", "unnamed", "null", "paths", "pairs"])
def test_tables_of_any_shape_and_ids(shape, pruned):
    root, missing = pruned
    tables = face.load_tables(root)
    match shape:
        case "theirs":
            tables = reference.load_tables(root)
        case "flat":
            tables = {name: tables[name].reset_index() for name in ("sessions", "datasets")}
        case "unnamed":
            tables = {"sessions": tables.sessions.rename_axis(None), "datasets": tables.datasets}
        case "null":
            sessions = tables.sessions.astype({"number": "UInt16"})
            sessions = sessions.reindex([*sessions.index, str(NEW.eid)])
            tables = {"sessions": sessions, "datasets": tables.datasets}
        case "paths":
            known = {name: tables[name] for name in ("sessions", "datasets")}
            names = known["sessions"].apply(lambda row: f"{row.lab}/{row.subject}/{row.date}/{row.number:03d}", axis=1)
            datasets = known["datasets"].reset_index()
            datasets["eid"] = datasets["eid"].map(names)
            datasets["id"] = datasets["rel_path"]
            tables = {"sessions": known["sessions"].set_index(pd.Index(names, name="id")), "datasets": datasets}
        case "pairs":

            def paired(frame, name):
                values = np.array([np.frombuffer(UUID(one).bytes, "<i8") for one in frame.pop(name)])
                return frame.assign(**{f"{name}_0": values[:, 0], f"{name}_1": values[:, 1]})

            sessions = paired(tables.sessions.reset_index(), "id").set_index(["id_0", "id_1"])
            datasets = paired(paired(tables.datasets.reset_index(), "id"), "eid")
            tables = {"sessions": sessions, "datasets": datasets.set_index(["eid_0", "eid_1", "id_0", "id_1"])}
    assert set(face.remove_missing_datasets(root, tables)) == missing


def test_files_with_the_uuid_in_their_names_and_unpadded_folders_are_known(pruned):
    root, _ = pruned
    file = root / "lab/Subjects/S/2020-07-01/002/c.d.npy"
    file.rename(file.with_name(f"c.d.{an_id('x')}.npy"))
    (root / "lab/Subjects/S/2020-07-01/002").rename(root / "lab/Subjects/S/2020-07-01/2")
    found = set(face.remove_missing_datasets(root))
    assert not [path for path in found if path.name.startswith("c.d")]
    assert root / "lab/Subjects/S/2020-07-01/2/alf/a.b.npy" in found


def test_a_lab_that_only_the_table_tells(tmp_path):
    file = tmp_path / "S/2020-07-01/001/a.b.npy"
    file.parent.mkdir(parents=True)
    file.touch()
    face.make_parquet_db(tmp_path, lab="lab")
    assert face.remove_missing_datasets(tmp_path) == []


def test_links_are_not_followed(pruned, tmp_path):
    root, _ = pruned
    outside = tmp_path / "outside/2020-07-01/001"
    outside.mkdir(parents=True)
    (outside / "a.b.npy").touch()
    (root / "linked").symlink_to(tmp_path / "outside")
    (root / "lab/Subjects/S/2020-07-01/001/more").symlink_to(outside)
    face.remove_missing_datasets(root, dry=False)
    assert (outside / "a.b.npy").exists()


@pytest.mark.parametrize("lost", ["files", "sessions", "datasets"])
def test_without_rows_not_everything_is_missing(lost, pruned):
    root, _ = pruned
    before = files_in(root)
    if lost == "files":
        face.remove_table_files(root)
        before = files_in(root)
        with pytest.raises(TableError):
            face.remove_missing_datasets(root, dry=False)
    else:
        tables = face.load_tables(root)
        tables[lost] = tables[lost].iloc[:0]
        with pytest.raises(TableError, match=lost):
            face.remove_missing_datasets(root, tables, dry=False)
    assert files_in(root) == before


def test_what_cannot_be_read_is_told(pruned):
    root, _ = pruned
    at = os.open(root / "lab/Subjects/S/2020-07-01/001/alf", os.O_RDONLY)
    for _ in range(18):  # so deep that the system refuses the path
        os.mkdir("x" * 250, dir_fd=at)
        above, at = at, os.open("x" * 250, os.O_RDONLY, dir_fd=at)
        os.close(above)
    os.close(at)
    with pytest.warns(RuntimeWarning, match=r"1 file or folder.*001/alf.*too long"):
        face.make_parquet_db(root)
    with pytest.raises(errors.SourceError, match=r"001/alf.*too long"):
        face.remove_missing_datasets(root)


def test_a_copy_of_the_recorded_tables_prunes_nothing(tmp_path):
    shutil.copytree(RECORDED, tmp_path / "t")
    for row in face.load_tables(RECORDED).sessions.itertuples():
        (tmp_path / "t" / row.lab / "Subjects" / row.subject / str(row.date) / f"{row.number:03d}").mkdir(parents=True)
    assert face.remove_missing_datasets(tmp_path / "t") == []


def test_a_date_that_no_calendar_has_is_none(tmp_path):
    columns = session_columns(SESSIONS)
    days = [10**7, -(10**6), *(18000 + n for n in range(len(SESSIONS) - 2))]
    columns["date"] = pa.array(days, pa.int32()).cast(pa.date32())
    cache = Cache(save(tmp_path / "tables", columns, dataset_columns(DATASETS)))
    assert cache["sessions"]["date"].isna().sum() == 2
    assert cache.catalogue().columns().eids.any(axis=1).sum() == len(SESSIONS) - 2


def test_what_several_threads_merge_is_all_there(directory):
    cache = Cache(directory)
    records = [sessions_frame([a_session(f"learned {n}", subject=f"s{n}")]) for n in range(40)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda each: cache.merge(sessions=each), records))
    finally:
        sys.setswitchinterval(before)
    assert {f"s{n}" for n in range(40)} <= set(cache["sessions"]["subject"])
