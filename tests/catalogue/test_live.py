"""The catalogue of remote mode: what a database tells as folders are entered, in the numbers of the index."""

import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from uuid import UUID

import pytest
from live_archive import Clock, Database, a_live, find, session_facts, walk
from table_shapes import a_dataset, a_session, an_archive, load
from waiting import PATIENCE_S

from onefs.catalogue import asking
from onefs.catalogue.live import merged
from onefs.catalogue.snapshot import load_snapshot
from onefs.errors import UnreachableError

SESSIONS, DATASETS = an_archive()
AGGREGATE = a_dataset(None, "Subjects/laba/S-2/_ibl_subjectTrials.table.pqt")
DOWN = UnreachableError("The database cannot be reached.", "Try later.")
FIRST = SESSIONS[4]
"""A session with datasets, in a lab."""


def counts(catalogue):
    left_out = {reason: left.count for reason, left in catalogue.left_out.items()}
    return catalogue.n_sessions, catalogue.n_datasets, catalogue.total_bytes, left_out


@pytest.fixture(scope="module")
def demo(demo_archive, tmp_path_factory):
    return load_snapshot(demo_archive / "tables", tmp_path_factory.mktemp("demo"))


def database_of(snapshot):
    rows = [*range(snapshot.n_sessions), *([] if snapshot.aggregates is None else [snapshot.aggregates])]
    datasets = [snapshot.datasets(row).dataset(i) for row in rows for i in range(len(snapshot.datasets(row)))]
    return Database([snapshot.session(row) for row in range(snapshot.n_sessions)], datasets)


# -- the same as the index -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("has_base", [False, True])
def test_the_demo_is_the_same_by_questions_as_by_tables(demo, has_base):
    live = a_live(database_of(demo), demo if has_base else None)
    assert walk(live) == walk(demo)
    assert counts(live)[:3] == counts(demo)[:3]


@pytest.mark.parametrize("has_base", [False, True])
def test_an_archive_with_oddities_is_the_same_by_questions_as_by_tables(tmp_path, has_base):
    snapshot = load(tmp_path, SESSIONS, [*DATASETS, AGGREGATE])
    live = a_live(Database(SESSIONS[::-1], [AGGREGATE, *DATASETS[::-1]]), snapshot if has_base else None)
    assert walk(live) == walk(snapshot)
    assert counts(live)[:3] == counts(snapshot)[:3]


@pytest.mark.parametrize("n", [0, 1, 7])
def test_what_the_tables_have_not_yet_comes_in_the_numbers_of_later_tables(tmp_path, n):
    early = load(tmp_path, SESSIONS[:n], [d for d in DATASETS if d.eid in {s.eid for s in SESSIONS[:n]}])
    late = load(tmp_path, SESSIONS, [*DATASETS, AGGREGATE], tables="late")
    live = a_live(Database(SESSIONS, [*DATASETS, AGGREGATE]), early)
    assert walk(live) == walk(late)
    assert counts(live)[:3] == counts(late)[:3]


def test_every_number_leads_back_to_its_folder_and_session(tmp_path):
    live = a_live(Database(SESSIONS, DATASETS), load(tmp_path, SESSIONS[:3], []))
    walk(live)
    for session in SESSIONS:
        folder = find(live, session.path)
        assert live.folder_of_key(live.folder_key(folder.row)) == folder
        row = live.session_of_eid(session.eid)
        assert live.session_of_key(live.session_key(row)) == row == folder.session
        assert live.session_folder(row) == folder
    assert live.folder_of_key(1) is None
    assert live.session_of_key(1) is None
    assert live.session_of_eid(AGGREGATE.id) is None


def test_a_number_known_from_an_earlier_run_resolves_through_the_tables(tmp_path):
    base = load(tmp_path, SESSIONS, DATASETS)
    database = Database(SESSIONS, DATASETS)
    live = a_live(database, base)
    row = base.session_of_eid(FIRST.eid)
    assert live.session_of_key(base.session_key(row)) == row
    folder = base.session_folder(row)
    assert live.folder_of_key(base.folder_key(folder.row)) == folder
    assert not database.asked
    assert session_facts(live, row) == session_facts(base, row)


