"""`OpenFile`: a file as one program has it open, before and after its bytes are there."""

import os
import threading
from concurrent.futures import FIRST_COMPLETED, Future, wait

from onefs.cache.atomic import cache_error
from onefs.cache.descriptors import WOULD_BLOCK, CachedFile
from onefs.errors import again
from onefs.fetch.descriptors import Descriptor, Origin, Source
from onefs.fetch.fetch import Fetch
from onefs.fetch.part_file import PartFile
from onefs.fetch.scheduler import ReadAhead

ALL_AT_ONCE_BYTES = 64 << 20
"""So much is asked for at once of a file that is to become whole."""


class OpenFile:
    """One opening of a dataset. It keeps the edition it opened. Safe to use from several threads.

    Made with a verified file, or with a fetch that the maker is attached to. A file that grows is read as far as it
    is there. Bytes that another program changes meanwhile are refused: `read` and `read_now` then raise
    CacheDamagedError, or CopyRemovedError if the copy is gone and no descriptor of it is open.
    """

    __slots__ = (
        "_ahead",
        "_came_from_server",
        "_closed",
        "_closing",
        "_fetch",
        "_file",
        "_lock",
        "_part",
        "_path",
        "is_fetched",
    )

    def __init__(self, path: str, file: CachedFile | None, fetch: Fetch | None, *, is_fetched: bool = False) -> None:
        """`is_fetched` says that the fetch was begun for this opening, as there is no copy."""
        self._path = path
        self.is_fetched = is_fetched
        self._file = file
        self._fetch = fetch
        self._part: PartFile | None = None
        self._ahead: ReadAhead | None = None
        self._closed = False
        self._closing: Future[None] | None = None
        self._came_from_server = False
        self._lock = threading.Lock()  # guards the seven above

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
        return file.edition if file is not None else None

    @property
    def origin(self) -> Origin | None:
        """What will tell the edition of bytes that were read before it is known; None if there are none."""
        part = self._part
        return part.origin if part is not None else None

    @property
    def source(self) -> Source:
        """Where the bytes come from that can be read now."""
        fetch, part = self._fetch, self._part
        if part is not None and not part.storage.is_kept:
            return Source.MEMORY
        return Source.NETWORK if self._came_from_server or (fetch is not None and fetch.host) else Source.CACHE

    @property
    def is_whole(self) -> bool:
        """Whether no read waits for a server any more."""
        return self._file is not None

    @property
    def verified(self) -> CachedFile | None:
        """The verified file that it is read from; None if that is not whole yet."""
        return self._file

    def wait(self, offset: int, size: int) -> Future[None] | None:
        """None if these bytes can be read now (or lie behind the end), else what to wait for.

        The future ends when it is worth asking again, also after a failure; many may wait for the same one.
        Raises the fetch's failure.
        """
        if self._file is not None:
            return None
        with self._lock:
            if self._file is not None or self._fetch is None:
                return None
            news = self._fetch.news  # before the look at what there is, so that nothing is missed
            part = self._follow(self._fetch)
            if part is None:
                return None if self._file is not None else news
            if self._ahead is None:
                self._ahead = ReadAhead(part.rules.read_ahead_max_bytes)
            return part.want(self._ahead, offset, size)

    def wait_whole(self) -> None:
        """Have all of it fetched, and return once it is whole and verified. Raises the fetch's failure.

        Raises ValueError once the file is closed, by another thread too.
        """
        with self._lock:
            closing = self._closing = self._closing or Future()
        while (waiting := self._ask_for_all()) is not None:
            wait((waiting, closing), return_when=FIRST_COMPLETED)

    def _ask_for_all(self) -> Future[None] | None:
        """What to wait for until the file is whole; None if it is."""
        with self._lock:
            if self._file is not None:
                return None
            if self._fetch is None:
                raise ValueError("a file that is closed never becomes whole")
            news = self._fetch.news
            part = self._follow(self._fetch)
            if part is None:
                return None if self._file is not None else news
            return part.want_next(ALL_AT_ONCE_BYTES) or news

    def _follow(self, fetch: Fetch) -> PartFile | None:
        """What to read from if the file is not whole yet. Raises why nothing is served any more."""
        part = self._part
        if part is not None and part.error is not None and part.is_served:
            raise again(part.error)  # for good: nothing else may be read through this opening
        self._file = fetch.take()
        if self._file is not None:
            self._came_from_server = bool(fetch.host)
            self._fetch = self._part = None
            return None
        found = fetch.readable
        if found is not part and part is not None and self._ahead is not None:
            part.forget(self._ahead)
            self._ahead = None
        self._part = found if found is not None and found.error is None else None
        return self._part

    def read_now(self, offset: int, size: int) -> bytes | bytearray | None:
        """Bytes that are in memory; None if the disk would have to be waited for, or the file is not there yet."""
        lent = self._borrow(offset, size, may_wait=False)
        if isinstance(lent, CachedFile):
            return lent.read_now(offset, size)
        if not isinstance(lent, Descriptor):
            return lent
        try:
            buffer = bytearray(size)
            count = os.preadv(lent.number, [buffer], offset, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno in WOULD_BLOCK:
                return None
            raise cache_error(self._path, "the cache", error) from error
        finally:
            lent.release()
        if count < size and offset + count < lent.size_bytes:
            return None
        del buffer[count:]
        return buffer

    def read(self, offset: int, size: int) -> bytes | bytearray | None:
        """Up to `size` bytes, fewer only at the end of the file; None if they went since `wait` said they are there.

        Raises ValueError if the file is closed.
        """
        lent = self._borrow(offset, size, may_wait=True)
        data = lent.read(offset, size) if isinstance(lent, CachedFile) else lent
        if data is None and self._closed:
            raise ValueError("read of a file that is closed")
        if not isinstance(data, Descriptor):
            return data
        try:
            return os.pread(data.number, size, offset)
        except OSError as error:
            raise cache_error(self._path, "the cache", error) from error
        finally:
            data.release()

    def close(self) -> None:
        """Let go of the file. A read in progress ends first; a fetch goes on. Does nothing the second time."""
        with self._lock:
            self._closed = True
            file, fetch, part, ahead = self._file, self._fetch, self._part, self._ahead
            self._file = self._fetch = self._part = None
            closing, self._closing = self._closing, None
        if closing is not None:
            closing.set_result(None)
        if file is not None:
            file.release()
        if part is not None and ahead is not None:
            part.forget(ahead)
        if fetch is not None:
            fetch.detach()

    def _borrow(self, offset: int, size: int, *, may_wait: bool) -> CachedFile | Descriptor | bytes | None:
        """The file, or a share of the part that is there, or the bytes themselves; None if they are not there."""
        file = self._file
        if file is not None:
            return file
        with self._lock:
            # It may have become whole, or another may have taken its place, since it was waited for.
            fetch = self._fetch if self._file is None else None
            part = self._follow(fetch) if fetch is not None else None
            file = self._file
        # Without the lock, as the disk may be waited for.
        return file if part is None else part.lend(offset, size, may_wait=may_wait)
