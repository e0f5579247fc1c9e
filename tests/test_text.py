"""Counts, sizes, durations and names as people read them."""

import pytest

from onefs.text import counted, duration_text, size_text, visible


@pytest.mark.parametrize(("number", "said"), [(0, "0 files"), (1, "1 file"), (2, "2 files")])
def test_a_count_agrees_with_its_noun(number: int, said: str) -> None:
    assert counted(number, "file") == said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("_ibl_trials.table.pqt", "_ibl_trials.table.pqt"),
        ("Nägel für 東京", "Nägel für 東京"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("gnp.\u202eypn", "gnp.\\u202eypn"),
        ("two\nlines\t", "two\\nlines\\t"),
        ("\udcff.npy", "\\xff.npy"),
        ("\x7f\x9b", "\\x7f\\x9b"),
    ],
)
def test_what_would_move_the_cursor_is_escaped(name: str, said: str) -> None:
    assert visible(name) == said
    assert visible(name).isprintable()


def test_sizes_and_durations() -> None:
    assert [size_text(size) for size in (0, 999, 1000, 1_234_567, 10**18)] == [
        "0 B", "999 B", "1.0 kB", "1.2 MB", "1.0 EB",
    ]  # fmt: skip
    assert [duration_text(seconds) for seconds in (0.4, 61, 12_000)] == ["0 s", "1 min 1 s", "3 h 20 min"]
    assert [duration_text(seconds) for seconds in (59.6, 600, 3600)] == ["1 min", "10 min", "1 h"]
