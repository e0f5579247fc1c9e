"""Helpers over frames of datasets: what they answer, and that ONE answers the same where it is right."""

import datetime as dt
import subprocess
import sys
import warnings
from uuid import UUID

import numpy as np
import one.util
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onefs.api import util
from onefs.api.alyx_queries import LazyId
from onefs.catalogue.records import QC
from onefs.one_errors import (
    ALFError,
    ALFMultipleCollectionsFound,
    ALFMultipleObjectsFound,
    ALFMultipleRevisionsFound,
    ALFWarning,
    UsageError,
)

OLD, FIRST, SECOND = "alf/a.b.npy", "alf/#2020-01-01#/a.b.npy", "alf/#2021-01-01#/a.b.npy"
NAMES = [qc.name for qc in QC]


def frame(paths, defaults=None, qc=None, sessions=None):
    """A frame of datasets as `one._cache` has it, of one session unless `sessions` number them."""
    ids = [str(UUID(int=1000 + at)) for at in range(len(paths))]
    eids = [str(UUID(int=1 + number)) for number in sessions or [0] * len(paths)]
    columns = {"rel_path": pd.Series(paths, dtype=object)}
    if defaults is not None:
        columns["default_revision"] = pd.Series(defaults, dtype=object if None in defaults else bool)
    columns["qc"] = pd.Categorical(qc or ["NOT_SET"] * len(paths), categories=NAMES, ordered=True)
    return pd.DataFrame(columns).set_index(pd.MultiIndex.from_arrays([eids, ids], names=["eid", "id"]))


def found(datasets, **kwargs):
    """Paths and revisions that are left; warnings are errors here."""
    left = util.filter_datasets(datasets, **{"assert_unique": False, **kwargs})
    return list(zip(left["rel_path"], left["revision"], strict=True))


def paths(datasets, **kwargs):
    return util.filter_datasets(
        datasets, **{"assert_unique": False, "revision_last_before": False, **kwargs}
    ).rel_path.tolist()


# -- filter_datasets -------------------------------------------------------------------------------------------------


def test_filters_are_those_of_lists_and_regular_expressions_unless_wildcards_are_on():
    datasets = frame(["alf/x.y.npy", "alf/a.b.npy", "a.b.npy", "odd file"])
    assert paths(datasets) == ["alf/x.y.npy", "alf/a.b.npy", "a.b.npy", "odd file"]
    assert paths(datasets, filename=r"a\..*") == ["alf/a.b.npy", "a.b.npy"]
    assert paths(datasets, filename="a.*", wildcards=True) == ["alf/a.b.npy", "a.b.npy"]
    assert paths(datasets, filename={"object": ["a", "z"]}, collection="") == ["a.b.npy"]
    assert paths(datasets, filename=["odd*", "x.*"], wildcards=True) == ["alf/x.y.npy", "odd file"]
    with pytest.raises(KeyError, match="timescale"):
        paths(datasets, filename={"objekt": "a"})
    with pytest.raises(UsageError, match="no regular expression"):
        paths(datasets, filename="*.npy")


@pytest.mark.parametrize(
    ("parts", "wildcards"), [({"attribute": "t.*"}, True), ({"object": "*.t"}, True), ({"object": r"s\.t.*"}, False)]
)
def test_a_pattern_for_a_part_does_not_cross_the_dot_after_it(parts, wildcards):
    """ONE's does: it finds the attribute `t` by the shell pattern `t.*`."""
    datasets = frame(["spikes.times.npy", "s.t.x.y.csv"], [True, True])
    assert paths(datasets, filename=parts, wildcards=wildcards) == []
    assert one.util.filter_datasets(datasets, parts, wildcards=wildcards).rel_path.tolist() == ["s.t.x.y.csv"]


def test_what_is_left_is_a_copy_and_the_frame_stays():
    datasets = frame([OLD, FIRST])
    for last_before in (True, False):
        with warnings.catch_warnings(action="ignore"):
            left = util.filter_datasets(datasets, assert_unique=False, revision_last_before=last_before)
        left["rel_path"] = "other"
    assert datasets["rel_path"].tolist() == [OLD, FIRST]
    assert list(datasets.columns) == ["rel_path", "qc"]


