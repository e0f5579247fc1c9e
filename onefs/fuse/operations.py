"""The operations of the mount, for any kernel adapter: ask the file system, count, and turn failures into errnos."""

import errno
import functools
import itertools
import logging
import os
import stat
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from time import perf_counter
from types import CoroutineType
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar, TypeVarTuple, overload

import trio

from onefs.catalogue.stored import MustWaitError, NotWaiting
from onefs.errors import CacheDamagedError, CopyRemovedError, CrawlingError, GoneError, NotInCatalogueError, OnefsError
from onefs.fetch.open_file import OpenFile
from onefs.fuse.accounting import ProgramAccounting
from onefs.fuse.callers import Answer, Buffer, Request, answering, begin, finished, in_task, in_thread, until_done
from onefs.fuse.counters import OPERATIONS, Counters
from onefs.fuse.errnos import FuseError, errno_of
from onefs.fuse.opened import Handle, Listing, Page, Pages
from onefs.fuse.passthrough import Passthrough
from onefs.fuse.process_lookup import ProcessLookup
from onefs.fuse.recording import ReadReporter
from onefs.recording.program_usage import Programs
from onefs.vfs import inodes, xattrs
from onefs.vfs.filesystem import FileSystem, Opened, Usage
from onefs.vfs.forest import Wait
from onefs.vfs.handles import ReadableFile
from onefs.vfs.nodes import Attributes

DISK_THREADS = 64
DATABASE_THREADS = 128
COMMAND_THREADS = 40
TEXT_THREADS = 8
PAGE_ENTRIES = 500
"""The most entries of a directory to pack at once, so that other requests need not wait."""

READ_BYTES = 1 << 20
"""The most that one read asks for, as a rule."""

UNFORESEEN_REMEDY = "Try again; if it stays, mount again, and report it with the log of the mount (onefs log)."
EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH
ABSENT = Attributes(0, 0, 0, 0, 0, 0)
"""Tells the kernel that a name is absent until it is told otherwise."""
ABSENT_NOW = ABSENT._replace(kept_s=0.0)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_TRUNC
_NAMES = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
"""How names become bytes, as `os.fsencode` has it."""
_log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")
About = TypeVarTuple("About")


class OpenReply(NamedTuple):
    """An open file: its handle, and how the kernel reads it."""

    handle: int
    direct_io: bool
    """Whether every read asks, past the kernel's pages."""
    keep_cache: bool
    """Whether the pages that the kernel has of the inode are of this file."""
    backing_id: int = 0
    """What the kernel reads by itself; 0 if it asks."""


