"""A file that grows: what is lent is there, nobody waits in vain, and memory takes the place of a full disk."""

import os
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from archive_and_cache import ArchiveAndCache, dataset_of, read, read_open, together
from reading_by_blocks import BLOCK, BLOCKS, DATA, RULES, by_blocks, part, sparse
from servers import Fault
from waiting import PATIENCE_S, wait_until

from onefs.cache.quota import Limits
from onefs.cache.store import ContentStore
from onefs.errors import BrokenAnswerError, NoRoomError, OfflineError, OnefsError
from onefs.fetch import storage
from onefs.fetch.access import Content, State
from onefs.fetch.cancel import CancelToken
from onefs.fetch.descriptors import Source
from onefs.fetch.fetch import Fetch
from onefs.fetch.part_file import Gate, PartFile
from onefs.fetch.scheduler import ReadAhead
from onefs.fetch.storage import DiskBlocks, Memory, MemoryBlocks
from onefs.threads import Workers


@pytest.fixture
def workers() -> Iterator[Workers]:
    workers = Workers("test", 2)
    yield workers
    workers.close()


class Worker:
    """Counts how often it is to fetch, which `error` forbids."""

    def __init__(self, error: OnefsError | None = None) -> None:
        self.error = error
        self.begun = 0

    def refusal(self) -> OnefsError | None:
        return self.error

    def begin(self) -> None:
        self.begun += 1


def part_of(store: ContentStore, workers: Workers, worker: Worker, gate: Gate = Gate.END) -> PartFile:
    blocks = DiskBlocks(store, dataset_of(1, DATA), BLOCK, is_whole=False)
    return PartFile(blocks, RULES, gate, worker, workers)


def test_nobody_waits_for_a_file_that_was_closed(tmp_path: Path, workers: Workers) -> None:
    store = ContentStore(tmp_path / "cache", tmp_path / "cache" / ".onefs")
    part_file = part_of(store, workers, Worker())
    before = part_file.want(ReadAhead(0), 0, 10)
    part_file.close()
    after = part_file.want(ReadAhead(0), 0, 10)
    assert before is not None
    assert before.done()
    assert after is not None
    assert after.done()
    assert part_file.lend(0, 10) is None
    store.close()


def test_what_came_whole_as_it_failed_is_judged_once_somebody_asks(tmp_path: Path, workers: Workers) -> None:
    store = ContentStore(tmp_path / "cache", tmp_path / "cache" / ".onefs")
    worker = Worker(BrokenAnswerError("not now"))
    part_file = part_of(store, workers, worker, Gate.OPEN)
    part_file.arrived(range(BLOCKS))
    part_file.pause()
    assert part_file.want(ReadAhead(0), 0, 10) is None
    with pytest.raises(BrokenAnswerError, match="not now"):
        part_file.want_next(BLOCK)
    assert worker.begun == 0
    worker.error = None
    assert part_file.want_next(BLOCK) is None
    assert worker.begun == 1
    part_file.close()
    store.close()


def test_the_end_is_held_back_until_all_is_judged(tmp_path: Path, workers: Workers) -> None:
    store = ContentStore(tmp_path / "cache", tmp_path / "cache" / ".onefs")
    dataset = dataset_of(1, DATA)
    part_file = part_of(store, workers, Worker(BrokenAnswerError("not now")))
    part_file.storage.write(memoryview(DATA), 0)
    part_file.arrived(range(50))
    part_file.arrived(range(51, BLOCKS))
    part_file.resume()
    last, came_last = (len(DATA) - 10, 10), (50 * BLOCK - 5, 10)
    assert part_file.want(ReadAhead(0), *last) is None
    part_file.arrived(range(50, 51))
    waits = [part_file.want(ReadAhead(0), *held) for held in (last, came_last, (0, len(DATA)))]
    assert [wait is None or wait.done() for wait in waits] == [False] * 3
    assert part_file.lend(*last) is part_file.lend(*came_last) is None
    assert part_file.want(ReadAhead(0), 0, 50 * BLOCK) is None
    assert part_file.want_next(BLOCK) is None
    part_file.pause()
    assert all(wait is not None and wait.done() for wait in waits)
    with pytest.raises(BrokenAnswerError, match="not now"):
        part_file.want(ReadAhead(0), *last)
    part_file.resume()
    waiting = part_file.want(ReadAhead(0), *last)
    assert part_file.hash() == dataset.md5
    part_file.verified()
    assert waiting is not None
    assert waiting.done()
    assert part_file.want(ReadAhead(0), *last) is None
    assert part_file.lend(*last) is not None
    part_file.close()
    store.close()


