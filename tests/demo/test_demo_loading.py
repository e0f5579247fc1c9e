"""A notebook's worth of the demo's archive: the same numbers as ONE gives, each file fetched once."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from one_of_tables import one_of

from onefs import OneAlyx
from onefs.demo.plan import PLANS
from onefs.demo.server import DemoServer

EPHYS = str(PLANS[3].session.eid)
SORTED = "alf/probe00/pykilosort"


@pytest.mark.filterwarnings("ignore")
def test_a_notebook_gets_the_same_numbers_as_from_one(
    server: DemoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    for name, value in (("URL", server.data_url), ("USER", "demo"), ("PASSWORD", "demo")):
        monkeypatch.setenv(f"ONEFS_DATA_{name}", value)
    one = OneAlyx(base_url=server.url, username="demo", password="demo", cache_dir=tmp_path / "cache", silent=True)
    eid = one.search(subject="NL_001", dataset="spikes.times")[0]
    assert eid == EPHYS
    asked = [("trials", "alf"), ("wheel", "alf"), ("spikes", SORTED), ("clusters", SORTED), ("channels", SORTED)]
    ours = {name: one.load_object(eid, name, collection=collection) for name, collection in asked}
    assert len(ours["trials"].choice) == 180
    fetched = Counter(visit.path for visit in server.requests() if visit.method == "GET" and "/Subjects/" in visit.path)
    assert set(fetched.values()) == {1}

    theirs = one_of(tmp_path / "cache")
    for name, collection in asked:
        assert_same(theirs.load_object(eid, name, collection=collection), ours[name])


def assert_same(theirs: Any, ours: Any) -> None:
    assert set(theirs) == set(ours)
    for key in theirs:
        np.testing.assert_array_equal(theirs[key], ours[key], err_msg=key)
