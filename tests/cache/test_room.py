"""A cache of limited size: held to it under load and by several processes, and what must stay in it stays."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from archive_and_cache import ArchiveAndCache, Clock, read, read_open, together
from servers import Fault
from waiting import PATIENCE_S, wait_until

from onefs.cache.evict import Evictor
from onefs.cache.locks import DatasetLocks
from onefs.cache.quota import Limits
from onefs.cache.store import ContentStore
from onefs.cache.usage import footprint
from onefs.catalogue.records import Dataset
from onefs.errors import BusyError, CacheDamagedError, KeptError, NoRoomError
from onefs.fetch.access import BlockRules, State
from onefs.fetch.cancel import CancelToken
from onefs.fetch.fetch import Fetch
from onefs.fetch.storage import NamedByOtherError
from onefs.fetch.whole import WholeFile

MIB = 1 << 20
LIMIT = 8 * MIB
IN_FLIGHT_BYTES = MIB
"""What may be on the disk beside what counts: a file just evicted, notes, and the files that hold the account."""
BY_BLOCKS = BlockRules(whole_file_max_bytes=2 * MIB, block_bytes=64 << 10)
LIMITED_PROCESS = Path(__file__).with_name("limited_process.py")


def store_of(place: ArchiveAndCache, limits: Limits | None = None) -> ContentStore:
    return ContentStore(place.cache, place.cache / ".onefs", limits=limits)


def filled(place: ArchiveAndCache, count: int, size_bytes: int = MIB) -> list[Dataset]:
    data = random.Random(count).randbytes(size_bytes + count)
    return [place.add(data[number : number + size_bytes], number) for number in range(1, count + 1)]


def on_disk(folder: Path) -> int:
    """Bytes that all files under a folder but the database take; one that gets its name meanwhile counts once."""
    found: dict[int, int] = {}
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                status = os.lstat(f"{path}/{name}")
            except FileNotFoundError:
                continue
            if not name.startswith("state-"):
                found[status.st_ino] = status.st_blocks * 512
    return sum(found.values())


LISTINGS: list[list[str]] = []


def note_listing(event: str, given: tuple[object, ...]) -> None:
    """Audit hooks stay for as long as the process lives."""
    if LISTINGS and event in ("os.scandir", "os.listdir"):
        LISTINGS[-1].append(os.readlink(f"/proc/self/fd/{given[0]}") if isinstance(given[0], int) else str(given[0]))


sys.addaudithook(note_listing)


@contextmanager
def listed_folders() -> Iterator[list[str]]:
    """The folders that were listed while the block ran."""
    LISTINGS.append([])
    try:
        yield LISTINGS[-1]
    finally:
        LISTINGS.pop()


@contextmanager
def sampled(measure: Callable[[], int]) -> Iterator[list[int]]:
    """What something measured, over and over, while the block ran."""
    seen: list[int] = []
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(0.01):
            seen.append(measure())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def test_the_room_that_is_left_in_the_cache(place: ArchiveAndCache) -> None:
    (dataset,) = filled(place, 1)
    place.cache.mkdir()
    content = place.content(limits=Limits(LIMIT))
    assert content.keeping.free_bytes() == LIMIT
    read(content, dataset)
    assert LIMIT - MIB - IN_FLIGHT_BYTES <= content.keeping.free_bytes() <= LIMIT - MIB
    disk_bytes = shutil.disk_usage(place.cache).total
    assert store_of(place, Limits(disk_bytes * 2)).free_bytes() < disk_bytes
    assert store_of(place, Limits(0, disk_bytes)).free_bytes() == 0
    assert place.content(is_cache=False).keeping.free_bytes() == 0


def names(place: ArchiveAndCache, datasets: list[Dataset]) -> list[int]:
    """Which of these stand in the cache."""
    return [number for number, dataset in enumerate(datasets) if place.file(dataset).exists()]


def missing(place: ArchiveAndCache, datasets: list[Dataset]) -> Dataset:
    """One that is not in the cache: only a fetch needs room."""
    return next(each for each in datasets if not place.file(each).exists())


@pytest.mark.slow
def test_under_load_it_stays_within_its_size(place: ArchiveAndCache) -> None:
    choice = random.Random(8)
    data = choice.randbytes(MIB)
    small = [place.add(data[: choice.randrange(1, MIB)], number) for number in range(80)]
    large = [place.add(choice.randbytes(3 * MIB), 100 + number) for number in range(2)]
    rules = BlockRules(whole_file_max_bytes=2 * MIB, block_bytes=64 << 10, read_ahead_max_bytes=MIB, parts=2)
    content = place.content(limits=Limits(LIMIT), blocks=rules)

    def reader(number: int) -> None:
        turn = random.Random(number)
        for dataset in turn.sample(small + large, 30):
            assert hashlib.md5(read(content, dataset)).hexdigest() == dataset.md5

    with sampled(lambda: on_disk(place.cache)) as seen:
        together(reader, 8)
    assert LIMIT // 2 < max(seen) <= LIMIT + IN_FLIGHT_BYTES
    assert not place.failures
    content.close()
    usage = store_of(place).usage()
    assert usage.used_bytes is not None
    assert usage.used_bytes <= LIMIT
    assert usage.files is not None
    assert abs(usage.files - len(names(place, small + large))) <= 8, "one for each that came while it was counted"


def test_the_least_recently_used_goes_first_though_it_was_used_by_an_earlier_process(place: ArchiveAndCache) -> None:
    datasets = filled(place, 4)
    for each in (0, 1, 2, 0):
        content = place.content()
        read(content, datasets[each])
        content.flush()
        content.close()
    content = place.content(limits=Limits(3 * MIB + MIB // 2))
    read(content, datasets[3])
    assert names(place, datasets) == [0, 2, 3]
    assert datasets[1].id in [each.id for each in place.changes[-2:]], "who shows its state was not told"
    assert content.inspect(datasets[1]).state is State.REMOTE
    read(content, datasets[0])
    content.flush()
    read(content, datasets[1])
    assert names(place, datasets) == [0, 1, 3]
    assert len(place.server.headers(place.url_path(datasets[0]))) == 1


def test_what_was_just_used_leaves_the_cache_if_nothing_else_can(place: ArchiveAndCache) -> None:
    datasets = filled(place, 5)
    content = place.content(limits=Limits(3 * MIB + MIB // 2))
    for each in (0, 1, 2, 1, 2, 0):
        read(content, datasets[each])
    read(content, datasets[3])
    assert names(place, datasets) == [0, 2, 3]
    for each in (3, 2, 0):
        read(content, datasets[each])
    read(content, datasets[4])
    assert names(place, datasets) == [0, 2, 4]


def test_a_scan_over_a_long_time_keeps_nobody_waiting(place: ArchiveAndCache, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets, clock, store = filled(place, 5), Clock(), store_of(place)
    evictor = Evictor(store, store.state, DatasetLocks(store.state_folder), store.descriptors)

    def fetch(numbers: range) -> None:
        content = place.content()
        for number in numbers:
            read(content, datasets[number])
        content.flush()
        content.close()

    def evict() -> int:
        with monkeypatch.context() as patch:
            patch.setattr(time, "monotonic", clock)
            clock.now_s += 60
            return evictor.evict(1, threading.Event())

    fetch(range(2))
    assert [evict(), evict()] == [footprint(MIB)] * 2
    fetch(range(2, 4))
    assert [evict(), evict()] == [footprint(MIB)] * 2
    fetch(range(4, 5))
    assert evict() == footprint(MIB)


def test_what_is_pinned_and_what_others_put_there_stays(place: ArchiveAndCache) -> None:
    pinned, theirs, linked, *others = datasets = filled(place, 12)
    content = place.content(limits=Limits(5 * MIB))
    store_of(place).pin(pinned)
    place.put_in_cache(theirs, read(place.content(), linked))
    # As if a person kept a file under a second name: removing the first would free nothing.
    os.link(place.file(linked), place.home / "kept")
    theirs_bytes = random.Random(12).randbytes(MIB + 12)[2 : MIB + 2]
    place.file(theirs).write_bytes(theirs_bytes)
    read(content, theirs)
    for dataset in (pinned, *others):
        read(content, dataset)
    assert names(place, datasets)[:3] == [0, 1, 2]
    assert len(names(place, datasets)) < 7
    assert store_of(place).is_pinned(pinned.id)
    assert not store_of(place).is_pinned(linked.id)
    for dataset, reason in ((pinned, "is pinned"), (theirs, "another program")):
        with pytest.raises(KeptError, match=reason):
            store_of(place).evict(dataset)
        assert place.file(dataset).exists()


def test_nothing_is_evicted_from_a_folder_that_became_a_link(place: ArchiveAndCache) -> None:
    others = filled(place, 7)
    content = place.content(limits=Limits(5 * MIB))
    linked = place.add(b"linked" * (MIB // 6), 8, "linked/a.b.npy")
    read(content, linked)
    content.flush()
    folder, aside = place.file(linked).parent, place.home / "aside"
    folder.rename(aside)
    folder.symlink_to(aside)
    with pytest.raises(CacheDamagedError):
        store_of(place).evict(linked)
    for dataset in others:
        read(content, dataset)
    assert [path.name for path in aside.iterdir()] == [place.file(linked).name]
    assert store_of(place).state.stamp(linked.id) is not None


def test_where_all_is_pinned_there_is_no_room_but_large_files_are_served(place: ArchiveAndCache) -> None:
    first, second, third = filled(place, 3)
    large = place.add(random.Random(1).randbytes(4 * MIB), 100)
    rules = BlockRules(whole_file_max_bytes=2 * MIB, block_bytes=64 << 10)
    content = place.content(limits=Limits(2 * MIB + MIB // 2), blocks=rules)
    store = store_of(place)
    for dataset in (first, second):
        store.pin(dataset)
        read(content, dataset)
    with pytest.raises(NoRoomError, match="nothing in it may be evicted"):
        read(content, third)
    assert hashlib.md5(read(content, large)).hexdigest() == large.md5
    store.unpin(first)
    content.flush()
    content.retry(third)
    read(content, third)
    assert names(place, [first, second, third]) == [1, 2]


@pytest.mark.slow
def test_who_finds_no_room_waits_for_those_whose_files_can_go_once_they_came(place: ArchiveAndCache) -> None:
    pinned, *others = filled(place, 9, 3 * MIB)
    content, store = place.content(limits=Limits(LIMIT)), store_of(place)
    store.pin(pinned)
    read(content, pinned)
    for dataset in others:  # one at a time, as two do not fit: for most that is longer than is waited without hope
        place.server.fault(place.url_path(dataset), Fault(trickle_bytes=MIB // 4))

    def reader(number: int) -> None:
        assert hashlib.md5(read(content, others[number])).hexdigest() == others[number].md5

    together(reader, 8)
    assert not place.failures


def test_no_room_that_can_never_come_is_waited_for(place: ArchiveAndCache) -> None:
    pinned, coming, wanted = filled(place, 3, 3 * MIB)
    larger = place.add(random.Random(7).randbytes(6 * MIB), 7)
    content, store = place.content(limits=Limits(LIMIT)), store_of(place)
    store.pin(pinned)
    read(content, pinned)
    place.server.fault(place.url_path(coming), Fault(stall_after=MIB))
    file = content.open(coming, may_fetch=True)
    wait_until(lambda: place.partial(coming).exists())
    with pytest.raises(NoRoomError, match="nothing in it may be evicted"):
        read(content, larger)  # although there is one to be waited for
    waiting = threading.Thread(target=read, args=(content, wanted))
    waiting.start()
    place.server.release()
    waiting.join(PATIENCE_S)
    assert place.file(wanted).exists()
    file.close()


def test_a_file_larger_than_the_cache_says_so(place: ArchiveAndCache) -> None:
    (dataset,) = filled(place, 1)
    content = place.content(limits=Limits(MIB // 2))
    with pytest.raises(NoRoomError, match=r"more than the cache may hold.* Raise --cache-size"):
        read(content, dataset)
    assert not place.server.bytes_sent()
    large = place.add(random.Random(1).randbytes(4 * MIB), 2)
    with pytest.raises(NoRoomError, match=r"no room for all of a large file.* Raise --cache-size"):
        place.content(limits=Limits(MIB), blocks=BY_BLOCKS).open(large, may_fetch=True).wait_whole()


def test_an_open_file_stays_readable_though_it_is_evicted(place: ArchiveAndCache) -> None:
    datasets = filled(place, 5)
    content = place.content(limits=Limits(3 * MIB))
    file = content.open(datasets[0], may_fetch=True)
    before = read_open(file)
    content.flush()
    for dataset in datasets[1:]:
        read(content, dataset)
        content.flush()
    assert 0 not in names(place, datasets)
    assert read_open(file) == before
    file.close()
    assert read(content, datasets[0]) == before


def test_what_a_person_asks_to_be_evicted_goes_unless_it_is_being_fetched(place: ArchiveAndCache) -> None:
    dataset, other = filled(place, 2)
    content, store = place.content(limits=Limits(LIMIT)), store_of(place)
    assert store.evict(dataset) == 0
    read(content, dataset)
    content.flush()
    assert store.evict(dataset) >= MIB
    assert not place.file(dataset).exists()
    read(content, dataset)
    place.server.fault(place.url_path(other), Fault(stall_after=MIB // 2))
    file = content.open(other, may_fetch=True)
    wait_until(lambda: bool(content.transfers()) and content.transfers()[0].done_bytes == MIB // 2)
    with pytest.raises(BusyError, match="being fetched"):
        store.evict(other)
    place.server.release()
    file.close()


SIZES = pytest.mark.parametrize("size_bytes", [MIB, 4 * MIB], ids=["whole", "blocks"])


@SIZES
def test_what_one_daemon_fetched_is_its_own_whoever_stamps_it(place: ArchiveAndCache, size_bytes: int) -> None:
    (dataset,) = filled(place, 1, size_bytes)
    first, second = place.content(blocks=BY_BLOCKS), place.content(blocks=BY_BLOCKS)
    read(first, dataset)
    wait_until(place.file(dataset).exists)
    read(second, dataset)  # which has to hash it, as it is not stamped yet
    first.flush()
    second.flush()
    assert store_of(place).evict(dataset) >= size_bytes


def test_a_persons_file_in_the_place_of_a_fetched_one_is_theirs(place: ArchiveAndCache) -> None:
    (dataset,) = filled(place, 1)
    first = place.content()
    data = read(first, dataset)
    first.flush()
    place.file(dataset).unlink()
    place.put_in_cache(dataset, data)
    second = place.content()
    assert read(second, dataset) == data
    second.flush()
    with pytest.raises(KeptError, match="another program"):
        store_of(place).evict(dataset)
    assert place.file(dataset).read_bytes() == data


@SIZES
def test_what_a_killed_daemon_fetched_and_did_not_stamp_counts(place: ArchiveAndCache, size_bytes: int) -> None:
    dataset, other = filled(place, 2, size_bytes)
    for each in (dataset, other):
        assert place.other_process(each, BY_BLOCKS, dies=True).wait(60) == -signal.SIGKILL
    assert store_of(place).evict(dataset) >= size_bytes
    content = place.content(blocks=BY_BLOCKS)
    assert read(content, other)
    content.flush()
    assert store_of(place).evict(other) >= size_bytes
    assert not [path for path in place.partial(dataset).parent.glob("*") if path.is_file()]


def test_blocks_stay_while_somebody_has_the_file_open(place: ArchiveAndCache) -> None:
    large = place.add(random.Random(1).randbytes(4 * MIB), 100)
    small = filled(place, 6)
    rules = BlockRules(whole_file_max_bytes=2 * MIB, block_bytes=64 << 10, read_ahead_max_bytes=0)
    content = place.content(limits=Limits(4 * MIB), blocks=rules)
    file = content.open(large, may_fetch=True)
    for offset in range(0, MIB, 64 << 10):
        while (waiting := file.wait(offset, 1)) is not None:
            waiting.result(timeout=PATIENCE_S)
    blocks = place.partial(large).with_suffix(".blocks")
    for dataset in small:
        read(content, dataset)
        content.flush()
    assert blocks.exists()
    with pytest.raises(BusyError):
        store_of(place).evict(large)
    assert file.wait(0, MIB) is None
    file.close()
    wait_until(lambda: content.inspect(large).state is State.PARTIAL and not content.transfers())
    content.close()
    content = place.content(limits=Limits(2 * MIB), blocks=rules)
    read(content, small[0])
    assert not blocks.exists()
    assert not blocks.with_suffix(".map").exists()


def test_room_is_left_on_the_disk(place: ArchiveAndCache) -> None:
    first, second, third = filled(place, 3)
    content = place.content(limits=Limits(0, min_free_bytes=1))
    for dataset in (first, second):
        read(content, dataset)
    assert names(place, [first, second]) == [0, 1]
    content.close()
    store_of(place).pin(first)
    content = place.content(limits=Limits(0, min_free_bytes=1 << 60))
    with pytest.raises(NoRoomError, match=f"less than {1 << 60} bytes free"):
        read(content, third)
    assert names(place, [first, second, third]) == [0], "all that may go was not given up for the disk"


def test_a_limit_that_was_lowered_counts_for_what_is_there(place: ArchiveAndCache) -> None:
    datasets = filled(place, 9)
    content = place.content()
    for dataset in datasets[:8]:
        read(content, dataset)
    content.close()
    assert store_of(place).usage().used_bytes == 8 * footprint(MIB)
    content = place.content(limits=Limits(6 * MIB))
    read(content, datasets[8])
    assert 8 in names(place, datasets)
    wait_until(lambda: on_disk(place.cache) <= 6 * MIB)
    content.close()
    content = place.content(limits=Limits(3 * MIB))
    read(content, missing(place, datasets))
    wait_until(lambda: on_disk(place.cache) <= 3 * MIB)


def test_what_came_without_a_limit_counts_for_those_that_have_one(place: ArchiveAndCache) -> None:
    datasets = filled(place, 12)
    limited = place.content(limits=Limits(8 * MIB))
    read(limited, datasets[0])
    limited.close()
    free = place.content()
    for dataset in datasets[1:11]:
        read(free, dataset)
    free.close()
    limited = place.content(limits=Limits(8 * MIB))
    read(limited, datasets[11])
    wait_until(lambda: on_disk(place.cache) <= 8 * MIB)


def test_what_is_there_is_known_at_once_without_a_limit(place: ArchiveAndCache) -> None:
    datasets = filled(place, 12)
    content, other = place.content(), place.content()
    file_bytes = footprint(MIB)

    def usage() -> tuple[int | None, int | None]:
        found = content.keeping.usage()
        return found.used_bytes, found.files

    for dataset in datasets[:4]:
        read(content, dataset)
    content.flush()
    assert usage() == (4 * file_bytes, 4)
    read(content, datasets[4])
    for dataset in datasets[5:]:
        read(other, dataset)
    other.close()
    assert usage() == (12 * file_bytes, 12)
    content.keeping.evict(datasets[0])
    assert usage() == (11 * file_bytes, 11)
    assert content.keeping.labs() == [("lab", (11 * file_bytes, 11))]


def test_what_a_person_removed_counts_no_longer_after_a_check(place: ArchiveAndCache) -> None:
    first, second, third = filled(place, 3)
    content = place.content()
    for dataset in (first, second, third):
        read(content, dataset)
    place.file(first).unlink()
    place.file(second).write_bytes(b"a person's")
    wait_until(lambda: content.keeping.usage().files == 1)
    assert place.file(second).read_bytes() == b"a person's"
    assert content.keeping.usage().used_bytes == footprint(MIB)


def test_a_folder_that_became_a_link_keeps_no_other_file_from_being_counted_right(place: ArchiveAndCache) -> None:
    first, second = filled(place, 2)
    linked = place.add(b"linked" * (MIB // 6), 8, "linked/a.b.npy")
    content = place.content()
    for dataset in (first, second, linked):
        read(content, dataset)
    folder = place.file(linked).parent
    folder.symlink_to(folder.rename(place.home / "aside"))
    place.file(first).unlink()
    wait_until(lambda: content.keeping.usage().files == 2)
    assert store_of(place).state.stamp(linked.id) is not None


def test_totals_that_were_damaged_are_counted_anew(place: ArchiveAndCache) -> None:
    (dataset,) = filled(place, 1)
    store, content = store_of(place), place.content()
    read(content, dataset)
    content.flush()
    store.state.write(lambda database: database.execute("UPDATE usage SET bytes = 1 << 60, files = -3"))
    store.state.write(lambda database: database.execute("INSERT INTO usage VALUES ('no lab', 7, 1 << 50)"))
    Evictor(store, store.state, DatasetLocks(store.state_folder), store.descriptors).check(threading.Event())
    assert store.usage().files == 1
    assert content.keeping.usage().used_bytes == footprint(MIB)
    assert content.keeping.labs() == [("lab", (footprint(MIB), 1))]


def test_a_small_file_counts_from_the_moment_on_that_it_has_its_name(place: ArchiveAndCache) -> None:
    store, dataset, size_bytes = store_of(place, Limits(LIMIT)), place.add(bytes(10_000)), footprint(10_000)
    reservation = store.quota.reserve(dataset.id, 0)
    reservation.reach(size_bytes)
    file = WholeFile(Fetch(dataset, may_fetch=True, is_demanded=True, parent=CancelToken()), store, reservation)
    file.write(bytes(10_000), 0)
    copy = store.commit(dataset, file)
    assert store.quota.used().size_bytes == size_bytes
    store.vouch(dataset, copy, dataset.md5, source="a server")
    file.close()
    os.close(copy.descriptor)
    assert store.quota.used() == (size_bytes, 1)
    store.close()


def test_a_small_file_gets_its_name_though_its_folder_was_removed_meanwhile(place: ArchiveAndCache) -> None:
    store, dataset = store_of(place), place.add(b"12345")
    fetch = Fetch(dataset, may_fetch=True, is_demanded=True, parent=CancelToken())
    file = WholeFile(fetch, store, store.quota.reserve(dataset.id, 0))
    file.write(b"12345", 0)
    file.status()
    shutil.rmtree(place.file(dataset).parent)
    os.close(file.move_to(store))
    file.close()
    assert place.file(dataset).read_bytes() == b"12345"
    assert place.file(dataset).stat().st_mode & 0o777 == 0o644
    late = WholeFile(fetch, store, store.quota.reserve(dataset.id, 0))
    late.write(b"12345", 0)
    late.status()
    with pytest.raises(NamedByOtherError):
        late.move_to(store)
    late.close()
    store.close()
    assert not list((place.cache / ".onefs" / "partial").glob("*"))


def test_where_no_file_is_left_the_disk_may_be_unmounted_and_all_are_remembered(place: ArchiveAndCache) -> None:
    (dataset,) = filled(place, 1)
    store, content = store_of(place), place.content()
    read(content, dataset)
    aside = place.file(dataset).rename(place.home / "aside")
    Evictor(store, store.state, DatasetLocks(store.state_folder), store.descriptors).check(threading.Event())
    assert store.usage().files == 1
    aside.rename(place.file(dataset))
    assert store.evict(dataset) == footprint(MIB)


def test_files_that_a_person_removed_make_room(place: ArchiveAndCache) -> None:
    datasets = filled(place, 6)
    content = place.content(limits=Limits(4 * MIB))
    for dataset in datasets[:3]:
        read(content, dataset)
        place.file(dataset).unlink()
    for dataset in datasets[3:]:
        read(content, dataset)
    assert names(place, datasets) == [3, 4, 5]
    assert content.keeping.usage().evicted_files == 0


def test_the_state_may_be_deleted_at_any_time(place: ArchiveAndCache) -> None:
    datasets = filled(place, 8)
    content = place.content(limits=Limits(4 * MIB))
    for dataset in datasets[:3]:
        read(content, dataset)
    content.flush()
    shutil.rmtree(place.cache / ".onefs")
    for dataset in datasets:
        assert hashlib.md5(read(content, dataset)).hexdigest() == dataset.md5
    # Nobody can tell any longer who fetched the first three: they stay. What came after is held to the limit.
    assert set(names(place, datasets)) >= {0, 1, 2}
    assert len(names(place, datasets)) <= 3 + 4


@contextmanager
def reading(place: ArchiveAndCache, datasets: list[Dataset], seed: int) -> "Iterator[subprocess.Popen[str]]":
    """Another process that reads through the same cache, with the same limit."""
    asked = {
        "cache": str(place.cache),
        "url": place.server.url,
        "limit": LIMIT,
        "seed": seed,
        "datasets": [
            {
                "id": str(each.id),
                "session": each.session_path,
                "path": each.rel_path,
                "size": each.size_bytes,
                "md5": each.md5,
            }
            for each in datasets
        ],
    }
    tests = Path(__file__).parents[1]
    path = os.pathsep.join([str(tests), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, LIMITED_PROCESS, json.dumps(asked)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "reading\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def told(process: "subprocess.Popen[str]") -> dict[str, object]:
    answer: dict[str, object] = json.loads(process.communicate(timeout=60)[0])
    return answer


def test_several_processes_hold_one_limit_and_a_killed_one_leaves_nothing_that_counts(place: ArchiveAndCache) -> None:
    datasets = filled(place, 120, MIB // 4)
    with reading(place, datasets, 1) as first, reading(place, datasets, 2) as second:
        with sampled(lambda: on_disk(place.cache)) as seen, reading(place, datasets, 3) as third:
            wait_until(lambda: place.server.bytes_sent() > 5 * LIMIT)
            third.kill()
            sent = place.server.bytes_sent()
            wait_until(lambda: place.server.bytes_sent() > sent + 2 * LIMIT)
        answers = [told(first), told(second)]
    assert max(seen) <= LIMIT + IN_FLIGHT_BYTES
    assert [answer["wrong"] for answer in answers] == [[], []]
    assert all(answer["evicted"] for answer in answers)
    content = place.content(limits=Limits(2 * MIB))
    read(content, missing(place, datasets))
    wait_until(lambda: on_disk(place.cache) <= 2 * MIB)
    assert not [path for path in place.partial(datasets[0]).parent.glob("*") if path.stat().st_blocks]


def test_what_a_killed_daemon_had_reserved_counts_no_longer(place: ArchiveAndCache) -> None:
    datasets = filled(place, 6, 3 * MIB)
    for dataset in datasets[:4]:
        place.server.fault(place.url_path(dataset), Fault(stall_after=MIB))
    content = place.content(limits=Limits(LIMIT))
    with reading(place, datasets[:4], 1) as other:
        wait_until(lambda: content.keeping.usage().used_bytes == 2 * footprint(3 * MIB), "two have all the room")
        other.kill()
        other.wait()
        place.server.release()
        read(content, datasets[4])
        parts_bytes = on_disk(place.partial(datasets[0]).parent)
        assert parts_bytes <= LIMIT - footprint(3 * MIB)
        assert content.keeping.usage().used_bytes == footprint(3 * MIB) + parts_bytes
        read(content, datasets[5])
    there = names(place, datasets)
    assert there[-1] == 5
    parts_bytes = on_disk(place.partial(datasets[0]).parent)
    assert content.keeping.usage().used_bytes == len(there) * footprint(3 * MIB) + parts_bytes


def test_a_mount_does_not_look_through_the_cache(place: ArchiveAndCache) -> None:
    datasets, content = filled(place, 5), place.content()
    for dataset in datasets:
        read(content, dataset)
    content.close()
    with listed_folders() as found:
        content = place.content(limits=Limits(LIMIT))
        assert content.keeping.free_bytes() == LIMIT - 5 * footprint(MIB)
        assert content.open(datasets[0], may_fetch=False).size_bytes == MIB
        assert not content.transfers()
    assert [path for path in found if Path(path).is_relative_to(place.cache) and "partial" not in path] == []
