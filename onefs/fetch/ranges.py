"""`Ranges`, the one download loop: requests ranges, resumes, retries with back-off, gives up servers that stall."""

import logging
import threading
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from onefs.errors import (
    AccessRefusedError,
    BadHttpError,
    BrokenAnswerError,
    ContentError,
    MismatchError,
    NoKeysError,
    OnefsError,
    OverloadedError,
    TimedOutError,
    UnreachableError,
)
from onefs.fetch.cancel import CancelToken
from onefs.fetch.retry import Attempts, LocationHealth, Pace, Patience, server_of
from onefs.outages import Outages
from onefs.text import counted
from onefs.transports.addresses import shown
from onefs.transports.base import Body, Location, Transport

__all__ = [
    "ByteCounter",
    "ChangedError",
    "FileSink",
    "MemorySink",
    "Patience",
    "RangeSink",
    "Ranges",
    "Span",
    "server_of",
]
log = logging.getLogger(__name__)


class ChangedError(Exception):
    """The location has another edition of the file by now."""


@dataclass(frozen=True, slots=True)
class Span:
    """A range to request: from byte `begin` to before `end`, or to the end of the file if that is None.

    `edition` is the ETag or Last-Modified that the bytes must have (If-Range), "" for any.
    """

    begin: int
    end: int | None = None
    edition: str = ""


class RangeSink(Protocol):
    """Says which ranges to request, one after the other, and takes their bytes. Called from one thread.

    Several threads that fetch parts of one file have a sink each, over what they share. Its methods may raise
    ChangedError, MismatchError, OSError or NoRoomError, which end the fetch and reach its caller.
    """

    def next_span(self) -> Span | None:
        """The next range to request; None if nothing is missing, or nothing more is wanted.

        It is asked for at the beginning, after each answer, and after each break before a retry.
        """

    def opened(self, body: Body) -> bool:
        """Look at the head of an answer: its edition, and where it begins, which may be 0 whatever was asked.

        Returns False to leave it unread, and be asked for another span.
        """

    def write(self, chunk: bytes, offset: int) -> bool:
        """Take the bytes of the file from `offset` on. Returns False if the rest of this answer is not wanted."""

    def closed(self, *, is_complete: bool) -> None:
        """The answer that was opened has ended; `is_complete` if it was read to the end that it promised."""


