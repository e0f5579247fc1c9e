"""`One` on folders of tables and files: what it is ready with, its properties, tables and frames."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archives import MADE_SESSION, change_metadata, make_tables

from onefs import One
from onefs.one_errors import NoDatabaseError, TableError

FILES = {"alf/_ibl_wheel.position.npy": b"123456", "alf/licks.times.npy": b"1"}


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Path:
    """A folder of tables of one session."""
    make_tables(tmp_path / "folder", FILES)
    return tmp_path / "folder"


def in_a_fresh_process(code: str, *arguments: object) -> Any:
    """What a program prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


LOADED = "print(json.dumps(sorted({'numpy', 'pandas', 'pyarrow', 'requests'} & set(sys.modules))))"


def test_importing_onefs_imports_nothing_slow() -> None:
    assert in_a_fresh_process(f"import json, sys, onefs, onefs.api; {LOADED}") == []


def test_questions_over_the_index_load_no_pandas(folder: Path) -> None:
    """With pyarrow, which would import it as soon as it makes an array of Python's objects."""
    path = folder / MADE_SESSION / "alf" / "spikes.times.npy"
    path.parent.mkdir(parents=True)
    np.save(path, np.arange(3))
    make_tables(folder, {"alf/spikes.times.npy": path.read_bytes()})
    code = f"""
import json, sys
from onefs import One
one = One(sys.argv[1])
eid = one.search(subject="m.*e", date=["2020-01-01", None])[0]
assert one.search(dataset=["spikes", "x.*s|times"], dataset_qc="FAIL", projects="proj") == [eid]
assert one.list_datasets(eid, "*times*") == one.list_datasets(collection="alf") == ["alf/spikes.times.npy"]
assert one.list_collections(eid, {{"object": "spikes"}}) == ["alf"]
assert one.list_subjects() == ["mouse"]
assert one.search(details=True)[1][0].lab == "lab"
assert one.load_datasets(eid, ["spikes.times"])[1][0].qc == "PASS"
assert one.path2eid(one.eid2path(eid)) == eid
assert one.load_dataset(eid, "spikes.times").tolist() == [0, 1, 2]
{LOADED}
"""
    assert "pandas" not in in_a_fresh_process(code, folder)


def test_it_is_ready_without_opening_what_files_need(folder: Path) -> None:
    """No connections, no state database, no threads, nor the libraries for them; the index is read once."""
    One(folder)  # which indexes them
    code = """
import json, os, sys, threading
names = []
sys.addaudithook(lambda event, given: names.append(str(given[0])) if event == "open" else None)
from onefs import One
one = One(sys.argv[1])
names = [name for name in names if name.endswith(("session_eid", ".pqt"))]
one.list_datasets(one.search()[0])
opened = [os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd") if
          os.path.exists(f"/proc/self/fd/{number}")]
opened = [name for name in opened if "state-" in name or "socket" in name]
print(json.dumps([len(names), threading.active_count(), opened,
                  sorted({"onefs.fetch.access", "onefs.alyx.records", "onefs.catalogue.live", "filelock", "pandas",
                          "pyarrow", "requests", "urllib3"} & set(sys.modules))]))
"""
    assert in_a_fresh_process(code, folder) == [1, 1, [], []]


# -- properties ---------------------------------------------------------------------------------------------------


def test_its_properties(folder: Path) -> None:
    one = One(str(folder))
    assert (one.mode, one.requested_mode, one.offline) == ("local", "local", True)
    assert repr(one) == f"One (offline, {folder})"
    assert one.cache_dir == folder
    assert one.wildcards
    assert not (one.record_loaded or one.uuid_filenames or one.allow_pickle)
    assert one.cache_expiry == timedelta(hours=24)
    one.mode = "auto"
    assert one.mode == "local"
    with pytest.raises(AttributeError):
        one.alyx  # noqa: B018


@pytest.mark.parametrize("mode", ["remote", "refresh", "offline", "", None, 3])
def test_other_modes_are_value_errors(folder: Path, mode: Any) -> None:
    with pytest.raises(ValueError, match="ode"):
        One(folder, mode=mode)
    with pytest.raises(ValueError, match="ode"):
        One(folder).mode = mode


