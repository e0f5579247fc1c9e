"""`CachedFile`, a verified file that readers share, and `Descriptors`, which opens and closes them as they are read."""

import errno
import os
import resource
from collections import OrderedDict
from contextlib import suppress
from typing import Protocol
from uuid import UUID

from onefs.cache.atomic import cache_error
from onefs.cache.layout import ABSENT, Copy
from onefs.cache.verify import Signature
from onefs.catalogue.records import Dataset
from onefs.errors import CacheDamagedError, CopyRemovedError, OnefsError
from onefs.forks import new_lock

LEAST_DESCRIPTORS = 16
WOULD_BLOCK = (errno.EAGAIN, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
CLOSED = -1


class Disk(Protocol):
    """Where the files are."""

    @property
    def is_local_disk(self) -> bool:
        """Whether opening a file keeps nobody waiting."""

    @property
    def read_now_flags(self) -> int:
        """Flags of `preadv` for a read that never waits for a disk."""

    def open_path(self, path: str) -> int:
        """A descriptor of a file of the cache. Raises OSError."""


class CachedFile:
    """A verified file of the cache that readers share. It may be closed between reads, and is opened again then.

    Each `Descriptors.share` gives a share, which `release` gives back. Both ways to read raise CopyRemovedError if the
    file has to be opened and is no longer there, and CacheDamagedError if another program changed it. Safe to use
    from several threads.
    """

    __slots__ = ("_descriptors", "_was_read", "dataset", "number", "path", "readers", "shares", "signature")

    def __init__(self, descriptors: "Descriptors", dataset: Dataset, path: str, signature: Signature) -> None:
        """`signature` is what the file was trusted with."""
        self._descriptors = descriptors
        self.dataset = dataset
        self.path = path
        self.signature = signature
        self._was_read = False
        # `Descriptors` alone changes these three, under its lock.
        self.number = CLOSED
        self.shares = 1
        self.readers = 0

    @property
    def size_bytes(self) -> int:
        """The file's size when it was trusted."""
        return self.signature.size_bytes

    @property
    def edition(self) -> tuple[int, int, int]:
        """Size (bytes), mtime (ns) and inode, as it was trusted."""
        return self.signature.size_bytes, self.signature.mtime_ns, self.signature.inode

    def read_now(self, offset: int, size: int) -> bytearray | None:
        """Bytes that are in memory; None if the disk would have to be waited for, or all shares were given back."""
        buffer = bytearray(self._count(offset, size))
        return buffer if self._is_read_now(buffer, offset) else None

    def read_now_into(self, room: memoryview, offset: int, size: int) -> memoryview | None:
        """The same in the beginning of `room`, which has room for `size` bytes."""
        buffer = room[: self._count(offset, size)]
        return buffer if self._is_read_now(buffer, offset) else None

    def _count(self, offset: int, size: int) -> int:
        """How many bytes there are of those that are wanted."""
        return max(0, min(size, self.signature.size_bytes - offset))

    def _is_read_now(self, buffer: bytearray | memoryview, offset: int) -> bool:
        """Fill a buffer without waiting for the disk; whether that is possible."""
        disk = self._descriptors.disk
        if self.number == CLOSED and not disk.is_local_disk:
            return False
        try:
            return self._read(buffer, offset, disk.read_now_flags) == len(buffer)
        except OSError as error:
            if error.errno in WOULD_BLOCK:
                return False
            raise cache_error(self.dataset.path, self.path, error) from error

    def read(self, offset: int, size: int) -> bytearray | None:
        """Up to `size` bytes, fewer only at the end of the file; None if all shares were given back."""
        buffer = bytearray(self._count(offset, size))
        try:
            count = self._read(buffer, offset, 0)
        except OSError as error:
            raise cache_error(self.dataset.path, self.path, error) from error
        if count is None:
            return None
        del buffer[count:]
        return buffer

    def share(self) -> bool:
        """Take a share; False if all were given back."""
        return self._descriptors.share_again(self)

    def release(self) -> None:
        """Give a share back. The last one closes the file, once nobody reads it any more."""
        self._descriptors.release(self)

    def lend(self) -> int:
        """The file's descriptor, for a kernel that reads it without asking; CLOSED if it is not to be had.

        It stays open until `take_back`, even if all shares are given back before.
        """
        try:
            return self._descriptors.lend(self)
        except (OSError, OnefsError):  # whoever reads the file is told
            return CLOSED

    def take_back(self) -> None:
        """Take back the descriptor that `lend` gave."""
        self._descriptors.take_back(self)

    def is_as_trusted(self, status: os.stat_result) -> bool:
        """Whether no program changed the file, whose status is this, since it was trusted.

        Links and names, which change the ctime, may come and go while it is open.
        """
        return status.st_size == self.signature.size_bytes and status.st_mtime_ns == self.signature.mtime_ns

    def _read(self, buffer: bytearray | memoryview, offset: int, flags: int) -> int | None:
        """Read into a buffer, and count the bytes; None if all shares were given back. Raises OSError too."""
        number = self._descriptors.borrow(self)
        if number == CLOSED:
            return None
        try:
            count = os.preadv(number, [buffer], offset, flags)
            status = os.fstat(number)  # after the read, which saw all changes before it
        finally:
            self._descriptors.give_back(self)
        if not self._was_read and status.st_nlink and Signature.of(status) != self.signature:
            raise _removed(self)  # opened again, it is hashed, or fetched
        if not self.is_as_trusted(status):
            raise _changed(self) if self._was_read else _removed(self)
        self._was_read = True
        return count


class Descriptors:
    """The verified files that are open in this process. Safe to use from several threads.

    Half of the descriptors that the process may have are for them; the rest is for connections, databases and parts.
    When more are needed, the file that was read longest ago is closed, to be opened again when it is read. Such a file
    must keep its name: whoever evicts asks `needs_its_name`. Those that are lent are not closed; they have at most
    half of these descriptors.
    """

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self._lock = new_lock()  # guards all below, and what changes of each file
        self._files: dict[UUID, CachedFile] = {}
        self._open: OrderedDict[CachedFile, None] = OrderedDict()  # read last at the end
        self._lent = 0

    def share(self, dataset: Dataset, copy: Copy) -> CachedFile:
        """A share of a verified file. Takes over the copy's descriptor."""
        with self._lock:
            file = self._files.get(dataset.id)
            if file is not None and file.signature == copy.signature and file.path == copy.path:
                file.shares += 1
            else:
                file = self._files[dataset.id] = CachedFile(self, dataset, copy.path, copy.signature)
            closing = self._adopt(file, copy.descriptor)
        _close(closing)
        return file

    def share_again(self, file: CachedFile) -> bool:
        """Take a further share; False if all were given back."""
        with self._lock:
            if not file.shares:
                return False
            file.shares += 1
            return True

    def release(self, file: CachedFile) -> None:
        """Give a share back."""
        with self._lock:
            file.shares -= 1
            unused = self._unused(file)
        if unused != CLOSED:
            os.close(unused)

    def borrow(self, file: CachedFile) -> int:
        """The file's descriptor for one read, to be given back; CLOSED if all shares were given back.

        Raises OSError, CopyRemovedError or CacheDamagedError.
        """
        while True:
            with self._lock:
                if not file.shares:
                    return CLOSED
                if file.number != CLOSED:
                    file.readers += 1
                    self._open.move_to_end(file)
                    return file.number
            number = self._opened(file)
            with self._lock:
                closing = self._adopt(file, number)
            _close(closing)

    def give_back(self, file: CachedFile) -> None:
        """A read ended."""
        with self._lock:
            file.readers -= 1
            unused = self._unused(file)
        if unused != CLOSED:
            os.close(unused)

    def lend(self, file: CachedFile) -> int:
        """The file's descriptor for long, to be taken back; CLOSED if too many are lent, or it has no share left.

        Raises OSError, CopyRemovedError or CacheDamagedError.
        """
        number = self.borrow(file) if self._lent < _limit() // 2 else CLOSED
        if number != CLOSED:
            with self._lock:
                self._lent += 1
        return number

    def take_back(self, file: CachedFile) -> None:
        """A descriptor that was lent is not needed any more."""
        with self._lock:
            self._lent -= 1
        self.give_back(file)

    def needs_its_name(self, dataset_id: UUID) -> bool:
        """Whether the dataset's file is open without a descriptor, so that evicting it would take it from a reader."""
        with self._lock:
            file = self._files.get(dataset_id)
            return file is not None and file.number == CLOSED

    def open_now(self, dataset_id: UUID) -> None:
        """Open the dataset's file if it is open without a descriptor: it is about to lose its name."""
        file = self._files.get(dataset_id)
        if file is not None:
            with suppress(OSError, OnefsError):  # then it is fetched again when it is read
                if self.borrow(file) != CLOSED:
                    self.give_back(file)

    def close_half(self) -> None:
        """Close half of the files, those read longest ago: this process, or the machine, has no descriptor left."""
        with self._lock:
            closing = self._surplus(len(self._open) // 2)
        _close(closing)

    def _opened(self, file: CachedFile) -> int:
        """A new descriptor of the very file that was trusted."""
        try:
            number = self.disk.open_path(file.path)
        except OSError as error:
            if error.errno in ABSENT:
                raise _removed(file) from None
            raise
        if Signature.of(os.fstat(number)) != file.signature:  # whoever opens it again has it hashed, or fetched
            os.close(number)
            raise _removed(file)
        return number

    def _adopt(self, file: CachedFile, number: int) -> list[int]:
        """Have a file read through a new descriptor, unless it has one or is not needed any more; what to close then.

        To be called with the lock.
        """
        if file.number != CLOSED or not file.shares:
            return [number]
        file.number = number
        self._open[file] = None
        return self._surplus(_limit(), file) if len(self._open) > LEAST_DESCRIPTORS else []

    def _surplus(self, limit: int, needed: CachedFile | None = None) -> list[int]:
        """Take away the descriptors that are too many, but for those in use, and return them."""
        found = []
        while len(self._open) > limit:
            idle = next((file for file in self._open if not file.readers and file is not needed), None)
            if idle is None:
                break
            found.append(self._taken(idle))
        return found

    def _unused(self, file: CachedFile) -> int:
        """Take away the descriptor of a file that nobody has open any more, and return it; CLOSED if there is none."""
        if file.shares or file.readers:
            return CLOSED
        if self._files.get(file.dataset.id) is file:
            del self._files[file.dataset.id]
        return CLOSED if file.number == CLOSED else self._taken(file)

    def _taken(self, file: CachedFile) -> int:
        number, file.number = file.number, CLOSED
        del self._open[file]
        return number


def _limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft // 2, LEAST_DESCRIPTORS) if soft >= 0 else 1 << 30


def _close(numbers: list[int]) -> None:
    for number in numbers:
        os.close(number)


def _changed(file: CachedFile) -> CacheDamagedError:
    return CacheDamagedError(
        f"{file.dataset.path}: another program changed its cached copy while it was open.",
        "Open it again to have it checked.",
    )


def _removed(file: CachedFile) -> CopyRemovedError:
    return CopyRemovedError(
        f"{file.dataset.path}: another program removed or replaced its cached copy while it was open.",
        "Open it again to have it fetched.",
    )
