"""Printing on a terminal: sentences, and facts in two columns, with control characters escaped."""

import os
import sys
from collections.abc import Iterable
from typing import IO

import click

from onefs.text import visible


def print_facts(facts: Iterable[tuple[str, object]], title: str = "") -> None:
    """Print names and values in two columns on standard output. No path is cut, so that each can be copied."""
    rows = [(visible(name), visible(str(value))) for name, value in facts]
    width = max((len(name) for name, _ in rows), default=0)
    if title:
        say(title)
    for name, value in rows:
        click.echo(f"{name:<{width}}  {value}".rstrip())


def say(sentence: str) -> None:
    """Print a sentence on standard output."""
    click.echo(visible(sentence))


def complain(sentence: str, prefix: str = "") -> None:
    """Print a sentence on standard error, with the program's name; before it a prefix that is for the journal."""
    click.echo(f"{prefix}onefs: {visible(sentence)}", err=True)


def ignore_output(stream: IO[str]) -> None:
    """Have all that is still written to a stream vanish, also what is in its buffer: nobody reads it any more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def print_lines(text: str) -> None:
    """Print lines on standard output: unchanged into a pipe or file, escaped on a terminal."""
    if sys.stdout.isatty():
        text = "\n".join(map(visible, text.split("\n")))
    sys.stdout.write(text)  # click's echo leaves some control characters out
    sys.stdout.flush()
