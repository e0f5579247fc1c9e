"""Layouts of the kernel's FUSE protocol, 7.26 to 7.45, as far as a read-only file system needs them.

Numbers are in the machine's byte order. Names and sizes are those of the kernel's `linux/fuse.h`.
"""

import errno
import os
from collections.abc import Iterable, Sequence
from enum import IntEnum, IntFlag
from struct import Struct

from onefs.alf import LONGEST_NAME_BYTES
from onefs.fuse.callers import Buffer
from onefs.fuse.packing import BLOCK_SIZE_BYTES, FOREVER_S, blocks_of
from onefs.vfs.filesystem import Usage
from onefs.vfs.nodes import Attributes

MAJOR = 7
OLDEST_MINOR, NEWEST_MINOR = 26, 45
LARGEST_ERRNO = 511
"""The kernel refuses larger ones, and the program waits for ever."""


class Opcode(IntEnum):
    """What a request asks for."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    SETXATTR = 21
    GETXATTR = 22
    LISTXATTR = 23
    REMOVEXATTR = 24
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    ACCESS = 34
    CREATE = 35
    INTERRUPT = 36
    DESTROY = 38
    IOCTL = 39
    NOTIFY_REPLY = 41
    BATCH_FORGET = 42
    READDIRPLUS = 44
    RENAME2 = 45
    TMPFILE = 51


MODIFYING = (
    Opcode.SYMLINK, Opcode.MKNOD, Opcode.MKDIR, Opcode.UNLINK, Opcode.RMDIR, Opcode.RENAME, Opcode.LINK,
    Opcode.SETXATTR, Opcode.REMOVEXATTR, Opcode.CREATE, Opcode.RENAME2, Opcode.TMPFILE,
)  # fmt: skip
"""What would change a directory or an attribute."""
UNANSWERED = frozenset({Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT, Opcode.NOTIFY_REPLY})
"""Requests to which the kernel takes no answer."""


class OpenFlag(IntFlag):
    """How the kernel reads an open file or directory."""

    DIRECT_IO = 1 << 0
    KEEP_CACHE = 1 << 1
    CACHE_DIR = 1 << 3
    NO_FLUSH = 1 << 5
    PASSTHROUGH = 1 << 7


# Of each request: a Struct whose size is the least that the kernel sends. What newer kernels add follows.
HEADER = Struct("=IIQQIIIH2x")  # len, opcode, unique, nodeid, uid, gid, pid, total_extlen
INIT_IN = Struct("=IIII")  # major, minor, max_readahead, flags
INIT_FLAGS2_IN = Struct("=16xI")
FORGET_IN = Struct("=Q")
BATCH_FORGET_IN = Struct("=I4x")
FORGET_ONE = Struct("=QQ")
GETATTR_IN = Struct("=16x")
SETATTR_IN = Struct("=I84x")  # valid
OPEN_IN = Struct("=I4x")  # flags
READ_IN = Struct("=QQI20x")  # fh, offset, size
WRITE_IN = Struct("=QQI20x")
RELEASE_IN = Struct("=Q16x")
GETXATTR_IN = Struct("=I4x")
ACCESS_IN = Struct("=I4x")
INTERRUPT_IN = Struct("=Q")

_COMMON = Struct("=qqqIIIIIIIIII")  # what attributes have from the times on
_ATTR = "QQQqqqIIIIIIIIII"
_ENTRY = "QQQQII" + _ATTR
_DIRENT = "QQII"
OUT_HEADER = Struct("=IiQ")  # len, error, unique
ENTRY_OUT = Struct("=IiQ" + _ENTRY)
ATTR_OUT = Struct("=IiQQI4x" + _ATTR)
OPEN_OUT = Struct("=IiQQIi")
WRITE_OUT = Struct("=IiQI4x")
GETXATTR_OUT = Struct("=IiQI4x")
STATFS_OUT = Struct("=IiQQQQQQIII28x")
INIT_OUT = Struct("=IiQIIIIHHIIHHII24x")
DIRENT = Struct("=" + _DIRENT)
DIRENTPLUS = Struct("=" + _ENTRY + _DIRENT)

_NAMED = tuple(
    Struct(f"=QQQQIIQQQ{_COMMON.size}s{_DIRENT}{(length + 7) & ~7}s") for length in range(LONGEST_NAME_BYTES + 1)
)
"""An entry of READDIRPLUS with a name of each length."""

SETATTR_SIZE = 1 << 3
_NO_ENTRY = b"\0" * (DIRENTPLUS.size - DIRENT.size)
_PADDING = tuple(b"\0" * (-length % 8) for length in range(8))
_DOTS = frozenset({b".", b".."})
_NOTIFY_INODE = Struct("=IiQQqq")
_NOTIFY_ENTRY = Struct("=IiQQII")
_INVALIDATE_INODE, _INVALIDATE_ENTRY = 2, 3


class MalformedError(ValueError):
    """A request that is not laid out as the protocol has it."""


def name_in(payload: memoryview) -> bytes:
    """The one name of an entry that a payload consists of. Raises `MalformedError`."""
    if b"/" in (name := text_in(payload)):
        raise MalformedError("The name of an entry has a slash.")
    return name


def text_in(payload: memoryview) -> bytes:
    """The one text that a payload consists of, as the name of an attribute. Raises `MalformedError`."""
    text = bytes(payload)
    if text.find(b"\0") != len(text) - 1 or len(text) < 2:
        raise MalformedError("A text is missing, or does not end with NUL.")
    return text[:-1]


def forgotten_in(payload: memoryview) -> Sequence[tuple[int, int]]:
    """The inodes that the kernel forgets at once, and how often it knew each. Raises `MalformedError`."""
    (count,) = BATCH_FORGET_IN.unpack_from(payload)
    rest = payload[BATCH_FORGET_IN.size :]
    if len(rest) < count * FORGET_ONE.size:
        raise MalformedError("A batch of inodes to forget is cut off.")
    return list(FORGET_ONE.iter_unpack(rest[: count * FORGET_ONE.size]))


def pack_error(unique: int, number: int) -> bytes:
    """The answer that a request failed."""
    return OUT_HEADER.pack(OUT_HEADER.size, -number, unique)


def pack_done(unique: int, _: object = None) -> bytes:
    """The answer that a request is done."""
    return OUT_HEADER.pack(OUT_HEADER.size, 0, unique)


def pack_bytes(unique: int, data: bytes) -> bytes:
    """An answer that consists of bytes."""
    return OUT_HEADER.pack(OUT_HEADER.size + len(data), 0, unique) + data


def pack_read(unique: int, data: Buffer) -> tuple[bytes, Buffer]:
    """The answer to READ, in two parts, so that nothing is copied."""
    return OUT_HEADER.pack(OUT_HEADER.size + len(data), 0, unique), data


def pack_xattr(unique: int, room: int, value: bytes) -> bytes:
    """The answer to GETXATTR, for a program that has so much room; 0 asks how much it needs."""
    if not room:
        return GETXATTR_OUT.pack(GETXATTR_OUT.size, 0, unique, len(value))
    return pack_error(unique, errno.ERANGE) if len(value) > room else pack_bytes(unique, value)


def pack_xattr_names(unique: int, room: int, names: Sequence[bytes]) -> bytes:
    """The answer to LISTXATTR, as `pack_xattr`."""
    return pack_xattr(unique, room, b"".join(name + b"\0" for name in names))


def pack_open(unique: int, handle: int, flags: int, backing_id: int = 0) -> bytes:
    """The answer to OPEN and OPENDIR."""
    return OPEN_OUT.pack(OPEN_OUT.size, 0, unique, handle, flags, backing_id)


def pack_written(unique: int, size_bytes: int) -> bytes:
    """The answer to WRITE."""
    return WRITE_OUT.pack(WRITE_OUT.size, 0, unique, size_bytes)


def pack_statfs(unique: int, usage: Usage) -> bytes:
    """The answer to STATFS."""
    total, free, available = blocks_of(usage)
    size = BLOCK_SIZE_BYTES
    head = STATFS_OUT.size, 0, unique
    return STATFS_OUT.pack(*head, total, free, available, usage.files, 0, size, LONGEST_NAME_BYTES, size)


def pack_invalidate_inode(ino: int, *, attributes_only: bool) -> bytes:
    """The notification to forget the attributes and pages of an inode; those of a directory are its kept listing."""
    offset = -1 if attributes_only else 0
    return _NOTIFY_INODE.pack(_NOTIFY_INODE.size, _INVALIDATE_INODE, 0, ino, offset, 0)


def pack_invalidate_entry(parent: int, name: bytes) -> bytes:
    """The notification to forget an entry of a directory."""
    size = _NOTIFY_ENTRY.size + len(name) + 1
    return _NOTIFY_ENTRY.pack(size, _INVALIDATE_ENTRY, 0, parent, len(name), 0) + name + b"\0"


class AttributePacker:
    """Packs attributes; all nodes are those of the user who mounted."""

    def __init__(self) -> None:
        self._uid, self._gid = os.getuid(), os.getgid()

    def entry(self, unique: int, attributes: Attributes) -> bytes:
        """The answer to LOOKUP. Attributes of inode 0 say that the name is absent."""
        ino, generation, mode, size, blocks, time_s, kept_s, version, is_live = attributes
        s, ns = (FOREVER_S, 0) if kept_s is None else _timeout(kept_s)
        attributes_s, attributes_ns = (0, 0) if is_live else (s, ns)
        return ENTRY_OUT.pack(
            ENTRY_OUT.size, 0, unique, ino, generation, s, attributes_s, ns, attributes_ns,
            ino, size, blocks, time_s, time_s, time_s, version, version, version, mode, 1, self._uid, self._gid,
            0, BLOCK_SIZE_BYTES, 0,
        )  # fmt: skip

    def attributes(self, unique: int, attributes: Attributes) -> bytes:
        """The answer to GETATTR and SETATTR."""
        ino, _, mode, size, blocks, time_s, kept_s, version, is_live = attributes
        s, ns = (0, 0) if is_live else (FOREVER_S, 0) if kept_s is None else _timeout(kept_s)
        return ATTR_OUT.pack(
            ATTR_OUT.size, 0, unique, s, ns,
            ino, size, blocks, time_s, time_s, time_s, version, version, version, mode, 1, self._uid, self._gid,
            0, BLOCK_SIZE_BYTES, 0,
        )  # fmt: skip

    def entries_with_attributes(
        self, unique: int, entries: Iterable[tuple[bytes, Attributes]], cookie: int, room: int
    ) -> bytes:
        """The answer to READDIRPLUS: as many entries as there is room for. The first has the cookie after this one.

        `.` and `..` come without attributes: the kernel does not count them as looked up.
        """
        uid, gid, common_of, common = self._uid, self._gid, None, b""
        chunks = [b""]
        for name, (ino, generation, mode, size, blocks, time_s, kept_s, version, is_live) in entries:
            length = len(name)
            room -= (DIRENTPLUS.size + 7 + length) & ~7
            if room < 0:
                break
            cookie += 1
            if name in _DOTS:
                chunks.append(_NO_ENTRY + DIRENT.pack(ino, cookie, length, mode >> 12) + name + _PADDING[length])
                continue
            s, ns = (FOREVER_S, 0) if kept_s is None else _timeout(kept_s)
            if common_of != (mode, time_s, version):  # mostly, neighbours have the same
                common_of = mode, time_s, version
                common = _COMMON.pack(
                    time_s, time_s, time_s, version, version, version, mode, 1, uid, gid, 0, BLOCK_SIZE_BYTES, 0
                )
            chunks.append(_NAMED[length].pack(
                ino, generation, s, 0 if is_live else s, ns, 0 if is_live else ns,
                ino, size, blocks, common, ino, cookie, length, mode >> 12, name
            ))  # fmt: skip
        return _joined(unique, chunks)


def pack_entries(unique: int, entries: Iterable[tuple[bytes, Attributes]], cookie: int, room: int) -> bytes:
    """The answer to READDIR, as `AttributePacker.entries_with_attributes`."""
    chunks = [b""]
    for name, attributes in entries:
        length = len(name)
        room -= (DIRENT.size + 7 + length) & ~7
        if room < 0:
            break
        cookie += 1
        chunks.append(DIRENT.pack(attributes.ino, cookie, length, attributes.mode >> 12))
        chunks.append(name + _PADDING[length & 7])
    return _joined(unique, chunks)


def _joined(unique: int, chunks: list[bytes]) -> bytes:
    """The answer that has these parts. The first is empty: it becomes the header."""
    if len(chunks) == 1:
        raise MalformedError("There is no room for one entry of a directory.")
    chunks[0] = OUT_HEADER.pack(OUT_HEADER.size + sum(map(len, chunks)), 0, unique)
    return b"".join(chunks)


def _timeout(kept_s: float) -> tuple[int, int]:
    """Whole seconds and the nanoseconds that remain."""
    whole_s = int(kept_s)
    return whole_s, int((kept_s - whole_s) * 1e9)
