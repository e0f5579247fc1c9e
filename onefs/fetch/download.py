"""Downloading a file from one location: resuming, pauses, stalls, and the check at its end."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from onefs.cache.locks import StoppedError
from onefs.cache.partial import Partial
from onefs.cache.verify import Verdict, Verify, judge
from onefs.catalogue.records import Dataset
from onefs.errors import (
    AccessRefusedError,
    BrokenAnswerError,
    ConnectTimedOutError,
    ContentError,
    MismatchError,
    NoKeysError,
    OnefsError,
    OverloadedError,
    TimedOutError,
    UnreachableError,
)
from onefs.fetch.fetch import Fetch
from onefs.fetch.retry import LocationHealth
from onefs.text import counted
from onefs.transports.addresses import server_name, shown
from onefs.transports.base import Location, Transport

log = logging.getLogger(__name__)

PROGRESS_BYTES = 1 << 16
"""A try that brings less counts as made in vain, so that a server cannot keep a fetch going with a byte per try."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How hard one location is tried: so many further tries without progress, with growing pauses between.

    Fewer bytes than one a second, averaged over `stall_s`, count as a stalled connection. A wrong file in the cache
    that changed within `settled_s` counts as one that another program is writing.
    """

    tries: int = 4
    first_pause_s: float = 0.1
    longest_pause_s: float = 5.0
    stall_s: float = 30.0
    settled_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Found:
    """What was downloaded: its hash, and where it came from (without the query, which may hold a signature)."""

    md5: str
    source: str


class Downloader:
    """Downloads into partial files. `received` is told of every piece's size. Safe to use from several threads."""

    def __init__(
        self,
        transport: Transport,
        health: LocationHealth,
        patience: Patience,
        received: Callable[[int], None],
        stop: threading.Event,
    ) -> None:
        self._transport = transport
        self._health = health
        self._patience = patience
        self._received = received
        self._stop = stop

    def download(self, location: Location, partial: Partial, fetch: Fetch, policy: Verify) -> Found:
        """Fill `partial` from a location and check it.

        Raises MismatchError (and then `partial` is empty), or what kept the server from giving the file.
        """
        dataset = fetch.dataset
        source = shown(location.url)
        anew = False
        while True:
            if not partial.is_whole:
                self._fill(location, source, partial, fetch, policy)
            one_answer, size_bytes, md5 = partial.one_answer, partial.size_bytes, partial.md5()
            right = judge(dataset, size_bytes, md5, Verify.STRICT) is Verdict.RIGHT
            # A policy that accepts what differs is for what a server holds, not for halves put together.
            if right or ((one_answer or anew) and judge(dataset, size_bytes, md5, policy) is not Verdict.WRONG):
                return Found(md5, partial.source or source)
            partial.restart()
            if anew or one_answer:
                raise mismatch(dataset, f"{giver(location)} gave", size_bytes, md5)
            anew = True  # once more, from the first byte

    def _fill(self, location: Location, source: str, partial: Partial, fetch: Fetch, policy: Verify) -> None:
        """Stream until the server says that it is the end, going on after each break."""
        persist(
            lambda attempts: self._stream(location, source, partial, fetch, attempts, policy),
            Attempts(self._patience, partial.size_bytes),
            lambda: partial.size_bytes,
            self._health,
            location,
            self._stop,
        )

    def _stream(
        self,
        location: Location,
        source: str,
        partial: Partial,
        fetch: Fetch,
        attempts: "Attempts",
        policy: Verify,
    ) -> None:
        """One request. What came before it breaks stays in `partial`."""
        dataset = fetch.dataset
        edition = partial.edition if partial.source == source else ""
        has_proof = dataset.md5 and policy in (Verify.AUTO, Verify.STRICT)
        if partial.size_bytes and not edition and not has_proof:
            partial.restart()  # nothing could tell that the rest belongs to what is there
        with self._transport.open(location, partial.size_bytes, edition) as body:
            attempts.opened = attempts.answered = True
            self._health.reached(location)
            agree(dataset, location, body.total_bytes, policy)
            location.remember_name_form()
            if body.start != partial.size_bytes:
                partial.restart()
            partial.comes_from(source, body.edition)
            fetch.total_bytes = dataset.size_bytes if body.total_bytes is None else body.total_bytes
            fetch.done_bytes = partial.size_bytes
            pace = Pace(server_of(location), self._patience.stall_s)
            for chunk in body.chunks:
                if self._stop.is_set() or fetch.is_finished:
                    raise StoppedError
                partial.write(chunk)
                fetch.done_bytes = partial.size_bytes
                self._received(len(chunk))
                pace.add(len(chunk))
                if partial.size_bytes > (dataset.size_bytes or 0):
                    self._not_too_long(dataset, location, partial, policy)

    def _not_too_long(self, dataset: Dataset, location: Location, partial: Partial, policy: Verify) -> None:
        if judge(dataset, partial.size_bytes, dataset.md5.lower(), policy) is Verdict.WRONG:
            partial.restart()
            raise MismatchError(f"{server_of(location)} sends more than the {dataset.size_bytes} bytes of the file.")


