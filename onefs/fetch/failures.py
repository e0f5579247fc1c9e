"""`Failures` remembers why fetches failed, and for how long; the errors for wrong bytes, and for several locations."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit
from uuid import UUID

from onefs.cache.store import ContentStore
from onefs.cache.verify import Signature, Verdict, Verify, judge, wanted
from onefs.catalogue.records import Dataset
from onefs.errors import (
    AccessRefusedError,
    BrokenAnswerError,
    CacheDamagedError,
    ContentError,
    MismatchError,
    MissingOnServerError,
    NoRoomError,
    OfflineError,
    OnefsError,
    OverloadedError,
    TimedOutError,
    UnreachableError,
    again,
)
from onefs.outages import Outages
from onefs.text import counted
from onefs.transports.addresses import server_name
from onefs.transports.base import Location

log = logging.getLogger(__name__)
FIRST_S = 5.0
LONGEST_S = 600.0


class PassingMismatchError(MismatchError):
    """Wrong bytes at one location, while another that may have the right ones cannot be asked just now."""


LONGEST_OF_KIND_S: tuple[tuple[type[OnefsError], float], ...] = (
    (OverloadedError, FIRST_S),  # longer waits are up to the outage of its server
    (PassingMismatchError, 60.0),
    (NoRoomError, 5.0),
    (CacheDamagedError, 5.0),
    (UnreachableError, 60.0),
)
LONGEST_IN_OUTAGE_S = 60.0
KEPT = 10_000
"""From the most telling kind to the least, with what to do about it."""
KINDS: tuple[tuple[type[OnefsError], str], ...] = (
    (MismatchError, "Tell the archive's maintainers; verify = warn serves such files all the same."),
    (
        AccessRefusedError,
        "Give that server's login (onefs setup, or --data-user and --data-password-file), or ask for the permission.",
    ),
    (
        MissingOnServerError,
        "Fetch newer tables (onefs refresh); if that does not help, tell the archive's maintainers.",
    ),
    (OverloadedError, "Try again later; see when with onefs status."),
    (BrokenAnswerError, "Try again later (onefs retry), or tell the archive's maintainers."),
    (ContentError, "Tell the archive's maintainers."),
    (TimedOutError, "Check the network; onefs tries again by itself."),
    (UnreachableError, "Check the network; onefs tries again by itself."),
    (OnefsError, ""),
)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why one server did not give the file; `server` is "" if it is not known which servers have it.

    `url` is what was asked there, "" if nothing was; `instead_of` the location's.
    """

    server: str
    error: OnefsError
    url: str = ""
    instead_of: str = ""


def summary(dataset: Dataset, problems: Sequence[Problem]) -> OnefsError:
    """One error for all locations: the most telling kind, with each location's reason."""
    ranked = sorted(problems, key=lambda problem: _rank(problem.error))
    kind, remedy = KINDS[_rank(ranked[0].error)]
    reasons = dict.fromkeys(_reason(problem) for problem in ranked)
    if kind is MismatchError and not are_final(problems):
        kind = PassingMismatchError
    # Which login a server wants only its own error knows; so does what is wrong with the database.
    is_telling = kind is AccessRefusedError or not ranked[0].server
    own_remedy = ranked[0].error.remedy if is_telling else ""
    return kind(f"{dataset.path} cannot be fetched: {'; '.join(reasons)}.", own_remedy or remedy)


def is_due(location: Location, problems: Sequence[Problem]) -> bool:
    """Whether to try a location: one with a file's second name only if there is nothing under the first.

    Refused counts as missing: a bucket that may not be listed refuses what it does not have.
    """
    nothing_there = (MissingOnServerError, AccessRefusedError)
    return not location.instead_of or any(
        problem.url == location.instead_of and isinstance(problem.error, nothing_there) for problem in problems
    )


