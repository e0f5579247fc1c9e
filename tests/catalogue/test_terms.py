"""Search terms: names and abbreviations, every shape of value, the text form, and what is refused."""

from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest

from onefs.catalogue.records import QC
from onefs.catalogue.terms import NAMES, Terms, complete, terms_of, terms_of_words
from onefs.errors import UsageError

DAY = date(2020, 7, 1)


def given(**terms: object) -> Terms:
    return terms_of(terms, wildcards=True)


# -- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("short", "whole"),
    [
        ("subj", "subject"), ("s", "subject"), ("lab", "laboratory"), ("date", "date_range"), ("task", "task_protocol"),
        ("proj", "projects"), ("n", "number"), ("dataset", "dataset"), ("DATASET", "dataset"), ("Datasets", "datasets"),
        ("dataset_q", "dataset_qc_lte"),
    ],
)  # fmt: skip
def test_a_beginning_that_one_name_has_stands_for_it_and_a_whole_name_wins(short: str, whole: str) -> None:
    assert complete(short, NAMES) == whole


def test_names_that_are_unknown_or_ambiguous_are_refused_with_the_candidates() -> None:
    with pytest.raises(
        UsageError, match=r"^The search term 'dat' may mean dataset, datasets, date_range or dataset_qc_lte\. Wr"
    ):
        given(dat="x")
    with pytest.raises(
        UsageError, match=r"^There is no search term 'colour'\. Use dataset, .*, task_protocol or dataset_qc_lte\.$"
    ):
        given(colour=None)
    with pytest.raises(
        UsageError, match=r"^The search term 'laboratory' is given twice, as 'lab' and 'laboratory'\. Give it once\.$"
    ):
        given(lab="x", laboratory="y")


def test_none_is_as_if_a_term_were_not_given() -> None:
    assert given(subject=None, lab=None, date_range=None, number=None, dataset=None, dataset_qc=None) == Terms()
    assert given(lab="x", laboratory=None) == Terms(laboratory=("x",))


# -- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ("KS014", ("KS014",)), ("", ("",)), (["a", "b"], ("a", "b")), (("a",), ("a",)), ([], ()),
        (np.array(["a", "b"]), ("a", "b")), (np.array("a"), ("a",)), (np.str_("a"), ("a",)),
        (pd.Series(["a", "b"]), ("a", "b")), (pd.Index(["a"]), ("a",)), (iter(["a"]), ("a",)),
    ],
)  # fmt: skip
def test_texts(value: object, texts: tuple[str, ...]) -> None:
    assert given(subject=value).subject == texts


@pytest.mark.parametrize("value", [5, b"KS", ["a", None], {"a": "b"}, [["a"]], np.array(5)])
@pytest.mark.parametrize("name", ["subject", "laboratory", "task_protocol", "projects", "dataset", "datasets"])
def test_what_is_no_text_is_refused(name: str, value: object) -> None:
    with pytest.raises(
        UsageError, match=rf"^{name} is no text and no list of texts: .*\. Write {name}='…' or {name}=\['…', '…'\]\.$"
    ):
        terms_of({name: value}, wildcards=False)


def test_texts_are_expressions_if_wildcards_are_on_but_for_names_of_files() -> None:
    with pytest.raises(
        UsageError, match=r"^The value of subject, 'KS\(', is no regular expression: missing \).*\. Put a backslash"
    ):
        given(subj=["KS", "KS("])
    with pytest.raises(UsageError, match=r"^The value of dataset, '\*', is no regular expression"):
        given(dataset="*")
    assert given(datasets="*(").datasets == ("*(",)
    assert terms_of({"subject": "KS("}, wildcards=False) == Terms(subject=("KS(",), are_expressions=False)


@pytest.mark.parametrize(
    ("value", "numbers"),
    [
        (1, (1,)), ("001", (1,)), ([1, "2"], (1, 2)), (np.int64(3), (3,)), (2.0, (2,)), (np.float32(2), (2,)),
        (np.arange(2), (0, 1)), (range(1, 3), (1, 2)), ([], ()), (np.array(7), (7,)), (pd.Series([1, 2]), (1, 2)),
    ],
)  # fmt: skip
def test_numbers(value: object, numbers: tuple[int, ...]) -> None:
    assert given(number=value).numbers == numbers


@pytest.mark.parametrize("value", ["x", "", "1.5", 1.5, float("nan"), float("inf"), True, [None], [[1]], b"1", "-1"])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match=r" is no session number\. Give a whole number, or a list of them\.$"):
        given(number=value)


@pytest.mark.parametrize(
    "day",
    [
        "2020-07-01", "2020-7-1", "2020/07/01", "20200701", "2020-07-01T23:59:59.5", "2020-07-01 12:00+02:00", DAY,
        datetime(2020, 7, 1, 23, 59), datetime(2020, 7, 1, tzinfo=UTC), pd.Timestamp("2020-07-01 12:00"),
        pd.Timestamp("2020-07-01", tz="Europe/Berlin"), np.datetime64("2020-07-01"),
        np.datetime64("2020-07-01T12:00:00.5", "ns"), np.str_("2020-07-01"),
    ],
)  # fmt: skip
def test_a_day(day: object) -> None:
    assert given(date_range=day) == Terms(first_day=DAY, last_day=DAY)
    assert given(date=[day, day]) == Terms(first_day=DAY, last_day=DAY)


