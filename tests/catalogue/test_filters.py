"""Which datasets a filter means, against a plain reference; and which edition of a file is taken."""

import fnmatch
import re

import numpy as np
import pytest
from asking import a_dataset, a_session
from hypothesis import given
from hypothesis import strategies as st

from onefs import alf
from onefs.catalogue.editions import EditionRows, edition_of
from onefs.catalogue.filters import Filter, dataset_filter, editions, matching, matching_rows, qc_mask
from onefs.catalogue.layout import LeftOutTally
from onefs.catalogue.records import QC
from onefs.errors import UnknownPartError, UsageError

PATHS = [
    "_ibl_trials.table.pqt",
    "#r#/a.b.npy",
    "a.b.npy",
    "alf/#2024-01-01#/spikes.times.npy",
    "alf/#2025-01-01#/spikes.times.npy",
    "alf/_ibl_wheel.position.npy",
    "alf/probe00/pykilosort/spikes.times.npy",
    "alf/probe00/spikes.times.npy",
    "alf/spikes.times.npy",
    "alf/spikes.times_bpod.e.f.npy",
    "alfred/spikes.times.npy",
    "notes [1].txt",
    "raw/odd file",
]


def found(filename=None, collection=None, revision=None, wildcards=True, among=PATHS):
    mask = matching(Filter(filename, collection, revision, wildcards), among)
    assert mask.dtype == bool
    assert mask.shape == (len(among),)
    return [path for path, passes in zip(among, mask, strict=True) if passes]


def test_nothing_asked_for_is_everything_valid_or_not():
    assert found() == found("") == found([]) == found(["a.b.npy", None]) == found(["a.b.npy", ""]) == PATHS
    assert found(among=[]) == []


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("a.b.npy", ["#r#/a.b.npy", "a.b.npy"]),
        ("a.b", []),
        ("A.b.npy", []),
        ("*spikes*", [path for path in PATHS if "/spikes" in path]),
        ("spikes.time?.npy", [path for path in PATHS if path.endswith("spikes.times.npy")]),
        ("[!_s]*wheel*", []),
        ("[_w]*wheel*", ["alf/_ibl_wheel.position.npy"]),
        ("odd *", ["raw/odd file"]),
        ("alf/spikes.times.npy", ["alf/spikes.times.npy"]),
        ("/a.b.npy", ["a.b.npy"]),
        ("alf/*", ["alf/_ibl_wheel.position.npy", "alf/spikes.times.npy", "alf/spikes.times_bpod.e.f.npy"]),
        ("alf/*/*.npy", [*PATHS[3:5], "alf/probe00/spikes.times.npy"]),
        ("alf/**/spikes.times.npy", [*PATHS[3:5], *PATHS[6:9]]),
        (["a.b.npy", "alf/_*"], ["#r#/a.b.npy", "a.b.npy", "alf/_ibl_wheel.position.npy"]),
        (("none", "raw/odd file"), ["raw/odd file"]),
    ],
)
def test_shell_patterns_of_file_names_stay_within_a_folder(filename, expected):
    """ONE's `*spikes*` crosses the `/`, and so takes whatever lies in a folder of that name."""
    assert found(filename) == expected


@pytest.mark.parametrize(
    ("collection", "expected"),
    [
        ("", ["_ibl_trials.table.pqt", "#r#/a.b.npy", "a.b.npy", "notes [1].txt"]),
        ([], ["_ibl_trials.table.pqt", "#r#/a.b.npy", "a.b.npy", "notes [1].txt"]),
        ("alf", [*PATHS[3:6], *PATHS[8:10]]),
        ("alf*", PATHS[3:11]),
        ("alf/*", PATHS[6:8]),
        ("*", [*PATHS[3:11], PATHS[12]]),
        (["raw", ""], ["_ibl_trials.table.pqt", "#r#/a.b.npy", "a.b.npy", "notes [1].txt", "raw/odd file"]),
        (["raw", None], PATHS),
        ("#r#", []),
        ("alf/#2024-01-01#", []),
    ],
)
def test_collections_do_not_take_in_the_revision_and_a_list_finds_the_root(collection, expected):
    """ONE's `alf/*` takes `alf/#2024-01-01#`, and its `['raw', '']` never finds what is in no collection."""
    assert found(collection=collection) == expected
    assert found({"collection": collection}) == [path for path in expected if "odd" not in path and "notes" not in path]


