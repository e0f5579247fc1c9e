"""`onefs pin`: keep files in the cache, or list those that are kept."""

import json
from pathlib import Path

import click

from onefs.alf import STATE_FOLDER
from onefs.cli.following import have_done
from onefs.cli.mounts import check_alive, mount_at
from onefs.cli.options import PATTERN, with_place, with_report
from onefs.cli.places import find
from onefs.cli.printing import print_lines
from onefs.fuse.mounting import Mount


@click.command("pin")
@click.argument("patterns", metavar="[PATTERN…]", nargs=-1, type=PATTERN)
@with_report
@with_place
def command(patterns: tuple[str, ...], as_json: bool, is_verbose: bool, place: Path | None) -> None:
    """Fetch files, and keep them in the cache whatever room is wanted; without a PATTERN, list those that are kept.

    PATTERN is a path, with all below if it is a folder, or a shell's pattern: * does not cross a /, ** does. What is
    added to a folder later is not kept by that. onefs unpin lets files go again.
    """
    if patterns:
        mount, paths = find(patterns, place, "onefs pin --mount PATH PATTERN…")
        have_done(mount, "pin", paths, as_json=as_json, is_verbose=is_verbose)
        return
    mount = mount_at(place, "onefs pin --mount PATH")
    check_alive(mount)
    kept = pinned_in(mount)
    if as_json:
        click.echo(json.dumps(kept, indent=1))
    else:
        print_lines("".join(f"{path}\n" for path in kept) or "Nothing is pinned.\n")


def pinned_in(mount: Mount) -> list[str]:
    """What is pinned, by path."""
    return (mount.mountpoint / STATE_FOLDER / "pinned").read_text(encoding="utf-8").split("\n")[:-1]
