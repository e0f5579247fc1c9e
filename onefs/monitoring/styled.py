"""Text for a terminal: lines of pieces that have a style, wrapped, clipped, and with bars."""

import textwrap
from enum import StrEnum
from typing import NamedTuple

from onefs.text import visible

WIDTH = 80
"""Columns where nobody says how many there are."""
LABEL_WIDTH, BAR_WIDTH = 11, 10
INDENT = "  "


class Style(StrEnum):
    """How a piece of text looks on a terminal."""

    PLAIN = "plain"
    TITLE = "title"
    FAINT = "faint"
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


class Span(NamedTuple):
    """A piece of a line."""

    text: str
    style: Style = Style.PLAIN


Line = list[Span]


def plain(line: Line) -> str:
    """A line without its styles."""
    return "".join(span.text for span in line)


def rows(label: str, text: str, width: int, style: Style = Style.PLAIN) -> list[Line]:
    """A label with a text that goes on below itself; nothing if the text is ""."""
    if not text:
        return []
    first = f"{INDENT}{label:<{LABEL_WIDTH}}"
    lines = wrapped(text, width, style, " " * len(first), " " * len(first))
    lines[0][0] = Span(first, Style.FAINT)
    return lines


def wrapped(text: str, width: int, style: Style, first: str, later: str) -> list[Line]:
    """A text in lines of `width` columns, the first begun with `first` and the others with `later`.

    Only a word that is longer than a line, such as a path, makes a longer line, so that it can be copied.
    """
    texts = textwrap.wrap(
        visible(text), max(width - len(later), 20), break_long_words=False, break_on_hyphens=False
    ) or [""]
    return [[Span(later if number else first), Span(each, style)] for number, each in enumerate(texts)]


def bar(share: float, columns: int = BAR_WIDTH) -> Line:
    """A bar of so many columns of which a share is filled."""
    filled = round(share * columns)
    return [Span("━" * filled, Style.GOOD), Span("─" * (columns - filled), Style.FAINT)]


def clipped_start(text: str, width: int) -> str:
    """The end of a text in at most `width` columns."""
    return text if len(text) <= width else f"…{text[len(text) - max(width - 1, 0) :]}"


def clipped_end(text: str, width: int) -> str:
    """The beginning of a text in at most `width` columns."""
    return text if len(text) <= width else f"{text[: max(width - 1, 0)]}…"
