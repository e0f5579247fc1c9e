"""What df shows of a mount: the archive, the room in the cache, and a use that is below 100 % while there is room."""

import pytest

from onefs.fuse.packing import BLOCK_SIZE_BYTES, statistics
from onefs.vfs.filesystem import Usage

GIB = 1 << 30


def percent(archive_bytes: int, free_bytes: int) -> int:
    """As coreutils' df computes it, rounded up."""
    told = statistics(Usage(archive_bytes, free_bytes, 1))
    used = told.f_blocks - told.f_bfree
    return -(-100 * used // (used + told.f_bavail))


def test_the_size_is_the_archive_and_the_room() -> None:
    told = statistics(Usage(10 * GIB, 30 * GIB, 7))
    assert told.f_frsize == BLOCK_SIZE_BYTES
    assert (told.f_blocks * told.f_frsize, told.f_bavail * told.f_frsize) == (40 * GIB, 30 * GIB)
    assert (told.f_bfree, told.f_files) == (told.f_bavail, 7)
    assert percent(10 * GIB, 30 * GIB) == 25


@pytest.mark.parametrize("free_bytes", [BLOCK_SIZE_BYTES, GIB, 100 * GIB, 10**16])
def test_it_is_never_full_while_there_is_room(free_bytes: int) -> None:
    assert percent(300_000 * GIB, free_bytes) < 100
    told = statistics(Usage(300_000 * GIB, free_bytes, 1))
    assert told.f_bavail == free_bytes // BLOCK_SIZE_BYTES
    assert told.f_blocks == 300_000 * GIB // BLOCK_SIZE_BYTES + told.f_bavail


def test_it_is_full_where_there_is_none() -> None:
    assert percent(GIB, 0) == percent(GIB, BLOCK_SIZE_BYTES - 1) == 100
