"""`onefs log`: the last lines of a mount's log, and how much goes into it."""

from pathlib import Path

import click

from onefs.alf import STATE_FOLDER
from onefs.cli.completion import complete
from onefs.cli.mounts import check_alive, mount_at, order
from onefs.cli.options import with_place
from onefs.cli.printing import print_lines, say
from onefs.errors import UsageError

LEVELS = ("debug", "info", "warning", "error")


@click.command("log")
@click.argument("level", metavar="[LEVEL]", required=False, shell_complete=complete(*LEVELS))
@with_place
def command(level: str | None, place: Path | None) -> None:
    """Show the last lines of a mount's log; or log from LEVEL on until the mount ends.

    LEVEL is debug, info, warning or error.
    """
    mount = mount_at(place, f"onefs log --mount PATH {level or '[LEVEL]'}")
    if level is None:
        check_alive(mount)
        print_lines((mount.mountpoint / STATE_FOLDER / "log").read_text(encoding="utf-8"))
        return
    order(mount, f"log {level}", UsageError)
    say(f"{mount.mountpoint} logs from {level.lower()} on now.")
