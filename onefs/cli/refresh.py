"""`onefs refresh`: have a mount ask for newer tables now."""

from pathlib import Path

import click

from onefs.cli.completion import complete_mounts
from onefs.cli.mounts import mount_at, order, status_of
from onefs.cli.options import PATH
from onefs.cli.printing import say
from onefs.errors import OnefsError
from onefs.modes import ALLOWED, Mode
from onefs.monitoring.concerns import is_of_files
from onefs.text import counted


@click.command("refresh")
@click.argument("path", type=PATH, required=False, shell_complete=complete_mounts)
def command(path: Path | None) -> None:
    """Have the mount that holds PATH, or the only one, ask for newer tables now, and use them if there are any.

    If the mount is of a folder without tables, have it look which files are new, changed or gone.

    In mode remote, have it ask the database again for each folder that is listed from now on.

    Without a PATH, of several mounts the one that you are in is asked.
    """
    mount = mount_at(path, "onefs refresh PATH")
    status = status_of(mount)
    before = status["tables"]["created"]
    order(mount, "refresh", OnefsError)
    if ALLOWED[Mode(status["mode"]["requested"])].live_catalogue:
        click.echo(f"{mount.mountpoint} asks the database again for each folder that is listed from now on.")
        return
    status = status_of(mount)
    after = status["tables"]["created"]
    if is_of_files(status):
        shown = " in ".join(counted(status["tables"][f"{each}s"], each) for each in ("dataset", "session"))
        say(f"{mount.mountpoint} shows the files of {status['source']} as they are now: {shown}.")
    elif after == before:
        say(f"There are no newer tables than those of {before}.")
    else:
        say(f"{mount.mountpoint} shows the tables of {after} now; before, those of {before}.")