@pytest.mark.parametrize(
    ("revision", "expected"),
    [
        ("", [path for path in PATHS if "#" not in path]),
        ("r", ["#r#/a.b.npy"]),
        ("#r#", ["#r#/a.b.npy"]),
        ("202*", PATHS[3:5]),
        ("#2024*", PATHS[3:4]),
        ("*", [path for path in PATHS if "#" in path]),
        (["r", ""], [path for path in PATHS if "#2" not in path]),
    ],
)
def test_revisions(revision, expected):
    assert found(revision=revision) == expected


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({}, [path for path in PATHS if " " not in path]),
        ({"object": None}, [path for path in PATHS if " " not in path]),
        ({"object": "spikes", "timescale": ""}, [path for path in PATHS if path.endswith("spikes.times.npy")]),
        ({"timescale": ["bpod", "x"]}, ["alf/spikes.times_bpod.e.f.npy"]),
        ({"extra": "e.f"}, ["alf/spikes.times_bpod.e.f.npy"]),
        ({"extra": "e"}, []),
        ({"extra": "*"}, ["alf/spikes.times_bpod.e.f.npy"]),
        ({"namespace": "ibl"}, ["_ibl_trials.table.pqt", "alf/_ibl_wheel.position.npy"]),
        ({"namespace": "", "attribute": ["b", "pos*"]}, ["#r#/a.b.npy", "a.b.npy"]),
        ({"extension": "p*", "collection": ""}, ["_ibl_trials.table.pqt"]),
    ],
)
def test_parts_match_valid_names_and_an_empty_one_is_absent(parts, expected):
    """For ONE `timescale=''` and `extra=''` find nothing in calls that load."""
    assert found(parts) == expected


def test_a_collection_in_the_dict_and_beside_it_both_count():
    assert found({"object": "spikes", "collection": "alf*"}, collection=["alf", "raw"]) == [*PATHS[3:5], *PATHS[8:10]]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"filename": "a.b"}, []),
        ({"filename": r"a\.b\..*"}, ["#r#/a.b.npy", "a.b.npy"]),
        ({"filename": ["x", r"(?i)A\.B\.NPY"]}, ["#r#/a.b.npy", "a.b.npy"]),
        ({"filename": r"alf/[^/]*wheel.*"}, ["alf/_ibl_wheel.position.npy"]),
        ({"filename": r"alf/[^/]*wheel.*", "collection": "alf"}, []),
        ({"filename": r".*wheel.*", "collection": "alf|raw"}, ["alf/_ibl_wheel.position.npy"]),
        ({"collection": "al"}, []),
        ({"collection": ["", "raw"]}, [*PATHS[:3], *PATHS[11:]]),
        ({"collection": ".*"}, [*PATHS[3:11], PATHS[12]]),
        ({"revision": r"#\d.*#"}, PATHS[3:5]),
        ({"filename": {"object": "spik.*", "collection": "alfr.*"}}, ["alfred/spikes.times.npy"]),
    ],
)
def test_without_wildcards_regular_expressions_match_the_whole(filters, expected):
    """ONE finds nothing by a list of texts while wildcards are off."""
    assert found(**filters, wildcards=False) == expected


def test_a_filter_of_iterators_may_be_used_again():
    for asked in (
        Filter(iter(["a.b.npy"]), iter([""]), (revision for revision in ["", "r"])),
        Filter({"object": iter(["a"])}),
    ):
        assert [matching(asked, PATHS).sum() for _ in range(2)] == [2, 2]


