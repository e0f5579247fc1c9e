"""Which part of a large file to ask for next: pure decisions from its readers, its block map and what is in flight."""

from collections.abc import Collection, Iterable, Iterator

from onefs.fetch.blocks import BlockMap

BEGIN_BYTES = 4 << 20
"""So much must be read in order before more than that is fetched; the kernel itself reads ahead, too."""
NEAR_BYTES = 512 << 10
"""The kernel's requests overtake each other by so much."""
SHORTEST_SPAN_BYTES = 8 << 20
LONGEST_SPAN_BYTES = 16 << 20


class ReadAhead:
    """How far to read ahead of one open file: further and further while it is read in order, else not at all."""

    def __init__(self, longest_bytes: int) -> None:
        self._longest_bytes = longest_bytes
        self._in_order_bytes = 0
        self.position = 0
        """Up to where it was read."""
        self.end = 0
        """Up to where to fetch."""

    def read(self, offset: int, size: int) -> bool:
        """Note a read; whether there is more to fetch than before."""
        end = offset + size
        if abs(offset - self.position) > NEAR_BYTES:
            self._in_order_bytes, self.position, self.end = size, end, end
            return False
        if end > self.position:
            self._in_order_bytes += min(size, end - self.position)
            self.position = end
        ahead_bytes = min(self._in_order_bytes, self._longest_bytes) if self._in_order_bytes >= BEGIN_BYTES else 0
        # In steps of half of it, so that spans are few and long.
        if self.end - self.position > ahead_bytes // 2 or not ahead_bytes:
            return False
        self.end = self.position + ahead_bytes
        return True


class Scheduler:
    """Chooses spans of blocks, each for one request. For whoever holds the part file's lock.

    Blocks that somebody waits for come first, then those that readers are about to need, then, with `wants_all`, the
    rest. `spans_at_once` is how many requests share what is wanted.
    """

    def __init__(self, blocks: BlockMap, spans_at_once: int, *, wants_all: bool) -> None:
        self._map = blocks
        self._spans_at_once = spans_at_once
        self._wants_all = wants_all
        self._in_flight: set[int] = set()
        self.readers: set[ReadAhead] = set()

    def next_span(self, waiting: Collection[int]) -> range:
        """Blocks to ask for now, which nobody else is given; none if nothing is wanted."""
        begin = next(filter(self.is_free, self._wanted(waiting)), None)
        if begin is None:
            return range(0)
        end = begin + 1
        while end < self._map.blocks and self.is_free(end) and self._is_wanted(end, waiting):
            end += 1
        block_bytes = self._map.block_bytes
        span_bytes = max(SHORTEST_SPAN_BYTES, (end - begin) * block_bytes // self._spans_at_once)
        blocks = max(1, min(span_bytes, LONGEST_SPAN_BYTES) // block_bytes)
        span = range(begin, min(end, begin + blocks))
        self._in_flight.update(span)
        return span

    def give_back(self, span: range) -> None:
        """Note that nobody fetches these blocks any longer."""
        self._in_flight.difference_update(span)

    def is_free(self, block: int) -> bool:
        """Whether a block is neither there nor in flight."""
        return block not in self._in_flight and not self._map.has(block)

    def _wanted(self, waiting: Iterable[int]) -> Iterator[int]:
        yield from waiting
        for reader in self.readers:
            yield from self._map.over(reader.position, reader.end - reader.position)
        if self._wants_all:
            yield from range(self._map.front, self._map.blocks)

    def _is_wanted(self, block: int, waiting: Collection[int]) -> bool:
        begin_bytes = block * self._map.block_bytes
        is_ahead = any(reader.position <= begin_bytes < reader.end for reader in self.readers)
        return self._wants_all or is_ahead or block in waiting
