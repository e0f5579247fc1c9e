"""`onefs as-of`: show a mount as it was on a date."""

import shlex
from pathlib import Path

import click

from onefs.cli.mounts import mount_at, order
from onefs.cli.options import PATH
from onefs.errors import UsageError


@click.command("as-of")
@click.argument("date", metavar="DATE|none")
@click.argument("path", type=PATH, required=False)
def command(date: str, path: Path | None) -> None:
    """Hide editions later than DATE in the mount that holds PATH, or in the only one; with none, hide them no longer.

    Editions are told apart by their #revision# folders, whose names are compared as texts: 2024-04-01 comes before
    2024-04-01a. Files that are open stay open. The archive as of any date, whatever this says, is at .onefs/as-of/DATE
    in the mount; there files have one edition each, without such folders.
    To mount as of a date from the start: onefs mount --as-of DATE.
    """
    mount = mount_at(path, f"onefs as-of {date} PATH")
    order(mount, f"as-of {shlex.quote(date)}", UsageError)
    said = "shows every edition now" if date.strip().lower() == "none" else f"is as of {date.strip()} now"
    click.echo(f"{mount.mountpoint} {said}.")
