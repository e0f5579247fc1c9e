"""`onefs as-of`: print or set the date as of which a mount is shown."""

import click

from onefs.alf import calendar_date
from onefs.cli.completion import complete
from onefs.cli.mounts import mount_at, order, status_of
from onefs.cli.places import value_and_place
from onefs.cli.printing import say
from onefs.errors import UsageError
from onefs.settings import as_of_date

NONE = "none"
USAGE = "onefs as-of [DATE|none] [PATH]"


@click.command("as-of", options_metavar="")
@click.argument("words", metavar="[DATE|none] [PATH]", nargs=-1, shell_complete=complete(NONE))
def command(words: tuple[str, ...]) -> None:
    """Hide editions later than DATE in the mount that holds PATH, or in the only one; with none, show them again.

    Without a DATE, print the current one. Editions are told apart by their #revision# folders, whose names are
    compared as texts: 2024-04-01 comes before 2024-04-01a. Files that are open stay open. The archive as of any date,
    whatever this says, is at .onefs/as-of/DATE in the mount; there files have one edition each, without such folders.
    To mount as of a date from the start: onefs mount --as-of DATE.
    """
    date, place = value_and_place(words, _is_date, USAGE)
    if date is None:
        mount = mount_at(place, "onefs as-of PATH")
        click.echo(status_of(mount)["shown"]["as_of"] or NONE)
        return
    try:
        wanted = as_of_date(date)
    except ValueError as error:
        raise UsageError(f"{date!r} is not {error}.", f"Write: {USAGE}") from error
    mount = mount_at(place, f"onefs as-of {wanted or NONE} PATH")
    order(mount, f"as-of {wanted or NONE}", UsageError)
    say(f"{mount.mountpoint} {f'is as of {wanted} now' if wanted else 'shows every edition now'}.")


def _is_date(word: str) -> bool:
    return word.strip().lower() == NONE or calendar_date(word.strip()) is not None
