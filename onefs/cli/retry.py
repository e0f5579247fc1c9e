"""`onefs retry`: forget failures, so that files are asked for again at once."""

import shlex
from pathlib import Path

import click

from onefs.cli.mounts import mount_at, order, place_in
from onefs.cli.options import PATH
from onefs.errors import NotInCatalogueError


@click.command("retry")
@click.argument("path", type=PATH, required=False)
def command(path: Path | None) -> None:
    """Forget that the file PATH, or those of the folder PATH, could not be had: the next open asks again.

    Without a PATH, that holds for any file of the only mount, or of several of the one that you are in.
    """
    mount = mount_at(path, "onefs retry PATH")
    inside = place_in(mount, path) if path is not None else Path()
    order(mount, f"retry {shlex.quote(str(inside))}" if inside.parts else "retry", NotInCatalogueError)
    where = mount.mountpoint / inside
    click.echo(f"No failure is remembered of {where} any more: the next open of what could not be had asks again.")