def are_final(problems: Sequence[Problem]) -> bool:
    """Whether no server will ever give the right bytes: each gave wrong ones, or has none.

    A server that refused one name and gave wrong bytes under the other has none under the first.
    """
    not_needed = {problem.instead_of for problem in problems if isinstance(problem.error, MismatchError)} - {""}
    final = (MismatchError, MissingOnServerError)
    return all(isinstance(problem.error, final) or problem.url in not_needed for problem in problems)


def _rank(error: OnefsError) -> int:
    return next(rank for rank, (kind, _) in enumerate(KINDS) if isinstance(error, kind))


def _reason(problem: Problem) -> str:
    reason = problem.error.reason.rstrip(".")
    return reason if problem.server in reason else f"{problem.server}: {reason}"


@dataclass(frozen=True, slots=True)
class _Memory:
    error: OnefsError
    wanted: str
    copy: Signature | None
    offline: bool
    times: int
    until_s: float
    outages: frozenset[int] = frozenset()


class Failures:
    """The last failure of each dataset, answered at once for a while: 5 s, doubling to 10 min.

    A failure is forgotten when the catalogue's hash or size changes, or when the file in the cache (`copy`, None
    if there is none) is no longer the one that it was about. One that another server could still mend is forgotten
    when any of the outages of its time ends. Safe to use from several threads.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, outages: Outages | None = None) -> None:
        self._clock = clock
        self._outages = outages or Outages(clock)
        self._lock = threading.Lock()  # guards _memories
        self._memories: dict[UUID, _Memory] = {}

    def remember(
        self, dataset: Dataset, error: OnefsError, copy: Signature | None, *, offline: bool
    ) -> tuple[int, float]:
        """Note a failure; returns how often it happened in a row, and for how long it holds (seconds).

        `offline` says that fetching was off, so that it tells nothing about the servers.
        """
        outages = self._outages.lasting() if _may_pass(error) else frozenset()
        longest_s = min(_longest_s(error), LONGEST_IN_OUTAGE_S) if outages else _longest_s(error)
        with self._lock:
            before = self._memories.pop(dataset.id, None)
            same = before is not None and before.wanted == wanted(dataset)
            times = (before.times if before is not None and same else 0) + 1
            delay_s = min(FIRST_S * 2 ** min(times - 1, 20), longest_s)
            memory = _Memory(error, wanted(dataset), copy, offline, times, self._clock() + delay_s, outages)
            self._keep(dataset, memory)
            return times, delay_s

    def hold(self, dataset: Dataset, error: OnefsError, times: int, left_s: float) -> None:
        """Take over a failure that an earlier process remembered."""
        with self._lock:
            left_s = max(0.0, min(left_s, LONGEST_S))
            memory = _Memory(error, wanted(dataset), None, False, times, self._clock() + left_s)
            before = self._memories.get(dataset.id)
            if before is None or before.wanted != memory.wanted:
                self._memories[dataset.id] = memory

    def tell(self, dataset: Dataset, error: OnefsError) -> None:
        """Have a failure known that is not held against the next try."""
        with self._lock:
            before = self._memories.get(dataset.id)
            same = before if before is not None and before.wanted == wanted(dataset) else None
            if same is None or same.until_s <= self._clock():
                times = same.times if same is not None else 0
                self._keep(dataset, _Memory(error, wanted(dataset), None, False, times, self._clock()))

    def tell_offline(self, dataset: Dataset, error: OfflineError) -> OfflineError:
        """Log the error and note it as the dataset's last, without holding back later tries; returns it."""
        last = self.last(dataset)
        if not isinstance(last, OfflineError):
            log.info("%s", error)
        if not is_quarantine(last):  # which says more
            self.tell(dataset, error)
        return error

    def current(self, dataset: Dataset, copy: Signature | None, *, may_fetch: bool) -> OnefsError | None:
        """The failure to answer at once with, or None if the dataset may be tried."""
        memory = self._memories.get(dataset.id)
        if memory is None or memory.wanted != wanted(dataset) or memory.copy != copy:
            return None
        if (memory.offline and may_fetch) or not memory.outages <= self._outages.lasting():
            return None
        return again(memory.error) if self._clock() < memory.until_s else None

    def last(self, dataset: Dataset) -> OnefsError | None:
        """Why the last attempt failed, however long ago; None if it succeeded."""
        memory = self._memories.get(dataset.id)
        return memory.error if memory is not None and memory.wanted == wanted(dataset) else None

    def _keep(self, dataset: Dataset, memory: _Memory) -> None:
        """Remember a failure, and forget the oldest beyond `KEPT`. The lock is held."""
        self._memories[dataset.id] = memory
        if len(self._memories) > KEPT:
            del self._memories[next(iter(self._memories))]

    def forget(self, dataset: Dataset | None) -> None:
        """Forget a dataset's failure, or all."""
        with self._lock:
            if dataset is None:
                self._memories.clear()
            else:
                self._memories.pop(dataset.id, None)


