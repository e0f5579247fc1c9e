"""`onefs unpin`: let pinned files leave the cache again."""

from pathlib import Path

import click

from onefs.cli.following import give
from onefs.cli.options import PATTERN, with_place
from onefs.cli.places import find


@click.command("unpin")
@click.argument("patterns", metavar="PATTERN…", nargs=-1, required=True, type=PATTERN)
@with_place
def command(patterns: tuple[str, ...], place: Path | None) -> None:
    """Let files leave the cache again when room is wanted. They stay until then.

    PATTERN is a path, with all below if it is a folder, or a shell's pattern: * does not cross a /, ** does.
    """
    mount, paths = find(patterns, place, "onefs unpin --mount PATH PATTERN…")
    give(mount, "unpin", paths)
    click.echo(f"{', '.join(patterns)}: not pinned any more.")
