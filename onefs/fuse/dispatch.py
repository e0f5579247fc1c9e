"""`Handlers`: for each kind of request a method, which asks `Operations` and packs the answer."""

import errno
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from struct import Struct
from types import CoroutineType
from typing import Any, NamedTuple, TypeAlias, TypeVar, TypeVarTuple

import trio

from onefs.fuse import protocol
from onefs.fuse.callers import Answer, Buffer, Request, finished
from onefs.fuse.errnos import FuseError
from onefs.fuse.negotiation import Features
from onefs.fuse.opened import Listing
from onefs.fuse.operations import OpenReply, Operations
from onefs.fuse.protocol import AttributePacker, MalformedError, Opcode, OpenFlag
from onefs.vfs.nodes import Attributes

LISTINGS_KEPT = 256
"""Directories that programs are listing, or have listed lately."""
FORGOTTEN_AT_ONCE = 1000
_POSITION_BITS = 32
_POSITION = (1 << _POSITION_BITS) - 1
# A program that closes a file need not wait for an answer: nothing is ever to be written then.
_PASSED_THROUGH = int(OpenFlag.NO_FLUSH | OpenFlag.PASSTHROUGH)
_READ_BY_REQUEST = {
    (direct_io, keep_cache): int(OpenFlag.NO_FLUSH | direct_io * OpenFlag.DIRECT_IO | keep_cache * OpenFlag.KEEP_CACHE)
    for direct_io in (False, True)
    for keep_cache in (False, True)
}
"""Flags of an open file, by whether reads bypass the kernel's pages, and whether it keeps those that it has."""

Reply: TypeAlias = bytes | tuple[bytes, Buffer] | None
"""A whole reply, perhaps in two parts; None where the kernel takes none."""
R = TypeVar("R")
S = TypeVar("S")
First = TypeVarTuple("First")


class Handler(NamedTuple):
    """What answers one kind of request, and the least size of what follows the request's header.

    It is given the request's unique number, its inode, what follows the header, and who asks.
    """

    least_bytes: int
    reply: Callable[[int, int, memoryview, Request], Answer[Reply]]


