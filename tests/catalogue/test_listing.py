"""Lists of all paths of an index: the same as one session after the other gives."""

from datetime import date

import numpy as np
import pytest
from live_archive import Database, a_live
from table_shapes import a_dataset, a_session, an_archive, load

from onefs.catalogue.filters import Filter, matching_rows
from onefs.catalogue.listing import path_blocks
from onefs.catalogue.query import columns_of
from onefs.catalogue.records import QC
from onefs.catalogue.stored import CHUNK_ROWS


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Two labs and none, a dataset of no session, and two sessions on one path."""
    sessions, datasets = an_archive()
    twin = a_session("twin", "laba", "S.1", date(2020, 1, 2), 1)
    more = [a_dataset(twin, "alf/x.y.npy"), a_dataset(None, "Subjects/laba/S.1/a.b.npy")]
    return load(tmp_path_factory.mktemp("small"), [*sessions, twin], datasets + more)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Sessions that begin before, in and after the pieces in which the index is read, and empty ones between them."""
    counts = [0, CHUNK_ROWS - 1, 0, 3, 5, 0, 0, 1, 2, 0]
    sessions = [a_session(number, "lab", f"S{number}") for number in range(len(counts))]
    qc = list(QC)
    datasets = [
        a_dataset(session, f"alf/p{at % 7}/o{at}.a.npy", qc=qc[at % 5])
        for session, count in zip(sessions, counts, strict=True)
        for at in range(count)
    ]
    return load(tmp_path_factory.mktemp("large"), sessions, datasets)


def one_by_one(snapshot, asked=Filter(), sessions=None, limit=QC.FAIL, ignore_not_set=False):  # noqa: B008
    """The paths, one session after the other."""
    found = []
    for row in range(snapshot.n_sessions) if sessions is None else sorted(set(sessions)):
        rows = snapshot.datasets(row)
        places = matching_rows(rows, asked, limit, ignore_not_set)
        found += [f"{snapshot.session_path(row)}/{rows.rel_paths[place]}" for place in places]
    return found


def listed(snapshot, *args, **kwargs):
    blocks = b"".join(path_blocks(columns_of(snapshot), *args, **kwargs)).decode()
    assert not blocks or blocks.endswith("\n")
    return blocks.splitlines()


CASES = [
    Filter(),
    Filter("*spikes*"),
    Filter({"object": "spikes"}, revision=""),
    Filter(collection=["", "alf/p[12]"]),
    Filter("o1*.npy"),
    Filter("nothing"),
    Filter("é.ü.npy"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_all_paths_that_pass_in_the_order_of_the_index(small, case):
    assert listed(small, case) == one_by_one(small, case)


@pytest.mark.parametrize("case", [Filter(), Filter("o1*.npy", "alf/p[12]"), Filter("o4.a.npy")], ids=str)
def test_sessions_that_stand_in_several_pieces_of_the_index(large, case):
    assert listed(large, case) == one_by_one(large, case)


def test_nothing_is_left_out_and_a_block_has_a_bounded_number_of_lines(small, large):
    assert len(listed(small, limit=QC.CRITICAL)) == small.n_datasets - 1  # without that of no session
    lines = [bytes(block).count(b"\n") for block in path_blocks(columns_of(large), limit=QC.CRITICAL)]
    assert lines == [CHUNK_ROWS, large.n_datasets - CHUNK_ROWS]


@pytest.mark.parametrize("limit", list(QC))
@pytest.mark.parametrize("ignore_not_set", [False, True])
def test_a_qc_limit(small, limit, ignore_not_set):
    asked = {"limit": limit, "ignore_not_set": ignore_not_set}
    assert listed(small, **asked) == one_by_one(small, **asked)


@pytest.mark.parametrize("sessions", [[], [0], [3], [8, 1, 1], [7], [9], np.array([2, 4])], ids=str)
def test_some_sessions_only(small, large, sessions):
    for snapshot in (small, large):
        assert listed(snapshot, sessions=sessions) == one_by_one(snapshot, sessions=list(sessions))


def test_sessions_that_a_database_told_are_listed_after_those_of_the_tables(tmp_path):
    sessions, datasets = an_archive()
    told = a_session("told", "labz", "new", date(2031, 1, 2), 12)
    changed = [each for each in datasets if each.eid == sessions[3].eid][:2]
    more = [a_dataset(told, "alf/new.times.npy"), a_dataset(told, "a.b.npy"), a_dataset(None, "x/a.b.npy")]
    live = a_live(Database([*sessions, told], [*changed, *more]), load(tmp_path, sessions, datasets))
    for session in (sessions[3], told):
        live.datasets(live.newest(live.find_session(session.eid)))
    known = live.silent()
    rows = [known.session_of_eid(session.eid) for session in [*sessions, told]]
    expected = one_by_one(known, sessions=rows)
    found = listed(known)
    assert sorted(found) == sorted(expected)
    assert {"labz/Subjects/new/2031-01-02/012/a.b.npy", changed[0].path} <= set(found)
    assert len(found) < len(datasets)
    assert sorted(listed(known, Filter("new*"), sessions=rows[-1:])) == [more[0].path]
    assert listed(known, Filter("new*"), sessions=rows[:-1]) == []


def test_paths_may_end_otherwise(small):
    blocks = b"".join(path_blocks(columns_of(small), Filter("x.y.npy"), end=b"\0"))
    assert blocks == b"laba/Subjects/S.1/2020-01-02/001/alf/x.y.npy\0"


def test_an_archive_of_nothing(tmp_path):
    assert listed(load(tmp_path, [], [])) == []
    assert listed(load(tmp_path, [a_session()], [], "no datasets")) == []
