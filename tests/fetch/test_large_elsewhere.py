"""Large files of which the server fails in their middle: another goes on, or begins anew, and nothing is mixed up."""

import random

import pytest
from archive_and_cache import ArchiveAndCache, read, read_open
from reading_by_blocks import BLOCK, DATA, by_blocks, part, sparse
from servers import Fault
from waiting import wait_until

from onefs.errors import BrokenAnswerError, MismatchError, UnreachableError
from onefs.fetch.access import State, Verify

OTHER = random.Random(9).randbytes(len(DATA))
LONG_S = 700
"""Longer than any failure is remembered."""


def flipped(block: int) -> bytes:
    wrong = bytearray(DATA)
    wrong[block * BLOCK + 5] ^= 1
    return bytes(wrong)


def test_another_location_goes_on_with_what_is_there(place: ArchiveAndCache) -> None:
    second = place.another_server()
    dataset, content = place.add(DATA), by_blocks(place)
    second.put(place.url_path(dataset), DATA)  # under another name of the edition
    file = content.open(dataset, may_fetch=True)
    assert part(file, 0, 40 * BLOCK) == DATA[: 40 * BLOCK]
    place.server.stop()
    assert part(file, 50 * BLOCK, 10) == DATA[50 * BLOCK : 50 * BLOCK + 10]
    assert second.bytes_sent() <= 5 * BLOCK
    assert read_open(file) == DATA
    wait_until(lambda: content.inspect(dataset).state is State.VERIFIED)
    assert second.bytes_sent() <= len(DATA) - 40 * BLOCK + 4 * BLOCK
    assert place.withdrawals == []


def test_a_passing_failure_costs_no_block(place: ArchiveAndCache) -> None:
    second = place.another_server()
    dataset, content = place.add(DATA), by_blocks(place)
    second.put(place.url_path(dataset), OTHER)
    file = content.open(dataset, may_fetch=True)
    part(file, 0, 10 * BLOCK)
    place.server.fault(place.url_path(dataset), Fault(status=503))
    with pytest.raises(BrokenAnswerError, match="503"):
        part(file, 50 * BLOCK, 10)
    assert part(file, 9 * BLOCK, 10) == DATA[9 * BLOCK : 9 * BLOCK + 10]
    place.server.fault(place.url_path(dataset))
    place.clock.now_s += LONG_S
    assert read_open(file) == DATA
    wait_until(lambda: content.inspect(dataset).state is State.VERIFIED)
    wait_until(lambda: place.server.bytes_sent() == len(DATA))
    assert place.withdrawals == []


@pytest.mark.parametrize(("md5", "verify"), [("", Verify.AUTO), (None, Verify.OFF)], ids=["no hash", "off"])
def test_where_nothing_tells_editions_apart_it_begins_anew_once_the_first_stays_away(
    place: ArchiveAndCache, md5: str | None, verify: Verify
) -> None:
    second = place.another_server()
    dataset, content = place.add(DATA, md5=md5), by_blocks(place, verify=verify)
    file = content.open(dataset, may_fetch=True)
    part(file, 0, 10 * BLOCK)
    place.server.stop()
    for _ in range(2):
        with pytest.raises(UnreachableError):
            part(file, 50 * BLOCK, 10)
        assert part(file, 0, 10) == DATA[:10]
        place.clock.now_s += LONG_S
    with pytest.raises(BrokenAnswerError, match="another edition"):
        part(file, 50 * BLOCK, 10)
    assert read(content, dataset) == DATA
    wait_until(lambda: second.bytes_sent() == len(DATA))


def test_where_the_first_has_lost_it_another_begins_anew_at_once(place: ArchiveAndCache) -> None:
    second = place.another_server()
    dataset, content = place.add(DATA, md5=""), by_blocks(place)
    file = content.open(dataset, may_fetch=True)
    part(file, 0, 10 * BLOCK)
    place.server.fault(place.url_path(dataset), Fault(status=404))
    with pytest.raises(BrokenAnswerError, match="another edition"):
        part(file, 50 * BLOCK, 10)
    assert read(content, dataset) == DATA
    wait_until(lambda: second.bytes_sent() == len(DATA))


