"""The kernel's form of attributes and of statistics, and for how long it may keep attributes."""

import os

from pyfuse3 import EntryAttributes, InodeT, ModeT, StatvfsData

from onefs.alf import LONGEST_NAME_BYTES
from onefs.vfs.filesystem import Usage
from onefs.vfs.nodes import Attributes

FOREVER_S = 10 * 365 * 86400
BLOCK_SIZE_BYTES = 4096
MOST_USED_PER_FREE = 99
"""Used blocks for each free one: `df` rounds up, and with more it would show 100 % while there is room."""


class Packer:
    """Packs attributes for the user who mounted."""

    def __init__(self) -> None:
        self._uid, self._gid = os.getuid(), os.getgid()

    def entry(self, attributes: Attributes) -> EntryAttributes:
        """An entry that the kernel keeps until it is told to forget it, or for as long as the attributes say."""
        entry = EntryAttributes()
        entry.st_ino = InodeT(attributes.ino)
        entry.generation = attributes.generation
        kept_s = FOREVER_S if attributes.kept_s is None else attributes.kept_s
        entry.entry_timeout = entry.attr_timeout = kept_s
        entry.st_mode = ModeT(attributes.mode)
        entry.st_nlink = 1
        entry.st_uid, entry.st_gid = self._uid, self._gid
        entry.st_size = attributes.size_bytes
        entry.st_blksize = BLOCK_SIZE_BYTES
        entry.st_blocks = attributes.blocks
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = attributes.time_s * 1_000_000_000
        return entry


def statistics(usage: Usage) -> StatvfsData:
    """What `df` shows: the archive and the room in the cache as the size, that room alone as available.

    The archive counts as used; where it is more than 99 times the room, only so much of it does.
    """
    free = usage.free_bytes // BLOCK_SIZE_BYTES
    archive = -(-usage.archive_bytes // BLOCK_SIZE_BYTES)
    used = min(archive, MOST_USED_PER_FREE * free) if free else archive
    data = StatvfsData()
    data.f_bsize = data.f_frsize = BLOCK_SIZE_BYTES
    data.f_blocks = archive + free
    data.f_bfree = data.f_blocks - used
    data.f_bavail = free
    data.f_files = usage.files
    data.f_ffree = data.f_favail = 0
    data.f_namemax = LONGEST_NAME_BYTES
    return data


def absent(*, is_kept: bool) -> EntryAttributes:
    """What tells the kernel that a name is absent, for now or until it is told otherwise."""
    entry = EntryAttributes()  # inode 0
    entry.entry_timeout = FOREVER_S if is_kept else 0
    return entry