def test_a_folder_that_is_not_there(home: Path) -> None:
    with pytest.raises(ValueError, match="no folder"):
        One(home / "nowhere")


def test_without_tables_it_warns_and_finds_nothing(home: Path) -> None:
    (home / "empty").mkdir()
    with pytest.warns(UserWarning, match="no cache tables") as told:
        one = One(home / "empty")
    assert told[0].filename == __file__
    assert one.search() == one.list_datasets() == one.list_subjects() == []
    assert one.list_datasets(details=True).empty
    assert one._cache.sessions.empty
    assert one._cache._meta["expired"]


@pytest.mark.parametrize("how", ["missing", "without date"])
def test_only_one_of_the_tables_can_be_used(folder: Path, how: str, caplog: pytest.LogCaptureFixture) -> None:
    (eid,) = One(folder).search()
    if how == "missing":
        (folder / "datasets.pqt").unlink()
    else:
        table = pq.read_table(folder / "datasets.pqt")
        pq.write_table(table.replace_schema_metadata({b"one_metadata": b"{}"}), folder / "datasets.pqt")
    one = One(folder)
    assert one.search() == [eid]
    assert one.list_datasets(eid) == []
    assert len(one._cache.sessions) == 1
    assert one._cache.datasets.empty
    assert one._tables_dir == folder
    assert one.load_cache() is not None
    assert ("no date_created" in caplog.text) == (how == "without date")
    make_tables(folder, FILES)
    one.refresh_cache("refresh")
    assert one.list_datasets(eid) == sorted(FILES)


def test_tables_without_date_are_as_none(folder: Path) -> None:
    change_metadata(folder, date_created=None)
    with pytest.warns(UserWarning, match="no cache tables"):
        one = One(folder)
    assert one.search() == []
    assert one._cache._meta["expired"]


def test_tables_may_be_elsewhere(folder: Path, home: Path) -> None:
    (home / "files").mkdir()
    one = One(home / "files", tables_dir=folder)
    assert one.cache_dir == home / "files"
    assert one._tables_dir == folder
    assert len(one.search()) == 1
    one.cache_dir = home
    assert one.eid2path(one.search()[0]) == home / MADE_SESSION


# -- tables -------------------------------------------------------------------------------------------------------


def test_tables_are_read_again(folder: Path) -> None:
    one = One(folder)
    make_tables(folder, FILES | {"alf/new.times.npy": b"12"})
    assert "alf/new.times.npy" not in one.list_datasets()
    assert "alf/new.times.npy" in one.list_datasets(query_type="refresh")
    make_tables(folder, FILES)
    before = one.refresh_cache("auto")
    assert "alf/new.times.npy" in one.list_datasets()
    assert one.refresh_cache("refresh") > before
    assert "alf/new.times.npy" not in one.list_datasets()
    with pytest.raises(ValueError, match="mode"):
        one.refresh_cache("never")


def test_a_damaged_table_is_told_at_each_refresh(folder: Path) -> None:
    one = One(folder)
    (folder / "datasets.pqt").write_bytes(b"damaged")
    for _ in range(2):
        with pytest.raises(TableError, match="datasets"):
            one.refresh_cache("refresh")
        assert len(one.list_datasets()) == len(FILES)


def test_emptied_tables_are_read_again(folder: Path) -> None:
    one = One(folder)
    one._reset_cache()
    assert one.search() == []
    one.refresh_cache("refresh")
    assert len(one.search()) == 1


def test_a_folder_without_tables_was_never_loaded(home: Path) -> None:
    with pytest.warns(UserWarning, match="no cache tables"):
        one = One(home)
    with pytest.warns(UserWarning, match="no cache tables"):
        assert one.refresh_cache("refresh") is None


def test_expired_tables_are_read_again(folder: Path) -> None:
    one = One(folder)
    one.cache_expiry = timedelta(0)
    make_tables(folder, FILES | {"alf/new.times.npy": b"12"})
    one.refresh_cache("local")
    assert "alf/new.times.npy" not in one.list_datasets()
    one.refresh_cache("auto")
    assert "alf/new.times.npy" in one.list_datasets()


