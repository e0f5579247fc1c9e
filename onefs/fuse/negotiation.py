"""INIT: what the kernel offers, what the session takes of it, and what is missing and why.

EXPORT_SUPPORT is for NFS servers: `.` and `..` are looked up by inode number, and handles outlive a remount. Kept
listings take version 7.28, and need no OPENDIR with NO_OPENDIR_SUPPORT; passthrough takes version 7.40. WRITEBACK_CACHE
is never agreed on: the kernel offers no passthrough with it.
"""

import mmap
from dataclasses import dataclass
from enum import IntFlag

from onefs.errors import MountError
from onefs.fuse.protocol import (
    INIT_FLAGS2_IN,
    INIT_IN,
    INIT_OUT,
    MAJOR,
    NEWEST_MINOR,
    OLDEST_MINOR,
)

REQUEST_BYTES = 1 << 20
"""The most that the kernel reads or writes in one request."""
BUFFER_BYTES = REQUEST_BYTES + mmap.PAGESIZE
"""What a request with its header takes at most."""
MAX_BACKGROUND = 10_000
"""Requests that nobody waits for, such as read-ahead, which the kernel sends before it holds back more."""
STACK_DEPTH = 1
"""max_stack_depth: the cache may not be on a stacked file system, such as an overlayfs, if reads are passed through."""


class InitFlag(IntFlag):
    """What kernel and session can agree on."""

    ASYNC_READ = 1 << 0
    ATOMIC_O_TRUNC = 1 << 3
    EXPORT_SUPPORT = 1 << 4
    BIG_WRITES = 1 << 5
    AUTO_INVAL_DATA = 1 << 12
    DO_READDIRPLUS = 1 << 13
    ASYNC_DIO = 1 << 15
    WRITEBACK_CACHE = 1 << 16
    NO_OPEN_SUPPORT = 1 << 17
    PARALLEL_DIROPS = 1 << 18
    MAX_PAGES = 1 << 22
    CACHE_SYMLINKS = 1 << 23
    NO_OPENDIR_SUPPORT = 1 << 24
    INIT_EXT = 1 << 30
    PASSTHROUGH = 1 << 37


# AUTO_INVAL_DATA has the kernel compare a folder's time before it shows a listing that it kept. Without ASYNC_DIO,
# a program that reads with O_DIRECT can be killed while it waits, and the kernel tells of its signals.
_WANTED = (
    InitFlag.ASYNC_READ | InitFlag.ATOMIC_O_TRUNC | InitFlag.EXPORT_SUPPORT | InitFlag.BIG_WRITES
    | InitFlag.AUTO_INVAL_DATA | InitFlag.DO_READDIRPLUS | InitFlag.PARALLEL_DIROPS
    | InitFlag.MAX_PAGES | InitFlag.NO_OPENDIR_SUPPORT
)  # fmt: skip
_CACHE_DIR_MINOR, _PASSTHROUGH_MINOR = 28, 40
"""Minor versions of the protocol that brought kept listings, and passthrough."""


@dataclass(frozen=True, slots=True)
class Features:
    """What kernel and session agreed on. `flags` are those that both have.

    `no_passthrough` and `no_kept_listings` say why these are off; "" if they are on.
    """

    minor: int
    flags: InitFlag
    read_ahead_bytes: int
    no_passthrough: str
    no_kept_listings: str

    @property
    def needs_opendir(self) -> bool:
        """Whether directories have to be opened: newer kernels need not ask."""
        return not self.flags & InitFlag.NO_OPENDIR_SUPPORT


def negotiate(unique: int, payload: memoryview, *, no_passthrough: str = "") -> tuple[bytes, Features | None]:
    """The answer to INIT, and what was agreed on; None if the kernel asks again, as it speaks a newer major version.

    `no_passthrough` says why the kernel shall not read files by itself; "" if it may. Raises `MountError` if the
    kernel is too old.
    """
    major, minor, read_ahead_bytes, offered = INIT_IN.unpack_from(payload)
    if major > MAJOR:
        return _packed(unique, NEWEST_MINOR, 0, 0), None
    _check_version(major, minor)
    if offered & InitFlag.INIT_EXT and len(payload) >= INIT_FLAGS2_IN.size:
        offered |= INIT_FLAGS2_IN.unpack_from(payload)[0] << 32
    wanted = _WANTED if no_passthrough else _WANTED | InitFlag.PASSTHROUGH
    flags = InitFlag(offered & wanted)
    features = Features(
        min(minor, NEWEST_MINOR),
        flags,
        read_ahead_bytes,
        "" if flags & InitFlag.PASSTHROUGH else no_passthrough or _why_missing(minor, _PASSTHROUGH_MINOR),
        "" if minor >= _CACHE_DIR_MINOR else _why_missing(minor, _CACHE_DIR_MINOR),
    )
    sent = flags | InitFlag.INIT_EXT if flags >> 32 else flags
    return _packed(unique, features.minor, read_ahead_bytes, sent), features


def _check_version(major: int, minor: int) -> None:
    if (major, minor) < (MAJOR, OLDEST_MINOR):
        raise MountError(
            f"This kernel speaks version {major}.{minor} of the FUSE protocol; onefs needs "
            f"{MAJOR}.{OLDEST_MINOR}, of Linux 4.9, or a newer one.",
            "Use a newer kernel, or mount with: --kernel-adapter pyfuse3",
        )


def _why_missing(minor: int, since: int) -> str:
    """Why the kernel offers no feature that is in the protocol since a minor version."""
    if minor < since:
        return f"The kernel speaks version {MAJOR}.{minor} of the FUSE protocol; this takes {MAJOR}.{since}."
    return "The kernel does not offer it."


def _packed(unique: int, minor: int, read_ahead_bytes: int, flags: int) -> bytes:
    return INIT_OUT.pack(
        INIT_OUT.size, 0, unique, MAJOR, minor, read_ahead_bytes, flags & 0xFFFFFFFF,
        MAX_BACKGROUND, MAX_BACKGROUND, REQUEST_BYTES, 1, REQUEST_BYTES // mmap.PAGESIZE, 0, flags >> 32,
        STACK_DEPTH if flags & InitFlag.PASSTHROUGH else 0,
    )  # fmt: skip
