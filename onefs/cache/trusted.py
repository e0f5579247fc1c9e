"""`TrustedCopies`: finds the copies in the cache that may be read without hashing them, at one `stat` each."""

import os
from typing import NamedTuple
from uuid import UUID

from onefs.cache.store import ContentStore
from onefs.cache.verify import Signature, Stamp, Verdict, Verify, trusted
from onefs.catalogue.records import Dataset

MOST_KEPT = 10_000


class _Trusted(NamedTuple):
    """A copy that was found to be trusted. While its signature and its stamp are these, it still is."""

    dataset: Dataset
    stamp: Stamp | None
    path: str
    signature: Signature
    verdict: Verdict


class TrustedCopies:
    """The copies that are trusted, by paths. Safe to use from several threads."""

    def __init__(self, store: ContentStore, policy: Verify) -> None:
        self._store = store
        self._policy = policy
        self._kept: dict[UUID, _Trusted] = {}

    def find(self, dataset: Dataset) -> tuple[str, Verdict] | None:
        """Path of a dataset's copy, and what is known of it; None if there is none, or it must be hashed first."""
        stamp = self._store.stamps.get(dataset.id)
        known = self._kept.get(dataset.id)
        if known is not None and known.dataset is dataset and known.stamp is stamp and _is_unchanged(known):
            return known.path, known.verdict
        for path, status in self._store.each_copy(dataset):
            signature = Signature.of(status)
            verdict = trusted(dataset, signature, stamp, self._policy)
            if verdict is not None:
                if len(self._kept) >= MOST_KEPT:
                    self._kept.clear()
                self._kept[dataset.id] = _Trusted(dataset, stamp, path, signature, verdict)
                return path, verdict
        return None


def _is_unchanged(known: _Trusted) -> bool:
    """Whether the file is still the one that was looked at."""
    try:
        status = os.stat(known.path)  # noqa: PTH116  (a Path costs more than the call)
    except OSError:
        return False
    signature = known.signature
    return (
        status.st_ino == signature.inode
        and status.st_mtime_ns == signature.mtime_ns
        and status.st_size == signature.size_bytes
    )