# -- hostile answers -------------------------------------------------------------------------------------------------


def test_hostile_datasets_are_left_out_and_counted_as_the_index_does(tmp_path):
    session = a_session()
    paths = ["../x.npy", "", "alf//x", "alf/\0", "a" * 256, "alf/x.npy", "alf", "alf/x.npy/y", "raw/z"]
    rows = [a_dataset(session, path) for path in paths]
    rows += [a_dataset(session, "raw/z", "again"), a_dataset(session, "gone", exists=False)]
    snapshot = load(tmp_path, [session], rows)
    live = a_live(Database([session], rows))
    assert walk(live) == walk(snapshot)
    assert counts(live) == counts(snapshot)


def test_hostile_sessions_are_left_out_and_counted_as_the_index_does(tmp_path):
    twin = a_session("twin", number=1)
    sessions = [a_session(), twin, replace(twin, number=9), a_session("far", number=65535)]
    snapshot = load(tmp_path, sessions, [])
    live = a_live(Database(sessions, []))
    assert walk(live) == walk(snapshot)
    assert counts(live) == counts(snapshot)


def test_sessions_without_an_id_or_a_usable_number_are_left_out_and_counted():
    sessions = [a_session(), replace(a_session(number=2), eid=UUID(int=0)), a_session("far", number=1 << 16)]
    live = a_live(Database(sessions, []))
    assert walk(live)["lab/Subjects/subject/2020-01-02"][1] == ["001"]
    assert {reason: left.count for reason, left in live.left_out.items()} == {
        "session id is no UUID": 1, "session without date or number": 1,
    }  # fmt: skip


def test_a_lab_may_have_the_name_of_a_subject_without_one(tmp_path):
    sessions = [
        a_session("in lab", lab="same"),
        a_session("without", lab="", subject="same"),
        a_session("gone", lab=""),
    ]
    snapshot = load(tmp_path, sessions[:2], [])
    assert walk(a_live(Database(sessions[:2], []))) == walk(snapshot)
    assert walk(a_live(Database(sessions[:2], []), load(tmp_path, sessions, [], tables="more"))) == walk(snapshot)


def test_hostile_names_of_labs_and_subjects_are_left_out_and_counted(tmp_path):
    sessions = [a_session()]
    for n, name in enumerate(("..", ".onefs", "sessions.pqt", "aggregates", "a/b", "x" * 300, "\udc80")):
        sessions += [a_session(f"lab {n}", lab=name), a_session(f"subject {n}", subject=name)]
    live = a_live(Database(sessions, []))
    told = walk(live)
    assert told["/"][1] == ["lab"]
    assert told["lab/Subjects"][1] == [".onefs", "aggregates", "sessions.pqt", "subject"]
    assert sum(left.count for left in live.left_out.values()) == 7 + 4


def test_answers_that_cannot_be_written_down_do_no_harm():
    session = replace(a_session(), task_protocol="half \ud800", projects="\udfff")
    rows = [
        a_dataset(session, "x.npy", size=-5, md5="rubbish"),
        a_dataset(session, "y.npy", size=1 << 80, md5="AB" * 16),
    ]
    rows += [replace(a_dataset(session, "z"), rel_path="alf/\ud800.npy"), replace(rows[0], id=UUID(int=0))]
    live = a_live(Database([session], rows))
    row = find(live, session.path).session
    assert live.session(row).task_protocol == "half ?"
    told = live.datasets(row)
    assert told.rel_paths == ["x.npy", "y.npy"]
    assert told.sizes == [-1, -1]
    assert [told.dataset(i).md5 for i in range(2)] == ["", "ab" * 16]
    assert {reason: left.count for reason, left in live.left_out.items()} == {
        "dataset with an unsafe path": 1, "dataset id is no UUID": 1,
        "dataset of an impossible size, shown as unknown": 1,
        "dataset with a hash that is no MD5, so that the file is not verified": 1,
    }  # fmt: skip


