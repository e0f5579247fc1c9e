"""Reading an open file: at once, blocking, while it is closed, and after its name is gone."""

import os
import threading
from collections.abc import Iterator

import pytest
from archive_and_cache import ArchiveAndCache, read, read_open
from servers import Fault
from waiting import PATIENCE_S

from onefs.cache.layout import Copy
from onefs.cache.store import ContentStore
from onefs.fetch.access import BlockRules
from onefs.fetch.descriptors import Source

DATA = os.urandom(1_000_000)


def test_reads_at_any_offset(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    read(content, dataset)
    file = content.open(dataset, may_fetch=False)
    for offset, size in ((0, 10), (999_990, 100), (1_000_000, 10), (2_000_000, 10), (5, 0), (123_456, 700_000)):
        assert file.wait(offset, size) is None
        assert file.read(offset, size) == DATA[offset : offset + size]
        assert file.read_now(offset, size) in (None, DATA[offset : offset + size])


def test_it_tells_where_its_bytes_come_from(place: ArchiveAndCache) -> None:
    fetched, put_there, content = place.add(DATA), place.add(DATA, 2), place.content()
    place.put_in_cache(put_there, DATA)
    for dataset, source in ((fetched, Source.NETWORK), (fetched, Source.CACHE), (put_there, Source.CACHE)):
        file = content.open(dataset, may_fetch=True)
        file.wait_whole()
        assert file.source is source
        file.close()
    assert place.server.requests() == 1


def test_reads_from_memory_without_blocking(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    read(content, dataset)
    file = content.open(dataset, may_fetch=False)
    assert file.read(0, len(DATA)) == DATA
    assert file.read_now(1000, 5000) in (None, DATA[1000:6000])  # None: a file system without such reads


def test_keeps_its_edition_when_the_file_is_removed_or_replaced(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    read(content, dataset)
    file = content.open(dataset, may_fetch=False)
    assert file.read(0, 1) == DATA[:1]
    place.file(dataset).unlink()
    assert file.read(0, len(DATA)) == DATA
    new = place.add(DATA[::-1])
    assert read(content, new) == DATA[::-1]
    assert file.read(0, len(DATA)) == DATA


def test_close_twice_and_read_after_it(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    read(content, dataset)
    file = content.open(dataset, may_fetch=False)
    file.close()
    file.close()
    assert file.read_now(0, 10) is None
    with pytest.raises(ValueError, match="closed"):
        file.read(0, 10)


def test_close_while_waiting(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    place.server.fault(place.url_path(dataset), Fault(stall_after=10))
    leaving, staying = content.open(dataset, may_fetch=True), content.open(dataset, may_fetch=True)
    assert leaving.wait(0, 1) is staying.wait(0, 1)
    leaving.close()
    place.server.release()
    assert read_open(staying) == DATA


@pytest.mark.parametrize("whole_file_max_bytes", [10_000, 64 << 20], ids=["by blocks", "at once"])
def test_who_waits_for_all_of_it_stops_when_it_is_closed(place: ArchiveAndCache, whole_file_max_bytes: int) -> None:
    dataset, content = place.add(DATA), place.content(blocks=BlockRules(whole_file_max_bytes=whole_file_max_bytes))
    place.server.fault(place.url_path(dataset), Fault(stall_after=10))
    leaving, staying = content.open(dataset, may_fetch=True), content.open(dataset, may_fetch=True)
    failures: list[Exception] = []

    def wait_for_all() -> None:
        try:
            leaving.wait_whole()
        except ValueError as error:
            failures.append(error)

    waiting = threading.Thread(target=wait_for_all)
    waiting.start()
    place.server.wait_for_requests(1)
    leaving.close()
    waiting.join(timeout=PATIENCE_S)
    assert [str(error) for error in failures] == ["a file that is closed never becomes whole"]
    place.server.release()
    assert read_open(staying) == DATA


def test_nobody_can_cancel_for_the_others(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    place.server.fault(place.url_path(dataset), Fault(stall_after=10))
    file = content.open(dataset, may_fetch=True)
    waiting = file.wait(0, 1)
    assert waiting is not None
    assert not waiting.cancel()
    place.server.release()
    assert read_open(file) == DATA


def test_no_descriptor_is_left_open(place: ArchiveAndCache) -> None:
    content = place.content()
    datasets = [place.add(DATA[:5000], number) for number in range(20)]
    broken = [place.add(DATA[:5000], number, md5="0" * 32) for number in range(100, 110)]

    def opened() -> int:
        inside, kept = f"{place.cache}/", str(place.cache / ".onefs" / "state")  # the database stays open
        targets = [_target(number) for number in os.listdir("/proc/self/fd")]
        folders = {str(place.cache), str(place.cache / ".onefs"), str(place.cache / ".onefs/locks/datasets")}  # held
        return sum(
            target.startswith(inside) and not target.startswith(kept) and target not in folders for target in targets
        )

    for dataset in datasets:
        files = [content.open(dataset, may_fetch=True) for _ in range(3)]
        files.pop().close()
        assert {read_open(file) for file in files} == {DATA[:5000]}
        for file in files:
            file.close()
    for dataset in broken:
        file = content.open(dataset, may_fetch=True)
        waiting = file.wait(0, 1)
        assert waiting is not None
        waiting.result()
        file.close()
    content.flush()
    assert opened() == 0
    content.close()
    assert not [target for number in os.listdir("/proc/self/fd") if (target := _target(number)) == str(place.cache)]
    assert not list((place.cache / ".onefs" / "room").rglob("*-*")), "what a daemon has under way outlived it"


def test_nothing_of_the_cache_is_left_open_where_files_were_synced_one_by_one(place: ArchiveAndCache) -> None:
    content = place.content()
    read(content, place.add(DATA[:5000]))
    content.flush()
    content.close()
    targets = [_target(number) for number in os.listdir("/proc/self/fd")]
    assert [target for target in targets if target.startswith(str(place.cache))] == []


def test_a_file_that_came_just_after_it_was_looked_for_is_not_fetched_again(
    place: ArchiveAndCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, dataset = place.content(), place.add(DATA[:5000])
    assert read(content, dataset) == DATA[:5000]

    def found_nothing(_: object, __: object) -> Iterator[Copy]:
        monkeypatch.undo()
        return iter(())

    monkeypatch.setattr(ContentStore, "open_copies", found_nothing)
    assert read(content, dataset) == DATA[:5000]
    assert place.server.requests() == 1


def test_a_descriptor_in_use_is_not_closed(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    read(content, dataset)
    wrong: list[bytes] = []
    stop = threading.Event()

    def churn() -> None:
        # Other files come and go, so that a number that was closed too early is soon somebody else's.
        while not stop.is_set():
            os.close(os.open("/dev/zero", os.O_RDONLY))

    churner = threading.Thread(target=churn)
    churner.start()
    for _ in range(200):
        file = content.open(dataset, may_fetch=False)
        reader = threading.Thread(target=_read_until_closed, args=(file, wrong))
        reader.start()
        file.close()
        reader.join()
    stop.set()
    churner.join()
    assert not wrong


def _read_until_closed(file: object, wrong: list[bytes]) -> None:
    while True:
        try:
            got = file.read(1000, 4000)  # type: ignore[attr-defined]
        except ValueError:
            return
        if got != DATA[1000:5000]:
            wrong.append(got)


def _target(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return ""
