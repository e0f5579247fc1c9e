"""Names from a catalogue on a terminal and in a pipe."""

import os
import pty
import sys
from contextlib import redirect_stdout
from io import StringIO

import pytest

from onefs.cli import printing

LINES = "lab/a\x1b[2J.npy\nlab/\u202eb.npy\n"


def test_in_a_pipe_lines_are_as_they_are() -> None:
    with redirect_stdout(StringIO()) as said:
        printing.print_lines(LINES)
    assert said.getvalue() == LINES


def test_on_a_terminal_they_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    master, terminal = pty.openpty()
    with open(terminal, "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        printing.print_lines(LINES)
        printing.say("pinned: \x1b[2J")
    said = b""
    while chunk := _read(master):
        said += chunk
    os.close(master)
    assert said.decode().splitlines() == ["lab/a\\x1b[2J.npy", "lab/\\u202eb.npy", "pinned: \\x1b[2J"]


def _read(master: int) -> bytes:
    try:
        return os.read(master, 4096)
    except OSError:  # all has been read, and nobody is left to write
        return b""
