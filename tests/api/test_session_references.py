"""References to sessions as texts and dicts, beside those of ONE."""

from datetime import date, datetime
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one.converters import ConversionMixin as Theirs

from onefs.alf_files.bunch import Bunch
from onefs.api.converters import ConversionMixin, dict2ref, is_exp_ref, path2ref, ref2dict
from onefs.one_errors import UsageError

SESSION = "/data/cortexlab/Subjects/KS014/2020-07-01/001"
REFERENCE = {"subject": "KS014", "date": date(2020, 7, 1), "sequence": 1}
quick = settings(deadline=None, max_examples=100)

PATHS = [
    SESSION, f"{SESSION}/alf/a.b.npy", "KS014/2020-07-01/1", "KS014/2020-07-01/12", "KS014/2020-07-01/02",
    "KS014/2020-07-01/0", "KS014/2020-07-01/000", "KS014/2020-07-01", "x", None, Path(SESSION),
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_references_of_paths(path: Any) -> None:
    assert path2ref(path) == Theirs.path2ref(path)
    assert path2ref(path, parse=False) == Theirs.path2ref(path, parse=False)
    assert path2ref(path, as_dict=False, parse=False) == Theirs.path2ref(path, as_dict=False)


def test_references_of_paths_as_texts_and_lists() -> None:
    assert path2ref(SESSION) == REFERENCE
    assert isinstance(path2ref(SESSION), Bunch)
    assert path2ref(SESSION, as_dict=False) == "2020-07-01_1_KS014"
    assert path2ref(SESSION, as_dict=False, parse=False) == "2020-07-01_001_KS014"
    assert path2ref([SESSION, "x"], as_dict=False) == ["2020-07-01_1_KS014", None]
    assert path2ref(PureWindowsPath(r"C:\KS014\2020-07-01\001")) == REFERENCE
    assert path2ref("KS014/2020-13-41/001") is None


@pytest.mark.parametrize(
    "reference",
    [
        "2020-07-01_1_KS014", "2020-07-01_001_KS014", "2020-07-01_02_a_b.c-d", "2020-07-01_0_x", "x", "",
        "2020-07-01_x_y", "2020-07-01_1_", {}, REFERENCE,
        {"subject": "x", "date": "2020-07-01", "sequence": "1"}, {"subject": "x"},
        {"subject": "x", "date": "2020-07-01", "number": 1}, 5, None, ["x", "2020-07-01_1_x"], Path(SESSION),
    ],
)  # fmt: skip
def test_what_is_a_reference(reference: Any) -> None:
    assert is_exp_ref(reference) == Theirs.is_exp_ref(reference)


def test_days_that_are_none_make_no_reference() -> None:
    assert Theirs.is_exp_ref("2020-13-41_1_x")
    assert not is_exp_ref("2020-13-41_1_x")
    assert not is_exp_ref({"subject": "x", "date": "2020-13-41", "sequence": 1})


@given(st.dates(min_value=date(1000, 1, 1)), st.integers(0, 999), st.text("aZ0_.-", min_size=1), st.booleans())
@quick
def test_references_there_and_back(day: date, number: int, subject: str, padded: bool) -> None:
    text = f"{day}_{number:03d}_{subject}" if padded else f"{day}_{number}_{subject}"
    for parse in (True, False):
        assert ref2dict(text, parse=parse) == Theirs.ref2dict(text, parse=parse)
    assert dict2ref(ref2dict(text, parse=False)) == text
    assert dict2ref(ref2dict(text)) == Theirs.dict2ref(Theirs.ref2dict(text)) == f"{day}_{number}_{subject}"
    assert is_exp_ref(text) is is_exp_ref(ref2dict(text)) is True


@pytest.mark.parametrize(
    "day",
    [
        date(2020, 7, 1),
        "2020-07-01",
        datetime(2020, 7, 1, 3),
        pd.Timestamp("2020-07-01"),
        np.datetime64("2020-07-01T03"),
    ],
)
def test_dates_in_dicts(day: Any) -> None:
    for name in ("date", "start_time"):
        assert dict2ref({"subject": "KS014", name: day, "number": np.uint16(1)}) == "2020-07-01_1_KS014"
    assert ref2dict({"subject": "KS014", "date": day, "sequence": "001"}) == REFERENCE


def test_dicts_as_alyx_has_them() -> None:
    assert dict2ref({"subject": "KS014", "start_time": "2020-07-01T10:21:03.123", "number": 1}) == "2020-07-01_1_KS014"


def test_nothing_is_no_reference() -> None:
    assert dict2ref({}) is Theirs.dict2ref({}) is None
    assert dict2ref(None) is None
    assert ref2dict(None) is None
    assert ref2dict({}) == Theirs.ref2dict({}) == {}


def test_lists_of_references() -> None:
    assert ref2dict(["2020-07-01_1_KS014", REFERENCE]) == [REFERENCE, REFERENCE]
    assert dict2ref((REFERENCE, {})) == ["2020-07-01_1_KS014", None]
    assert is_exp_ref(iter(["x", "2020-07-01_1_KS014"])) == [False, True]


@pytest.mark.parametrize(
    "value", ["x", "2020-13-41_1_x", "", 5, {"subject": "x"}, {"subject": "", "date": "2020-07-01", "sequence": 1}]
)
def test_what_is_no_reference_cannot_be_converted(value: Any) -> None:
    with pytest.raises(UsageError, match="is no reference to a session"):
        ref2dict(value)
    if value:
        with pytest.raises(ValueError, match="is no reference to a session"):
            dict2ref(value)


def test_they_are_methods_too() -> None:
    assert ConversionMixin.path2ref is path2ref
    assert ConversionMixin.ref2dict is ref2dict
    assert ConversionMixin.dict2ref is dict2ref
    assert ConversionMixin.is_exp_ref is is_exp_ref
