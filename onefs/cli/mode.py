"""`onefs mode`: tell a mount's mode, or switch it."""

from pathlib import Path

import click

from onefs.alf import STATE_FOLDER
from onefs.cli.mounts import check_alive, mount_at, order
from onefs.cli.options import PATH
from onefs.errors import UsageError
from onefs.modes import Mode, parse


@click.command("mode")
@click.argument("words", metavar="[MODE] [PATH]", nargs=-1)
def command(words: tuple[str, ...]) -> None:
    """Tell the mode of the mount that holds PATH, or of the only one; or switch it to MODE until the mount ends.

    \b
    local    the tables at hand; nothing is fetched, no server is asked
    auto     the tables, renewed when they are old; files are fetched
    refresh  as auto, but newer tables are asked for before a listing
    remote   the database is asked as directories are listed

    The last two need a source with a database. Without a PATH, of several mounts the one that you are in is meant.
    To mount in a mode from the start: onefs mount --mode MODE; of a release alone: onefs mount --tag TAG.
    """
    if len(words) > 2:
        raise UsageError("Too many words.", "Write: onefs mode [MODE] [PATH]")
    mode = words[0] if words and (len(words) == 2 or words[0] in set(Mode) or not Path(words[0]).exists()) else None
    place = words[-1] if len(words) > (mode is not None) else None
    wanted = parse(mode) if mode is not None else None
    mount = mount_at(
        PATH.convert(place, None, None) if place is not None else None, f"onefs mode {wanted or '[MODE]'} PATH"
    )
    if wanted is None:
        check_alive(mount)
        click.echo((mount.mountpoint / STATE_FOLDER / "mode").read_text(encoding="utf-8").strip())
        return
    order(mount, f"mode {wanted}", UsageError)
    click.echo(f"{mount.mountpoint} is in mode {wanted} now.")
