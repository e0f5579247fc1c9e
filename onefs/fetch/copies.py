"""`Copies`: judges a dataset's copy in the cache, from its stamp or by hashing it, and verifies one when asked to."""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from onefs.cache.atomic import cache_errors
from onefs.cache.layout import Copy
from onefs.cache.store import ContentStore
from onefs.cache.verify import Signature, Stamp, Verdict, Verify, judge, trusted, wanted
from onefs.catalogue.records import Dataset
from onefs.errors import BusyError
from onefs.fetch.failures import mismatch
from onefs.fetch.fetch import Fetch
from onefs.fetch.hashing import md5_of

KEPT_IN_PLACE = (
    "If its tables were made by indexing, run onefs refresh; else tell the archive's maintainers. verify = warn serves "
    "such files all the same."
)
MOVED = "It was moved to quarantine: the next open fetches it again."
SERVED = "It is served all the same, as the mount was told: verify = {policy}."
STAYS = "It stays where it is, as another program put it there: move it away to have the right one fetched."
log = logging.getLogger(__name__)


class Standing(StrEnum):
    """What stands under a dataset's name. UNSETTLED is a wrong file that another program seems to be writing."""

    ABSENT = "absent"
    RIGHT = "right"
    WRONG = "wrong"
    UNSETTLED = "unsettled"


@dataclass(frozen=True, slots=True)
class Look:
    """What was found. `copy` is open only if it is right (or accepted); `md5` is "" where the size alone told.

    `is_ours` says that it is, unchanged, a file that onefs fetched; `was_right` that its bytes still are those, too.
    """

    standing: Standing
    copy: Copy | None = None
    md5: str = ""
    is_ours: bool = False
    was_right: bool = False


class Outcome(StrEnum):
    """What came of verifying a copy. MOVED is a wrong copy that is in quarantine now, WRONG one that stays where it is.

    HASHED is one that no hash of the catalogue's tells right or wrong.
    """

    ABSENT = "absent"
    RIGHT = "right"
    HASHED = "hashed"
    WRONG = "wrong"
    MOVED = "moved"


