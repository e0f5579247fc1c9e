"""Owns how facts look on a terminal: two columns of plain text, whatever stands in it."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

# Longer lines than the terminal's are left to it, so that no path is cut and each can be copied.
WIDEST = 100_000


def print_facts(facts: Iterable[tuple[str, object]], title: str = "") -> None:
    """Print names and values in two columns on standard output."""
    table = Table.grid(padding=(0, 2))
    table.title, table.title_justify = _plain(title) if title else None, "left"
    for name, value in facts:
        table.add_row(_plain(name), _plain(str(value)))
    Console(width=WIDEST).print(table)


def _plain(text: str) -> Text:
    """Brackets are no markup, and what is no text or would move the cursor is shown as such."""
    return Text("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text))
