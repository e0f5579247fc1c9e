"""The kernel's table of mounts, and the type that a mount of onefs has in it."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

TABLE = Path("/proc/self/mountinfo")
FILE_SYSTEM_TYPE = "fuse.onefs"
"""The type of a mount of onefs."""
ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class MountedDisk:
    """One line of the table. `kind` is the file system's type, `device` its numbers as `major:minor`.

    `number` is the mount's own, as /proc/PID/fdinfo has it.
    `options` are those of the file system itself, without what only says how it is mounted here.
    """

    mountpoint: str
    kind: str
    source: str
    device: str
    options: frozenset[str] = frozenset()
    number: str = ""


def mounted_disks() -> list[MountedDisk]:
    """What this process sees mounted; of several on one mountpoint, the last hides the others. Raises OSError."""
    return [_parsed(os.fsdecode(line)) for line in TABLE.read_bytes().split(b"\n") if line]


def onefs_mountpoints() -> list[str]:
    """Where this process sees onefs mounted. Raises OSError."""
    return [disk.mountpoint for disk in mounted_disks() if disk.kind == FILE_SYSTEM_TYPE]


def mountpoint_of_onefs(folder: Path) -> str:
    """Where the mount of onefs is that a folder is in, "" if it is in none. Raises OSError."""
    real = Path(os.path.realpath(folder))
    return next((each for each in onefs_mountpoints() if real.is_relative_to(each)), "")


def _parsed(line: str) -> MountedDisk:
    before, _, after = line.partition(" - ")
    number, _, device, _, mountpoint, *_ = before.split(" ")
    kind, source, options, *_ = [*after.split(" "), ""]
    return MountedDisk(_plain(mountpoint), kind, _plain(source), device, frozenset(options.split(",")), number)


def _plain(field: str) -> str:
    return ESCAPED.sub(lambda code: chr(int(code[1], 8)), field)
