"""What the kinds and options of file systems tell: whether they are local, and whose locks reach all who use them."""

import os
from pathlib import Path

from onefs.mountinfo import MountedDisk, mounted_disks

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
