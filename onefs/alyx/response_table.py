"""The table of cached responses in SQLite, on the storage of requests-cache."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from requests_cache.backends.sqlite import SQLiteDict
from requests_cache.serializers import Stage

LOCK_TIMEOUT_S = 1.0


class Kept(NamedTuple):
    """A response that was kept: its JSON, and when it expires (seconds since 1970)."""

    content: Any
    expires_unix: int


class ResponseTable(SQLiteDict):
    """`Kept` responses by key. Every method raises `sqlite3.Error`; none waits much longer than `LOCK_TIMEOUT_S`."""

    def __init__(self, path: Path) -> None:
        as_json = Stage(dumps=_dump, loads=_load)
        super().__init__(path, table_name="responses", serializer=as_json, timeout=LOCK_TIMEOUT_S)

    def find(self, key: str) -> Kept | None:
        """The response under a key, None if there is none. A damaged entry is dropped."""
        with self.connection() as connection:
            row = connection.execute("SELECT value, expires FROM responses WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        found = self.deserialize(key, row[0])
        if not isinstance(found, Kept) or not isinstance(row[1], int):
            del self[key]  # type: ignore[no-untyped-call]
            return None
        return found._replace(expires_unix=min(found.expires_unix, row[1]))

    def keep(self, key: str, content: Any, expires_unix: int) -> None:
        """Keep a response in place of the one under this key."""
        self[key] = Kept(content, expires_unix)

    def end(self) -> None:
        """Close the file."""
        self.close()  # type: ignore[no-untyped-call]

    def drop_expired_before(self, moment_unix: int) -> None:
        """Drop the responses that expired before a moment."""
        with self.connection(commit=True) as connection:
            connection.execute("DELETE FROM responses WHERE expires < ?", (moment_unix,))

    def expire_all(self, moment_unix: int) -> None:
        """Have all responses expire at a moment, unless they expire earlier."""
        with self.connection(commit=True) as connection:
            connection.execute("UPDATE responses SET expires = ?1 WHERE expires > ?1", (moment_unix,))

    def drop_all(self) -> None:
        """Drop every response. The table stays, as other processes are using it."""
        with self.connection(commit=True) as connection:
            connection.execute("DELETE FROM responses")
        self.vacuum()  # type: ignore[no-untyped-call]

    @contextmanager
    def _acquire_sqlite_lock(self) -> Iterator[None]:
        """A transaction. The library's own tries for ever where the file is locked or read-only, and hides failures."""
        with self._lock:
            connection = self._connection
            if connection is None:
                raise sqlite3.OperationalError("the table is closed")
            connection.execute("BEGIN IMMEDIATE")
            self._active_transaction = True
            try:
                yield
                connection.commit()
            except BaseException:
                connection.rollback()
                raise
            finally:
                self._active_transaction = False


def _dump(kept: Kept) -> str:
    """JSON and never pickles: nobody should be able to run code by writing into a cache."""
    return json.dumps([kept.expires_unix, kept.content])


def _load(text: str | bytes) -> Kept | None:
    try:
        expires_unix, content = json.loads(text)
    except (ValueError, TypeError):
        return None
    return Kept(content, expires_unix) if isinstance(expires_unix, int) else None
