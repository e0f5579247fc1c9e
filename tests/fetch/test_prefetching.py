"""Fetching what nobody asked for yet: it gives way, and leaves no trace but the file."""

import threading

import pytest
from archive_and_cache import ArchiveAndCache, read, read_open
from servers import HEALTHY, Fault
from waiting import PATIENCE_S, wait_until

from onefs.cache.quota import Limits, Quota, Reservation
from onefs.cache.usage import Taken, footprint
from onefs.errors import MissingOnServerError, OfflineError
from onefs.fetch.access import BlockRules, Content, OpenFile, State
from onefs.fetch.storage import DiskBlocks

DATA = b"trials" * 2000


def is_idle(content: Content) -> bool:
    return not content.transfers()


def test_it_fetches_and_verifies_the_file(place: ArchiveAndCache) -> None:
    content, dataset = place.content(), place.add(DATA)
    assert content.may_prefetch(dataset)
    content.prefetch(dataset)
    wait_until(lambda: content.inspect(dataset).state is State.VERIFIED, "it is there")
    content.prefetch(dataset)
    wait_until(lambda: is_idle(content), "it was found")
    assert read(content, dataset, may_fetch=False) == DATA
    assert place.server.requests() == 1
    wait_until(lambda: place.changes)


def test_who_opens_it_does_not_wait_behind_other_prefetches(place: ArchiveAndCache) -> None:
    content = place.content(prefetches=1)
    stalled, queued, last = (place.add(DATA, number) for number in range(3))
    place.server.fault(place.url_path(stalled), Fault(stall_before_headers=True))
    for dataset in (stalled, queued, last):
        content.prefetch(dataset)
    assert read(content, queued) == DATA
    assert place.server.requests(place.url_path(last)) == 0
    place.server.release()
    wait_until(lambda: is_idle(content), "all are there")
    assert [place.server.requests(place.url_path(dataset)) for dataset in (stalled, queued, last)] == [1, 1, 1]


def test_a_failure_is_neither_told_nor_remembered(place: ArchiveAndCache) -> None:
    content, dataset = place.content(), place.add(DATA)
    place.server.fault(place.url_path(dataset), Fault(status=404))
    content.prefetch(dataset)
    place.server.wait_for_requests(1)
    wait_until(lambda: is_idle(content), "it ended")
    assert place.failures == []
    assert content.totals().failures == 0
    assert content.inspect(dataset).state is State.REMOTE
    place.server.fault(place.url_path(dataset), HEALTHY)
    assert read(content, dataset) == DATA


def test_a_failure_is_told_to_whoever_opened_it_meanwhile(place: ArchiveAndCache) -> None:
    content, dataset = place.content(), place.add(DATA)
    place.server.fault(place.url_path(dataset), Fault(stall_before_headers=True, status=404))
    content.prefetch(dataset)
    place.server.wait_for_requests(1)
    file = content.open(dataset, may_fetch=True)
    place.server.release()
    with pytest.raises(MissingOnServerError):
        read_open(file)
    file.close()
    assert [failed for failed, _ in place.failures] == [dataset]
    assert content.totals().failures >= 1


def test_it_evicts_nothing(place: ArchiveAndCache) -> None:
    kept = [place.add(DATA, number) for number in range(3)]
    more = place.add(DATA, 3)
    content = place.content(limits=Limits(cache_size_bytes=4 * 16384))
    assert all(read(content, dataset) == DATA for dataset in kept)
    content.flush()
    content.prefetch(more)
    wait_until(lambda: is_idle(content), "it was given up")
    assert place.server.requests(place.url_path(more)) == 0
    assert all(content.cached_size(dataset) for dataset in kept)
    assert read(content, more) == DATA


def test_it_leaves_the_disk_as_free_as_it_shall_be(place: ArchiveAndCache) -> None:
    dataset = place.add(DATA)
    content = place.content(limits=Limits(min_free_bytes=1 << 60))
    content.prefetch(dataset)
    wait_until(lambda: is_idle(content), "it was given up")
    assert place.server.requests() == 0


