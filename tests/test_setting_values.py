"""The values of settings: which texts are read, and that what is written is read again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onefs.setting_values import duration_s, duration_value_text, size_bytes, size_value_text
from onefs.settings import Settings, table


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (1, "1"), (1000, "1000"), (64 << 20, "64M"), (512 << 10, "512K"), (500 << 30, "500G"), (2 << 40, "2T")],
)
def test_sizes_are_written_in_the_largest_whole_unit(size: int, text: str) -> None:
    assert size_value_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.5, "500ms"),
        (1.5, "1500ms"),
        (0.0001, "0.0001s"),
        (2.0, "2s"),
        (60.0, "1m"),
        (90.0, "90s"),
        (86400.0, "24h"),
        (129600.0, "36h"),
        (604800.0, "7d"),
    ],
)
def test_durations_are_written_in_the_largest_whole_unit(seconds: float, text: str) -> None:
    assert duration_value_text(seconds) == text


@given(st.integers(0, 999_999_999_999))
def test_a_size_that_is_written_is_read_again(size: int) -> None:
    assert size_bytes(size_value_text(size)) == size


@given(st.floats(0, 366 * 86400))
def test_a_duration_that_is_written_is_read_again(seconds: float) -> None:
    assert duration_s(duration_value_text(seconds)) == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize("entry", table(), ids=lambda entry: entry.key)
def test_every_default_that_is_written_is_read_again(entry: object) -> None:
    value = getattr(Settings(), entry.name)
    if value not in (None, ""):
        assert entry.parse(entry.text(value)) == value
