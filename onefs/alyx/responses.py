"""The cache of Alyx's responses, in an SQLite file that several processes share."""

import hashlib
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from onefs.forks import begins_anew_in_children, new_lock

if TYPE_CHECKING:
    from onefs.alyx.response_table import Kept, ResponseTable

FILE_NAME = "responses.sqlite"
BESIDE = ("", "-journal", "-wal", "-shm")
KEPT_AFTER_EXPIRY_S = 30 * 86400.0

log = logging.getLogger(__name__)
T = TypeVar("T")


class Trouble(Enum):
    """What a failure of SQLite means for what was asked."""

    PASSING = "not this time"
    DAMAGED = "drop the file, and once more"
    MOVED = "open the file anew, and once more"


TROUBLES = {
    sqlite3.SQLITE_BUSY: Trouble.PASSING,
    sqlite3.SQLITE_LOCKED: Trouble.PASSING,
    sqlite3.SQLITE_FULL: Trouble.PASSING,
    sqlite3.SQLITE_NOMEM: Trouble.PASSING,
    sqlite3.SQLITE_TOOBIG: Trouble.PASSING,
    sqlite3.SQLITE_CORRUPT: Trouble.DAMAGED,
    sqlite3.SQLITE_NOTADB: Trouble.DAMAGED,
    sqlite3.SQLITE_ERROR: Trouble.DAMAGED,  # another schema than ours
}
PRIMARY_CODE = 0xFF


def response_key(base_url: str, who: str, path: str, query: Iterable[tuple[str, str]]) -> str:
    """What a response is kept under: the server, who asked, and the full question in one spelling."""
    question = json.dumps([base_url, who, path, sorted(query)])
    return hashlib.sha256(question.encode(errors="surrogatepass")).hexdigest()


class ResponseCache:
    """JSON by key. Safe to use from several threads and processes. Nothing here is ever fatal.

    The folder has mode 0700 and the file 0600, as answers may hold what not everybody may see. Nothing is opened
    before the first use. A damaged file is dropped; one that cannot be used is left alone, with one warning.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._lock = new_lock(held_at_forks=True)  # guards all below, and SQLite, which has locks of its own
        self._table: ResponseTable | None = None
        self._usable = folder is not None
        self._of_parents: list[ResponseTable] = []  # never closed here: they have the file open
        begins_anew_in_children(self)

    def begin_anew(self) -> None:
        """Leave the database's connection to the parent of this process, and open one anew when it is needed."""
        if self._table is not None:
            self._of_parents.append(self._table)
        self._table = None

    def get(self, key: str) -> "Kept | None":
        """The response kept under a key, expired or not."""
        return self._with_table(lambda table: table.find(key))

    def put(self, key: str, content: Any, expires_unix: int) -> None:
        """Keep a response in place of the one that was kept under this key."""
        self._with_table(lambda table: table.keep(key, content, expires_unix))

    def expire(self, now_s: float) -> None:
        """Expire all cached responses."""
        self._with_table(lambda table: table.expire_all(int(now_s)))

    def clear(self) -> None:
        """Drop everything that was kept."""
        self._with_table(lambda table: table.drop_all())

    def end(self, now_s: float) -> None:
        """Drop what expired so long ago that nobody would want it even without a network, and close the file."""
        if self._table is not None:
            self._with_table(lambda table: table.drop_expired_before(round(now_s - KEPT_AFTER_EXPIRY_S)))
        self.close()

    def close(self) -> None:
        """Close the file; a later use opens it again."""
        with self._lock:
            self._close()

    def _with_table(self, act: "Callable[[ResponseTable], T]") -> T | None:
        with self._lock:
            for attempt in (1, 2):
                opened = self._table is not None
                try:
                    table = self._opened()
                    return None if table is None else act(table)
                except (sqlite3.Error, OSError) as error:
                    if not self._goes_on_after(error, opened=opened) or attempt == 2:
                        return None
        return None

    def _opened(self) -> "ResponseTable | None":
        if self._table is None and self._usable and self._folder is not None:
            # The library takes 0.2 s to import, which a mount that keeps no responses need not wait for.
            from onefs.alyx.response_table import ResponseTable

            _make_private(self._folder)
            self._table = ResponseTable(self._folder / FILE_NAME)
        return self._table

    def _goes_on_after(self, error: sqlite3.Error | OSError, *, opened: bool) -> bool:
        """Make the best of a failure; whether it is worth another attempt."""
        code = getattr(error, "sqlite_errorcode", None)
        trouble = TROUBLES.get(code & PRIMARY_CODE) if code is not None else None
        if trouble is Trouble.PASSING:
            log.info("The kept responses in %s are not used this time: %s.", self._folder, error)
            return False
        self._close()
        if trouble is Trouble.DAMAGED:
            return self._drop_file()
        if not opened:
            log.warning("Responses of the database are not kept: %s cannot be used (%s).", self._folder, error)
            self._usable = False
        return opened

    def _drop_file(self) -> bool:
        folder = self._folder or Path()
        try:
            for ending in BESIDE:
                (folder / f"{FILE_NAME}{ending}").unlink(missing_ok=True)
        except OSError as error:
            log.warning("The damaged responses in %s cannot be dropped: %s.", folder, error.strerror)
            self._usable = False
            return False
        log.warning("The responses kept in %s were damaged and have been dropped.", folder)
        return True

    def _close(self) -> None:
        if self._table is not None:
            self._table.end()
            self._table = None


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    descriptor = os.open(folder / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
