"""`onefs as-of`: print or set the date, or other text, up to which a mount shows editions."""

import shlex

import click

from onefs.alf import calendar_date
from onefs.cli.completion import complete_with_mounts
from onefs.cli.mounts import mount_at, order, status_of
from onefs.cli.options import PATH
from onefs.cli.places import value_and_place
from onefs.cli.printing import say
from onefs.errors import UsageError
from onefs.setting_values import revision_bound

NONE = "none"
USAGE = "onefs as-of [DATE|none] [PATH]"


@click.command("as-of", options_metavar="")
@click.argument("words", metavar="[DATE|none] [PATH]", nargs=-1, shell_complete=complete_with_mounts(NONE))
def command(words: tuple[str, ...]) -> None:
    """Hide editions later than DATE in the mount that holds PATH, or in the only one; with none, show them again.

    Without a DATE, print the current one. Editions are told apart by their #revision# folders, whose names are
    compared as texts: 2024-04-01 comes before 2024-04-01a. Files that are open stay open. The archive as of any date,
    whatever this says, is at .onefs/as-of/DATE in the mount; there files have one edition each, without such folders.
    To mount as of a date from the start: onefs mount --as-of DATE.

    DATE may be any text to compare with: 2024-04 hides all of April 2024 and later. A single word with a slash is a
    PATH; in a folder's name below .onefs/as-of a slash is written %2F, and % is %25.
    """
    if len(words) == 1 and "/" in words[0]:
        date, place = None, PATH.convert(words[0], None, None)
    else:
        date, place = value_and_place(words, _is_date, USAGE)
    if date is None:
        mount = mount_at(place, "onefs as-of PATH")
        click.echo(status_of(mount)["shown"]["as_of"] or NONE)
        return
    try:
        wanted = revision_bound(date)
    except ValueError as error:
        raise UsageError(f"{date!r} is not {error}.", f"Write: {USAGE}") from error
    word = shlex.quote(wanted or NONE)
    mount = mount_at(place, f"onefs as-of {word} PATH")
    order(mount, f"as-of {word}", UsageError)
    what = f"is as of {wanted} now" if wanted else "shows every edition now"
    if wanted and not _is_date(wanted):
        what = f"shows editions up to the text {wanted!r} now, which is no date"
    say(f"{mount.mountpoint} {what}.")


def _is_date(word: str) -> bool:
    return word.strip().lower() == NONE or calendar_date(word.strip()) is not None
