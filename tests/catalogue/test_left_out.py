"""What a catalogue may claim and cannot have: hostile paths and rows that contradict each other."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from in_memory import folder_in_memory
from table_shapes import a_dataset, a_session, an_id, contents, dataset_columns, load, save, session_columns

from onefs import alf
from onefs.catalogue import arranging
from onefs.catalogue.layout import EXAMPLE_CHARACTERS, MAX_EXAMPLES, MAX_SESSION_FOLDERS
from onefs.catalogue.snapshot import load_snapshot

HOSTILE = [
    "",
    "/",
    "/etc/passwd",
    "..",
    "../x.npy",
    "alf/../../x.npy",
    "alf/..",
    "alf/.",
    "./x.npy",
    "alf//x.npy",
    "alf/x.npy/",
    "alf/x\0.npy",
    "x" * 256,
    "é" * 128,
    "alf/" + "y" * 256 + "/x.npy",
    "a/" * 64 + "x.npy",
    "a/" * 1500 + "x.npy",
    "/".join(["z" * 255] * 8 + ["x.npy"]),
]
HARMLESS = ["...", "a..b", ".hidden", "alf/.x", "..a/b", "a\\..\\b", "x" * 255, "line\nbreak", "alf/#r#/x y.npy", "~"]
HARMLESS += ["a/" * 63 + "x.npy", "/".join(["z" * 255] * 8)]


def paths_of(snapshot, row=0):
    return snapshot.datasets(row).rel_paths


def shown(snapshot, row=0):
    rows = snapshot.datasets(row)
    return [path for path, exists in zip(rows.rel_paths, rows.exists, strict=True) if exists]


def counts(snapshot):
    return {reason: rows.count for reason, rows in snapshot.left_out.items()}


@pytest.mark.parametrize("path", HOSTILE)
def test_an_unsafe_path_is_left_out_and_reported(tmp_path, path):
    session = a_session()
    good, bad = a_dataset(session, "alf/good.times.npy"), a_dataset(session, path)
    snapshot = load(tmp_path, [session], [good, bad])
    assert contents(snapshot) == {session: [good]}
    assert counts(snapshot) == {"dataset with an unsafe path": 1}
    (example,) = snapshot.left_out["dataset with an unsafe path"].examples
    assert str(bad.id) in example
    assert len(example) <= EXAMPLE_CHARACTERS
    assert "\0" not in example
    assert snapshot.dataset_of_id(bad.id) is None


def test_odd_but_safe_paths_are_kept(tmp_path):
    session = a_session()
    snapshot = load(tmp_path, [session], [a_dataset(session, path) for path in HARMLESS])
    assert paths_of(snapshot) == sorted(HARMLESS, key=str.encode)
    assert not snapshot.left_out


PARTS = st.sampled_from(["", ".", "..", "a", "alf", "...", ".a", "x" * 255, "x" * 256, "é", "a\0b", "a\n"])


LONG = st.builds(lambda part, n: "/".join([part] * n), st.sampled_from(["a", "bc" * 15, "x" * 255]), st.integers(1, 80))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(PARTS, min_size=1, max_size=4).map("/".join) | LONG, max_size=30, unique=True))
def test_what_is_kept_is_what_the_path_rule_allows(paths):
    session = a_session()
    rows = [a_dataset(session, path, exists=False) for path in paths]
    with folder_in_memory() as folder:
        snapshot = load(Path(folder), [session], rows)
    assert set(paths_of(snapshot)) == {path for path in paths if alf.is_safe_relative(path)}


@pytest.mark.parametrize(
    ("lab", "subject"),
    [("..", "s"), (".", "s"), ("a/b", "s"), ("lab", ".."), ("lab", ""), ("lab", "a/../.."), ("", "x" * 256)],
)
def test_an_unsafe_lab_or_subject(tmp_path, lab, subject):
    good, bad = a_session("good"), a_session("bad", lab=lab, subject=subject)
    snapshot = load(tmp_path, [bad, good], [a_dataset(bad, "x.times.npy")])
    assert contents(snapshot) == {good: []}
    assert counts(snapshot) == {"session with an unsafe lab or subject": 1, "dataset of an unknown session": 1}
    assert str(bad.eid) in snapshot.left_out["session with an unsafe lab or subject"].examples[0]


@pytest.mark.parametrize(
    ("lab", "subject"), [("aggregates", "s"), ("", ".onefs"), ("", "sessions.pqt"), ("", "datasets.pqt")]
)
def test_names_at_the_root_that_are_taken(tmp_path, lab, subject):
    snapshot = load(tmp_path, [a_session("good"), a_session("bad", lab=lab, subject=subject)], [])
    assert snapshot.n_sessions == 1
    assert counts(snapshot) == {"session at a reserved name": 1}


def test_sessions_without_date_number_or_id(tmp_path):
    sessions = [a_session(n, subject=f"s{n}") for n in range(8)]
    columns = session_columns(sessions)
    days = [None, "2020-02-31", "soon", "", *("2020-01-02",) * 4]
    columns["date"] = pa.array(days)
    columns["number"] = pa.array([1, 1, 1, 1, None, -1, 70_000, 1])
    columns["id"] = pa.array([*(str(s.eid) for s in sessions[:7]), "lab/s/2020-01-02/001"])
    tables = save(tmp_path / "tables", columns, dataset_columns([]))
    snapshot = load_snapshot(tables, tmp_path / "state")
    assert snapshot.n_sessions == 0
    assert counts(snapshot) == {"session without date or number": 7, "session id is no UUID": 1}


def test_dates_that_no_calendar_has(tmp_path):
    columns = session_columns([a_session(n, subject=f"s{n}") for n in range(3)])
    columns["date"] = pa.array([2**31 - 1, -(2**31) + 1, 18000], pa.int32()).cast(pa.date32())
    snapshot = load_snapshot(save(tmp_path / "tables", columns, dataset_columns([])), tmp_path / "state")
    assert snapshot.n_sessions == 1
    assert counts(snapshot) == {"session without date or number": 2}


def test_of_sessions_on_one_path_all_datasets_stand_but_those_of_one_name(tmp_path):
    sessions = sorted((a_session(n) for n in range(3)), key=lambda s: s.eid.bytes)
    rows = [a_dataset(session, f"{n}.times.npy") for n, session in enumerate(sessions)]
    same = sorted((a_dataset(session, "x.times.npy") for session in sessions), key=lambda d: d.id.bytes)
    above, inside = a_dataset(sessions[1], "alf"), a_dataset(sessions[2], "alf/y.times.npy")
    snapshot = load(tmp_path, sessions[::-1], [*rows, *same[::-1], above, inside])
    told = {session: [rows[n]] for n, session in enumerate(sessions)}
    told[next(session for session in sessions if session.eid == same[0].eid)].append(same[0])
    told[sessions[2]].append(inside)
    assert {s: sorted(d.path for d in ds) for s, ds in contents(snapshot).items()} == {
        s: sorted(d.path for d in ds) for s, ds in told.items()
    }
    assert counts(snapshot) == {"two datasets of one path": 2, "dataset whose path is also a folder": 1}
    assert any(str(same[1].id) in text for text in snapshot.left_out["two datasets of one path"].examples)


def test_one_session_listed_twice(tmp_path):
    session = a_session()
    again = replace(session, subject="zz")
    for tables, order in (("one", [session, again]), ("other", [again, session])):
        snapshot = load(tmp_path, order, [], tables)
        assert contents(snapshot) == {session: []}
        assert counts(snapshot) == {"session listed twice": 1}


def test_two_datasets_of_one_path_the_first_by_id_is_shown(tmp_path):
    session = a_session()
    rows = sorted((a_dataset(session, "x.times.npy", n) for n in range(30)), key=lambda d: d.id.bytes)
    snapshot = load(tmp_path, [session], rows[::-1])
    assert contents(snapshot) == {session: [rows[0]]}
    assert counts(snapshot) == {"two datasets of one path": 29}
    assert len(snapshot.left_out["two datasets of one path"].examples) == MAX_EXAMPLES


def test_a_dataset_that_does_not_exist_hides_none_that_does(tmp_path):
    session = a_session()
    first, second = sorted((a_dataset(session, "x.times.npy", n) for n in range(2)), key=lambda d: d.id.bytes)
    snapshot = load(tmp_path, [session], [replace(first, exists=False), second])
    assert contents(snapshot) == {session: [second]}


def test_datasets_that_do_not_exist_are_kept(tmp_path):
    session = a_session()
    row = a_dataset(session, "x.times.npy", exists=False)
    snapshot = load(tmp_path, [session], [row])
    assert contents(snapshot) == {session: [row]}
    assert snapshot.dataset_of_id(row.id) == row


def test_a_file_whose_path_is_a_folder(tmp_path):
    one, other = a_session("one"), a_session("other", number=2)
    paths = ["alf", "alf/probe00", "alf/probe00/x.times.npy", "alf/probe00.npy", "alfa"]
    snapshot = load(tmp_path, [one, other], [*(a_dataset(one, path) for path in paths), a_dataset(other, "alf")])
    assert paths_of(snapshot, 0) == ["alf/probe00.npy", "alf/probe00/x.times.npy", "alfa"]
    assert paths_of(snapshot, 1) == ["alf"]
    assert counts(snapshot) == {"dataset whose path is also a folder": 2}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from("ab"), min_size=1, max_size=5).map("/".join), max_size=20, unique=True))
def test_files_are_left_out_if_and_only_if_others_are_in_them(paths):
    session = a_session()
    with folder_in_memory() as folder:
        snapshot = load(Path(folder), [session], [a_dataset(session, path) for path in paths])
    folders = {path[:at] for path in paths for at in range(len(path)) if path[at] == "/"}
    assert set(paths_of(snapshot)) == set(paths) - folders
    assert sum(counts(snapshot).values()) == len(set(paths) & folders)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=5).map("/".join), max_size=30, unique=True),
    st.integers(0, 8),
)
def test_a_session_has_no_more_folders_than_it_may(paths, most):
    one, other = a_session("one"), a_session("other", number=2)
    rows = [a_dataset(session, f"{path}.npy") for session, kept in ((one, paths), (other, paths[:2])) for path in kept]
    with folder_in_memory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(arranging, "MAX_SESSION_FOLDERS", most)
        snapshot = load(Path(folder), [one, other], rows)
    left_out = 0
    for row, given_paths in enumerate((paths, paths[:2])):
        kept, folders = [], set()
        for path in sorted(given_paths, key=lambda path: f"{path}.npy".encode()):
            folders |= {path[:at] for at in range(len(path)) if path[at] == "/"}
            kept += [f"{path}.npy"] if len(folders) <= most else []
        assert paths_of(snapshot, row) == kept
        left_out += len(given_paths) - len(kept)
    assert counts(snapshot) == ({"dataset in a session of too many folders": left_out} if left_out else {})


def test_a_session_of_more_folders_than_there_are_numbers(tmp_path):
    session = a_session()
    n = MAX_SESSION_FOLDERS + 1000
    rows = dataset_columns([a_dataset(session, "alf/x.times.npy")])
    rows = {name: pa.concat_arrays([column] * n) for name, column in rows.items()}
    rows["rel_path"] = pa.array([f"probe{number:06}/x.times.npy" for number in range(n)])
    rows["id"] = pa.array([str(UUID(int=number + 1)) for number in range(n)])
    tables = save(tmp_path / "tables", session_columns([session]), rows)
    snapshot = load_snapshot(tables, tmp_path / "state")
    assert counts(snapshot) == {"dataset in a session of too many folders": 1000}
    assert len(paths_of(snapshot)) == MAX_SESSION_FOLDERS


def test_a_folder_of_which_nothing_exists_takes_no_files_place(tmp_path):
    session = a_session()
    rows = [a_dataset(session, "alf"), a_dataset(session, "alf/x.times.npy", exists=False)]
    snapshot = load(tmp_path, [session], rows)
    assert shown(snapshot) == ["alf"]
    assert not snapshot.left_out


def test_datasets_whose_ids_are_no_ids_or_whose_session_is_unknown(tmp_path):
    session = a_session()
    rows = [a_dataset(session, f"{n}.times.npy") for n in range(6)]
    columns = dataset_columns(rows)
    columns["id"] = pa.array(["x" * 36, "", None, str(UUID(int=0)), str(rows[4].id), str(rows[5].id)])
    columns["eid"] = pa.array([str(session.eid)] * 4 + ["lab/s/2020-01-02/001", str(an_id("unknown"))])
    tables = save(tmp_path / "tables", session_columns([session]), columns)
    snapshot = load_snapshot(tables, tmp_path / "state")
    assert contents(snapshot) == {session: []}
    assert counts(snapshot) == {
        "dataset id is no UUID": 4,
        "dataset eid is no UUID": 1,
        "dataset of an unknown session": 1,
    }
    first = snapshot.left_out["dataset id is no UUID"].examples[0]
    assert first == f"id {'x' * 36}, eid {session.eid}, '0.times.npy'"


def test_a_null_path_is_unsafe(tmp_path):
    session = a_session()
    columns = dataset_columns([a_dataset(session, "x"), a_dataset(session, "y")])
    columns["rel_path"] = pa.array([None, "y"])
    tables = save(tmp_path / "tables", session_columns([session]), columns)
    snapshot = load_snapshot(tables, tmp_path / "state")
    assert paths_of(snapshot) == ["y"]
    assert counts(snapshot) == {"dataset with an unsafe path": 1}


@pytest.mark.parametrize("eid", [None, "", str(UUID(int=0)), "nan", "<NA>"])
def test_datasets_of_no_session_are_aggregates(tmp_path, eid):
    session = a_session(day=date(2021, 3, 4))
    given_paths = [
        "aggregates/Subjects/lab/s/t.table.pqt",
        "public/aggregates/Tags/x.pqt",
        "Subjects/#r#/y.pqt",
        "a-b/aggregates/z",
    ]
    rows = [a_dataset(None, path) for path in given_paths]
    columns = dataset_columns(rows) | {"eid": pa.array([eid] * 4, pa.string())}
    tables = save(tmp_path / "tables", session_columns([session]), columns)
    snapshot = load_snapshot(tables, tmp_path / "state")
    assert (snapshot.n_sessions, snapshot.aggregates) == (1, 1)
    folder = snapshot.child(0, "aggregates")
    assert (folder.session, folder.date) == (1, None)
    assert paths_of(snapshot, 1) == [
        "Subjects/#r#/y.pqt",
        "Subjects/lab/s/t.table.pqt",
        "Tags/x.pqt",
        "a-b/aggregates/z",
    ]
    dataset = snapshot.dataset_of_id(rows[0].id)
    assert dataset.eid is None
    assert dataset.path == "aggregates/Subjects/lab/s/t.table.pqt"
    assert snapshot.session_folder(1) == folder
    assert snapshot.session_of_key(snapshot.session_key(1)) == 1


def test_unsafe_paths_of_aggregates(tmp_path):
    snapshot = load(tmp_path, [], [a_dataset(None, "aggregates/../../x"), a_dataset(None, "aggregates/")])
    assert snapshot.aggregates is None
    assert counts(snapshot) == {"dataset with an unsafe path": 2}
    assert snapshot.folders(0) == []


def test_many_batches_agree_with_one(tmp_path, monkeypatch):
    session = a_session()
    rows = [a_dataset(session, path) for path in [*HOSTILE, *HARMLESS, "alf", "alf/x"]]
    whole = load(tmp_path, [session], rows)
    monkeypatch.setattr("onefs.catalogue.columns.BATCH_ROWS", 3)
    (tmp_path / "other").mkdir()
    pieces = load(tmp_path / "other", [session], rows)
    assert contents(pieces) == contents(whole)
    assert counts(pieces) == counts(whole)
