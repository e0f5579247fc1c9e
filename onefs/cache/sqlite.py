"""SQLite connections as the cache uses them, what their errors mean, and locks on files beside theirs."""

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

T = TypeVar("T")
BUSY_S = 1.0
ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite raises; the latter where a name that is damaged is no text."""
DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_IOERR_SHORT_READ}
"""Errors that surely come from what is in a file."""
NOT_DAMAGED = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOLFS,
}  # fmt: skip
"""Errors that surely do not. What others come from, a look at the file tells."""


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection for any thread, without transactions of its own. `mode` is as in an SQLite URI."""
    uri = f"file:{quote(os.fspath(path))}?{mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    connection.text_factory = _text
    connection.execute("PRAGMA mmap_size = 0")
    return connection


def _text(data: bytes) -> str:
    return data.decode(errors="replace")  # a row that is damaged is found by its checksum


def transact(connection: sqlite3.Connection, change: Callable[[sqlite3.Connection], T]) -> T:
    """Make a change in one transaction, or none of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = change(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise
    return result


def copy_rows(source: sqlite3.Connection, target: sqlite3.Connection, tables: tuple[str, ...]) -> None:
    """Copy the rows of tables into another database, in the place of those with the same key."""
    for table in tables:
        for row in source.execute(f"SELECT * FROM {table}"):  # noqa: S608
            target.execute(f"REPLACE INTO {table} VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608


def is_damage(error: Exception) -> bool:
    """Whether an error may come from what is in the file."""
    code = getattr(error, "sqlite_errorcode", None)  # none if the text in it is no text
    return code is None or code in DAMAGED or (code & 0xFF) not in NOT_DAMAGED


def lock_file(number: int) -> None:
    """Lock a file against other processes; where the disk has no locks, whoever is last decides."""
    until_s = time.monotonic() + BUSY_S
    while True:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until_s:
                raise
            time.sleep(BUSY_S / 20)
        except OSError:
            return
        else:
            return


def is_mistake(error: Exception, connection: sqlite3.Connection, schemas: list[str]) -> bool:
    """Whether a statement is to blame for an error, as all is sound in a database that has the tables of `schemas`."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None or code in DAMAGED or (code & 0xFF) in NOT_DAMAGED:
        return isinstance(error, sqlite3.ProgrammingError)
    query = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
    try:
        with closing(sqlite3.connect(":memory:")) as pattern:
            for schema in schemas:
                pattern.executescript(schema)
            missing = {*pattern.execute(query)} - {*connection.execute(query)}
        return not missing and connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    except ERRORS:
        return False