def is_quarantine(error: OnefsError | None) -> bool:
    """Whether no server has the right bytes, rather than none that can be asked just now."""
    return isinstance(error, MismatchError) and not isinstance(error, PassingMismatchError)


def offline(dataset: Dataset, store: ContentStore) -> OfflineError:
    """The error for a file that is not at hand while nothing is fetched."""
    if not store.is_cache:
        return OfflineError(
            f"{dataset.path} is in the catalogue but not in the folder {store.data_dir}, which has no server.",
            "Put the file there, or mount the folder with --data-url URL of a server that has it. "
            "If its tables were made by indexing, run onefs refresh.",
        )
    return OfflineError(
        f"{dataset.path} is not in the cache, and mode local fetches nothing.",
        "Switch to a mode that fetches: onefs mode auto.",
    )


def fault(dataset: Dataset) -> ContentError:
    """The error for an exception that nobody foresaw."""
    return ContentError(f"{dataset.path} was not fetched because of a fault in onefs.", "Report it, with the log.")


def ending(dataset: Dataset) -> OfflineError:
    """The error for those who wait for a file when onefs ends."""
    return OfflineError(f"{dataset.path} was not fetched: onefs is ending.", "Mount again.")


def agree(dataset: Dataset, location: Location, total_bytes: int | None, policy: Verify) -> None:
    """Refuse a file of another length than the catalogue's before its bytes are sent. Raises MismatchError."""
    if total_bytes is None or total_bytes == dataset.size_bytes:
        return
    if judge(dataset, total_bytes, dataset.md5.lower(), policy) is Verdict.WRONG:
        raise mismatch(dataset, f"{giver(location)} gives", total_bytes, "")


def mismatch(dataset: Dataset, who: str, size_bytes: int, md5: str, remedy: str = "") -> MismatchError:
    """The error for wrong bytes, with both sizes and both hashes as far as they are known."""
    said = _described(dataset.size_bytes, dataset.md5)
    return MismatchError(f"{who} {_described(size_bytes, md5)}, but it should be {said}.", remedy)


def giver(location: Location) -> str:
    """The server that gave wrong bytes, or the file on this machine that holds them, in the cache for one."""
    return server_name(location.url) or f"The file {unquote(urlsplit(location.url).path)}"


def _described(size_bytes: int | None, md5: str) -> str:
    size = "" if size_bytes is None else counted(size_bytes, "byte")
    digest = f"MD5 {md5}" if md5 else ""
    return " with ".join(part for part in (size, digest) if part)


def _may_pass(error: OnefsError) -> bool:
    """Whether another server could still give the file, once it answers again."""
    is_wrong = isinstance(error, MismatchError) and not isinstance(error, PassingMismatchError)
    return not (is_wrong or isinstance(error, NoRoomError | CacheDamagedError))


def _longest_s(error: OnefsError) -> float:
    return next((longest for kind, longest in LONGEST_OF_KIND_S if isinstance(error, kind)), LONGEST_S)
