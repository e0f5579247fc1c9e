"""`onefs demo`: mount a small made-up archive."""

import shlex
from pathlib import Path
from typing import Any

import click

from onefs.cli.mount import mount
from onefs.cli.options import PATH, CommandWithSettings, settings_from, with_settings_of
from onefs.cli.printing import say
from onefs.cli.verb_settings import DEMO
from onefs.errors import MountError


@click.command("demo", cls=CommandWithSettings)
@click.argument("mountpoint", type=PATH, default=Path("demo"))
@click.option("--foreground", "-f", is_flag=True, help="stay in the foreground and log to standard error")
@with_settings_of(DEMO)
def command(mountpoint: Path, foreground: bool, **flags: Any) -> None:
    """Mount a small made-up archive at MOUNTPOINT (default: ./demo, made if it is not there).

    The archive is made at first use; its server runs on this machine as long as it is mounted.
    """
    settings = settings_from(flags)
    try:
        mountpoint.mkdir(parents=True)
    except FileExistsError:
        pass
    except OSError as error:
        raise MountError(f"{mountpoint} cannot be made: {error.strerror}.", "Choose another place.") from error
    mount("demo", settings, mountpoint.absolute(), foreground=foreground)
    if not foreground:
        unmount = shlex.join(["onefs", "umount", str(mountpoint)])
        say(f"The demo archive is mounted at {mountpoint}. Unmount it with: {unmount}")
