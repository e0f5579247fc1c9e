"""A large file that another daemon is fetching: read at once all the same, of one edition, and soon from one file."""

import hashlib
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from archive_and_cache import ArchiveAndCache, read, read_open
from reading_by_blocks import BLOCK, DATA, RULES, blocks_noted, by_blocks, open_links, part, sparse
from servers import Fault
from waiting import wait_until

from onefs.cache.store import ContentStore
from onefs.catalogue.records import Dataset
from onefs.errors import BrokenAnswerError, OfflineError
from onefs.fetch.access import State
from onefs.fetch.storage import DiskBlocks, Memory, MemoryBlocks


def other_daemon(place: ArchiveAndCache, dataset: Dataset, fault: Fault | None = None) -> "subprocess.Popen[str]":
    """Another process that reads it all, and has three blocks; the rest comes once the server is told to go on."""
    place.server.fault(place.url_path(dataset), Fault(stall_after=3 * BLOCK, times=1) if fault is None else fault)
    process = place.other_process(dataset, RULES)
    wait_until(lambda: place.server.bytes_sent() >= 3 * BLOCK)
    wait_until(lambda: blocks_noted(place, dataset) == [0, 1, 2])
    return process


def ends_well(process: "subprocess.Popen[str]") -> bool:
    said = process.communicate(timeout=60)[0]
    assert said == hashlib.md5(DATA).hexdigest() + "\n"
    return True