def test_answers_about_others_than_were_asked_for_are_ignored():
    mine, other = a_session(), a_session("other", subject="other")
    rows = [a_dataset(mine, "x"), a_dataset(other, "y"), a_dataset(None, "z")]
    database = Database([mine, other], rows)
    database.sessions = lambda lab, subject: [mine, other]
    database.datasets = lambda session: rows
    database.aggregates = lambda: rows
    live = a_live(database)
    assert live.datasets(find(live, mine.path).session).rel_paths == ["x"]
    assert live.datasets(find(live, "aggregates").session).rel_paths == ["z"]
    assert [folder.name for folder in live.folders(find(live, "lab/Subjects/subject").row)] == ["2020-01-02"]


def test_a_key_that_is_taken_makes_the_next_free_one(tmp_path, monkeypatch):
    base = load(tmp_path, SESSIONS[:3], DATASETS)
    taken = sorted(base.session_key(row) for row in range(3))
    monkeypatch.setattr("onefs.catalogue.live_sessions.wanted_key", lambda eid: taken[0])
    monkeypatch.setattr("onefs.catalogue.live_folders.digest64", lambda parts: base.folder_key(3))
    live = a_live(Database(SESSIONS, DATASETS), base)
    walk(live)
    keys = [live.session_key(live.session_of_eid(session.eid)) for session in SESSIONS]
    assert len(set(keys)) == len(SESSIONS)
    assert sorted(keys[:3]) == taken
    for session in SESSIONS:
        folder = find(live, session.path)
        assert live.folder_of_key(live.folder_key(folder.row)) == folder


# -- how often the database is asked ---------------------------------------------------------------------------------


def test_nothing_is_asked_before_somebody_looks(tmp_path):
    database = Database(SESSIONS, DATASETS)
    a_live(database)
    live = a_live(database, load(tmp_path, SESSIONS, DATASETS))
    assert live.n_sessions == len(SESSIONS)
    assert not database.asked


def test_a_session_of_the_tables_costs_one_question_and_then_none_for_a_day(tmp_path):
    database, clock = Database(SESSIONS, DATASETS), Clock()
    live = a_live(database, load(tmp_path, SESSIONS, DATASETS), clock=clock)
    for now_s in (0, 3600, 86399):
        clock.now_s = now_s
        folder = find(live, FIRST.path)
        assert live.folders(folder.row) == []
        assert len(live.datasets(live.newest(folder.session))) == 4
        assert database.asked == {("datasets", str(FIRST.eid)): 1}
    clock.now_s = 86400
    live.newest(folder.session)
    assert database.asked == {("datasets", str(FIRST.eid)): 2}


def test_a_new_session_costs_a_question_for_each_folder_on_the_way():
    database = Database(SESSIONS, DATASETS)
    live = a_live(database)
    for _ in range(2):
        live.datasets(find(live, FIRST.path).session)
        assert find(live, f"{FIRST.lab}/Subjects/nobody") is None
        assert find(live, "nowhere") is None
        assert find(live, f"{FIRST.lab}/nothing") is None
    assert set(database.asked.values()) == {1}
    assert set(database.asked) == {
        ("labs",), ("subjects", ""), ("subjects", FIRST.lab), ("sessions", FIRST.lab, FIRST.subject),
        ("datasets", str(FIRST.eid)),
    }  # fmt: skip


def test_names_that_are_onefs_own_are_never_asked_for():
    database = Database(SESSIONS, [AGGREGATE])
    live = a_live(database)
    assert find(live, ".onefs") is None
    assert find(live, "sessions.pqt") is None
    assert not database.asked
    assert find(live, "aggregates") is not None
    assert set(database.asked) == {("aggregates",)}


def test_threads_that_want_the_same_answer_share_one_question():
    database = Database(SESSIONS, DATASETS)
    live = a_live(database)
    row = find(live, FIRST.path).session
    database.asked.clear()
    database.was_asked.clear()
    database.may_answer.clear()
    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(live.datasets, row) for _ in range(4)]
        assert database.was_asked.wait(PATIENCE_S)
        assert find(live, FIRST.path).session == row  # others are answered meanwhile
        database.may_answer.set()
        assert len({tuple(rows.result().rel_paths) for rows in asking}) == 1
    assert database.asked == {("datasets", str(FIRST.eid)): 1}


