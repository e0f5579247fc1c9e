"""`onefs qc`: show a mount's datasets up to a quality control outcome."""

import shlex
from pathlib import Path

import click

from onefs.cli.mounts import mount_at, order
from onefs.cli.options import PATH
from onefs.errors import UsageError


@click.command("qc")
@click.argument("level", metavar="LEVEL")
@click.argument("path", type=PATH, required=False)
def command(level: str, path: Path | None) -> None:
    """Hide what is worse than LEVEL in the mount that holds PATH, or in the only one.

    From the best to the worst: NOT_SET, PASS, WARNING, FAIL, CRITICAL. Files that are open stay open.
    To mount with a limit from the start: onefs mount --qc LEVEL.
    """
    mount = mount_at(path, f"onefs qc {level} PATH")
    order(mount, f"qc {shlex.quote(level)}", UsageError)
    click.echo(f"{mount.mountpoint} shows outcomes up to {level.strip().upper()} now.")
