"""Part files of all processes of a user: `PartRecords`, which blocks of each are there, and the locks on the files.

A part file is locked while it is open, so that no process evicts it, and each of its blocks while it is fetched.
"""

import errno
import fcntl
import os
import sqlite3
import struct
import time
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from onefs.cache.state import State

BLOCKS_ENDING = ".blocks"
"""The end of the name of a file that is fetched by blocks. It is marked while it is open."""
HELD = (errno.EACCES, errno.EAGAIN)
OPEN_BYTE = 1 << 62
"""This byte of a file is locked while the file is open; those below it stand for its blocks."""
SURELY_CLOSED_S = 86400.0
"""Where the file system has no such locks, a file that was not changed for so long counts as closed."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS part (
    dataset BLOB PRIMARY KEY, key TEXT, wanted TEXT, source TEXT, edition TEXT, block_bytes INTEGER, inode INTEGER,
    run TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS block (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, part TEXT, block INTEGER, crc INTEGER, synced INTEGER,
    UNIQUE (part, block)
);
"""
"""`part.key` is a random name of the file, so that late notes of one that was dropped are never taken for another's.
A block that is not synced counts in one run of the machine: a killed process leaves its bytes in the kernel's cache, a
power loss may take them. What damage of the database makes of a block, its checksum (CRC-32) tells."""
NOTE = """INSERT INTO block (part, block, crc, synced) VALUES (?, ?, ?, 0)
    ON CONFLICT (part, block) DO UPDATE SET crc = excluded.crc, synced = 0 WHERE crc <> excluded.crc"""
"""A block whose bytes were found damaged came once more."""
FORGET_BLOCKS = "DELETE FROM block WHERE part IN (SELECT key FROM part WHERE dataset = ? AND key != ?)"


class PartRecord(NamedTuple):
    """A file that is not whole. `wanted` is the catalogue's hash and size of the dataset at the time."""

    key: str
    wanted: str
    source: str
    edition: str
    block_bytes: int
    inode: int


class PartRecords:
    """The records of files that are not whole, in the state database. Safe to use from several threads."""

    def __init__(self, state: State) -> None:
        self._state = state
        state.add_schema(SCHEMA)

    def find(self, dataset_id: UUID) -> PartRecord | None:
        """The record of a dataset's file; None if there is none. Drops blocks that a power loss may have taken."""
        query = "SELECT key, wanted, source, edition, block_bytes, inode, run FROM part WHERE dataset = ?"
        row = self._state.read(lambda database: database.execute(query, (dataset_id.bytes,)).fetchone())
        if row is None:
            return None
        if row[6] != self._state.run:
            self._state.write(lambda database: _drop_unsynced(database, dataset_id, row[0], self._state.run))
        return PartRecord(*row[:6])

    def put(self, dataset_id: UUID, record: PartRecord) -> None:
        """Note the record of a dataset's file, without waiting; blocks of another file of it are forgotten."""
        row = (dataset_id.bytes, *record, self._state.run)

        def put(database: sqlite3.Connection) -> None:
            database.execute(FORGET_BLOCKS, (dataset_id.bytes, record.key))
            database.execute("INSERT OR REPLACE INTO part VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

        self._state.write_later(put)

    def forget(self, dataset_id: UUID) -> None:
        """Drop the record of a dataset's file, and its blocks. Does not wait for the disk."""

        def forget(database: sqlite3.Connection) -> None:
            database.execute(FORGET_BLOCKS, (dataset_id.bytes, ""))
            database.execute("DELETE FROM part WHERE dataset = ?", (dataset_id.bytes,))

        self._state.write_later(forget)

    def add(self, key: str, checksums: dict[int, int]) -> None:
        """Note blocks whose bytes were written, with their checksums. Does not wait for the disk."""
        rows = [(key, block, crc) for block, crc in checksums.items()]
        self._state.write_later(lambda database: database.executemany(NOTE, rows), is_urgent=True)

    def blocks_since(self, key: str, seq: int) -> tuple[int, dict[int, int]]:
        """The blocks that were noted after `seq`, by whatever process, with their checksums; and the last `seq`."""
        query = "SELECT seq, block, crc FROM block WHERE part = ? AND seq > ? ORDER BY seq"
        rows = self._state.read(lambda database: database.execute(query, (key, seq)).fetchall())
        return (rows[-1][0] if rows else seq), {block: crc for _, block, crc in rows}

    def flush(self) -> None:
        """Write what was noted."""
        self._state.read(lambda database: database.execute("SELECT 1"))

    def mark_synced(self, key: str, checksums: dict[int, int]) -> None:
        """Note blocks that would outlive a power loss."""
        rows = [(key, block, crc) for block, crc in checksums.items()]

        def mark(database: sqlite3.Connection) -> None:
            database.executemany(NOTE, rows)
            database.executemany("UPDATE block SET synced = 1 WHERE part = ? AND block = ? AND crc = ?", rows)

        self._state.write(mark)


def _drop_unsynced(database: sqlite3.Connection, dataset_id: UUID, key: str, run: str) -> None:
    database.execute("DELETE FROM block WHERE part = ? AND NOT synced", (key,))
    database.execute("UPDATE part SET run = ? WHERE dataset = ?", (run, dataset_id.bytes))


def mark_open(number: int) -> None:
    """Mark a file as open until this descriptor is closed, where the file system has such locks."""
    try:
        fcntl.fcntl(number, fcntl.F_OFD_SETLK, _lock(fcntl.F_RDLCK, OPEN_BYTE, 1))
    except OSError:
        return  # then its age alone protects it


def is_open(path: Path, *, sees_all: bool = True) -> bool:
    """Whether a process has the file open, or may have. Raises OSError.

    Without `sees_all`, marks made on other machines are not seen here.
    """
    number = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.fcntl(number, fcntl.F_OFD_SETLK, _lock(fcntl.F_WRLCK, OPEN_BYTE, 1))
        return not sees_all and _is_young(number)
    except OSError as error:
        return error.errno in HELD or _is_young(number)
    finally:
        os.close(number)


def _is_young(number: int) -> bool:
    return abs(time.time() - os.fstat(number).st_mtime) < SURELY_CLOSED_S


def claim(number: int, blocks: range) -> range:
    """Lock the blocks of a file up to the first that another process fetches, and return them. Raises OSError."""
    while blocks:
        try:
            fcntl.fcntl(number, fcntl.F_OFD_SETLK, _lock(fcntl.F_WRLCK, blocks.start, len(blocks)))
            break
        except OSError as error:
            if error.errno not in HELD:
                break  # a disk without locks: both fetch them
        held = fcntl.fcntl(number, fcntl.F_OFD_GETLK, _lock(fcntl.F_WRLCK, blocks.start, len(blocks)))
        kind, _, start, _, _ = struct.unpack("hhqqi", held)
        if kind != fcntl.F_UNLCK:
            blocks = range(blocks.start, max(blocks.start, min(start, blocks.stop)))
    return blocks


def release(number: int, blocks: range) -> None:
    """Let other processes fetch these blocks. Raises OSError."""
    if blocks:
        fcntl.fcntl(number, fcntl.F_OFD_SETLK, _lock(fcntl.F_UNLCK, blocks.start, len(blocks)))


def _lock(kind: int, start: int, size: int) -> bytes:
    """A `struct flock`."""
    return struct.pack("hhqqi", kind, os.SEEK_SET, start, size, 0)
