"""ONE, the official client, works with the demo's Alyx as with any other."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from one_of_tables import hash_by_mebibytes

from onefs.alf import TABLE_NAMES
from onefs.archive.cache_tables import CacheTables
from onefs.archive.pruning import Rules, prune
from onefs.demo.archive import TABLES_DIR
from onefs.demo.plan import PLANS
from onefs.demo.server import start_demo

EPHYS = str(PLANS[3].session.eid)


@pytest.mark.filterwarnings("ignore")
def test_one_works_with_it(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from one import params
    from one.api import ONE

    hash_by_mebibytes()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("iblutil.io.params.getfile", lambda name: str(tmp_path / f".{name}"))
    monkeypatch.setattr(params, "CACHE_DIR_DEFAULT", str(tmp_path / "cache"))
    with start_demo(archive) as demo:
        login = {"username": demo.user, "password": demo.password}
        one = ONE(base_url=demo.url, **login, silent=True, cache_dir=tmp_path / "cache", mode="remote")
        one.alyx._par = (
            one.alyx._par.set("HTTP_DATA_SERVER", demo.data_url)
            .set("HTTP_DATA_SERVER_LOGIN", demo.user)
            .set("HTTP_DATA_SERVER_PWD", demo.password)
        )
        assert [str(eid) for eid in one.search(subject="NL_001", datasets="spikes.times.npy")] == [EPHYS]
        names = one.list_datasets(EPHYS)
        assert "alf/probe00/pykilosort/#2024-05-06#/spikes.times.npy" in names
        times_s = one.load_dataset(EPHYS, "spikes.times.npy", collection="alf/probe00/pykilosort")
        assert (np.diff(times_s) >= 0).all() and len(times_s) > 1000
        assert len(one.load_object(EPHYS, "trials", collection="alf")["choice"]) == 180
        assert [name for _, name in zip(*one.eid2pid(EPHYS)[:2], strict=True)] == ["probe00", "probe01"]
        assert len(one.search_insertions(subject="NL_001")) == 2
        assert len(one.list_aggregates("subjects")) == 5
        assert str(one.search(date_range=["2023-04-18", "2023-04-18"])[0]) == EPHYS
        place = tmp_path / "cache" / PLANS[3].session.path
        assert Path(one.eid2path(EPHYS)) == place
        assert str(one.path2eid(place)) == str(one.path2eid(place / "alf/_ibl_trials.table.pqt")) == EPHYS
        one.load_cache(tag="Demowide")
        assert len(one.search(query_type="local")) == 5
    for name in TABLE_NAMES:
        shutil.copy(archive / TABLES_DIR / name, tmp_path / "cache")
    assert list((tmp_path / "cache").rglob("*.npy"))
    assert not list(
        prune(tmp_path / "cache", CacheTables(tmp_path / "cache"), Rules())
    )  # all that ONE put there is known
