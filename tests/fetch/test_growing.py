"""A file that grows: what is lent is there, nobody waits in vain, and memory takes the place of a full disk."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from archive_and_cache import ArchiveAndCache, dataset_of, read, read_open, together
from onefs.cache.floating import FloatingFile, Memory
from onefs.fetch.growing import Growing
from onefs.fetch.readahead import ReadAhead
from reading_by_blocks import BLOCK, BLOCKS, DATA, RULES, by_blocks, part, sparse
from servers import Fault
from waiting import PATIENCE_S, wait_until

from onefs.cache import floating
from onefs.cache.quota import Limits
from onefs.cache.store import ContentStore
from onefs.errors import BrokenAnswerError, NoRoomError, OfflineError, OnefsError
from onefs.fetch.access import Content, State
from onefs.fetch.descriptors import Source
from onefs.fetch.fetch import Fetch
from onefs.threads import Workers


@pytest.fixture
def workers() -> Iterator[Workers]:
    workers = Workers("test", 2)
    yield workers
    workers.close()


def test_nobody_waits_for_a_file_that_was_closed(tmp_path: Path, workers: Workers) -> None:
    store = ContentStore(tmp_path / "cache", tmp_path / "cache" / ".onefs")
    file = store.begin_blocks(dataset_of(1, DATA), BLOCK)
    growing = Growing(file, RULES, workers, lambda: None, lambda: None)
    before = growing.want(ReadAhead(0), 0, 10)
    growing.close()
    after = growing.want(ReadAhead(0), 0, 10)
    assert before is not None
    assert before.done()
    assert after is not None
    assert after.done()
    assert growing.lend(0, 10) is None
    store.close()


def test_what_came_whole_as_it_failed_is_judged_once_somebody_asks(tmp_path: Path, workers: Workers) -> None:
    store = ContentStore(tmp_path / "cache", tmp_path / "cache" / ".onefs")
    file = store.begin_blocks(dataset_of(1, DATA), BLOCK)
    begun: list[bool] = []
    refusals: list[OnefsError] = [BrokenAnswerError("not now")]
    growing = Growing(file, RULES, workers, lambda: next(iter(refusals), None), lambda: begun.append(True))
    growing.arrived(range(BLOCKS))
    growing.pause()
    assert growing.want(ReadAhead(0), 0, 10) is None
    with pytest.raises(BrokenAnswerError, match="not now"):
        growing.want_next(BLOCK)
    assert begun == []
    refusals.clear()
    assert growing.want_next(BLOCK) is None
    assert begun == [True]
    growing.close()
    store.close()


def test_the_end_is_held_back_until_all_is_judged(tmp_path: Path, workers: Workers) -> None:
    store = ContentStore(tmp_path / "cache", tmp_path / "cache" / ".onefs")
    dataset, refusals = dataset_of(1, DATA), [BrokenAnswerError("not now")]
    growing = Growing(store.begin_blocks(dataset, BLOCK), RULES, workers, lambda: refusals[0], lambda: None)
    growing.is_right = dataset.md5.__eq__
    growing.file.write(memoryview(DATA), 0)
    growing.arrived(range(50))
    growing.arrived(range(51, BLOCKS))
    growing.resumed()
    last, came_last = (len(DATA) - 10, 10), (50 * BLOCK - 5, 10)
    assert growing.want(ReadAhead(0), *last) is None
    growing.arrived(range(50, 51))
    waits = [growing.want(ReadAhead(0), *held) for held in (last, came_last, (0, len(DATA)))]
    assert [wait is None or wait.done() for wait in waits] == [False] * 3
    assert growing.lend(*last) is growing.lend(*came_last) is None
    assert growing.want(ReadAhead(0), 0, 50 * BLOCK) is None
    assert growing.want_next(BLOCK) is None
    growing.pause()
    assert all(wait is not None and wait.done() for wait in waits)
    with pytest.raises(BrokenAnswerError, match="not now"):
        growing.want(ReadAhead(0), *last)
    growing.resumed()
    waiting = growing.want(ReadAhead(0), *last)
    assert growing.hash() == dataset.md5
    assert waiting is not None
    assert waiting.done()
    assert growing.want(ReadAhead(0), *last) is None
    assert growing.lend(*last) is not None
    growing.close()
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
    may_fetch = threading.Event()
    may_fetch.set()
    dataset, content = place.add(DATA), by_blocks(place, may_go_on=may_fetch.is_set)
    file, other = content.open(dataset, may_fetch=True), content.open(dataset, may_fetch=True)
    assert part(file, 0, 10) == DATA[:10]
    place.server.fault(place.url_path(dataset), Fault(trickle_bytes=BLOCK // 4, trickle_pause_s=0.02))
    waiting = other.wait(0, len(DATA))
    may_fetch.clear()
    assert waiting is not None
    with pytest.raises(OfflineError):
        part(other, 0, len(DATA))
    assert part(file, 0, 10) == DATA[:10]
    with pytest.raises(OfflineError):
        part(file, len(DATA) - 10, 10)
    with pytest.raises(OfflineError):
        file.wait_whole()
    wait_until(lambda: not content.transfers())
    may_fetch.set()
    place.server.fault(place.url_path(dataset))
    assert read_open(file) == DATA
    assert place.failures == []


def test_a_file_that_nobody_reads_any_more_is_a_transfer_until_it_is_closed(
    place: ArchiveAndCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    were_transfers: list[bool] = []
    close = Growing.close

    def noting(growing: Growing) -> None:
        were_transfers.append(bool(content.transfers()))
        close(growing)

    monkeypatch.setattr(Growing, "close", noting)
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
    monkeypatch.setattr(floating, "MOST_OF_A_FILE_BYTES", 8 * BLOCK)
    monkeypatch.setattr(floating, "LEAST_OF_A_FILE_BYTES", 8 * BLOCK)
    monkeypatch.setattr(floating, "MOST_BYTES", 2 * 8 * BLOCK)


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
    files = [FloatingFile(memory, len(DATA), BLOCK) for _ in range(2)]
    with pytest.raises(NoRoomError):
        FloatingFile(memory, len(DATA), BLOCK)
    for block in range(BLOCKS):
        begin, end = files[0].map.part(range(block, block + 1))
        files[0].write(memoryview(DATA)[begin:end], begin)
        files[0].add(block, block + 1)
        if block == 3:
            assert files[0].at_hand(5, BLOCK) == DATA[5 : BLOCK + 5]
    assert files[0].map.count == 8
    assert list(files[0].map.missing(range(BLOCKS))) == list(range(BLOCKS - 8))
    assert files[0].at_hand(100 * BLOCK - 5, 10) == DATA[100 * BLOCK - 5 : 100 * BLOCK + 5]
    files[1].close()
    FloatingFile(memory, len(DATA), BLOCK).close()


def test_a_fetch_may_be_told_to_fail_by_several_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Future[None]):
        def set_result(self, result: None) -> None:
            if self is waiting:
                fetch.grow(None)  # as the worker does, just when whoever closes is about to tell
            super().set_result(result)

    monkeypatch.setattr("onefs.fetch.fetch.Future", Slow)
    fetch = Fetch(dataset_of(1, DATA), may_fetch=True)
    waiting = fetch.news
    assert fetch.fail(BrokenAnswerError("not now"))
    assert waiting.done()
    assert fetch.news.done()
    with pytest.raises(BrokenAnswerError, match="not now"):
        fetch.take()


def test_what_was_withdrawn_fails_for_those_alone_who_read_of_it(tmp_path: Path, workers: Workers) -> None:
    store = ContentStore(tmp_path / "cache", tmp_path / "cache" / ".onefs")
    growing = Growing(store.begin_blocks(dataset_of(1, DATA), BLOCK), RULES, workers, lambda: None, lambda: None)
    growing.arrived(range(BLOCKS))
    growing.fail(BrokenAnswerError("another edition"))
    assert growing.want(ReadAhead(0), 0, 10) is not None  # to ask again, and find what takes its place
    assert growing.lend(0, 10) is None
    growing.is_served = True
    with pytest.raises(BrokenAnswerError, match="another edition"):
        growing.want(ReadAhead(0), 0, 10)
    with pytest.raises(BrokenAnswerError, match="another edition"):
        growing.lend(0, 10)
    growing.close()
    store.close()
