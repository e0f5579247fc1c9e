"""The kernel's requests: unpack, call the file system, pack, and turn failures into errnos."""

import errno
import functools
import itertools
import logging
import os
import stat
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any, Concatenate, ParamSpec, TypeVar, TypeVarTuple

import pyfuse3
import trio
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

from onefs.catalogue.stored import MustWaitError, NotWaiting
from onefs.errors import CopyRemovedError, CrawlingError, GoneError, NotInCatalogueError, OnefsError
from onefs.fuse.accounting import ProgramAccounting
from onefs.fuse.callers import in_thread, until_done
from onefs.fuse.counters import OPERATIONS, Counters
from onefs.fuse.errnos import errno_of
from onefs.fuse.opened import Handle, Listing, Pages
from onefs.fuse.packing import Packer, absent, statistics
from onefs.fuse.process_lookup import ProcessLookup
from onefs.fuse.recording import ReadReporter
from onefs.recording.program_usage import Programs
from onefs.vfs import inodes, xattrs
from onefs.vfs.filesystem import FileSystem, Opened
from onefs.vfs.forest import Wait
from onefs.vfs.handles import ReadableFile

DISK_THREADS = 64
DATABASE_THREADS = 128
TEXT_THREADS = 8
PAGE_ENTRIES = 500
"""The most entries of a directory to pack at once, so that other requests need not wait."""

UNFORESEEN_REMEDY = "Try again; if it stays, mount again, and report it with the log of the mount (onefs log)."
EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND
_log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")
About = TypeVarTuple("About")
Method = Callable[Concatenate["Operations", P], Coroutine[Any, Any, R]]


def answered(method: Method[P, R]) -> Method[P, R]:
    """Count each request, and turn our failures into errnos.

    Whatever else is thrown becomes EIO: the mount must outlive it.
    """
    operation = method.__name__.lstrip("_")
    assert operation in OPERATIONS

    async def handler(self: "Operations", /, *args: P.args, **kwargs: P.kwargs) -> R:
        begun_s, number = perf_counter(), 0
        self.counters.in_progress += 1
        try:
            return await method(self, *args, **kwargs)
        except OnefsError as error:
            number = errno_of(error)
            raise pyfuse3.FUSEError(number) from None
        except pyfuse3.FUSEError as error:
            number = error.errno
            raise
        except Exception as error:  # noqa: BLE001
            number = errno.EIO
            _log.exception("Unforeseen failure in %s%r; the mount goes on", method.__name__, args)
            tell = functools.partial(self._tell_unforeseen, method.__name__, args[0], error)
            with suppress(Exception):  # it is in the log; a machine may be short of threads or of memory
                await trio.to_thread.run_sync(tell, limiter=self._disk, abandon_on_cancel=True)
            raise pyfuse3.FUSEError(number) from None
        finally:
            self.counters.answered(operation, perf_counter() - begun_s, number)

    functools.update_wrapper(handler, method)
    return handler


