"""Fetching from servers that fail: what is resumed, what is tried elsewhere, and what the reader is told."""

import errno
import os
import threading
from collections.abc import Sequence
from urllib.parse import quote

import pytest
from archive_and_cache import QUICK, ArchiveAndCache, read, read_open
from servers import Fault
from waiting import SILENCE_S, wait_until

from onefs.catalogue.records import Dataset
from onefs.errors import (
    AccessRefusedError,
    BrokenAnswerError,
    CacheDamagedError,
    ContentError,
    MismatchError,
    MissingOnServerError,
    OnefsError,
    TimedOutError,
    UnreachableError,
)
from onefs.fetch.access import Patience, State, Verify
from onefs.fetch.failures import giver
from onefs.fetch.retry import LocationHealth
from onefs.outages import Outages
from onefs.transports.base import Location

DATA = os.urandom(1 << 20) * 3
PIECE = 500_000


def test_wrong_bytes_are_said_to_be_of_the_server_or_of_the_file_on_this_machine() -> None:
    assert giver(Location("http://me:secret@archive.example/lab/a.npy")) == "archive.example"
    assert giver(Location("file:///cache/lab/a%20b.npy")) == "The file /cache/lab/a b.npy"


@pytest.mark.parametrize(
    "fault", [Fault(cut_after=PIECE), Fault(reset_after=PIECE), Fault(cut_after=PIECE, chunked=True)]
)
@pytest.mark.parametrize("md5", [None, ""])
def test_broken_connections_are_resumed(place: ArchiveAndCache, fault: Fault, md5: str | None) -> None:
    dataset, content = place.add(DATA, md5=md5), place.content()
    place.server.fault(place.url_path(dataset), fault)
    assert read(content, dataset) == DATA
    requests = place.server.headers()
    assert len(requests) > len(DATA) // PIECE
    assert all(request["if-range"] == '"1"' for request in requests[1:])
    if fault.reset_after is None:
        assert place.server.bytes_sent() == len(DATA)


