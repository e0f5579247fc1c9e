"""`Database`: the SQLite file with a cache's state: finding it, opening it, and beginning anew where it is damaged.

The file's name is random and stands in the small file `CURRENT` beside it. No name is ever used for a second file, so
that no journal of a file that was damaged or deleted meets another one.
"""

import errno
import logging
import os
import re
import sqlite3
import stat
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from onefs import forks, mountinfo
from onefs.cache.atomic import make_folder, write_whole
from onefs.cache.sqlite import ERRORS, connect, copy_rows, is_damage, is_mistake, lock_file, transact

T = TypeVar("T")
CURRENT = "state.current"
LOCK = "state.lock"
NAME = re.compile(r"state-[0-9a-f]{32}\.db")
SMALL = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
VERSION = 1
SHARED, NOT_CHANGED = "mode=rw", "mode=ro&immutable=1"
"""How to open a file that others change meanwhile, and one in a folder where no journal can be written."""
NO_FILE = "", ""
LARGEST_JOURNAL_PAGES = 256
_left_open: list[object] = []
"""Connections of a process that this one was forked from. To close them here would spoil the file there."""
log = logging.getLogger(__name__)


class Database:
    """The state database in `folder`. Safe to use from several threads, and by several processes at once.

    The file is made by the first `write`. Where it cannot be used (on a full disk, in a folder that is read-only, or
    locked by another for longer than `BUSY_S`) all goes on in memory, and the file is tried again later.
    """

    def __init__(
        self, folder: Path, schema: str, carried_over: tuple[str, ...], rescued: str, again_after_s: float
    ) -> None:
        """`schema` makes what is missing; `carried_over` are the tables that go from memory into the file later.

        What can be read of the table `rescued` goes from a file that is damaged into the next. After `again_after_s` a
        file that could not be used is tried again.
        """
        self.folder = folder
        self._schemas = [schema]
        self._carried_over = carried_over
        self._rescued = rescued
        self._again_after_s = again_after_s
        self._using = forks.new_rlock(held_at_forks=True)  # guards the five below
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[str, int, int] | None = None  # name, device and inode; None: the connection is to memory
        self._again_at_s = 0.0
        self._has_complained = False
        self._readable = NO_FILE
        """Name of the file that may be read, and how to open it."""
        self._reading = forks.new_rlock(held_at_forks=True)  # guards the two below; never taken with the other
        self._reader: sqlite3.Connection | None = None
        self._reads = NO_FILE
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

    def look_up(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        """The rows that a query finds. Does not wait while others write."""
        found: list[tuple[Any, ...]] = []
        for _ in range(2):
            with self._reading:
                if self._reader is not None:
                    try:
                        return self._reader.execute(query, values).fetchall()
                    except ERRORS as error:
                        log.debug("%s/%s cannot be read: %s", self.folder, self._reads[0], error)
                        return []  # whoever writes next finds out why
            found = self.read(lambda connection: connection.execute(query, values).fetchall())  # may open the file
            if found:
                break
        return found

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """What a query finds."""
        return self._run(query, writes=False)

    def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Make a change in one transaction. It is made anew if the file has to be left; what it raises is raised."""
        return self._run(lambda connection: transact(connection, change), writes=True)

    def close(self) -> None:
        """Close the file. It is opened again when it is needed."""
        with self._using:
            self._close()
            self._readable = NO_FILE
        self._choose_reader()

    def before_fork(self) -> None:
        """Close the file: a connection must neither be used nor be closed in another process."""
        if self._using._is_owned() and self._reading._is_owned():  # type: ignore[attr-defined]
            self._close()
            if self._reader is not None:
                self._reader.close()
            self._reader, self._reads = None, NO_FILE

    def begin_anew(self) -> None:
        """Leave alone what is open in the parent process, if a thread there used it too long to be waited for."""
        if self._file is not None or self._reader is not None:
            _left_open.append((self._connection, self._reader))
            self._connection, self._file, self._reader = None, None, None
            self._again_at_s = float("inf")

    def _run(self, work: Callable[[sqlite3.Connection], T], *, writes: bool) -> T:
        try:
            with self._using:
                in_memory, may_replace = False, True
                while True:
                    connection = self._usable(writes=writes, in_memory=in_memory)
                    try:
                        return work(connection)
                    except ERRORS as error:
                        if self._file is None or is_mistake(error, connection, self._schemas):
                            raise
                        in_memory = not self._leave(error, may_replace=may_replace)
                        may_replace = False
        finally:
            if self._reads != self._readable:
                self._choose_reader()

    def _usable(self, *, writes: bool, in_memory: bool) -> sqlite3.Connection:
        """A connection to the file, else to memory."""
        if self._file is not None and not self._is_in_place(self._file):
            self._close()
        if not in_memory and self._file is None and time.monotonic() >= self._again_at_s:
            try:
                self._open(creates=writes)
            except (*ERRORS, OSError) as error:
                self._complain(error)
        if self._connection is None:
            self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            self._make_tables(self._connection)
        return self._connection

    def _open(self, *, creates: bool) -> None:
        """Connect to the file, if there is one or it may be made. Raises OSError or what SQLite raises."""
        name = self._current_name()
        if name and not os.access(self.folder, os.W_OK, effective_ids=True):
            self._readable = name, NOT_CHANGED
            if creates:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(self.folder))
            return
        for may_replace in (True, False):
            try:
                if name:
                    self._connect(name)
                    return
            except (FileNotFoundError, *ERRORS) as error:
                if not may_replace or not (isinstance(error, FileNotFoundError) or is_damage(error)):
                    raise
                log.warning("The state in %s is damaged (%s): a new one is begun.", self.folder / name, error)
            if not (name or creates):
                return
            name = self._replace(name)

    def _connect(self, name: str) -> None:
        """Use a file from now on, with what was in memory until now. Raises OSError or what SQLite raises."""
        status = os.lstat(self.folder / name)
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(errno.ENOENT, "it is no file", os.fspath(self.folder / name))
        connection = connect(self.folder / name, SHARED)
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version != VERSION:
                raise sqlite3.DatabaseError(f"its version is {version}, not {VERSION}")  # noqa: TRY301
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {LARGEST_JOURNAL_PAGES}")
            self._make_tables(connection)
            memory = self._connection
            if memory is not None:
                transact(connection, lambda to: copy_rows(memory, to, self._carried_over))
        except BaseException:
            connection.close()
            raise
        if memory is not None:
            memory.close()
        self._connection, self._file = connection, (name, status.st_dev, status.st_ino)
        self._readable, self._has_complained = (name, SHARED), False

    def _replace(self, instead_of: str) -> str:
        """The name of a new file, of this process or of another that was quicker. Raises OSError, sqlite3.Error."""
        make_folder(self.folder)
        number = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            lock_file(number)
            current = self._current_name()
            if current not in ("", instead_of) and (self.folder / current).exists():
                return current
            name = f"state-{uuid4().hex}.db"
            self._create(self.folder / name)
            write_whole(self.folder / CURRENT, name.encode(), mode=0o644)
            for path in self.folder.glob("state-*.db*"):
                if not path.name.startswith(name):
                    with suppress(OSError):
                        path.unlink()
        finally:
            os.close(number)
        return name

    def _create(self, path: Path) -> None:
        with closing(connect(path, "mode=rwc")) as connection:
            connection.execute("PRAGMA synchronous = OFF")  # a file that is not whole after a power loss is damaged
            if mountinfo.is_known_as_local(self.folder):
                connection.execute("PRAGMA journal_mode = WAL")
            self._make_tables(connection)
            self._rescue(connection, path)
            connection.execute(f"PRAGMA user_version = {VERSION}")

    def _rescue(self, connection: sqlite3.Connection, path: Path) -> None:
        """Have what can be read of one table in other files of this folder, each up to the first damage."""
        connection.execute("BEGIN")
        for other in self.folder.glob("state-*.db"):
            if other != path and other.is_file() and not other.is_symlink():
                with suppress(*ERRORS), closing(connect(other, "mode=ro")) as source:
                    copy_rows(source, connection, (self._rescued,))
        connection.execute("COMMIT")

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        for schema in self._schemas:
            connection.executescript(schema)

    def _leave(self, error: Exception, *, may_replace: bool) -> bool:
        """Close the file after an error; whether it is damaged, and there is a new one."""
        name = self._file[0] if self._file is not None else ""
        self._close()
        try:
            if may_replace and is_damage(error):
                log.warning("The state in %s is damaged (%s): a new one is begun.", self.folder / name, error)
                self._replace(name)
                return True
            self._complain(error)
        except (*ERRORS, OSError) as further:
            self._complain(further)
        return False

    def _complain(self, error: Exception) -> None:
        self._again_at_s = time.monotonic() + self._again_after_s
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
            return file == (self._current_name(), status.st_dev, status.st_ino)
        except OSError:
            return False

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
            name, mode = self._reads
            if name:
                with suppress(sqlite3.Error):
                    self._reader = connect(self.folder / name, mode)
                    self._reader.text_factory = str  # the fastest: a row that is no text is not found
