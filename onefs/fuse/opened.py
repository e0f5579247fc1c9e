"""What programs have open: files with the kernel's pages of them, and directories being listed."""

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

from onefs.fetch.descriptors import Edition
from onefs.recording.processes import Caller, Reader
from onefs.vfs.entries import Entries
from onefs.vfs.filesystem import Opened
from onefs.vfs.handles import Origin
from onefs.vfs.nodes import Attributes

EDITIONS_KEPT = 100_000


@dataclass(slots=True)
class Handle:
    """A file that a program has open. Reads are told neither inode nor caller, so both are kept here.

    `caller` is known of datasets; `reader` of those that were opened while something was recorded. `turn` is the
    recorder's when a read was last noted.
    """

    opened: Opened
    inode: int
    pid: int
    uid: int
    caller: Caller | None = None
    reader: Reader | None = None
    turn: int = -1
    has_pages: bool = True
    """Whether the kernel keeps what is read of it."""
    is_awaited: bool = False
    """Whether its bytes were on their way when it was opened, and have not come to be read since."""
    is_followed: bool = False
    """Whether the file system is to be told of the first bytes that are read of it."""
    backing_id: int = 0
    """What the kernel reads by itself, without asking; 0 if it asks."""


class Page(NamedTuple):
    """Packed entries of a directory, those from a position on."""

    begin: int
    entries: list[tuple[bytes, Attributes]]


NOTHING_PACKED = Page(0, [])


@dataclass(slots=True, eq=False)
class Listing:
    """The entries of a directory as they were when a program began to list it: a refresh neither repeats nor skips any.

    `times_changed` is that of the file system when it was listed: if the tree changed since, the kernel must not cache
    the entries. `page` is what was packed last. Several programs may go on with one listing at the same time.
    """

    inode: int
    entries: Entries
    times_changed: int
    page: Page = NOTHING_PACKED


class Pages:
    """Which copy of a file the kernel's pages of an inode are of."""

    def __init__(self) -> None:
        self._editions: OrderedDict[int, Edition | Origin] = OrderedDict()  # those known longest first
        self._were_read: dict[int, None] = {}  # inodes of which it may have pages, those longest known first
        self._awaited: Counter[int] = Counter()  # open files whose bytes are on their way, by inode
        self._had_pages: set[int] = set()  # inodes of which it was ever given bytes; no more once there are too many

    def are_of(self, handle: Handle) -> bool:
        """Whether the kernel's pages of this inode, if it has any, are of the copy that is opened; else it drops them.

        One inode can come to stand for another copy: a file without a hash that is replaced in the cache, or a copy
        that was spoilt while it was open, and mended.
        """
        inode, edition = handle.inode, handle.opened.file.edition
        if edition is not None:
            are_of = self._note(inode, edition)
        else:
            # Pages that others wait for are of the same fetch. To drop them the kernel would wait for them itself,
            # and with it whoever opens the file, out of reach of every signal. Of several who open it together, the
            # first to be answered may be the last to go on: so it is told to drop pages only if there can be any.
            self._awaited[inode] += 1
            handle.is_awaited = True
            origin = handle.opened.file.origin
            is_known = origin is not None and self._editions.get(inode) is origin
            had_pages = inode in self._had_pages or len(self._had_pages) >= EDITIONS_KEPT
            are_of = is_known or self._awaited[inode] > 1 or not had_pages
        if not are_of:
            self._were_read.pop(inode, None)
        return are_of

    def were_read(self, inode: int) -> bool:
        """Whether the kernel may have pages of a file, and answer reads without asking."""
        return inode in self._were_read

    def dropped(self, inode: int) -> None:
        """The kernel drops its pages of a file, as it reads that by itself from now on."""
        self._were_read.pop(inode, None)

    def read(self, inode: int) -> bool:
        """The kernel gets pages of a file; whether it had none before."""
        if inode in self._were_read:
            return False
        self._were_read[inode] = None
        if len(self._were_read) > EDITIONS_KEPT:
            forgotten = next(iter(self._were_read))
            del self._were_read[forgotten]
            self._editions.pop(forgotten, None)  # so that the kernel drops its pages when it is opened again
        return True

    def came(self, handle: Handle) -> None:
        """Bytes of an open file are about to become pages; perhaps such as were not there when it was opened."""
        if len(self._had_pages) < EDITIONS_KEPT:
            self._had_pages.add(handle.inode)
        if not handle.is_awaited:
            return
        edition = handle.opened.file.edition
        if edition is not None:
            self.released(handle)
            self._note(handle.inode, edition)
        elif handle.has_pages and (origin := handle.opened.file.origin) is not None:
            self._keep(handle.inode, origin)

    def released(self, handle: Handle) -> None:
        """Nobody waits for the bytes of this open file any more."""
        if handle.is_awaited:
            handle.is_awaited = False
            self._awaited[handle.inode] -= 1
            if not self._awaited[handle.inode]:
                del self._awaited[handle.inode]

    def _note(self, inode: int, edition: Edition) -> bool:
        """Remember that the pages are of this edition from now on; whether they were before."""
        known = self._editions.get(inode)
        same = (known if known is None or isinstance(known, tuple) else known.edition) == edition
        if not same:
            self._keep(inode, edition)
        return same

    def _keep(self, inode: int, edition: Edition | Origin) -> None:
        """Remember what the pages of an inode are of; whose is known longest is forgotten, if that is too much."""
        self._editions[inode] = edition
        self._editions.move_to_end(inode)
        if len(self._editions) > EDITIONS_KEPT:
            self._editions.popitem(last=False)