class Handlers:
    """Answers requests once the mount is negotiated. For one event loop.

    A payload is only good until the next request is read: what is needed for longer is copied.
    """

    def __init__(self, operations: Operations, features: Features) -> None:
        self._operations = operations
        self._features = features
        self._pack = AttributePacker()
        self._directories = Directories(operations)
        self._handles: set[int] = set()

    def table(self) -> Mapping[int, Handler]:
        """The handler of each opcode. For all others ENOSYS is right.

        The kernel then closes, syncs, seeks and polls without asking, and uses GETATTR in place of STATX. Without
        OPENDIR it keeps the listing of every folder (kept listings) and sends no RELEASEDIR.
        """
        rows: list[tuple[Opcode, Struct | None, Callable[[int, int, memoryview, Request], Answer[Reply]]]] = [
            (Opcode.LOOKUP, None, self._lookup),
            (Opcode.FORGET, protocol.FORGET_IN, self._forget),
            (Opcode.BATCH_FORGET, protocol.BATCH_FORGET_IN, self._forget_batch),
            (Opcode.GETATTR, protocol.GETATTR_IN, self._getattr),
            (Opcode.SETATTR, protocol.SETATTR_IN, self._setattr),
            (Opcode.READLINK, None, self._readlink),
            (Opcode.OPEN, protocol.OPEN_IN, self._open),
            (Opcode.READ, protocol.READ_IN, self._read),
            (Opcode.WRITE, protocol.WRITE_IN, self._write),
            (Opcode.RELEASE, protocol.RELEASE_IN, self._release),
            (Opcode.STATFS, None, self._statfs),
            (Opcode.ACCESS, protocol.ACCESS_IN, self._access),
            (Opcode.GETXATTR, protocol.GETXATTR_IN, self._getxattr),
            (Opcode.LISTXATTR, protocol.GETXATTR_IN, self._listxattr),
            (Opcode.READDIR, protocol.READ_IN, self._readdir),
            (Opcode.READDIRPLUS, protocol.READ_IN, self._readdirplus),
            (Opcode.RELEASEDIR, protocol.RELEASE_IN, self._releasedir),
            (Opcode.IOCTL, None, self._ioctl),
            *((opcode, None, self._modify) for opcode in protocol.MODIFYING),
        ]
        if self._features.needs_opendir:
            rows.append((Opcode.OPENDIR, protocol.OPEN_IN, self._opendir))
        return {int(opcode): Handler(layout.size if layout else 0, method) for opcode, layout, method in rows}

    def not_taken(self, opcode: int, reply: bytes) -> None:
        """Undo a request whose reply the kernel did not take, as the request had been aborted: it will not undo it."""
        if opcode == Opcode.OPEN and len(reply) == protocol.OPEN_OUT.size:
            self._close(protocol.OPEN_OUT.unpack(reply)[3])
        elif opcode == Opcode.LOOKUP and len(reply) == protocol.ENTRY_OUT.size:
            self._operations.forget(protocol.ENTRY_OUT.unpack(reply)[3], 1)

    def close(self) -> None:
        """Close what programs had open when the mount ended."""
        for handle in list(self._handles):
            self._close(handle)

    def _close(self, handle: int) -> None:
        self._handles.discard(handle)
        with suppress(FuseError):  # nobody is there to be told
            answer = self._operations.release(handle)
            if isinstance(answer, CoroutineType):
                answer.close()

    def _lookup(self, unique: int, ino: int, payload: memoryview, request: Request) -> Answer[Reply]:
        return then(self._operations.lookup(ino, protocol.name_in(payload), request), self._pack.entry, unique)

    def _forget(self, unique: int, ino: int, payload: memoryview, request: Request) -> None:
        self._operations.forget(ino, *protocol.FORGET_IN.unpack_from(payload))

    def _forget_batch(self, unique: int, ino: int, payload: memoryview, request: Request) -> Answer[Reply]:
        forgotten = protocol.forgotten_in(payload)
        for each, times in forgotten[:FORGOTTEN_AT_ONCE]:
            self._operations.forget(each, times)
        return self._forget_rest(forgotten) if len(forgotten) > FORGOTTEN_AT_ONCE else None

    async def _forget_rest(self, forgotten: Sequence[tuple[int, int]]) -> None:
        """Forget the rest of a batch, a part at a time, so that other requests need not wait."""
        for begin in range(FORGOTTEN_AT_ONCE, len(forgotten), FORGOTTEN_AT_ONCE):
            for ino, times in forgotten[begin : begin + FORGOTTEN_AT_ONCE]:
                self._operations.forget(ino, times)
            await trio.lowlevel.checkpoint()

    def _getattr(self, unique: int, ino: int, payload: memoryview, request: Request) -> Answer[Reply]:
        return then(self._operations.getattr(ino, request), self._pack.attributes, unique)

    def _setattr(self, unique: int, ino: int, payload: memoryview, request: Request) -> Answer[Reply]:
        sets_size = bool(protocol.SETATTR_IN.unpack_from(payload)[0] & protocol.SETATTR_SIZE)
        return then(self._operations.setattr(ino, sets_size, request), self._pack.attributes, unique)

    def _readlink(self, unique: int, ino: int, payload: memoryview, request: Request) -> Answer[Reply]:
        return then(self._operations.readlink(ino), protocol.pack_bytes, unique)

    def _open(self, unique: int, ino: int, payload: memoryview, request: Request) -> Answer[Reply]:
        (flags,) = protocol.OPEN_IN.unpack_from(payload)
        return then(self._operations.open(ino, flags, request), self._opened, unique)

    def _opened(self, unique: int, opened: OpenReply) -> bytes:
        handle, direct_io, keep_cache, backing_id = opened
        self._handles.add(handle)
        if backing_id:  # the kernel takes no KEEP_CACHE beside it
            return protocol.pack_open(unique, handle, _PASSED_THROUGH, backing_id)
        return protocol.pack_open(unique, handle, _READ_BY_REQUEST[direct_io, keep_cache])

    def _read(self, unique: int, ino: int, payload: memoryview, request: Request) -> Answer[Reply]:
        request.is_told_of_signals = False  # the kernel tells of none to a program that reads through its cache
        handle, offset, size = protocol.READ_IN.unpack_from(payload)
        data = self._operations.read(handle, offset, size, request)
        return then(data, protocol.pack_read, unique)  # type: ignore[arg-type]  # mypy joins bytes and bytearray

    def _write(self, unique: int, ino: int, payload: memoryview, request: Request) -> Answer[Reply]:
        handle, _, size = protocol.WRITE_IN.unpack_from(payload)
        data = bytes(payload[protocol.WRITE_IN.size :])
        if len(data) != size:
            raise MalformedError("What is to be written is cut off.")
        return then(self._operations.write(handle, data, request), protocol.pack_written, unique)

    def _release(self, unique: int, ino: int, payload: memoryview, request: Request) -> Answer[Reply]:
        (handle,) = protocol.RELEASE_IN.unpack_from(payload)
        self._handles.discard(handle)
        return then(self._operations.release(handle), protocol.pack_done, unique)

    def _statfs(self, unique: int, ino: int, payload: memoryview, request: Request) -> Answer[Reply]:
        return then(self._operations.statfs(request), protocol.pack_statfs, unique)

    def _access(self, unique: int, ino: int, payload: memoryview, request: Request) -> Answer[Reply]:
        (mode,) = protocol.ACCESS_IN.unpack_from(payload)
        return then(self._operations.access(ino, mode, request), protocol.pack_done, unique)

    def _getxattr(self, unique: int, ino: int, payload: memoryview, request: Request) -> Answer[Reply]:
        (room,) = protocol.GETXATTR_IN.unpack_from(payload)
        name = protocol.text_in(payload[protocol.GETXATTR_IN.size :])
        return then(self._operations.getxattr(ino, name, request), protocol.pack_xattr, unique, room)

    def _listxattr(self, unique: int, ino: int, payload: memoryview, request: Request) -> Answer[Reply]:
        (room,) = protocol.GETXATTR_IN.unpack_from(payload)
        return then(self._operations.listxattr(ino, request), protocol.pack_xattr_names, unique, room)

    def _modify(self, unique: int, ino: int, payload: memoryview, request: Request) -> Answer[Reply]:
        return then(self._operations.modify(ino, request), _unmodified, unique)

    def _ioctl(self, unique: int, ino: int, payload: memoryview, request: Request) -> bytes:
        return protocol.pack_error(unique, errno.ENOTTY)

    def _opendir(self, unique: int, ino: int, payload: memoryview, request: Request) -> bytes:
        flags = 0 if self._features.no_kept_listings else OpenFlag.CACHE_DIR | OpenFlag.KEEP_CACHE
        return protocol.pack_open(unique, 0, flags)

    def _releasedir(self, unique: int, ino: int, payload: memoryview, request: Request) -> bytes:
        return protocol.pack_done(unique)

    def _readdirplus(self, unique: int, ino: int, payload: memoryview, request: Request) -> Answer[Reply]:
        _, cookie, room = protocol.READ_IN.unpack_from(payload)
        return self._directories.read(ino, _Part(unique, cookie, room, request, self._pack.entries_with_attributes))

    def _readdir(self, unique: int, ino: int, payload: memoryview, request: Request) -> Answer[Reply]:
        _, cookie, room = protocol.READ_IN.unpack_from(payload)
        return self._directories.read(ino, _Part(unique, cookie, room, request, protocol.pack_entries))


