"""A notebook for ONE, run with onefs on the demo: search, probes, objects, revisions, aggregates, ids to save."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from one_in_remote_mode import one_at

from onefs import ONE
from onefs.demo.server import DemoServer

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def demo(demo_archive: Path) -> Iterator[DemoServer]:
    """A server of the demo's archive."""
    with DemoServer(demo_archive) as server:
        yield server


@pytest.fixture
def theirs(demo: DemoServer, home: Path) -> Iterator[Any]:
    """ONE in remote mode, that fetches from the demo's data server."""
    (home / "one").mkdir()
    with one_at(demo, home / "one") as one:
        login = {"HTTP_DATA_SERVER": demo.data_url, "HTTP_DATA_SERVER_LOGIN": "demo", "HTTP_DATA_SERVER_PWD": "demo"}
        for name, value in login.items():
            one.alyx._par = one.alyx._par.set(name, value)
        yield one


def test_a_notebook(demo: DemoServer, theirs: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("URL", demo.data_url), ("USER", "demo"), ("PASSWORD", "demo")):
        monkeypatch.setenv(f"ONEFS_DATA_{name}", value)
    ONE.cache_clear()
    one = ONE(base_url=demo.url, username="demo", password="demo", cache_dir=home / "cache", silent=True)
    (eid,) = one.search(subject="NL_001", datasets="spikes.times.npy")
    assert [eid] == [str(each) for each in theirs.search(subject="NL_001", datasets="spikes.times.npy")]
    assert one.eid2ref(eid) == theirs.eid2ref(eid)

    pids, probes = one.eid2pid(eid)
    assert (pids, probes) == ([str(pid) for pid in theirs.eid2pid(eid)[0]], list(theirs.eid2pid(eid)[1]))
    assert one.pid2eid(pids[0]) == (eid, probes[0])

    one.record_loaded = True
    for name in ("trials", "wheel"):
        assert_same(one.load_object(eid, name, collection="alf"), theirs.load_object(eid, name, collection="alf"))
    sorted_in = f"alf/{probes[0]}/pykilosort"
    for name in ("spikes", "clusters"):
        for revision in (None, "2023-06-01"):
            asked = {"collection": sorted_in, "revision": revision}
            assert_same(one.load_object(eid, name, **asked), theirs.load_object(eid, name, **asked))

    aggregates, of_one = one.list_aggregates("subjects"), theirs.list_aggregates("subjects")
    assert sorted(aggregates["rel_path"]) == sorted(of_one["rel_path"])
    assert sorted(aggregates["identifier"]) == sorted(of_one["identifier"])
    row = aggregates.iloc[0]
    name = row["rel_path"].rpartition("/")[2]
    loaded = one.load_aggregate("subjects", row["identifier"], name)
    pd.testing.assert_frame_equal(loaded, theirs.load_aggregate("subjects", row["identifier"], name))

    loaded_ids, file = one.save_loaded_ids()
    assert len(loaded_ids) > 8
    assert sorted(loaded_ids) == sorted(pd.read_csv(file)["dataset_uuid"])


def assert_same(ours: Any, theirs: Any) -> None:
    assert set(ours) == set(theirs)
    for key in ours:
        np.testing.assert_array_equal(ours[key], theirs[key], err_msg=key)
