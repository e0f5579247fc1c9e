"""`onefs umount`: unmount."""

import os
from pathlib import Path

import click

from onefs.cli.completion import complete_mounts
from onefs.cli.mounts import mount_at
from onefs.cli.options import PATH
from onefs.cli.printing import say
from onefs.errors import UsageError
from onefs.sources.names import known_names, look_up


@click.command("umount")
@click.argument("mountpoint", type=PATH, required=False, shell_complete=complete_mounts)
@click.option("--lazy", "-z", is_flag=True, help="even if programs still use it: they keep what they have open")
def command(mountpoint: Path | None, lazy: bool) -> None:
    """Unmount MOUNTPOINT, or the only mount there is, or of several the one that you are in.

    MOUNTPOINT may be the name of a source whose file says where it is mounted.
    """
    from onefs.fuse import mounting

    if mountpoint is not None and str(mountpoint) in known_names() and not os.path.lexists(mountpoint):
        mountpoint = look_up(str(mountpoint)).mountpoint or mountpoint
    mount = mount_at(mountpoint, "onefs umount MOUNTPOINT")
    if mountpoint is not None and not _is(mountpoint, mount.mountpoint):
        raise UsageError(
            f"{mountpoint} lies inside the mount at {mount.mountpoint}.", f"Run: onefs umount {mount.mountpoint}"
        )
    mounting.unmount(mount.mountpoint, lazy=lazy or mounting.health(mount.mountpoint) is mounting.Health.DEAD)
    say(f"{mount.mountpoint} is unmounted.")


def _is(path: Path, mountpoint: Path) -> bool:
    """Whether a path is the mountpoint, as it is written or where its links lead. Asks no daemon if it need not."""
    return Path(os.path.abspath(path)) == mountpoint or Path(os.path.realpath(path)) == mountpoint
