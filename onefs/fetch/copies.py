"""`Copies`: judges a dataset's copy in the cache: absent, right, wrong, or still being written."""

import logging
import os
import threading
import time
from dataclasses import dataclass
from enum import StrEnum

from onefs.cache.atomic import cache_errors
from onefs.cache.layout import Copy
from onefs.cache.store import ContentStore
from onefs.cache.verify import Signature, Stamp, Verdict, Verify, judge, trusted, wanted
from onefs.catalogue.records import Dataset
from onefs.fetch.fetch import Fetch
from onefs.fetch.hashing import md5_of

log = logging.getLogger(__name__)


class Standing(StrEnum):
    """What is found under a dataset's name. UNSETTLED is a wrong file that another program seems to be writing."""

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
        is_ours = stamp is not None and bool(stamp.source) and stamp.signature.edition == copy.signature.edition
        was_right = stamp is not None and is_ours and not stamp.accepted and md5 in ("", stamp.md5)
        return Look(standing, copy, md5, is_ours, was_right)

    def vouch(self, dataset: Dataset, copy: Copy, md5: str, source: str) -> None:
        """Stamp a copy that is right, or that is served all the same."""
        right = judge(dataset, copy.signature.size_bytes, md5, Verify.STRICT) is Verdict.RIGHT
        self._store.vouch(dataset, copy, md5, "" if right else wanted(dataset), source)
        if not right:
            log.warning("%s is served though it differs from the catalogue.", dataset.path)

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
            is_fetched = stamp is not None and stamp.signature.edition == copy.signature.edition
            self.vouch(fetch.dataset, copy, md5, stamp.source if stamp is not None and is_fetched else "")
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
        if stamp is not None and stamp.signature.edition == copy.signature.edition:
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
