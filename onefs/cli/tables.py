"""`onefs tables`: save the tables of a mount, load others, restrict them to a release, or go back."""

import os
import shlex
from pathlib import Path

import click

from onefs.cli.mounts import mount_at, order, status_of
from onefs.cli.options import PATH, with_place
from onefs.cli.printing import say
from onefs.errors import OnefsError, UsageError
from onefs.fuse.mounting import Mount


@click.group("tables")
def command() -> None:
    """Save the tables that a mount shows, load others, restrict them to a release, or go back to the server's.

    What save writes stays. What load and tag show lasts until the mount ends, or until reset: to mount a release for
    good, give onefs mount --tag TAG.
    """


@command.command("save")
@click.argument("directory", type=PATH, required=False)
@click.option("--clobber", is_flag=True, help="replace the tables there, rather than merge with them")
@with_place
def _save(directory: Path | None, clobber: bool, place: Path | None) -> None:
    """Write the tables as they are served now, with all that the database told, into DIRECTORY or where they are kept.

    They are merged with the tables that stand there: new rows are added, known ones renewed.
    """
    mount = _mount(place, "save")
    _order(mount, "save", *_absolute(directory), *(["clobber"] if clobber else []))
    say(f"The tables of {mount.mountpoint} are saved{f' in {directory}' if directory else ''}.")


@command.command("load")
@click.argument("directory", type=PATH, required=False)
@with_place
def _load(directory: Path | None, place: Path | None) -> None:
    """Show the tables in DIRECTORY, or again those that are kept, until the mount ends."""
    mount = _mount(place, "load")
    _order(mount, "load", *_absolute(directory))
    say(f"{mount.mountpoint} shows the tables of {_created(mount)} now.")


@command.command("tag")
@click.argument("tag")
@with_place
def _tag(tag: str, place: Path | None) -> None:
    """Show only the datasets of the release TAG, from the tables that the database keeps of it, until the mount ends.

    To mount a release for good, give onefs mount --tag TAG.
    """
    if not tag.strip():
        raise UsageError("The tag is empty.", "Give a tag; onefs tables reset goes back to the tables of the start.")
    mount = _mount(place, shlex.join(["tag", tag]))
    _order(mount, "tag", tag)
    say(f"{mount.mountpoint} shows the release {tag} of {_created(mount)} now.")


@command.command("reset")
@with_place
def _reset(place: Path | None) -> None:
    """Go back to the tables that the server gives, without what was saved, loaded or learned."""
    mount = _mount(place, "reset")
    _order(mount, "reset")
    say(f"{mount.mountpoint} shows the server's tables of {_created(mount)} now.")


def _mount(place: Path | None, verb: str) -> Mount:
    return mount_at(place, f"onefs tables {verb} --mount PATH")


def _order(mount: Mount, *words: str) -> None:
    order(mount, shlex.join(["tables", *words]), OnefsError)


def _absolute(directory: Path | None) -> list[str]:
    """The daemon stands in another directory."""
    return [os.path.abspath(directory)] if directory is not None else []


def _created(mount: Mount) -> str:
    return str(status_of(mount)["tables"]["created"])