@pytest.mark.parametrize(
    ("last_before", "unique", "has_column"),
    [(True, True, True), (True, False, True), (False, True, True), (False, False, False)],
)
def test_the_answer_says_the_revision_unless_nobody_looked_at_it(last_before, unique, has_column):
    for datasets in (frame([FIRST]), frame([])):
        left = util.filter_datasets(datasets, revision_last_before=last_before, assert_unique=unique)
        assert ("revision" in left) is has_column
        assert list(left.index.names) == ["eid", "id"]
        assert len(left) == len(datasets)


@pytest.mark.parametrize("qc", [QC.WARNING, 30, "30", "warning", " WARNING"])
def test_what_is_above_the_qc_limit_is_left_out(qc):
    datasets = frame([f"{name}.b.npy" for name in NAMES], qc=NAMES)
    assert paths(datasets, qc=qc) == ["NOT_SET.b.npy", "PASS.b.npy", "WARNING.b.npy"]
    assert paths(datasets, qc=qc, ignore_qc_not_set=True) == ["PASS.b.npy", "WARNING.b.npy"]
    assert paths(datasets) == [f"{name}.b.npy" for name in NAMES[:-1]]


def test_qc_of_other_types_and_none_at_all():
    datasets = frame(["a.b.npy", "c.d.npy"])
    assert paths(datasets.assign(qc=pd.Series([None, "CRITICAL"], datasets.index))) == ["a.b.npy"]
    assert paths(datasets.assign(qc=[10, 50])) == ["a.b.npy"]
    assert paths(datasets.drop(columns="qc"), qc="NOT_SET") == ["a.b.npy", "c.d.npy"]
    with pytest.raises(UsageError, match=r"Use NOT_SET .0., PASS"):
        paths(datasets, qc="good")
    with pytest.raises(ValueError, match="None is no QC"):
        paths(datasets, qc=None)


def test_an_edition_that_qc_leaves_out_is_none():
    datasets = frame([OLD, FIRST], [False, True], ["PASS", "CRITICAL"])
    assert found(datasets) == [(OLD, "")]


def test_patterns_of_revisions():
    datasets = frame([OLD, FIRST, SECOND])
    assert paths(datasets, revision="2020.*") == [FIRST]
    assert paths(datasets, revision="#202*", wildcards=True) == [FIRST, SECOND]
    assert paths(datasets, revision=["", "2021-01-01"]) == [OLD, SECOND]


@pytest.mark.parametrize("revision", [["2020"], 2020])
def test_the_last_before_takes_one_text(revision):
    with pytest.raises(UsageError, match="is no revision"):
        util.filter_datasets(frame([OLD]), revision=revision)


def test_more_than_one_collection_revision_or_row_raise_in_this_order():
    def raised(datasets, **kwargs):
        with pytest.raises(ALFError) as caught, warnings.catch_warnings(action="ignore"):
            util.filter_datasets(datasets, **kwargs)
        return type(caught.value), caught.value.args

    everything = frame(["a.b.npy", OLD, FIRST, "alf/#2020-01-01#/c.d.npy"])
    assert raised(everything) == (ALFMultipleCollectionsFound, ("", "alf"))
    assert raised(everything, revision_last_before=False) == (ALFMultipleCollectionsFound, ("", "alf"))
    one_collection = everything.iloc[1:]
    assert raised(one_collection)[0] is ALFMultipleObjectsFound
    assert raised(one_collection, revision_last_before=False) == (ALFMultipleRevisionsFound, ("", "2020-01-01"))
    one_revision = everything.iloc[2:]
    several = (FIRST, "alf/#2020-01-01#/c.d.npy")
    assert raised(one_revision) == (ALFMultipleObjectsFound, several)
    assert raised(one_revision, revision_last_before=False) == (ALFMultipleObjectsFound, several)
    marked_twice = frame([OLD, FIRST], [True, True])
    assert raised(marked_twice)[0] is ALFMultipleRevisionsFound
    assert raised(frame([OLD, OLD], sessions=[0, 1])) == (ALFMultipleObjectsFound, (OLD, OLD))


