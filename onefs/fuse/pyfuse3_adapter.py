"""`Pyfuse3Adapter`: serves a mount through pyfuse3, which speaks to the kernel by libfuse.

The kernel forgets a name only once the lookups and listings in its directory are answered. Unlike the session, pyfuse3
lets it wait for them: until then, programs that look up something there hang, and cannot be killed.
"""

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

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

from onefs.alf import LONGEST_NAME_BYTES
from onefs.fuse.callers import Answer, Buffer, Request, finished
from onefs.fuse.disconnection import until_disconnected
from onefs.fuse.errnos import FuseError
from onefs.fuse.kernel import KernelFacts
from onefs.fuse.opened import Listing
from onefs.fuse.operations import Operations
from onefs.fuse.packing import BLOCK_SIZE_BYTES, FOREVER_S, blocks_of
from onefs.vfs.filesystem import Usage
from onefs.vfs.nodes import Attributes

MAX_REQUESTS = 10_000
"""Requests under way at once: each waiting read or open takes one, and the rest must still be answered."""
NOT_OFFERED = "pyfuse3 does not offer it. Mount with: --kernel-adapter session."

R = TypeVar("R")


class Pyfuse3Adapter:
    """One mount, served by pyfuse3. There can be one in a process."""

    def __init__(self, connection: int, operations: Operations) -> None:
        """`connection` is the open one of the mount, which `close` closes. Raises RuntimeError."""
        pyfuse3.init(_Requests(operations), f"/dev/fd/{connection}", set())
        self._connection = connection

    @property
    def facts(self) -> KernelFacts:
        """What it agreed on with the kernel, as far as pyfuse3 tells."""
        return KernelFacts("pyfuse3", "", NOT_OFFERED, NOT_OFFERED, 0)

    async def serve(self) -> None:
        """Answer the kernel until the mount is gone."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_serve)
            await until_disconnected(self._connection)
            nursery.cancel_scope.cancel()  # and with it the requests whose answers nobody takes any more

    def close(self) -> None:
        """Close the connection. The mount stays, without anybody who serves it."""
        pyfuse3.close()

    def invalidate_inode(self, ino: int, *, attributes_only: bool) -> None:
        """Have the kernel forget a node's attributes, and its pages. Raises OSError."""
        pyfuse3.invalidate_inode(InodeT(ino), attr_only=attributes_only)

    def invalidate_entry(self, parent: int, name: bytes) -> None:
        """Have the kernel forget an entry of a directory. Raises OSError."""
        pyfuse3.invalidate_entry(InodeT(parent), FileNameT(name))


async def _serve() -> None:
    await pyfuse3.main(min_tasks=4, max_tasks=MAX_REQUESTS)


@dataclass(slots=True)
class _OpenDirectory:
    """A directory that a program has open. It is listed when it is first read: many, as `..`, never are."""

    ino: int
    request: Request
    listing: Listing | None = None


class _Requests(pyfuse3.Operations):
    """pyfuse3's methods: each unpacks a request, asks `Operations`, and packs the answer."""

    supports_dot_lookup = True
    enable_writeback_cache = False

    def __init__(self, operations: Operations) -> None:
        super().__init__()
        self._operations = operations
        self._uid, self._gid = os.getuid(), os.getgid()
        self._directories: dict[int, _OpenDirectory] = {}
        self._next_directory = 1

    async def lookup(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> EntryAttributes:
        return self._entry(await _answer(self._operations.lookup, parent_inode, name, _request(ctx)))

    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        return self._entry(await _answer(self._operations.getattr, inode, _request(ctx)))

    async def readlink(self, inode: InodeT, ctx: RequestContext) -> FileNameT:
        return FileNameT(await _answer(self._operations.readlink, inode))

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        for inode, times in inode_list:
            self._operations.forget(inode, times)

    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        number, self._next_directory = self._next_directory, self._next_directory + 1
        self._directories[number] = _OpenDirectory(inode, _request(ctx))
        return FileHandleT(number)

    async def readdir(self, fh: FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        directory = self._directories[fh]
        if directory.listing is None:
            directory.listing = await _answer(self._operations.opendir, directory.ino, directory.request)
        position = start_id
        while page := await _answer(self._operations.readdir, directory.listing, position, directory.request):
            for name, attributes in page:
                if not pyfuse3.readdir_reply(token, FileNameT(name), self._entry(attributes), position + 1):
                    return
                position += 1

    async def releasedir(self, fh: FileHandleT) -> None:
        del self._directories[fh]

    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        reply = await _answer(self._operations.open, inode, flags, _request(ctx))
        return FileInfo(fh=FileHandleT(reply.handle), direct_io=reply.direct_io, keep_cache=reply.keep_cache)

    async def read(  # type: ignore[override]  # pyfuse3 takes any buffer
        self, fh: FileHandleT, off: int, size: int
    ) -> Buffer:
        return await _answer(self._operations.read, fh, off, size, Request(0, 0))

    async def release(self, fh: FileHandleT) -> None:
        await _answer(self._operations.release, fh)

    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        return await _answer(self._operations.write, fh, buf, Request(0, 0))

    async def setattr(
        self,
        inode: InodeT,
        attr: EntryAttributes,
        fields: SetattrFields,
        fh: FileHandleT | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        return self._entry(await _answer(self._operations.setattr, inode, fields.update_size, _request(ctx)))

    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        return _statistics(await _answer(self._operations.statfs, _request(ctx)))

    async def access(self, inode: InodeT, mode: ModeT, ctx: RequestContext) -> bool:
        try:
            await _answer(self._operations.access, inode, mode, _request(ctx))
        except pyfuse3.FUSEError as error:
            if error.errno == errno.EACCES:
                return False
            raise
        return True

    async def getxattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> bytes:
        return await _answer(self._operations.getxattr, inode, name, _request(ctx))

    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> Sequence[XAttrNameT]:
        names = await _answer(self._operations.listxattr, inode, _request(ctx))
        return [XAttrNameT(name) for name in names]

    async def _modify(self, inode: InodeT, *args: Any) -> None:
        await _answer(self._operations.modify, inode, _request(args[-1]))

    # Their signatures differ, but each begins with the inode that would be written to, and ends with the caller.
    _refused: Any = _modify
    mknod = mkdir = unlink = rmdir = symlink = rename = link = create = setxattr = removexattr = _refused

    def _entry(self, attributes: Attributes) -> EntryAttributes:
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
        time_ns = attributes.time_s * 1_000_000_000 + attributes.version
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = time_ns
        return entry


def _request(ctx: RequestContext) -> Request:
    return Request(ctx.pid, ctx.uid)


async def _answer(operation: Callable[..., Answer[R]], *about: Any) -> R:
    """The answer of an operation. Raises `pyfuse3.FUSEError`."""
    try:
        return await finished(operation(*about))
    except FuseError as error:
        raise pyfuse3.FUSEError(error.number) from None


def _statistics(usage: Usage) -> StatvfsData:
    """What `df` shows."""
    blocks = blocks_of(usage)
    data = StatvfsData()
    data.f_bsize = data.f_frsize = BLOCK_SIZE_BYTES
    data.f_blocks, data.f_bfree, data.f_bavail = blocks.total, blocks.free, blocks.available
    data.f_files = usage.files
    data.f_ffree = data.f_favail = 0
    data.f_namemax = LONGEST_NAME_BYTES
    return data
