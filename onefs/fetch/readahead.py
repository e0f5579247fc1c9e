"""Owns how far to read ahead of one open file: further and further while it is read in order, else not at all."""

BEGIN_BYTES = 4 << 20
"""So much must be read in order first; the kernel itself reads ahead, too."""
NEAR_BYTES = 512 << 10
"""The kernel's requests overtake each other by so much."""


class ReadAhead:
    """What one open file is about to need. For whoever holds the lock of what it is part of."""

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
        # In steps of half of it, so that few and long parts are asked for.
        if self.end - self.position > ahead_bytes // 2 or not ahead_bytes:
            return False
        self.end = self.position + ahead_bytes
        return True
