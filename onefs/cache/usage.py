"""How many bytes a cache holds and its processes have reserved: tables in the state database.

Triggers on the table of copies keep the totals current, so nothing is counted when a mount starts. `Reservations` are
what one process has under way.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple
from uuid import UUID, uuid4

from onefs.cache.locks import has_ended, may_run_elsewhere, this_process
from onefs.cache.state import State
from onefs.forks import cached_property

GRAIN_BYTES = 4096
LARGEST_GRANT_BYTES = 64 << 20
GRANT_PARTS = 256
"""A process takes this part of the limit at once, so that a small file costs no transaction of its own."""
RENEWED_WITHIN_S = 600.0
"""What a process on another machine reserved is dropped if it was not renewed for so long."""
SCHEMA = """
PRAGMA recursive_triggers = ON;
CREATE INDEX IF NOT EXISTS fetched ON copies (last_use_s, id) WHERE source <> '';
CREATE VIEW IF NOT EXISTS footprints AS
    SELECT id, (size_bytes + 4095) / 4096 * 4096 + 4096 AS bytes,
        CASE WHEN instr(whole, '/') = instr(whole, '/Subjects/') THEN substr(whole, 1, instr(whole, '/') - 1) ELSE ''
        END AS lab
    FROM (SELECT *, session || '/' || path AS whole FROM copies) WHERE source <> '';