@overload
def answered(
    method: Callable[Concatenate["Operations", P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate["Operations", P], Answer[R]]: ...
@overload
def answered(
    method: Callable[Concatenate["Operations", P], Answer[R]],
) -> Callable[Concatenate["Operations", P], Answer[R]]: ...
def answered(
    method: Callable[Concatenate["Operations", P], Answer[R]],
) -> Callable[Concatenate["Operations", P], Answer[R]]:
    """Answer at once if nothing has to be waited for, else give the coroutine that answers. Count each request.

    Failures are raised as `FuseError`: whatever nobody foresaw is EIO, since the mount must outlive it.
    """
    operation = method.__name__.lstrip("_")
    assert operation in OPERATIONS

    def handler(self: "Operations", /, *args: P.args, **kwargs: P.kwargs) -> Answer[R]:
        begun_s = perf_counter()
        self.counters.in_progress += 1
        try:
            answer = method(self, *args, **kwargs)
            if isinstance(answer, CoroutineType):
                answer = begin(answer)
        except (OnefsError, FuseError) as error:
            number = _number_of(error)
            self.counters.answered(operation, perf_counter() - begun_s, number)
            raise FuseError(number) from None
        except Exception as error:  # noqa: BLE001
            return finish(self, _raise(error), begun_s, args)
        if isinstance(answer, CoroutineType):
            return finish(self, answer, begun_s, args)
        self.counters.answered(operation, perf_counter() - begun_s, 0)
        return answer

    async def finish(self: "Operations", rest: Coroutine[Any, Any, R], begun_s: float, args: tuple[Any, ...]) -> R:
        number = 0
        try:
            return await rest
        except (OnefsError, FuseError) as error:
            number = _number_of(error)
            raise FuseError(number) from None
        except Exception as error:  # noqa: BLE001
            number = errno.EIO
            _log.exception("Unforeseen failure in %s%r; the mount goes on", operation, args)
            tell = functools.partial(self._tell_unforeseen, operation, args[0] if args else None, error)
            with suppress(Exception):  # it is in the log; a machine may be short of threads or of memory
                await trio.to_thread.run_sync(tell, limiter=self._disk, abandon_on_cancel=True)
            raise FuseError(number) from None
        finally:
            self.counters.answered(operation, perf_counter() - begun_s, number)

    return functools.update_wrapper(handler, method)


def _close(opened: Opened) -> None:
    opened.file.close()


async def _raise(error: Exception) -> Any:
    raise error


def _known(handles: Mapping[int, R], number: int) -> R:
    """What is open under a number. Raises `FuseError` if nothing is, as when a control file is read."""
    try:
        return handles[number]
    except KeyError:
        raise FuseError(errno.EBADF) from None


def _number_of(error: OnefsError | FuseError) -> int:
    return error.number if isinstance(error, FuseError) else errno_of(error)


class Operations:
    """What the kernel asks for, over one `FileSystem`. Names are bytes. For one event loop.

    Each operation gives its answer, or a coroutine for it where something has to be waited for. Both raise `FuseError`.
    """

    def __init__(
        self,
        file_system: FileSystem,
        *,
        open_wait_s: float,
        has_old_pages: Callable[[int], bool] = lambda inode: False,  # noqa: ARG005
        programs: Programs | None = None,
        counters: Counters | None = None,
        passthrough: Passthrough | None = None,
    ) -> None:
        """`has_old_pages` tells whether the kernel may still have pages of an inode that must not be read.

        `programs` counts which program opens and reads what; `passthrough` has the kernel read files by itself.
        """
        self.counters = counters or Counters()
        self._has_old_pages = has_old_pages
        self.file_system = file_system
        self._open_wait_s = open_wait_s
        self._disk = trio.CapacityLimiter(DISK_THREADS)
        self._database = trio.CapacityLimiter(DATABASE_THREADS)
        self._commands = trio.CapacityLimiter(COMMAND_THREADS)
        self._texts = trio.CapacityLimiter(TEXT_THREADS)  # apart, so that status is told when a disk hangs
        self._numbers = itertools.count(1)
        self._room = memoryview(bytearray(READ_BYTES))
        self._files: dict[int, Handle] = {}
        self._writers: dict[int, Callable[[str], None]] = {}
        self.many_reads_may_wait = True
        """Whether the kernel lets any number of reads through; else files still being fetched bypass its cache."""
        self._pages = Pages()
        self._recorder = file_system.recorder
        self._passthrough = passthrough or Passthrough(self._recorder, self.counters)
        self._processes = ProcessLookup()
        self._told = ReadReporter(self._recorder, self._pages, self._files, self._processes)
        self._programs = programs or Programs()
        self._accounts = ProgramAccounting(self._programs, self._recorder, file_system.journal)

    def _tell_unforeseen(self, operation: str, about: Any, error: Exception) -> None:
        """Tell in `.onefs/errors` of a failure that nobody foresaw. `about` is an inode, a handle or a listing."""
        path = ""
        with suppress(Exception):  # what failed may fail again
            match operation:
                case "read" | "release":
                    path = self.file_system.path(self._files[about].inode)
                case "readdir":
                    path = self.file_system.path(about.inode)
                case "write" | "statfs":
                    pass
                case _:
                    path = self.file_system.path(about)
        reason = f"Nobody foresaw this failure: {error!r}."
        _log.error("%s: %s %s", path or "/", reason, UNFORESEEN_REMEDY)
        self.file_system.journal.record(path, OnefsError(reason, UNFORESEEN_REMEDY))

    def _ask(
        self,
        wait: Wait,
        request: Request,
        question: Callable[[*About], R],
        *about: *About,
        drop: Callable[[R], object] | None = None,
    ) -> Answer[R]:
        """Ask the file system something on behalf of a program; in a worker thread, if it may have to wait.

        An answer that comes after the program was interrupted is given to `drop`.
        """
        if wait is Wait.NOTHING:
            try:
                with NotWaiting():
                    return question(*about)
            except MustWaitError:
                pass
        limiter = self._database if wait is Wait.DATABASE else self._disk
        return in_thread(functools.partial(answering, question, *about), request, limiter, drop)

    @answered
    def lookup(self, parent: int, name: bytes, request: Request) -> Answer[Attributes]:
        """Attributes of an entry of a directory. Those of inode 0 say that it is absent."""
        wait = self.file_system.wait_for(parent)
        if name == b".":  # as for a handle that was taken before: from a number to its node
            return self._ask(wait, request, self.file_system.attributes, parent)
        if name == b"..":
            return self._ask(wait, request, self.file_system.parent_attributes, parent)
        return self._ask(wait, request, self._look_up, parent, os.fsdecode(name))

    def _look_up(self, parent: int, name: str) -> Attributes:
        try:
            return self.file_system.lookup(parent, name)
        except NotInCatalogueError:
            return ABSENT if self.file_system.keeps_absence(parent, name) else ABSENT_NOW

    @answered
    def getattr(self, ino: int, request: Request) -> Answer[Attributes]:
        """Attributes of a node."""
        return self._attributes(ino, request)

    def _attributes(self, ino: int, request: Request) -> Answer[Attributes]:
        fs = self.file_system
        if inodes.is_special(ino) and fs.has_text(ino):
            return in_thread(functools.partial(fs.attributes_now, ino), request, self._texts)
        return self._ask(fs.wait_for(ino), request, self._attributes_of, ino)

    def _attributes_of(self, ino: int) -> Attributes:
        try:
            return self.file_system.attributes(ino)
        except GoneError:
            # It has left the catalogue, but who has it open goes on with it.
            for handle in list(self._files.values()):
                if handle.inode == ino:
                    return self.file_system.opened_attributes(handle.opened)
            raise

    @answered
    async def readlink(self, ino: int) -> bytes:
        """Where a symbolic link leads, from the folder that it stands in."""
        return os.fsencode(self.file_system.target(ino))

    def forget(self, ino: int, times: int) -> None:
        """Note that the kernel forgot an inode: it matters for views entered by name; other numbers are computed."""
        self.file_system.forgot(ino, times)

    @answered
    def opendir(self, ino: int, request: Request) -> Answer[Listing]:
        """A directory's listing, for `readdir`."""
        wait = self.file_system.wait_for(ino, to_list=True)
        return self._ask(wait, request, self._list, ino)

    def _list(self, ino: int) -> Listing:
        """List a directory; again if something was learned by that, as it often is."""
        for _ in range(2):
            times_changed = self.file_system.times_changed
            listing = Listing(ino, self.file_system.entries(ino), times_changed)
            self._pack(listing, 0)
            if times_changed == self.file_system.times_changed:
                break
        return listing

    def _pack(self, listing: Listing, begin: int) -> Page:
        """Pack at most `PAGE_ENTRIES` entries of a directory, from a position on."""
        found = listing.entries.part(begin, begin + PAGE_ENTRIES)
        listing.page = Page(begin, [(name.encode(*_NAMES), attributes) for name, attributes in found])
        return listing.page

    @answered
    def readdir(self, listing: Listing, position: int, request: Request) -> Answer[list[tuple[bytes, Attributes]]]:
        """Entries of a listing from a position on, `.` and `..` first; none at its end."""
        if position >= len(listing.entries):
            return []
        page = listing.page
        if page.begin <= position < page.begin + len(page.entries):
            return self._entries(listing, page, position)
        return self._turn_page(listing, position, request)

    async def _turn_page(self, listing: Listing, position: int, request: Request) -> list[tuple[bytes, Attributes]]:
        wait = Wait.WORK if self.file_system.may_block else Wait.NOTHING
        page = await finished(self._ask(wait, request, self._pack, listing, position))
        return self._entries(listing, page, position)

    def _entries(self, listing: Listing, page: Page, position: int) -> list[tuple[bytes, Attributes]]:
        """The entries of a page from a position on. The kernel keeps none if the tree changed since the listing."""
        entries = page.entries[position - page.begin :] if position > page.begin else page.entries
        if listing.times_changed != self.file_system.times_changed:
            return [(name, attributes._replace(kept_s=0.0)) for name, attributes in entries]
        return entries

    @answered
    async def open(self, ino: int, flags: int, request: Request) -> OpenReply:
        """Open a file, or a control file for writing."""
        if flags & _WRITING:
            return await self._open_control(ino, request)
        reader = caller = None
        if inodes.is_file(ino):
            reader = await self._processes.reader(request.pid, request.uid) if self._recorder.turn else None
            caller = await self._processes.caller(request.pid, request.uid)
            refusal = self._accounts.refusal(caller, reader)
            try:
                opened = await self._opened(ino, request, refusal)
            except CrawlingError:
                self._accounts.refused(caller)
                raise
        else:
            opened = await self._opened(ino, request)
        try:
            if opened.dataset is not None:
                self.counters.opened(is_hit=opened.file.is_whole)
            pending = opened.file.wait(0, 1)
            if pending is not None:  # a little, since programs look for failures where they open a file
                await until_done(pending, request, self._open_wait_s)
                pending = opened.file.wait(0, 1)
            is_there = pending is None and opened.file.is_whole
            if caller is not None:  # only now: what cannot be fetched, as a server is down, makes nobody a crawler
                self._accounts.opened(caller, is_fetched=opened.is_fetched)
            backing_id = self._pass_through(ino, opened)
        except BaseException:
            opened.file.close()
            raise
        number = next(self._numbers)
        handle = Handle(opened, ino, request.pid, request.uid, caller, reader, backing_id=backing_id)
        self._files[number] = handle
        try:
            return await self._open_reply(number, handle, is_there=is_there)
        except BaseException:  # the kernel will not release it
            self._close(number)
            raise

    async def _open_reply(self, number: int, handle: Handle, *, is_there: bool) -> OpenReply:
        opened, ino = handle.opened, handle.inode
        if handle.backing_id:
            return await self._passed_through(number, handle)
        keep_cache = self._pages.are_of(handle) and not self._has_old_pages(ino)
        direct_io = opened.size_bytes is None or not (is_there or self.many_reads_may_wait)
        handle.has_pages = not direct_io
        handle.is_followed = opened.is_followed
        if handle.reader is not None:
            self._told.opened(handle)
        return OpenReply(number, direct_io, keep_cache)

    def _pass_through(self, ino: int, opened: Opened) -> int:
        try:
            return self._passthrough.open(ino, opened)
        except CacheDamagedError as error:
            self.file_system.journal.record(opened.path, error)
            raise

    async def _passed_through(self, number: int, handle: Handle) -> OpenReply:
        """The reply for a file that the kernel reads by itself."""
        handle.has_pages = False
        self._pages.dropped(handle.inode)
        if self._recorder.turn:
            await self._told.passed_through(handle)
        return OpenReply(number, direct_io=False, keep_cache=False, backing_id=handle.backing_id)

    async def _opened(self, ino: int, request: Request, refusal: CrawlingError | None = None) -> Opened:
        fs, uid = self.file_system, request.uid
        if fs.file_at_hand(ino) is not None:
            return fs.open(ino, refusal, uid)
        if not inodes.is_file(ino):
            # To write down a million datasets that were recorded takes seconds.
            return await in_thread(functools.partial(fs.open, ino, refusal, uid), request, self._texts, _close)
        return await finished(self._ask(fs.wait_for(ino), request, fs.open, ino, refusal, uid, drop=_close))

    async def _open_control(self, ino: int, request: Request) -> OpenReply:
        number = next(self._numbers)
        self._writers[number] = await self._writer(ino, request)
        return OpenReply(number, direct_io=True, keep_cache=False)

    @answered
    async def write(self, handle: int, data: bytes, request: Request) -> int:
        """Give commands to a control file. Returns how many bytes it took.

        They are carried out to the end, also if the program is ended meanwhile.
        """
        request.is_done_once = True
        command = functools.partial(_known(self._writers, handle), data.decode(errors="replace"))
        try:
            await in_thread(command, request, self._commands)
        finally:
            await self._told.switched()
        return len(data)

    @answered
    async def setattr(self, ino: int, sets_size: bool, request: Request) -> Attributes:
        """Do what a shell's `>` does before it writes; refuse everything else."""
        if not sets_size:
            await self._refuse(ino, request)
        await self._writer(ino, request)
        return await finished(self._attributes(ino, request))

    async def _writer(self, ino: int, request: Request) -> Callable[[str], None]:
        fs = self.file_system
        return await finished(self._ask(fs.wait_for(ino), request, fs.writer, ino, request.uid))

    @answered
    async def read(self, number: int, offset: int, size: int, request: Request) -> Buffer:
        """Bytes of an open file; fewer than `size` only at its end. They are good until the next call."""
        handle = _known(self._files, number)
        if not request.pid:  # as of the kernel's read-ahead
            request = Request(handle.pid, handle.uid)
        data: Buffer | None = None
        while data is None:
            file = handle.opened.file
            try:
                while (pending := file.wait(offset, size)) is not None:
                    await until_done(pending, request)
                self._pages.came(handle)
                data = self._read_now(handle, offset, size)
                if data is None:
                    await in_task()
                    data = await trio.to_thread.run_sync(
                        file.read, offset, size, limiter=self._disk, abandon_on_cancel=True
                    )
            except CopyRemovedError:
                await self._reopen(handle, file)
        if len(data) < size and offset + len(data) != handle.opened.size_bytes:
            self.file_system.check_end(handle.opened, offset + len(data))
        self.counters.read(file.source, len(data))
        if handle.caller is not None:
            self._programs.read(handle.caller.program, len(data))
        if data:
            await self._came_to_be_read(handle, data, request)
        return data

    def _read_now(self, handle: Handle, offset: int, size: int) -> Buffer | None:
        """Bytes that are in memory; None if the disk would have to be waited for.

        Those of verified files are in one room for all reads: new memory for each takes a fifth of the CPU time. Not if
        the read has to be told, which may wait.
        """
        file = handle.opened.file
        may_wait = handle.is_followed or self._recorder.turn or size > len(self._room)
        verified = file.verified if isinstance(file, OpenFile) and not may_wait else None
        return file.read_now(offset, size) if verified is None else verified.read_now_into(self._room, offset, size)

    async def _came_to_be_read(self, handle: Handle, data: Buffer, request: Request) -> None:
        """Tell of bytes that a program is about to get."""
        if isinstance(data, memoryview):  # other reads take the room that it is in: nothing may wait any more
            if handle.has_pages:
                self._pages.read(handle.inode)
            return
        if handle.is_followed:
            handle.is_followed = False
            wait = Wait.WORK if self.file_system.may_block else Wait.NOTHING
            await finished(self._ask(wait, request, self.file_system.began_to_read, handle.inode, handle.uid))
        are_new = handle.has_pages and self._pages.read(handle.inode)
        if self._recorder.turn and (are_new or handle.turn != self._recorder.turn):
            await self._told.read(handle, are_new=are_new)

    async def _reopen(self, handle: Handle, file: ReadableFile) -> None:
        """Have a handle read from a new copy of the same bytes in place of `file`. Raises why there is none."""
        if handle.opened.file is not file:
            return
        await in_task()
        find = functools.partial(self.file_system.reopen, handle.inode)
        opened = await trio.to_thread.run_sync(find, handle.opened, limiter=self._disk)
        if handle.opened.file is file and handle in self._files.values():
            handle.opened = opened
            file.close()
        else:
            opened.file.close()

    @answered
    async def release(self, number: int) -> None:
        """Close an open file, or a control file."""
        if self._writers.pop(number, None) is not None:
            return
        _known(self._files, number)
        self._close(number)

    def _close(self, number: int) -> None:
        handle = self._files.pop(number)
        self._passthrough.released(handle.inode, handle.backing_id)
        if handle.is_awaited:
            self._pages.released(handle)
        handle.opened.file.close()

    @answered
    async def statfs(self, request: Request) -> Usage:
        """Size of the archive and room in the cache."""
        return await in_thread(self.file_system.usage, request, self._disk)

    @answered
    async def access(self, ino: int, mode: int, request: Request) -> None:
        """Fail unless a node may be used so; `mode` is that of access(2)."""
        if mode & os.W_OK:
            await self._writer(ino, request)
        fs = self.file_system
        attributes = await finished(self._ask(fs.wait_for(ino), request, fs.attributes, ino))
        if mode & os.X_OK and not attributes.mode & EXECUTABLE:
            raise FuseError(errno.EACCES)

    @answered
    async def getxattr(self, ino: int, name: bytes, request: Request) -> bytes:
        """Value of an extended attribute."""
        wanted = os.fsdecode(name)
        xattrs.check(wanted)
        if wanted == xattrs.LOADER:
            self._accounts.trust(await self._processes.caller(request.pid, request.uid))
            return b""
        wait = Wait.DATABASE if wanted == xattrs.PROBES else self.file_system.wait_for(ino)
        return await finished(self._ask(wait, request, self.file_system.xattr, ino, wanted))

    @answered
    async def listxattr(self, ino: int, request: Request) -> list[bytes]:
        """Names of the extended attributes of a node."""
        fs = self.file_system
        names = await finished(self._ask(fs.wait_for(ino), request, fs.xattr_names, ino))
        return [name.encode() for name in names]

    @answered
    async def modify(self, ino: int, request: Request) -> None:
        """Refuse what would change the archive: mkdir, unlink, rename and the like, of or in a node."""
        await self._refuse(ino, request)

    async def _refuse(self, ino: int, request: Request) -> None:
        fs = self.file_system
        await finished(self._ask(fs.wait_for(ino), request, fs.refuse_writing, ino))
