"""`onefs retry`: forget failures, so that files are asked for again at once."""

import shlex

import click

from onefs.cli.mounts import mount_at, order
from onefs.cli.options import PATTERN
from onefs.cli.places import ROOT, find
from onefs.cli.printing import say
from onefs.errors import NotInCatalogueError


@click.command("retry")
@click.argument("path", type=PATTERN, required=False)
def command(path: str | None) -> None:
    """Forget that the file PATH, or those of the folder PATH, could not be had: the next open asks again.

    PATH may be a pattern: * does not cross a /, ** does. Without a PATH, that holds for any file of the only mount, or
    of several of the one that you are in.
    """
    if path is None:
        mount, inside = mount_at(None, "onefs retry PATH"), ROOT
    else:
        mount, (inside,) = find([path], None, "onefs retry MOUNTPOINT/PATH")
    order(mount, "retry" if inside == ROOT else shlex.join(["retry", inside]), NotInCatalogueError)
    where = mount.mountpoint / inside.lstrip("/")
    say(f"The failures of {where} are forgotten: the next open of such a file asks the servers again.")
