"""`Fetch`: one dataset on its way to its readers, and the states that it goes through; `Fetches`: those under way."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from onefs.cache.descriptors import CachedFile
from onefs.cache.verify import Signature, wanted
from onefs.catalogue.records import Dataset
from onefs.errors import OnefsError, again
from onefs.fetch.cancel import CancelToken
from onefs.fetch.part_file import Gate, PartFile, pending
from onefs.meter import Meter
from onefs.transports.base import Location


class FetchState(StrEnum):
    """How far a fetch is. IDLE is a large file of which nothing is wanted just now; ABANDONED one that nobody reads."""

    QUEUED = "queued"
    CHECKING = "checking"
    FETCHING = "fetching"
    HASHING = "hashing"
    IDLE = "idle"
    VERIFIED = "verified"
    FAILED = "failed"
    ABANDONED = "abandoned"


ENDS = frozenset({FetchState.VERIFIED, FetchState.FAILED, FetchState.ABANDONED})
TRANSITIONS: dict[FetchState, frozenset[FetchState]] = {
    FetchState.QUEUED: frozenset({FetchState.CHECKING, FetchState.FETCHING}) | ENDS,
    FetchState.CHECKING: frozenset({FetchState.QUEUED}) | ENDS,
    FetchState.FETCHING: frozenset({FetchState.HASHING, FetchState.IDLE, FetchState.QUEUED}) | ENDS,
    FetchState.HASHING: frozenset({FetchState.FETCHING, FetchState.IDLE, FetchState.QUEUED}) | ENDS,
    FetchState.IDLE: frozenset({FetchState.QUEUED}) | ENDS,
    FetchState.VERIFIED: frozenset(),
    FetchState.FAILED: frozenset(),
    FetchState.ABANDONED: frozenset(),
}


class FetchEvents(Protocol):
    """Is told of what happens to datasets, in worker threads."""

    def changed(self, dataset: Dataset) -> None:
        """What is on disk of a dataset changed."""

    def failed(self, dataset: Dataset, error: OnefsError) -> None:
        """A dataset could not be had, or a copy of it is wrong."""

    def mismatched(self, dataset: Dataset, location: Location) -> None:
        """A location gave wrong bytes."""

    def withdrawn(self, dataset: Dataset) -> None:
        """What was served of a dataset turned out wrong, and is served no more."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """A fetch under way. `rate_bytes_per_s` is that of the last seconds; `host` is "" before a server was asked.

    `left_s` is how long the rest takes at that rate, None as long as that cannot be told.
    """

    path: str
    done_bytes: int
    total_bytes: int | None
    rate_bytes_per_s: float
    left_s: float | None
    host: str


class Fetch:
    """A dataset being verified or fetched, for however many read it. Safe to use from several threads.

    Readers attach, and take the result or detach; the descriptor closes when nobody is attached any more. The worker
    alone sets `done_bytes`, `total_bytes`, `host` and `wrong` (the MD5s of copies that were found wrong, so that each
    is hashed once). A large file has a `part` that can be read before it is whole.
    """

    __slots__ = (
        "_asked_again", "_attached", "_error", "_lock", "_meter", "_news", "_part", "_result", "_state", "dataset",
        "has_copy", "has_old_copy", "host", "is_demanded", "is_shared", "may_fetch", "submit", "token", "total_bytes",
        "wrong",
    )  # fmt: skip

    def __init__(self, dataset: Dataset, *, may_fetch: bool, is_demanded: bool, parent: CancelToken) -> None:
        self.dataset = dataset
        self.may_fetch = may_fetch
        self.has_copy = True
        """Whether there may be a copy in the cache: False if there was none a moment ago."""
        self.has_old_copy = False
        """Whether a copy stays in the cache until the bytes of this edition have come."""
        self.is_demanded = is_demanded
        """Whether somebody asked for it, so that it may evict others, and its failure is remembered."""
        self.token = CancelToken(parent)
        self.total_bytes = dataset.size_bytes
        self.host = ""
        self.is_shared = False
        """Whether another process of the user has the dataset's lock, and fills the same part file."""
        self.wrong: dict[Signature, str] = {}
        self.submit: Callable[[], None] = _nothing
        self._meter = Meter()
        self._lock = threading.RLock()  # guards all below
        self._state = FetchState.QUEUED
        self._news = pending()
        self._attached = 0
        self._part: PartFile | None = None
        self._result: CachedFile | None = None
        self._error: OnefsError | None = None
        self._asked_again = False

    @property
    def state(self) -> FetchState:
        """How far it is."""
        return self._state

    @property
    def done_bytes(self) -> int:
        """How many bytes are there, or were hashed."""
        return self._meter.done

    @done_bytes.setter
    def done_bytes(self, size_bytes: int) -> None:
        self._meter.reach(size_bytes)

    @property
    def news(self) -> "Future[None]":
        """A future that completes when it is worth asking for the result or the part again."""
        return self._news

    @property
    def part(self) -> PartFile | None:
        """What there is of a large file."""
        return self._part

    @property
    def readable(self) -> PartFile | None:
        """What there is, if it can be read before it is whole."""
        part = self._part
        return part if part is not None and part.gate is not Gate.WHOLE else None

    @property
    def is_finished(self) -> bool:
        """Whether it has a result, or never will."""
        return self._state in ENDS

    @property
    def is_unused(self) -> bool:
        """Whether nobody waits for it or reads it, and it can be left as it is."""
        return not self._attached and (self._part is None or self._part.gate is not Gate.WHOLE)

    @property
    def is_at_work(self) -> bool:
        """Whether a worker has it."""
        return self._state not in (FetchState.IDLE, FetchState.VERIFIED, FetchState.FAILED)

    def start(self, state: FetchState) -> bool:
        """Change from QUEUED to another state; False if it is in another, as a further worker came first."""
        with self._lock:
            if self._state is not FetchState.QUEUED:
                return False
            self.move(state)
            return True

    def move(self, state: FetchState) -> None:
        """Change the state, unless it was ended meanwhile. Raises ValueError for a transition not in the table."""
        with self._lock:
            if self._state in ENDS:
                return  # by another thread, which has cancelled the token
            if state not in TRANSITIONS[self._state]:
                raise ValueError(f"A fetch that is {self._state} cannot become {state}.")
            self._state = state

    def attach(self) -> bool:
        """Join those who wait; False if it is finished already."""
        with self._lock:
            if self._state in ENDS:
                return False
            self._attached += 1
            self.is_demanded = True
            return True

    def use(self, part: PartFile | None) -> None:
        """Let readers have this part file from now on; one that was there before is closed."""
        with self._lock:
            before, self._part = self._part, part
            if before is None and part is None:
                return
        if before is not None:
            before.close()
        self._tell()

    def begin(self) -> None:
        """Have a worker go on with it, if none does."""
        with self._lock:
            if self._state is not FetchState.IDLE:
                self._asked_again = True
                return
            self._state = FetchState.QUEUED
        self.submit()

    def rest(self) -> bool:
        """Leave it for now; False if it was asked to go on meanwhile, or has ended."""
        with self._lock:
            if self._state in ENDS:
                return False
            asked_again, self._asked_again = self._asked_again, False
            self.move(FetchState.IDLE)
            if asked_again:
                self._state = FetchState.QUEUED
            return not asked_again

    def abandon(self) -> bool:
        """End it as nobody has it open, unless it has ended; False if somebody has by now."""
        with self._lock:
            if self._attached:
                return False
            self.move(FetchState.ABANDONED)
            return True

    def take(self) -> CachedFile | None:
        """A share of the result, and detach; None while it is under way. Raises the failure, as a new object."""
        with self._lock:
            if self._error is not None:
                raise again(self._error)
            result = self._result
            if result is None or not result.share():
                return None
        self.detach()
        return result

    def detach(self) -> None:
        """No longer wait for it. It goes on all the same."""
        with self._lock:
            self._attached -= 1
            is_last, result, part = not self._attached, self._result, self.readable
        if is_last and result is not None:
            result.release()
        elif is_last and part is not None:
            self.begin()  # to bring it to an end
            part.wake()

    def succeed(self, result: CachedFile) -> None:
        """Hand out the file; it is closed if the fetch failed meanwhile, or nobody waits."""
        with self._lock:
            is_late = self._state in ENDS
            if not is_late:
                if self._part is not None:
                    self._part.became(result.signature)
                self._result = result
                self._state = FetchState.VERIFIED
            is_unused = is_late or not self._attached
            part, self._part = self._part, None
        if is_unused:
            result.release()
        if part is not None:
            part.close()
        self._tell()

    def fail(self, error: OnefsError) -> bool:
        """Tell the failure; False if it is finished already."""
        with self._lock:
            if self._state in ENDS:
                return False
            self._error = error
            self._state = FetchState.FAILED
            part = self._part
        if part is not None:
            part.fail(error)  # who asks only now must not wait for somebody who has ended
            part.wake()
        self._tell()
        return True

    def progress(self) -> Transfer:
        """How far it is."""
        done_bytes, total_bytes, meter = self.done_bytes, self.total_bytes, self._meter
        left_s = meter.left_s(max(total_bytes - done_bytes, 0)) if total_bytes is not None else None
        return Transfer(self.dataset.path, done_bytes, total_bytes, meter.rate_per_s, left_s, self.host)

    def _tell(self) -> None:
        with self._lock:
            # The worker and whoever closes may tell at once: each future is ended by the one that took it away.
            news, self._news = self._news, pending()
            if self._state in ENDS:
                self._news.set_result(None)
        if not news.done():
            news.set_result(None)