def test_resumed_without_ranges(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    place.server.fault(place.url_path(dataset), Fault(cut_after=PIECE, ignore_range=True, times=2))
    assert read(content, dataset) == DATA


def test_edition_that_changes_between_two_halves(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA, md5="", size=None), place.content()
    place.server.fault(place.url_path(dataset), Fault(stall_after=PIECE))
    file = content.open(dataset, may_fetch=True)
    wait_until(lambda: content.transfers()[0].done_bytes == PIECE)
    place.server.put(place.url_path(dataset), DATA[::-1])
    place.server.fault(place.url_path(dataset))
    place.server.stop()
    place.server.start()
    assert read_open(file) == DATA[::-1]


def test_without_edition_or_hash_nothing_is_joined(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA, md5=""), place.content()
    place.server.fault(place.url_path(dataset), Fault(cut_after=PIECE, no_edition=True, times=2))
    assert read(content, dataset) == DATA
    assert {request.get("range", "bytes=0-").partition("-")[0] for request in place.server.headers()} == {"bytes=0"}


def test_an_edition_that_is_never_the_same(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    place.server.fault(place.url_path(dataset), Fault(cut_after=PIECE, new_edition_each_time=True))
    with pytest.raises(BrokenAnswerError, match="another edition of the file"):
        read(content, dataset)
    assert place.server.requests() <= 2 * QUICK.tries


def test_another_range_than_asked_for(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    place.server.fault(place.url_path(dataset), Fault(cut_after=PIECE, shift_range=-3))
    with pytest.raises(BrokenAnswerError, match="another range"):
        read(content, dataset)


def test_server_that_restarts_in_the_middle(place: ArchiveAndCache) -> None:
    dataset = place.add(DATA)
    content = place.content(patience=Patience(tries=100, first_pause_s=0.01, longest_pause_s=0.02))
    place.server.fault(place.url_path(dataset), Fault(stall_after=PIECE, times=1))
    file = content.open(dataset, may_fetch=True)
    wait_until(lambda: content.transfers()[0].done_bytes == PIECE)
    place.server.stop()
    place.server.start()
    assert read_open(file) == DATA


def test_stalled_connection_is_given_up(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content(read_timeout_s=SILENCE_S)
    place.server.fault(place.url_path(dataset), Fault(stall_after=PIECE, times=1))
    assert read(content, dataset) == DATA
    assert place.server.requests() == 2


def test_stalled_server_is_told(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content(read_timeout_s=0.2)
    place.server.fault(place.url_path(dataset), Fault(stall_before_headers=True))
    with pytest.raises(TimedOutError, match="did not answer"):
        read(content, dataset)


def test_trickling_connection_counts_as_stalled(place: ArchiveAndCache) -> None:
    dataset = place.add(DATA)
    content = place.content(patience=Patience(tries=1, first_pause_s=0.01, slow_window_s=0.1))
    place.server.fault(place.url_path(dataset), Fault(trickle_bytes=1))
    second = place.another_server()
    second.put(place.url_path(dataset), DATA)
    assert read(content, dataset) == DATA


def test_next_location_goes_on_where_the_first_ended(place: ArchiveAndCache) -> None:
    second = place.another_server()
    dataset, content = place.add(DATA), place.content()
    place.server.fault(place.url_path(dataset), Fault(stall_after=3 * PIECE))
    file = content.open(dataset, may_fetch=True)
    wait_until(lambda: content.transfers()[0].done_bytes == 3 * PIECE)
    place.server.stop()
    assert read_open(file) == DATA
    assert second.headers()[0]["range"] == f"bytes={1 << 20}-{len(DATA) - 1}"
    assert content.inspect(dataset).source.startswith(second.url)


@pytest.mark.parametrize(
    "fault", [Fault(status=404), Fault(status=403), Fault(status=500), Fault(wrong_bytes=True), Fault(cut_after=0)]
)
def test_next_location_is_tried(place: ArchiveAndCache, fault: Fault) -> None:
    second = place.another_server()
    dataset, content = place.add(DATA), place.content()
    place.server.fault(place.url_path(dataset), fault)
    assert read(content, dataset) == DATA
    assert second.requests() == 1
    assert place.failures == []


def test_wrong_prefix_is_dropped_and_the_location_tried_once_more(place: ArchiveAndCache) -> None:
    second = place.another_server()
    dataset, content = place.add(DATA), place.content()
    place.server.fault(place.url_path(dataset), Fault(wrong_bytes=True, stall_after=3 * PIECE))
    file = content.open(dataset, may_fetch=True)
    wait_until(lambda: content.transfers()[0].done_bytes == 3 * PIECE)
    place.server.stop()
    assert read_open(file) == DATA
    assert ["range" in request for request in second.headers()] == [True, False]


def test_wrong_bytes_everywhere(place: ArchiveAndCache) -> None:
    second = place.another_server()
    dataset, content = place.add(DATA), place.content()
    for server in (place.server, second):
        server.fault(place.url_path(dataset), Fault(wrong_bytes=True))
    with pytest.raises(MismatchError) as caught:
        read(content, dataset)
    text = str(caught.value)
    assert dataset.path in text
    assert dataset.md5 in text
    assert all(server.url.removeprefix("http://") in text for server in (place.server, second))
    assert "secret" not in text
    assert place.server.requests() == second.requests() == 1
    assert not place.file(dataset).exists()
    assert not place.partial(dataset).exists()
    inspection = content.inspect(dataset)
    assert (inspection.state, inspection.error) == (State.QUARANTINED, text)
    assert [(failed, str(error)) for failed, error in place.failures] == [(dataset, text)]


def test_wrong_length_is_not_downloaded(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA, size=len(DATA) + 1), place.content()
    with pytest.raises(MismatchError, match=f"{len(DATA)} bytes.*{len(DATA) + 1} bytes"):
        read(content, dataset)
    assert content.totals().bytes_fetched == 0


def test_body_that_is_too_long(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA, size=1000, md5=""), place.content()
    place.server.fault(place.url_path(dataset), Fault(chunked=True))
    with pytest.raises(MismatchError, match="more than the 1000 bytes"):
        read(content, dataset)


@pytest.mark.parametrize(
    ("faults", "kind"),
    [
        ((404, 404), MissingOnServerError),
        ((404, 500), MissingOnServerError),
        ((500, 403), AccessRefusedError),
        ((404, 403), AccessRefusedError),
        ((500, 500), BrokenAnswerError),
    ],
)
def test_the_most_telling_failure_is_told(
    place: ArchiveAndCache, faults: tuple[int, int], kind: type[OnefsError]
) -> None:
    servers = place.server, place.another_server()
    dataset, content = place.add(DATA), place.content()
    for server, status in zip(servers, faults, strict=True):
        server.fault(place.url_path(dataset), Fault(status=status))
    with pytest.raises(kind) as caught:
        read(content, dataset)
    assert type(caught.value) is kind
    for server, status in zip(servers, faults, strict=True):
        asked = f"{server.url}{quote(place.url_path(dataset))}" if status == 404 else server.url.removeprefix("http://")
        assert f"{asked} answered {status}" in caught.value.reason
    assert dataset.path in caught.value.reason
    assert caught.value.remedy
    assert "secret" not in str(caught.value)


def test_no_location(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content(locate=lambda dataset: [])
    with pytest.raises(MissingOnServerError, match="no server is known"):
        read(content, dataset)


def test_unreachable_location_is_skipped_for_a_minute(place: ArchiveAndCache) -> None:
    second = place.another_server()
    datasets = [place.add(DATA[:1000], number) for number in range(6)]
    content = place.content()
    place.server.stop()
    assert read(content, datasets[0]) == DATA[:1000]
    place.server.start()
    assert read(content, datasets[1]) == DATA[:1000]
    assert place.server.requests() == 0
    place.clock.now_s += 61
    assert read(content, datasets[2]) == DATA[:1000]
    assert (place.server.requests(), second.requests()) == (1, 2)


def test_the_only_location_is_tried_again_soon(place: ArchiveAndCache) -> None:
    datasets = [place.add(DATA[:1000], number) for number in range(3)]
    content = place.content()
    place.server.stop()
    with pytest.raises(UnreachableError, match="connection refused"):
        read(content, datasets[0])
    place.server.start()
    with pytest.raises(UnreachableError, match="connection refused"):
        read(content, datasets[1])
    assert place.server.requests() == 0
    place.clock.now_s += 4
    assert read(content, datasets[2]) == DATA[:1000]


def test_a_skipped_location_is_tried_when_the_others_fail(place: ArchiveAndCache) -> None:
    second = place.another_server()
    first_file, other_file = place.add(DATA[:1000], 1), place.add(DATA[:1000], 2)
    content = place.content()
    place.server.stop()
    read(content, first_file)
    place.server.start()
    second.fault(place.url_path(other_file), Fault(status=404))
    place.clock.now_s += 4
    assert read(content, other_file) == DATA[:1000]
    assert place.server.requests() == 1


def test_failures_are_remembered_and_forgotten(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    place.server.fault(place.url_path(dataset), Fault(status=404))
    for requests, remembered_s in enumerate((5, 10, 20), 1):
        with pytest.raises(MissingOnServerError):
            read(content, dataset)
        assert place.server.requests() == requests
        place.clock.now_s += remembered_s - 1
        with pytest.raises(MissingOnServerError):
            content.open(dataset, may_fetch=True)
        assert place.server.requests() == requests
        place.clock.now_s += 1
    with pytest.raises(MissingOnServerError):
        read(content, dataset)
    place.server.fault(place.url_path(dataset))
    content.retry(dataset)
    assert read(content, dataset) == DATA
    assert content.inspect(dataset).error == ""
    assert content.totals().failures == 4


def test_unreachable_servers_are_remembered_for_a_minute_at_most(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    place.server.stop()
    for _ in range(10):
        with pytest.raises(UnreachableError):
            read(content, dataset)
        place.clock.now_s += 60
    place.server.start()
    assert read(content, dataset) == DATA


def test_a_new_catalogue_entry_forgets_the_failure(place: ArchiveAndCache) -> None:
    content = place.content()
    with pytest.raises(MismatchError):
        read(content, place.add(DATA, md5="0" * 32))
    assert read(content, place.add(DATA)) == DATA


def test_quarantine_survives_a_restart(place: ArchiveAndCache) -> None:
    dataset = place.add(DATA, md5="0" * 32)
    first = place.content()
    with pytest.raises(MismatchError) as caught:
        read(first, dataset)
    first.close()
    second = place.content()
    assert second.inspect(dataset).state is State.QUARANTINED
    assert second.inspect(dataset).error == str(caught.value)
    with pytest.raises(MismatchError):
        second.open(dataset, may_fetch=True)
    assert place.server.requests() == 1
    second.retry(None)
    assert second.inspect(dataset).state is not State.QUARANTINED
    with pytest.raises(MismatchError):
        read(second, dataset)
    assert place.server.requests() == 2
    assert second.inspect(place.add(DATA)).state is State.REMOTE


def test_logins_and_queries_are_not_logged(place: ArchiveAndCache, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="onefs")
    dataset, content = place.add(DATA), place.content()
    place.server.fault(place.url_path(dataset), Fault(status=500))
    with pytest.raises(BrokenAnswerError):
        read(content, dataset)
    assert "answered 500" in caplog.text
    assert "secret" not in caplog.text


def test_addresses_that_mean_nothing(place: ArchiveAndCache) -> None:
    dataset = place.add(DATA)
    nonsense = [Location("http://[::1/x"), Location("http:///x"), Location("")]
    with pytest.raises(OnefsError, match="cannot be fetched"):
        read(place.content(locate=lambda dataset: nonsense), dataset)
    place.clock.now_s += 60
    assert read(place.content(locate=lambda dataset: [*nonsense, *place.locate(dataset)]), dataset) == DATA


def test_a_fault_of_ours_keeps_nobody_waiting(place: ArchiveAndCache, caplog: pytest.LogCaptureFixture) -> None:
    datasets = [place.add(DATA[:1000], number) for number in range(3)]
    begin = threading.Event()

    def locate(dataset: Dataset) -> Sequence[Location]:
        begin.wait()
        if dataset is not datasets[-1]:
            raise KeyError("a fault")
        return place.locate(dataset)

    content = place.content(locate=locate, max_transfers=1)
    files = [content.open(dataset, may_fetch=True) for dataset in datasets]
    begin.set()
    for file in files[:-1]:
        with pytest.raises(ContentError, match="a fault in onefs"):
            read_open(file)
    assert read_open(files[-1]) == DATA[:1000]
    assert caplog.text.count("KeyError: 'a fault'") == 2


def test_transfers_are_limited(place: ArchiveAndCache) -> None:
    datasets = [place.add(DATA[:1000], number) for number in range(3)]
    for dataset in datasets[:2]:
        place.server.fault(place.url_path(dataset), Fault(stall_after=10))
    content = place.content(max_transfers=2)
    files = [content.open(dataset, may_fetch=True) for dataset in datasets]
    place.server.wait_for_requests(2)
    assert place.server.requests(place.url_path(datasets[2])) == 0
    place.server.release()
    assert {read_open(file) for file in files} == {DATA[:1000]}


def test_a_server_silent_for_one_file_is_asked_for_the_next(place: ArchiveAndCache) -> None:
    silent, sound = place.add(DATA[:1000], 0), place.add(DATA[:1000], 1)
    content = place.content(read_timeout_s=SILENCE_S)
    place.server.fault(place.url_path(silent), Fault(stall_before_headers=True))
    with pytest.raises(TimedOutError):
        read(content, silent)
    assert read(content, sound) == DATA[:1000]


def test_a_server_that_is_down_is_tried_by_one_file_in_a_few_seconds() -> None:
    now_s = 0.0
    health = LocationHealth(Outages(lambda: now_s))
    location = Location("http://down.example/a")
    down = UnreachableError("down.example cannot be reached: connection refused.")
    health.failed(location, down)
    assert [str(error) for _, error in health.order([location])] == [str(down)]
    now_s = 4.0
    assert [error for _, error in health.order([location])] == [None]
    assert [str(error) for _, error in health.order([location])] == [str(down)]


def test_warn_serves_the_right_bytes_if_any_server_has_them(place: ArchiveAndCache) -> None:
    second = place.another_server()
    dataset, content = place.add(DATA), place.content(verify=Verify.WARN)
    place.server.fault(place.url_path(dataset), Fault(wrong_bytes=True))
    assert read(content, dataset) == DATA
    assert second.requests() == 1
    assert content.inspect(dataset).state is State.VERIFIED


def test_warn_serves_what_differs_where_no_server_has_better(place: ArchiveAndCache) -> None:
    second = place.another_server()
    dataset, content = place.add(DATA, size=len(DATA) + 1), place.content(verify=Verify.WARN)
    second.fault(place.url_path(dataset), Fault(status=404))
    assert read(content, dataset) == DATA
    assert content.inspect(dataset).state is State.MISMATCH


@pytest.mark.parametrize("verify", [Verify.AUTO, Verify.WARN])
def test_wrong_bytes_are_no_verdict_while_another_server_is_down(place: ArchiveAndCache, verify: Verify) -> None:
    second = place.another_server()
    dataset, content = place.add(DATA), place.content(verify=verify)
    place.server.fault(place.url_path(dataset), Fault(wrong_bytes=True))
    second.stop()
    for _ in range(6):
        with pytest.raises(MismatchError):
            read(content, dataset)
        place.clock.now_s += 60
    assert content.inspect(dataset).state is State.REMOTE
    second.start()
    assert read(content, dataset) == DATA


def test_a_byte_for_each_try_is_no_progress(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    place.server.fault(place.url_path(dataset), Fault(cut_after=1))
    with pytest.raises(BrokenAnswerError, match=r"ended after \d+ of"):
        read(content, dataset)
    assert place.server.requests() <= QUICK.tries + 1


def test_no_more_descriptors_is_not_the_servers_fault(place: ArchiveAndCache, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, other, content = place.add(DATA, 1), place.add(DATA, 2), place.content()
    second = place.another_server()

    def no_socket(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as limited:
        limited.setattr("socket.socket", no_socket)
        with pytest.raises(CacheDamagedError, match="too many open files") as caught:
            read(content, dataset)
    assert "ulimit" in caught.value.remedy
    second.put(place.url_path(other), DATA)
    assert read(content, other) == DATA
    assert (place.server.requests(), second.requests()) == (1, 0)
    place.clock.now_s += 5
    assert read(content, dataset) == DATA


def test_a_silent_server_costs_a_file_one_time_out_whatever_its_places_there() -> None:
    now_s = 100.0
    health = LocationHealth(Outages(lambda: now_s))
    silent = TimedOutError("archive.example did not answer within 30 s.")
    bucket, mirror, other = (
        Location(f"https://{place}/a.npy") for place in ("archive.example/bucket", "archive.example/data", "b.example")
    )
    tried = []
    for location, too_soon in health.order([bucket, mirror, other]):
        now_s += 30
        if too_soon is None:
            tried.append(location)
            health.failed(location, silent)
    assert tried == [bucket, other]
    assert [error for _, error in health.order([bucket])] == [None], "another file may have more luck"