class Copies:
    """Looks at copies, hashing them if need be. Safe to use from several threads.

    A wrong file that changed within `settled_s` counts as one that another program is writing.
    """

    def __init__(self, store: ContentStore, policy: Verify, settled_s: float, stop: threading.Event) -> None:
        self._store = store
        self._policy = policy
        self._settled_s = settled_s
        self._stop = stop

    def look(self, fetch: Fetch) -> Look:
        """Find the copies and judge them: the first that is right, else the first. Raises StoppedError.

        Also raises what is wrong with the cache.
        """
        first = Look(Standing.ABSENT)
        for copy in self._store.open_copies(fetch.dataset):
            look = self._look_at(fetch, copy)
            if look.standing is Standing.RIGHT:
                return look
            if first.standing is Standing.ABSENT:
                first = look
        return first

    def _look_at(self, fetch: Fetch, copy: Copy) -> Look:
        stamp = self._store.state.reload(fetch.dataset.id)
        standing = Standing.WRONG
        try:
            standing, md5 = self._judge(fetch, copy, stamp)
        finally:
            if standing is not Standing.RIGHT:
                os.close(copy.descriptor)
        known = _of_same_file(stamp, copy)
        is_ours = known is not None and bool(known.source)
        was_right = known is not None and is_ours and not known.accepted and md5 in ("", known.md5)
        return Look(standing, copy, md5, is_ours, was_right)

    def vouch(self, dataset: Dataset, copy: Copy, md5: str, source: str) -> None:
        """Stamp a copy that is right, or that is served all the same."""
        right = judge(dataset, copy.signature.size_bytes, md5, Verify.STRICT) is Verdict.RIGHT
        self._store.vouch(dataset, copy, md5, "" if right else wanted(dataset), source)
        if not right:
            log.warning("%s is served though it differs from the catalogue.", dataset.path)

    def verify(self, dataset: Dataset, on_bytes: Callable[[int], None]) -> tuple[Outcome, str, str]:
        """Hash a copy, whatever its stamp says, and stamp it or move it to quarantine.

        Returns what came of it, and reason and remedy of what is wrong.

        `on_bytes` is told of each part that was read. Raises BusyError if the copy may be unfinished, StoppedError,
        or what is wrong with the cache.
        """
        copy = self._store.open_copy(dataset)
        if copy is None:
            return Outcome.ABSENT, "", ""
        try:
            stamp = self._store.state.reload(dataset.id)
            md5 = self._hash_on_disk(dataset, copy, on_bytes)
            if Signature.of(os.fstat(copy.descriptor)) != copy.signature:
                raise _unsettled(dataset, copy)
            return self._act_on(dataset, copy, md5, stamp)
        finally:
            os.close(copy.descriptor)

    def _judge(self, fetch: Fetch, copy: Copy, stamp: Stamp | None) -> tuple[Standing, str]:
        if trusted(fetch.dataset, copy.signature, stamp, self._policy) is not None:
            return Standing.RIGHT, ""
        if copy.signature in fetch.wrong:
            verdict, md5 = Verdict.WRONG, fetch.wrong[copy.signature]
        else:
            verdict, md5 = self._verdict(fetch, copy, stamp)
        if verdict is Verdict.WRONG:
            fetch.wrong[copy.signature] = md5
        young = verdict is Verdict.UNKNOWN or self._is_young(copy, stamp)
        # One that differs is served at once only where there is no better one to wait for.
        waits = young and fetch.may_fetch and self._store.is_cache
        if verdict is Verdict.RIGHT or (verdict is Verdict.ACCEPTED and not waits):
            # Only the very file that onefs fetched is its own, whatever else has the same bytes.
            known = _of_same_file(stamp, copy)
            self.vouch(fetch.dataset, copy, md5, known.source if known is not None else "")
            return Standing.RIGHT, md5
        return Standing.UNSETTLED if young else Standing.WRONG, md5

    def _verdict(self, fetch: Fetch, copy: Copy, stamp: Stamp | None) -> tuple[Verdict, str]:
        """What the copy's size and hash say of it, and its MD5; UNKNOWN if it changed while it was hashed."""
        dataset, size_bytes = fetch.dataset, copy.signature.size_bytes
        if judge(dataset, size_bytes, dataset.md5.lower(), self._policy) is Verdict.WRONG:
            return Verdict.WRONG, ""
        md5 = self._hash(fetch, copy)
        if Signature.of(os.fstat(copy.descriptor)) != copy.signature:
            return Verdict.UNKNOWN, md5
        before = stamp.md5 if stamp is not None and not dataset.md5 and self._store.is_cache else ""
        if before and before != md5 and self._policy in (Verify.AUTO, Verify.STRICT):
            return Verdict.WRONG, md5
        return judge(dataset, size_bytes, md5, self._policy), md5

    def _is_young(self, copy: Copy, stamp: Stamp | None) -> bool:
        """Whether the file changed so recently that it may not be complete; not if it once was."""
        if _of_same_file(stamp, copy) is not None:
            return False
        return abs(time.time() - copy.signature.mtime_ns / 1e9) < self._settled_s

    def _hash(self, fetch: Fetch, copy: Copy) -> str:
        fetch.total_bytes, fetch.done_bytes = copy.signature.size_bytes, 0

        def came(size_bytes: int) -> None:
            fetch.done_bytes += size_bytes

        with cache_errors(fetch.dataset.path, copy.path):
            md5 = md5_of(copy.descriptor, self._stop, came)
        fetch.total_bytes, fetch.done_bytes = fetch.dataset.size_bytes, 0
        return md5

    def _hash_on_disk(self, dataset: Dataset, copy: Copy, on_bytes: Callable[[int], None]) -> str:
        with cache_errors(dataset.path, copy.path):
            # What is in memory may be right where the disk is not: the question is about the disk.
            os.posix_fadvise(copy.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            return md5_of(copy.descriptor, self._stop, on_bytes)

    def _act_on(self, dataset: Dataset, copy: Copy, md5: str, stamp: Stamp | None) -> tuple[Outcome, str, str]:
        size_bytes = copy.signature.size_bytes
        known = _of_same_file(stamp, copy)
        source = known.source if known is not None else ""
        is_same = self._store.is_cache or known is not None  # else its owner has changed it in place
        before = stamp.md5 if stamp is not None and not dataset.md5 and is_same else ""
        if judge(dataset, size_bytes, md5, Verify.STRICT) is Verdict.RIGHT and before in ("", md5):
            self.vouch(dataset, copy, md5, source)
            return Outcome.RIGHT if dataset.md5 else Outcome.HASHED, "", ""
        if self._is_young(copy, stamp):
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


def _of_same_file(stamp: Stamp | None, copy: Copy) -> Stamp | None:
    """The stamp if the copy is the very file that was stamped."""
    return stamp if stamp is not None and stamp.signature.edition == copy.signature.edition else None


def _unsettled(dataset: Dataset, copy: Copy) -> BusyError:
    return BusyError(
        f"{dataset.path} cannot be verified now: another program may still be writing {copy.path}.",
        "Try again in a few seconds.",
    )