# -- filter_revision_last_before -------------------------------------------------------------------------------------


def last_before(datasets, *args, **kwargs):
    return util.filter_revision_last_before(datasets, *args, **kwargs).rel_path.tolist()


def test_the_default_edition_of_each_file_in_the_order_of_the_frame():
    datasets = frame(["x.y.npy", SECOND, OLD, FIRST], [True, False, False, True])
    with pytest.warns(ALFWarning, match='Multiple revisions: "", "2020-01-01"'):
        assert last_before(datasets) == ["x.y.npy", FIRST]


@pytest.mark.parametrize("dtype", [object, "boolean", bool])
def test_if_none_is_marked_the_greatest_with_a_warning(dtype):
    marks = [False, False] if dtype is bool else [None, False]
    datasets = frame([SECOND, OLD]).assign(default_revision=pd.array(marks, dtype=dtype))
    with pytest.warns(ALFWarning, match="No default revision for dataset alf/a.b.npy; using the most recent"):
        assert last_before(datasets) == [SECOND]


def test_no_warning_where_there_was_no_choice():
    """ONE warns of «no default» for every file of a table without that column."""
    assert last_before(frame([SECOND, "alf/#2021-01-01#/x.y.npy"])) == [SECOND, "alf/#2021-01-01#/x.y.npy"]
    assert last_before(frame([SECOND], [False])) == [SECOND]
    assert last_before(frame([OLD, SECOND], [None, None]), "2022") == [SECOND]


def test_of_several_marked_the_greatest_of_these_or_an_error():
    """ONE takes the greatest of all, marked or not."""
    datasets = frame([OLD, FIRST, SECOND], [True, True, False])
    with pytest.raises(ALFMultipleRevisionsFound, match=OLD):
        last_before(datasets)
    with pytest.warns(ALFWarning, match="Multiple default revisions for dataset alf/a.b.npy"):
        assert last_before(datasets, assert_unique=False) == [FIRST]
    assert last_before(datasets, "2020-06-01") == [FIRST]
    assert last_before(datasets, "") == [OLD]


def test_mixed_revisions_are_an_error_if_they_must_be_the_same():
    datasets = frame([OLD, "alf/#1#/x.y.npy"], [True, True])
    with pytest.raises(ALFMultipleRevisionsFound, match='"", "1"'):
        last_before(datasets, assert_consistent=True)


def test_names_that_are_not_alf_have_editions_too():
    """ONE raises `ALFInvalid` for them."""
    assert last_before(frame(["odd file", "#1#/odd file", "#2#/odd file"]), "1") == ["#1#/odd file"]


def test_the_same_name_in_another_session_is_another_file():
    datasets = frame([OLD, OLD, FIRST], [True, False, True], sessions=[0, 1, 1])
    with pytest.warns(ALFWarning, match="Multiple revisions"):
        assert last_before(datasets) == [OLD, FIRST]
    with pytest.warns(ALFWarning, match="Multiple revisions"):
        assert last_before(datasets.reset_index()) == [OLD, FIRST]
    assert last_before(datasets.reset_index(drop=True), "2019") == [OLD]


@pytest.mark.parametrize(
    ("revisions", "revision", "place"),
    [
        ([], None, None),
        ([], "a", None),
        (["", "b"], "a", 0),
        (["2020", "2021", "2019"], None, 1),
        (["2020", "2021", "2019"], "2020", 0),
        (["2020", "2021", "2019"], "2020a", 0),
        (["2020"], "1", None),
        (["2020"], "", None),
    ],
)
def test_the_place_of_the_last_before(revisions, revision, place):
    assert util.index_last_before(revisions, revision) == place
    if revision != "":  # which is as None for ONE
        assert one.util.index_last_before(revisions, revision) == place


