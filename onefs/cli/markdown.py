"""Markdown as the topics of help use it: blocks, lists and tables, and wrapping for a terminal."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from enum import Enum

FENCE = "```"
INDENT = "    "
_CELLS = re.compile(r"(?<!\\)\|")
_ITEM = re.compile(r"(?:[-*]|[0-9]+\.) +")


class Kind(Enum):
    """What a block of lines is."""

    HEADING = "heading"
    PARAGRAPH = "paragraph"
    LIST = "list"
    TABLE = "table"
    CODE = "code"


def kind_of(block: Sequence[str]) -> Kind:
    """What a block is, by its first line."""
    first = block[0]
    if first.startswith("#"):
        return Kind.HEADING
    if first.startswith("|"):
        return Kind.TABLE
    if first.startswith((FENCE, INDENT)):
        return Kind.CODE
    return Kind.LIST if _ITEM.match(first) else Kind.PARAGRAPH


def blocks(text: str) -> Iterator[list[str]]:
    """The blocks of a text. Fenced code keeps its empty lines."""
    block: list[str] = []
    is_fenced = False
    for line in text.split("\n"):
        is_mark = line.startswith(FENCE)
        begins = line.startswith("#") or is_mark
        if not is_fenced and block and (begins or not line.strip()):
            yield block
            block = []
        if line.strip() or is_fenced:
            block.append(line)
        is_fenced ^= is_mark
        if not is_fenced and begins:
            yield block
            block = []
    if block:
        yield block


def list_items(block: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The items of a list: the mark of each, and its text, which may span several lines."""
    mark, words = "", ""
    for line in block:
        found = _ITEM.match(line)
        if found and words:
            yield mark, words
        mark, words = (found[0], line[found.end() :]) if found else (mark, f"{words} {line.strip()}")
    yield mark, words


def table_rows(table: Sequence[str]) -> list[tuple[str, str]]:
    """The rows of a table without its head: the first cell, and the others in one sentence."""
    rows = [[cell.strip().replace(r"\|", "|") for cell in _CELLS.split(line.strip())[1:-1]] for line in table[2:]]
    return [(first, " – ".join(filter(None, others))) for first, *others in rows]


def wrapped(text: str, width: int) -> str:
    """The text with lines of at most `width` characters, except in code; tables become lists."""
    return "\n\n".join(_wrapped(block, width) for block in blocks(text)) + "\n"


def _wrapped(block: Sequence[str], width: int) -> str:
    match kind_of(block):
        case Kind.PARAGRAPH:
            return fill(" ".join(block), width)
        case Kind.LIST:
            return "\n".join(fill(words, width, mark, " " * len(mark)) for mark, words in list_items(block))
        case Kind.TABLE:
            rows = table_rows(block)
            return "\n".join(
                f"{INDENT}{term}\n{fill(words, width, INDENT * 2, INDENT * 2)}".rstrip() for term, words in rows
            )
    return "\n".join(block)


def fill(words: str, width: int, first: str = "", others: str = "") -> str:
    """Words in lines of at most `width` characters, behind `first` and `others`."""
    return textwrap.fill(
        " ".join(words.split()),
        width,
        initial_indent=first,
        subsequent_indent=others,
        break_on_hyphens=False,
        break_long_words=False,
    )
