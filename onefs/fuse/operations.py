"""Owns the kernel's requests: unpack, call the file system, pack, and turn failures into errnos."""

import errno
import functools
import itertools
import logging
import os
import stat
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import pyfuse3
import trio
from cachetools import LRUCache
from pyfuse3 import (
    EntryAttributes,
    FileHandleT,
    FileInfo,
    FileNameT,
    FlagT,
    InodeT,
    ModeT,
    RequestContext,
    SetattrFields,
    StatvfsData,
    XAttrNameT,
)

from onefs.alf import LONGEST_NAME_BYTES
from onefs.errors import GoneError, NotInCatalogueError, OnefsError
from onefs.fuse.callers import until_done
from onefs.fuse.errnos import errno_of
from onefs.vfs.filesystem import FileSystem, Opened
from onefs.vfs.handles import Edition, ReadableFile
from onefs.vfs.nodes import Attributes

FOREVER_S = 10 * 365 * 86400
DISK_THREADS = 64
EDITIONS_KEPT = 100_000
BLOCK_SIZE_BYTES = 4096
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND
_log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")
Entries = list[tuple[FileNameT, EntryAttributes]]
Method = Callable[Concatenate["Operations", P], Coroutine[Any, Any, R]]


def answered(method: Method[P, R]) -> Method[P, R]:
    """Turn our failures into errnos. Whatever else is thrown becomes EIO: the mount must outlive it."""

    async def handler(self: "Operations", /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await method(self, *args, **kwargs)
        except OnefsError as error:
            raise pyfuse3.FUSEError(errno_of(error)) from None
        except pyfuse3.FUSEError:
            raise
        except Exception:  # noqa: BLE001
            _log.exception("Unforeseen failure in %s%r; the mount goes on", method.__name__, args)
            raise pyfuse3.FUSEError(errno.EIO) from None

    functools.update_wrapper(handler, method)
    return handler


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
    """A directory that a program has open.

    It is listed once, when it is first read, so that a refresh cannot repeat or skip entries; programs open many
    directories (as "..") that they never read.
    """

    inode: InodeT
    entries: Entries | None = None


class Operations(pyfuse3.Operations):
    """pyfuse3's methods over one `FileSystem`."""

    supports_dot_lookup = False
    enable_writeback_cache = False

    def __init__(self, file_system: FileSystem, *, open_wait_s: float) -> None:
        super().__init__()
        self.file_system = file_system
        self._open_wait_s = open_wait_s
        self._uid, self._gid = os.getuid(), os.getgid()
        self._disk = trio.CapacityLimiter(DISK_THREADS)
        self._numbers = itertools.count(1)
        self._files: dict[int, Handle] = {}
        self._writers: dict[int, Callable[[str], None]] = {}
        self._listings: dict[int, Listing] = {}
        self.many_reads_may_wait = True
        """Whether the kernel lets any number of reads through; else files still being fetched bypass its cache."""
        self._page_editions: LRUCache[int, Edition] = LRUCache(EDITIONS_KEPT)

    async def _ask(self, question: Callable[[A], R], about: A) -> R:
        """Ask the file system; in a thread, if the cache's disk could keep the loop waiting."""
        if not self.file_system.may_block:
            return question(about)
        return await trio.to_thread.run_sync(question, about, limiter=self._disk, abandon_on_cancel=True)

    def _pack(self, attributes: Attributes) -> EntryAttributes:
        entry = EntryAttributes()
        entry.st_ino = InodeT(attributes.ino)
        entry.generation = attributes.generation
        entry.entry_timeout = entry.attr_timeout = FOREVER_S
        entry.st_mode = ModeT(attributes.mode)
        entry.st_nlink = 1
        entry.st_uid, entry.st_gid = self._uid, self._gid
        entry.st_size = attributes.size_bytes
        entry.st_blksize = BLOCK_SIZE_BYTES
        entry.st_blocks = attributes.blocks
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = attributes.time_s * 1_000_000_000
        return entry

    @answered
    async def lookup(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> EntryAttributes:
        try:
            find = functools.partial(self.file_system.lookup, parent_inode)
            return self._pack(await self._ask(find, os.fsdecode(name)))
        except NotInCatalogueError:
            absent = EntryAttributes()  # inode 0: the kernel remembers that the name is absent
            absent.entry_timeout = FOREVER_S
            return absent

    @answered
    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        try:
            return self._pack(await self._ask(self.file_system.attributes, inode))
        except GoneError:
            # It has left the catalogue, but who has it open goes on with it.
            for handle in self._files.values():
                if handle.inode == inode:
                    return self._pack(handle.opened.attributes)
            raise

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        """Inode numbers are computed: there is nothing to forget."""

    @answered
    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        number = next(self._numbers)
        self._listings[number] = Listing(inode)
        return FileHandleT(number)

    @answered
    async def readdir(self, fh: FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        listing = self._listings[fh]
        if listing.entries is None:
            listing.entries = await self._ask(self._entries, listing.inode)
        entries = listing.entries
        for position in range(start_id, len(entries)):
            name, entry = entries[position]
            if not pyfuse3.readdir_reply(token, name, entry, position + 1):
                return

    def _entries(self, inode: InodeT) -> Entries:
        return [(os.fsencode(name), self._pack(found)) for name, found in self.file_system.entries(inode)]

    @answered
    async def releasedir(self, fh: FileHandleT) -> None:
        del self._listings[fh]

    @answered
    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        if flags & _WRITING:
            return self._open_control(inode, ctx)
        opened = await self._ask(self.file_system.open, inode)
        try:
            is_there = await self._settle(opened.file, ctx.pid)
        except BaseException:
            opened.file.close()
            raise
        number = next(self._numbers)
        self._files[number] = handle = Handle(opened, inode, ctx.pid)
        keep_cache = self._holds_pages_of(handle)
        direct_io = opened.size_bytes is None or not (is_there or self.many_reads_may_wait)
        return FileInfo(fh=FileHandleT(number), direct_io=direct_io, keep_cache=keep_cache)

    def _open_control(self, inode: InodeT, ctx: RequestContext) -> FileInfo:
        number = next(self._numbers)
        self._writers[number] = self.file_system.writer(inode, ctx.uid)
        return FileInfo(fh=FileHandleT(number), direct_io=True, keep_cache=False)

    @answered
    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        command = self._writers[fh]
        await trio.to_thread.run_sync(command, buf.decode(errors="replace"), abandon_on_cancel=True)
        return len(buf)

    @answered
    async def setattr(
        self,
        inode: InodeT,
        attr: EntryAttributes,
        fields: SetattrFields,
        fh: FileHandleT | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        if not (fields.update_size and self.file_system.is_writable(inode)):
            self.file_system.refuse_writing(inode)
        return self._pack(self.file_system.attributes(inode))  # what a shell's > does before it writes

    def _holds_pages_of(self, handle: Handle) -> bool:
        """Whether the kernel's pages of this inode, if it has any, are of the very copy that is open here.

        One inode can come to stand for another copy: a file without a hash that is replaced in the cache, or a copy
        that was spoilt while it was open, and mended.
        """
        edition = handle.opened.file.edition
        same = edition is not None and self._page_editions.get(handle.inode) == edition
        if edition is not None and not same:
            self._page_editions[handle.inode] = edition
        handle.is_noted = edition is not None
        return same

    async def _settle(self, file: ReadableFile, pid: int) -> bool:
        """Wait a little for a fetch, since programs look for failures where they open a file.

        Gives whether the bytes are there now.
        """
        pending = file.wait(0, 1)
        if pending is None:
            return True
        with trio.move_on_after(self._open_wait_s):
            await until_done(pending, pid)
        return file.wait(0, 1) is None

    @answered
    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        handle = self._files[fh]
        file = handle.opened.file
        while (pending := file.wait(off, size)) is not None:
            await until_done(pending, handle.pid)
        if not handle.is_noted:
            self._holds_pages_of(handle)
        data = file.read_now(off, size)
        if data is None:
            data = await trio.to_thread.run_sync(file.read, off, size, limiter=self._disk, abandon_on_cancel=True)
        if len(data) < size:
            self.file_system.check_end(handle.opened, off + len(data))
        return data

    @answered
    async def release(self, fh: FileHandleT) -> None:
        if fh in self._writers:
            del self._writers[fh]
        else:
            self._files.pop(fh).opened.file.close()

    @answered
    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        usage = self.file_system.usage()
        data = StatvfsData()
        data.f_bsize = data.f_frsize = BLOCK_SIZE_BYTES
        data.f_blocks = -(-usage.total_bytes // BLOCK_SIZE_BYTES)
        data.f_bfree = data.f_bavail = data.f_ffree = data.f_favail = 0
        data.f_files = usage.files
        data.f_namemax = LONGEST_NAME_BYTES
        return data

    @answered
    async def access(self, inode: InodeT, mode: ModeT, ctx: RequestContext) -> bool:
        if mode & os.W_OK:
            self.file_system.writer(inode, ctx.uid)
        return not mode & os.X_OK or stat.S_ISDIR(self.file_system.attributes(inode).mode)

    @answered
    async def getxattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> bytes:
        return await self._ask(functools.partial(self.file_system.xattr, inode), os.fsdecode(name))

    @answered
    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> Sequence[XAttrNameT]:
        return [XAttrNameT(name.encode()) for name in self.file_system.xattr_names(inode)]

    @answered
    async def _refuse(self, inode: InodeT, *args: Any) -> None:
        self.file_system.refuse_writing(inode)

    # Their signatures differ, but each begins with the inode that would be written to.
    _refused: Any = _refuse
    mknod = mkdir = unlink = rmdir = symlink = rename = link = create = setxattr = removexattr = _refused
