"""The naming convention as functions, beside those of ONE."""

import re
import string
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one.alf import spec as theirs

from onefs import alf
from onefs.alf_files import spec
from onefs.catalogue import records
from onefs.one_errors import ALFInvalid, UsageError

ID = "226ba79d-2a3a-4b50-9acc-ebeebe6da35d"
quick = settings(deadline=None, max_examples=300)
WORD = string.ascii_letters + string.digits + "_"
PARTS = [
    "lab", "subject", "date", "number", "collection", "revision",
    "namespace", "object", "attribute", "timescale", "extra", "extension",
]  # fmt: skip


# -- quality control -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [*spec.QC, 0, 10, 30, 40, 50, "0", "50", "pass", "NOT_SET", "Critical", np.int64(40)])
def test_an_outcome_by_member_value_digits_or_name(value: spec.QC | int | str) -> None:
    assert spec.QC.validate(value) is spec.QC[theirs.QC.validate(value).name]
    assert spec.QC is records.QC


@pytest.mark.parametrize("value", ["", "good", "12", 12, None, "-1", "10.0", 4, [], "²", True, False])
def test_what_is_no_outcome(value: str) -> None:
    with pytest.raises(ValueError, match=r"is no QC\. Use NOT_SET \(0\), PASS") as caught:
        spec.QC.validate(value)
    assert isinstance(caught.value, records.QCError)


# -- names and paths -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "is_valid"),
    [
        ("trials.feedbackType.npy", True),
        (f"_ns_obj.attr1.{ID}.metadata.json", True),
        ("channels._phy_ids.csv", True),
        ("_ibl_trials.goCue_times_bpod.csv", True),
        ("spike_train.npy", False),
        ("a.b", False),
        ("alf/a.b.npy", False),
        (".DS_Store", False),
        ("a b.c.npy", False),
        ("", False),
    ],
)
def test_valid_names(name: str, is_valid: bool) -> None:
    assert spec.is_valid(name) is theirs.is_valid(name) is is_valid
    assert spec.is_valid(Path(name)) is is_valid


@given(st.text(WORD + ".-#/ ", max_size=24))
@quick
def test_what_is_valid_is_valid_for_one(name: str) -> None:
    ours = spec.is_valid(name)
    assert ours or not alf.parse_file_name(name)
    if ours or not re.search(r"\.\.|\.$", name):  # ONE takes empty parts between dots
        assert ours == theirs.is_valid(name)


def test_empty_parts_and_line_ends_are_not_valid() -> None:
    for name in ("a.b...npy", "a.b.npy\n"):
        assert theirs.is_valid(name)
        assert not spec.is_valid(name)


@pytest.mark.parametrize(
    ("path", "is_session"),
    [
        ("KS014/2020-07-01/001", True),
        ("/data/cortexlab/Subjects/KS014/2020-07-01/1/", True),
        (Path("/data/KS014/2020-07-01/12"), True),
        ("KS014/2020-07-01/001/alf", False),
        ("KS014/2020-07-01/0001", False),
        ("KS014/2020-7-1/001", False),
        ("2020-07-01/001", False),
        ("", False),
    ],
)
def test_session_paths(path: str | Path, is_session: bool) -> None:
    assert spec.is_session_path(path) is theirs.is_session_path(path) is is_session


def test_a_subject_is_a_whole_folder_name() -> None:
    assert theirs.is_session_path("KS 014/2020-07-01/001")
    assert not spec.is_session_path("KS 014/2020-07-01/001")


# -- ids -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [ID, ID.upper(), ID.replace("-", ""), UUID(ID), UUID(ID).bytes, UUID(ID).int, 5, "x", "", None, b"x", 1.5, -1],
)
def test_ids(value: object) -> None:
    assert spec.is_uuid(value) is theirs.is_uuid(value)
    assert spec.is_uuid_string(value) is theirs.is_uuid_string(value)


@pytest.mark.parametrize("version", range(1, 6))
def test_versions_of_ids(version: int) -> None:
    value = UUID(ID[:14] + str(version) + ID[15:])
    assert spec.is_uuid(value) is theirs.is_uuid(value) is (version in (3, 4))
    assert spec.is_uuid(value, (version,))
    assert spec.is_uuid_string(str(value)) is theirs.is_uuid_string(str(value)) is (version in (3, 4, 5))


# -- templates -------------------------------------------------------------------------------------------------------


def test_templates_have_the_parts_that_one_has() -> None:
    for name in ("SESSION_SPEC", "COLLECTION_SPEC", "FILE_SPEC", "REL_PATH_SPEC", "FULL_SPEC"):
        assert [*spec.regex(getattr(spec, name)).groupindex] == [*theirs.regex(getattr(theirs, name)).groupindex]
    assert [*spec.regex().groupindex] == PARTS
    assert [*spec.SPEC_DESCRIPTION] == [*theirs.SPEC_DESCRIPTION]


def test_the_default_expression_is_of_a_whole_path() -> None:
    path = "cortexlab/Subjects/KS014/2020-07-01/001/alf/probe00/#2024-05-06#/_ibl_a.b_times_c.d.e.npy"
    found = re.match(".*?" + spec.regex().pattern, f"/data/{path}")
    expected = theirs.regex().match(path)
    assert found is not None
    assert expected is not None
    assert found.groupdict() == expected.groupdict()
    assert not spec.regex().match(f"{path}.")