def test_two_halves_that_are_not_right_together_are_fetched_anew(place: ArchiveAndCache) -> None:
    second = place.another_server()
    dataset, content = place.add(DATA), by_blocks(place)
    place.server.put(place.url_path(dataset), flipped(20))
    file = content.open(dataset, may_fetch=True)
    part(file, 0, 31 * BLOCK)
    place.server.stop()
    with pytest.raises(MismatchError):
        while True:
            read_open(file)
    assert read(content, dataset) == DATA
    assert content.inspect(dataset).state is State.VERIFIED
    assert place.mismatches == []  # whose fault it was nobody can tell
    assert second.bytes_sent() >= len(DATA)
    wait_until(lambda: place.withdrawals == [dataset])
    assert not sparse(place, dataset).exists()


def test_a_stream_that_breaks_is_taken_up_by_the_next_thread(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    path = place.url_path(dataset)
    place.server.fault(path, Fault(stall_before_headers=True, times=1))
    first, second = (content.open(dataset, may_fetch=True) for _ in range(2))
    wait_until(lambda: first.wait(0, 10) is not None and place.server.requests() == 1)
    place.server.fault(path, Fault(ignore_range=True, cut_after=40 * BLOCK))
    second.wait(20 * BLOCK, 10)
    wait_until(lambda: place.server.bytes_sent() >= 40 * BLOCK)
    place.server.fault(path, Fault(ignore_range=True))
    place.server.release()
    assert read_open(second) == DATA
    assert read_open(first) == DATA
    wait_until(lambda: content.inspect(dataset).state is State.VERIFIED)
    assert place.server.requests() <= 8


def test_a_server_that_always_breaks_at_the_same_place_is_given_up(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    place.server.fault(place.url_path(dataset), Fault(ignore_range=True, cut_after=40 * BLOCK + 70_000))
    with pytest.raises(BrokenAnswerError):
        read(content, dataset)
    assert place.server.requests() <= 8


def test_connections_that_last_for_less_than_a_block_still_give_it(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place)
    place.server.fault(place.url_path(dataset), Fault(cut_after=66_000))
    file = content.open(dataset, may_fetch=True)
    assert part(file, 10 * BLOCK, 5 * BLOCK) == DATA[10 * BLOCK : 15 * BLOCK]
    wait_until(lambda: place.server.bytes_sent() == 5 * BLOCK)


@pytest.mark.parametrize(("md5", "verify"), [("", Verify.AUTO), (None, Verify.OFF)], ids=["no hash", "off"])
def test_what_is_longer_than_its_server_said_is_not_cut(
    place: ArchiveAndCache, md5: str | None, verify: Verify
) -> None:
    dataset, content = place.add(DATA, md5=md5, size=len(DATA) - 1000), by_blocks(place, verify=verify)
    place.server.fault(place.url_path(dataset), Fault(chunked=True, ignore_range=True))
    with pytest.raises(MismatchError):
        read(content, dataset)
    wait_until(lambda: content.inspect(dataset).state is State.QUARANTINED)
    assert not place.file(dataset).exists()


def test_under_warn_what_differs_is_served_by_blocks_and_said(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), by_blocks(place, verify=Verify.WARN)
    wrong = flipped(50)
    place.server.put(place.url_path(dataset), wrong)
    file = content.open(dataset, may_fetch=True)
    assert part(file, 90 * BLOCK, 10) == wrong[90 * BLOCK : 90 * BLOCK + 10]
    assert place.server.bytes_sent() <= 2 * BLOCK
    assert read_open(file) == wrong
    wait_until(lambda: content.inspect(dataset).state is State.MISMATCH)
    assert [found for found, _ in place.mismatches] == [dataset]
    wait_until(lambda: place.server.bytes_sent() == len(DATA))
    assert read(content, dataset) == wrong


def test_under_warn_another_length_is_served_whole(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA, size=len(DATA) + 1), by_blocks(place, verify=Verify.WARN)
    assert read(content, dataset) == DATA
    assert content.inspect(dataset).state is State.MISMATCH


def test_under_warn_halves_put_together_are_not_taken_for_what_a_server_holds(place: ArchiveAndCache) -> None:
    dataset, first = place.add(DATA), by_blocks(place, verify=Verify.WARN)
    part(first.open(dataset, may_fetch=True), 0, 10 * BLOCK)
    first.close()
    spoilt = bytearray(sparse(place, dataset).read_bytes())
    spoilt[5] ^= 1
    with sparse(place, dataset).open("r+b") as file:
        file.write(spoilt)
    content = by_blocks(place, verify=Verify.WARN)
    content.open(dataset, may_fetch=True).wait_whole()
    assert read(content, dataset) == DATA
    assert content.inspect(dataset).state is State.VERIFIED
