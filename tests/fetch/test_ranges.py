"""The one download loop: resuming, retrying, backing off, giving up, and cancelling, with servers that fail."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import Fault, FaultServer
from waiting import PATIENCE_S, SILENCE_S, wait_until

from onefs.errors import (
    AccessRefusedError,
    BrokenAnswerError,
    MismatchError,
    NoKeysError,
    OfflineError,
    OnefsError,
    OverloadedError,
    TimedOutError,
    TooSlowError,
    UnreachableError,
)
from onefs.fetch.cancel import CancelToken
from onefs.fetch.ranges import ChangedError, FileSink, MemorySink, Patience, Ranges, Span
from onefs.fetch.retry import LocationHealth
from onefs.outages import Outages
from onefs.transports.base import Body, Location
from onefs.transports.http import HttpTransport

DATA = os.urandom(1 << 20) * 2
PIECE = 500_000
QUICK = Patience(tries=2, first_pause_s=0.001, longest_pause_s=0.01, slow_window_s=PATIENCE_S)
NEVER = CancelToken()
ENDING = OfflineError("onefs is ending.")


class Place:
    """A server with one file, and ranges of it."""

    def __init__(self, server: FaultServer) -> None:
        self.server = server
        self.location = Location(f"{server.url}/file")
        self.outages = Outages()
        self.transports: list[HttpTransport] = []
        server.put("/file", DATA)

    def fault(self, fault: Fault) -> None:
        self.server.fault("/file", fault)

    def ranges(self, patience: Patience = QUICK, read_timeout_s: float = PATIENCE_S) -> Ranges:
        http = HttpTransport(connect_timeout_s=PATIENCE_S, read_timeout_s=read_timeout_s, max_connections=4)
        self.transports.append(http)
        return Ranges(http, LocationHealth(self.outages), patience)

    def content(self, patience: Patience = QUICK, read_timeout_s: float = PATIENCE_S) -> bytes:
        """The file, fetched into memory."""
        sink = MemorySink(len(DATA))
        self.ranges(patience, read_timeout_s).fetch(self.location, sink, NEVER)
        return sink.content


@pytest.fixture
def place() -> Iterator[Place]:
    with FaultServer() as server:
        place = Place(server)
        yield place
        for transport in place.transports:
            transport.close()


class Part:
    """Takes a part of a file of one edition."""

    def __init__(self, begin: int, end: int, edition: str = '"1"') -> None:
        self.begin, self.end, self.edition = begin, end, edition
        self.content = bytearray()
        self.closed_complete: list[bool] = []

    def next_span(self) -> Span | None:
        begin = self.begin + len(self.content)
        return Span(begin, self.end, self.edition) if begin < self.end else None

    def opened(self, body: Body) -> bool:
        if body.edition != self.edition:
            raise ChangedError
        return body.is_part

    def write(self, chunk: bytes, offset: int) -> bool:
        assert offset == self.begin + len(self.content)
        self.content += chunk
        return True

    def closed(self, *, is_complete: bool) -> None:
        self.closed_complete.append(is_complete)


@pytest.mark.parametrize(
    "fault", [Fault(), Fault(cut_after=PIECE), Fault(reset_after=PIECE), Fault(cut_after=PIECE, chunked=True)]
)
def test_a_broken_download_goes_on_where_it_broke(place: Place, tmp_path: Path, fault: Fault) -> None:
    place.fault(fault)
    assert place.content() == DATA
    with (tmp_path / "file").open("wb") as out:
        place.ranges().fetch(place.location, FileSink(out), NEVER)
    assert (tmp_path / "file").read_bytes() == DATA
    if fault.reset_after is None:
        wait_until(lambda: place.server.bytes_sent() == 2 * len(DATA))


@pytest.mark.parametrize("fault", [Fault(ignore_range=True), Fault(no_edition=True)])
def test_a_download_that_cannot_resume_begins_anew(place: Place, tmp_path: Path, fault: Fault) -> None:
    first = Fault(cut_after=PIECE, times=1, no_edition=fault.no_edition)
    place.fault(first)
    with (tmp_path / "file").open("wb") as out:
        place.ranges().fetch(place.location, FileSink(out), NEVER)
    assert (tmp_path / "file").read_bytes() == DATA
    place.fault(Fault(cut_after=PIECE, times=2, ignore_range=fault.ignore_range, no_edition=fault.no_edition))
    assert place.content() == DATA


def test_another_edition_after_a_break_is_fetched_from_its_beginning(place: Place) -> None:
    sink = MemorySink(len(DATA))

    class Replacing(CancelToken):
        """Replaces the file on the server during the back-off."""

        def wait(self, seconds: float) -> None:
            place.server.put("/file", DATA[::-1])
            place.fault(Fault())

    place.fault(Fault(cut_after=PIECE))
    place.ranges().fetch(place.location, sink, Replacing())
    assert sink.content == DATA[::-1]
    assert place.server.headers()[-1]["if-range"] == '"1"'


def test_a_server_that_always_starts_again_is_given_up(place: Place) -> None:
    place.fault(Fault(cut_after=PIECE, ignore_range=True))
    with pytest.raises(BrokenAnswerError, match=r"ended after 500000 of 2097152 bytes"):
        place.content()
    assert place.server.requests() == QUICK.tries + 2


def test_parts_of_one_file_come_to_several_threads(place: Place) -> None:
    place.fault(Fault(cut_after=100_000))
    ranges = place.ranges()
    parts = [Part(begin, min(begin + PIECE, len(DATA))) for begin in range(0, len(DATA), PIECE)]
    threads = [threading.Thread(target=ranges.fetch, args=(place.location, part, NEVER)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert b"".join(part.content for part in parts) == DATA
    wait_until(lambda: place.server.bytes_sent() == len(DATA))


def test_a_part_of_another_edition_is_not_read(place: Place) -> None:
    place.server.put("/file", DATA[::-1])
    part = Part(PIECE, 2 * PIECE)
    with pytest.raises(ChangedError):
        place.ranges().fetch(place.location, part, NEVER)
    assert (part.content, part.closed_complete) == (b"", [])


def test_answers_that_a_sink_refuses_end_in_an_error(place: Place) -> None:
    place.fault(Fault(ignore_range=True))
    with pytest.raises(BrokenAnswerError, match="another edition"):
        place.ranges().fetch(place.location, Part(PIECE, 2 * PIECE), NEVER)
    assert place.server.requests() == QUICK.tries + 1


def test_a_sink_that_has_enough_ends_the_request(place: Place) -> None:
    class Taste(Part):
        """Wants no more than the first piece of each answer."""

        def write(self, chunk: bytes, offset: int) -> bool:
            super().write(chunk, offset)
            return False

    taste = Taste(0, PIECE)
    place.ranges().fetch(place.location, taste, NEVER)
    assert taste.content == DATA[:PIECE]
    assert not any(taste.closed_complete)


def test_what_is_longer_than_it_may_be_is_not_kept(place: Place) -> None:
    for fault in (Fault(), Fault(chunked=True)):
        place.fault(fault)
        before = place.server.requests()
        with pytest.raises(MismatchError, match="longer than the 1000 bytes"):
            place.ranges().fetch(place.location, MemorySink(1000), NEVER)
        assert place.server.requests() == before + 1


def test_an_answer_without_progress_is_retried_so_often(place: Place) -> None:
    place.fault(Fault(cut_after=1))
    with pytest.raises(BrokenAnswerError, match=r"ended after \d+ of"):
        place.content()
    assert place.server.requests() == QUICK.tries + 1


def test_a_silent_server_is_given_up_unless_it_sent_something(place: Place) -> None:
    place.fault(Fault(stall_before_headers=True))
    with pytest.raises(TimedOutError, match="did not answer"):
        place.content(read_timeout_s=0.2)
    assert place.server.requests() == 1
    place.fault(Fault(stall_after=PIECE, times=1))
    assert place.content(read_timeout_s=SILENCE_S) == DATA


def test_a_server_slower_than_the_limit_is_given_up_at_once(place: Place) -> None:
    place.fault(Fault(trickle_bytes=PIECE, trickle_pause_s=0.01))
    fast = Patience(slow_limit=1e12, slow_window_s=0.0)
    with pytest.raises(TooSlowError, match=r"127\.0\.0\.1:\d+ sends less than slow_limit") as caught:
        place.content(fast)
    assert "slow_limit" in caught.value.remedy
    assert place.server.requests() == 1
    assert place.content(Patience(slow_limit=0, slow_window_s=0.0)) == DATA


def test_a_slow_disk_is_not_the_servers_fault(place: Place) -> None:
    patience = Patience(slow_limit=1e12, slow_window_s=0.3)

    class Slow(MemorySink):
        """Takes longer to keep the first piece than the window in which the server's speed is averaged."""

        def write(self, chunk: bytes, offset: int) -> bool:
            if not offset:
                threading.Event().wait(patience.slow_window_s + 0.05)
            return super().write(chunk, offset)

    sink = Slow(len(DATA))
    place.ranges(patience).fetch(place.location, sink, NEVER)
    assert sink.content == DATA


