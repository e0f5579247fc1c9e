"""What differs between two snapshots: as a plain comparison of all that they tell."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from in_memory import folder_in_memory
from table_shapes import a_dataset, a_session, load

from onefs.catalogue.changes import compare
from onefs.catalogue.records import QC

SESSIONS = st.builds(
    a_session,
    name=st.integers(0, 5),
    lab=st.sampled_from(["", "lab", "other"]),
    subject=st.sampled_from(["s", "t"]),
    day=st.sampled_from([date(2020, 1, 1), date(2020, 1, 2)]),
    number=st.integers(1, 2),
    protocol=st.sampled_from(["task", ""]),
    projects=st.sampled_from(["a,b", "b,a", "a"]),
)
# A row's session, as a number that stands for one of the archive's, or none for an aggregate.
ROWS = st.tuples(
    st.integers(0, 5) | st.none(),
    st.sampled_from(["x.npy", "alf/x.npy", "alf/#r#/x.npy"]),
    st.sampled_from([None, 0, 7]),
    st.sampled_from(["", "0" * 32]),
    st.booleans(),
    st.sampled_from([QC.PASS, QC.FAIL]),
    st.sampled_from([True, False, None]),
)
ARCHIVES = st.tuples(
    st.lists(SESSIONS, max_size=6, unique_by=lambda session: session.eid),
    st.lists(ROWS, max_size=12, unique_by=lambda row: row[:2]),
)


@st.composite
def two_editions(draw):
    """An archive, and either another one or the same with some sessions and rows taken out, put in and replaced."""
    old = draw(ARCHIVES)
    new = draw(ARCHIVES)
    if draw(st.booleans()):
        sessions = {session.eid: session for session in old[0]} | {s.eid: s for s in new[0][: draw(st.integers(0, 2))]}
        rows = {row[:2]: row for row in old[1]} | {row[:2]: row for row in new[1][: draw(st.integers(0, 2))]}
        gone = draw(st.integers(0, 1))
        new = (list(sessions.values())[gone:], list(rows.values())[draw(st.integers(0, 1)) :])
    return old, new


def snapshot_of(folder, archive):
    sessions, rows = archive
    by_name = {a_session(n).eid: n for n in range(6)}
    known = {by_name[session.eid]: session for session in sessions}
    datasets = [
        a_dataset(known.get(n), path, size=size, md5=md5, exists=exists, qc=qc, default=default)
        for n, path, size, md5, exists, qc, default in rows
        if n is None or n in known
    ]
    return load(Path(folder), sessions, datasets)


def sessions_told(snapshot):
    """All that users can see of each session, by its eid; that of the aggregates has the nil one."""
    told = {}
    for row in range(snapshot.n_sessions + (snapshot.aggregates is not None)):
        rows = snapshot.datasets(row)
        session = snapshot.session(row)
        session = replace(session, projects=",".join(sorted(session.projects.split(","))))
        told[session.eid] = (session, [rows.dataset(i) for i in range(len(rows))])
    return told


def folders_told(snapshot):
    """The date of each folder, by its path."""
    told, below = {}, [snapshot.folder(0)]
    while below:
        folder = below.pop()
        told[snapshot.folder_path(folder.row)] = folder.date
        below += snapshot.folders(folder.row)
    return told


def eid_of(snapshot, row):
    return None if row is None else snapshot.session(row).eid


@settings(max_examples=60, deadline=None)
@given(two_editions())
def test_the_comparison_agrees_with_a_plain_one(editions):
    with folder_in_memory() as one, folder_in_memory() as other:
        old, new = snapshot_of(one, editions[0]), snapshot_of(other, editions[1])
        changes = compare(old, new)
        before, after = sessions_told(old), sessions_told(new)
        told = [(eid_of(old, gone), eid_of(new, came)) for gone, came in changes.sessions]
        assert len(set(told)) == len(told)
        assert set(told) == {
            (eid if eid in before else None, eid if eid in after else None)
            for eid in before.keys() | after.keys()
            if before.get(eid) != after.get(eid)
        }
        folders, later = folders_told(old), folders_told(new)
        assert sorted(old.folder_path(row) for row in changes.folders_gone) == sorted(folders.keys() - later.keys())
        assert sorted(new.folder_path(row) for row in changes.folders_new) == sorted(
            path for path in later if path not in folders or folders[path] != later[path]
        )
        assert bool(changes) == ((before, folders) != (after, later))
        assert not compare(new, new)


def test_an_edition_with_the_same_contents_is_no_change(tmp_path):
    session = a_session()
    rows = [a_dataset(session, "x.npy"), a_dataset(None, "aggregates/y.pqt")]
    old = load(tmp_path, [session], rows)
    assert not compare(old, load(tmp_path, [session], rows[::-1], tables="again"))


def test_projects_in_another_order_are_no_change(tmp_path):
    session = replace(a_session(), projects="a,b,c")
    old = load(tmp_path, [session], [a_dataset(session, "x.npy")])
    turned = load(tmp_path, [replace(session, projects="c,a,b")], [a_dataset(session, "x.npy")], tables="turned")
    assert turned.session(0).projects == "c,a,b"
    assert not compare(old, turned)
    other = load(tmp_path, [replace(session, projects="c,a,d")], [a_dataset(session, "x.npy")], tables="other")
    assert compare(old, other).sessions == ((0, 0),)


@pytest.mark.parametrize("path", ["y.npy", "alf/x.npy"])
def test_one_more_dataset_is_a_change_of_its_session_alone(tmp_path, path):
    sessions = [a_session("one"), a_session("other", number=2)]
    rows = [a_dataset(session, "x.npy") for session in sessions]
    old = load(tmp_path, sessions, rows)
    new = load(tmp_path, sessions, [*rows, a_dataset(sessions[1], path)], tables="new")
    assert compare(old, new).sessions == ((1, 1),)
    assert not compare(old, new).folders_gone + compare(old, new).folders_new


def test_a_session_of_a_later_day_gives_the_folders_above_it_another_date(tmp_path):
    session = a_session(day=date(2020, 1, 1))
    old = load(tmp_path, [session], [])
    new = load(tmp_path, [replace(session, date=date(2021, 1, 1))], [], tables="new")
    changes = compare(old, new)
    assert changes.sessions == ((0, 0),)
    above = ["", "lab", "lab/Subjects", "lab/Subjects/subject"]
    places = [f"lab/Subjects/subject/{day}{number}" for day in ("2020-01-01", "2021-01-01") for number in ("", "/001")]
    assert [old.folder_path(row) for row in changes.folders_gone] == places[:2]
    assert sorted(new.folder_path(row) for row in changes.folders_new) == sorted([*above, *places[2:]])