def test_an_unknown_part_is_a_key_error_that_names_the_known_ones():
    with pytest.raises(KeyError, match="namespace, object, attribute, timescale, extra, extension, collection"):
        found({"objekt": "a"})
    with pytest.raises(UnknownPartError, match="'objekt'"):
        found({"objekt": "a"}, among=[])


@pytest.mark.parametrize("wrong", [5, [5], b"a", {"alf": 1}])
def test_what_is_no_filter_is_told(wrong):
    with pytest.raises(UsageError, match="is no collection to filter by"):
        found(collection=wrong)


def test_a_broken_regular_expression_is_told():
    with pytest.raises(UsageError, match=r"'\*\.npy' is no regular expression"):
        found("*.npy", wildcards=False)


# -- against a plain reference ---------------------------------------------------------------------------------------

names = st.sampled_from(
    ["a.b.npy", "a.c.npy", "_x_a.b.npy", "a.b_t.npy", "a.b_t.e.npy", "a.b.e.f.csv", "odd", "ab.b.npy"]
)
folders = st.sampled_from(["", "", "a", "alf", "alf/a", "alf/b/c", "odd name"])
revisions = st.sampled_from(["", "", "", "#r#", "#2024#", "#2025#", "#a b#"])
rel_paths = st.builds(lambda *parts: "/".join(part for part in parts if part), folders, revisions, names)
texts = st.text("ab*?[!].", max_size=4) | st.sampled_from(
    ["alf", "alf*", "*/*", "a.b.npy", "a.b.*", "r", "20*", "*", "alf/*", "a/a.b*", "*/[ab]*/*.npy", "*/#*#/a.?.npy"]
)
values = st.none() | texts | st.lists(texts, max_size=3)
rarely = st.just(None) | st.just(None) | st.just(None) | values
parts = st.dictionaries(
    st.sampled_from(["namespace", "object", "timescale", "extra", "collection"]), values, max_size=3
)


def plain_text(value, text):
    """Whether a part of a path is what a filter says."""
    if value is None:
        return True
    given = [value] if isinstance(value, str) else value or [""]
    return any(fnmatch.fnmatchcase(text, each) if each and text else each == text for each in given)


def plain_name(value, path, name):
    if isinstance(value, dict):
        match = alf.FILE.fullmatch(name)
        asked = {part: each for part, each in value.items() if part != "collection"}
        return match is not None and all(plain_text(each, match[part] or "") for part, each in asked.items())
    given = [value] if isinstance(value, str) else value or [""]
    return any(not each or plain_path(each, path, name) for each in given)


def plain_path(pattern, path, name):
    if "/" not in pattern:
        return fnmatch.fnmatchcase(name, pattern)
    wanted_parts, have = [part for part in pattern.split("/") if part not in ("", ".")], path.split("/")
    return len(wanted_parts) == len(have) and all(map(fnmatch.fnmatchcase, have, wanted_parts))


def plain_match(filename, collection, revision, path):
    match = re.fullmatch(r"(?:(.*?)/)??(?:#([\w.-]+)#/)?([^/]*)", path)
    there, its_revision, name = match[1] or "", match[2] or "", match[3]
    of_parts = filename.get("collection") if isinstance(filename, dict) else None
    return (
        plain_text(collection, there)
        and plain_text(of_parts, there)
        and plain_text(revision, its_revision)
        and (filename is None or plain_name(filename, path, name))
    )


@given(st.lists(rel_paths, max_size=8), texts | values | parts, rarely, rarely)
def test_filters_are_as_a_plain_reference_has_them(paths, filename, collection, revision):
    patterns = [filename] if isinstance(filename, str) else filename if isinstance(filename, list) else []
    if any("**" in each for each in patterns):
        filename = None
    expected = [path for path in paths if plain_match(filename, collection, revision, path)]
    assert found(filename, collection, revision, among=paths) == expected