def agree(dataset: Dataset, location: Location, total_bytes: int | None, policy: Verify) -> None:
    """Refuse a file of another length than the catalogue's before its bytes are sent."""
    if total_bytes is None:
        return
    if judge(dataset, total_bytes, dataset.md5.lower(), policy) is Verdict.WRONG:
        raise mismatch(dataset, f"{giver(location)} gives", total_bytes, "")


class Attempts:
    """Counts the tries at one location, and says how long to pause before the next."""

    def __init__(self, patience: Patience, size_bytes: int) -> None:
        self._patience = patience
        self._furthest_bytes = size_bytes
        self._in_vain = 0
        self.opened = False
        """Whether the server answered this try."""
        self.answered = False
        """Whether it answered any."""

    def pause_after(self, error: OnefsError, size_bytes: int) -> float | None:
        """Seconds to wait after a try that ended so, having come to `size_bytes`; None to give up."""
        progressed = size_bytes >= self._furthest_bytes + PROGRESS_BYTES
        if progressed:
            self._furthest_bytes = size_bytes
        self._in_vain = 0 if progressed else self._in_vain + 1
        patience = self._patience
        if isinstance(error, TimedOutError) and not isinstance(error, ConnectTimedOutError):
            return patience.first_pause_s if progressed else None
        if isinstance(error, UnreachableError) and not self.answered:
            return None
        if self._in_vain > patience.tries or error.retry_after_s > patience.longest_pause_s:
            return None
        return max(error.retry_after_s, float(min(patience.first_pause_s * 2**self._in_vain, patience.longest_pause_s)))


def persist(
    request: Callable[[Attempts], None],
    attempts: Attempts,
    progress: Callable[[], int],
    health: LocationHealth,
    location: Location,
    stop: threading.Event,
) -> None:
    """Repeat a request after each break, with pauses, as long as that brings any bytes. Raises the last break.

    Waits as long as a server's `Retry-After` says, if that is short.
    """
    _wait_for_retry_after(location, health.asked_wait_s(location), health, stop)
    while True:
        attempts.opened = False
        try:
            request(attempts)
            return
        except (UnreachableError, OverloadedError) as failure:
            error: OnefsError = failure
            is_known = isinstance(error, OverloadedError) and not error.retry_after_s and health.is_skipped(location)
            pause_s = None if is_known else attempts.pause_after(error, progress())
            gave_nothing = isinstance(error, UnreachableError) and not attempts.opened
            is_given_up = pause_s is None and (gave_nothing or isinstance(error, TimedOutError | OverloadedError))
            if is_given_up or error.retry_after_s:
                health.failed(location, error)
        except (AccessRefusedError, ContentError) as failure:
            error = failure
            if not isinstance(error, NoKeysError):
                health.reached(location)
            pause_s = attempts.pause_after(error, progress()) if isinstance(error, BrokenAnswerError) else None
        if pause_s is None:
            raise error
        if error.retry_after_s:
            _wait_for_retry_after(location, pause_s, health, stop)
        elif stop.wait(pause_s):
            raise StoppedError


def _wait_for_retry_after(location: Location, wait_s: float, health: LocationHealth, stop: threading.Event) -> None:
    """Wait for the end of a `Retry-After` of the location's server. Raises `StoppedError`."""
    if not wait_s:
        return
    log.info("%s asked to retry after %.1f s: %s waits", server_of(location), wait_s, shown(location.url))
    with health.waiting(location, shown(location.url)):
        if stop.wait(wait_s):
            raise StoppedError


class Pace:
    """Tells a connection that trickles from one that is merely slow."""

    def __init__(self, server: str, stall_s: float) -> None:
        self._server = server
        self._stall_s = stall_s
        self._since_s = time.monotonic()
        self._size_bytes = 0

    def add(self, size_bytes: int) -> None:
        self._size_bytes += size_bytes
        now_s = time.monotonic()
        if now_s - self._since_s < self._stall_s:
            return
        if self._size_bytes < now_s - self._since_s:
            raise TimedOutError(f"{self._server} sends less than a byte a second.")
        self._since_s, self._size_bytes = now_s, 0


def mismatch(dataset: Dataset, who: str, size_bytes: int, md5: str, remedy: str = "") -> MismatchError:
    """The error for wrong bytes, with both sizes and both hashes as far as they are known."""
    said = _described(dataset.size_bytes, dataset.md5)
    return MismatchError(f"{who} {_described(size_bytes, md5)}, but it should be {said}.", remedy)


def _described(size_bytes: int | None, md5: str) -> str:
    size = "" if size_bytes is None else counted(size_bytes, "byte")
    digest = f"MD5 {md5}" if md5 else ""
    return " with ".join(part for part in (size, digest) if part)


def server_of(location: Location) -> str:
    """Name of a location's server, for people."""
    return server_name(location.url) or "this machine"


def giver(location: Location) -> str:
    """The server that gave wrong bytes, or the file on this machine that holds them, in the cache for one."""
    return server_name(location.url) or f"The file {unquote(urlsplit(location.url).path)}"
