"""`ListedFiles`: the relative paths that cache tables list for a session, whichever lab they give it."""

from collections.abc import Iterable, Sequence
from datetime import date
from uuid import UUID

import numpy as np

from onefs.catalogue.finding import find_text
from onefs.catalogue.layout import EPOCH
from onefs.catalogue.mixing import find_ids, order_of_ids
from onefs.catalogue.snapshot import Snapshot


class ListedFiles:
    """The files that any of several tables list. For one thread.

    Looks up one session at a time; the sessions of one subject are best asked for one after the other.
    """

    def __init__(self, tables: Sequence[Snapshot]) -> None:
        self._tables = [_OneTable(each) for each in tables]

    def rel_paths(self, lab: str, subject: str, day: date, number: int) -> set[str] | None:
        """Relative paths of a session's datasets, existing or not; None if no table has the session.

        Without a lab, here or in a table, it is the session in any lab.
        """
        found = [paths for table in self._tables if (paths := table.rel_paths(lab, subject, day, number)) is not None]
        return set().union(*found) if found else None

    def unlisted(self, ids: Iterable[UUID]) -> list[UUID]:
        """The given dataset ids that no table lists, sorted. Reads the ids of all tables once."""
        wanted = np.frombuffer(b"".join(each.bytes for each in ids), np.uint8).reshape(-1, 16)
        wanted = wanted[order_of_ids(wanted)]
        wanted = wanted[np.append(True, (wanted[1:] != wanted[:-1]).any(axis=1))[: len(wanted)]]  # each once
        is_listed = np.zeros(len(wanted), bool)
        if len(wanted):
            for piece in (piece for table in self._tables for piece in table.snapshot.index.arrays.dataset_id.pieces()):
                rows = find_ids(piece, wanted)
                is_listed[rows[rows >= 0]] = True
        return [UUID(bytes=each.tobytes()) for each in wanted[~is_listed]]


class _OneTable:
    """The files that one pair of tables lists."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._subject = ""
        self._rows: dict[tuple[int, int], list[int]] = {}

    def rel_paths(self, lab: str, subject: str, day: date, number: int) -> set[str] | None:
        if subject != self._subject:
            self._subject, self._rows = subject, self._rows_of(subject)
        rows = self._rows.get((day.toordinal() - EPOCH, number), [])
        rows = [row for row in rows if not lab or self.snapshot.session(row).lab in ("", lab)]
        return {path for row in rows for path in self.snapshot.datasets(row).rel_paths} if rows else None

    def _rows_of(self, subject: str) -> dict[tuple[int, int], list[int]]:
        """Rows of a subject's sessions in all labs, by day and number."""
        arrays = self.snapshot.index.arrays
        code = find_text(arrays.subjects, subject, 0, len(arrays.subjects))
        rows = [] if code is None else np.flatnonzero(arrays.session_subject == code).tolist()
        found: dict[tuple[int, int], list[int]] = {}
        for row in rows:
            if row != self.snapshot.aggregates:
                key = int(arrays.session_date[row]), int(arrays.session_number[row])
                found.setdefault(key, []).append(row)
        return found