def test_many_threads_walk_at_once(tmp_path):
    base = load(tmp_path, SESSIONS[:5], [])
    expected = walk(load(tmp_path, SESSIONS, DATASETS, tables="all"))
    live = a_live(Database(SESSIONS, DATASETS), base)
    with ThreadPoolExecutor(4) as pool:
        walks = [pool.submit(walk, live) for _ in range(4)]
        for done in walks:
            done.result()
    assert walk(live) == expected


def test_what_is_being_asked_when_everything_expires_is_asked_again():
    database = Database(SESSIONS, DATASETS)
    live = a_live(database)
    row = find(live, FIRST.path).session
    database.was_asked.clear()
    database.may_answer.clear()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(live.newest, row)
        assert database.was_asked.wait(PATIENCE_S)
        live.expire()  # waits for nobody
        database.may_answer.set()
        asking.result()
    for _ in range(2):
        live.newest(row)
        assert database.asked["datasets", str(FIRST.eid)] == 2


# -- failures --------------------------------------------------------------------------------------------------------


def test_a_database_that_is_down_leaves_what_the_tables_say(tmp_path):
    base = load(tmp_path, SESSIONS, [*DATASETS, AGGREGATE])
    database, clock = Database([], []), Clock()
    database.failure = DOWN
    live = a_live(database, base, clock=clock)
    assert walk(live) == walk(base)
    with pytest.raises(UnreachableError):  # it may have come to exist
        find(live, "nowhere")
    assert set(database.asked.values()) == {1}
    clock.now_s = 60
    walk(live)
    assert database.asked["labs",] == 2


def test_where_nothing_is_known_a_failure_is_told(tmp_path):
    database, clock = Database(SESSIONS, DATASETS), Clock()
    live = a_live(database, clock=clock)
    row = find(live, FIRST.path).session
    subjects = find(live, f"{FIRST.lab}/Subjects").row
    other = find(live, "laba" if FIRST.lab != "laba" else "labb").row
    database.failure = DOWN
    with pytest.raises(UnreachableError, match="cannot be reached"):
        live.datasets(row)
    with pytest.raises(UnreachableError):
        live.folders(live.child(other, "Subjects").row)
    with pytest.raises(UnreachableError):
        live.child(live.child(other, "Subjects").row, "somebody")
    with pytest.raises(UnreachableError):
        a_live(database).folders(0)
    clock.now_s = 86400
    assert [folder.name for folder in live.folders(subjects)] == ["S-2", "S.1"]  # as it was
    database.failure = None
    clock.now_s += 60
    assert len(live.datasets(row)) == 4


def test_a_stale_answer_is_shown_and_soon_asked_for_again():
    database, clock, told = Database(SESSIONS[:1], []), Clock(), []
    database.outage = DOWN
    live = a_live(database, clock=clock, on_answer=told.append)
    lab = SESSIONS[0].lab
    assert [folder.name for folder in live.folders(0)] == [lab]
    assert told[0] is DOWN
    with pytest.raises(UnreachableError):  # it may have come to exist
        live.child(0, "later")
    assert database.asked["labs",] == 1
    database.outage = None
    database.all_sessions.append(replace(SESSIONS[0], lab="later", eid=UUID(int=7)))
    clock.now_s = 60
    assert {folder.name for folder in live.folders(0)} == {lab, "later"}
    assert told[-1] is None


def test_an_earlier_answer_takes_nothing_away_that_was_learned_since():
    database = Database(SESSIONS[:1], [])
    live = a_live(database)
    day = find(live, SESSIONS[0].path.rpartition("/")[0])
    assert len(live.folders(day.row)) == 1
    new = replace(SESSIONS[0], eid=UUID(int=7), number=77)
    database.all_sessions.append(new)
    assert live.find_session(new.eid) is not None
    live.expire()
    database.all_sessions.remove(new)
    database.outage = DOWN
    assert len(live.folders(day.row)) == 2
    database.outage = None
    live.expire()
    assert len(live.folders(day.row)) == 1  # now the database itself says so