class Operations(pyfuse3.Operations):
    """pyfuse3's methods over one `FileSystem`."""

    supports_dot_lookup = False
    enable_writeback_cache = False

    def __init__(
        self,
        file_system: FileSystem,
        *,
        open_wait_s: float,
        has_old_pages: Callable[[int], bool] = lambda inode: False,  # noqa: ARG005
        programs: Programs | None = None,
        counters: Counters | None = None,
    ) -> None:
        """`has_old_pages` tells whether the kernel may still have pages of an inode that must not be read.

        `programs` counts which program opens and reads what.
        """
        super().__init__()
        self.counters = counters or Counters()
        self._has_old_pages = has_old_pages
        self.file_system = file_system
        self._open_wait_s = open_wait_s
        self._packer = Packer()
        self._disk = trio.CapacityLimiter(DISK_THREADS)
        self._database = trio.CapacityLimiter(DATABASE_THREADS)
        self._texts = trio.CapacityLimiter(TEXT_THREADS)  # apart, so that status is told when a disk hangs
        self._numbers = itertools.count(1)
        self._files: dict[int, Handle] = {}
        self._writers: dict[int, Callable[[str], None]] = {}
        self._listings: dict[int, Listing] = {}
        self.many_reads_may_wait = True
        """Whether the kernel lets any number of reads through; else files still being fetched bypass its cache."""
        self._pages = Pages()
        self._recorder = file_system.recorder
        self._processes = ProcessLookup()
        self._told = ReadReporter(self._recorder, self._pages, self._files, self._processes)
        self._programs = programs or Programs()
        self._accounts = ProgramAccounting(self._programs, self._recorder, file_system.journal)

    def _tell_unforeseen(self, method: str, number: Any, error: Exception) -> None:
        """Tell in `.onefs/errors` of a failure that nobody foresaw. `number` is the method's inode or handle."""
        handles: dict[str, Mapping[int, Handle | Listing]] = {
            "readdir": self._listings, "releasedir": self._listings, "read": self._files, "release": self._files,
            "write": {}, "statfs": {},
        }  # fmt: skip
        path = ""
        with suppress(Exception):  # what failed may fail again
            path = self.file_system.path(handles[method][number].inode if method in handles else number)
        reason = f"Nobody foresaw this failure: {error!r}."
        _log.error("%s: %s %s", path or "/", reason, UNFORESEEN_REMEDY)
        self.file_system.journal.record(path, OnefsError(reason, UNFORESEEN_REMEDY))

    async def _ask(self, wait: Wait, pid: int, question: Callable[[*About], R], *about: *About) -> R:
        """Ask the file system something for the thread `pid`; in a worker thread, if the loop would have to wait."""
        if wait is Wait.NOTHING:
            try:
                with NotWaiting():
                    return question(*about)
            except MustWaitError:
                pass
        if wait is Wait.DATABASE:
            return await in_thread(functools.partial(question, *about), pid, self._database)
        return await trio.to_thread.run_sync(question, *about, limiter=self._disk, abandon_on_cancel=True)

    @answered
    async def lookup(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> EntryAttributes:
        wanted, fs = os.fsdecode(name), self.file_system
        try:
            wait = fs.wait_for(parent_inode)
            return self._packer.entry(await self._ask(wait, ctx.pid, fs.lookup, parent_inode, wanted))
        except NotInCatalogueError:
            return absent(is_kept=self.file_system.keeps_absence(parent_inode, wanted))

    @answered
    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        return await self._attributes(inode, ctx)

    async def _attributes(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        try:
            if not inodes.is_file(inode) and self.file_system.has_text(inode):
                find = self.file_system.attributes_now
                found = await trio.to_thread.run_sync(find, inode, limiter=self._texts, abandon_on_cancel=True)
                return self._packer.entry(found)
            wait = self.file_system.wait_for(inode)
            return self._packer.entry(await self._ask(wait, ctx.pid, self.file_system.attributes, inode))
        except GoneError:
            # It has left the catalogue, but who has it open goes on with it.
            for handle in self._files.values():
                if handle.inode == inode:
                    return self._packer.entry(self.file_system.opened_attributes(handle.opened))
            raise

    @answered
    async def readlink(self, inode: InodeT, ctx: RequestContext) -> FileNameT:
        return FileNameT(os.fsencode(self.file_system.target(inode)))

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        """Inode numbers are computed: only of views that were entered by name it matters who knows them."""
        for inode, times in inode_list:
            self.file_system.forgot(inode, times)

    @answered
    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        number = next(self._numbers)
        self._listings[number] = Listing(inode, ctx.pid)
        return FileHandleT(number)

    @answered
    async def readdir(self, fh: FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        listing = self._listings[fh]
        if listing.entries is None:
            wait = self.file_system.wait_for(listing.inode, to_list=True)
            await self._ask(wait, listing.pid, self._list, listing)
        position = start_id
        while listing.entries is not None and position < len(listing.entries):
            if not listing.begin <= position < listing.begin + len(listing.page):
                wait = Wait.WORK if self.file_system.may_block else Wait.NOTHING
                await self._ask(wait, listing.pid, self._pack, listing, position)
            if listing.times_changed != self.file_system.times_changed:
                listing.times_changed = self.file_system.times_changed
                listing.zero_timeouts()
            for name, entry in listing.page[position - listing.begin :]:
                if not pyfuse3.readdir_reply(token, name, entry, position + 1):
                    return
                position += 1

    def _list(self, listing: Listing) -> None:
        """List a directory; again if something was learned by that, as it often is."""
        for _ in range(2):
            listing.times_changed = self.file_system.times_changed
            listing.entries = self.file_system.entries(listing.inode)
            self._pack(listing, 0)
            if listing.times_changed == self.file_system.times_changed:
                return

    def _pack(self, listing: Listing, begin: int) -> None:
        """Pack at most `PAGE_ENTRIES` entries of a directory, from a position on."""
        assert listing.entries is not None
        found = listing.entries.part(begin, begin + PAGE_ENTRIES)
        listing.turn_to(begin, [(os.fsencode(name), self._packer.entry(attributes)) for name, attributes in found])

    @answered
    async def releasedir(self, fh: FileHandleT) -> None:
        del self._listings[fh]

    @answered
    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        if flags & _WRITING:
            return await self._open_control(inode, ctx)
        reader = caller = None
        if inodes.is_file(inode):
            reader = await self._processes.reader(ctx.pid, ctx.uid) if self._recorder.turn else None
            caller = await self._processes.caller(ctx.pid, ctx.uid)
            refusal = self._accounts.refusal(caller, reader)
            try:
                opened = await self._opened(inode, ctx, refusal)
            except CrawlingError:
                self._accounts.refused(caller)
                raise
        else:
            opened = await self._opened(inode, ctx)
        try:
            if opened.dataset is not None:
                self.counters.opened(is_hit=opened.file.is_whole)
            pending = opened.file.wait(0, 1)
            if pending is not None:  # a little, since programs look for failures where they open a file
                await until_done(pending, ctx.pid, self._open_wait_s)
                pending = opened.file.wait(0, 1)
            is_there = pending is None and opened.file.is_whole
        except BaseException:
            opened.file.close()
            raise
        if caller is not None:  # only now: what cannot be fetched, as a server is down, makes nobody a crawler
            self._accounts.opened(caller, is_fetched=opened.is_fetched)
        number = next(self._numbers)
        self._files[number] = handle = Handle(opened, inode, ctx.pid, ctx.uid, caller, reader)
        keep_cache = self._pages.are_of(handle) and not self._has_old_pages(inode)
        direct_io = opened.size_bytes is None or not (is_there or self.many_reads_may_wait)
        handle.has_pages = not direct_io
        handle.is_followed = opened.is_followed
        if reader is not None:
            self._told.opened(handle)
        return FileInfo(fh=FileHandleT(number), direct_io=direct_io, keep_cache=keep_cache)

    async def _opened(self, inode: InodeT, ctx: RequestContext, refusal: CrawlingError | None = None) -> Opened:
        fs, pid = self.file_system, ctx.pid
        if fs.file_at_hand(inode) is not None:
            return fs.open(inode, refusal, ctx.uid)
        wait = fs.wait_for(inode)
        if wait is Wait.DATABASE:
            # Whoever is interrupted while it opens could not close: so what is to be asked for is asked for before.
            await self._ask(wait, pid, fs.attributes, inode)
            return await trio.to_thread.run_sync(fs.open, inode, refusal, ctx.uid, limiter=self._disk)
        if not inodes.is_file(inode):
            # To write down a million datasets that were recorded takes seconds.
            return await trio.to_thread.run_sync(fs.open, inode, refusal, ctx.uid, limiter=self._texts)
        return await self._ask(wait, pid, fs.open, inode, refusal, ctx.uid)

    async def _open_control(self, inode: InodeT, ctx: RequestContext) -> FileInfo:
        number = next(self._numbers)
        self._writers[number] = await self._writer(inode, ctx)
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
        if not fields.update_size:
            await self._refuse(inode, ctx)
        await self._writer(inode, ctx)
        return await self._attributes(inode, ctx)  # what a shell's > does before it writes

    async def _writer(self, inode: InodeT, ctx: RequestContext) -> Callable[[str], None]:
        fs = self.file_system
        return await self._ask(fs.wait_for(inode), ctx.pid, fs.writer, inode, ctx.uid)

    @answered
    async def read(  # type: ignore[override]  # pyfuse3 takes a bytearray as well
        self, fh: FileHandleT, off: int, size: int
    ) -> bytes | bytearray:
        handle = self._files[fh]
        data: bytes | bytearray | None = None
        while data is None:
            file = handle.opened.file
            try:
                while (pending := file.wait(off, size)) is not None:
                    await until_done(pending, handle.pid)
                self._pages.came(handle)
                data = file.read_now(off, size)
                if data is None:
                    data = await trio.to_thread.run_sync(
                        file.read, off, size, limiter=self._disk, abandon_on_cancel=True
                    )
            except CopyRemovedError:
                await self._reopen(handle, file)
        if len(data) < size and off + len(data) != handle.opened.size_bytes:
            self.file_system.check_end(handle.opened, off + len(data))
        self.counters.read(file.source, len(data))
        if handle.caller is not None:
            self._programs.read(handle.caller.program, len(data))
        if data and handle.is_followed:
            handle.is_followed = False
            wait = Wait.WORK if self.file_system.may_block else Wait.NOTHING
            await self._ask(wait, handle.pid, self.file_system.began_to_read, handle.inode, handle.uid)
        if data:
            are_new = handle.has_pages and self._pages.read(handle.inode)
            if self._recorder.turn and (are_new or handle.turn != self._recorder.turn):
                await self._told.read(handle, are_new=are_new)
        return data

    async def _reopen(self, handle: Handle, file: ReadableFile) -> None:
        """Have a handle read from a new copy of the same bytes in place of `file`. Raises why there is none."""
        if handle.opened.file is not file:
            return
        find = functools.partial(self.file_system.reopen, handle.inode)
        opened = await trio.to_thread.run_sync(find, handle.opened, limiter=self._disk)
        if handle.opened.file is file and handle in self._files.values():
            handle.opened = opened
            file.close()
        else:
            opened.file.close()

    @answered
    async def release(self, fh: FileHandleT) -> None:
        if fh in self._writers:
            del self._writers[fh]
        else:
            handle = self._files.pop(fh)
            if handle.is_awaited:
                self._pages.released(handle)
            handle.opened.file.close()

    @answered
    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        find = self.file_system.usage
        return statistics(await trio.to_thread.run_sync(find, limiter=self._disk, abandon_on_cancel=True))

    @answered
    async def access(self, inode: InodeT, mode: ModeT, ctx: RequestContext) -> bool:
        if mode & os.W_OK:
            await self._writer(inode, ctx)
        fs = self.file_system
        attributes = await self._ask(fs.wait_for(inode), ctx.pid, fs.attributes, inode)
        return not mode & os.X_OK or bool(attributes.mode & EXECUTABLE)

    @answered
    async def getxattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> bytes:
        wanted = os.fsdecode(name)
        if wanted == xattrs.LOADER:
            self._accounts.trust(await self._processes.caller(ctx.pid, ctx.uid))
            return b""
        wait = Wait.DATABASE if wanted == xattrs.PROBES else self.file_system.wait_for(inode)
        return await self._ask(wait, ctx.pid, self.file_system.xattr, inode, wanted)

    @answered
    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> Sequence[XAttrNameT]:
        fs = self.file_system
        names = await self._ask(fs.wait_for(inode), ctx.pid, fs.xattr_names, inode)
        return [XAttrNameT(name.encode()) for name in names]

    @answered
    async def _modify(self, inode: InodeT, *args: Any) -> None:
        await self._refuse(inode, args[-1])

    async def _refuse(self, inode: InodeT, ctx: RequestContext) -> None:
        fs = self.file_system
        await self._ask(fs.wait_for(inode), ctx.pid, fs.refuse_writing, inode)

    # Their signatures differ, but each begins with the inode that would be written to, and ends with the caller.
    _refused: Any = _modify
    mknod = mkdir = unlink = rmdir = symlink = rename = link = create = setxattr = removexattr = _refused
