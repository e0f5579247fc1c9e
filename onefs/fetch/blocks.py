"""`BlockMap`: which blocks of a file are there, and how far they reach without a gap."""

from collections.abc import Iterator


class BlockMap:
    """Which blocks of a file are there. For whoever holds the lock of what it is part of."""

    def __init__(self, size_bytes: int, block_bytes: int, bits: bytes = b"") -> None:
        self.size_bytes = size_bytes
        self.block_bytes = block_bytes
        self.blocks = -(-size_bytes // block_bytes)
        self.bits = bytearray(-(-self.blocks // 8))
        self.count = 0
        self.front = 0
        """How many blocks there are from the file's beginning to the first gap."""
        self.merge(bits)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing."""
        return self.count == self.blocks

    @property
    def front_bytes(self) -> int:
        """Where the first gap begins."""
        return min(self.front * self.block_bytes, self.size_bytes)

    def has(self, block: int) -> bool:
        """Whether a block is there."""
        return bool(self.bits[block >> 3] & (1 << (block & 7)))

    def add(self, first: int, stop: int) -> None:
        """Note that the blocks from `first` to before `stop` are there."""
        for block in range(first, stop):
            if not self.has(block):
                self.bits[block >> 3] |= 1 << (block & 7)
                self.count += 1
        self._advance()

    def discard(self, block: int) -> None:
        """Note that a block is there no more."""
        if self.has(block):
            self.bits[block >> 3] &= ~(1 << (block & 7))
            self.count -= 1
            self.front = min(self.front, block)

    def merge(self, bits: bytes) -> None:
        """Add the blocks of another map of the same file."""
        number = int.from_bytes(self.bits, "little") | int.from_bytes(bits, "little")
        number &= (1 << self.blocks) - 1
        self.bits[:] = number.to_bytes(len(self.bits), "little")
        self.count = number.bit_count()
        self._advance()

    def over(self, offset: int, size: int) -> range:
        """The blocks that a part of the file lies in; none behind its end."""
        end = min(offset + size, self.size_bytes)
        return range(offset // self.block_bytes, -(-end // self.block_bytes) if end > offset else 0)

    def missing(self, among: range) -> Iterator[int]:
        """The blocks among these that are not there."""
        return (block for block in among if not self.has(block))

    def part(self, blocks: range) -> tuple[int, int]:
        """Where these blocks begin and end, in bytes."""
        return blocks.start * self.block_bytes, min(blocks.stop * self.block_bytes, self.size_bytes)

    def _advance(self) -> None:
        bits, front = self.bits, self.front
        while front < self.blocks:
            if not front & 7 and bits[front >> 3] == 0xFF and front + 8 <= self.blocks:
                front += 8
            elif bits[front >> 3] & (1 << (front & 7)):
                front += 1
            else:
                break
        self.front = front