# -- QC ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [bytes, list, np.array])
def test_a_qc_limit_leaves_out_what_is_worse_and_may_leave_out_what_is_not_set(kind):
    codes = kind([0, 1, 2, 3, 4])
    assert qc_mask(codes).tolist() == [True, True, True, True, False]
    assert qc_mask(codes, QC.PASS).tolist() == [True, True, False, False, False]
    assert qc_mask(codes, QC.CRITICAL, ignore_not_set=True).tolist() == [False, True, True, True, True]
    assert qc_mask(codes, QC.NOT_SET, ignore_not_set=True).tolist() == [False] * 5
    assert qc_mask(kind([])).tolist() == []


def test_rows_of_a_session_pass_by_filter_and_qc():
    session = a_session()
    rows = [a_dataset(session, f"{qc.name}.b.npy", qc=qc) for qc in QC] + [a_dataset(session, "alf/FAIL.b.npy")]
    session_rows = EditionRows(edition_of(rows, LeftOutTally()), 0, session.eid, session.path)
    kept = matching_rows(session_rows, Filter("*A*.b.npy"), QC.FAIL, ignore_not_set=True)
    assert sorted(session_rows.rel_paths[row] for row in kept) == [
        "FAIL.b.npy", "PASS.b.npy", "WARNING.b.npy", "alf/FAIL.b.npy",
    ]  # fmt: skip


# -- what a call that loads means ------------------------------------------------------------------------------------


def loaded(dataset, among=PATHS, **kwargs):
    asked = dataset_filter(dataset, **kwargs)
    mask = matching(asked.filter, among)
    return [path for path, passes in zip(among, mask, strict=True) if passes], asked.is_path, asked.is_pattern


def test_two_parts_stand_for_any_extension():
    assert loaded("a.b") == (["#r#/a.b.npy", "a.b.npy"], False, False)
    assert loaded("a.b", wildcards=False) == ([], False, False)
    assert loaded("spikes.times", collection="alfred") == (["alfred/spikes.times.npy"], False, False)


def test_a_path_is_an_exact_place_and_two_parts_in_it_stand_for_any_extension_without_a_warning():
    """ONE warns of wildcards at `alf/object.attribute`, and refuses it in lists."""
    assert loaded("alf/spikes.times") == (["alf/spikes.times.npy"], True, False)
    assert loaded("alf/#2024-01-01#/spikes.times.npy") == (["alf/#2024-01-01#/spikes.times.npy"], True, False)
    assert loaded("alf/spikes.times.npy", wildcards=False) == (["alf/spikes.times.npy"], True, False)
    assert loaded("raw/odd file") == (["raw/odd file"], True, False)


def test_a_name_among_paths_is_one_in_the_root():
    assert loaded("a.b", as_path=True) == (["a.b.npy"], True, False)
    assert loaded("notes [1].txt", as_path=True) == (["notes [1].txt"], True, True)
    assert loaded("notes [1].txt", as_path=True, wildcards=False) == (["notes [1].txt"], True, True)


def test_a_pattern_in_a_path_is_matched_and_told():
    assert loaded("alf/*/spikes.times.npy") == ([*PATHS[3:5], "alf/probe00/spikes.times.npy"], True, True)
    assert loaded(r"alf/.*/spikes\.times\.npy", wildcards=False) == ([*PATHS[3:5], *PATHS[6:8]], True, True)


def test_parts_may_hold_the_collection():
    assert loaded({"object": "a", "collection": ""}) == (["#r#/a.b.npy", "a.b.npy"], False, False)
    assert loaded({"object": "a"}, collection="alf") == ([], False, False)


@pytest.mark.parametrize("dataset", ["alf/a.b.npy", {"object": "a", "collection": "alf"}])
def test_a_place_beside_a_collection_is_refused(dataset):
    with pytest.raises(UsageError, match="Leave the collection out"):
        dataset_filter(dataset, collection="alf")


# -- editions --------------------------------------------------------------------------------------------------------

OLD, FIRST, SECOND = "a.b.npy", "#2023-01-01#/a.b.npy", "#2024-05-06#/a.b.npy"


