"""The blocks of a large file that is not whole: `DiskBlocks` in the cache, `MemoryBlocks` where there is no room.

Both have the same methods, for whoever holds the part file's lock; `write`, `news`, `flush_notes` and `sync` need none.
"""

import os
import threading
import zlib
from contextlib import suppress
from uuid import uuid4

from onefs.cache.atomic import MORE_ROOM, has_its_name, part_from_others, reopened
from onefs.cache.beneath import DATA_MODE
from onefs.cache.layout import CacheLayout
from onefs.cache.part_files import BLOCKS_ENDING, PartRecord, claim, mark_open, release
from onefs.cache.store import ContentStore
from onefs.cache.usage import footprint
from onefs.cache.verify import wanted
from onefs.catalogue.records import Dataset
from onefs.errors import NoRoomError
from onefs.fetch.blocks import BlockMap

MOST_BYTES = 256 << 20
LEAST_OF_A_FILE_BYTES = 16 << 20
MOST_OF_A_FILE_BYTES = 64 << 20
MORE_ROOM_OR_LIMIT = f"Raise --cache-size if it is set, and smaller than the file. {MORE_ROOM}"
OPENING = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class NamedByOtherError(Exception):
    """Another process has filled the file and given it its name in the cache: it must not be written any more."""


class DiskBlocks:
    """A sparse file, which several processes of a user may fill together. Raises OSError.

    A record of an earlier process is taken up if it is of this file and of the same catalogue entry. Blocks that were
    found there are compared with their checksums before they are read for the first time.
    """

    is_kept = True

    def __init__(
        self, store: ContentStore, dataset: Dataset, block_bytes: int, *, is_whole: bool, evicts: bool = True
    ) -> None:
        """With `is_whole`, room for the whole file is reserved at once. Raises NoRoomError, too."""
        self.path = store.partials() / f"{dataset.id}{BLOCKS_ENDING}"
        self._dataset = dataset
        self._records = store.part_records
        self._is_local_disk = store.is_local_disk
        self._is_leased = store.is_leased
        self._reader = -1
        self._seq = 0
        self._unsynced: dict[int, int] = {}
        self._unchecked: dict[int, int] = {}
        self._running: dict[int, tuple[int, int]] = {}  # by block under way: where its bytes end, and their CRC-32
        self.is_mixed = False
        """Whether its bytes come from more than one location."""
        self.is_shared = False
        """Whether another process may give the file its name."""
        size_bytes = dataset.size_bytes or 0
        record = self._records.find(dataset.id)
        self._file = self._take_up(record, size_bytes)
        if self._file < 0 or record is None:
            record = PartRecord(uuid4().hex, wanted(dataset), "", "", block_bytes, 0)
            self._file = self._begin(size_bytes)
        mark_open(self._file)
        self.key, self.source, self.edition = record.key, record.source, record.edition
        self.map = BlockMap(size_bytes, record.block_bytes)
        if self._is_leased and self.edition:
            self.comes_from(self.source, self.edition)  # in a file of its own
        self.merge(self.news())
        self.was_begun = self.map.count > 0
        """Whether an earlier process left some of it."""
        self._is_whole = is_whole
        self._reservation = store.quota.reserve(dataset.id, self._there_bytes, comes_whole=is_whole, evicts=evicts)
        if is_whole:
            try:
                self._reservation.reach(footprint(size_bytes))
            except BaseException:
                self.close()
                raise

    @property
    def _there_bytes(self) -> int:
        return min(self.map.count * self.map.block_bytes, self.map.size_bytes)

    @property
    def is_synced(self) -> bool:
        """Whether all blocks would outlive a power loss."""
        return not self._unsynced

    @property
    def is_displaced(self) -> bool:
        """Whether nothing of it is there, and another process has begun the file anew since."""
        return not self.map.count and not has_its_name(self.path, self._file)

    def reader(self) -> int:
        """A new descriptor to read it from."""
        return reopened(self._file)

    def reserve(self, size_bytes: int) -> None:
        """Have room for so many bytes that come now. Raises NoRoomError, StoppedError or OSError."""
        if not self._is_whole:
            self._reservation.take(size_bytes)

    def give_back(self, size_bytes: int) -> None:
        """Return room for bytes that did not come."""
        if not self._is_whole:
            self._reservation.give_back(size_bytes)

    def claim(self, blocks: range) -> range:
        """The first of these blocks, up to one that another process fetches now; it leaves them to this one."""
        return claim(self._file, blocks) if self._is_local_disk else blocks  # no lock is waited for

    def release(self, blocks: range) -> None:
        """Let other processes fetch these blocks."""
        if self._is_local_disk:
            with suppress(OSError):
                release(self._file, blocks)

    def comes_from(self, source: str, edition: str) -> None:
        """Note where the bytes come from; for other processes too if the server names its editions."""
        self.source, self.edition = source, edition
        if edition:
            inode = os.fstat(self._file).st_ino
            record = PartRecord(self.key, wanted(self._dataset), source, edition, self.map.block_bytes, inode)
            self._records.put(self._dataset.id, record)

    def write(self, chunk: "memoryview[int]", offset: int) -> None:
        """Put bytes into their place, and go on with the checksums of the blocks that they are in.

        Raises NamedByOtherError, too.
        """
        self._check_name()
        written = os.pwrite(self._file, chunk, offset)
        while written < len(chunk):
            written += os.pwrite(self._file, chunk[written:], offset + written)
        while chunk:
            block, within = divmod(offset, self.map.block_bytes)
            piece = chunk[: self.map.block_bytes - within]
            end, crc = self._running.get(block, (0, 0)) if within else (0, 0)
            if end == within:
                self._running[block] = within + len(piece), zlib.crc32(piece, crc)
            offset += len(piece)
            chunk = chunk[len(piece) :]

    def add(self, first: int, stop: int) -> None:
        """Note blocks whose bytes were written."""
        sums: dict[int, int] = {}
        for block in range(first, stop):
            begin, end = self.map.part(range(block, block + 1))
            reached, crc = self._running.pop(block, (0, 0))
            if not self.map.has(block):
                sums[block] = crc if reached == end - begin else self._checksum(block, self._file)
        self.map.add(first, stop)
        if self.edition and sums:
            self._unsynced |= sums
            self._records.add(self.key, sums)

    def news(self) -> dict[int, int]:
        """The blocks that other processes wrote since, with their checksums. Waits for the disk.

        Raises NamedByOtherError, too.
        """
        if not self.edition:
            return {}
        self._check_name()
        self._seq, found = self._records.blocks_since(self.key, self._seq)
        return found

    def merge(self, news: dict[int, int]) -> None:
        """Have blocks that other processes wrote."""
        for block, crc in news.items():
            if block < self.map.blocks and not self.map.has(block):
                self._unchecked[block] = crc
                self.map.add(block, block + 1)

    def is_checked(self, block: int) -> bool:
        """Whether a block can be read without comparing it with its checksum first."""
        return block not in self._unchecked

    def is_right(self, block: int, number: int) -> bool:
        """Whether a block agrees with its checksum, read from a descriptor of it. Needs no lock."""
        crc = self._unchecked.get(block)
        return crc is None or self._checksum(block, number) == crc

    def checked(self, block: int, *, is_right: bool) -> None:
        """Note what came of the first comparison: a block that differs is discarded."""
        if self._unchecked.pop(block, None) is not None and not is_right:
            self.map.discard(block)

    def flush_notes(self) -> None:
        """Have what was noted of blocks in the database, where other processes see it."""
        if self.edition:
            self._records.flush()

    def sync(self) -> None:
        """Bring to disk what was written, and note that."""
        sums = self._unsynced.copy()
        os.fdatasync(self._file)
        self._records.mark_synced(self.key, sums)
        for block in sums:
            self._unsynced.pop(block, None)

    def status(self) -> os.stat_result:
        """The file's status."""
        return os.fstat(self._file)

    def move_to(self, layout: CacheLayout) -> int:
        """Give the whole file its name and return a descriptor to read it from. Can be tried again if it raises."""
        if self._reader < 0:
            self._reader = self.reader()
            self._end_writing()
        self._reader = layout.name_part(self.path.name, self._reader, self._dataset)
        self._records.forget(self._dataset.id)
        self._reservation.end(footprint(self.map.size_bytes))
        reader, self._reader = self._reader, -1
        return reader

    def drop(self) -> None:
        """Remove it from disk, if it is still what stands there."""
        if self._file >= 0 and has_its_name(self.path, self._file):
            self._records.forget(self._dataset.id)
            self.path.unlink(missing_ok=True)
            self._reservation.end(0)

    def close(self) -> None:
        """Let go of it; what is on disk stays for another try. Does nothing the second time."""
        with suppress(OSError):
            self._end_writing()
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1
        self._reservation.end(self._there_bytes)

    def _take_up(self, record: PartRecord | None, size_bytes: int) -> int:
        """A descriptor of what an earlier process left; -1 if that is of no use."""
        if record is None or record.wanted != wanted(self._dataset):
            return -1
        try:
            if self._is_leased:
                part_from_others(self.path)
            number = os.open(self.path, OPENING)
        except OSError:
            return -1
        status = os.fstat(number)
        is_same = self._is_leased or status.st_ino == record.inode
        if is_same and (status.st_nlink, status.st_size) == (1, size_bytes):
            return number
        os.close(number)
        return -1

    def _begin(self, size_bytes: int) -> int:
        """A descriptor of a new file, in the place of another."""
        self._records.forget(self._dataset.id)
        self.path.unlink(missing_ok=True)
        number = os.open(self.path, OPENING | os.O_CREAT | os.O_EXCL, DATA_MODE)
        try:
            os.ftruncate(number, size_bytes)
        except OSError:
            self.path.unlink(missing_ok=True)
            os.close(number)
            raise
        return number

    def _check_name(self) -> None:
        if self.is_shared and not has_its_name(self.path, self._file):
            raise NamedByOtherError

    def _checksum(self, block: int, number: int) -> int:
        begin, end = self.map.part(range(block, block + 1))
        return zlib.crc32(os.pread(number, end - begin, begin))

    def _end_writing(self) -> None:
        number, self._file = self._file, -1
        if number >= 0:
            try:
                os.close(number)
            except OSError:  # so NFS tells that what was written is lost
                self._records.forget(self._dataset.id)
                raise


