"""Owns how facts look on a terminal: two columns of plain text, whatever stands in it."""

from collections.abc import Iterable

import click


def print_facts(facts: Iterable[tuple[str, object]], title: str = "") -> None:
    """Print names and values in two columns on standard output. No path is cut, so that each can be copied."""
    rows = [(plain(name), plain(str(value))) for name, value in facts]
    width = max((len(name) for name, _ in rows), default=0)
    if title:
        click.echo(plain(title))
    for name, value in rows:
        click.echo(f"{name:<{width}}  {value}".rstrip())


def plain(text: str) -> str:
    """What is no text, or would move the cursor, is shown as such."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
