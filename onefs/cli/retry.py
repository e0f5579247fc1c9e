"""`onefs retry`: forget failures, so that files are asked for again at once."""

import os
import shlex
from pathlib import Path

import click

from onefs.cli.mounts import mount_at, order
from onefs.cli.options import PATH
from onefs.errors import NotInCatalogueError


@click.command("retry")
@click.argument("path", type=PATH, required=False)
def command(path: Path | None) -> None:
    """Forget that the file PATH could not be had, or any file of the only mount: the next open asks again."""
    mount = mount_at(path)
    if path is None or Path(os.path.abspath(path)) == mount.mountpoint:
        order(mount, "retry", NotInCatalogueError)
        click.echo("All failures are forgotten.")
        return
    inside = Path(os.path.abspath(path)).relative_to(mount.mountpoint)
    order(mount, f"retry {shlex.quote(str(inside))}", NotInCatalogueError)
    click.echo(f"The failure of {inside} is forgotten.")