class _Part(NamedTuple):
    """A request for entries of a directory, after the one of a cookie, as many as there is room for."""

    unique: int
    cookie: int
    room: int
    request: Request
    pack: Callable[[int, Sequence[tuple[bytes, Attributes]], int, int], bytes]


class Directories:
    """The directories that programs are listing.

    A cookie, which the kernel gives back to go on, has the directory's version in its upper bits, and a position in
    that listing. So a program goes on with the listing that it began with, whatever else is listed meanwhile. If that
    was forgotten, it goes on at the same position of a new one.
    """

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        # By inode and version, that used last at the end. cachetools would take as long as all the rest of a request.
        self._listings: OrderedDict[tuple[int, int], Listing] = OrderedDict()

    def read(self, ino: int, part: _Part) -> Answer[Reply]:
        """A reply with entries; an empty one at the end."""
        key = ino, part.cookie >> _POSITION_BITS
        listing = self._listings.get(key) if part.cookie else None
        if listing is None:
            return then(self._operations.opendir(ino, part.request), self._entries, part)
        return self._entries(part, listing)

    def _entries(self, part: _Part, listing: Listing) -> Answer[Reply]:
        position = part.cookie & _POSITION
        if position >= len(listing.entries):
            return protocol.pack_done(part.unique)
        return then(self._operations.readdir(listing, position, part.request), self._packed, part, listing)

    def _packed(self, part: _Part, listing: Listing, entries: Sequence[tuple[bytes, Attributes]]) -> Reply:
        # The first entry is the directory itself, with its version.
        cookie = part.cookie or entries[0][1].version << _POSITION_BITS
        key = listing.inode, cookie >> _POSITION_BITS
        self._listings[key] = listing
        self._listings.move_to_end(key)
        if len(self._listings) > LISTINGS_KEPT:
            self._listings.popitem(last=False)
        return part.pack(part.unique, entries, cookie, part.room)


def then(answer: Answer[R], go_on: Callable[[*First, R], Answer[S]], *first: *First) -> Answer[S]:
    """What a function makes of an answer, at once or when the answer is there. `first` are its other arguments."""
    if isinstance(answer, CoroutineType):
        return _later(answer, go_on, *first)
    return go_on(*first, answer)  # type: ignore[arg-type]  # mypy takes any Coroutine for a CoroutineType


async def _later(answer: Coroutine[Any, Any, R], go_on: Callable[[*First, R], Answer[S]], *first: *First) -> S:
    return await finished(go_on(*first, await answer))


def _unmodified(unique: int, _: None) -> bytes:
    return protocol.pack_error(unique, errno.EROFS)