def test_a_question_that_ends_in_an_unforeseen_error_counts_as_not_asked():
    database = Database(SESSIONS, DATASETS)
    live = a_live(database)
    walk(live)
    live.expire()
    database.failure = RuntimeError("unforeseen")
    with pytest.raises(RuntimeError):
        live.folders(0)
    database.failure = None
    database.all_sessions.append(replace(SESSIONS[0], lab="later", eid=UUID(int=7)))
    assert "later" in {folder.name for folder in live.folders(0)}


def test_finding_datasets_of_known_sessions_takes_no_memory_for_each(tmp_path):
    base = load(tmp_path, SESSIONS, DATASETS)
    known = [dataset for dataset in DATASETS if base.dataset_of_id(dataset.id)]
    live = a_live(Database(SESSIONS, DATASETS), base)
    for session in SESSIONS:
        live.newest(live.find_session(session.eid))
    tracemalloc.start()
    try:
        for dataset in known:
            assert live.find_dataset(dataset.id) == dataset
        allocated = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, asking.__file__)])
    finally:
        tracemalloc.stop()
    assert sum(each.size for each in allocated.traces) < 1000


def test_a_failed_question_is_not_asked_again_at_once():
    database, clock = Database(SESSIONS, DATASETS), Clock()
    database.failure = DOWN
    live = a_live(database, clock=clock)
    for _ in range(3):
        with pytest.raises(UnreachableError):
            find(live, "laba")
    assert database.asked == {("labs",): 1}


# -- what is learned later -------------------------------------------------------------------------------------------


def test_answers_take_the_place_of_what_the_tables_said(tmp_path):
    base = load(tmp_path, SESSIONS, [*DATASETS, AGGREGATE])
    kept = [session for session in SESSIONS if session.lab == "laba"][1:]
    datasets = [replace(DATASETS[0], eid=kept[0].eid, session_path=kept[0].path)]
    expected = load(tmp_path, kept, datasets, tables="new")
    live = a_live(Database(kept, datasets), base)
    told = walk(live)
    without_lab = {path: facts for path, facts in told.items() if path.startswith("laba") or path == "aggregates"}
    assert without_lab == {path: facts for path, facts in walk(expected).items() if path.startswith("laba")}
    assert told["/"][1] == ["S-2", "S.1", "laba"]  # the database was asked nothing about subjects without a lab
    assert live.aggregates is None
    assert live.folder_of_key(base.folder_key(base.child(0, "labb").row)) is None
    gone = next(session for session in SESSIONS if session.lab == "labb")
    assert live.session_of_eid(gone.eid) is None
    assert live.session_of_key(base.session_key(base.session_of_eid(gone.eid))) is None
    assert live.n_sessions == len(kept)  # those without a lab went when it was asked for their datasets
    assert live.n_datasets == 1


def test_rows_once_told_stay_and_changes_make_new_ones(tmp_path):
    base = load(tmp_path, SESSIONS, DATASETS)
    database, clock, heard = Database(SESSIONS, DATASETS), Clock(), []
    live = a_live(database, base, clock=clock, on_change=heard.append)
    row = find(live, FIRST.path).session
    before = live.datasets(row)
    key = live.session_key(row)
    assert heard == []
    added = a_dataset(FIRST, "alf/new.times.npy")
    database.all_datasets.append(added)
    live.expire()
    new = live.newest(row)
    assert new != row
    assert "alf/new.times.npy" in live.datasets(new).rel_paths
    assert live.datasets(row).rel_paths == before.rel_paths
    assert [live.datasets(row).dataset(i) for i in range(4)] == [before.dataset(i) for i in range(4)]
    assert find(live, FIRST.path).session == live.session_of_key(key) == live.session_of_eid(FIRST.eid) == new
    assert live.session_key(new) == key
    assert [change.sessions for change in heard] == [((row, new),)]
    assert live.dataset_of_id(added.id) == added
    assert live.n_datasets == base.n_datasets + 1
    database.all_datasets.remove(added)
    clock.now_s = 86400
    assert live.newest(row) == live.newest(new) > new
    assert live.dataset_of_id(added.id) is None
    assert live.n_datasets == base.n_datasets