def test_other_tables_are_loaded_until_a_reset(folder: Path, home: Path) -> None:
    one = One(folder)
    make_tables(home / "others", {"alf/other.times.npy": b"1"})
    assert one.load_cache(home / "others") is not None
    assert one.list_datasets() == ["alf/other.times.npy"]
    assert one._tables_dir == home / "others"
    one.reset_cache()
    assert one.list_datasets() == sorted(FILES)
    with pytest.warns(UserWarning, match="no cache tables"):
        assert one.load_cache(home) is None
    assert one.search() == []


@pytest.mark.parametrize("damage", ["bytes", "column"])
def test_tables_that_cannot_be_used_change_nothing(folder: Path, home: Path, damage: str) -> None:
    one = One(folder)
    make_tables(home / "others", {"alf/other.times.npy": b"1"})
    if damage == "bytes":
        (home / "others" / "datasets.pqt").write_bytes(b"PAR1")
    else:
        table = pq.read_table(home / "others" / "datasets.pqt")
        pq.write_table(table.drop_columns(["rel_path"]), home / "others" / "datasets.pqt")
    with pytest.raises(TableError) as raised:
        one.load_cache(home / "others")
    assert isinstance(raised.value, KeyError)
    assert one.list_datasets() == sorted(FILES)


def test_tags_need_a_database(folder: Path) -> None:
    with pytest.raises(NoDatabaseError):
        One(folder).load_cache(tag="2022_Q2")


def test_edits_of_frames_are_answered(folder: Path) -> None:
    one = One(folder)
    (eid,) = one.search()
    one._cache.sessions.loc[eid, "subject"] = "rat"
    assert one.search(subject="rat") == [eid]
    assert one.search(subject="mouse") == []
    one._cache["datasets"] = one._cache["datasets"].iloc[:1]
    assert len(one.list_datasets(eid)) == 1
    assert one.get_details(eid).subject == "rat"
    one.reset_cache()
    assert one.search(subject="mouse") == [eid]


def test_what_was_edited_is_saved_and_read_again(folder: Path, home: Path) -> None:
    one = One(folder)
    (eid,) = one.search()
    before = (folder / "sessions.pqt").stat().st_mtime_ns
    one.save_cache()
    assert (folder / "sessions.pqt").stat().st_mtime_ns == before
    one._cache.sessions.loc[eid, "task_protocol"] = "another"
    (home / "saved").mkdir()
    one.save_cache(home / "saved")
    assert One(home / "saved").search(task="another") == [eid]
    assert One(folder).search(task="another") == []
    one.save_cache(clobber=True)
    assert One(folder).search(task="another") == [eid]


def test_saving_all_the_same(folder: Path, home: Path) -> None:
    (home / "saved").mkdir()
    make_tables(home / "saved", {"alf/other.times.npy": b"1"}, lab="another")
    One(folder).save_cache(home / "saved", force=True)
    assert One(home / "saved").list_datasets() == sorted(FILES)


def test_meta_tells_when_tables_were_made(folder: Path) -> None:
    one = One(folder)
    assert f"{one._cache._meta['created_time'].astimezone(UTC):%Y-%m-%d %H:%M}" == "2024-01-03 00:00"
    assert one._cache._meta["expired"]
    one.cache_expiry = timedelta(days=100_000)
    assert not one._cache._meta["expired"]
    assert set(one._cache._meta["raw"]) == {"sessions", "datasets"}


def test_the_tables_can_be_emptied(folder: Path) -> None:
    one = One(folder)
    one._reset_cache()
    assert one.search() == []
    assert one._cache.datasets.empty


def test_records_are_merged(folder: Path) -> None:
    one = One(folder)
    (eid,) = one.search()
    sessions = one._cache.sessions.copy()
    sessions["subject"] = "rat"
    assert one._update_cache_from_records(sessions=sessions) is not None
    assert one.search(subject="rat") == [eid]


