"""Owns `FloatingFile`: a large file's blocks in memory, the least used of which go, where the disk has no room."""

import threading

from onefs.cache.atomic import MORE_ROOM
from onefs.cache.blocks import BlockMap
from onefs.errors import NoRoomError

MOST_BYTES = 256 << 20
LEAST_OF_A_FILE_BYTES = 16 << 20
MOST_OF_A_FILE_BYTES = 64 << 20
MORE_ROOM_OR_LIMIT = f"Raise --cache-size if it is set, and smaller than the file. {MORE_ROOM}"


class Memory:
    """What all floating files together may use. Safe to use from several threads."""

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


class FloatingFile:
    """A file that is never whole, as its blocks make room for others. For whoever holds the growing file's lock."""

    is_kept = False
    is_synced = True
    was_begun = False

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

    def at_hand(self, offset: int, size: int) -> bytes:
        """Bytes of blocks that are there."""
        block_bytes = self.map.block_bytes
        pieces = []
        for block in self.map.over(offset, size):
            begin = block * block_bytes
            pieces.append(memoryview(self._content(block))[max(0, offset - begin) : offset + size - begin])
        return b"".join(pieces)

    def is_on_disk(self, offset: int, size: int) -> bool:  # noqa: ARG002
        """Whether all of a part is in a file."""
        return False

    def take_room(self, size_bytes: int) -> None:
        """There always is room: other blocks go."""

    def give_back_room(self, size_bytes: int) -> None:
        """Nothing was taken."""

    def comes_from(self, source: str, edition: str) -> None:
        """Say where the bytes come from."""
        self.source, self.edition = source, edition

    def write(self, chunk: "memoryview[int]", offset: int) -> None:
        """Put bytes into their place. Each block has one writer, who needs no lock.

        The bytes of a block must come in order, from its first to its last, or `add` drops them.
        """
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
        """Note blocks whose bytes were all written, and discard the least used ones beyond the limit.

        The bytes of a block that was written in part only are dropped.
        """
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

    def sync(self, bits: bytes) -> None:
        """Nothing outlives the process."""

    def take_up(self) -> bool:
        """Nobody else has it."""
        return True

    def drop(self) -> None:
        """It is on no disk."""

    def close(self) -> None:
        """Let go of it. Does nothing the second time."""
        if not self._is_closed:
            self._is_closed = True
            self._memory.leave()
            self._coming.clear()
            self._there.clear()

    def _content(self, block: int) -> bytes | bytearray:
        """What a block holds, which is used now."""
        self._there[block] = content = self._there.pop(block)
        return content
