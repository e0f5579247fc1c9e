"""A snapshot tells what the tables hold, and finds it by path, key and id."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from uuid import UUID

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from in_memory import folder_in_memory
from table_shapes import RECORDED, a_dataset, a_session, an_archive, an_id, contents, expected, load

from onefs.catalogue.snapshot import Folder, load_snapshot


def every_folder(snapshot, row=0):
    """All folders below a row, depth first."""
    for folder in snapshot.folders(row):
        yield folder
        yield from every_folder(snapshot, folder.row)


@pytest.fixture
def snapshot(tmp_path):
    return load(tmp_path, *an_archive())


def test_everything_written_is_told(snapshot):
    sessions, datasets = an_archive()
    assert contents(snapshot) == expected(sessions, datasets)
    assert snapshot.n_sessions == len(sessions)
    assert snapshot.n_datasets == 4 * (len(sessions) - 1)
    assert snapshot.aggregates is None
    assert snapshot.metadata.origin == "test"


def test_the_recorded_tables_as_pandas_reads_them(tmp_path):
    snapshot = load_snapshot(RECORDED, tmp_path)
    sessions = pd.read_parquet(RECORDED / "sessions.pqt")
    told = contents(snapshot)
    assert {str(s.eid): (s.lab, s.subject, s.date, s.number, s.task_protocol, s.projects) for s in told} == {
        eid: tuple(row) for eid, row in zip(sessions.index, sessions.itertuples(index=False), strict=True)
    }
    rows = {
        (str(d.eid), str(d.id)): (d.size_bytes, d.md5, d.default_revision, d.qc.name, d.exists, d.rel_path)
        for datasets in told.values()
        for d in datasets
    }
    frame = pd.read_parquet(RECORDED / "datasets.pqt")
    frame["file_size"] = frame["file_size"].astype(object).where(frame["file_size"].notna(), None)
    frame["hash"] = frame["hash"].fillna("")
    columns = ["file_size", "hash", "default_revision", "qc", "exists", "rel_path"]
    assert rows == {
        key: tuple(row) for key, row in zip(frame.index, frame[columns].itertuples(index=False), strict=True)
    }
    assert not snapshot.left_out


def test_columns_of_a_session_agree_with_its_datasets(snapshot):
    for row in range(snapshot.n_sessions):
        rows = snapshot.datasets(row)
        assert rows.session == row
        assert len(rows) == len(rows.rel_paths) == len(rows.sizes) == len(rows.content)
        for i in range(len(rows)):
            dataset = rows.dataset(i)
            assert dataset.id == rows.id(i)
            assert snapshot.dataset_in(row, i) == dataset
            following = snapshot.ids_from(row, i, 3)
            assert 1 <= len(following) <= 3
            assert following == [rows.id(at) for at in range(i, i + len(following))]
            assert dataset.rel_path == rows.rel_paths[i]
            assert dataset.size_bytes == (None if rows.sizes[i] == -1 else rows.sizes[i])
            assert (dataset.exists, dataset.default_revision) == (rows.exists[i], rows.default_revision[i])
            assert [0, 10, 30, 40, 50][rows.qc[i]] == dataset.qc
            assert dataset.path == f"{snapshot.session(row).path}/{dataset.rel_path}"
    with pytest.raises(IndexError):
        rows.dataset(len(rows))


def test_datasets_of_large_sessions_are_told_one_by_one_in_any_order(tmp_path):
    sessions = [a_session("one"), a_session("two", number=2)]
    datasets = [a_dataset(sessions[number % 2], f"alf/file{number:03d}.data.npy") for number in range(300)]
    snapshot = load(tmp_path, sessions, datasets)
    wanted = {dataset.id: dataset for dataset in datasets}
    for row, at in [(row, at) for at in (0, 149, 63, 64, 65, 1, 148, 127, 128) for row in range(2)]:
        dataset = snapshot.dataset_in(row, at)
        assert dataset == wanted[dataset.id]
        assert dataset.rel_path == snapshot.datasets(row).rel_paths[at]
        assert snapshot.ids_from(row, at, 1) == [dataset.id]
    assert len(snapshot.ids_from(1, 149, 64)) == 1


def test_the_tree_from_the_root(snapshot):
    root = snapshot.folder(0)
    assert root == Folder(0, 0, "", None, date(2020, 1, 3))
    assert [folder.name for folder in snapshot.folders(0)] == ["S-2", "S.1", "laba", "labb"]
    folder = root
    for part in ("laba", "Subjects", "S.1", "2020-01-03", "001"):
        above, folder = folder, snapshot.child(folder.row, part)
        assert (folder.parent, folder.name) == (above.row, part)
    assert snapshot.session(folder.session).path == "laba/Subjects/S.1/2020-01-03/001"
    assert snapshot.folder_path(folder.row) == "laba/Subjects/S.1/2020-01-03/001"
    assert snapshot.folders(folder.row) == []


def test_every_session_has_its_folder_and_every_folder_its_key(snapshot):
    folders = list(every_folder(snapshot))
    by_session = {folder.session: folder for folder in folders if folder.session is not None}
    assert sorted(by_session) == list(range(snapshot.n_sessions))
    for row, folder in by_session.items():
        session = snapshot.session(row)
        assert snapshot.session_folder(row) == folder
        assert snapshot.session_path(row) == snapshot.folder_path(folder.row) == session.path
        assert folder.date == session.date
        assert snapshot.session_of_eid(session.eid) == row
        assert snapshot.session_key(row) < 1 << 34
        assert snapshot.session_of_key(snapshot.session_key(row)) == row
    for folder in folders:
        assert snapshot.folder_key(folder.row) < 1 << 48
        assert snapshot.folder_of_key(snapshot.folder_key(folder.row)) == folder
        assert snapshot.child(folder.parent, folder.name) == folder


def test_folders_carry_the_date_of_the_newest_session_below(tmp_path):
    sessions = [
        a_session(n, subject=s, day=d) for n, (s, d) in enumerate([("a", date(2022, 1, 1)), ("b", date(2021, 1, 1))])
    ]
    snapshot = load(tmp_path, sessions, [])
    lab = snapshot.child(0, "lab")
    assert lab.date == date(2022, 1, 1)
    subjects = snapshot.child(lab.row, "Subjects")
    assert [folder.date for folder in snapshot.folders(subjects.row)] == [date(2022, 1, 1), date(2021, 1, 1)]


@pytest.mark.parametrize("name", ["", "lab", "labc", "S", "Subjects", "é", "\udcff", "zzz", "2020-01-02"])
def test_a_name_that_is_not_there(snapshot, name):
    assert snapshot.child(0, name) is None


def test_what_is_not_there_is_not_found(snapshot):
    assert snapshot.session_of_eid(an_id("nobody")) is None
    assert snapshot.session_of_eid(UUID(int=0)) is None
    assert snapshot.session_of_key((1 << 34) + 1) is None
    assert snapshot.folder_of_key(1 << 48) is None
    assert snapshot.dataset_of_id(an_id("nobody")) is None


def test_every_dataset_is_found_by_its_id(snapshot):
    for datasets in contents(snapshot).values():
        for dataset in datasets:
            assert snapshot.dataset_of_id(dataset.id) == dataset


def test_an_empty_archive(tmp_path):
    snapshot = load(tmp_path, [], [])
    assert (snapshot.n_sessions, snapshot.n_datasets) == (0, 0)
    assert snapshot.folder(0) == Folder(0, 0, "", None, None)
    assert snapshot.folders(0) == []
    assert snapshot.child(0, "lab") is None
    assert snapshot.dataset_of_id(an_id(1)) is None
    assert snapshot.session_of_key(1) is None


def test_numbers_have_three_digits_and_more_where_needed(tmp_path):
    snapshot = load(tmp_path, [a_session(n, lab="", number=n) for n in (1, 12, 1234, 65_535)], [])
    assert [snapshot.session(row).number for row in range(4)] == [1, 12, 1234, 65_535]
    assert [snapshot.session_folder(row).name for row in range(4)] == ["001", "012", "1234", "65535"]


NAMES = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=4).filter(
    lambda name: name not in (".", "..")
)


@settings(max_examples=40, deadline=None)
@given(st.sets(st.tuples(NAMES | st.just(""), NAMES), min_size=1, max_size=12))
def test_any_names_make_a_tree_sorted_by_bytes(places):
    sessions = [a_session(place, lab=place[0], subject=place[1]) for place in places]
    with folder_in_memory() as folder:
        snapshot = load(Path(folder), sessions, [])
    assert {snapshot.session(row) for row in range(snapshot.n_sessions)} == set(sessions)
    for folder in [snapshot.folder(0), *every_folder(snapshot)]:
        names = [child.name.encode() for child in snapshot.folders(folder.row)]
        assert names == sorted(set(names))
    for row in range(snapshot.n_sessions):
        assert snapshot.session_path(row) == snapshot.session(row).path


def test_several_threads_read_one_snapshot(snapshot):
    truth = contents(snapshot)
    with ThreadPoolExecutor(8) as threads:
        assert all(told == truth for told in threads.map(contents, [snapshot] * 32))


def test_a_snapshot_in_use_outlives_its_files(tmp_path):
    sessions, datasets = an_archive()
    snapshot = load(tmp_path, sessions, datasets)
    truth = expected(sessions, datasets)
    for file in sorted((tmp_path / "state").rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    assert contents(snapshot) == truth


def test_dates_before_1970_and_far_ahead(tmp_path):
    sessions = [a_session(n, day=day) for n, day in enumerate([date(1, 1, 1), date(1969, 12, 31), date(9999, 12, 31)])]
    snapshot = load(tmp_path, sessions, [])
    assert [snapshot.session(row).date for row in range(3)] == [session.date for session in sessions]


@pytest.mark.parametrize(
    ("size", "n", "total"), [(2**63 - 1, 3, 0), (1 << 50, 1 << 13, 1 << 62), (1 << 40, 3, 3 << 40), (0, 3, 0)]
)
def test_sizes_beyond_belief_do_not_turn_negative(tmp_path, size, n, total):
    session = a_session()
    rows = [a_dataset(session, f"{n}.times.npy", size=size) for n in range(n)]
    rows.append(a_dataset(session, "x.times.npy", size=None))
    assert load(tmp_path, [session], rows).total_bytes == total


def test_a_dataset_found_by_id_is_not_taken_for_one_of_an_empty_session(tmp_path):
    session, empty = a_session(number=2), a_session("empty", number=1)
    dataset = a_dataset(session, "x.times.npy")
    snapshot = load(tmp_path, [empty, session], [dataset])
    assert snapshot.dataset_of_id(dataset.id) == dataset