@pytest.mark.parametrize(
    ("value", "first", "last"),
    [
        (["2020-07-01", None], DAY, None), ((None, DAY), None, DAY), (["2020-07-01"], DAY, None),
        ([None, None], None, None), (np.array(["2020-07-01"], "M8[D]"), DAY, None),
        (np.array(["2020-07-01", "2020-07-02"], "M8[ns]"), DAY, date(2020, 7, 2)),
        (pd.date_range("2020-07-01", periods=2), DAY, date(2020, 7, 2)),
        (pd.Series(["2020-07-01", None]), DAY, None), (iter([DAY, DAY]), DAY, DAY),
        (np.array("2020-07-01", "M8[ns]"), DAY, DAY), (np.array("2020-07-01"), DAY, DAY),
    ],
)  # fmt: skip
def test_a_range_of_days(value: object, first: date | None, last: date | None) -> None:
    assert given(date_range=value) == Terms(first_day=first, last_day=last)


@pytest.mark.parametrize("value", [[], [DAY, DAY, DAY], {DAY}])
def test_ranges_are_of_one_or_two_days(value: object) -> None:
    with pytest.raises(
        UsageError, match=r" is no range of dates\. Give one day, or a list of the first and the last\.$"
    ):
        given(date=value)


@pytest.mark.parametrize(
    "value",
    ["x", "", "2020-7", "202071", "2020-07/01", 20200701, pd.NaT, np.datetime64("NaT"), ["x", None], b"2020-07-01"],
)
def test_what_is_no_date_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match=r" is no date\. Write it as 2020-07-01\.$"):
        given(date=value)


def test_a_day_that_the_calendar_has_not_is_refused_with_the_reason() -> None:
    with pytest.raises(
        UsageError, match=r"^'2020-02-30' is no date: day is out of range for month\. Write it as 2020-07-01\.$"
    ):
        given(date="2020-02-30")


@pytest.mark.parametrize("value", [QC.PASS, "PASS", "pass", "Pass", 10, "10", 10.0, np.int64(10), np.float64(10)])
def test_qc(value: object) -> None:
    assert given(dataset_qc_lte=value) == Terms(qc_limit=QC.PASS)


@pytest.mark.parametrize("value", ["good", "", 7, True, float("nan"), [10], 10**400, "9" * 5000])
def test_what_is_no_qc_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match=r" is no QC\. Use NOT_SET \(0\), .* \(40\) or CRITICAL \(50\)\.$"):
        given(dataset_qc_lte=value)


# -- text form -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "terms"),
    [
        (["subject=KS0|ZM"], Terms(subject=("KS0|ZM",))),
        (
            ["lab=cortexlab", "proj=a=b", "task=ephys"],
            Terms(laboratory=("cortexlab",), projects=("a=b",), task_protocol=("ephys",)),
        ),
        (["date=2020-07-01"], Terms(first_day=DAY, last_day=DAY)),
        (["date=2020-07-01..2020-07-01"], Terms(first_day=DAY, last_day=DAY)),
        (["date=2020-07-01.."], Terms(first_day=DAY)),
        (["date=..2020-07-01"], Terms(last_day=DAY)),
        (["number=001|2,3"], Terms(numbers=(1, 2, 3))),
        (["dataset=licks", "dataset=wheel", "dataset_qc=pass"], Terms(dataset=("licks", "wheel"), qc_limit=QC.PASS)),
        (["datasets=a.b.npy"], Terms(datasets=("a.b.npy",))),
        ([], Terms()),
    ],
)
def test_the_text_form(words: list[str], terms: Terms) -> None:
    assert terms_of_words(words) == terms


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("KS014", "'KS014' is no search term. Write term=value, such as subject=KS014."),
        ("subject=", "'subject=' is no search term. Write term=value, such as subject=KS014."),
        ("=x", "The search term '' may mean dataset, datasets, .*"),
        ("date=1..2..3", "'1' is no date. Write it as 2020-07-01."),
        ("number=1|", "'' is no session number. Give a whole number, or a list of them."),
        ("dataset_qc=5", "'5' is no QC. Use .*"),
        ("subject=(", "The value of subject, '\\(', is no regular expression: .*"),
    ],
)
def test_bad_words_are_refused(word: str, why: str) -> None:
    with pytest.raises(UsageError, match=f"^{why}$"):
        terms_of_words([word])


def test_words_give_a_term_once_but_for_datasets() -> None:
    with pytest.raises(
        UsageError, match=r"^The search term 'subject' is given twice, as 'subject' and 'subj'\. Give it once"
    ):
        terms_of_words(["subject=a", "subj=b"])


@pytest.mark.parametrize("text", [r"(?=s)(a+)+$", r"(a|b)*\1", "((a{1,100}){1,100}){1,100}", ".*a.*a.*a.*a.*(?!b)"])
def test_words_that_could_be_searched_for_without_end_are_refused(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"^The search for the dataset '.*' might not end\. Write it with fewer repetitions"
    ):
        terms_of_words([f"dataset={text}"])
    assert given(dataset=text).dataset == (text,)  # in Python, one may interrupt it


@pytest.mark.parametrize(
    "text", ["(a+)+$", r"(a|b)*\s+\S+.*.*.*", r"^(?!.*raw).*spikes\.(times|amps)\Z", r"(a)?\1", "a{5000}"]
)
def test_words_whose_search_ends_are_taken(text: str) -> None:
    assert terms_of_words([f"dataset={text}"]).dataset == (text,)


def test_the_text_form_names_terms_as_they_are_written_there() -> None:
    with pytest.raises(UsageError) as failure:
        terms_of_words(["nothing=1"])
    assert "date, lab, number" in str(failure.value)
