"""`onefs qc`: print or set the worst quality control outcome that a mount shows."""

import click

from onefs.catalogue.records import QC
from onefs.cli.completion import complete_with_mounts
from onefs.cli.mounts import mount_at, order, status_of
from onefs.cli.places import value_and_place
from onefs.cli.printing import say
from onefs.errors import UsageError
from onefs.settings import qc_level

LEVELS = [level.name for level in QC]
USAGE = f"onefs qc [{'|'.join(LEVELS)}] [PATH]"


@click.command("qc", options_metavar="")
@click.argument("words", metavar="[LEVEL] [PATH]", nargs=-1, shell_complete=complete_with_mounts(*LEVELS))
def command(words: tuple[str, ...]) -> None:
    """Hide what is worse than LEVEL in the mount that holds PATH, or in the only one. Without LEVEL, print it.

    From the best to the worst: NOT_SET, PASS, WARNING, FAIL, CRITICAL. Files that are open stay open.
    To mount with a limit from the start: onefs mount --qc LEVEL.
    """
    level, place = value_and_place(words, lambda word: word.strip().upper() in LEVELS, USAGE)
    if level is None:
        click.echo(status_of(mount_at(place, "onefs qc PATH"))["shown"]["qc"])
        return
    try:
        wanted = qc_level(level)
    except ValueError as error:
        raise UsageError(f"{level!r} is not {error}.", f"Write: {USAGE}") from error
    mount = mount_at(place, f"onefs qc {wanted} PATH")
    order(mount, f"qc {wanted}", UsageError)
    say(f"{mount.mountpoint} shows outcomes up to {wanted} now.")