def chosen(marks, revision=None, among=(OLD, FIRST, SECOND), **kwargs):
    one_each = editions(among, marks, revision, **kwargs)
    return [among[row] for row in one_each.rows], one_each.unmarked, one_each.doubled


def test_the_marked_edition_is_taken():
    assert chosen([False, True, False]) == ([FIRST], (), ())


def test_of_several_marked_ones_the_greatest_of_these():
    """ONE takes the greatest of all."""
    assert chosen([True, True, False]) == ([FIRST], (), (OLD,))


@pytest.mark.parametrize("marks", [[False] * 3, [None] * 3, []])
def test_if_none_is_marked_the_greatest_of_all(marks):
    assert chosen(marks) == ([SECOND], (OLD,), ())


@pytest.mark.parametrize("marks", [[False], [None], [True], []])
@pytest.mark.parametrize("path", [OLD, FIRST])
def test_where_there_is_no_choice_there_is_no_warning(marks, path):
    """ONE warns of «no default» for each file of a table without that column."""
    assert chosen(marks, among=[path]) == ([path], (), ())


@pytest.mark.parametrize(
    ("revision", "expected"),
    [("", [OLD]), ("2022", [OLD]), ("2023-01-01", [FIRST]), ("#2024-01-01#", [FIRST]), ("2024-05-06", [SECOND])],
)
def test_a_revision_is_the_greatest_at_or_before_whatever_is_marked(revision, expected):
    assert chosen([False, False, True], revision) == (expected, (), ())
    assert chosen([True, True, True], revision) == (expected, (), ())


def test_a_file_without_such_an_edition_has_none():
    assert chosen([True, True], "2022", among=[FIRST, SECOND]) == ([], (), ())
    assert chosen([True, True], "", among=[FIRST, SECOND]) == ([], (), ())


def test_sessions_and_collections_keep_their_files_apart():
    among = [OLD, OLD, "alf/a.b.npy", FIRST]
    assert editions(among, [True] * 4, sessions=["s", "t", "t", "t"]).rows == [0, 2, 3]
    assert editions(among, [True] * 4, sessions=["s", "t", "t", "t"]).doubled == (OLD,)


def test_warnings_are_sentences():
    one_each = editions([OLD, FIRST, "x.y.npy", "#1#/x.y.npy"], [True, True, False, False])
    assert one_each.rows == [1, 3]
    assert one_each.warnings == [
        "No default revision for dataset x.y.npy; using the most recent.",
        "Multiple default revisions for dataset a.b.npy; using the most recent.",
    ]
    assert one_each.mixed == 'Multiple revisions: "1", "2023-01-01"'
    assert editions([OLD, "x.y.npy"], []).mixed == ""


def plain_editions(rows, revision):
    """Rows of one edition of each file; `rows` are its name, revision and mark."""
    taken = []
    for name in {row[0] for row in rows}:
        of_file = [at for at, row in enumerate(rows) if row[0] == name]
        if revision is not None:
            of_file = [at for at in of_file if rows[at][1] <= revision]
        elif any(rows[at][2] for at in of_file):
            of_file = [at for at in of_file if rows[at][2]]
        taken += sorted(of_file, key=lambda at: (rows[at][1], at))[-1:]
    return sorted(taken)


edition_rows = st.lists(
    st.tuples(
        st.sampled_from(["a.b", "x.y"]), st.sampled_from(["", "1", "2", "2a"]), st.sampled_from([True, False, None])
    ),
    max_size=8,
)


@given(edition_rows, st.none() | st.sampled_from(["", "0", "1", "2", "3"]))
def test_editions_are_as_a_plain_reference_has_them(rows, revision):
    paths = [f"#{revision}#/{name}" if revision else name for name, revision, _ in rows]
    one_each = editions(paths, [mark for _, _, mark in rows], revision)
    assert one_each.rows == plain_editions(rows, revision)
    assert one_each.revisions == tuple(sorted({rows[row][1] for row in one_each.rows}))
