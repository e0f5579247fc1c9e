"""`Database`: the SQLite file with a cache's state: finding it, opening it, and beginning anew where it is damaged.

The file's name is random and stands in the small file `CURRENT` beside it. No name is ever used for a second file, so
that no journal of a file that was damaged or deleted meets another one.
"""

import errno
import fcntl
import logging
import os
import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import uuid4

from onefs import forks
from onefs.cache import disks
from onefs.cache.atomic import make_folder, write_whole

T = TypeVar("T")
CURRENT = "state.current"
LOCK = "state.lock"
NAME = re.compile(r"state-[0-9a-f]{32}\.db")
ENDINGS = ("", "-wal", "-shm", "-journal")
BUSY_S = 1.0
AGAIN_AFTER_S = 15.0
"""After this time a file that could not be used is tried again."""
SMALL = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
VERSION = 1
LARGEST_JOURNAL_PAGES = 256
NOT_DAMAGED = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOLFS,
}  # fmt: skip
"""Errors that tell nothing of what is in the file."""
_left_open: list[object] = []
"""Connections of a process that this one was forked from. To close them here would spoil the file there."""
log = logging.getLogger(__name__)


class Database:
    """The state database in `folder`. Safe to use from several threads, and by several processes at once.

    The file is made by the first `write`. Where it cannot be used (on a full disk, in a folder that is read-only, or
    locked by another for longer than `BUSY_S`) all goes on in memory, and the file is tried again later.
    """

    def __init__(self, folder: Path, schema: str, carried_over: tuple[str, ...]) -> None:
        """`schema` makes what is missing; `carried_over` are the tables that go from memory into the file later."""
        self.folder = folder
        self._schemas = [schema]
        self._carried_over = carried_over
        self._using = forks.new_rlock(held_at_forks=True)  # guards the five below
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[str, int, int] | None = None  # name, device and inode; None: the connection is to memory
        self._again_at_s = 0.0
        self._has_complained = False
        self._readable = ""
        """The name of the file that may be read, "" if there is none."""
        self._reading = forks.new_rlock(held_at_forks=True)  # guards the two below; never taken with the other
        self._reader: sqlite3.Connection | None = None
        self._reads = ""
        forks.begins_anew_in_children(self)

    @property
    def is_kept(self) -> bool:
        """Whether what is written goes to the file."""
        return self._file is not None

    def add_schema(self, schema: str) -> None:
        """Have more tables: made at once, and in each file that is begun anew."""
        with self._using:
            self._schemas.append(schema)
            self._close()

    def look_up(self, query: str, values: tuple[object, ...]) -> tuple[Any, ...] | None:
        """The first row that a query finds; None if there is none. Does not wait while others write."""
        for _ in range(2):
            with self._reading:
                if self._reader is not None:
                    try:
                        return _first(self._reader, query, values)
                    except sqlite3.Error as error:
                        log.debug("%s/%s cannot be read: %s", self.folder, self._reads, error)
                        return None  # whoever writes next finds out why
            found = self.read(lambda connection: _first(connection, query, values))  # which may open the file
            if found is not None:
                break
        return found

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """What a query finds."""
        return self._run(query, writes=False)

    def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Make a change in one transaction. It is made anew if the file has to be left; what it raises is raised."""
        return self._run(lambda connection: _transaction(connection, change), writes=True)

    def close(self) -> None:
        """Close the file. It is opened again when it is needed."""
        with self._using:
            self._close()
            self._readable = ""
        self._choose_reader()

    def before_fork(self) -> None:
        """Close the file: a connection must neither be used nor be closed in another process."""
        if self._using._is_owned() and self._reading._is_owned():  # type: ignore[attr-defined]
            self._close()
            if self._reader is not None:
                self._reader.close()
            self._reader, self._reads = None, ""

    def begin_anew(self) -> None:
        """Leave alone what is open in the parent process, if a thread there used it too long to be waited for."""
        if self._file is not None or self._reader is not None:
            _left_open.append((self._connection, self._reader))
            self._connection, self._file, self._reader = None, None, None
            self._again_at_s = float("inf")

    def _run(self, work: Callable[[sqlite3.Connection], T], *, writes: bool) -> T:
        try:
            with self._using:
                for may_replace in (True, False):
                    connection = self._usable(writes=writes)
                    try:
                        return work(connection)
                    except sqlite3.Error as error:
                        if self._file is None or isinstance(error, sqlite3.ProgrammingError):
                            raise
                        self._leave(error, may_replace=may_replace)
                return work(self._usable(writes=writes))  # in memory
        finally:
            if self._reads != self._readable:
                self._choose_reader()

    def _usable(self, *, writes: bool) -> sqlite3.Connection:
        """A connection to the file, else to memory."""
        if self._file is not None and not self._is_in_place(self._file):
            self._close()
        if self._file is None and time.monotonic() >= self._again_at_s:
            try:
                self._open(creates=writes)
            except (sqlite3.Error, OSError) as error:
                self._complain(error)
        if self._connection is None:
            self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            self._make_tables(self._connection)
        return self._connection

    def _open(self, *, creates: bool) -> None:
        """Connect to the file, if there is one or it may be made. Raises OSError or what SQLite raises."""
        name = self._current_name()
        if name and not os.access(self.folder, os.W_OK, effective_ids=True):
            self._readable = name
            if creates:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(self.folder))
            return
        for _ in range(2):
            if not (name or creates):
                return
            try:
                file, connection = self._connected(name)
                break
            except FileNotFoundError:
                if not creates:
                    return
            except sqlite3.Error as error:
                if not _is_damage(error):
                    raise
                log.warning("The state in %s is damaged (%s): a new one is begun.", self.folder / name, error)
            name = self._replace(name)
        else:
            raise sqlite3.OperationalError("the state was damaged again")
        memory, self._connection, self._file = self._connection, connection, file
        self._readable, self._has_complained = name, False
        if memory is not None:
            _transaction(connection, lambda to: _copy_rows(memory, to, self._carried_over))
            memory.close()

    def _connected(self, name: str) -> tuple[tuple[str, int, int], sqlite3.Connection]:
        """What tells the file, and a connection. Raises FileNotFoundError, or what SQLite raises if it is damaged."""
        if not name:
            raise FileNotFoundError
        status = os.lstat(self.folder / name)
        connection = _connect(self.folder / name, "mode=rw")
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version != VERSION:
                raise sqlite3.DatabaseError(f"its version is {version}, not {VERSION}")  # noqa: TRY301
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {LARGEST_JOURNAL_PAGES}")
            self._make_tables(connection)
        except BaseException:
            connection.close()
            raise
        return (name, status.st_dev, status.st_ino), connection

    def _replace(self, instead_of: str) -> str:
        """The name of a new file, of this process or of another that was quicker. Raises OSError, sqlite3.Error."""
        make_folder(self.folder)
        number = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            _lock(number)
            current = self._current_name()
            if current not in ("", instead_of) and (self.folder / current).exists():
                return current
            name = f"state-{uuid4().hex}.db"
            self._create(self.folder / name)
            write_whole(self.folder / CURRENT, name.encode(), mode=0o644)
        finally:
            os.close(number)
        for old in {current, instead_of} - {""}:
            for ending in ENDINGS:
                with suppress(OSError):
                    (self.folder / f"{old}{ending}").unlink(missing_ok=True)
        return name

    def _create(self, path: Path) -> None:
        with closing(_connect(path, "mode=rwc")) as connection:
            connection.execute("PRAGMA synchronous = OFF")  # a file that is not whole after a power loss is damaged
            if disks.is_known_as_local(self.folder):
                connection.execute("PRAGMA journal_mode = WAL")
            self._make_tables(connection)
            connection.execute(f"PRAGMA user_version = {VERSION}")

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        for schema in self._schemas:
            connection.executescript(schema)

    def _leave(self, error: sqlite3.Error, *, may_replace: bool) -> None:
        """Close the file after an error: for a new one if it is damaged, else for memory."""
        name = self._file[0] if self._file is not None else ""
        self._close()
        if may_replace and _is_damage(error):
            log.warning("The state in %s is damaged (%s): a new one is begun.", self.folder / name, error)
            try:
                self._replace(name)
            except (sqlite3.Error, OSError) as further:
                self._complain(further)
        else:
            self._complain(error)

    def _complain(self, error: Exception) -> None:
        self._again_at_s = time.monotonic() + AGAIN_AFTER_S
        if not self._has_complained:
            self._has_complained = True
            log.warning(
                "The state in %s cannot be used (%s): it is kept in memory for now, and files may be verified anew "
                "after a restart.",
                self.folder,
                error,
            )

    def _close(self) -> None:
        """Close the file; what is in memory stays."""
        if self._file is not None and self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection, self._file = None, None

    def _is_in_place(self, file: tuple[str, int, int]) -> bool:
        """Whether the file that is open is still the one with the current name."""
        try:
            status = os.lstat(self.folder / file[0])
        except OSError:
            return False
        return file == (self._current_name(), status.st_dev, status.st_ino)

    def _current_name(self) -> str:
        """The name of the file in use, "" if there is none. Raises OSError if that cannot be told."""
        try:
            number = os.open(self.folder / CURRENT, SMALL)
        except (FileNotFoundError, NotADirectoryError):
            return ""
        try:
            name = os.read(number, 64).decode(errors="replace")
        finally:
            os.close(number)
        return name if NAME.fullmatch(name) else ""

    def _choose_reader(self) -> None:
        """Have reads of single rows go to the file that is in use, on a connection of their own."""
        with self._reading:
            if self._reader is not None:
                self._reader.close()
            self._reader, self._reads = None, self._readable
            if self._reads:
                mode = "mode=rw" if self._file is not None else "mode=ro&immutable=1"
                with suppress(sqlite3.Error):
                    self._reader = _connect(self.folder / self._reads, mode)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"file:{quote(os.fspath(path))}?{mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA mmap_size = 0")
    return connection


def _transaction(connection: sqlite3.Connection, change: Callable[[sqlite3.Connection], T]) -> T:
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


def _copy_rows(source: sqlite3.Connection, target: sqlite3.Connection, tables: tuple[str, ...]) -> None:
    for table in tables:
        for row in source.execute(f"SELECT * FROM {table}"):  # noqa: S608
            target.execute(f"REPLACE INTO {table} VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608


def _first(connection: sqlite3.Connection, query: str, values: tuple[object, ...]) -> tuple[Any, ...] | None:
    found: tuple[Any, ...] | None = connection.execute(query, values).fetchone()
    return found


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)  # none if the text in it is no text
    return code is None or code == sqlite3.SQLITE_IOERR_SHORT_READ or (code & 0xFF) not in NOT_DAMAGED


def _lock(number: int) -> None:
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