def test_columns_that_onefs_does_not_know_are_in_records_and_details(folder: Path) -> None:
    """Over the index, whose answers do not wait for frames, and over frames alike."""
    for table, further in (("sessions", {"n_trials": [7]}), ("datasets", {"colour": ["red", None]})):
        read = pq.read_table(folder / f"{table}.pqt")
        for name, values in further.items():
            read = read.append_column(name, pa.array(values))
        pq.write_table(read, folder / f"{table}.pqt")
    put(folder)
    one = One(folder)
    (eid,) = one.search()
    for is_touched in (False, True):
        if is_touched:
            one._cache.datasets  # noqa: B018
        assert one.search(details=True)[1][0].n_trials == 7
        assert one.get_details(eid).n_trials == 7
        details = one.list_datasets(eid, details=True).sort_values("rel_path")
        colours = dict(zip(details.rel_path, details.colour, strict=True))
        assert sorted(map(str, colours.values())) == ["None", "red"]
        for path, colour in colours.items():
            (record,) = one.load_datasets(eid, [path], download_only=True)[1]
            assert record.colour == colour
            row = one.load_dataset_from_id(record.id, download_only=True, details=True)[1]
            assert row.colour == colour
        assert list(one.list_datasets(eid, "nothing", details=True).columns) == list(details.columns)
        assert one._in_use.is_touched == is_touched


def put(folder: Path) -> None:
    """Put the files of the session into its folder."""
    for name, data in FILES.items():
        path = folder / MADE_SESSION / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def test_frames_without_rows_have_the_columns_of_the_table(folder: Path) -> None:
    one = One(folder)
    (eid,) = one.search()
    for found in (
        one.list_datasets(eid, "nothing", details=True),
        one.list_datasets(str(uuid4()), details=True),
        one.load_datasets(eid, [])[1],
        one.list_aggregates("subjects"),
    ):
        assert len(found) == 0
        assert {"rel_path", "default_revision"} <= set(found.columns)


# -- together -----------------------------------------------------------------------------------------------------


def test_several_threads_may_use_it(folder: Path) -> None:
    """Some ask, some touch and edit the frames, some read the tables again."""
    one = One(folder)
    (eid,) = one.search()
    calls: list[Callable[[], Any]] = [
        lambda: one.search(subject="mouse"),
        lambda: one.list_datasets(eid),
        lambda: one.load_cache(),
        lambda: len(one._cache.datasets),
        lambda: one.get_details(eid).subject,
        lambda: one.list_datasets(eid, details=True),
    ]
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda turn: calls[turn % len(calls)](), range(60)))
    assert answers[0::6] == [[eid]] * 10
    assert answers[1::6] == [sorted(FILES)] * 10
    assert answers[4::6] == ["mouse"] * 10


def test_a_set_up_folder(home: Path) -> None:
    path = home / "lab" / "Subjects" / "mouse" / "2024-01-02" / "001" / "alf" / "spikes.times.npy"
    path.parent.mkdir(parents=True)
    np.save(path, np.arange(3))
    one = One.setup(home, silent=True)
    (eid,) = one.search()
    assert one.load_dataset(eid, "spikes.times").tolist() == [0, 1, 2]
    with pytest.raises(FileNotFoundError):
        One.setup(home / "nowhere", silent=True)
    made = (home / "sessions.pqt").read_bytes()
    shutil.rmtree(path.parent)
    assert One.setup(home, silent=True).search() == [eid]
    assert (home / "sessions.pqt").read_bytes() == made


def test_a_folder_that_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index is kept in the user's cache folder then, as that of a mount."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = One(folder)
    assert len(one.search()) == 1
    assert not (folder / ".onefs").exists()


def test_tables_of_two_times_do_not_belong_together(folder: Path, home: Path) -> None:
    make_tables(home / "others", FILES)
    change_metadata(home / "others", date_created="2025-01-01 00:00")
    shutil.copyfile(home / "others" / "sessions.pqt", folder / "sessions.pqt")
    with pytest.raises(TableError, match="belong together"):
        One(folder)