class Memory:
    """What all files in memory together may use. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _files
        self._files = 0

    @property
    def share_bytes(self) -> int:
        """How much each file may use now."""
        return min(MOST_OF_A_FILE_BYTES, MOST_BYTES // max(1, self._files))

    def enter(self) -> None:
        """Count one more file. Raises NoRoomError if that would leave too little to each."""
        with self._lock:
            if MOST_BYTES // (self._files + 1) < LEAST_OF_A_FILE_BYTES:
                raise NoRoomError(
                    "The cache has no room, and more large files are open than memory can serve.",
                    MORE_ROOM_OR_LIMIT,
                )
            self._files += 1

    def leave(self) -> None:
        """Count one file less."""
        with self._lock:
            self._files -= 1


class MemoryBlocks:
    """Blocks in memory, the least used of which make room for others, so that the file is never whole."""

    is_kept = False
    is_synced = True
    was_begun = False
    is_displaced = False

    def __init__(self, memory: Memory, size_bytes: int, block_bytes: int) -> None:
        """Raises NoRoomError."""
        memory.enter()
        self._memory = memory
        self._is_closed = False
        self.map = BlockMap(size_bytes, block_bytes)
        self.source = self.edition = ""
        self.is_mixed = False
        self._coming: dict[int, bytearray] = {}
        self._there: dict[int, bytearray] = {}  # in the order of their last use

    @property
    def most_blocks(self) -> int:
        """How many there can be now: never all, as what is not on disk cannot be given its name."""
        return max(1, min(self._memory.share_bytes // self.map.block_bytes, self.map.blocks - 1))

    def bytes_at(self, offset: int, size: int) -> bytes:
        """Bytes of blocks that are there."""
        pieces = []
        for block in self.map.over(offset, size):
            begin = block * self.map.block_bytes
            self._there[block] = content = self._there.pop(block)  # used now
            pieces.append(memoryview(content)[max(0, offset - begin) : offset + size - begin])
        return b"".join(pieces)

    def reserve(self, size_bytes: int) -> None:
        """Do nothing: blocks that were read longest ago make room."""

    def give_back(self, size_bytes: int) -> None:
        """Do nothing: nothing was reserved."""

    def claim(self, blocks: range) -> range:
        """All of them: no other process has its blocks."""
        return blocks

    def release(self, blocks: range) -> None:
        """Do nothing: no other process has its blocks."""

    def comes_from(self, source: str, edition: str) -> None:
        """Note where the bytes come from."""
        self.source, self.edition = source, edition

    def write(self, chunk: "memoryview[int]", offset: int) -> None:
        """Put bytes into their place. The bytes of a block must come in order, or `add` drops them."""
        while chunk:
            block, within = divmod(offset, self.map.block_bytes)
            piece = chunk[: self.map.block_bytes - within]
            if within == 0:
                self._coming[block] = bytearray(piece)
            elif len(self._coming.get(block, b"")) == within:
                self._coming[block] += piece
            else:
                self._coming.pop(block, None)
            offset += len(piece)
            chunk = chunk[len(piece) :]

    def add(self, first: int, stop: int) -> None:
        """Note blocks whose bytes were all written, and discard the least used ones beyond the limit."""
        for block in range(first, stop):
            begin, end = self.map.part(range(block, block + 1))
            content = self._coming.pop(block, None)
            if content is not None and len(content) == end - begin:
                self._there.pop(block, None)
                self._there[block] = content
                self.map.add(block, block + 1)
        while len(self._there) > self.most_blocks:
            oldest = next(iter(self._there))
            del self._there[oldest]
            self.map.discard(oldest)

    def news(self) -> dict[int, int]:
        """No blocks: no other process has any of it."""
        return {}

    def merge(self, news: dict[int, int]) -> None:
        """Do nothing: no other process has its blocks."""

    def flush_notes(self) -> None:
        """Do nothing: no other process has its blocks."""

    def sync(self) -> None:
        """Do nothing: its blocks end with the process."""

    def drop(self) -> None:
        """Do nothing: it is on no disk."""

    def close(self) -> None:
        """Let go of it. Does nothing the second time."""
        if not self._is_closed:
            self._is_closed = True
            self._memory.leave()
            self._coming.clear()
            self._there.clear()
