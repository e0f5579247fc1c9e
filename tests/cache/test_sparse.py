"""The file of a large dataset in the making: which of its blocks count after a kill, a power loss, and odd ends."""

import json
import os
from contextlib import nullcontext
from pathlib import Path

import pytest
from archive_and_cache import dataset_of

from onefs.cache.blocks import BlockMap
from onefs.cache.sparse import SparseFile
from onefs.cache.store import ContentStore

BLOCK = 64 << 10
DATA = os.urandom(20 * BLOCK + 77)
DATASET = dataset_of(1, DATA)


def opened(folder: Path) -> SparseFile:
    return SparseFile(folder, DATASET, len(DATA), BLOCK, ContentStore(folder, folder).quota)


def put(file: SparseFile, *blocks: int) -> None:
    for block in blocks:
        begin, end = file.map.part(range(block, block + 1))
        file.write(memoryview(DATA)[begin:end], begin)
        file.add(block, block + 1)


def there(file: SparseFile) -> list[int]:
    return [block for block in range(file.map.blocks) if file.map.has(block)]


def note(folder: Path) -> Path:
    return folder / f"{DATASET.id}.blocks.json"


def begun(folder: Path) -> SparseFile:
    """Blocks 0, 5 and 20 are on the disk, 6 may only be with the kernel."""
    file = opened(folder)
    file.comes_from("http://server/x", '"1"')
    put(file, 0, 5, 20)
    file.sync(bytes(file.map.bits))
    put(file, 6)
    return file


def test_after_a_kill_every_block_counts(tmp_path: Path) -> None:
    begun(tmp_path)
    again = opened(tmp_path)
    assert there(again) == [0, 5, 6, 20]
    assert (again.edition, again.was_begun, again.is_synced) == ('"1"', True, False)


def test_after_a_power_loss_only_synced_blocks_count_and_go_on_doing_so(tmp_path: Path) -> None:
    begun(tmp_path).close()
    said = json.loads(note(tmp_path).read_text())
    note(tmp_path).write_text(json.dumps({**said, "boot": "an earlier run of this machine"}))
    again = opened(tmp_path)
    assert there(again) == [0, 5, 20]
    assert there(opened(tmp_path)) == [0, 5, 20]
    put(again, 7)
    assert there(opened(tmp_path)) == [0, 5, 7, 20]


def test_what_does_not_belong_together_is_not_used(tmp_path: Path) -> None:
    for number, spoil in enumerate(
        (
            lambda said: {**said, "wanted": "another"},
            lambda said: {**said, "inode": 1},
            lambda said: {**said, "edition": ""},
            lambda said: {},
        )
    ):
        folder = tmp_path / str(number)
        begun(folder).close()
        note(folder).write_text(json.dumps(spoil(json.loads(note(folder).read_text()))))
        file = opened(folder)
        assert there(file) == []
        assert (file.was_begun, file.source) == (False, "")


def test_another_process_s_blocks_are_taken_up(tmp_path: Path) -> None:
    mine = begun(tmp_path)
    theirs = opened(tmp_path)
    put(theirs, 9, 10)
    assert mine.take_up()
    assert there(mine) == [0, 5, 6, 9, 10, 20]
    theirs.drop()
    assert not mine.take_up()
    mine.drop()
    assert there(opened(tmp_path)) == []
    assert not mine.take_up()


def test_after_another_machine_what_is_on_the_disk_counts(tmp_path: Path) -> None:
    mine, theirs = begun(tmp_path), opened(tmp_path)
    put(theirs, 9)
    theirs.sync(bytes(theirs.map.bits))
    put(theirs, 10)
    said = json.loads(note(tmp_path).read_text())
    note(tmp_path).write_text(json.dumps({**said, "boot": "another machine"}))
    put(mine, 11)
    assert mine.take_up()
    assert there(mine) == [0, 5, 6, 9, 11, 20]
    assert mine.is_synced
    assert there(opened(tmp_path)) == there(mine)
    assert theirs.take_up()
    assert there(theirs) == [0, 5, 6, 9, 10, 11, 20]


@pytest.mark.parametrize("ends", ["move_to", "close"])
def test_what_is_lost_as_it_is_closed_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """As NFS answers where the server had no room for what was written."""
    file, real = begun(tmp_path), os.close

    def close(number: int) -> None:
        name = os.readlink(f"/proc/self/fd/{number}")
        real(number)
        if name.endswith(".blocks"):
            raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr(os, "close", close)
    with pytest.raises(OSError, match="quota") if ends == "move_to" else nullcontext():
        file.move_to(tmp_path / "x.npy") if ends == "move_to" else file.close()
    file.close()
    monkeypatch.undo()
    assert not (tmp_path / "x.npy").exists()
    assert there(opened(tmp_path)) == [0, 5, 20]


def test_whole_it_gets_its_name(tmp_path: Path) -> None:
    file = opened(tmp_path / "partial")
    file.comes_from("http://server/x", '"1"')
    put(file, *range(21))
    assert file.map.is_whole
    os.close(file.move_to(tmp_path / "x.npy"))
    assert (tmp_path / "x.npy").read_bytes() == DATA
    assert not list((tmp_path / "partial").iterdir())


def test_the_map_knows_its_gaps() -> None:
    blocks = BlockMap(len(DATA), BLOCK)
    assert (blocks.blocks, blocks.front_bytes, blocks.is_whole) == (21, 0, False)
    blocks.add(1, 20)
    assert blocks.front == 0
    blocks.add(0, 1)
    assert (blocks.front_bytes, blocks.count) == (20 * BLOCK, 20)
    assert list(blocks.missing(blocks.over(19 * BLOCK, 10 * BLOCK))) == [20]
    assert blocks.over(len(DATA), 10) == blocks.over(5, 0) == range(0)
    blocks.merge(b"\xff" * 100)
    assert blocks.is_whole
    assert blocks.front_bytes == len(DATA)
    assert blocks.part(range(20, 21)) == (20 * BLOCK, len(DATA))