class Fetches:
    """The fetches under way, one per edition of a dataset. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _running
        self._running: dict[tuple[UUID, str, bool], Fetch] = {}

    def find(self, dataset: Dataset, *, may_fetch: bool = False) -> Fetch | None:
        """The fetch of a dataset that is under way; with `may_fetch`, only one that may fetch too."""
        if not self._running:
            return None
        key = dataset.id, wanted(dataset)
        found = self._running.get((*key, True))
        return found if found is not None or may_fetch else self._running.get((*key, False))

    def running(self) -> list[Fetch]:
        """All that are under way."""
        with self._lock:
            return list(self._running.values())

    def join(self, dataset: Dataset, *, may_fetch: bool) -> Fetch | None:
        """Attach to the fetch of a dataset that is under way; None if there is none, or if it fetches what is read."""
        fetch = self.find(dataset, may_fetch=may_fetch)
        if fetch is None or (fetch.readable is not None and not may_fetch):
            return None
        return fetch if fetch.attach() else None

    def add(self, fetch: Fetch) -> Fetch:
        """The fetch of the same edition that is under way, or else this one from now on."""
        with self._lock:
            return self._running.setdefault(_key(fetch), fetch)

    def remove(self, fetch: Fetch) -> None:
        """Note that it is no longer under way."""
        with self._lock:
            if self._running.get(_key(fetch)) is fetch:
                del self._running[_key(fetch)]


def _key(fetch: Fetch) -> tuple[UUID, str, bool]:
    return fetch.dataset.id, wanted(fetch.dataset), fetch.may_fetch


def _nothing() -> None:
    """Before it is under way."""
