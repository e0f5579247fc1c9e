"""`State`: what onefs knows of a cache beyond its files: which are verified, pinned or used, and which failed."""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

from onefs.cache.batches import Batches
from onefs.cache.database import Database
from onefs.cache.records_ahead import FileInFolder, RecordsAhead
from onefs.cache.sync import Syncer
from onefs.cache.takeover import OldState
from onefs.cache.verify import CopyRecord, Stamp, record_of, row_of, stamp_of, wanted
from onefs.catalogue.records import Dataset
from onefs.errors import CacheDamagedError

KEPT_IN_MEMORY = 200_000
URGENT_BYTES = 1 << 17
"""Before a larger file gets its name its row is written, as it must still be evicted if this process is killed."""
URGENT_WAIT_S = 0.05
AGAIN_AFTER_S = 15.0
ROWS_AT_ONCE = 1000
SCHEMA = """
CREATE TABLE IF NOT EXISTS copies (
    id BLOB PRIMARY KEY, eid BLOB, session TEXT NOT NULL, path TEXT NOT NULL,
    size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,
    md5 TEXT NOT NULL, accepted TEXT NOT NULL, source TEXT NOT NULL,
    run TEXT NOT NULL, synced INTEGER NOT NULL, checksum INTEGER NOT NULL, last_use_s REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS unsynced ON copies (run) WHERE NOT synced;
CREATE TABLE IF NOT EXISTS pins (id BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS quarantine (
    id BLOB PRIMARY KEY, wanted TEXT NOT NULL, reason TEXT NOT NULL, remedy TEXT NOT NULL,
    times INTEGER NOT NULL, until_s REAL NOT NULL
) WITHOUT ROWID;
"""
"""`run` names a boot and a mount. `checksum` is over the columns before it. Files of other programs have no source."""
PUT_COPY = "REPLACE INTO copies VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class QuarantineRecord:
    """Why a dataset is in quarantine, how often it failed so, and for how long not to ask again."""

    reason: str
    remedy: str
    times: int
    left_s: float


