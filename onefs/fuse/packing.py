"""What every kernel adapter packs alike: time-outs, block sizes, and the blocks that `df` shows."""

from typing import NamedTuple

from onefs.vfs.filesystem import Usage

FOREVER_S = 10 * 365 * 86400
BLOCK_SIZE_BYTES = 4096
MOST_USED_PER_FREE = 99
"""Used blocks for each free one: `df` rounds up, and with more it would show 100 % while there is room."""


class Blocks(NamedTuple):
    """Counts of blocks, as statvfs(3) has them."""

    total: int
    free: int
    available: int


def blocks_of(usage: Usage) -> Blocks:
    """The archive and the room in the cache as the size, that room alone as available.

    The archive counts as used; where it is more than 99 times the room, only so much of it does.
    """
    free = usage.free_bytes // BLOCK_SIZE_BYTES
    archive = -(-usage.archive_bytes // BLOCK_SIZE_BYTES)
    used = min(archive, MOST_USED_PER_FREE * free) if free else archive
    return Blocks(archive + free, archive + free - used, free)
