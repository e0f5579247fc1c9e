"""What df shows of a mount: the archive, the room in the cache, and a use that is below 100 % while there is room."""

import pytest

from onefs.fuse.packing import BLOCK_SIZE_BYTES, blocks_of
from onefs.vfs.filesystem import Usage

GIB = 1 << 30


def percent(archive_bytes: int, free_bytes: int) -> int:
    """As coreutils' df computes it, rounded up."""
    told = blocks_of(Usage(archive_bytes, free_bytes, 1))
    used = told.total - told.free
    return -(-100 * used // (used + told.available))


def test_the_size_is_the_archive_and_the_room() -> None:
    told = blocks_of(Usage(10 * GIB, 30 * GIB, 7))
    assert (told.total * BLOCK_SIZE_BYTES, told.available * BLOCK_SIZE_BYTES) == (40 * GIB, 30 * GIB)
    assert told.free == told.available
    assert percent(10 * GIB, 30 * GIB) == 25


@pytest.mark.parametrize("free_bytes", [BLOCK_SIZE_BYTES, GIB, 100 * GIB, 10**16])
def test_it_is_never_full_while_there_is_room(free_bytes: int) -> None:
    assert percent(300_000 * GIB, free_bytes) < 100
    told = blocks_of(Usage(300_000 * GIB, free_bytes, 1))
    assert told.available == free_bytes // BLOCK_SIZE_BYTES
    assert told.total == 300_000 * GIB // BLOCK_SIZE_BYTES + told.available


def test_it_is_full_where_there_is_none() -> None:
    assert percent(GIB, 0) == percent(GIB, BLOCK_SIZE_BYTES - 1) == 100