CREATE TABLE IF NOT EXISTS usage (lab TEXT PRIMARY KEY, files INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS copy_added AFTER INSERT ON copies BEGIN
    INSERT INTO usage SELECT lab, 1, bytes FROM footprints WHERE id = new.id
    ON CONFLICT (lab) DO UPDATE SET files = files + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER IF NOT EXISTS copy_removed BEFORE DELETE ON copies BEGIN
    UPDATE usage SET files = files - 1, bytes = bytes - (SELECT bytes FROM footprints WHERE id = old.id)
    WHERE lab = (SELECT lab FROM footprints WHERE id = old.id);
END;
CREATE TABLE IF NOT EXISTS reservations (
    process TEXT PRIMARY KEY, free_bytes INTEGER NOT NULL, parts TEXT NOT NULL, renewed_s REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS checks (id INTEGER PRIMARY KEY CHECK (id = 1), at_s REAL NOT NULL, took_s REAL NOT NULL);
"""
"""`usage` is of the copies that onefs fetched; `checks` tells when those were last compared with the disk. Without
recursive triggers a row that takes the place of another would be counted twice."""

COUNTED = "SELECT lab, count(*), sum(bytes) FROM footprints GROUP BY lab"


class LabUsage(NamedTuple):
    """Complete files in the cache that onefs fetched, and the bytes that they take of the disk."""

    size_bytes: int = 0
    files: int = 0


class PartBytes(NamedTuple):
    """Bytes of an incomplete file: `there` when a process began to write to it, and `taken` for what it adds."""

    there: int
    taken: int


@dataclass(frozen=True, slots=True)
class Reserved:
    """What a process has reserved: bytes that it may take, and those that it took, by incomplete file."""

    free_bytes: int = 0
    parts: Mapping[UUID, PartBytes] = field(default_factory=dict)


def footprint(size_bytes: int) -> int:
    """Bytes of the disk that a complete file takes, with what is noted of it."""
    return -(-size_bytes // GRAIN_BYTES) * GRAIN_BYTES + GRAIN_BYTES


def usage_of_copies(connection: sqlite3.Connection) -> LabUsage:
    """The complete files of all labs together."""
    size_bytes, files = connection.execute("SELECT total(bytes), total(files) FROM usage").fetchone()
    return LabUsage(int(size_bytes), int(files))


def usage_by_lab(connection: sqlite3.Connection) -> list[tuple[str, LabUsage]]:
    """The labs that have complete files in the cache, the largest first; "" stands for files of no lab."""
    rows = connection.execute("SELECT lab, bytes, files FROM usage WHERE files > 0 ORDER BY bytes DESC, lab")
    return [(lab, LabUsage(size_bytes, files)) for lab, size_bytes, files in rows]


def is_usage_right(connection: sqlite3.Connection) -> bool:
    """Whether the totals are those of the copies."""
    noted = connection.execute("SELECT lab, files, bytes FROM usage WHERE files <> 0 OR bytes <> 0")
    return {*connection.execute(COUNTED)} == {*noted}


def count_usage(connection: sqlite3.Connection) -> None:
    """Count the copies anew, as damage of the database may have changed the totals."""
    connection.execute("DELETE FROM usage")
    connection.execute(f"INSERT INTO usage {COUNTED}")


def pinned_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of the complete files that are pinned."""
    return int(connection.execute("SELECT total(bytes) FROM footprints JOIN pins USING (id)").fetchone()[0])


def checked(connection: sqlite3.Connection) -> tuple[float, float]:
    """When the table of copies was last compared with the disk, and how many seconds that took; zeros if never."""
    found: tuple[float, float] | None = connection.execute("SELECT at_s, took_s FROM checks").fetchone()
    return found or (0.0, 0.0)


def put_checked(connection: sqlite3.Connection, at_s: float, took_s: float) -> None:
    """Note such a comparison."""
    connection.execute("REPLACE INTO checks VALUES (1, ?, ?)", (at_s, took_s))


def put_reserved(connection: sqlite3.Connection, process: str, reserved: Reserved) -> None:
    """Note what a process has reserved, in the place of what it had."""
    parts = {str(dataset_id): part for dataset_id, part in reserved.parts.items()}
    row = (process, reserved.free_bytes, json.dumps(parts), time.time())
    connection.execute("REPLACE INTO reservations VALUES (?, ?, ?, ?)", row)


def forget_reserved(connection: sqlite3.Connection, process: str) -> None:
    """Drop what a process had reserved."""
    connection.execute("DELETE FROM reservations WHERE process = ?", (process,))


def forget_ended(connection: sqlite3.Connection) -> None:
    """Drop what processes had reserved that have ended without giving it back."""
    now_s = time.time()
    for row, renewed_s in connection.execute("SELECT process, renewed_s FROM reservations").fetchall():
        process = row.partition(" ")[2]
        if has_ended(process) or (may_run_elsewhere(process) and abs(now_s - renewed_s) > RENEWED_WITHIN_S):
            forget_reserved(connection, row)


def reserved_by_others(connection: sqlite3.Connection, process: str) -> list[Reserved]:
    """What other processes have reserved."""
    found: list[Reserved] = []
    query = "SELECT free_bytes, parts FROM reservations WHERE process <> ?"
    for free_bytes, parts in connection.execute(query, (process,)):
        with suppress(ValueError, TypeError, AttributeError):
            told = {UUID(dataset_id): PartBytes(*map(int, part)) for dataset_id, part in json.loads(parts).items()}
            found.append(Reserved(int(free_bytes), told))
    return found


def bytes_of_parts(on_disk: Mapping[UUID, int], reserved: Iterable[Reserved]) -> int:
    """Bytes of incomplete files, given those on the disk: with what was taken for them and is not written yet."""
    there, taken = dict[UUID, int](), dict[UUID, int]()
    for each in reserved:
        for dataset_id, part in each.parts.items():
            there[dataset_id] = max(part.there, there.get(dataset_id, 0))
            taken[dataset_id] = part.taken + taken.get(dataset_id, 0)
    return sum(
        max(size_bytes, min(there.get(dataset_id, 0), size_bytes) + taken.get(dataset_id, 0))
        for dataset_id, size_bytes in ({**dict.fromkeys(taken, 0), **on_disk}).items()
    )


@dataclass(eq=False, slots=True)
class Taken:
    """Bytes for an incomplete file: `there_bytes` were on the disk before, `taken_bytes` are, or are about to be.

    Others wait for one that `comes_whole`, as it can be evicted once it came.
    """

    dataset_id: UUID
    there_bytes: int
    comes_whole: bool
    evicts: bool = True
    taken_bytes: int = 0


class Reservations:
    """What this process has reserved: noted in the database, where others see it. Safe to use from several threads.

    Without a limit (0) nothing is noted.
    """

    def __init__(self, limit_bytes: int, state: State) -> None:
        self._limit_bytes = limit_bytes
        self._grant_bytes = min(limit_bytes // GRANT_PARTS, LARGEST_GRANT_BYTES)
        self._state = state
        self._asking = threading.Lock()  # one asks the database for all threads; taken before the other
        self._lock = threading.Lock()  # guards all below, and what is taken for each file
        self._free_bytes = 0
        self._live: set[Taken] = set()
        self._is_closed = False
        state.add_schema(SCHEMA)

    @cached_property
    def _process(self) -> str:
        """What this process is called there: found out when it is needed, as mounts fork at the start."""
        return f"{uuid4().hex} {this_process()}"

    @property
    def is_any_whole(self) -> bool:
        """Whether a file is on its way that comes whole."""
        with self._lock:
            return any(each.comes_whole for each in self._live)

    def take(self, file: Taken, size_bytes: int) -> bool:
        """Take bytes that were granted before; False if those are too few."""
        with self._lock:
            if self._limit_bytes:
                if self._free_bytes < size_bytes:
                    return False
                self._free_bytes -= size_bytes
            file.taken_bytes += size_bytes
            self._live.add(file)
        return True

    def ask(self, file: Taken, size_bytes: int, parts: Mapping[UUID, int]) -> tuple[int, int]:
        """Have bytes granted and take them; how many must go first, if not 0, and how many are used then.

        `parts` are the bytes of incomplete files on the disk.
        """
        used_bytes = 0
        with self._asking:
            while not self.take(file, size_bytes):
                granted_bytes, used_bytes = self._state.write(
                    partial(self._grant, file=file, size_bytes=size_bytes, parts=parts)
                )
                if granted_bytes < 0:
                    return -granted_bytes, used_bytes
                with self._lock:
                    self._free_bytes += granted_bytes
        return 0, used_bytes

    def give_back(self, file: Taken, size_bytes: int) -> None:
        """Bytes that were taken were not written."""
        with self._lock:
            self._give_back(file, size_bytes)

    def end(self, file: Taken, kept_bytes: int) -> None:
        """So many bytes stay on the disk, as a complete file or for another try."""
        with self._lock:
            if file not in self._live:
                return
            self._live.discard(file)
            kept_now_bytes = min(file.taken_bytes, max(0, kept_bytes - file.there_bytes))
            self._give_back(file, file.taken_bytes - kept_now_bytes)
            file.there_bytes, file.taken_bytes = kept_bytes, 0
        if self._limit_bytes and not self._is_closed:
            # Queued after the file's own row, and as things are now: so no file is ever in neither of both.
            change = partial(put_reserved, process=self._process, reserved=self.reserved())
            self._state.write_later(change, self._process)

    def reserved(self) -> Reserved:
        """What this process has reserved."""
        parts: dict[UUID, PartBytes] = {}
        with self._lock:
            for each in self._live:
                other = parts.get(each.dataset_id, PartBytes(0, 0))
                there_bytes = max(each.there_bytes, other.there)
                parts[each.dataset_id] = PartBytes(there_bytes, each.taken_bytes + other.taken)
            return Reserved(self._free_bytes, parts)

    def totals(self, connection: sqlite3.Connection) -> tuple[LabUsage, list[Reserved]]:
        """The complete files in the cache, and what each process has reserved."""
        return usage_of_copies(connection), [*reserved_by_others(connection, self._process), self.reserved()]

    def close(self) -> None:
        """Give all back."""
        self._is_closed = True
        if self._limit_bytes:
            self._state.write_later(partial(forget_reserved, process=self._process), self._process)

    def _give_back(self, file: Taken, size_bytes: int) -> None:
        file.taken_bytes -= size_bytes
        if self._limit_bytes:
            self._free_bytes += size_bytes
            if self._free_bytes > 2 * self._grant_bytes:
                self._free_bytes = self._grant_bytes

    def _grant(
        self, connection: sqlite3.Connection, file: Taken, size_bytes: int, parts: Mapping[UUID, int]
    ) -> tuple[int, int]:
        """Bytes that are granted (negative: so many must go first), and those used then. May be done again."""
        forget_ended(connection)
        copies, reserved = self.totals(connection)
        own = reserved[-1]
        used_bytes = copies.size_bytes + bytes_of_parts(parts, reserved) + sum(each.free_bytes for each in reserved)
        missing_bytes = max(0, size_bytes - own.free_bytes)
        room_bytes = self._limit_bytes - used_bytes
        if room_bytes < missing_bytes:
            return room_bytes - missing_bytes, used_bytes
        granted_bytes = min(room_bytes, max(missing_bytes, self._grant_bytes))
        before = own.parts.get(file.dataset_id, PartBytes(file.there_bytes, 0))
        taken = {**own.parts, file.dataset_id: PartBytes(before.there, before.taken + size_bytes)}
        put_reserved(connection, self._process, Reserved(own.free_bytes + granted_bytes - size_bytes, taken))
        return granted_bytes, used_bytes + granted_bytes
