"""`onefs unpin`: let pinned files leave the cache again."""

from pathlib import Path

import click

from onefs.cli.following import give
from onefs.cli.mounts import check_alive
from onefs.cli.options import PATTERN, with_place
from onefs.cli.pin import pinned_in
from onefs.cli.places import find
from onefs.cli.printing import say
from onefs.text import counted


@click.command("unpin")
@click.argument("patterns", metavar="PATTERN…", nargs=-1, required=True, type=PATTERN)
@with_place
def command(patterns: tuple[str, ...], place: Path | None) -> None:
    """Let files leave the cache again when room is wanted. They stay until then.

    PATTERN is a path, with all below if it is a folder, or a shell's pattern: * does not cross a /, ** does.
    """
    mount, paths = find(patterns, place, "onefs unpin --mount PATH PATTERN…")
    check_alive(mount)
    before = set(pinned_in(mount))
    give(mount, "unpin", paths)
    files = len(before.difference(pinned_in(mount)))
    told = f"{counted(files, 'file')} unpinned" if files else "nothing there was pinned"
    say(f"{', '.join(patterns)}: {told}.")
