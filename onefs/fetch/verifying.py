"""Owns the asked-for look at a cached copy: hashed anew, whatever its stamp says, and moved away if it is wrong."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum

from onefs.cache.atomic import cache_errors
from onefs.cache.layout import Copy
from onefs.cache.store import ContentStore
from onefs.cache.verify import Signature, Stamp, Verdict, Verify, judge, wanted
from onefs.catalogue.records import Dataset
from onefs.errors import BusyError
from onefs.fetch.hashing import md5_of
from onefs.fetch.mismatch import mismatch
from onefs.fetch.obtain import KEPT_IN_PLACE

MOVED = "It was moved to quarantine: the next open fetches it again."
SERVED = "It is served all the same, as the mount was told: verify = {policy}."
STAYS = "It stays where it is, as another program put it there: move it away to have the right one fetched."


class Outcome(StrEnum):
    """What came of a look. MOVED is a wrong copy that is in quarantine now, WRONG one that stays where it is.

    HASHED is one that no hash of the catalogue's tells right or wrong.
    """

    ABSENT = "absent"
    RIGHT = "right"
    HASHED = "hashed"
    WRONG = "wrong"
    MOVED = "moved"


class Verifier:
    """Looks at copies when somebody asks for it. Safe to use from several threads.

    A wrong file that changed within `settled_s` counts as one that another program is writing.
    """

    def __init__(self, store: ContentStore, policy: Verify, settled_s: float, stop: threading.Event) -> None:
        self._store = store
        self._policy = policy
        self._settled_s = settled_s
        self._stop = stop

    def verify(self, dataset: Dataset, on_bytes: Callable[[int], None]) -> tuple[Outcome, str, str]:
        """Hash a copy, and stamp it or move it away; what came of it, and reason and remedy of what is wrong.

        `on_bytes` is told of each part that was read. Raises BusyError if the copy may be unfinished, StoppedError,
        or what is wrong with the cache.
        """
        copy = self._store.open_copy(dataset)
        if copy is None:
            return Outcome.ABSENT, "", ""
        try:
            stamp = self._store.state.reload(dataset.id)
            md5 = self._hash(dataset, copy, on_bytes)
            if Signature.of(os.fstat(copy.descriptor)) != copy.signature:
                raise _unsettled(dataset, copy)
            return self._settle(dataset, copy, md5, stamp)
        finally:
            os.close(copy.descriptor)

    def _hash(self, dataset: Dataset, copy: Copy, on_bytes: Callable[[int], None]) -> str:
        with cache_errors(dataset.path, copy.path):
            # What is in memory may be right where the disk is not: the question is about the disk.
            os.posix_fadvise(copy.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            return md5_of(copy.descriptor, self._stop, on_bytes)

    def _settle(self, dataset: Dataset, copy: Copy, md5: str, stamp: Stamp | None) -> tuple[Outcome, str, str]:
        size_bytes = copy.signature.size_bytes
        known = stamp if stamp is not None and stamp.signature.edition == copy.signature.edition else None
        source = known.source if known is not None else ""
        is_same = self._store.is_cache or known is not None  # else its owner has changed it in place
        before = stamp.md5 if stamp is not None and not dataset.md5 and is_same else ""
        if judge(dataset, size_bytes, md5, Verify.STRICT) is Verdict.RIGHT and before in ("", md5):
            self._store.vouch(dataset, copy, md5, source=source)
            return Outcome.RIGHT if dataset.md5 else Outcome.HASHED, "", ""
        if known is None and abs(time.time() - copy.signature.mtime_ns / 1e9) < self._settled_s:
            raise _unsettled(dataset, copy)
        reason = mismatch(dataset, f"{copy.path} has", size_bytes, md5).reason
        if before not in ("", md5):
            reason = f"{copy.path} has MD5 {md5}, but had {before} when it came; the catalogue knows none."
        stays = self._why_it_stays(dataset, known, source)
        if stays:
            if self._policy is Verify.WARN:
                self._store.vouch(dataset, copy, md5, accepted=wanted(dataset), source=source)
            return Outcome.WRONG, reason, stays
        with cache_errors(dataset.path, self._store.state_dir), self._store.lock(dataset.id, self._stop):
            if not self._store.put_away(dataset, copy):
                raise _unsettled(dataset, copy)
        with suppress(OSError):
            os.utime(copy.descriptor)  # who has it open, in whatever process, is given no more of it
        return Outcome.MOVED, reason, MOVED

    def _why_it_stays(self, dataset: Dataset, known: Stamp | None, source: str) -> str:
        """What to do about a wrong copy that must not be moved; "" if it must. What was right once has decayed."""
        if not self._store.is_cache:
            return KEPT_IN_PLACE
        if not (source or self._store.may_displace):
            return STAYS
        was_right = known is not None and bool(known.md5) and (not dataset.md5 or known.md5 == dataset.md5.lower())
        if self._policy in (Verify.WARN, Verify.OFF) and not was_right:
            return SERVED.format(policy=self._policy)
        return ""


def _unsettled(dataset: Dataset, copy: Copy) -> BusyError:
    return BusyError(
        f"{dataset.path} cannot be verified now: another program may still be writing {copy.path}.",
        "Try again in a few seconds.",
    )
