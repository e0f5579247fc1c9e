"""Servers that fail, each in its way: the next has the file, and they are left alone for a while."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from archive_and_cache import Clock, dataset_of, read, together
from servers import Fault, FaultServer, full_server
from waiting import PATIENCE_S, SILENCE_S

from onefs import alf
from onefs.cache.store import ContentStore
from onefs.catalogue.records import Dataset
from onefs.errors import (
    AccessRefusedError,
    BrokenAnswerError,
    MismatchError,
    MissingOnServerError,
    OnefsError,
    OverloadedError,
    UnreachableError,
)
from onefs.fetch.access import Content, Patience
from onefs.outages import PassedOver
from onefs.transports.archive import ArchiveServer
from onefs.transports.http import HttpTransport

DATA = b"spikes" * 100
FILES = [dataset_of(number, DATA) for number in range(40)]
QUICK = Patience(tries=2, first_pause_s=0.001, longest_pause_s=0.05)
FEW = 4
CONNECT_S = 0.3


class Failover:
    """Files on two servers. The first is at `first_url`, whatever that is; the other is `good`."""

    def __init__(self, home: Path, stack: ExitStack, read_timeout_s: float) -> None:
        self.clock = Clock()
        self.first = stack.enter_context(FaultServer())
        self.good = stack.enter_context(FaultServer())
        self.first_url = self.first.url
        for server in (self.first, self.good):
            for dataset in FILES:
                server.put(path_of(dataset), DATA)
        self.transport = HttpTransport(connect_timeout_s=CONNECT_S, read_timeout_s=read_timeout_s, max_connections=8)
        self.content = Content(
            ContentStore(home, home / ".onefs"),
            self.transport,
            self._locate,
            self._locate,
            max_transfers=FEW,
            patience=QUICK,
            clock=self.clock,
        )
        stack.callback(self.transport.close)
        stack.callback(self.content.close)

    def _locate(self, dataset: Dataset) -> Iterator:
        for url in (self.first_url, self.good.url):
            yield ArchiveServer(url).location(dataset.path, dataset.id)

    def passed_over(self) -> PassedOver:
        (only,) = self.content.passed_over()
        return only


def path_of(dataset: Dataset) -> str:
    return "/" + alf.archive_path(dataset.path, dataset.id)


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Failover]:
    with ExitStack() as stack:
        yield Failover(tmp_path, stack, getattr(request, "param", PATIENCE_S))


@pytest.fixture
def full() -> Iterator[str]:
    with full_server() as url:
        yield url


def refuses(place: Failover) -> None:
    place.first.stop()


def speaks_no_tls(place: Failover) -> None:
    place.first_url = place.first.url.replace("http:", "https:")


def has_no_such_name(place: Failover) -> None:
    place.first_url = "http://onefs-tests.invalid"


def is_silent(place: Failover) -> None:
    for dataset in FILES:
        place.first.fault(path_of(dataset), Fault(stall_before_headers=True))


def is_busy(place: Failover) -> None:
    for dataset in FILES:
        place.first.fault(path_of(dataset), Fault(status=503))


@pytest.mark.parametrize(
    ("place", "fails", "why"),
    [
        (PATIENCE_S, refuses, "connection refused"),
        (PATIENCE_S, speaks_no_tls, "does not answer in TLS"),
        (PATIENCE_S, has_no_such_name, "its name is not known"),
        (SILENCE_S, is_silent, "did not answer within 1 s"),
        (PATIENCE_S, is_busy, "answered 503"),
    ],
    indirect=["place"],
)
def test_a_server_that_fails_is_left_alone_and_tried_again(
    place: Failover, fails: Callable[[Failover], None], why: str
) -> None:
    fails(place)
    assert read(place.content, FILES[0]) == DATA
    told = place.passed_over()
    assert why in told.reason
    assert told.server == place.first_url.partition("://")[2]
    assert (told.since_s, told.left_s) == (0, 60)
    sent = place.transport.requests_sent
    assert read(place.content, FILES[1]) == DATA
    assert place.transport.requests_sent == sent + 1
    place.clock.now_s += 61
    assert place.content.passed_over() == []
    assert read(place.content, FILES[2]) == DATA
    assert (place.passed_over().since_s, place.passed_over().left_s) == (61, 60)
    place.content.retry(None)
    assert place.content.passed_over() == []
    place.first_url = place.good.url
    assert read(place.content, FILES[3]) == DATA


def test_a_server_that_cannot_be_reached_costs_many_files_one_time_out_together(place: Failover, full: str) -> None:
    place.first_url = full
    together(lambda number: read(place.content, FILES[number]), len(FILES))
    assert place.good.requests() == len(FILES)
    assert place.transport.requests_sent <= len(FILES) + FEW
    assert "no connection within 0.3 s" in place.passed_over().reason


def test_a_server_is_left_alone_for_as_long_as_it_asks(place: Failover) -> None:
    for dataset in FILES:
        place.first.fault(path_of(dataset), Fault(status=503, headers=(("Retry-After", "120"),)))
    assert read(place.content, FILES[0]) == DATA
    assert place.first.requests() == 1
    assert "answered 503 Service Unavailable and asks to stay away for 120 s." in place.passed_over().reason
    place.clock.now_s += 119
    assert read(place.content, FILES[1]) == DATA
    assert place.first.requests() == 1
    place.clock.now_s += 2
    assert read(place.content, FILES[2]) == DATA
    assert place.first.requests() == 2


def test_a_server_that_is_busy_for_a_moment_is_waited_for(place: Failover) -> None:
    place.first.fault(path_of(FILES[0]), Fault(status=429, headers=(("Retry-After", "0"),), times=2))
    assert read(place.content, FILES[0]) == DATA
    assert (place.first.requests(), place.good.requests()) == (3, 0)
    assert place.content.passed_over() == []


def test_a_fault_of_one_file_says_nothing_of_the_others(place: Failover) -> None:
    place.first.fault(path_of(FILES[0]), Fault(status=500))
    assert read(place.content, FILES[0]) == DATA
    assert place.content.passed_over() == []
    assert read(place.content, FILES[1]) == DATA
    assert place.good.requests() == 1


def test_a_server_that_is_busy_at_one_place_is_asked_at_its_others(place: Failover) -> None:
    place.first_url = f"{place.good.url}/elsewhere"
    place.good.fault(f"/elsewhere{path_of(FILES[0])}", Fault(status=503))
    assert read(place.content, FILES[0]) == DATA


def test_a_busy_server_that_alone_has_a_file_is_asked_for_each(place: Failover) -> None:
    place.good.stop()
    place.first.fault(path_of(FILES[0]), Fault(status=503))
    with pytest.raises(BrokenAnswerError, match="answered 503"):
        read(place.content, FILES[0])
    assert read(place.content, FILES[1]) == DATA


BUSY = Fault(status=429, headers=(("Retry-After", "58"),))


def test_a_server_is_asked_for_no_file_before_its_retry_after_ends(place: Failover) -> None:
    place.good.stop()
    place.first.fault(path_of(FILES[0]), BUSY)
    for dataset in (FILES[0], FILES[1], FILES[0]):
        with pytest.raises(OverloadedError, match="asks to stay away for 58 s"):
            read(place.content, dataset)
    assert place.first.requests() == 1
    assert [told.left_s for told in place.content.passed_over() if told.server in place.first.url] == [58]
    place.first.fault(path_of(FILES[0]))
    place.clock.now_s += 59
    assert read(place.content, FILES[0]) == DATA, "that it was busy is not held against a file"
    assert read(place.content, FILES[1]) == DATA


def test_a_command_asks_a_server_before_its_retry_after_ends_and_new_tables_do_not(place: Failover) -> None:
    place.good.stop()
    place.first.fault(path_of(FILES[0]), BUSY)
    for _ in range(2):
        with pytest.raises(OverloadedError):
            read(place.content, FILES[0])
        place.content.forget_failures()
    assert place.first.requests() == 1
    place.first.fault(path_of(FILES[0]))
    place.content.retry(None)
    assert read(place.content, FILES[0]) == DATA


@pytest.mark.parametrize(("status", "kind"), [(401, AccessRefusedError), (404, MissingOnServerError)])
def test_a_server_that_answers_at_all_is_up(place: Failover, status: int, kind: type[OnefsError]) -> None:
    place.good.stop()
    place.first.stop()
    with pytest.raises(UnreachableError):
        read(place.content, FILES[0])
    place.first.start()
    place.first.fault(path_of(FILES[1]), Fault(status=status))
    place.clock.now_s += 4
    with pytest.raises(kind):
        read(place.content, FILES[1])
    assert [told.server for told in place.content.passed_over()] == [place.good.url.partition("://")[2]]
    assert read(place.content, FILES[2]) == DATA


def test_what_failed_in_an_outage_is_tried_again_once_the_server_answers(place: Failover) -> None:
    place.first_url = place.good.url
    place.good.stop()
    for _ in range(4):
        with pytest.raises(UnreachableError):
            read(place.content, FILES[0])
        place.clock.now_s += 60
    with pytest.raises(UnreachableError):
        read(place.content, FILES[0])
    place.good.start()
    with pytest.raises(UnreachableError):
        read(place.content, FILES[0])
    assert place.good.requests() == 0, "that it cannot be had is remembered for a minute by now"
    place.clock.now_s += 4
    assert read(place.content, FILES[1]) == DATA
    assert read(place.content, FILES[0]) == DATA


@pytest.mark.parametrize("place", [SILENCE_S], indirect=True)
def test_wrong_bytes_are_not_asked_for_again_as_an_outage_ends(place: Failover) -> None:
    place.first.fault(path_of(FILES[0]), Fault(wrong_bytes=True))
    place.first.fault(path_of(FILES[1]), Fault(stall_before_headers=True, times=1))
    place.good.fault(path_of(FILES[0]), Fault(wrong_bytes=True))
    assert read(place.content, FILES[1]) == DATA
    for _ in range(2):
        with pytest.raises(MismatchError):
            read(place.content, FILES[0])
    asked = place.first.requests(path_of(FILES[0]))
    assert place.content.passed_over() == [], "its wrong bytes were an answer"
    with pytest.raises(MismatchError):
        read(place.content, FILES[0])
    assert place.first.requests(path_of(FILES[0])) == asked == 1
