"""`onefs verify`: hash what is in the cache anew."""

from pathlib import Path

import click

from onefs.cli.following import have_done
from onefs.cli.mounts import mount_at
from onefs.cli.options import PATTERN, with_place, with_report
from onefs.cli.places import find


@click.command("verify")
@click.argument("patterns", metavar="[PATTERN…]", nargs=-1, type=PATTERN)
@with_report
@with_place
def command(patterns: tuple[str, ...], as_json: bool, is_verbose: bool, place: Path | None) -> None:
    """Hash what is in the cache anew, read from the disk, and hold it against the catalogue. Nothing is fetched.

    PATTERN is a path, with all below if it is a folder, or a shell's pattern: * does not cross a /, ** does; without
    one, all that is in the cache is hashed. A wrong file is moved to quarantine, and fetched again at its next open.
    """
    if patterns:
        mount, paths = find(patterns, place, "onefs verify --mount PATH PATTERN…")
    else:
        mount, paths = mount_at(place, "onefs verify --mount PATH"), []
    have_done(mount, "verify", paths, as_json=as_json, is_verbose=is_verbose)