class State(Batches):
    """The state of a cache, in a database below `folder`; `data_dir` is where the files are.

    Safe to use from several threads; processes of one user share the database. What is told of copies counts at once
    here, and is written in batches.
    """

    def __init__(
        self,
        folder: Path,
        data_dir: Path,
        *,
        follows_links: bool = False,
        again_after_s: float = AGAIN_AFTER_S,
        most_in_memory: int = KEPT_IN_MEMORY,
    ) -> None:
        """After `again_after_s` a database that could not be used is tried again."""
        super().__init__(Database(folder, SCHEMA, ("copies", "quarantine"), "pins", again_after_s))
        self._old = OldState(folder, data_dir)
        self._syncer = Syncer(self, data_dir, follows_links=follows_links)
        self._most_in_memory = most_in_memory
        self._uses: dict[UUID, float] = {}
        self._lock = threading.Lock()  # guards changes of the next
        self._known: dict[UUID, Stamp | None] = {}
        self._ahead = RecordsAhead()
        self._taking_over = threading.Lock()

    def begin_anew(self) -> None:
        """Leave what was to be written to the parent of this process."""
        self._uses = {}
        self._lock, self._taking_over = threading.Lock(), threading.Lock()
        self._syncer.begin_anew()
        super().begin_anew()

    @property
    def run(self) -> str:
        """Names this boot of the machine and this mount of the cache: what another wrote may not be on disk."""
        return self._syncer.run

    # -- copies ------------------------------------------------------------------------------------------------------

    def stamp(self, dataset_id: UUID, file: FileInFolder | None = None) -> Stamp | None:
        """The stamp of a dataset's copy, from memory after the first time.

        With `file`, the stamps that may be wanted next are read too.
        """
        try:
            return self._known[dataset_id]
        except KeyError:
            if file is not None:
                self._read_ahead(self._ahead.ids(file))
            return self._known.get(dataset_id) or self.reload(dataset_id)

    def _read_ahead(self, ids: Sequence[UUID]) -> None:
        unknown = {each.bytes: each for each in ids if each not in self._known and not self.is_pending(each)}
        marks = ", ".join("?" * len(unknown))
        query = f"SELECT * FROM copies WHERE id IN ({marks})"  # noqa: S608
        for row in self._database.look_up(query, tuple(unknown)) if unknown else ():
            dataset_id, stamp = unknown[row[0]], stamp_of(row, self.run)
            with self._lock:
                if stamp is not None and dataset_id not in self._known:
                    self._remember(dataset_id, stamp)

    def reload(self, dataset_id: UUID) -> Stamp | None:
        """The stamp as it is in the database now, where another process may have written it."""
        known = self._known.get(dataset_id)
        if self.is_pending(dataset_id):
            return known
        rows = self._database.look_up("SELECT * FROM copies WHERE id = ?", (dataset_id.bytes,))
        found = stamp_of(rows[0], self.run) if rows else self._old.stamp(dataset_id)
        with self._lock:
            if self._known.get(dataset_id) is not known:
                return self._known.get(dataset_id)  # which is newer
            # What could not be written still counts here: it vouches for one file only, by its signature.
            stamp = found or known
            self._remember(dataset_id, stamp)
        return stamp

    def put(self, dataset: Dataset, stamp: Stamp) -> None:
        """Vouch for a dataset's file: at once in this process, soon for others, and for good once it is synced."""
        with self._lock:
            self._remember(dataset.id, stamp)
        self._put_later(dataset, stamp)
        self._syncer.note()

    def expect(self, dataset: Dataset, stamp: Stamp) -> None:
        """Tell of a file that is about to get its name, so that onefs may evict it even if this process is killed.

        Small ones are told of once they have it: what is not written of them is little.
        """
        if stamp.signature.size_bytes >= URGENT_BYTES:
            self._put_later(dataset, stamp)
            self.flush_batch(URGENT_WAIT_S)

    def _put_later(self, dataset: Dataset, stamp: Stamp) -> None:
        row = row_of(CopyRecord(dataset, stamp, time.time()), self.run)
        self.write_later(lambda connection: connection.execute(PUT_COPY, row), dataset.id)

    def drop(self, dataset_id: UUID) -> None:
        """Forget a dataset's copy."""
        with self._lock:
            self._remember(dataset_id, None)
        self._old.forget(dataset_id)
        self.write_later(
            lambda connection: connection.execute("DELETE FROM copies WHERE id = ?", (dataset_id.bytes,)), dataset_id
        )

    def copy(self, dataset_id: UUID) -> CopyRecord | None:
        """What is recorded of a dataset's copy."""
        rows = self._rows("SELECT * FROM copies WHERE id = ?", dataset_id.bytes)
        return record_of(rows[0], self.run) if rows else self._old.find(dataset_id)

    def copies(self, *, fetched_only: bool = False) -> Iterator[CopyRecord]:
        """What is recorded of all copies, or of those that onefs fetched, by id."""
        self.take_over()
        fetched = "AND source <> ''" if fetched_only else ""
        query = f"SELECT * FROM copies WHERE id > ? {fetched} ORDER BY id LIMIT {ROWS_AT_ONCE}"  # noqa: S608
        rows = self._rows(query, b"")
        while rows:
            yield from (record for row in rows if (record := record_of(row, self.run)) is not None)
            rows = self._rows(query, rows[-1][0])

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self.read(lambda connection: connection.execute(query, values).fetchall())

    def use(self, dataset_id: UUID) -> None:
        """Somebody uses a dataset now: remembered at once, and written after a while."""
        self._uses[dataset_id] = time.time()
        self._start()

    def recent_use_s(self, dataset_id: UUID) -> float:
        """When a dataset was last used here, in seconds since the epoch, if that is not written yet; else 0."""
        return self._uses.get(dataset_id, 0.0)

    def write_uses(self) -> None:
        """Have the recent uses written soon, and found by what is read from the database."""
        uses, self._uses = self._uses, {}
        if uses:
            change = "UPDATE copies SET last_use_s = max(last_use_s, ?) WHERE id = ?"
            rows = [(at_s, dataset_id.bytes) for dataset_id, at_s in uses.items()]
            self.write_later(lambda connection: connection.executemany(change, rows))

    # -- pins and quarantine -----------------------------------------------------------------------------------------

    def pin(self, dataset_id: UUID) -> None:
        """Pin a dataset for all processes, whether it is in the cache or not. Raises CacheDamagedError."""
        self._change_pin("REPLACE INTO pins VALUES (?)", dataset_id)

    def unpin(self, dataset_id: UUID) -> None:
        """Pin it no longer. Raises CacheDamagedError."""
        self._change_pin("DELETE FROM pins WHERE id = ?", dataset_id)

    def is_pinned(self, dataset_id: UUID) -> bool:
        """Whether it is pinned, by whatever process."""
        self._take_over_pins()
        return bool(self._database.look_up("SELECT 1 FROM pins WHERE id = ?", (dataset_id.bytes,)))

    def pinned(self) -> set[str]:
        """The ids of all that are pinned, as text."""
        self._take_over_pins()
        return {str(UUID(bytes=row[0])) for row in self._rows("SELECT id FROM pins WHERE length(id) = 16")}

    def _change_pin(self, change: str, dataset_id: UUID) -> None:
        def apply(connection: sqlite3.Connection) -> None:
            if not self._database.is_kept:
                raise CacheDamagedError(
                    f"The pin cannot be recorded: the state in {self._database.folder} cannot be written.",
                    "Have room on that disk, and give the user who mounts write access to that folder.",
                )
            connection.execute(change, (dataset_id.bytes,))

        self._take_over_pins()
        self.write(apply)

    def record_quarantine(self, dataset: Dataset, record: QuarantineRecord) -> None:
        """Remember across restarts that no location gives the right bytes."""
        until_s = time.time() + record.left_s
        row = (dataset.id.bytes, wanted(dataset), record.reason, record.remedy, record.times, until_s)
        self.write(lambda connection: connection.execute("REPLACE INTO quarantine VALUES (?, ?, ?, ?, ?, ?)", row))

    def quarantine_of(self, dataset: Dataset) -> QuarantineRecord | None:
        """Why a dataset is in quarantine; None if it is not, or the catalogue has changed since."""
        query = "SELECT reason, remedy, times, until_s FROM quarantine WHERE id = ? AND wanted = ?"
        for reason, remedy, times, until_s in self._database.look_up(query, (dataset.id.bytes, wanted(dataset))):
            return QuarantineRecord(reason, remedy, times, until_s - time.time())
        return None

    def forget_quarantine(self, dataset: Dataset | None) -> None:
        """Drop the record of a dataset, or all records."""
        if dataset is None:
            self.write(lambda connection: connection.execute("DELETE FROM quarantine"))
        elif self._database.look_up("SELECT 1 FROM quarantine WHERE id = ?", (dataset.id.bytes,)):
            values = (dataset.id.bytes,)
            self.write(lambda connection: connection.execute("DELETE FROM quarantine WHERE id = ?", values))

    # -- the database ------------------------------------------------------------------------------------------------

    def flush(self, timeout_s: float | None = None) -> bool:
        """Have all written and all files synced; False if that took longer."""
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        self.write_uses()
        if not self.flush_batch(timeout_s):
            return False
        return self._syncer.flush(None if until_s is None else max(0.0, until_s - time.monotonic()))

    def close(self, timeout_s: float) -> None:
        """Write and sync what waits, for so long at most, and end the threads."""
        is_flushed = self.flush(timeout_s)
        self.end()
        if is_flushed:  # else the disk is stalled
            self._database.close()
        self._syncer.close()

    def take_over(self) -> None:
        """Take over what onefs kept before there was a database."""
        with self._taking_over:
            if not self._old.is_there:
                return
            self._take_over_pins()
            add, records = PUT_COPY.replace("REPLACE", "INSERT OR IGNORE"), self._old.copies()
            while rows := [
                row_of(each, self.run, synced=bool(each.stamp.md5)) for each in islice(records, ROWS_AT_ONCE)
            ]:
                self.write(lambda connection: connection.executemany(add, rows))
            if self._database.is_kept:
                self._database.close()  # which brings it to the disk
                self._old.remove()

    def _take_over_pins(self) -> None:
        pins = [(dataset_id.bytes,) for dataset_id in self._old.pins()] if self._old.is_there else []
        if pins:
            self.write(lambda connection: connection.executemany("REPLACE INTO pins VALUES (?)", pins))
            if self._database.is_kept:
                self._old.remove_pins()

    # -- what its thread does ----------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        self.take_over()
        self._database.write(lambda connection: connection.in_transaction)  # so that it is there once it is needed
        self._syncer.note()  # what a process left that was killed

    def _idle(self) -> None:
        self.write_uses()

    def _remember(self, dataset_id: UUID, stamp: Stamp | None) -> None:
        self._known.pop(dataset_id, None)
        self._known[dataset_id] = stamp
        if len(self._known) > self._most_in_memory:
            del self._known[next(iter(self._known))]
