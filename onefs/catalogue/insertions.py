"""Owns the optional table of probe insertions, which is read when it is first asked for."""

import logging
import threading
from pathlib import Path
from uuid import UUID

from onefs.catalogue import columns
from onefs.catalogue.schema import INSERTION_COLUMNS
from onefs.catalogue.tables import read_metadata, table_errors
from onefs.errors import TableError

NAME = "insertions.pqt"
_log = logging.getLogger(__name__)

Insertion = tuple[UUID, str]
"""The eid of an insertion's session, and the insertion's name."""


class Insertions:
    """The insertions beside a pair of cache tables; none if there is no such table. For several threads at once."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / NAME
        self._lock = threading.Lock()  # guards _known; held while the table is read
        self._known: dict[UUID, Insertion] | None = None

    def find(self, pid: UUID) -> Insertion | None:
        """The session and name of an insertion."""
        with self._lock:
            if self._known is None:
                self._known = self._read()
            return self._known.get(pid)

    def _read(self) -> dict[UUID, Insertion]:
        """All insertions. A table that cannot be used is warned about, once, and counts as none."""
        try:
            with table_errors(self._file):
                if not self._file.exists():
                    return {}
            read_metadata(self._file)
            return _rows(self._file)
        except TableError as error:
            _log.warning("%s Insertions are not known. %s", error.reason, error.remedy)
            return {}


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
