"""Owns which file systems keep one waiting: those that stand on other machines or in other programs."""

import os
from pathlib import Path

from onefs.mountinfo import mounted_disks

REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "ceph", "gpfs", "beegfs", "afs", "9p", "virtiofs", "autofs"}
"""Besides all whose kind begins with `fuse`."""


def is_local(path: Path) -> bool:
    """Whether a path, which need not exist yet, is on a disk of this machine; False if that cannot be told."""
    try:
        kinds = {disk.mountpoint: disk.kind for disk in mounted_disks()}
    except OSError:
        return False
    real = Path(os.path.realpath(path))
    kind = next((kinds[str(folder)] for folder in (real, *real.parents) if str(folder) in kinds), "")
    return bool(kind) and kind not in REMOTE and not kind.startswith("fuse")
