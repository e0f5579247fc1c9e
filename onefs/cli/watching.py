"""`onefs status --watch`: a live view of mounts on a terminal; elsewhere, such as in a pipe, repeated reports."""

import os
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from onefs.cli.mounts import mount_at
from onefs.cli.printing import say
from onefs.cli.status import report_of
from onefs.cli.terminal import STYLES, print_styled, width
from onefs.cli.watch_screen import Rates, screen
from onefs.fuse.mounting import Mount, mounts
from onefs.monitoring.status_text import status_lines
from onefs.monitoring.styled import Line
from onefs.text import duration_text

if TYPE_CHECKING:
    from rich.text import Text

KEY_POLL_S = 0.2
SILENT_AFTER_S = 10.0
"""The view says that it is out of date after so long without an answer."""
_GONE = "It is not mounted any more. It is shown again once it is mounted."


def watch(path: Path | None, interval_s: float) -> None:
    """Show the mount that holds a path, or every mount, until q or Ctrl-C. Raises `MountError` if no mount holds it."""
    watched = Watched(mount_at(path) if path is not None else None)
    with suppress(KeyboardInterrupt), _ending_at_sigterm():
        if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
            _live(Poller(watched, interval_s), interval_s)
        else:
            _print_reports(watched, interval_s)


class Watched:
    """The mounts to watch: one, or all that are or were there while watching."""

    def __init__(self, only: Mount | None) -> None:
        self._only = only
        self._known: dict[Path, Mount] = {only.mountpoint: only} if only is not None else {}

    def reports(self) -> list[dict[str, Any]]:
        """The facts of each, or why there are none."""
        there = {mount.mountpoint: mount for mount in mounts()}
        if self._only is None:
            self._known |= there
        return [self._report(mountpoint, mount, there) for mountpoint, mount in self._known.items()]

    @staticmethod
    def _report(mountpoint: Path, mount: Mount, there: dict[Path, Mount]) -> dict[str, Any]:
        if mountpoint in there:
            return report_of(there[mountpoint])[0]
        return {"mountpoint": str(mountpoint), "source": mount.source, "problem": _GONE}


class Poller:
    """Polls mounts in a thread of its own, as one may take long to answer. Safe to use from several threads."""

    def __init__(self, watched: Watched, interval_s: float) -> None:
        self._watched = watched
        self._interval_s = interval_s
        self._lock = threading.Lock()  # guards the two below
        self._seen: tuple[float, list[dict[str, Any]]] | None = None
        self._rates: defaultdict[str, Rates] = defaultdict(Rates)

    def begin(self) -> None:
        """Start polling."""
        threading.Thread(target=self._poll, name="onefs-watch", daemon=True).start()

    def screen(self, columns: int, lines: int) -> list[Line]:
        """The screen for the last reports, for a terminal of that size."""
        with self._lock:
            if self._seen is None:
                return []
            seen_s, reports = self._seen
            now_s = time.time()
            note = f"{time.strftime('%H:%M:%S')}  every {self._interval_s:g} s; q ends"
            if now_s - seen_s > self._interval_s + SILENT_AFTER_S:
                note = f"No answer for {duration_text(now_s - seen_s)}; q ends"
            return screen(reports, self._rates, columns, lines, now_s, note)

    def _poll(self) -> None:
        while True:
            reports, now_s = self._watched.reports(), time.time()
            with self._lock:
                self._seen = now_s, reports
                for report in reports:
                    rates = self._rates[report["mountpoint"]]
                    if "problem" not in report:
                        rates.take(report, now_s)
            time.sleep(self._interval_s)


def _live(poller: Poller, interval_s: float) -> None:
    from rich.console import Console, Group
    from rich.live import Live

    console = Console(file=sys.stdout, highlight=False)
    poller.begin()
    with _keys() as has_quit, Live(console=console, screen=True, auto_refresh=False) as live:
        while not has_quit(min(KEY_POLL_S, interval_s)):
            lines = poller.screen(console.width, console.height)
            live.update(Group(*map(_rich, lines)), refresh=True)


def _rich(line: Line) -> "Text":
    from rich.style import Style as RichStyle
    from rich.text import Text

    text = Text(no_wrap=True, overflow="crop")
    for span in line:
        look = STYLES[span.style]
        text.append(span.text, RichStyle(color=look.get("fg"), bold=look.get("bold"), dim=look.get("dim")))
    return text


def _print_reports(watched: Watched, interval_s: float) -> None:
    while True:
        for report in watched.reports():
            print_styled(status_lines(report, width()))
            say("")
        sys.stdout.flush()
        time.sleep(interval_s)


class _Keys:
    """Waits for q on standard input, if that is a terminal."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def __call__(self, wait_s: float) -> bool:
        """Wait up to `wait_s` for a key; whether it ends the view."""
        if self._descriptor is None:
            time.sleep(wait_s)
            return False
        if not select.select([self._descriptor], [], [], wait_s)[0]:
            return False
        keys = os.read(self._descriptor, 64)
        if not keys:  # the terminal has gone
            return True
        return keys in (b"q", b"Q", b"\x1b")


@contextmanager
def _keys() -> Iterator[_Keys]:
    """A block in which single keys are read from the terminal, without showing them."""
    if not sys.stdin.isatty():
        yield _Keys(None)
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield _Keys(descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def _ending_at_sigterm() -> Iterator[None]:
    """A block that SIGTERM ends as Ctrl-C does, so that the terminal is left as it was."""

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
