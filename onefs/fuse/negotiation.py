"""INIT: what the kernel offers, what the session takes of it, and what is missing and why."""

import mmap
from collections.abc import Mapping
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
"""The cache of a mount that passes reads through may not stand on a stacked file system itself."""


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


# AUTO_INVAL_DATA has the kernel compare a folder's time before it shows a listing that it kept.
_WANTED = (
    InitFlag.ASYNC_READ | InitFlag.ATOMIC_O_TRUNC | InitFlag.EXPORT_SUPPORT | InitFlag.BIG_WRITES
    | InitFlag.AUTO_INVAL_DATA | InitFlag.DO_READDIRPLUS | InitFlag.ASYNC_DIO | InitFlag.PARALLEL_DIROPS
    | InitFlag.MAX_PAGES | InitFlag.NO_OPENDIR_SUPPORT
)  # fmt: skip
_CACHE_DIR_MINOR = 28
_FEATURES = {
    "large_reads": (InitFlag.MAX_PAGES, 28),
    "attributes_with_listings": (InitFlag.DO_READDIRPLUS, 21),
    "parallel_lookups": (InitFlag.PARALLEL_DIROPS, 25),
    "exports": (InitFlag.EXPORT_SUPPORT, 10),
    "no_opendir": (InitFlag.NO_OPENDIR_SUPPORT, 29),
    "passthrough": (InitFlag.PASSTHROUGH, 40),
}
"""Names for people, with the flag and the minor version that has it."""


@dataclass(frozen=True, slots=True)
class Features:
    """What kernel and session agreed on. `flags` are those that both have; `missing` says why a feature is off."""

    minor: int
    flags: InitFlag
    missing: Mapping[str, str]

    @property
    def keeps_listings(self) -> bool:
        """Whether the kernel keeps listings of directories."""
        return self.minor >= _CACHE_DIR_MINOR

    @property
    def needs_opendir(self) -> bool:
        """Whether directories have to be opened: newer kernels need not ask."""
        return not self.flags & InitFlag.NO_OPENDIR_SUPPORT

    @property
    def passthrough(self) -> bool:
        """Whether the kernel can read files by itself."""
        return bool(self.flags & InitFlag.PASSTHROUGH)

    @property
    def is_on(self) -> Mapping[str, bool]:
        """Whether each feature is on, by its name."""
        return {
            "kept_listings": self.keeps_listings,
            **{name: bool(self.flags & _FEATURES[name][0]) for name in _FEATURES},
        }


def negotiate(unique: int, payload: memoryview, *, no_passthrough: str = "") -> tuple[bytes, Features | None]:
    """The answer to INIT, and what was agreed on; None if the kernel asks again, as it speaks a newer major version.

    `no_passthrough` says why the kernel shall not read files by itself; "" if it may. Raises `MountError` if the
    kernel is too old.
    """
    major, minor, max_readahead, offered = INIT_IN.unpack_from(payload)
    if major > MAJOR:
        return _packed(unique, NEWEST_MINOR, 0, 0), None
    _check_version(major, minor)
    if offered & InitFlag.INIT_EXT and len(payload) >= INIT_FLAGS2_IN.size:
        offered |= INIT_FLAGS2_IN.unpack_from(payload)[0] << 32
    wanted = _WANTED if no_passthrough else _WANTED | InitFlag.PASSTHROUGH
    flags = InitFlag(offered & wanted)
    sent = flags | InitFlag.INIT_EXT if flags >> 32 else flags
    missing = {
        name: _why_missing(minor, since) if not offered & flag else no_passthrough
        for name, (flag, since) in _FEATURES.items()
        if not flags & flag
    }
    if minor < _CACHE_DIR_MINOR:
        missing["kept_listings"] = _why_missing(minor, _CACHE_DIR_MINOR)
    minor = min(minor, NEWEST_MINOR)
    return _packed(unique, minor, max_readahead, sent), Features(minor, flags, missing)


def _check_version(major: int, minor: int) -> None:
    """Raise `MountError` if the kernel is too old."""
    if (major, minor) < (MAJOR, OLDEST_MINOR):
        raise MountError(
            f"This kernel speaks version {major}.{minor} of the FUSE protocol; onefs needs "
            f"{MAJOR}.{OLDEST_MINOR}, of Linux 4.9, or a newer one.",
            "Use a newer kernel, or mount with: --kernel-adapter pyfuse3",
        )


def _why_missing(minor: int, since: int) -> str:
    """Why the kernel offers no feature that is in the protocol since a minor version."""
    if minor < since:
        return f"the kernel speaks FUSE protocol {MAJOR}.{minor}, and {MAJOR}.{since} is needed"
    return "the kernel does not offer it"


def _packed(unique: int, minor: int, max_readahead: int, flags: int) -> bytes:
    return INIT_OUT.pack(
        INIT_OUT.size, 0, unique, MAJOR, minor, max_readahead, flags & 0xFFFFFFFF,
        MAX_BACKGROUND, MAX_BACKGROUND, REQUEST_BYTES, 1, REQUEST_BYTES // mmap.PAGESIZE, 0, flags >> 32,
        STACK_DEPTH if flags & InitFlag.PASSTHROUGH else 0,
    )  # fmt: skip
