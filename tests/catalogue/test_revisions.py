"""Which edition of a file is shown under which name: the default, the one of a date, within a limit of quality."""

from dataclasses import replace

import pytest
from asking import a_dataset, a_session

from onefs.catalogue.editions import EditionRows, edition_of
from onefs.catalogue.layout import LeftOutTally
from onefs.catalogue.records import QC, Dataset
from onefs.catalogue.revisions import Rule, Shown, shown

SESSION = a_session()
DEFAULT = Rule(default_only=True)
OLD, FIRST, SECOND, LATER = "a.b.npy", "#2023-01-01#/a.b.npy", "#2024-05-06#/a.b.npy", "#2024-05-06a#/a.b.npy"


def a_row(path: str, default: bool | None = None, qc: QC = QC.PASS, exists: bool = True) -> Dataset:
    return replace(a_dataset(SESSION, path, qc=qc), default_revision=default, exists=exists)


def shown_of(rule: Rule, *rows: Dataset) -> Shown:
    tally = LeftOutTally()
    edition = edition_of(rows, tally)
    assert not tally.totals()
    return shown(EditionRows(edition, 0, SESSION.eid, SESSION.path), rule)


def names(rule: Rule, *rows: Dataset) -> dict[str, str]:
    """What is shown, by the path of the dataset."""
    paths = sorted((row.rel_path for row in rows), key=str.encode)
    return {path: name for path, name in zip(paths, shown_of(rule, *rows), strict=True) if name is not None}


def test_the_marked_edition_is_the_default_though_later_ones_exist() -> None:
    rows = [a_row(OLD, False), a_row(FIRST, True), a_row(SECOND, False)]
    assert names(DEFAULT, *rows) == {FIRST: "a.b.npy"}
    assert names(Rule(), *rows) == {OLD: OLD, FIRST: FIRST, SECOND: SECOND}


@pytest.mark.parametrize("mark", [None, False])
def test_without_a_mark_the_greatest_is_the_default(mark: bool | None) -> None:
    assert names(DEFAULT, *(a_row(path, mark) for path in (OLD, FIRST, LATER, SECOND))) == {LATER: "a.b.npy"}


def test_of_several_marked_ones_the_greatest_is_the_default_and_that_is_told() -> None:
    rows = [a_row(OLD, True), a_row(FIRST, True), a_row(SECOND, False), a_row("x.y.npy", True)]
    assert names(DEFAULT, *rows) == {FIRST: "a.b.npy", "x.y.npy": "x.y.npy"}
    assert shown_of(DEFAULT, *rows).doubled == ("a.b.npy",)
    assert not shown_of(DEFAULT, *rows[1:]).doubled


@pytest.mark.parametrize(
    ("as_of", "edition"),
    [
        ("1999-12-31", OLD),
        ("2022-12-31", OLD),
        ("2023-01-01", FIRST),
        ("2024-05-05", FIRST),
        ("2024-05-06", SECOND),
        ("2024-05-07", LATER),
        ("9999-12-31", LATER),
    ],
)
def test_a_date_gives_the_greatest_at_or_before_it_however_editions_are_marked(as_of: str, edition: str) -> None:
    rows = [a_row(OLD, True), a_row(FIRST, True), a_row(SECOND, False), a_row(LATER, False)]
    assert names(Rule(as_of=as_of, default_only=True), *rows) == {edition: "a.b.npy"}
    assert not shown_of(Rule(as_of=as_of, default_only=True), *rows).doubled
    there = [path for path in (OLD, FIRST, SECOND, LATER) if edition == LATER or len(path) < len(LATER)]
    assert set(names(Rule(as_of=as_of), *rows)) == set(there[: there.index(edition) + 1])


def test_what_began_later_was_not_there() -> None:
    assert names(Rule(as_of="2022-01-01", default_only=True), a_row(FIRST, True)) == {}


def test_revisions_that_are_no_dates_are_compared_as_texts() -> None:
    rows = [a_row(f"#{name}#/a.b.npy") for name in ("10", "9", "2024-05-06", "Z", "test")]
    assert names(DEFAULT, *rows) == {"#test#/a.b.npy": "a.b.npy"}
    assert names(Rule(as_of="2024-05-06", default_only=True), *rows) == {"#2024-05-06#/a.b.npy": "a.b.npy"}
    assert set(names(Rule(as_of="2024-05-05"), *rows)) == {"#10#/a.b.npy"}


def test_an_edition_that_the_quality_limit_hides_is_none() -> None:
    """So does ONE: it filters by quality first, and then finds the edition among those that are left."""
    rows = [a_row(OLD, False), a_row(FIRST, False, QC.NOT_SET), a_row(SECOND, True, QC.CRITICAL)]
    assert names(DEFAULT, *rows) == {FIRST: "a.b.npy"}
    assert names(replace(DEFAULT, qc_limit=QC.CRITICAL), *rows) == {SECOND: "a.b.npy"}
    assert names(replace(DEFAULT, ignore_qc_not_set=True), *rows) == {OLD: "a.b.npy"}


@pytest.mark.parametrize("limit", list(QC))
@pytest.mark.parametrize("ignores", [False, True])
def test_the_limit_hides_what_is_worse(limit: QC, ignores: bool) -> None:
    rows = [a_row(f"{qc.name}.b.npy", qc=qc) for qc in QC]
    expected = {f"{qc.name}.b.npy" for qc in QC if qc <= limit and not (ignores and qc is QC.NOT_SET)}
    assert set(names(Rule(limit, ignores), *rows)) == expected
    assert set(names(Rule(limit, ignores, default_only=True), *rows)) == expected


def test_files_that_do_not_exist_are_no_editions() -> None:
    assert names(DEFAULT, a_row(OLD), a_row(FIRST, True, exists=False)) == {OLD: "a.b.npy"}


def test_collections_keep_their_files_apart() -> None:
    rows = [a_row(path) for path in ("alf/#2023-01-01#/a.b.npy", "alf/p/a.b.npy", "alf/p/#x#/a.b.npy", "a.b.npy")]
    expected = {"alf/#2023-01-01#/a.b.npy": "alf/a.b.npy", "alf/p/#x#/a.b.npy": "alf/p/a.b.npy", "a.b.npy": "a.b.npy"}
    assert names(DEFAULT, *rows) == expected


def test_a_file_gives_way_to_a_folder_of_its_name() -> None:
    assert names(DEFAULT, a_row("#1#/a.b"), a_row("a.b/x.y.npy")) == {"a.b/x.y.npy": "a.b/x.y.npy"}


def test_only_the_last_folder_is_a_revision() -> None:
    odd = ["#1#/alf/a.b.npy", "#a b#/a.b.npy", "alf/#1.npy"]
    assert names(DEFAULT, *map(a_row, odd)) == {path: path for path in odd}
