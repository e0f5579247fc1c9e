"""The files that several tables have of a session, and ids of datasets that none has."""

from datetime import date
from pathlib import Path
from uuid import uuid4

import pytest
from table_shapes import a_dataset, a_session, an_archive

from onefs.catalogue.listed_files import ListedFiles
from onefs.catalogue.records import Dataset, Session
from onefs.catalogue.snapshot import Snapshot, load_snapshot
from onefs.catalogue.tables import write_tables

DAY = date(2020, 7, 1)
SESSIONS, DATASETS = an_archive()


def snapshot(folder: Path, sessions: list[Session], datasets: list[Dataset]) -> Snapshot:
    folder.mkdir()
    write_tables(folder, sessions, datasets, created="2024-01-03 00:00", origin="x")
    return load_snapshot(folder, folder / ".onefs")


def test_every_session_has_the_files_of_all_tables(tmp_path: Path) -> None:
    more = a_dataset(SESSIONS[0], "of.another.npy")
    files = ListedFiles([snapshot(tmp_path / "a", SESSIONS, DATASETS), snapshot(tmp_path / "b", [SESSIONS[0]], [more])])
    for each in SESSIONS:
        expected = {dataset.rel_path for dataset in (*DATASETS, more) if dataset.eid == each.eid}
        others = {other.eid for other in SESSIONS if other.path.endswith(each.path.rpartition("Subjects/")[2])}
        in_any_lab = {dataset.rel_path for dataset in (*DATASETS, more) if dataset.eid in others}
        found = files.rel_paths(each.lab, each.subject, each.date, each.number)
        assert found is not None
        assert expected <= found <= in_any_lab
        assert files.rel_paths("", each.subject, each.date, each.number) == in_any_lab
        assert files.rel_paths(each.lab, each.subject, each.date, 99) is None
        assert files.rel_paths(each.lab, "nobody", each.date, each.number) is None


@pytest.mark.parametrize(("lab", "expected"), [("a", {"in.a.npy"}), ("b", None), ("", {"in.a.npy"})])
def test_a_lab_counts_where_both_tell_one(lab: str, expected: set[str] | None, tmp_path: Path) -> None:
    session = a_session("s", "a", "S", DAY, 1)
    files = ListedFiles([snapshot(tmp_path / "t", [session], [a_dataset(session, "in.a.npy")])])
    assert files.rel_paths(lab, "S", DAY, 1) == expected


@pytest.mark.parametrize("lab", ["a", ""])
def test_a_session_without_lab_in_the_tables_is_known_in_any(lab: str, tmp_path: Path) -> None:
    session = a_session("s", "", "S", DAY, 1)
    files = ListedFiles([snapshot(tmp_path / "t", [session], [a_dataset(session, "x.y.npy")])])
    assert files.rel_paths(lab, "S", DAY, 1) == {"x.y.npy"}


def test_ids_that_no_table_has(tmp_path: Path) -> None:
    session = SESSIONS[0]
    more = a_dataset(session, "of.another.npy")
    files = ListedFiles([snapshot(tmp_path / "a", SESSIONS, DATASETS), snapshot(tmp_path / "b", [session], [more])])
    others = [uuid4() for _ in range(20)]
    known = [each.id for each in (*DATASETS, more) if each.exists]  # the others are of paths that another row has
    assert files.unlisted([*others, *known, *others]) == sorted(others)
    assert files.unlisted(known) == []
    assert files.unlisted([]) == []
