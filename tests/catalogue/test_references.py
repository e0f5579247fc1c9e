"""Sessions by what they are called in papers: date, number and subject."""

from datetime import date

import pytest
from live_archive import Database, a_live, find
from table_shapes import a_session, load

from onefs.errors import UnreachableError

DAY = date(2020, 7, 1)
MINE = a_session("mine", "lab", "KS014", DAY, 1)
OTHERS = [
    a_session("second", "lab", "KS014", DAY, 2),
    a_session("next day", "lab", "KS014", date(2020, 7, 2), 1),
    a_session("no lab", "", "x_1.y-2", DAY, 1),
    a_session("neighbour", "lab", "KS01", DAY, 1),
    a_session("other lab", "other", "KS0145", DAY, 1),
]
NAMESAKE = a_session("namesake", "other", "KS014", DAY, 1)
SESSIONS = [MINE, *OTHERS]


def of_ref(catalogue, session):
    rows = catalogue.sessions_of_ref(session.date, session.number, session.subject)
    return [catalogue.session(row).eid for row in rows]


def a_catalogue(kind, tmp_path, sessions):
    if kind == "tables":
        return load(tmp_path, sessions, [])
    return a_live(Database(sessions, []), load(tmp_path, sessions[:2], []) if kind == "over tables" else None)


@pytest.mark.parametrize("kind", ["tables", "live", "over tables"])
def test_a_session_is_found_by_its_reference(tmp_path, kind):
    catalogue = a_catalogue(kind, tmp_path, SESSIONS)
    for session in SESSIONS:
        assert of_ref(catalogue, session) == [session.eid]
    assert catalogue.sessions_of_ref(DAY, 3, "KS014") == []
    assert catalogue.sessions_of_ref(DAY, 1 << 20, "KS014") == []
    assert catalogue.sessions_of_ref(DAY, 1, "nobody") == []
    assert catalogue.sessions_of_ref(date.min, 0, "") == []
    assert catalogue.sessions_of_ref(DAY, 1, "\udc80") == []


@pytest.mark.parametrize("kind", ["tables", "live", "over tables"])
def test_a_reference_that_two_labs_use_finds_both_sessions(tmp_path, kind):
    catalogue = a_catalogue(kind, tmp_path, [NAMESAKE, MINE])
    assert sorted(of_ref(catalogue, MINE), key=str) == sorted([MINE.eid, NAMESAKE.eid], key=str)


@pytest.mark.parametrize("n", [0, len(SESSIONS)])
def test_a_reference_costs_one_question_and_then_none(tmp_path, n):
    database = Database(SESSIONS, [])
    live = a_live(database, load(tmp_path, SESSIONS[:n], []))
    for _ in range(2):
        assert of_ref(live, MINE) == [MINE.eid]
    assert of_ref(live.silent(), MINE) == [MINE.eid]
    assert database.asked == {("reference", "2020-07-01", "1", "KS014"): 1}


def test_a_session_that_moved_is_found_where_it_is_now(tmp_path):
    moved = a_session("mine", "lab", "KS014", date(2021, 1, 1), 4)
    live = a_live(Database([moved, *OTHERS], []), load(tmp_path, SESSIONS, []))
    assert of_ref(live, MINE) == []
    assert find(live, MINE.path) is None
    assert of_ref(live, moved) == [moved.eid]
    assert find(live, moved.path).session == live.session_of_eid(moved.eid)


def test_a_session_of_another_reference_leaves_its_place_for_what_the_database_says(tmp_path):
    live = a_live(Database([NAMESAKE], []), load(tmp_path, [MINE], []))
    assert of_ref(live, MINE) == [NAMESAKE.eid]
    assert live.session_of_eid(MINE.eid) is None


def test_a_database_that_is_down_is_told_only_where_nothing_is_known(tmp_path):
    database = Database([], [])
    database.failure = UnreachableError("The database cannot be reached.", "Try later.")
    with pytest.raises(UnreachableError):
        of_ref(a_live(database), MINE)
    assert of_ref(a_live(database, load(tmp_path, SESSIONS, [])), MINE) == [MINE.eid]
    assert of_ref(a_live(database).silent(), MINE) == []