def test_a_cancelled_prefetch_asks_for_nothing_more(place: ArchiveAndCache) -> None:
    content = place.content(prefetches=1)
    begun, *queued = (place.add(DATA, number) for number in range(100))
    place.server.fault(place.url_path(begun), Fault(stall_after=100))
    for dataset in (begun, *queued):
        content.prefetch(dataset)
    place.server.wait_for_requests(1)
    content.cancel_prefetches()
    assert content.transfers() == []
    with pytest.raises(OfflineError):
        content.open(begun, may_fetch=False)
    place.server.release()
    place.server.fault(place.url_path(begun), HEALTHY)
    assert read(content, begun) == DATA
    assert [place.server.requests(place.url_path(dataset)) for dataset in queued] == [0] * 99


@pytest.mark.parametrize("size_bytes", [len(DATA), 2 << 20], ids=["memory", "blocks"])
def test_who_opens_a_prefetch_that_finds_no_room_has_others_evicted(
    place: ArchiveAndCache, monkeypatch: pytest.MonkeyPatch, size_bytes: int
) -> None:
    data = DATA.ljust(size_bytes, b"x")
    kept = [place.add(data, number) for number in range(3)]
    more = place.add(data, 3)
    content = place.content(limits=Limits(cache_size_bytes=3 * footprint(size_bytes) + 8_000))
    assert all(read(content, dataset) == data for dataset in kept)
    content.flush()
    take, is_asked, is_opened = Quota.take, threading.Event(), threading.Event()

    def take_late(quota: Quota, file: Taken, size_bytes: int) -> None:
        is_asked.set()
        is_opened.wait(PATIENCE_S)
        take(quota, file, size_bytes)

    monkeypatch.setattr(Quota, "take", take_late)
    content.prefetch(more)
    assert is_asked.wait(PATIENCE_S)
    file = content.open(more, may_fetch=True)
    is_opened.set()
    assert read_open(file) == data
    file.close()
    assert place.failures == []
    assert sum(content.cached_size(dataset) is None for dataset in kept) >= 1


def test_only_small_files_and_only_while_anything_may_be_fetched(place: ArchiveAndCache) -> None:
    content = place.content(blocks=BlockRules(whole_file_max_bytes=len(DATA)))
    small, large, empty = place.add(DATA, 1), place.add(DATA + b"1", 2), place.add(b"", 3)
    unknown = place.add(DATA, 4, size=None)
    assert [content.may_prefetch(each) for each in (small, large, empty, unknown)] == [True, False, False, False]
    content.permit(may_fetch=False)
    assert not content.may_prefetch(small)
    content.permit(may_fetch=True)
    assert not place.content(is_cache=False).may_prefetch(small)
    place.server.fault(place.url_path(small), Fault(status=404))
    with pytest.raises(MissingOnServerError):
        read(content, small)
    assert not content.may_prefetch(small)


def test_a_cancelled_prefetch_keeps_its_file_open_as_long_as_it_is_written(
    place: ArchiveAndCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, dataset = place.content(), place.add(bytes(2 << 20))
    writes, is_cancelled = threading.Event(), threading.Event()
    failures: list[OSError] = []
    write = DiskBlocks.write

    def write_late(self: DiskBlocks, chunk: "memoryview[int]", offset: int) -> None:
        writes.set()
        assert is_cancelled.wait(PATIENCE_S)
        try:
            write(self, chunk, offset)
        except OSError as error:
            failures.append(error)
            raise

    monkeypatch.setattr(DiskBlocks, "write", write_late)
    content.prefetch(dataset)
    assert writes.wait(PATIENCE_S)
    content.cancel_prefetches()
    is_cancelled.set()
    assert read(content, dataset) == bytes(2 << 20)
    assert failures == []


def test_room_is_made_for_whoever_opened_it_meanwhile(place: ArchiveAndCache, monkeypatch: pytest.MonkeyPatch) -> None:
    content = place.content(limits=Limits(cache_size_bytes=2 * 16384))
    old, new = place.add(DATA, 1), place.add(DATA + DATA, 2)
    assert read(content, old) == DATA
    content.flush()
    opened: list[OpenFile] = []
    reach = Reservation.reach

    def reach_once_opened(self: Reservation, size_bytes: int) -> None:
        if not opened:
            opened.append(content.open(new, may_fetch=True))
        reach(self, size_bytes)

    monkeypatch.setattr(Reservation, "reach", reach_once_opened)
    content.prefetch(new)
    wait_until(lambda: opened, "somebody opened it")
    assert read_open(opened[0]) == DATA + DATA
    opened[0].close()
    assert place.failures == []
