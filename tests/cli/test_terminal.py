"""Colour and width: on a terminal that wants it, and nowhere else."""

import io
import sys

import pytest

from onefs.cli.main import run
from onefs.cli.terminal import print_styled, width
from onefs.monitoring.styled import Span, Style

LINE = [Span("state ", Style.FAINT), Span("well", Style.GOOD), Span("  ")]


class Terminal(io.StringIO):
    """A file that says that it is a terminal."""

    def isatty(self) -> bool:
        """Whether it is one."""
        return True


def printed(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> str:
    monkeypatch.setattr(sys, "stdout", stream)
    print_styled([LINE])
    return stream.getvalue()


def test_colour_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[32mwell" in printed(monkeypatch, Terminal())
    assert printed(monkeypatch, io.StringIO()) == "state well\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colour_where_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert printed(monkeypatch, Terminal()) == "state well\n"


def test_the_width_is_that_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "123")
    assert width() == 123


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_doctor_fits_a_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert run(["doctor", "http://127.0.0.1:9/tables"]) == 1
    lines = sys.stdout.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= columns
    assert [line for line in lines if line.startswith("FAIL  source          127.0.0.1:9 cannot be")]
    assert "Check the network" in " ".join(" ".join(lines).split())
