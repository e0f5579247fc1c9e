"""What paths and patterns on a command line mean: which mount they are in, and where in it."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from onefs.cli.mounts import mount_at, place_in
from onefs.cli.options import PATH
from onefs.errors import MountError, UsageError
from onefs.fuse.mounting import Mount, mount_of, mounts
from onefs.vfs.patterns import is_pattern

ROOT = "/"
MOST_WORDS = 2


def value_and_place(
    words: Sequence[str], is_value: Callable[[str], bool], usage: str
) -> tuple[str | None, Path | None]:
    """The value and the path that `[VALUE] [PATH]` mean: a single word is a path if it exists and is no value.

    Raises `UsageError` for more than two words.
    """
    if len(words) > MOST_WORDS:
        raise UsageError("There are too many arguments.", f"Write: {usage}")
    if not words:
        return None, None
    if len(words) == 1 and not is_value(words[0]) and os.path.lexists(words[0]):
        return None, PATH.convert(words[0], None, None)
    return words[0], PATH.convert(words[1], None, None) if len(words) > 1 else None


def find(patterns: Sequence[str], place: Path | None, how: str) -> tuple[Mount, list[str]]:
    """The one mount that paths and patterns lie in, and what they are from its root on.

    One that lies in no mount is meant from the root of the mount at `place`; without a place it is refused. `how` is
    the command line that gives one. Raises `MountError`, `UsageError`.
    """
    held = [_held(pattern) for pattern in patterns]
    present = {mount.mountpoint: mount for mount, _ in filter(None, held)}
    if place is not None:
        mount = mount_at(place)
        present[mount.mountpoint] = mount
    elif not all(held):
        raise _outside(patterns[held.index(None)], how)
    if len(present) > 1:
        places = ", ".join(map(str, present))
        raise UsageError(f"The paths are about several mounts: {places}.", "Give those of one mount at a time.")
    (mount,) = present.values()
    return mount, [found[1] if found else pattern for found, pattern in zip(held, patterns, strict=True)]


def _outside(pattern: str, how: str) -> MountError:
    """The error for a path or pattern that lies in no mount."""
    present = mounts()
    if not present:
        return MountError(f"{pattern} is in no mount: nothing is mounted.", "Mount an archive with onefs mount.")
    places = ", ".join(str(mount.mountpoint) for mount in present)
    among = f"the mount {places}" if len(present) == 1 else f"any of the mounts {places}"
    return MountError(f"{pattern} is not in {among}.", f"Give a path inside, or say which mount it is from: {how}")


def _held(pattern: str) -> tuple[Mount, str] | None:
    """The mount that a path or a pattern lies in, and what it is from its root on; None if it lies in none."""
    plain, wild = _split(pattern)
    path = Path(plain or ".")
    mount = mount_of(path)
    if mount is None:
        if os.path.isabs(pattern):  # noqa: PTH117 - it may hold wildcards
            raise MountError(f"{pattern} is in no onefs mount.", "List the mounts: onefs status.")
        return None
    inside = place_in(mount, path)
    return mount, "/".join([*inside.parts, *wild]) or ROOT


def _split(pattern: str) -> tuple[str, list[str]]:
    """The part of a path before its first wildcard, and the rest. What exists is no pattern, whatever is in it."""
    if os.path.lexists(pattern):
        return pattern, []
    parts = pattern.split("/")
    first = next((number for number, part in enumerate(parts) if is_pattern(part)), len(parts))
    plain = "/".join(parts[:first])
    return (plain or "/") if pattern.startswith("/") else plain, parts[first:]
