"""What is on disk of a large file that is not whole: taken up after a kill, a power loss or damage, or not."""

import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from archive_and_cache import dataset_of

from onefs.cache.store import ContentStore
from onefs.fetch.blocks import BlockMap
from onefs.fetch.storage import DiskBlocks

BLOCK = 4096
DATA = random.Random(3).randbytes(30 * BLOCK + 99)
DATASET = dataset_of(1, DATA)
CHANGE_BOOT = "UPDATE part SET run = 'an earlier run of this machine'"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ContentStore]:
    store = ContentStore(tmp_path, tmp_path / ".onefs")
    yield store
    store.close()


def opened(store: ContentStore) -> DiskBlocks:
    return DiskBlocks(store, DATASET, BLOCK, is_whole=False)


def put(file: DiskBlocks, *blocks: int) -> None:
    for block in blocks:
        begin, end = file.map.part(range(block, block + 1))
        file.write(memoryview(DATA)[begin:end], begin)
        file.add(block, block + 1)


def there(file: DiskBlocks) -> list[int]:
    reader = file.reader()
    for block in range(file.map.blocks):
        file.checked(block, is_right=file.is_right(block, reader))
    os.close(reader)
    return [block for block in range(file.map.blocks) if file.map.has(block)]


def begun(store: ContentStore) -> DiskBlocks:
    """Blocks 0, 5 and 20 are on the disk, 6 may only be with the kernel."""
    file = opened(store)
    file.comes_from("http://server/x", '"1"')
    put(file, 0, 5, 20)
    file.sync()
    put(file, 6)
    assert not file.is_synced
    store.flush()
    return file


def test_after_a_kill_every_block_counts(store: ContentStore) -> None:
    begun(store)
    again = opened(store)
    assert there(again) == [0, 5, 6, 20]
    assert (again.edition, again.was_begun) == ('"1"', True)


def test_after_a_power_loss_only_synced_blocks_count_and_go_on_doing_so(store: ContentStore) -> None:
    begun(store).close()
    store.state.write(lambda database: database.execute(CHANGE_BOOT))
    for _ in range(2):
        again = opened(store)
        assert there(again) == [0, 5, 20]
        again.close()


@pytest.mark.parametrize("what", ["catalogue", "length", "another file", "a second name", "no file"])
def test_what_does_not_belong_together_is_not_used(store: ContentStore, what: str) -> None:
    file = begun(store)
    path = file.path
    file.close()
    if what == "catalogue":
        store.state.write(lambda database: database.execute("UPDATE part SET wanted = 'another hash:1'"))
    elif what == "length":
        os.truncate(path, 5 * BLOCK)
    elif what == "another file":
        path.rename(path.with_name("kept"))
        path.write_bytes(bytes(len(DATA)))
    elif what == "a second name":
        os.link(path, path.with_name("second"))
    else:
        path.unlink()
    again = opened(store)
    assert there(again) == []
    assert again.edition == ""


def test_a_gap_is_never_taken_for_a_block(store: ContentStore) -> None:
    begun(store).close()
    store.state.write(lambda database: database.execute("UPDATE block SET block = block + 3"))
    assert there(opened(store)) == []


def test_a_block_that_was_found_damaged_counts_again_once_it_came_again(store: ContentStore) -> None:
    begun(store).close()
    store.state.write(lambda database: database.execute("UPDATE block SET crc = crc + 1 WHERE block = 5"))
    again = opened(store)
    assert there(again) == [0, 6, 20]
    put(again, 5)
    again.sync()
    again.close()
    assert there(opened(store)) == [0, 5, 6, 20]


def test_blocks_of_a_file_that_was_dropped_count_for_no_other(store: ContentStore) -> None:
    first = begun(store)
    first.drop()
    second = opened(store)
    second.comes_from("http://server/x", '"1"')
    put(first, 7)
    put(second, 1)
    store.flush()
    for file in (first, second):
        file.close()
    assert there(opened(store)) == [1]


def test_whole_it_gets_its_name(store: ContentStore) -> None:
    file = opened(store)
    file.comes_from("http://server/x", '"1"')
    put(file, *range(file.map.blocks))
    assert file.map.is_whole
    reader = file.move_to(store)
    assert hashlib.md5(os.pread(reader, len(DATA), 0)).hexdigest() == DATASET.md5
    assert Path(store.path(DATASET)).read_bytes() == DATA
    os.close(reader)
    file.close()
    store.flush()
    assert store.part_records.find(DATASET.id) is None
    assert store.state.read(lambda database: database.execute("SELECT * FROM block").fetchall()) == []


def test_the_map_knows_its_gaps() -> None:
    blocks = BlockMap(10 * BLOCK + 1, BLOCK)
    assert (blocks.blocks, blocks.front_bytes, blocks.is_whole) == (11, 0, False)
    blocks.add(0, 2)
    blocks.add(3, 5)
    assert blocks.front_bytes == 2 * BLOCK
    assert list(blocks.missing(range(6))) == [2, 5]
    blocks.add(2, 3)
    assert blocks.front_bytes == 5 * BLOCK
    blocks.discard(1)
    assert blocks.front_bytes == BLOCK
    blocks.add(0, 11)
    assert (blocks.is_whole, blocks.front_bytes) == (True, 10 * BLOCK + 1)
    assert blocks.over(BLOCK - 1, 2) == range(2)
    assert blocks.part(range(9, 11)) == (9 * BLOCK, 10 * BLOCK + 1)