@pytest.mark.parametrize(
    ("error", "is_up"),
    [
        (AccessRefusedError("down.example answered 401."), True),
        (BrokenAnswerError("down.example answered 500."), True),
        (NoKeysError("down.example wants keys, but there are none."), False),
        (UnreachableError("down.example cannot be reached."), False),
    ],
)
def test_only_an_answer_tells_that_a_server_is_up(place: Place, error: OnefsError, is_up: bool) -> None:
    class Refusing(MemorySink):
        """Fails as if the server had before it answered."""

        def opened(self, body: Body) -> bool:
            raise error

    health = LocationHealth(place.outages)
    health.failed(place.location, UnreachableError("It cannot be reached."))
    if is_up:
        with pytest.raises(type(error)):
            place.ranges(Patience(tries=0)).fetch(place.location, Refusing(1), NEVER)
    else:
        with pytest.raises(type(error)):
            Ranges(_Failing(error), health, Patience(tries=0)).fetch(place.location, MemorySink(1), NEVER)
    assert (not place.outages.lasting()) is is_up


class _Failing:
    """A transport that cannot even ask."""

    def __init__(self, error: OnefsError) -> None:
        self.error = error

    def open(self, location: Location, start: int = 0, edition: str = "", end: int | None = None) -> None:
        raise self.error

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    "headers",
    [
        (("Retry-After", "60"),),
        (("Retry-After", "Tue, 21 Oct 2036 07:29:00 GMT"), ("Date", "Tue, 21 Oct 2036 07:28:00 GMT")),
    ],
)
def test_retry_after_holds_for_all_files_of_a_server(
    place: Place, status: int, headers: tuple[tuple[str, str], ...]
) -> None:
    slow_down = "<Error><Code>SlowDown</Code></Error>"
    place.fault(Fault(status=status, headers=headers, text=slow_down, times=1))
    with pytest.raises(OverloadedError, match="60 s"):
        place.content()
    place.server.put("/other", DATA)
    with pytest.raises(OverloadedError, match="60 s"):
        place.ranges().fetch(Location(f"{place.server.url}/other"), MemorySink(len(DATA)), NEVER)
    assert place.server.requests() == 1


