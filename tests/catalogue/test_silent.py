"""The catalogue of a mount that no longer asks: what was learned stays, and nothing is asked."""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_archive import Database, a_live, find, walk
from table_shapes import a_dataset, a_session, an_archive, load

from onefs.errors import UnreachableError

SESSIONS, DATASETS = an_archive()
FIRST = SESSIONS[4]
DOWN = UnreachableError("The database cannot be reached.", "Try later.")


def counts(catalogue):
    left_out = {reason: left.count for reason, left in catalogue.left_out.items()}
    return catalogue.n_sessions, catalogue.n_datasets, catalogue.total_bytes, left_out, catalogue.aggregates


def paths(catalogue, row):
    return catalogue.datasets(row).rel_paths


@pytest.mark.parametrize("n", [None, 0, 7])
def test_what_was_learned_stays_and_nothing_is_asked(tmp_path, n):
    aggregate = a_dataset(None, "x.pqt")
    hostile = [a_dataset(FIRST, "../x.npy"), aggregate]
    database = Database(SESSIONS, [*DATASETS, *hostile])
    base = None if n is None else load(tmp_path, SESSIONS[:n], [])
    live = a_live(database, base)
    silent = live.silent()
    if base:
        assert walk(silent) == walk(base)
        assert counts(silent) == counts(base)
    else:
        assert silent.folders(0) == []
        assert counts(silent) == (0, 0, 0, {}, None)
    assert not silent.may_ask
    assert live.may_ask
    assert not database.asked
    told = walk(live)
    database.asked.clear()
    live.expire()
    assert walk(silent) == told
    assert counts(silent) == counts(live)
    assert counts(silent)[0] == len(SESSIONS)
    row = silent.session_of_eid(FIRST.eid)
    assert silent.newest(row) == row == silent.session_of_key(silent.session_key(row))
    assert silent.dataset_of_id(DATASETS[0].id) == DATASETS[0]
    assert silent.child(0, "nowhere") is None
    assert not database.asked


def test_a_session_whose_datasets_are_not_known_is_empty_until_they_are():
    heard = []
    live = a_live(Database(SESSIONS, DATASETS), on_change=heard.append)
    silent = live.silent()
    row = find(live, FIRST.path).session
    heard.clear()
    assert len(silent.datasets(row)) == 0
    digest, n_datasets = silent.session_digest(row), silent.n_datasets
    new = live.newest(row)
    assert [change.sessions for change in heard] == [((row, new),)]
    assert paths(silent, row) == paths(live, row) == []
    assert len(paths(silent, new)) == 4
    assert silent.newest(row) == silent.session_of_eid(FIRST.eid) == find(silent, FIRST.path).session == new
    assert silent.session_digest(row) == digest != silent.session_digest(new)
    assert silent.n_datasets == live.n_datasets == n_datasets + 4


def test_a_session_that_was_shown_empty_and_is_empty_is_no_change():
    heard = []
    live = a_live(Database(SESSIONS, []), on_change=heard.append)
    row = find(live, FIRST.path).session
    heard.clear()
    assert paths(live.silent(), row) == []
    assert live.newest(row) == row
    assert paths(live, row) == []
    assert not any(heard)


def test_a_failure_is_told_though_the_session_was_shown_empty():
    database = Database(SESSIONS, DATASETS)
    live = a_live(database)
    row = find(live, FIRST.path).session
    assert paths(live.silent(), row) == []
    database.all_sessions = [replace(session, projects="renamed") for session in SESSIONS]
    live.expire()
    live.folders(find(live, f"{FIRST.lab}/Subjects/{FIRST.subject}").row)
    renamed = live.silent().newest(row)
    assert renamed != row
    assert paths(live.silent(), renamed) == []
    database.failure = DOWN
    for one in (row, renamed):
        with pytest.raises(UnreachableError):
            live.datasets(live.newest(one))


# -- whatever happens ------------------------------------------------------------------------------------------------

ONE, OTHER = a_session("one"), a_session("other", number=2)
ROWS = [a_dataset(session, path) for session in (ONE, OTHER) for path in ("x.npy", "alf/y.npy")]
DOINGS = st.lists(
    st.one_of(
        st.tuples(st.just("sessions"), st.lists(st.sampled_from([ONE, OTHER]), unique=True), st.sampled_from("ab")),
        st.tuples(st.just("datasets"), st.lists(st.sampled_from(ROWS), unique=True)),
        st.tuples(st.just("list")),
        st.tuples(st.just("ask"), st.sampled_from([ONE, OTHER])),
        st.tuples(st.just("show"), st.sampled_from([ONE, OTHER])),
        st.tuples(st.just("is down"), st.booleans()),
    ),
    max_size=25,
)


class Shown:
    """What a program that never asks has shown of sessions, kept until it is told of a change or the session goes."""

    def __init__(self, silent) -> None:
        self.silent = silent
        self.kept = {}

    def show(self, session) -> None:
        row = self.silent.session_of_eid(session.eid)
        if row is not None:
            row = self.silent.newest(row)
            self.kept[session.eid] = row, paths(self.silent, row)

    def changed(self, changes) -> None:
        for before, now in changes.sessions:
            eid = self.silent.session(now).eid
            if eid in self.kept:
                assert self.kept[eid][1] == paths(self.silent, before)
                self.kept[eid] = now, paths(self.silent, now)
        self.kept = {eid: kept for eid, kept in self.kept.items() if self.silent.session_of_eid(eid) is not None}


def do(live, database, shown, what, how) -> None:
    """One thing that the database, a mount that asks or one that does not may do."""
    match what, how:
        case "sessions", (sessions, project):
            database.all_sessions = [replace(session, projects=project) for session in sessions]
        case "datasets", (rows,):
            database.all_datasets = rows
        case "is down", (is_down,):
            database.failure = DOWN if is_down else None
        case "show", (session,):
            shown.show(session)
        case "ask", (session,):
            live.expire()
            row = live.session_of_eid(session.eid)
            if row is not None:
                live.newest(row)
        case _:
            live.expire()
            with suppress(UnreachableError):
                walk(live)


@settings(max_examples=200, deadline=None)
@given(st.booleans(), DOINGS)
def test_rows_tell_the_same_for_ever_and_every_change_is_told(one_tables, has_base, doings):
    database = Database([], [])
    live = a_live(database, one_tables if has_base else None, on_change=lambda changes: shown.changed(changes))
    silent = live.silent()
    shown = Shown(silent)
    told = {}
    for what, *how in doings:
        do(live, database, shown, what, how)
        standing = [row for row in map(silent.session_of_eid, (ONE.eid, OTHER.eid)) if row is not None]
        assert told == {row: paths(silent, row) for row in told}
        told |= {row: paths(silent, row) for row, _ in shown.kept.values()}
        assert counts(silent) == counts(live)
        assert silent.n_sessions == len(standing)
        for eid, (_, kept) in shown.kept.items():
            assert kept == paths(silent, silent.session_of_eid(eid))


@pytest.fixture(scope="module")
def one_tables(tmp_path_factory):
    return load(tmp_path_factory.mktemp("tables"), [ONE, OTHER], ROWS[:3])