# -- the same as ONE -------------------------------------------------------------------------------------------------

folders = st.sampled_from(["", "alf", "alf/probe00", "raw_data"])
revisions = st.sampled_from(["", "", "#2020-01-01#", "#2021-01-01#", "#2021-01-01a#"])
file_names = st.sampled_from(
    ["spikes.times.npy", "spikes.amps.npy", "_ibl_wheel.position.npy", "s.times_bpod.npy", "s.t.x.y.csv"]
)
rel_paths = st.builds(lambda *parts: "/".join(filter(None, parts)), folders, revisions, file_names)
filters = st.fixed_dictionaries(
    {},
    optional={
        # Neither patterns that could cross a `/`, which ONE's do, nor lists, of which the second name loses its
        # collection in ONE; and no "" in dicts, which is anything for ONE.
        "filename": st.sampled_from(
            [
                "spikes.times.npy",
                "spikes.*",
                "_ibl_*",
                "s.t*",
                "nothing",
                {"object": "spikes"},
                {"object": ["s", "wheel"]},
                {"timescale": "bpod"},
                {"extra": "x.y"},
                {"namespace": "ibl", "extension": "npy"},
                {"attribute": "t.*"},
            ]
        ),
        "collection": st.sampled_from(["", "alf", "alf/probe00", "alf.*", "*", ["raw_data", "alf"], "none"]),
        "revision": st.sampled_from(["", "2020-01-01", "2020-06-01", "2021-01-01a", "1999", "*"]),
        "qc": st.sampled_from(["PASS", 30, QC.FAIL, "critical"]),
        "ignore_qc_not_set": st.booleans(),
        "assert_unique": st.booleans(),
        "revision_last_before": st.booleans(),
        "wildcards": st.booleans(),
    },
)
rows = st.lists(st.tuples(rel_paths, st.booleans(), st.sampled_from(NAMES)), unique_by=lambda row: row[0], max_size=8)


def answer(function, datasets, asked):
    """What is left, in the order of the paths, or the name of the error."""
    with warnings.catch_warnings(action="ignore"):
        try:
            left = function(datasets, **asked)
        except Exception as error:  # noqa: BLE001 - whatever ONE raises
            return type(error).__name__
    columns = {"rel_path": left["rel_path"]} | ({"revision": left["revision"]} if "revision" in left else {})
    return sorted(zip(*columns.values(), left.index, strict=True))


def one_at_most(datasets):
    """Without second marks of a file: where several are marked, ONE takes the greatest of all."""
    marked = datasets[datasets["default_revision"]]
    names = marked["rel_path"].str.replace(r"#[^/]*#/", "", regex=True)
    return datasets.assign(default_revision=datasets.index.isin(marked.index[~names.duplicated()]))


@settings(deadline=None, max_examples=150)
@given(rows.filter(bool), filters)
def test_as_one_answers(given_rows, asked):
    if "*" in asked.get("collection", ""):  # ONE's takes in the folder of a revision
        given_rows = [row for row in given_rows if "#" not in row[0]] or [("alf/a.b.npy", True, "PASS")]
    datasets = frame(*(list(column) for column in zip(*given_rows, strict=True)))
    if not asked.get("wildcards") and "*" in (asked.get("collection"), asked.get("revision")):
        asked["wildcards"] = True
    if asked.get("wildcards") and asked.get("filename") == {"attribute": "t.*"}:  # ONE's crosses the dot after a part
        asked["filename"] = {"attribute": "t*"}
    if not asked.get("assert_unique", True):
        datasets = one_at_most(datasets)
    theirs = answer(one.util.filter_datasets, datasets, asked)
    ours = answer(util.filter_datasets, datasets, asked)
    if ours == []:  # of which ONE's answer has no column of revisions, if it is one at all
        assert theirs == []
    else:
        assert ours == theirs


# -- the rest --------------------------------------------------------------------------------------------------------