def test_a_session_of_the_tables_can_have_other_datasets_from_the_first_answer_on(tmp_path):
    base = load(tmp_path, SESSIONS, DATASETS)
    heard = []
    mine = [dataset for dataset in DATASETS if dataset.eid == FIRST.eid and dataset.exists]
    live = a_live(Database(SESSIONS, mine[1:]), base, on_change=heard.append)
    row = find(live, FIRST.path).session
    new = live.newest(row)
    assert len(live.datasets(new)) == len(mine) - 1
    assert len(live.datasets(row)) == len(mine)  # as in the tables, for whoever showed them
    assert [change.sessions for change in heard] == [((row, new),)]
    assert live.dataset_of_id(mine[0].id) is None
    assert live.dataset_of_id(mine[1].id) == mine[1]


def test_a_session_whose_fields_change_keeps_its_number_and_its_known_datasets(tmp_path):
    base = load(tmp_path, SESSIONS, DATASETS)
    changed = [replace(session, projects="renamed") for session in SESSIONS]
    database = Database(changed, DATASETS)
    live = a_live(database, base)
    old = base.session_of_eid(FIRST.eid)
    live.folders(find(live, f"{FIRST.lab}/Subjects/{FIRST.subject}").row)
    row = find(live, FIRST.path).session
    assert row != old
    assert live.session(row).projects == "renamed"
    assert live.session(old).projects == FIRST.projects
    assert live.session_key(row) == live.session_key(old)
    database.failure = DOWN
    assert live.datasets(row).rel_paths == base.datasets(old).rel_paths
    assert live.datasets(row).dataset(0) == base.datasets(old).dataset(0)


def test_projects_that_are_told_in_another_order_are_no_change():
    session = replace(a_session(), projects="a,b")
    database, changes = Database([session], []), []
    live = a_live(database, on_change=changes.append)
    row = find(live, session.path).session
    changes.clear()
    database.all_sessions = [replace(session, projects="b,a")]
    live.expire()
    assert find(live, session.path).session == row
    live.folders(find(live, "lab/Subjects/subject").row)
    assert changes == []


def test_a_session_that_moved_stands_only_where_it_is_now(tmp_path):
    base = load(tmp_path, SESSIONS, DATASETS)
    moved = replace(FIRST, date=date(2021, 5, 6), subject="S-9")
    database = Database([moved if session is FIRST else session for session in SESSIONS], DATASETS)
    live = a_live(database, base)
    row = find(live, moved.path).session
    assert find(live, FIRST.path) is None
    assert live.session_key(row) == base.session_key(base.session_of_eid(FIRST.eid))
    assert live.datasets(row).dataset(0).session_path == moved.path
    assert live.n_sessions == len(SESSIONS)
    assert live.n_datasets == base.n_datasets
    assert live.folder(0).date == date(2021, 5, 6)


def test_a_listing_is_renewed_after_a_day_and_says_what_changed():
    database, clock, heard = Database(SESSIONS, DATASETS), Clock(), []
    live = a_live(database, clock=clock, on_change=heard.append)
    walk(live)
    heard.clear()
    subject = find(live, f"{FIRST.lab}/Subjects/{FIRST.subject}")
    gone = [session for session in SESSIONS if (session.lab, session.subject) == (FIRST.lab, FIRST.subject)]
    new = a_session("new", FIRST.lab, FIRST.subject, date(2030, 1, 1))
    database.all_sessions = [session for session in SESSIONS if session not in gone] + [new]
    assert len(live.folders(subject.row)) == 2
    clock.now_s = 86400
    assert [folder.name for folder in live.folders(subject.row)] == ["2030-01-01"]
    (change,) = heard
    assert {live.folder_path(row) for row in change.folders_gone} == {
        f"{FIRST.lab}/Subjects/{FIRST.subject}/{session.date}" for session in gone
    }
    came = f"{FIRST.lab}/Subjects/{FIRST.subject}/2030-01-01"
    assert {came, f"{came}/001", FIRST.lab, ""} <= {live.folder_path(row) for row in change.folders_new}
    assert live.folder(0).date == new.date
    assert live.session_of_eid(FIRST.eid) is None
    database.all_sessions = SESSIONS
    live.expire()
    assert find(live, FIRST.path).session is not None
    assert live.session_of_eid(FIRST.eid) is not None


