"""Owns which files leave the cache: pure rules, no disk."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from onefs.cache.verify import Signature

BEGIN_AT = 0.95
DOWN_TO = 0.9
GRAIN_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that onefs fetched, or what there is of one. `is_kept`: pinned, or removing it would free nothing.

    `signature` is that of a complete file; None for one that is not complete.
    """

    dataset_id: UUID
    size_bytes: int
    last_use_s: float
    is_kept: bool = False
    signature: Signature | None = None


def choose(candidates: Iterable[Candidate], wanted_bytes: int) -> list[Candidate]:
    """Those that go so that so many bytes come free, or all that may go: least recently used first."""
    chosen: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda each: each.last_use_s):
        if wanted_bytes <= 0:
            break
        if not candidate.is_kept:
            chosen.append(candidate)
            wanted_bytes -= candidate.size_bytes
    return chosen


def footprint(size_bytes: int) -> int:
    """What a complete file takes of the disk, with its stamp."""
    return -(-size_bytes // GRAIN_BYTES) * GRAIN_BYTES + GRAIN_BYTES


def surplus(used_bytes: int, limit_bytes: int) -> int:
    """Bytes to evict ahead of need: none up to 95 % of the limit, else down to 90 %."""
    return used_bytes - int(limit_bytes * DOWN_TO) if used_bytes > limit_bytes * BEGIN_AT else 0