def test_what_took_a_file_s_place_is_not_read_before_it_is_there(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    slow, other = content.open(dataset, may_fetch=True), content.open(dataset, may_fetch=True)
    while (waiting := slow.wait(0, 10)) is not None:
        waiting.result(timeout=PATIENCE_S)
    place.server.put(place.url_path(dataset), DATA)
    assert part(other, 50 * BLOCK, 10) == DATA[50 * BLOCK : 50 * BLOCK + 10]
    assert slow.read_now(0, 10) is None
    assert slow.read(0, 10) is None
    assert part(slow, 0, 10) == DATA[:10]


def test_a_machine_that_forbids_lower_priorities_still_verifies(
    place: ArchiveAndCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: int) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "setpriority", forbidden)
    dataset, content = place.add(DATA), by_blocks(place)
    file = content.open(dataset, may_fetch=True)
    assert read_open(file) == DATA
    file.wait_whole()
    assert content.inspect(dataset).state is State.VERIFIED


def test_where_nothing_may_be_fetched_any_more_what_is_there_is_read(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    file, other = content.open(dataset, may_fetch=True), content.open(dataset, may_fetch=True)
    assert part(file, 0, 10) == DATA[:10]
    place.server.fault(place.url_path(dataset), Fault(trickle_bytes=BLOCK // 4, trickle_pause_s=0.02))
    waiting = other.wait(0, len(DATA))
    content.permit(may_fetch=False)
    assert waiting is not None
    with pytest.raises(OfflineError):
        part(other, 0, len(DATA))
    assert part(file, 0, 10) == DATA[:10]
    with pytest.raises(OfflineError):
        part(file, len(DATA) - 10, 10)
    with pytest.raises(OfflineError):
        file.wait_whole()
    wait_until(lambda: not content.transfers())
    content.permit(may_fetch=True)
    place.server.fault(place.url_path(dataset))
    assert read_open(file) == DATA
    assert place.failures == []


def test_a_file_that_nobody_reads_any_more_is_a_transfer_until_it_is_closed(
    place: ArchiveAndCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    were_transfers: list[bool] = []
    close = PartFile.close

    def noting(part_file: PartFile) -> None:
        were_transfers.append(bool(content.transfers()))
        close(part_file)

    monkeypatch.setattr(PartFile, "close", noting)
    file = content.open(dataset, may_fetch=True)
    assert part(file, 0, 10) == DATA[:10]
    file.close()
    wait_until(lambda: not content.transfers() and were_transfers)
    assert were_transfers == [True]


def small(place: ArchiveAndCache, room_bytes: int) -> Content:
    """With a cache that holds so many bytes, and a memory of eight blocks for each large file."""
    return by_blocks(place, limits=Limits(room_bytes, 0))


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MOST_OF_A_FILE_BYTES", 8 * BLOCK)
    monkeypatch.setattr(storage, "LEAST_OF_A_FILE_BYTES", 8 * BLOCK)
    monkeypatch.setattr(storage, "MOST_BYTES", 2 * 8 * BLOCK)


@pytest.mark.usefixtures("little_memory")
def test_without_room_a_large_file_is_read_through_memory(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), small(place, 20 * BLOCK)
    file = content.open(dataset, may_fetch=True)
    for _ in range(2):
        for offset in range(0, len(DATA), BLOCK):
            assert part(file, offset, BLOCK) == DATA[offset : offset + BLOCK]
    assert file.source is Source.MEMORY
    assert not sparse(place, dataset).exists()
    assert content.inspect(dataset).state is State.PARTIAL
    with pytest.raises(NoRoomError, match="all of a large file"):
        file.wait_whole()
    with pytest.raises(NoRoomError, match="at once"):
        file.wait(0, 9 * BLOCK)
    file.close()
    wait_until(lambda: not content.transfers())
    assert read(content, place.add(DATA[: 2 * BLOCK], 2)) == DATA[: 2 * BLOCK]
    with pytest.raises(NoRoomError):
        read(content, place.add(DATA[: 16 * BLOCK] * 2, 3))


@pytest.mark.usefixtures("little_memory")
def test_many_readers_of_little_memory_get_right_bytes(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), small(place, BLOCK)

    def reader(number: int) -> None:
        file = content.open(dataset, may_fetch=True)
        for step in range(60):
            offset = (step * 37 + number * 11) % BLOCKS * BLOCK + number
            assert part(file, offset, BLOCK) == DATA[offset : offset + BLOCK]
        file.close()

    together(reader, 8)


@pytest.mark.usefixtures("little_memory")
def test_without_room_another_edition_is_not_mixed_in(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), small(place, 4 * BLOCK)
    file = content.open(dataset, may_fetch=True)
    part(file, 0, 10)
    place.server.put(place.url_path(dataset), DATA)
    with pytest.raises(BrokenAnswerError, match="another edition"):
        for offset in range(0, len(DATA), BLOCK):
            part(file, offset, 10)


@pytest.mark.usefixtures("little_memory")
def test_without_room_what_can_only_be_streamed_is_refused(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), small(place, BLOCK)
    place.server.fault(place.url_path(dataset), Fault(ignore_range=True))
    with pytest.raises(NoRoomError, match="gives no parts of it"):
        part(content.open(dataset, may_fetch=True), 0, 10)
    unnamed = place.add(DATA, 2)
    place.server.fault(place.url_path(unnamed), Fault(no_edition=True))
    with pytest.raises(NoRoomError, match="does not tell editions apart"):
        part(content.open(unnamed, may_fetch=True), 0, 10)
    assert place.server.bytes_sent() < 2 * len(DATA)


@pytest.mark.usefixtures("little_memory")
def test_memory_holds_so_many_blocks_and_so_many_files() -> None:
    memory = Memory()
    files = [MemoryBlocks(memory, len(DATA), BLOCK) for _ in range(2)]
    with pytest.raises(NoRoomError):
        MemoryBlocks(memory, len(DATA), BLOCK)
    for block in range(BLOCKS):
        begin, end = files[0].map.part(range(block, block + 1))
        files[0].write(memoryview(DATA)[begin:end], begin)
        files[0].add(block, block + 1)
        if block == 3:
            assert files[0].bytes_at(5, BLOCK) == DATA[5 : BLOCK + 5]
    assert files[0].map.count == 8
    assert list(files[0].map.missing(range(BLOCKS))) == list(range(BLOCKS - 8))
    assert files[0].bytes_at(100 * BLOCK - 5, 10) == DATA[100 * BLOCK - 5 : 100 * BLOCK + 5]
    files[1].close()
    MemoryBlocks(memory, len(DATA), BLOCK).close()


def test_a_fetch_may_be_told_to_fail_by_several_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Future[None]):
        def set_result(self, result: None) -> None:
            if self is waiting:
                fetch.use(None)  # as the worker does, just when whoever closes is about to tell
            super().set_result(result)

    monkeypatch.setattr("onefs.fetch.fetch.Future", Slow)
    fetch = Fetch(dataset_of(1, DATA), may_fetch=True, is_demanded=True, parent=CancelToken())
    waiting = fetch.news
    assert fetch.fail(BrokenAnswerError("not now"))
    assert waiting.done()
    assert fetch.news.done()
    with pytest.raises(BrokenAnswerError, match="not now"):
        fetch.take()


def test_what_was_withdrawn_fails_for_those_alone_who_read_of_it(tmp_path: Path, workers: Workers) -> None:
    store = ContentStore(tmp_path / "cache", tmp_path / "cache" / ".onefs")
    part_file = part_of(store, workers, Worker())
    part_file.arrived(range(BLOCKS))
    part_file.fail(BrokenAnswerError("another edition"))
    assert part_file.want(ReadAhead(0), 0, 10) is not None  # to ask again, and find what takes its place
    assert part_file.lend(0, 10) is None
    part_file.is_served = True
    with pytest.raises(BrokenAnswerError, match="another edition"):
        part_file.want(ReadAhead(0), 0, 10)
    with pytest.raises(BrokenAnswerError, match="another edition"):
        part_file.lend(0, 10)
    part_file.close()
    store.close()