def test_a_short_retry_after_is_waited_for(place: Place) -> None:
    waited = []

    class Waiting(CancelToken):
        """Notes how long it should wait, instead of waiting."""

        def wait(self, seconds: float) -> None:
            (told,) = place.outages.facts()
            waited.append((seconds, told.waiting))

    place.fault(Fault(status=503, headers=(("Retry-After", "2"),), times=1))
    sink = MemorySink(len(DATA))
    place.ranges(Patience(longest_pause_s=3)).fetch(place.location, sink, Waiting())
    assert sink.content == DATA
    assert waited == [(2, (place.location.url,))]


def test_cancelling_ends_a_back_off_at_once(place: Place) -> None:
    place.fault(Fault(status=500))
    parent = CancelToken()
    failures = []

    def fetch() -> None:
        try:
            patience = Patience(first_pause_s=PATIENCE_S, longest_pause_s=PATIENCE_S)
            place.ranges(patience).fetch(place.location, MemorySink(1), CancelToken(parent))
        except OfflineError as error:
            failures.append(error.reason)

    thread = threading.Thread(target=fetch)
    thread.start()
    place.server.wait_for_requests(1)
    parent.cancel(ENDING)
    thread.join(PATIENCE_S / 2)
    assert failures == [ENDING.reason]


def test_cancelling_ends_a_read_that_waits_for_a_silent_server(place: Place) -> None:
    place.fault(Fault(stall_after=PIECE))
    token = CancelToken()
    part = Part(0, len(DATA))
    failures = []

    def fetch() -> None:
        try:
            place.ranges().fetch(place.location, part, token)
        except OfflineError as error:
            failures.append(error.reason)

    thread = threading.Thread(target=fetch)
    thread.start()
    wait_until(lambda: len(part.content) == PIECE)
    token.cancel(ENDING)
    thread.join(PATIENCE_S / 2)
    assert failures == [ENDING.reason]
    assert part.closed_complete == [False]


def test_a_closed_transport_ends_a_fetch_without_retries(place: Place) -> None:
    place.fault(Fault(stall_after=PIECE))
    part = Part(0, len(DATA))
    failures = []

    def fetch() -> None:
        try:
            place.ranges().fetch(place.location, part, NEVER)
        except OfflineError as error:
            failures.append(error.reason)

    thread = threading.Thread(target=fetch)
    thread.start()
    wait_until(lambda: len(part.content) == PIECE)
    place.transports[0].close()
    thread.join(PATIENCE_S / 2)
    assert len(failures) == 1
    assert place.server.requests() == 1


def test_a_cancelled_fetch_asks_nothing(place: Place) -> None:
    token = CancelToken()
    token.cancel(ENDING)
    token.cancel(OfflineError("too late"))
    with pytest.raises(OfflineError, match="ending") as caught:
        place.ranges().fetch(place.location, MemorySink(1), token)
    assert caught.value is not ENDING
    assert place.server.requests() == 0
