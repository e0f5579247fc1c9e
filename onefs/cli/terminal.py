"""Styled lines on standard output: in colour on a terminal that wants it, plain elsewhere."""

import os
import shutil
import sys
from collections.abc import Iterable
from typing import Any

import click

from onefs.monitoring.styled import WIDTH, Line, Style, plain

STYLES: dict[Style, dict[str, Any]] = {
    Style.PLAIN: {},
    Style.TITLE: {"bold": True},
    Style.FAINT: {"dim": True},
    Style.GOOD: {"fg": "green"},
    Style.WARNING: {"fg": "yellow"},
    Style.BAD: {"fg": "red"},
}


def width() -> int:
    """The columns of standard output: those of the terminal or of COLUMNS, else 80."""
    return shutil.get_terminal_size((WIDTH, 24)).columns


def has_colour() -> bool:
    """Whether standard output is a terminal whose user wants colour: NO_COLOR is not set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_styled(lines: Iterable[Line]) -> None:
    """Print lines on standard output. Their text must hold no control characters."""
    in_colour = has_colour()
    for line in lines:
        text = "".join(click.style(text, **STYLES[style]) for text, style in line) if in_colour else plain(line)
        click.echo(text.rstrip(), color=in_colour)