class ByteCounter:
    """Counts received bytes. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards size_bytes
        self.size_bytes = 0

    def add(self, size_bytes: int) -> None:
        """Count so many more."""
        with self._lock:
            self.size_bytes += size_bytes


class Ranges:
    """Downloads ranges of files. Safe to use from several threads."""

    def __init__(
        self,
        transport: Transport,
        health: LocationHealth | None = None,
        patience: Patience | None = None,
        received: ByteCounter | None = None,
    ) -> None:
        self._transport = transport
        self._health = health or LocationHealth(Outages())
        self._patience = patience or Patience()
        self._received = received

    def fetch(self, location: Location, sink: RangeSink, token: CancelToken) -> None:
        """Request from a location what the sink asks for, until it wants nothing more.

        Raises what kept the location from giving it (UnreachableError, AccessRefusedError, ContentError), what the
        sink raises, or the token's error.
        """
        attempts = Attempts(self._patience)
        self._wait_for_retry_after(location, self._health.asked_wait_s(location), token)
        while (span := sink.next_span()) is not None:
            token.raise_if_cancelled()
            attempts.begin(span.begin)
            try:
                is_read = self._request(location, span, sink, token, attempts)
            except (UnreachableError, AccessRefusedError, ContentError) as error:
                token.raise_if_cancelled()
                pause_s = self._pause_after(location, error, attempts)
                if pause_s is None:
                    raise
                if error.retry_after_s:
                    self._wait_for_retry_after(location, pause_s, token)
                else:
                    token.wait(pause_s)
            else:
                attempts.succeeded() if is_read else attempts.refused(location)

    def _request(self, location: Location, span: Span, sink: RangeSink, token: CancelToken, attempts: Attempts) -> bool:
        """Send one request, and give its bytes to the sink as they come. Returns whether the sink wanted them."""
        with self._transport.open(location, span.begin, span.edition, span.end) as body:
            attempts.answered()
            self._health.reached(location)
            is_wanted = sink.opened(body)
            location.remember_name_form()
            if is_wanted:
                is_complete = False
                try:
                    with token.aborting(body):
                        is_complete = self._receive(location, span, body, sink, token, attempts)
                finally:
                    sink.closed(is_complete=is_complete)
        return is_wanted

    def _receive(
        self, location: Location, span: Span, body: Body, sink: RangeSink, token: CancelToken, attempts: Attempts
    ) -> bool:
        """Whether the body was read to its end."""
        end = _end(span, body)
        offset, received = body.start, self._received
        pace = Pace(location, self._patience)
        for chunk in body.chunks:
            size_bytes = len(chunk)
            pace.arrived(size_bytes)
            if end is not None and offset + size_bytes > end:
                raise BrokenAnswerError(f"{server_of(location)} sends more than the {counted(end, 'byte')} it said.")
            if not sink.write(chunk, offset):
                return False
            offset += size_bytes
            attempts.reached(offset)
            if received is not None:
                received.add(size_bytes)
            token.raise_if_cancelled()
            pace.check()
        token.raise_if_cancelled()  # a connection that was broken off may look like the end of the file
        return True

    def _pause_after(self, location: Location, error: OnefsError, attempts: Attempts) -> float | None:
        """Seconds to wait before the next try after one that failed; None to give the location up."""
        health = self._health
        if isinstance(error, UnreachableError | OverloadedError | BadHttpError):
            is_known = isinstance(error, OverloadedError) and not error.retry_after_s and health.is_skipped(location)
            pause_s = None if is_known else attempts.pause_after(error)
            is_silent = not isinstance(error, OverloadedError) and not attempts.is_answered
            is_given_up = pause_s is None and (is_silent or isinstance(error, TimedOutError | OverloadedError))
            if is_given_up or error.retry_after_s:
                health.failed(location, error)
            return pause_s
        if not isinstance(error, NoKeysError):
            health.reached(location)
        return attempts.pause_after(error) if isinstance(error, BrokenAnswerError) else None

    def _wait_for_retry_after(self, location: Location, wait_s: float, token: CancelToken) -> None:
        if not wait_s:
            return
        log.info("%s asked to retry after %.1f s: %s waits", server_of(location), wait_s, shown(location.url))
        with self._health.waiting(location, shown(location.url)):
            token.wait(wait_s)


class MemorySink:
    """Takes a whole small file into memory. It resumes after a break if the edition allows it, else begins anew.

    Raises MismatchError for one of more than `most_bytes`.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._chunks: list[bytes] = []
        self._size_bytes = 0
        self._is_whole = False
        self.edition = ""

    @property
    def content(self) -> bytes:
        """What came, without a copy if it came in one piece."""
        return b"".join(self._chunks)

    def next_span(self) -> Span | None:
        """The file, or what is missing of it."""
        return None if self._is_whole else Span(self._size_bytes if self.edition else 0, None, self.edition)

    def opened(self, body: Body) -> bool:
        """Begin anew unless the answer goes on where the bytes end."""
        if body.start != self._size_bytes:
            self._chunks.clear()
            self._size_bytes = 0
        self._check(body.total_bytes or 0)
        self.edition = body.edition
        return True

    def write(self, chunk: bytes, offset: int) -> bool:
        """Keep the bytes."""
        self._size_bytes = offset + len(chunk)
        self._check(self._size_bytes)
        self._chunks.append(chunk)
        return True

    def closed(self, *, is_complete: bool) -> None:
        """Note whether all is there."""
        self._is_whole = is_complete

    def _check(self, size_bytes: int) -> None:
        if size_bytes > self._most_bytes:
            raise MismatchError(f"What came is longer than the {counted(self._most_bytes, 'byte')} that it may have.")


class FileSink:
    """Writes a whole file of unknown length to an open one. It resumes after a break, or begins anew."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._is_whole = False
        self._edition = ""

    def next_span(self) -> Span | None:
        """The file, or what is missing of it."""
        return None if self._is_whole else Span(self._out.tell() if self._edition else 0, None, self._edition)

    def opened(self, body: Body) -> bool:
        """Begin anew unless the answer goes on where the file ends."""
        self._out.seek(body.start)
        self._out.truncate()
        self._edition = body.edition
        return True

    def write(self, chunk: bytes, offset: int) -> bool:  # noqa: ARG002
        """Append the bytes."""
        self._out.write(chunk)
        return True

    def closed(self, *, is_complete: bool) -> None:
        """Note whether all is there."""
        self._is_whole = is_complete


def _end(span: Span, body: Body) -> int | None:
    """Where the body must end; None if the server did not say."""
    if not body.is_part or span.end is None:
        return body.total_bytes
    return span.end if body.total_bytes is None else min(span.end, body.total_bytes)