def test_it_is_read_while_another_process_fetches_it(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    process = other_daemon(place, dataset)
    file = content.open(dataset, may_fetch=True)
    assert part(file, 5, 3 * BLOCK - 5) == DATA[5 : 3 * BLOCK]
    assert place.server.bytes_sent() == 3 * BLOCK
    assert part(file, 50 * BLOCK - 7, 14) == DATA[50 * BLOCK - 7 : 50 * BLOCK + 7]
    assert part(file, 2 * BLOCK, 3 * BLOCK) == DATA[2 * BLOCK : 5 * BLOCK]
    assert read_open(file) == DATA
    assert process.poll() is None
    place.server.release()
    assert ends_well(process)
    file.wait_whole()
    assert read_open(file) == DATA
    assert content.inspect(dataset).state is State.VERIFIED
    assert place.server.bytes_sent() <= 2 * len(DATA)
    assert place.withdrawals == []


def test_a_block_that_another_process_has_first_is_read_from_there(place: ArchiveAndCache) -> None:
    dataset = place.add(DATA)
    stores = [ContentStore(place.cache, place.cache / ".onefs") for _ in range(2)]
    other = DiskBlocks(stores[0], dataset, BLOCK, is_whole=False)
    other.comes_from("http://server/file", "edition")
    stores[0].flush()
    mine = DiskBlocks(stores[1], dataset, BLOCK, is_whole=False)
    assert other.claim(range(4)) == range(4)
    assert mine.claim(range(2, 8)) == range(2, 2)
    assert mine.claim(range(8)) == range(0)
    other.write(memoryview(DATA)[:BLOCK], 0)
    other.add(0, 1)
    other.release(range(4))
    assert mine.claim(range(2, 8)) == range(2, 8)
    stores[0].flush()
    mine.merge(mine.news())
    assert mine.map.has(0), "so whoever fetches writes no more of it"
    reader = mine.reader()
    mine.checked(0, is_right=mine.is_right(0, reader))
    os.close(reader)
    assert mine.map.has(0)
    for file in (mine, other):
        file.close()
    for store in stores:
        store.close()


def test_blocks_that_differ_from_their_checksums_are_not_there(place: ArchiveAndCache) -> None:
    dataset, store = place.add(DATA), ContentStore(place.cache, place.cache / ".onefs")
    first = DiskBlocks(store, dataset, BLOCK, is_whole=False)
    first.comes_from("http://server/file", "edition")
    first.write(memoryview(DATA)[: 3 * BLOCK], 0)
    first.add(0, 3)
    first.close()
    store.flush()
    with sparse(place, dataset).open("r+b") as file:
        file.seek(BLOCK)
        file.write(bytes(BLOCK))
    again = DiskBlocks(store, dataset, BLOCK, is_whole=False)
    assert again.map.count == 3
    reader = again.reader()
    for block in range(3):
        again.checked(block, is_right=again.is_right(block, reader))
    os.close(reader)
    assert [block for block in range(3) if again.map.has(block)] == [0, 2]
    again.close()
    store.close()


def test_a_block_that_went_in_the_midst_of_its_coming_again_is_not_there() -> None:
    file = MemoryBlocks(Memory(), len(DATA), BLOCK)
    file.write(memoryview(DATA)[BLOCK // 2 : BLOCK], BLOCK // 2)
    file.add(0, 1)
    assert not file.map.has(0)
    file.write(memoryview(DATA)[: BLOCK // 3], 0)
    file.write(memoryview(DATA)[BLOCK // 3 : 2 * BLOCK], BLOCK // 3)
    file.add(0, 2)
    assert file.bytes_at(0, 2 * BLOCK) == DATA[: 2 * BLOCK]
    last = (len(DATA) - 1) // BLOCK
    file.write(memoryview(DATA)[last * BLOCK :], last * BLOCK)
    file.add(last, last + 1)
    assert file.bytes_at(last * BLOCK, BLOCK) == DATA[last * BLOCK :]
    file.close()


def test_who_wants_all_of_it_leaves_it_to_the_other(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    process = other_daemon(place, dataset)
    file = content.open(dataset, may_fetch=True)
    assert part(file, 0, 10) == DATA[:10]
    with ThreadPoolExecutor(1) as thread:
        whole = thread.submit(file.wait_whole)
        place.server.release()
        whole.result(timeout=60)
    assert ends_well(process)
    assert place.file(dataset).read_bytes() == DATA
    assert place.server.bytes_sent() == len(DATA)


def test_it_goes_on_with_what_a_killed_one_had(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    process = other_daemon(place, dataset)
    file = content.open(dataset, may_fetch=True)
    assert part(file, 0, BLOCK) == DATA[:BLOCK]
    assert part(file, 50 * BLOCK, BLOCK) == DATA[50 * BLOCK : 51 * BLOCK]
    process.kill()
    file.wait_whole()
    assert read_open(file) == DATA
    assert place.server.bytes_sent() == len(DATA)
    assert place.withdrawals == []


def test_another_edition_is_not_mixed_in(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    process = other_daemon(place, dataset)
    file, untouched = content.open(dataset, may_fetch=True), content.open(dataset, may_fetch=True)
    assert part(file, 0, 10) == DATA[:10]
    place.server.put(place.url_path(dataset), DATA)
    with pytest.raises(BrokenAnswerError, match="another edition"):
        part(file, 50 * BLOCK, 10)
    place.server.release()
    with pytest.raises(BrokenAnswerError, match="another edition"):
        part(file, 0, 10)
    process.kill()
    assert read_open(untouched) == DATA
    assert read(content, dataset) == DATA


def test_nothing_is_read_of_an_edition_that_the_server_no_longer_has(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    process = other_daemon(place, dataset)
    file, untouched = content.open(dataset, may_fetch=True), content.open(dataset, may_fetch=True)
    assert part(file, 0, 10) == DATA[:10]
    place.server.put(place.url_path(dataset), DATA)
    with pytest.raises(BrokenAnswerError, match="another edition"):
        part(file, 50 * BLOCK, 10)
    process.kill()
    assert part(untouched, 0, BLOCK) == DATA[:BLOCK]
    assert read_open(untouched) == DATA
    assert place.withdrawals == [dataset]


def test_a_file_begun_anew_by_the_other_is_another_one(place: ArchiveAndCache) -> None:
    dataset, content, other = place.add(DATA), by_blocks(place), by_blocks(place)
    place.server.fault(place.url_path(dataset), Fault(stall_after=3 * BLOCK, times=1))
    theirs, anew = (other.open(dataset, may_fetch=True) for _ in range(2))
    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(part, theirs, 0, 8 * BLOCK)
        wait_until(lambda: place.server.bytes_sent() >= 3 * BLOCK)
        file = content.open(dataset, may_fetch=True)
        assert part(file, 0, 10) == DATA[:10]
        place.server.put(place.url_path(dataset), DATA)
        place.server.release()
        assert reading.result(timeout=60) == DATA[: 8 * BLOCK]
    with pytest.raises(BrokenAnswerError, match="another edition"):
        part(theirs, 50 * BLOCK, 10)
    anew.wait_whole()
    with pytest.raises(BrokenAnswerError, match="another edition"):
        part(file, 60 * BLOCK, 10)
    with pytest.raises(BrokenAnswerError, match="another edition"):
        part(file, 0, 10)
    assert read(content, dataset) == DATA


def test_what_is_only_streamed_is_read_as_far_as_the_other_has_it(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    process = other_daemon(place, dataset, Fault(ignore_range=True, stall_after=3 * BLOCK))
    file = content.open(dataset, may_fetch=True)
    assert part(file, 0, 3 * BLOCK) == DATA[: 3 * BLOCK]
    waiting = file.wait(50 * BLOCK, 10)
    assert waiting is not None
    place.server.release()
    assert part(file, 50 * BLOCK, 10) == DATA[50 * BLOCK : 50 * BLOCK + 10]
    assert ends_well(process)
    assert read_open(file) == DATA


def test_it_ends_with_its_readers_and_with_the_mount(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    process = other_daemon(place, dataset)
    first = content.open(dataset, may_fetch=True)
    assert part(first, 0, 10) == DATA[:10]
    first.close()
    wait_until(lambda: not content.transfers())
    wait_until(lambda: str(sparse(place, dataset)) not in open_links())
    second = content.open(dataset, may_fetch=True)
    assert part(second, 60 * BLOCK, 10) == DATA[60 * BLOCK : 60 * BLOCK + 10]
    content.close()
    with pytest.raises(OfflineError):
        part(second, 0, 10)
    wait_until(lambda: str(sparse(place, dataset)) not in open_links())
    place.server.release()
    assert ends_well(process)


def test_it_goes_on_though_the_part_file_that_both_fill_is_removed(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    process = other_daemon(place, dataset)
    file = content.open(dataset, may_fetch=True)
    assert part(file, 0, 10) == DATA[:10]
    sparse(place, dataset).unlink()
    assert part(file, 50 * BLOCK, 10) == DATA[50 * BLOCK : 50 * BLOCK + 10]
    place.server.release()
    assert ends_well(process)
    assert read_open(file) == DATA
