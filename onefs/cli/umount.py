"""`onefs umount`: unmount."""

from pathlib import Path

import click

from onefs.cli.mounts import mount_at
from onefs.cli.options import PATH


@click.command("umount")
@click.argument("mountpoint", type=PATH, required=False)
@click.option("--lazy", "-z", is_flag=True, help="even if programs still use it: they keep what they have open")
def command(mountpoint: Path | None, lazy: bool) -> None:
    """Unmount MOUNTPOINT, or the only mount there is."""
    from onefs.fuse import mounting

    mount = mount_at(mountpoint)
    mounting.unmount(mount.mountpoint, lazy=lazy or mounting.health(mount.mountpoint) is mounting.Health.DEAD)
    click.echo(f"{mount.mountpoint} is unmounted.")