DATES = [
    "2020-01-01",
    "2020/1/2",
    "2020-01-01T10:00:00",
    dt.date(2020, 1, 1),
    dt.datetime(2020, 1, 1, 10, 30),
    np.datetime64("2020-01-01"),
    pd.Timestamp("2020-01-01 10:00"),
    ["2020-01-01"],
    ["2020-01-01", None],
    [None, "2020-01-01"],
    (dt.date(2020, 1, 1), "2020-02-01"),
    np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[D]"),
    [None, None],
]


@pytest.mark.parametrize("value", DATES, ids=repr)
def test_ranges_of_dates_are_as_one_has_them(value):
    assert util.validate_date_range(value) == one.util.validate_date_range(value)


def test_a_day_ends_a_millisecond_before_the_next_and_open_ends_are_the_outermost_moments():
    assert util.validate_date_range("2020-01-01") == (pd.Timestamp(2020, 1, 1), pd.Timestamp("2020-01-01 23:59:59.999"))
    assert util.validate_date_range(["2020-01-01", None])[1] == pd.Timestamp.max
    assert util.validate_date_range([pd.NaT, "2020-01-01"]) == (pd.Timestamp.min, pd.Timestamp(2020, 1, 1))
    assert util.validate_date_range(None) is None


@pytest.mark.parametrize("value", ["rubbish", [], ["2020", "2021", "2022"], 5, "9999-99-99", ["x", None], pd.NaT, {}])
def test_what_is_no_range_of_dates_is_told(value):
    with pytest.raises(UsageError, match=r"is no (date|range of dates)\."):
        util.validate_date_range(value)


def test_abbreviations():
    terms = ["date", "date_range", "dataset", "Subject"]
    assert util.autocomplete("subj", terms) == "Subject"
    assert util.autocomplete("DATE", terms) == "date"
    assert util.autocomplete("date_", iter(terms)) == "date_range"
    with pytest.raises(UsageError, match="may mean date, date_range or dataset"):
        util.autocomplete("da", terms)
    with pytest.raises(ValueError, match="Use date, date_range, dataset or Subject"):
        util.autocomplete("lab", terms)


def test_an_id_of_any_kind_is_parsed_before_the_call():
    class Holder:
        def to_eid(self, given):
            if isinstance(given, list):
                return [self.to_eid(each) for each in given]
            return None if given == "unknown" else f"eid of {given}"

        @util.parse_id
        def call(self, eid, number=1, **kwargs):
            """What it does."""
            return eid, number, kwargs

    assert Holder().call("path") == ("eid of path", 1, {})
    assert Holder().call(["a", "b"], 2, x=3) == (["eid of a", "eid of b"], 2, {"x": 3})
    assert Holder.call.__doc__ == "What it does."
    for unknown in ("unknown", ["a", "unknown"]):
        with pytest.raises(UsageError, match="leads to no session"):
            Holder().call(unknown)


@pytest.mark.parametrize("value", ["a", ["a"], ("a",), {"a": 1}, None, 5, {1, 2}, range(2)])
def test_lists_are_as_one_makes_them(value):
    assert util.ensure_list(value) == one.util.ensure_list(value)


def test_a_list_is_made_of_what_is_excluded():
    assert util.ensure_list(("a", 1), exclude_type=tuple) == [("a", 1)]


def test_ids_that_are_fetched_page_by_page_are_found_here_too():
    assert util.LazyId is LazyId


def test_pandas_is_loaded_when_a_frame_is_needed():
    code = "import sys, onefs.api.util; sys.exit('pandas' in sys.modules or 'pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("value", ["0001-01-01", dt.date.max, ["1677-09-21", None], [None, "9999-12-31"]])
def test_a_date_that_pandas_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match="is no date"):
        util.validate_date_range(value)


def test_the_last_day_of_pandas_ends_with_it() -> None:
    assert util.validate_date_range("2262-04-11") == (pd.Timestamp("2262-04-11"), pd.Timestamp.max)
