"""Sessions and datasets that a live catalogue is asked for by their ids."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from uuid import UUID

import pytest
from live_archive import Clock, Database, a_live, find, walk
from table_shapes import a_dataset, a_session, an_archive, load
from waiting import PATIENCE_S

from onefs.errors import UnreachableError

SESSIONS, DATASETS = an_archive()
AGGREGATE = a_dataset(None, "Subjects/laba/S-2/_ibl_subjectTrials.table.pqt")
DOWN = UnreachableError("The database cannot be reached.", "Try later.")
FIRST, ALONE = SESSIONS[4:6]
MINE = next(dataset for dataset in DATASETS if dataset.eid == FIRST.eid)


def over(tmp_path, database, n):
    """A live catalogue over the tables of the first `n` sessions."""
    eids = {session.eid for session in SESSIONS[:n]}
    return a_live(database, load(tmp_path, SESSIONS[:n], [each for each in DATASETS if each.eid in eids]))


@pytest.mark.parametrize("n", [0, len(SESSIONS)])
def test_a_session_costs_one_question_and_then_none(tmp_path, n):
    database = Database(SESSIONS, DATASETS)
    live = over(tmp_path, database, n)
    for _ in range(2):
        row = live.find_session(FIRST.eid)
        assert live.session(row) == FIRST
        assert find(live, FIRST.path).session == row
    assert database.asked == {("session", str(FIRST.eid)): 1}
    assert live.find_session(AGGREGATE.id) is live.find_session(AGGREGATE.id) is None
    assert database.asked["session", str(AGGREGATE.id)] == 1


@pytest.mark.parametrize("n", [0, len(SESSIONS)])
def test_a_dataset_is_found_in_its_session(tmp_path, n):
    database = Database(SESSIONS, [*DATASETS, AGGREGATE])
    live = over(tmp_path, database, n)
    for _ in range(2):
        assert live.find_dataset(MINE.id) == MINE
    asked = {("session", str(FIRST.eid)): 1, ("datasets", str(FIRST.eid)): 1}
    assert database.asked == (asked if n else {("dataset", str(MINE.id)): 1})
    assert live.find_dataset(AGGREGATE.id) == AGGREGATE
    assert live.find_dataset(FIRST.eid) is None


def test_all_that_was_found_by_ids_is_as_in_a_walk(tmp_path):
    database = Database(SESSIONS, DATASETS)
    live = a_live(database)
    for session in SESSIONS:
        live.find_session(session.eid)
    for dataset in DATASETS:
        live.find_dataset(dataset.id)
    expected = walk(load(tmp_path, SESSIONS, DATASETS))
    assert walk(live.silent()) == expected
    assert walk(live) == expected
    walked = a_live(database)
    walk(walked)
    for found, told in zip(live.learned(), walked.learned(), strict=True):
        assert sorted(found, key=str) == sorted(told, key=str)


def test_threads_that_want_the_same_session_share_one_question():
    database = Database(SESSIONS, DATASETS)
    live = a_live(database)
    database.may_answer.clear()
    with ThreadPoolExecutor(4) as pool:
        finding = [pool.submit(live.find_session, FIRST.eid) for _ in range(4)]
        assert database.was_asked.wait(PATIENCE_S)
        assert live.silent().find_session(FIRST.eid) is None
        database.may_answer.set()
        assert {live.session(row.result()) for row in finding} == {FIRST}
    assert database.asked == {("session", str(FIRST.eid)): 1}


def test_a_session_whose_record_names_another_lab_moves_there(tmp_path):
    moved = replace(FIRST, lab="labc")
    heard = []
    database = Database([moved if session is FIRST else session for session in SESSIONS], DATASETS)
    live = a_live(database, load(tmp_path, SESSIONS, DATASETS), on_change=heard.append)
    row = live.find_session(FIRST.eid)
    assert live.session_path(row) == moved.path
    assert find(live, FIRST.path) is None
    assert live.find_dataset(MINE.id).path == f"{moved.path}/{MINE.rel_path}"
    assert live.n_sessions == len(SESSIONS)
    gone = {live.folder_path(row) for change in heard for row in change.folders_gone}
    assert FIRST.path in {path + FIRST.path.removeprefix(path) for path in gone}


def test_a_session_and_a_dataset_that_were_deleted_are_found_no_more(tmp_path):
    database = Database(SESSIONS, DATASETS)
    live = over(tmp_path, database, len(SESSIONS))
    database.all_datasets = [dataset for dataset in DATASETS if dataset != MINE]
    assert live.find_dataset(MINE.id) is None
    database.all_sessions = [session for session in SESSIONS if session is not FIRST]
    live.expire()
    assert live.find_session(FIRST.eid) is None
    assert find(live, FIRST.path) is None
    assert live.n_sessions == len(SESSIONS) - 1


@pytest.mark.parametrize("ask", ["newest", "folders"])
def test_a_session_that_was_deleted_goes_when_its_own_folder_is_looked_into(tmp_path, ask):
    database = Database([session for session in SESSIONS if session is not ALONE], DATASETS)
    live = over(tmp_path, database, len(SESSIONS))
    folder = find(live, ALONE.path)
    if ask == "newest":
        live.newest(folder.session)
    else:
        assert live.folders(folder.parent) == []
    assert live.session_of_eid(ALONE.eid) is None
    assert find(live, ALONE.path) is None


@pytest.mark.parametrize("has_base", [False, True])
def test_a_session_that_was_deleted_does_not_come_back_with_another_of_its_day(tmp_path, has_base):
    deleted, elsewhere = a_session("deleted"), a_session("elsewhere", day=date(2019, 1, 1))
    database = Database([deleted, elsewhere], [])
    live = a_live(database, load(tmp_path, [deleted, elsewhere], []) if has_base else None)
    walk(live)
    subject = find(live, f"{deleted.lab}/Subjects/{deleted.subject}")
    added = a_session("added", number=deleted.number + 1)
    database.all_sessions = [elsewhere]
    live.expire()
    assert [folder.name for folder in live.folders(subject.row)] == [str(elsewhere.date)]
    database.all_sessions = [elsewhere, added]
    day = live.folder(live.session_folder(live.find_session(added.eid)).parent)
    assert [folder.name for folder in live.folders(day.row)] == [f"{added.number:03}"]
    assert live.n_sessions == 2


def test_a_session_that_was_registered_anew_takes_the_place_of_the_old_one(tmp_path):
    anew = replace(FIRST, eid=UUID(int=77))
    database = Database([anew if session is FIRST else session for session in SESSIONS], [])
    live = over(tmp_path, database, len(SESSIONS))
    row = live.find_session(anew.eid)
    assert live.session(row) == anew
    assert find(live, FIRST.path).session == row
    assert live.session_of_eid(FIRST.eid) is None


def test_a_dataset_that_came_after_its_session_was_listed_is_found(tmp_path):
    database = Database(SESSIONS, DATASETS)
    live = over(tmp_path, database, len(SESSIONS))
    live.newest(live.session_of_eid(FIRST.eid))
    added = a_dataset(FIRST, "alf/added.times.npy")
    aggregate = a_dataset(None, "Subjects/added.pqt")
    database.all_datasets += [added, aggregate]
    for _ in range(2):
        assert live.find_dataset(added.id) == added
        assert live.find_dataset(aggregate.id) == aggregate
    assert database.asked["dataset", str(added.id)] == 1


def test_a_session_on_the_path_of_another_stands_beside_it():
    twin = replace(a_session("twin"), lab=FIRST.lab, subject=FIRST.subject, date=FIRST.date, number=FIRST.number)
    live = a_live(Database([FIRST, twin], []))
    rows = [live.find_session(session.eid) for session in sorted([FIRST, twin], key=lambda session: session.eid.bytes)]
    assert list(find(live, FIRST.path).sessions) == rows


def test_what_cannot_stand_in_the_tree_is_not_found():
    session = replace(FIRST, lab="..")
    live = a_live(Database([session, replace(FIRST, eid=UUID(int=5), subject="a/b")], []))
    assert live.find_session(FIRST.eid) is None
    assert live.find_session(UUID(int=5)) is None
    assert live.silent().folders(0) == []


def test_a_database_that_is_down_is_told_only_where_nothing_is_known(tmp_path):
    database, clock = Database(SESSIONS, DATASETS), Clock()
    database.failure = DOWN
    known = over(tmp_path, database, len(SESSIONS))
    assert known.session(known.find_session(FIRST.eid)) == FIRST
    assert known.find_dataset(MINE.id) == MINE
    live = a_live(database, clock=clock)
    for _ in range(2):
        with pytest.raises(UnreachableError):
            live.find_session(FIRST.eid)
        with pytest.raises(UnreachableError):
            live.find_dataset(MINE.id)
    database.failure = None
    clock.now_s = 60
    assert live.find_dataset(MINE.id) == MINE


def test_tables_and_what_is_silent_ask_nobody(tmp_path):
    database = Database(SESSIONS, DATASETS)
    live = over(tmp_path, database, 5)
    for catalogue in (live.base, live.silent()):
        assert catalogue.find_session(FIRST.eid) == catalogue.session_of_eid(FIRST.eid)
        assert catalogue.find_session(SESSIONS[7].eid) is None
        assert catalogue.find_dataset(MINE.id) == MINE
    assert not database.asked
