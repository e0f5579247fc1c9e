"""`onefs evict`: remove files from the cache."""

from pathlib import Path

import click

from onefs.cli.following import have_done
from onefs.cli.mounts import mount_at
from onefs.cli.options import PATTERN, with_place, with_report
from onefs.cli.places import find

ALL = "all"


@click.command("evict")
@click.argument("patterns", metavar="PATTERN…|all", nargs=-1, required=True, type=PATTERN)
@with_report
@with_place
def command(patterns: tuple[str, ...], as_json: bool, is_verbose: bool, place: Path | None) -> None:
    """Remove files from the cache that onefs fetched. They are fetched again when they are opened.

    PATTERN is a path, with all below if it is a folder, or a shell's pattern: * does not cross a /, ** does; all is
    everything that may go. Pinned files and those that others put into the cache stay. A program that has a file open
    can read it on.
    """
    if patterns == (ALL,):
        have_done(
            mount_at(place, "onefs evict --mount PATH all"), "evict", [ALL], as_json=as_json, is_verbose=is_verbose
        )
        return
    mount, paths = find(patterns, place, "onefs evict --mount PATH PATTERN…")
    have_done(mount, "evict", paths, as_json=as_json, is_verbose=is_verbose)
