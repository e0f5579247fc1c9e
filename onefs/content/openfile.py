"""Owns `OpenFile`: a file as one program has it open, before and after its bytes are there."""

import errno
import os
import threading
from concurrent.futures import Future

from onefs.content.descriptors import Descriptor
from onefs.content.fetch import Fetch
from onefs.content.files import cache_error
from onefs.errors import CacheDamagedError

WOULD_BLOCK = (errno.EAGAIN, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class OpenFile:
    """One opening of a dataset. It keeps the edition it opened. Safe to use from several threads.

    Made with a verified file, or with a fetch that the maker is attached to. Bytes that another program changes
    meanwhile are refused: `read` and `read_now` then raise CacheDamagedError.
    """

    __slots__ = ("_closed", "_fetch", "_file", "_lock", "_path")

    def __init__(self, path: str, file: Descriptor | None, fetch: Fetch | None) -> None:
        self._path = path
        self._file = file
        self._fetch = fetch
        self._closed = False
        self._lock = threading.Lock()  # guards the three above

    @property
    def size_bytes(self) -> int | None:
        """The size as far as it is known now."""
        file, fetch = self._file, self._fetch
        if file is not None:
            return file.size_bytes
        return None if fetch is None else fetch.total_bytes

    @property
    def edition(self) -> tuple[int, int, int] | None:
        """Size (bytes), mtime (ns) and inode of the copy that the bytes come from; None while it is being fetched."""
        file = self._file
        if file is None:
            return None
        return file.signature.size_bytes, file.signature.mtime_ns, file.signature.inode

    def wait(self, offset: int, size: int) -> Future[None] | None:  # noqa: ARG002  (files come whole, for now)
        """None if these bytes can be read now (or lie behind the end), else what to wait for.

        The future ends when it is worth asking again, also after a failure; many may wait for the same one.
        Raises the fetch's failure.
        """
        with self._lock:
            if self._file is not None or self._fetch is None:
                return None
            self._file = self._fetch.take()
            if self._file is None:
                return self._fetch.finished
            self._fetch = None
            return None

    def read_now(self, offset: int, size: int) -> bytes | None:
        """Bytes that are in memory; None if the disk would have to be waited for, or the file is not there yet."""
        file = self._borrow()
        if file is None:
            return None
        try:
            buffer = bytearray(size)
            count = os.preadv(file.number, [buffer], offset, os.RWF_NOWAIT)
            self._check(file)
        except OSError as error:
            if error.errno in WOULD_BLOCK:
                return None
            raise cache_error(self._path, "the cache", error) from error
        finally:
            file.release()
        if count < size and offset + count < file.size_bytes:
            return None
        return bytes(memoryview(buffer)[:count])

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes, fewer only at the end of the file. `wait` must have said that they are there."""
        file = self._borrow()
        if file is None:
            raise ValueError("read of a file that is closed or not there yet")
        try:
            data = os.pread(file.number, size, offset)
            self._check(file)
            return data
        except OSError as error:
            raise cache_error(self._path, "the cache", error) from error
        finally:
            file.release()

    def close(self) -> None:
        """Let go of the file. A read in progress ends first; a fetch goes on. Does nothing the second time."""
        with self._lock:
            self._closed = True
            file, fetch = self._file, self._fetch
            self._file = self._fetch = None
        if file is not None:
            file.release()
        if fetch is not None:
            fetch.detach()

    def _check(self, file: Descriptor) -> None:
        """Asked after the bytes were read: whatever changed them before has changed the signature too."""
        if not file.is_unchanged:
            raise CacheDamagedError(
                f"{self._path}: another program changed its cached copy while it was open.",
                "Open it again to have it checked.",
            )

    def _borrow(self) -> Descriptor | None:
        with self._lock:
            file = self._file
            return file if file is not None and file.share() else None
