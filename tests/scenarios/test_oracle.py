"""ONE-api, the archive's own client, takes the mountpoint for one of its cache directories."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from archives import RECORDINGS, held_rows
from mounted import Mounted

EID = "d6ee68d4-ee19-4c5e-8595-633efeb735ed"
SESSION = "cortexlab/Subjects/KS014/2020-07-01/001"


@pytest.fixture
def one(recorded: Mounted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A ONE in local mode whose cache directory is the mountpoint."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from one.api import One

        return One(cache_dir=recorded.path, mode="local")


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
