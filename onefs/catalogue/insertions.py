"""The optional table of probe insertions, read when it is first asked for."""

import logging
from pathlib import Path
from uuid import UUID

from onefs.alf import INSERTIONS_NAME
from onefs.catalogue import columns
from onefs.catalogue.schema import INSERTION_COLUMNS
from onefs.catalogue.tables import read_metadata, table_errors
from onefs.errors import TableError, again
from onefs.forks import new_lock

_log = logging.getLogger(__name__)

Insertion = tuple[UUID, str]
"""The eid of an insertion's session, and the insertion's name."""


class Insertions:
    """The insertions beside a pair of cache tables, and those learned since. Safe to use from several threads."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / INSERTIONS_NAME
        self._lock = new_lock()  # guards those below; held while the table is read
        self._known: dict[UUID, Insertion] | None = None
        self._failure: TableError | None = None  # why the table could not be read

    def find(self, pid: UUID) -> Insertion | None:
        """The session and name of an insertion.

        Raises `TableError` if it is not known because the table cannot be used.
        """
        with self._lock:
            found = self._all().get(pid)
            if found is None and self._failure is not None:
                raise again(self._failure)
            return found

    def learn(self, pid: UUID, eid: UUID, name: str) -> None:
        """Add an insertion that the table does not have."""
        with self._lock:
            self._all().setdefault(pid, (eid, name))

    def of_session(self, eid: UUID) -> list[tuple[str, UUID]]:
        """Names and ids of a session's insertions, sorted."""
        with self._lock:
            return sorted((name, pid) for pid, (of, name) in self._all().items() if of == eid)

    def _all(self) -> dict[UUID, Insertion]:
        if self._known is None:
            try:
                self._known = _read(self._file) or {}
            except TableError as error:
                _warn(error)
                self._known, self._failure = {}, error
        return self._known


def read_insertions(file: Path) -> dict[UUID, Insertion] | None:
    """All insertions of a table. None if there is no such table, or if it cannot be used, which is warned about."""
    try:
        return _read(file)
    except TableError as error:
        _warn(error)
        return None


def _read(file: Path) -> dict[UUID, Insertion] | None:
    """All insertions of a table, None if there is no such table. Raises `TableError` if it cannot be used."""
    with table_errors(file):
        if not file.exists():
            return None
    read_metadata(file)
    return _rows(file)


def _warn(error: TableError) -> None:
    _log.warning("%s Insertions are not known. %s", error.reason, error.remedy)


def _rows(file: Path) -> dict[UUID, Insertion]:
    known = {}
    with table_errors(file):
        for batch in columns.batches(file, INSERTION_COLUMNS):
            pids, has_pid = columns.uuids(batch["id"])
            eids, has_eid = columns.uuids(batch["eid"])
            usable = has_pid & pids.any(axis=1) & has_eid & eids.any(axis=1)
            names = columns.texts(batch["name"][0])
            for pid, eid, name, good in zip(pids, eids, names, usable.tolist(), strict=True):
                if good:
                    known[UUID(bytes=pid.tobytes())] = UUID(bytes=eid.tobytes()), name
    columns.release()
    return known
