"""`onefs log`: the last lines of a mount's log, those that follow, and its level."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import click

from onefs.alf import STATE_FOLDER
from onefs.cli.completion import complete
from onefs.cli.mounts import check_alive, mount_at, order, status_of
from onefs.cli.options import with_place
from onefs.cli.printing import print_lines, say
from onefs.errors import UsageError
from onefs.setting_values import LOG_LEVELS

LINES = 200
JOURNAL = "journalctl"
_EVERY_S = 0.5
_LARGEST_READ_BYTES = 4 << 20
_KNOWN_AGAIN = 400
"""So many letters of what was shown last are looked for in a log that has become shorter."""


@click.command("log")
@click.argument("level", metavar="[LEVEL]", required=False, shell_complete=complete(*LOG_LEVELS))
@click.option("--follow", "-f", is_flag=True, help="go on with new lines, until Ctrl-C or the end of the mount")
@click.option("--lines", "-n", type=click.IntRange(0), metavar="N", help=f"how many lines to show, {LINES} by default")
@with_place
def command(level: str | None, follow: bool, lines: int | None, place: Path | None) -> None:
    """Show the last lines of a mount's log, or set its level until the mount ends.

    LEVEL is debug, info, warning or error; parts of onefs may have levels of their own: info,transports=debug.
    """
    mount = mount_at(place, f"onefs log --mount PATH {level or '[LEVEL]'}")
    if level is not None:
        if follow or lines is not None:
            raise UsageError("LEVEL sets the level, and shows nothing.", "Leave out LEVEL, or --follow and --lines.")
        order(mount, f"log {level}", UsageError)
        say(f"{mount.mountpoint} now logs at level {level.lower()}.")
        return
    check_alive(mount)
    log = mount.mountpoint / STATE_FOLDER / "log"
    text, end = _read(log, 0)
    print_lines(_last(text, LINES if lines is None else lines))
    if follow:
        for new in _following(log, text, end):
            print_lines(new)
    elif str(status_of(mount)["log"]).startswith(JOURNAL):
        click.echo(f"Older lines: {status_of(mount)['log']}", err=True)


def _last(text: str, n_lines: int) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(lines[len(lines) - min(n_lines, len(lines)) :])


def _following(log: Path, text: str, end: int) -> Iterator[str]:
    """What comes after a text and its end, until the mount ends.

    It is read in a thread, so that ^C is heeded while the daemon does not answer. The file is not kept open: that would
    hold up unmounting.
    """
    found: SimpleQueue[str] = SimpleQueue()

    def look() -> None:
        try:
            for new in news(log, text, end):
                found.put(new)
        finally:
            found.put("")

    threading.Thread(target=look, daemon=True).start()
    return iter(found.get, "")


def news(log: Path, text: str, end: int) -> Iterator[str]:
    """What comes after a text and its end, until the mount ends; as soon as it comes."""
    last = text[-_KNOWN_AGAIN:]
    with contextlib.suppress(OSError):
        while True:
            time.sleep(_EVERY_S)
            if log.stat().st_size < end:  # a new file was begun, or the older part of the lines has gone
                text, end = _read(log, 0)
                text = text.rpartition(last)[2] if last else text
            else:
                text, end = _read(log, end)
            if text:
                last = (last + text)[-_KNOWN_AGAIN:]
                yield text


def _read(log: Path, offset: int) -> tuple[str, int]:
    """The whole lines from an offset on, and the offset of their end."""
    with log.open("rb", buffering=0) as stream:
        stream.seek(offset)
        data = b""
        while part := stream.read(_LARGEST_READ_BYTES):
            data += part
    data = data[: data.rfind(b"\n") + 1]
    return data.decode(errors="replace"), offset + len(data)
