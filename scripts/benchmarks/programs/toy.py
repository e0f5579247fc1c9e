"""Serves an empty folder through pyfuse3, and does as little as can be: toy.py MOUNTPOINT."""

import stat
import sys

import pyfuse3
import trio


class Toy(pyfuse3.Operations):
    """The folder."""

    async def getattr(self, inode, ctx=None):  # noqa: ARG002
        """Say that it is a folder, for ever."""
        entry = pyfuse3.EntryAttributes()
        entry.st_ino, entry.st_mode, entry.st_nlink = inode, stat.S_IFDIR | 0o555, 1
        entry.entry_timeout = entry.attr_timeout = 3600
        return entry

    async def lookup(self, parent_inode, name, ctx=None):  # noqa: ARG002
        """Say that there is no such name, for ever."""
        entry = pyfuse3.EntryAttributes()
        entry.st_ino, entry.entry_timeout = 0, 3600
        return entry


pyfuse3.init(Toy(), sys.argv[1], {"fsname=toy"})
try:
    trio.run(pyfuse3.main)
finally:
    pyfuse3.close(unmount=True)
