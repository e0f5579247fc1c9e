"""Lists of the datasets of recorded sessions: the same as ONE's, where ONE is right."""

import shutil
from pathlib import Path

import pytest
from one.api import One

from onefs.catalogue.filters import Filter, matching_rows
from onefs.catalogue.records import QC
from onefs.catalogue.snapshot import load_snapshot

TABLES = Path(__file__).parents[1] / "recordings" / "tables"
CASES = [
    {},
    {"filename": ""},
    {"filename": "*Camera*", "collection": "raw_video_data"},
    {"filename": "spikes.times*"},
    {"filename": "_ibl_*"},
    {"filename": ["spikes.times*", "none"]},
    {"filename": "alf/_ibl_wheel.position.npy"},
    {"filename": {"object": ["spikes", "wheel*"]}},
    {"filename": {"object": "wheel*", "extension": "npy"}, "collection": "alf"},
    {"filename": {"namespace": "ibl", "attribute": ["times", "position"]}},
    {"filename": {"extension": "pqt"}},
    {"collection": ""},
    {"collection": "alf"},
    {"collection": "alf*"},
    {"collection": "*probe0[0]*"},
    {"collection": ["raw_*", "alf"]},
    {"revision": ""},
    {"revision": "2024*"},
    {"revision": ["test", "2023-01-01"]},
    {"collection": "alf/probe0?/pykilosort", "revision": "*"},
    {"qc": QC.PASS},
    {"qc": QC.CRITICAL},
    {"qc": QC.CRITICAL, "ignore_qc_not_set": True},
]


@pytest.fixture(scope="module")
def catalogues(tmp_path_factory):
    """The recorded tables as ONE and as onefs read them."""
    home = tmp_path_factory.mktemp("recorded")
    for name in ("datasets.pqt", "sessions.pqt"):
        shutil.copy(TABLES / name, home)
    return One(cache_dir=home, mode="local"), load_snapshot(home, home / "state")


def theirs(one, session, *args, **kwargs):
    """ONE's list, which is a frame if the session has no datasets."""
    found = one.list_datasets(str(session.eid), *args, **kwargs)
    return found if isinstance(found, list) else []


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_datasets_of_every_session(catalogues, case):
    one, snapshot = catalogues
    asked = Filter(*(case.get(name) for name in ("filename", "collection", "revision")))
    total = 0
    for row in range(snapshot.n_sessions):
        rows = snapshot.datasets(row)
        passing = matching_rows(rows, asked, case.get("qc", QC.FAIL), case.get("ignore_qc_not_set", False))
        ours = sorted(rows.rel_paths[place] for place in passing)
        assert ours == theirs(one, snapshot.session(row), **case)
        total += len(ours)
    assert total


def test_each_name_in_a_list_is_found_in_any_collection(catalogues):
    """For ONE only the first is."""
    one, snapshot = catalogues
    names, total = ["spikes.times*", "_ibl_wheel.pos*"], 0
    for row in range(snapshot.n_sessions):
        rows = snapshot.datasets(row)
        ours = {rows.rel_paths[place] for place in matching_rows(rows, Filter(names))}
        assert ours == {path for name in names for path in theirs(one, snapshot.session(row), name)}
        total += len(ours)
    assert total
