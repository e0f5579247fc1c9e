"""Making room in the cache: one process evicts when several want room, and the cache is counted when that is due."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from uuid import UUID

from onefs.cache.evict import Evictor
from onefs.cache.eviction import Candidate, choose
from onefs.cache.grants import Grants
from onefs.cache.ledger import Ledger
from onefs.cache.locks import StoppedError

EVICTING_ID = UUID("6f3b7c58-0b1c-4d9c-8f0e-9a4a64f8a002")
STEP = 256
COUNTED_AGAIN_S = 600.0
COUNTING_SHARE = 100
"""Counting takes at most one part in so many of the time."""
SURE_FOR_S = 2.0
"""Before it is said that there is no room, it is counted, unless that was done so lately."""
IN_VAIN_S = 1.0
LOOKING_SHARE = 5
"""Looking for more to evict takes at most one part in so many of the time."""


class Clearing:
    """Evicts from a cache, one thread of one process at a time. Safe to use from several threads."""

    def __init__(
        self,
        evictor: Evictor,
        grants: Grants,
        ledger: Ledger,
        hold: Callable[[UUID, threading.Event], AbstractContextManager[None]],
        stop: threading.Event,
    ) -> None:
        self._evictor = evictor
        self._grants = grants
        self._ledger = ledger
        self._hold = hold
        self._stop = stop
        self._evicting = threading.Lock()  # guards the seven below
        self._oldest: list[Candidate] = []
        self._in_vain_until_s = 0.0
        self._rests_until_s = 0.0
        self._counted_until_s = 0.0
        self.kept_bytes = 0
        """Of files that may never go, by the last look; 0 where something changed since."""
        self.evicted_bytes = 0
        self.evicted_files = 0

    def clear(self, wanted: Callable[[int], int]) -> bool:
        """Evict until `wanted`, given the bytes freed so far, is at most 0; False if too little could go.

        Raises OSError, StoppedError.
        """
        with self._evicting, self._hold(EVICTING_ID, self._stop):
            freed_bytes, looked = 0, self._count_if_due()
            while (wanted_bytes := wanted(freed_bytes)) > 0:
                if self._stop.is_set():
                    raise StoppedError
                now_s = time.monotonic()
                if self._oldest:
                    freed_bytes += self._step(wanted_bytes)
                elif not looked and now_s >= self._in_vain_until_s:
                    self._look(counts=False)
                    looked = True
                elif now_s >= self._counted_until_s:
                    self._look(counts=True)
                else:
                    return False
            return True

    def hope(self) -> None:
        """Something changed: it may be worth looking again."""
        self._in_vain_until_s = self._rests_until_s
        self.kept_bytes = 0

    def evicted(self, size_bytes: int, files: int) -> None:
        """Count what left the cache. Raises OSError, StoppedError."""
        self.evicted_bytes += size_bytes
        self.evicted_files += files
        self._grants.freed(size_bytes, files)

    def count(self) -> None:
        """Count what is in the cache, unless that was done lately. Takes a while. Raises OSError, StoppedError.

        How much there is of each lab no other process tells, so it is counted here at least once.
        """
        with self._evicting, self._hold(EVICTING_ID, self._stop):
            if not self._count_if_due() and not self._evictor.labs.is_counted:
                self._look(counts=False)

    def _step(self, wanted_bytes: int) -> int:
        chosen = choose(self._oldest[:STEP], wanted_bytes)
        del self._oldest[: len(chosen)]
        freed_bytes = files = 0
        for candidate in chosen:
            freed = self._evictor.evict(candidate)
            freed_bytes += freed
            files += bool(freed) and candidate.signature is not None
        if freed_bytes:
            self.evicted(freed_bytes, files)
        return freed_bytes

    @property
    def is_due(self) -> bool:
        """Whether nobody has counted for long: daemons that were killed left the account too high."""
        account = self._ledger.read()
        if account is None:
            return True
        return abs(time.time() - account.counted_s) >= max(COUNTED_AGAIN_S, COUNTING_SHARE * account.took_s)

    def _count_if_due(self) -> bool:
        if self.is_due:
            self._look(counts=True)
            return True
        return False

    def _look(self, *, counts: bool) -> None:
        """Look through the cache for candidates; with `counts`, begin the account anew."""
        at_s, began_s = time.time(), time.monotonic()
        before, shares = self._grants.before_count()
        survey = self._evictor.survey(shares, self._stop)
        now_s = time.monotonic()
        took_s = now_s - began_s
        if counts:
            self._grants.counted(survey, before, at_s, took_s)
            self._counted_until_s = now_s + max(SURE_FOR_S, COUNTING_SHARE * took_s)
        self._oldest, self.kept_bytes = survey.oldest, survey.kept_bytes
        self._rests_until_s = now_s + (LOOKING_SHARE - 1) * took_s
        self._in_vain_until_s = max(now_s + IN_VAIN_S, self._rests_until_s)
