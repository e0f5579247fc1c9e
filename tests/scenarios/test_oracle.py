"""ONE-api, the archive's own client, takes the mountpoint for one of its cache directories."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from archives import PASSWORD, RECORDINGS, held_rows
from mounted import Mounted, run_onefs
from one_of_tables import one_of

EID = "d6ee68d4-ee19-4c5e-8595-633efeb735ed"
SESSION = "cortexlab/Subjects/KS014/2020-07-01/001"


@pytest.fixture
def one(recorded: Mounted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A ONE in local mode whose cache directory is the mountpoint."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return one_of(recorded.path)


pytestmark = pytest.mark.filterwarnings("ignore")


def test_it_searches(one: Any) -> None:
    found = {str(eid) for eid in one.search(subject="KS014")}
    sessions = pd.read_parquet(RECORDINGS / "tables" / "sessions.pqt")
    assert found == set(sessions.index[sessions.subject == "KS014"])
    assert [str(eid) for eid in one.search(date_range=["2020-07-01", "2020-07-01"])] == [EID]


def test_it_lists(one: Any) -> None:
    listed = set(one.list_datasets(EID))
    shown = [row for row in held_rows() if row.path.startswith(SESSION + "/") and row.qc != "CRITICAL"]
    rows = {row.path.removeprefix(SESSION + "/") for row in shown}
    assert rows <= listed
    assert "alf/probe00/pykilosort" in one.list_collections(EID)


def test_it_finds_paths_by_eid_and_back(one: Any, recorded: Mounted) -> None:
    assert Path(one.eid2path(EID)) == recorded.path / SESSION
    link = recorded.path / ".onefs" / "by-eid" / EID
    assert Path(one.eid2path(EID)).samefile(link)
    assert str(one.path2eid(link.resolve())) == EID


def test_it_loads_datasets_and_objects(one: Any, recorded: Mounted) -> None:
    wheel = one.load_dataset(EID, "_ibl_wheel.timestamps.npy", collection="alf")
    np.testing.assert_array_equal(wheel, np.load(recorded.path / SESSION / "alf/_ibl_wheel.timestamps.npy"))
    spikes = one.load_object(EID, "spikes", collection="alf/probe00/pykilosort")
    assert {"times", "clusters", "amps", "depths"} <= set(spikes)
    assert len({len(values) for values in spikes.values()}) == 1
    trials = one.load_object(EID, "trials", collection="alf")
    assert len(trials)


def test_it_finds_what_a_mount_kept_under_uuids_and_the_other_way_round(
    data_server_flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    from one.alf.path import ALFPath
    from one.api import One

    wheel, trials = f"{SESSION}/alf/_ibl_wheel.timestamps.npy", f"{SESSION}/alf/_ibl_trials.table.pqt"
    ids = {row.path: row.id for row in held_rows()}
    tables = Path(shutil.copytree(RECORDINGS / "tables", tmp_path / "tables"))  # ONE may write there
    flags = (*data_server_flags, "--uuid-filenames", "on")
    mount = Mounted(tables, tmp_path, *flags, ONEFS_DATA_PASSWORD=PASSWORD)
    downloaded = ALFPath(mount.cache / trials).with_uuid(ids[trials])
    downloaded.parent.mkdir(parents=True)
    shutil.copyfile(RECORDINGS / "data" / "public" / ALFPath(trials).with_uuid(ids[trials]), downloaded)
    with mount:
        assert (mount.path / trials).read_bytes() == downloaded.read_bytes()
        assert mount.status()["totals"]["files_fetched"] == 0
        content = (mount.path / wheel).read_bytes()
        assert run_onefs("info", mount.path / wheel).stdout.count(ids[wheel]) >= 2
        assert (mount.path / wheel).stat().st_blocks > 0
        one = One(cache_dir=mount.cache, tables_dir=tables, mode="local")
        one.uuid_filenames = True
        name = Path(wheel).name
        file = one.load_dataset(EID, name, collection="alf", download_only=True)
        assert file == ALFPath(mount.cache / wheel).with_uuid(ids[wheel])
        assert file.read_bytes() == content
        done = run_onefs("evict", mount.path / wheel)
        assert done.returncode == 0, done.stderr
        assert not file.exists()
