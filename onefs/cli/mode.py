"""`onefs mode`: print or switch a mount's mode."""

import click

from onefs.alf import STATE_FOLDER
from onefs.cli.completion import complete_with_mounts
from onefs.cli.mounts import check_alive, mount_at, order
from onefs.cli.places import value_and_place
from onefs.cli.printing import say
from onefs.errors import UsageError
from onefs.modes import Mode, parse

USAGE = f"onefs mode [{'|'.join(Mode)}] [PATH]"


@click.command("mode", options_metavar="")
@click.argument("words", metavar=f"[{'|'.join(Mode)}] [PATH]", nargs=-1, shell_complete=complete_with_mounts(*Mode))
def command(words: tuple[str, ...]) -> None:
    """Print the mode of the mount that holds PATH, or of the only one; or switch it until the mount ends.

    \b
    local    the tables at hand; nothing is fetched, no server is asked
    auto     the tables, renewed when they are old; files are fetched
    refresh  as auto, but newer tables are asked for before a listing
    remote   the database is asked as directories are listed

    The last two need a source with a database. Without a PATH, of several mounts the one that you are in is meant.
    To mount in a mode from the start: onefs mount --mode MODE; of a release alone: onefs mount --tag TAG.
    """
    mode, place = value_and_place(words, lambda word: word.strip().lower() in set(Mode), USAGE)
    wanted = parse(mode) if mode is not None else None
    mount = mount_at(place, f"onefs mode {wanted or '[MODE]'} PATH")
    if wanted is None:
        check_alive(mount)
        click.echo((mount.mountpoint / STATE_FOLDER / "mode").read_text(encoding="utf-8").strip())
        return
    order(mount, f"mode {wanted}", UsageError)
    say(f"{mount.mountpoint} is in mode {wanted} now.")