def test_what_was_learned_is_what_the_tables_have_not(tmp_path):
    base = load(tmp_path, SESSIONS[:6], [dataset for dataset in DATASETS if dataset.eid != FIRST.eid])
    live = a_live(Database(SESSIONS, [*DATASETS, AGGREGATE]), base)
    assert merged(base, live) == ([], [])
    live.newest(find(live, FIRST.path).session)
    learned = merged(base, live)
    assert learned.sessions == []
    assert {d.id for d in learned.datasets} <= {d.id for d in DATASETS if d.eid == FIRST.eid}
    assert len(learned.datasets) == 4
    walk(live)
    learned = merged(base, live)
    assert {session.eid for session in learned.sessions} == {session.eid for session in SESSIONS[6:]}
    assert AGGREGATE.id in {dataset.id for dataset in learned.datasets}
    everything = merged(None, live)
    assert len(everything.sessions) == len(SESSIONS)
    assert len(everything.datasets) == live.n_datasets


def test_a_question_that_is_under_way_delays_nobody_else():
    database = Database(SESSIONS, DATASETS)
    live = a_live(database)
    row = find(live, FIRST.path).session
    database.was_asked.clear()
    database.may_answer.clear()
    asking = threading.Thread(target=live.datasets, args=(row,))
    asking.start()
    assert database.was_asked.wait(PATIENCE_S)
    assert live.session(row) == FIRST
    assert [folder.name for folder in live.folders(find(live, f"{FIRST.lab}/Subjects").row)] == ["S-2", "S.1"]
    database.may_answer.set()
    asking.join()


# -- what is told besides --------------------------------------------------------------------------------------------


def test_what_is_told_besides_is_added(tmp_path):
    """Some datasets of a session, new and known ones, and an aggregate: others stay, and nothing is asked."""
    database, told = Database([], []), []
    base = load(tmp_path, SESSIONS, [each for each in DATASETS if each.eid == FIRST.eid])
    live = a_live(database, base, on_change=told.append)
    row = live.session_of_eid(FIRST.eid)
    known = [live.datasets(row).dataset(i) for i in range(len(live.datasets(row)))]
    changed = replace(known[0], md5="0" * 32)
    new = a_dataset(FIRST, "alf/told.besides.npy")
    other = replace(FIRST, eid=UUID(int=7), number=77)
    live.learn([other], [changed, new, a_dataset(other, "alf/a.b.npy"), AGGREGATE])
    rows = live.datasets(live.session_of_eid(FIRST.eid))
    assert rows.rel_paths == sorted([*(each.rel_path for each in known), new.rel_path])
    assert live.dataset_of_id(changed.id).md5 == changed.md5
    assert live.dataset_of_id(known[-1].id) == known[-1]
    assert live.session(live.session_of_eid(other.eid)) == other
    assert live.datasets(live.aggregates).rel_paths == [AGGREGATE.rel_path]
    assert told
    assert not database.asked
    learned = merged(base, live)
    assert {each.id for each in learned.datasets} >= {changed.id, new.id, AGGREGATE.id}
    assert learned.sessions == [other]


def test_datasets_of_a_session_that_nobody_told_of_are_not_added(tmp_path):
    live = a_live(Database([], []), load(tmp_path, SESSIONS, []))
    live.learn([], [a_dataset(replace(FIRST, eid=UUID(int=8)), "alf/a.b.npy")])
    assert live.learned().datasets == []
