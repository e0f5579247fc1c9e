"""Bunches: dicts whose keys are attributes, and what is made of the arrays in them."""

import copy
import gc
import logging
import pickle
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from alf_objects import objects
from hypothesis import given, settings
from numpy.typing import NDArray
from one.alf import io as one_io

from onefs.alf_files.bunch import AlfBunch, Bunch
from onefs.one_errors import OnefsError

quick = settings(deadline=None, max_examples=100)


def assert_same(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    assert set(dict(ours)) == set(dict(theirs))
    for key, values in dict(theirs).items():
        assert ours[key].dtype == values.dtype, key
        np.testing.assert_array_equal(ours[key], values)


@pytest.mark.parametrize("kind", [Bunch, AlfBunch])
def test_keys_are_attributes(kind: type[Bunch]) -> None:
    bunch = kind({"times": 1, "values": 2}, extra=3)
    assert (bunch.times, bunch.values, bunch.extra) == (1, 2, 3)
    bunch.new = 4
    bunch.times = 5
    del bunch.extra
    assert bunch == {"times": 5, "values": 2, "new": 4}
    assert {"times", "new"} <= set(dir(bunch))
    assert not hasattr(bunch, "extra")
    with pytest.raises(AttributeError):
        del bunch.extra


@pytest.mark.parametrize("kind", [Bunch, AlfBunch])
def test_copies_are_of_the_same_kind(kind: type[Bunch]) -> None:
    bunch = kind(items=[1], keys=[2])
    for twin in (copy.copy(bunch), copy.deepcopy(bunch), pickle.loads(pickle.dumps(bunch)), kind.copy(bunch)):
        assert type(twin) is kind
        assert twin == bunch
        assert twin is not bunch
    assert kind.copy(bunch, deep=True)["items"] is not bunch["items"]
    assert kind.copy(bunch)["items"] is bunch["items"]


def test_a_bunch_frees_its_arrays_at_once() -> None:
    gc.disable()
    try:
        bunch = AlfBunch(times=np.zeros(3))
        freed = weakref.ref(bunch.times)
        del bunch
        assert freed() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("compress", [False, True])
def test_saved_and_loaded(tmp_path: Path, compress: bool) -> None:
    bunch = AlfBunch(times=np.arange(3.0), items=np.arange(2))
    bunch.save(tmp_path / "spikes.npz", compress=compress)
    loaded = AlfBunch.load(tmp_path / "spikes.npz")
    assert_same(loaded, bunch)
    assert type(loaded) is AlfBunch


SHAPES = [
    ({"a": (3,), "b": (3, 4)}, 0),
    ({"a": (3,), "b": (2,)}, 1),
    ({"a": (3,), "b": (1, 5)}, 0),
    ({"a": (0,), "b": (1,)}, 1),
    ({"a": (3,), "timestamps": (2, 2)}, 0),
    ({"a": (3,), "timestamps_bpod": (2, 2)}, 0),
    ({"a": (3,), "timestamps": (3, 2)}, 1),
    ({"a": (3,), "timestamps": (2,)}, 1),
    ({"a": (3,), "timestamps": (3, 1)}, 0),
    ({}, 0),
]


@pytest.mark.parametrize(("shapes", "status"), SHAPES)
def test_lengths(shapes: dict[str, tuple[int, ...]], status: int) -> None:
    bunch = AlfBunch({key: np.zeros(shape) for key, shape in shapes.items()})
    assert bunch.check_dimensions == status
    assert one_io.check_dimensions(bunch) == status


def test_frames_and_columns_have_lengths_and_values_without_shape_do_not() -> None:
    frame = pd.DataFrame({"x": [1, 2]})
    assert AlfBunch(a=frame, b=frame.x, c=None, d=[1, 2, 3], e=np.array(5.0)).check_dimensions == 0
    assert AlfBunch(a=np.zeros(3), b=frame.x).check_dimensions == 1


@given(objects(widths=(0, 1, 2, 3, 12)))
@quick
def test_to_df_is_what_one_makes(made: dict[str, NDArray[Any]]) -> None:
    pd.testing.assert_frame_equal(AlfBunch(made).to_df(), one_io.dataframe(made))


@given(objects())
@quick
def test_to_df_and_back(made: dict[str, NDArray[Any]]) -> None:
    assert_same(AlfBunch.from_df(AlfBunch(made).to_df()), made)


@given(objects())
@quick
def test_from_df_as_one_does_where_it_keeps_the_dtype(made: dict[str, NDArray[Any]]) -> None:
    frame = AlfBunch({key: values.astype(float) for key, values in made.items()}).to_df()
    assert_same(AlfBunch.from_df(frame), one_io.AlfBunch.from_df(frame))


def test_columns_keep_their_own_dtype() -> None:
    """ONE makes arrays of objects of a frame with several dtypes."""
    frame = pd.DataFrame({"n": np.array([1, 2], "u1"), "x": [0.5, 1.5], "name": ["a", "b"]})
    bunch = AlfBunch.from_df(frame)
    assert [bunch[key].dtype for key in ("n", "x", "name")] == [np.dtype("u1"), np.dtype("f8"), np.dtype("O")]


def test_only_columns_of_one_stem_are_paired() -> None:
    """ONE pairs `x_0` with `y_1`."""
    frame = pd.DataFrame(
        {
            "x_0": [1],
            "y_1": [2],
            "z_0": [3],
            "z_1": [4],
            "z_2": [5],
            "w": [6],
            "w_0": [7],
            "w_1": [8],
            "_0": [9],
            "_1": [0],
        }
    )
    bunch = AlfBunch.from_df(frame)
    assert set(bunch) == {"x_0", "y_1", "z", "z_2", "w", "w_0", "w_1", "_0", "_1"}
    np.testing.assert_array_equal(bunch["z"], [[3, 4]])


def test_arrays_of_a_frame_can_be_written() -> None:
    frame = pd.DataFrame({"x": [1, 2]})
    frame["x"].array._ndarray.flags.writeable = False
    AlfBunch.from_df(frame).x[0] = 5


def test_one_value_goes_with_every_row() -> None:
    frame = AlfBunch(a=np.arange(3), b=np.array([7]), timestamps=np.array([[0, 0.0], [2, 1.0]])).to_df()
    expected = pd.DataFrame({"a": [0, 1, 2], "b": [7, 7, 7], "timestamps": [0.0, 0.5, 1.0]})
    pd.testing.assert_frame_equal(frame, expected)


def test_what_becomes_no_column_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    frame = AlfBunch(a=np.arange(3), b=np.zeros((3, 2, 2)), c="text", d=pd.DataFrame({"x": [1, 2, 3]})).to_df()
    assert list(frame) == ["a", "d"]
    assert [record.args for record in caplog.records] == [("b",), ("c",)]


def test_lengths_that_disagree_make_no_frame() -> None:
    with pytest.raises(ValueError, match=r"a \(3,\), b \(2,\)") as told:
        AlfBunch(a=np.arange(3), b=np.arange(2)).to_df()
    assert isinstance(told.value, OnefsError)


@pytest.mark.parametrize("inplace", [False, True])
def test_append(inplace: bool) -> None:
    first, second = {"a": np.arange(3), "b": [1, 2, 3]}, {"a": np.arange(2), "b": [4, 5]}
    ours, theirs = AlfBunch(copy.deepcopy(first)), one_io.AlfBunch(copy.deepcopy(first))
    result = ours.append(second, inplace=inplace)
    expected = theirs.append(second, inplace=inplace)
    assert (result is ours) == inplace
    np.testing.assert_array_equal(result.a, expected["a"])
    assert result.b == expected["b"] == [1, 2, 3, 4, 5]
    if not inplace:
        assert ours.b == [1, 2, 3]
        assert len(ours.a) == 3


def test_append_of_nothing_and_to_nothing() -> None:
    full = AlfBunch(a=np.arange(3))
    np.testing.assert_array_equal(full.append({}).a, full.a)
    empty = AlfBunch()
    assert empty.append(full, inplace=True) is empty
    np.testing.assert_array_equal(empty.a, full.a)


def test_append_of_other_keys() -> None:
    with pytest.raises(NotImplementedError, match="a, b") as told:
        AlfBunch(a=np.arange(3)).append({"a": np.arange(3), "b": np.arange(3)})
    assert isinstance(told.value, OnefsError)


def test_append_warns_of_what_it_cannot_append_and_of_lengths(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        AlfBunch(a=np.arange(3), b="text", c=np.arange(3)).append({"a": np.arange(2), "b": "x", "c": np.arange(1)})
    assert "'b'" in caplog.messages[0]
    assert "a (5,), c (4,)" in caplog.messages[1]
