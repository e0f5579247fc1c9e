"""The kernel's table of mounts: where onefs is, which disks are local, and whose locks reach all machines."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

TABLE = Path("/proc/self/mountinfo")
FILE_SYSTEM_TYPE = "fuse.onefs"
"""The type of a mount of onefs."""
REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "ceph", "gpfs", "beegfs", "afs", "9p", "virtiofs", "autofs"}
"""Besides all whose kind begins with `fuse`."""
LOCAL = {"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"}
"""Surely disks of this machine, so that its processes may share memory by a file there."""
IN_MEMORY = {"tmpfs", "ramfs"}
TELL_LOST_BYTES = {"ext2", "ext3", "ext4", "xfs", "btrfs"}
"""Where each file remembers that some of its bytes could not be written, whoever had the disk write them."""
OWN_LOCKS_OPTIONS = {"nolock", "local_lock=all", "local_lock=posix", "localflock", "noflock", "nobrl"}
"""Options of NFS, Lustre and SMB with which a machine keeps its locks to itself."""
OWN_LOCKS_KINDS = {"fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse"}
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


def is_local(path: Path) -> bool:
    """Whether a path, which need not exist yet, is on a disk of this machine; False if that cannot be told."""
    disk = _disk_of(path)
    return disk is not None and disk.kind not in REMOTE and not disk.kind.startswith("fuse")


def is_known_as_local(path: Path) -> bool:
    """Whether a path, which need not exist yet, is surely on a disk of this machine."""
    disk = _disk_of(path)
    return disk is not None and disk.kind in LOCAL


def is_in_memory(path: Path) -> bool:
    """Whether a path, which need not exist yet, is on a file system without a disk."""
    disk = _disk_of(path)
    return disk is not None and disk.kind in IN_MEMORY


def tells_lost_bytes(path: Path) -> bool:
    """Whether a file there can be asked if all its bytes came to the disk."""
    disk = _disk_of(path)
    return disk is not None and disk.kind in TELL_LOST_BYTES


def has_common_locks(path: Path) -> bool:
    """Whether a lock there counts for all machines that share the disk, as far as the mount's options tell."""
    disk = _disk_of(path)
    return disk is None or not (disk.kind in OWN_LOCKS_KINDS or disk.options & OWN_LOCKS_OPTIONS)


def _disk_of(path: Path) -> MountedDisk | None:
    """The disk of a path, which need not exist yet; None if that cannot be told."""
    try:
        disks = {disk.mountpoint: disk for disk in mounted_disks()}
    except OSError:
        return None
    real = Path(os.path.realpath(path))
    return next((disks[str(folder)] for folder in (real, *real.parents) if str(folder) in disks), None)


def _parsed(line: str) -> MountedDisk:
    before, _, after = line.partition(" - ")
    number, _, device, _, mountpoint, *_ = before.split(" ")
    kind, source, options, *_ = [*after.split(" "), ""]
    return MountedDisk(_plain(mountpoint), kind, _plain(source), device, frozenset(options.split(",")), number)


def _plain(field: str) -> str:
    return ESCAPED.sub(lambda code: chr(int(code[1], 8)), field)
