"""Owns which file systems keep one waiting: those that stand on other machines or in other programs."""

import os
import re
from pathlib import Path

REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "ceph", "gpfs", "beegfs", "afs", "9p", "virtiofs", "autofs"}
"""Besides all whose kind begins with `fuse`."""
MOUNTS = Path("/proc/self/mountinfo")


def is_local(path: Path) -> bool:
    """Whether a path, which need not exist yet, is on a disk of this machine; False if that cannot be told."""
    try:
        kinds = _kinds_by_mountpoint(MOUNTS.read_bytes().decode(errors="surrogateescape"))
    except OSError:
        return False
    real = Path(os.path.realpath(path))
    kind = next((kinds[str(folder)] for folder in (real, *real.parents) if str(folder) in kinds), "")
    return bool(kind) and kind not in REMOTE and not kind.startswith("fuse")


def _kinds_by_mountpoint(text: str) -> dict[str, str]:
    """The kind of file system at each mountpoint; of several on one, the last, which hides the others."""
    kinds = {}
    for line in text.removesuffix("\n").split("\n"):
        before, _, after = line.partition(" - ")
        mountpoint = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), before.split(" ")[4])
        kinds[mountpoint] = after.split(" ")[0]
    return kinds
