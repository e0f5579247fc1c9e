"""`onefs info`: all that is known of one file or session in a mount."""

import json
import os
from pathlib import Path

import click

from onefs.alf import STATE_FOLDER
from onefs.cli.mounts import check_alive, mount_at, place_in
from onefs.cli.options import PATH
from onefs.cli.printing import print_facts
from onefs.errors import NotInCatalogueError
from onefs.fuse.mounting import Mount

_PREFIX = "user.onefs."
_VIEWS = (STATE_FOLDER, "via")


@click.command("info")
@click.argument("path", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="print JSON, for programs")
def command(path: Path, as_json: bool) -> None:
    """Tell all that is known of PATH: its identifiers, size, hash, state, where it comes from and where it is kept."""
    facts = facts_of(path)
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    print_facts(facts.items())


def facts_of(path: Path) -> dict[str, str]:
    """What a mount knows of a path, as text by name. Links below `.onefs` are followed into the tree."""
    mount = mount_at(path)
    check_alive(mount)
    inside = place_in(mount, path)
    whole = mount.mountpoint / inside
    try:
        names = os.listxattr(whole)
    except (FileNotFoundError, NotADirectoryError):
        raise _absent(mount, inside) from None
    known = {name.removeprefix(_PREFIX): os.getxattr(whole, name).decode() for name in names}
    return {**_place(inside), "mountpoint": str(mount.mountpoint), **known}


def _absent(mount: Mount, inside: Path) -> NotInCatalogueError:
    """The error for what is not in a mount: it may be hidden, which the folder of its session knows."""
    for above in inside.parents:
        try:
            name = f"{_PREFIX}hidden:{inside.relative_to(above)}"
            reason, remedy = os.getxattr(mount.mountpoint / above, name).decode(errors="replace").split("\n")
        except OSError:  # also of a name that is longer than an attribute's can be
            continue
        return NotInCatalogueError(f"{inside} is in the catalogue of {mount.mountpoint}, but {reason}.", remedy)
    return NotInCatalogueError(
        f"{inside} is not in the catalogue of {mount.mountpoint}.", "Look for its name with ls in the folder above."
    )


def _place(inside: Path) -> dict[str, str]:
    """A path in the tree, and the view through which it is looked at, if it is one."""
    if inside.parts[:2] != _VIEWS:
        return {"path": str(inside)}
    view, rest = inside.parts[2:3], inside.parts[3:]
    return {"path": str(Path(*rest)), "view": "/".join(("via", *view))}
