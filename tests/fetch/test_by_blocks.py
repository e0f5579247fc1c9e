"""Large files: fetched by blocks as they are read, in any order, from servers that misbehave, until verified."""

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from archive_and_cache import ArchiveAndCache, read, read_open, together
from reading_by_blocks import BLOCK, DATA, by_blocks, open_links, part, ranges, sparse
from servers import HEALTHY, Fault
from waiting import PATIENCE_S, wait_until

from onefs.errors import BrokenAnswerError, MismatchError, OfflineError, OnefsError, UnreachableError
from onefs.fetch.access import State, Verify
from onefs.fetch.filling import Filling
from onefs.fetch.storage import DiskBlocks
from onefs.threads import Workers


def test_only_what_is_read_is_fetched_and_kept(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    file = content.open(dataset, may_fetch=True)
    for offset in (5 * BLOCK + 7, 60 * BLOCK, 33 * BLOCK - 1):
        assert part(file, offset, 2) == DATA[offset : offset + 2]
    wait_until(lambda: place.server.bytes_sent() == 4 * BLOCK, "no more is sent than that")
    assert content.inspect(dataset).state is State.PARTIAL
    assert 0 < content.cached_blocks(dataset) * 512 <= 5 * BLOCK
    assert not place.file(dataset).exists()
    assert file.edition is None
    assert part(file, len(DATA) - 3, 100) == DATA[-3:]
    assert part(file, len(DATA), 100) == part(file, len(DATA) + BLOCK, 100) == b""


def test_reading_in_order_is_one_pass_and_ends_verified(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    file = content.open(dataset, may_fetch=True)
    assert read_open(file) == DATA
    wait_until(lambda: content.inspect(dataset).state is State.VERIFIED)
    assert place.server.bytes_sent() == len(DATA)
    assert place.file(dataset).read_bytes() == DATA
    assert not list(place.partial(dataset).parent.iterdir())
    assert part(file, 1000, 50) == DATA[1000:1050]
    content.flush()
    assert by_blocks(place).inspect(dataset).state is State.VERIFIED


@pytest.mark.parametrize("size", [BLOCK, len(DATA)], ids=["at once", "by blocks"])
def test_who_wants_all_of_it_waits_until_it_is_verified(place: ArchiveAndCache, size: int) -> None:
    dataset, content = place.add(DATA[:size]), by_blocks(place)
    file = content.open(dataset, may_fetch=True)
    file.wait(size // 2, 10)
    file.wait_whole()
    assert file.is_whole
    assert content.inspect(dataset).state is State.VERIFIED
    assert place.file(dataset).read_bytes() == DATA[:size]
    assert place.server.bytes_sent() == size
    file.wait_whole()


def test_who_wants_all_of_it_is_told_why_it_cannot_be_had(place: ArchiveAndCache) -> None:
    wrong, content = place.add(DATA, md5="0" * 32), by_blocks(place)
    with pytest.raises(MismatchError):
        content.open(wrong, may_fetch=True).wait_whole()
    dataset = place.add(DATA, 2)
    file = content.open(dataset, may_fetch=True)
    assert part(file, 0, 10) == DATA[:10]
    place.server.fault(place.url_path(dataset), Fault(status=500))
    with pytest.raises(BrokenAnswerError):
        file.wait_whole()
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.wait_whole()


def test_eight_readers_in_random_order_fetch_each_block_once(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place)

    def reader(number: int) -> None:
        file = content.open(dataset, may_fetch=True)
        order = list(range(0, len(DATA), BLOCK // 2))
        random.Random(number).shuffle(order)
        for offset in order:
            assert part(file, offset, BLOCK // 2) == DATA[offset : offset + BLOCK // 2]
        file.close()

    together(reader, 8)
    wait_until(lambda: content.inspect(dataset).state is State.VERIFIED)
    assert place.server.bytes_sent() == len(DATA)
    assert sorted(first for first, _ in ranges(place, dataset))[0] == 0
    assert sum(end - first for first, end in ranges(place, dataset)) == len(DATA)
    assert place.file(dataset).read_bytes() == DATA


def test_reading_in_order_is_ahead_of_the_reader_and_at_random_is_not(place: ArchiveAndCache) -> None:
    data = random.Random(6).randbytes(24 << 20)
    dataset, content = place.add(data), by_blocks(place)
    file = content.open(dataset, may_fetch=True)
    for offset in range(0, 6 << 20, 128 << 10):
        part(file, offset, 128 << 10)
    wait_until(lambda: place.server.bytes_sent() > 8 << 20)
    before = place.server.bytes_sent()
    assert before <= (6 + 4 + 1) << 20
    part(file, 20 << 20, 10)
    wait_until(lambda: place.server.bytes_sent() > before)
    file.close()
    assert max(end - first for first, end in ranges(place, dataset)) > BLOCK
    assert len(ranges(place, dataset)) < 150


@pytest.mark.parametrize("md5", [None, ""], ids=["hash", "no hash"])
def test_blocks_are_kept_for_a_later_process(place: ArchiveAndCache, md5: str | None) -> None:
    dataset, first = place.add(DATA, md5=md5), by_blocks(place)
    file = first.open(dataset, may_fetch=True)
    part(file, 0, 10 * BLOCK)
    part(file, 50 * BLOCK, 10 * BLOCK)
    wait_until(lambda: place.server.bytes_sent() == 20 * BLOCK)
    first.close()
    second = by_blocks(place)
    assert second.inspect(dataset).state is State.PARTIAL
    file = second.open(dataset, may_fetch=True)
    assert part(file, 50 * BLOCK, 10 * BLOCK) == DATA[50 * BLOCK : 60 * BLOCK]
    assert place.server.bytes_sent() == 20 * BLOCK
    assert read_open(file) == DATA
    wait_until(lambda: second.inspect(dataset).state is (State.VERIFIED if dataset.md5 else State.CACHED))
    assert place.server.bytes_sent() == len(DATA)


def test_fetching_stops_when_nobody_has_it_open_and_goes_on_later(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    place.server.fault(place.url_path(dataset), Fault(trickle_bytes=BLOCK // 2, trickle_pause_s=0.05))
    file = content.open(dataset, may_fetch=True)
    part(file, 0, 10)
    file.wait(0, len(DATA))
    wait_until(lambda: place.server.bytes_sent() > 10 * BLOCK)
    file.close()
    wait_until(lambda: not content.transfers())
    assert content.inspect(dataset).state is State.PARTIAL
    assert place.server.bytes_sent() < len(DATA)
    place.server.fault(place.url_path(dataset))
    assert read(content, dataset) == DATA


def test_an_idle_file_lets_another_process_fetch_it(place: ArchiveAndCache) -> None:
    dataset, content, other = place.add(DATA), by_blocks(place), by_blocks(place)
    mine, theirs = content.open(dataset, may_fetch=True), other.open(dataset, may_fetch=True)
    assert part(mine, 0, 10) == DATA[:10]
    assert part(theirs, 70 * BLOCK, 10) == DATA[70 * BLOCK : 70 * BLOCK + 10]
    assert part(mine, 70 * BLOCK, 10) == DATA[70 * BLOCK : 70 * BLOCK + 10]
    assert place.server.bytes_sent() == 2 * BLOCK
    assert read_open(theirs) == DATA
    wait_until(lambda: other.inspect(dataset).state is State.VERIFIED)
    assert read_open(mine) == DATA
    assert place.server.bytes_sent() == len(DATA)


def test_two_daemons_read_it_in_turns(place: ArchiveAndCache) -> None:
    dataset, content, other = place.add(DATA), by_blocks(place), by_blocks(place)
    files = [content.open(dataset, may_fetch=True), other.open(dataset, may_fetch=True)]
    for block in range(2):
        for number, file in enumerate(files):
            assert part(file, block * BLOCK, BLOCK) == DATA[block * BLOCK : (block + 1) * BLOCK]
            offset = (50 + 10 * number + block) * BLOCK
            assert part(file, offset, BLOCK) == DATA[offset : offset + BLOCK]
            wait_until(lambda: not content.transfers() and not other.transfers())
    assert place.server.bytes_sent() == 6 * BLOCK
    assert place.withdrawals == []
    assert read_open(files[1]) == DATA
    wait_until(lambda: other.inspect(dataset).state is State.VERIFIED)
    assert read_open(files[0]) == DATA


def test_two_daemons_that_open_it_before_either_reads_fill_one_file(place: ArchiveAndCache) -> None:
    dataset, contents, files = place.add(DATA), [by_blocks(place), by_blocks(place)], []
    for content in contents:
        files.append(content.open(dataset, may_fetch=True))
        wait_until(lambda content=content: not content.transfers())
    for block in range(3):
        for file in files:
            assert part(file, block * BLOCK, BLOCK) == DATA[block * BLOCK : (block + 1) * BLOCK]
            wait_until(lambda: not any(content.transfers() for content in contents))
    assert place.server.bytes_sent() == 3 * BLOCK
    assert [read_open(file) == DATA for file in files] == [True, True]


def test_an_edition_that_changes_is_not_mixed(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    file, untouched = content.open(dataset, may_fetch=True), content.open(dataset, may_fetch=True)
    assert part(file, 0, 10) == DATA[:10]
    place.server.put(place.url_path(dataset), DATA)  # the same bytes, but who could know
    with pytest.raises(BrokenAnswerError, match="another edition"):
        part(file, 50 * BLOCK, 10)
    assert [(failed, "another edition" in error.reason) for failed, error in place.failures] == [(dataset, True)]
    assert "another edition" in content.inspect(dataset).error
    with pytest.raises(BrokenAnswerError, match="another edition"):
        part(file, 0, 10)
    wait_until(lambda: place.withdrawals == [dataset])
    assert read_open(untouched) == DATA
    assert read(content, dataset) == DATA
    wait_until(lambda: content.inspect(dataset).error == "")


def test_an_edition_that_always_changes_is_told(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    place.server.fault(place.url_path(dataset), Fault(new_edition_each_time=True))
    with pytest.raises(OnefsError, match="edition"):
        read(content, dataset)
    assert place.server.requests() < 40


@pytest.mark.parametrize(
    "fault",
    [
        Fault(ignore_range=True),
        Fault(ignore_range=True, cut_after=3_000_000, times=1),
        Fault(no_edition=True),
        Fault(ignore_range=True, no_edition=True),
        Fault(chunked=True),
        Fault(cut_after=10_000, times=2),
        Fault(reset_after=100_000, times=3),
        Fault(shift_range=100, times=2),
        Fault(status=503, times=2),
    ],
    ids=["200", "200, cut", "no edition", "200, no edition", "no length", "short", "reset", "another range", "503"],
)
def test_what_can_be_mended_is(place: ArchiveAndCache, fault: Fault) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    place.server.fault(place.url_path(dataset), fault)
    file = content.open(dataset, may_fetch=True)
    assert part(file, 90 * BLOCK, 10) == DATA[90 * BLOCK : 90 * BLOCK + 10]
    assert read_open(file) == DATA
    wait_until(lambda: content.inspect(dataset).state is State.VERIFIED)


@pytest.mark.parametrize("md5", [None, ""], ids=["hash", "no hash"])
def test_a_stream_without_an_edition_goes_on_where_it_is_the_same(place: ArchiveAndCache, md5: str | None) -> None:
    dataset, content = place.add(DATA, md5=md5), by_blocks(place)
    place.server.fault(place.url_path(dataset), Fault(no_edition=True, cut_after=50 * BLOCK + 100))
    file = content.open(dataset, may_fetch=True)
    with pytest.raises(BrokenAnswerError, match="ended"):
        part(file, 60 * BLOCK, 10)
    assert part(file, 0, 10) == DATA[:10]
    place.server.fault(place.url_path(dataset), Fault(no_edition=True))
    place.clock.now_s += 60
    assert read_open(file) == DATA
    assert place.withdrawals == []


def test_a_stream_without_an_edition_is_not_mixed_with_another(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA, md5=""), by_blocks(place)
    place.server.fault(place.url_path(dataset), Fault(no_edition=True, cut_after=50 * BLOCK + 100))
    file = content.open(dataset, may_fetch=True)
    assert part(file, 0, 10) == DATA[:10]
    with pytest.raises(BrokenAnswerError, match="ended"):
        part(file, 60 * BLOCK, 10)
    place.server.put(place.url_path(dataset), DATA[:-1] + b"?")
    place.server.fault(place.url_path(dataset), Fault(no_edition=True))
    place.clock.now_s += 60
    assert read_open(file) == DATA[:-1] + b"?"  # all of it of the later one
    changed = place.add(DATA, 2, md5="")
    place.server.fault(place.url_path(changed), Fault(no_edition=True, cut_after=50 * BLOCK + 100))
    file = content.open(changed, may_fetch=True)
    assert part(file, 0, 10) == DATA[:10]
    with pytest.raises(BrokenAnswerError, match="ended"):
        part(file, 60 * BLOCK, 10)
    place.server.put(place.url_path(changed), DATA[::-1])
    place.server.fault(place.url_path(changed), Fault(no_edition=True))
    place.clock.now_s += 60
    with pytest.raises(BrokenAnswerError, match="another edition"):
        part(file, 60 * BLOCK, 10)


def test_without_ranges_it_is_sent_once(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    place.server.fault(place.url_path(dataset), Fault(ignore_range=True))
    assert read(content, dataset) == DATA
    assert place.server.bytes_sent() == len(DATA)


@pytest.mark.parametrize(
    "fault",
    [Fault(shift_range=100), Fault(cut_after=0), Fault(status=404), Fault(status=500)],
    ids=["another range", "short", "404", "500"],
)
def test_the_other_location_gives_what_the_first_does_not(place: ArchiveAndCache, fault: Fault) -> None:
    second = place.another_server()
    dataset, content = place.add(DATA), by_blocks(place)
    place.server.fault(place.url_path(dataset), fault)
    file = content.open(dataset, may_fetch=True)
    assert part(file, 50 * BLOCK, 10) == DATA[50 * BLOCK : 50 * BLOCK + 10]
    assert second.bytes_sent() <= 2 * BLOCK
    place.clock.now_s += 60
    assert read_open(file) == DATA
    wait_until(lambda: content.inspect(dataset).state is State.VERIFIED)


@pytest.mark.parametrize("fault", [Fault(shift_range=100), Fault(cut_after=0)], ids=["another range", "short"])
def test_what_cannot_be_had_is_told_and_may_come_later(place: ArchiveAndCache, fault: Fault) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    file = content.open(dataset, may_fetch=True)
    part(file, 0, 10)
    place.server.fault(place.url_path(dataset), fault)
    with pytest.raises(BrokenAnswerError):
        part(file, 50 * BLOCK, 10)
    asked = place.server.requests()
    with pytest.raises(BrokenAnswerError):
        part(file, 50 * BLOCK, 10)
    assert place.server.requests() == asked
    assert part(file, 0, 10) == DATA[:10]
    assert [error for _, error in place.failures]
    place.server.fault(place.url_path(dataset))
    place.clock.now_s += 60
    assert part(file, 50 * BLOCK, 10) == DATA[50 * BLOCK : 50 * BLOCK + 10]


def test_a_server_that_comes_back_gives_the_rest(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    file = content.open(dataset, may_fetch=True)
    part(file, 0, 10)
    place.server.stop()
    with pytest.raises(UnreachableError):
        part(file, 50 * BLOCK, 10)
    place.server.start()
    place.clock.now_s += 90
    assert read_open(file) == DATA


def test_a_flipped_byte_is_never_verified(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    wrong = bytearray(DATA)
    wrong[50 * BLOCK] ^= 1
    place.server.put(place.url_path(dataset), bytes(wrong))
    file, other = content.open(dataset, may_fetch=True), content.open(dataset, may_fetch=True)
    assert part(other, len(DATA) - 10, 10) == DATA[-10:]
    assert place.server.bytes_sent() <= BLOCK
    with pytest.raises(MismatchError, match="but it should be 6"):
        read_open(file)
    for each in (file, other):
        with pytest.raises(MismatchError):
            part(each, 0, 10)
    wait_until(lambda: content.inspect(dataset).state is State.QUARANTINED)
    wait_until(lambda: place.withdrawals == [dataset])
    assert [found for found, _ in place.mismatches] == [dataset]
    assert not place.file(dataset).exists()
    assert not sparse(place, dataset).exists()
    with pytest.raises(MismatchError):
        content.open(dataset, may_fetch=True)


def test_after_a_flipped_byte_the_other_location_is_believed_when_whole(place: ArchiveAndCache) -> None:
    second = place.another_server()
    dataset, content = place.add(DATA), by_blocks(place)
    wrong = bytearray(DATA)
    wrong[50 * BLOCK] ^= 1
    place.server.put(place.url_path(dataset), bytes(wrong))
    file = content.open(dataset, may_fetch=True)
    with pytest.raises(MismatchError):
        read_open(file)
    assert read(content, dataset) == DATA
    assert content.inspect(dataset).state is State.VERIFIED
    assert second.bytes_sent() == len(DATA)


def test_nobody_gets_all_of_a_wrong_file_in_whatever_order(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA, md5="0" * 32), by_blocks(place)

    def reader(number: int) -> None:
        file = content.open(dataset, may_fetch=True)
        order = list(range(0, len(DATA), BLOCK))
        random.Random(number).shuffle(order)
        with pytest.raises(MismatchError):
            for offset in order:
                part(file, offset, BLOCK)
        file.close()

    together(reader, 4)


@pytest.mark.parametrize(("verify", "md5"), [(Verify.OFF, "0" * 32), (Verify.WARN, "0" * 32), (Verify.AUTO, "")])
def test_what_nobody_judges_or_is_served_all_the_same_is_read_to_its_end(
    place: ArchiveAndCache, verify: Verify, md5: str
) -> None:
    dataset, content = place.add(DATA, md5=md5), by_blocks(place, verify=verify)
    assert read(content, dataset) == DATA


def test_strict_serves_nothing_before_all_is_right(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place, verify=Verify.STRICT)
    wrong = bytearray(DATA)
    wrong[-1] ^= 1
    place.server.put(place.url_path(dataset), bytes(wrong))
    file = content.open(dataset, may_fetch=True)
    with pytest.raises(MismatchError):
        part(file, 0, 10)


def test_a_length_other_than_the_catalogue_s_is_refused_at_once(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA, size=len(DATA) + 1), by_blocks(place)
    with pytest.raises(MismatchError):
        part(content.open(dataset, may_fetch=True), 0, 10)
    assert place.server.bytes_sent() < 5 * BLOCK


def test_who_may_not_fetch_does_not_by_another_s_fetch(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    part(content.open(dataset, may_fetch=True), 0, 10)
    with pytest.raises(OfflineError):
        content.open(dataset, may_fetch=False)


def test_a_deleted_cache_is_no_loss_to_who_reads(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    file = content.open(dataset, may_fetch=True)
    part(file, 0, 50 * BLOCK)
    for path in place.partial(dataset).parent.iterdir():
        path.unlink()
    assert read_open(file) == DATA
    wait_until(lambda: content.inspect(dataset).state is State.VERIFIED)
    assert place.file(dataset).read_bytes() == DATA


def test_a_stalled_part_does_not_keep_another_waiting(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    file = content.open(dataset, may_fetch=True)
    part(file, 0, 10)
    place.server.fault(place.url_path(dataset), Fault(stall_after=10, times=1))
    stalled = content.open(dataset, may_fetch=True)
    assert stalled.wait(20 * BLOCK, 10) is not None
    place.server.wait_for_requests(2)
    assert part(file, 70 * BLOCK, 10) == DATA[70 * BLOCK : 70 * BLOCK + 10]
    place.server.release()


def test_nothing_is_left_open(place: ArchiveAndCache) -> None:
    content = by_blocks(place)
    wrong = place.add(DATA, 2, md5="0" * 32)
    for dataset in (place.add(DATA, 1), wrong):
        files = [content.open(dataset, may_fetch=True) for _ in range(3)]
        part(files[0], 0, 10)
        if dataset is wrong:
            with pytest.raises(MismatchError):
                read_open(files[1])
        for file in files:
            file.close()
    wait_until(lambda: not content.transfers())
    content.flush()
    content.close()
    wait_until(lambda: not [link for link in open_links() if link.startswith(str(place.cache)) and ".lock" not in link])
    assert threading.active_count() < 60


def test_who_waits_for_a_whole_file_is_told_once_nothing_may_be_fetched(place: ArchiveAndCache) -> None:
    data = bytes(3 << 20)
    dataset, content = place.add(data), place.content()
    place.server.fault(place.url_path(dataset), Fault(stall_after=1 << 20))
    file = content.open(dataset, may_fetch=True)
    wait_until(lambda: content.transfers()[0].done_bytes > 0, "some of it is there")
    content.permit(may_fetch=False)
    with pytest.raises(OfflineError):
        read_open(file)
    file.close()
    place.server.release()
    place.server.fault(place.url_path(dataset), HEALTHY)
    content.permit(may_fetch=True)
    assert read(content, dataset) == data


def test_nobody_waits_while_blocks_are_compared_with_their_checksums(
    place: ArchiveAndCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, first = place.add(DATA), by_blocks(place)
    file = first.open(dataset, may_fetch=True)
    assert part(file, 0, BLOCK) == DATA[:BLOCK]
    file.close()
    first.close()
    file = by_blocks(place).open(dataset, may_fetch=True)
    asks, compare, n_compared = ThreadPoolExecutor(1), DiskBlocks._checksum, 0

    def compare_slowly(self: DiskBlocks, block: int, number: int) -> int:
        nonlocal n_compared
        n_compared += 1
        asks.submit(file.wait, 0, 10).result(timeout=PATIENCE_S)
        return compare(self, block, number)

    monkeypatch.setattr(DiskBlocks, "_checksum", compare_slowly)
    assert part(file, 0, 10) == DATA[:10]
    assert n_compared
    asks.shutdown()
    file.close()


def test_a_filling_ends_though_no_thread_can_be_had_to_help_it(
    place: ArchiveAndCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    place.server.fault(place.url_path(dataset), Fault(stall_after=2 * BLOCK))
    file, asked, submit = content.open(dataset, may_fetch=True), threading.Event(), Workers.submit

    def give_no_thread(self: Workers, job: Callable[[], None]) -> bool:
        filling = getattr(job, "__self__", None)
        if not isinstance(filling, Filling):
            return submit(self, job)
        asked.set()
        wait_until(lambda: filling._is_ended, "it is about to end")
        with filling.part.changed:
            return False

    assert part(file, 0, 10) == DATA[:10]
    monkeypatch.setattr(Workers, "submit", give_no_thread)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(file.wait, 50 * BLOCK, 10)
        assert asked.wait(PATIENCE_S)
        content.permit(may_fetch=False)
        waiting.result(timeout=PATIENCE_S)
    wait_until(lambda: not content.transfers(), "it rests")
    file.close()
