"""Owns what programs have open: files with the kernel's pages of them, and directories being listed."""

from dataclasses import dataclass

from cachetools import LRUCache
from pyfuse3 import EntryAttributes, FileNameT, InodeT

from onefs.vfs.filesystem import Opened
from onefs.vfs.handles import Edition

EDITIONS_KEPT = 100_000
Entries = list[tuple[FileNameT, EntryAttributes]]


@dataclass(slots=True)
class Handle:
    """A file that a program has open. Reads are told neither inode nor caller, so both are kept here."""

    opened: Opened
    inode: InodeT
    pid: int
    is_noted: bool = False
    """Whether the edition of its pages is in the table of them, which a file being fetched is not yet."""


@dataclass(slots=True)
class Listing:
    """A directory that a program has open, and the thread that opened it.

    It is listed once, when it is first read, so that a refresh cannot repeat or skip entries; programs open many
    directories (as "..") that they never read.
    """

    inode: InodeT
    pid: int
    entries: Entries | None = None


class Pages:
    """Which copy of a file the kernel's pages of an inode are of."""

    def __init__(self) -> None:
        self._editions: LRUCache[int, Edition] = LRUCache(EDITIONS_KEPT)

    def are_of(self, handle: Handle) -> bool:
        """Whether the kernel's pages of this inode, if it has any, are of the very copy that is open here.

        One inode can come to stand for another copy: a file without a hash that is replaced in the cache, or a copy
        that was spoilt while it was open, and mended.
        """
        edition = handle.opened.file.edition
        same = edition is not None and self._editions.get(handle.inode) == edition
        if edition is not None and not same:
            self._editions[handle.inode] = edition
        handle.is_noted = edition is not None
        return same