def test_expressions_of_parts_can_be_replaced() -> None:
    pattern = spec.regex(spec.FILE_SPEC, object="trials|wheel", namespace=None)
    assert pattern.match("_ibl_trials.times.npy")
    assert not pattern.match("_ibl_spikes.times.npy")
    with pytest.raises(KeyError, match="no part foo; they have lab, subject"):
        spec.regex(foo="x")


def test_the_pattern_shows_optional_parts_in_brackets() -> None:
    assert spec.path_pattern() == (
        "(lab/Subjects/)subject/date/number/(collection/)(#revision#/)"
        "(_namespace_)object.attribute(_timescale)(.extra).extension"
    )


def test_a_part_is_described_below_where_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    spec.describe("collection", width=50)
    pattern, marks, _, title, *text = capsys.readouterr().out.splitlines()
    assert pattern == spec.path_pattern()
    assert pattern[marks.index("^") : len(marks)] == "collection"
    assert title == "COLLECTION"
    assert " ".join(text) == spec.SPEC_DESCRIPTION["collection"]
    assert max(map(len, text)) <= 50


def test_all_parts_are_described(capsys: pytest.CaptureFixture[str]) -> None:
    spec.describe()
    shown = capsys.readouterr().out.splitlines()
    assert [line for line in shown if line.isupper()] == [name.upper() for name in theirs.SPEC_DESCRIPTION]


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no part 'size'\. Name one of lab, Subjects"):
        spec.describe("size")


# -- building names --------------------------------------------------------------------------------------------------

CASES: list[tuple[tuple[str, str, str], dict[str, object]]] = [
    (("spikes", "times", "ssv"), {}),
    (("spikes", "times", ".ssv"), {"namespace": "ibl"}),
    (("spikes", "times", "ssv"), {"namespace": "ibl", "timescale": ("ephys clock", "minutes")}),
    (("wheel moves", "stimOn_times", "npy"), {"timescale": "bpod", "extra": "raw"}),
    (("wheel", "timestamps", "npy"), {"namespace": "ibl", "timescale": "bpod", "extra": ("raw", "v12")}),
    (("MyObj", "RFM_map", "npy"), {"extra": "a.b"}),
    (("mpci ROIs", "x_timestamps", "npy"), {"timescale": ""}),
]


@pytest.mark.parametrize(("parts", "options"), CASES)
def test_names_are_built_as_one_builds_them(parts: tuple[str, str, str], options: dict[str, object]) -> None:
    assert spec.to_alf(*parts, **options) == theirs.to_alf(*parts, **options)


letters = st.text(string.ascii_letters + string.digits, min_size=1, max_size=6)


@given(
    st.lists(letters, min_size=1, max_size=3).map(" ".join),
    st.lists(letters, min_size=1, max_size=3).map("_".join),
    st.none() | letters,
    st.none() | st.lists(letters, min_size=1, max_size=2).map(tuple),
    st.none() | st.lists(letters, min_size=1, max_size=2).map(tuple),
)
@quick
def test_random_names_are_built_as_one_builds_them(
    obj: str, attribute: str, namespace: str | None, timescale: tuple[str] | None, extra: tuple[str] | None
) -> None:
    given_parts = (obj, attribute, "npy", namespace, timescale, extra)
    assert spec.to_alf(*given_parts) == theirs.to_alf(*given_parts)


@pytest.mark.parametrize(
    ("parts", "options"),
    [
        (("_spikes", "times", "npy"), {}),
        (("spikes", "ti.mes", "npy"), {}),
        (("spikes", "times", "tar.gz"), {}),
        (("spikes", "times", "npy"), {"namespace": "a_b"}),
        (("spikes", "times", "npy"), {"timescale": ("a", "b.c")}),
        (("", "times", "npy"), {}),
        (("spikes", "", "npy"), {}),
        (("spikes", "tim/es", "npy"), {}),
        (("spikes", "times", "npy"), {"extra": "a b"}),
    ],
)
def test_names_that_cannot_be(parts: tuple[str, str, str], options: dict[str, str]) -> None:
    with pytest.raises(ALFInvalid, match="Write names as"):
        spec.to_alf(*parts, **options)


def test_a_name_needs_an_extension() -> None:
    with pytest.raises(TypeError, match="needs an extension"):
        spec.to_alf("spikes", "times", "")


@given(st.text(string.ascii_letters + string.digits + "_", max_size=12), st.booleans())
@quick
def test_camel_case_is_read_as_one_reads_it(name: str, capitalize: bool) -> None:
    if name and not re.match("[A-Z]", name):  # ONE begins with a blank then
        assert spec.readableALF(name, capitalize) == theirs.readableALF(name, capitalize)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sparseNoise", "sparse noise"),
        ("someROIDataset", "some ROI dataset"),
        ("ROIs", "ROIs"),
        ("Wheel", "wheel"),
        ("", ""),
    ],
)
def test_camel_case_as_words(name: str, words: str) -> None:
    assert spec.readableALF(name) == words
    assert spec.readableALF(name, capitalize=True) == words[:1].upper() + words[1:]
