"""Reading the sessions table into rows: refusing what cannot be shown in a tree, and sorting the rest."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from onefs import alf
from onefs.catalogue import columns
from onefs.catalogue.layout import EPOCH, NO_DATE, SESSION_BITS, LeftOutTally, Reason, Strings
from onefs.catalogue.mixing import U64, combine, distinct_keys, words
from onefs.catalogue.records import Session
from onefs.catalogue.schema import SESSION_COLUMNS
from onefs.catalogue.tables import table_errors
from onefs.digests import digest64

if TYPE_CHECKING:
    import pyarrow as pa

AGGREGATES = "aggregates"
RESERVED = frozenset((alf.STATE_FOLDER, *alf.TABLE_NAMES, AGGREGATES))
"""Names at the root that no lab or subject may take."""


def read_sessions(file: Path, tally: LeftOutTally) -> list[Session]:
    """The sessions of a table that can stand in the tree, in tree order. Raises `TableError`."""
    with table_errors(file):
        read = [s for batch in columns.batches(file, SESSION_COLUMNS) for s in _sessions(batch, tally)]
    return standing(read, tally)


def standing(sessions: Iterable[Session], tally: LeftOutTally) -> list[Session]:
    """These sessions, each once, in tree order; those on one path in that of their eids."""
    by_eid: dict[UUID, Session] = {}
    # Sorted first, so that which of two rows stays does not hang on the order they come in.
    for session in sorted(sessions, key=_order):
        if by_eid.setdefault(session.eid, session) is not session:
            tally.add(Reason.SESSION_REPEATED, 1, [f"{session.eid} {session.path!r}"])
    return list(by_eid.values())


def firsts_of(sessions: Sequence[Session], *, aggregates: bool) -> NDArray[np.int32]:
    """For each row, in tree order, the first row of those on the same path."""
    firsts = list(range(len(sessions) + aggregates))
    for row in range(1, len(sessions)):
        if sessions[row].path == sessions[row - 1].path:
            firsts[row] = firsts[row - 1]
    return np.array(firsts, np.int32)


def _order(session: Session) -> tuple[bytes, bytes, str, str]:
    """Tree order, then eid. NUL is in no name and below every byte, so that the first is the order by parts."""
    path = session.path.replace("/", "\0").encode()
    return path, session.eid.bytes, session.task_protocol, session.projects


def _sessions(batch: "dict[str, list[pa.Array]]", tally: LeftOutTally) -> Iterator[Session]:
    ids, valid = columns.uuids(batch["id"])
    valid &= ids.any(axis=1)
    n = len(ids)
    labs, subjects, protocols, projects = (
        columns.texts(batch[name][0]) if name in batch else [""] * n
        for name in ("lab", "subject", "task_protocol", "projects")
    )
    days = columns.days(batch["date"][0], NO_DATE).tolist()
    numbers = columns.integers(batch["number"][0]).tolist()
    keys = zip(ids, valid.tolist(), strict=True)
    for (eid, good), lab, subject, day, number, protocol, names in zip(
        keys, labs, subjects, days, numbers, protocols, projects, strict=True
    ):
        reason = None if good else Reason.SESSION_ID
        reason = reason or refusal(lab, subject, _date(day), number)
        when = _date(day)
        if reason or when is None:
            text = f"{UUID(bytes=eid.tobytes())} lab {lab!r}, subject {subject!r}, date {when}, number {number}"
            tally.add(reason or Reason.SESSION_UNDATED, 1, [text])
            continue
        yield Session(UUID(bytes=eid.tobytes()), lab, subject, when, number, protocol, names)


@cache
def _date(day: int) -> date | None:
    try:
        return date.fromordinal(EPOCH + day)
    except (ValueError, OverflowError):
        return None


def refusal(lab: str, subject: str, day: date | None, number: int) -> Reason | None:
    """Why a session cannot stand in the tree, or None."""
    if day is None or not 0 <= number <= np.iinfo(np.uint16).max:
        return Reason.SESSION_UNDATED
    if not (_safe(subject) and (not lab or _safe(lab))):
        return Reason.SESSION_UNSAFE
    return Reason.SESSION_RESERVED if (lab or subject) in RESERVED else None


_safe = cache(alf.is_safe_part)


@dataclass(frozen=True, slots=True)
class Coded:
    """A column of repeated texts: the distinct ones sorted by their bytes, and a code per row."""

    texts: Strings
    codes: NDArray[np.int32]

    @classmethod
    def of(cls, values: Sequence[str]) -> "Coded":
        distinct = sorted(set(values), key=str.encode)
        code = {text: at for at, text in enumerate(distinct)}
        return cls(Strings.of(distinct), np.array([code[value] for value in values], np.int32))


def eids_of(sessions: Iterable[Session], *, aggregates: bool) -> NDArray[np.uint8]:
    """Eids of shape (n, 16), with a nil one at the end for the aggregates."""
    nil = [bytes(16)] if aggregates else []
    return np.frombuffer(b"".join(chain((s.eid.bytes for s in sessions), nil)), np.uint8).reshape(-1, 16)


def keys_of(eids: NDArray[np.uint8], by_eid: NDArray[np.int64]) -> U64:
    """A number below 2**34 for each session, computed from its eid; on a collision the lower eid goes first."""
    keys = np.empty(len(eids), np.uint64)
    keys[by_eid] = distinct_keys(combine(*words(eids[by_eid])), SESSION_BITS)
    return keys


def digests_of(sessions: Sequence[Session], *, aggregates: bool) -> U64:
    """A number for each session's own fields, whatever the order of its projects."""
    own = [digest64((s.eid.bytes, *(text.encode() for text in _told(s)))) for s in sessions]
    return np.array(own + [0] * aggregates, np.uint64)


def _told(session: Session) -> tuple[str, ...]:
    return session.path, session.task_protocol, ",".join(session.project_names)
