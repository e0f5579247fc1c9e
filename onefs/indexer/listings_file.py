"""The database file of `Listings`: opens it, replaces it if it is damaged, and turns its errors into ours."""

import contextlib
import errno
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

from onefs.errors import NoRoomError, OnefsError, TableError

VERSION = 1
_ID_BYTES = 16
_SCHEMA = f"""
CREATE TABLE session (
    number INTEGER PRIMARY KEY, folder BLOB UNIQUE NOT NULL, eid BLOB NOT NULL,
    paths TEXT NOT NULL, facts BLOB NOT NULL, md5s BLOB NOT NULL, checksum INTEGER NOT NULL
);
CREATE INDEX session_eid ON session (eid);
CREATE TABLE hashed (
    number INTEGER NOT NULL, at INTEGER NOT NULL, facts BLOB NOT NULL, md5 BLOB NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (number, at)
) WITHOUT ROWID;
CREATE TABLE gone (eid BLOB NOT NULL, folder BLOB NOT NULL, path TEXT NOT NULL);
CREATE TABLE note (name TEXT PRIMARY KEY, text BLOB NOT NULL);
PRAGMA user_version = {VERSION};
"""
"""`hashed` are results that are not in `session` yet: the new facts and MD5 of its `at`th file; without, it is gone.

`gone` are files that were listed and are not any more, since the tables were written; with the path "", the folder.
"""

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
_log = logging.getLogger(__name__)


class _DamageError(Exception):
    """The database can be read, but is not as it was written."""


def session_checksum(eid: bytes, paths: bytes, facts: bytes, md5s: bytes) -> int:
    """The checksum of a row of `session`."""
    return crc32(md5s, crc32(facts, crc32(paths, crc32(eid))))


def hashed_checksum(number: int, at: int, facts: bytes, md5: bytes) -> int:
    """The checksum of a row of `hashed`."""
    return crc32(b"%d %d " % (number, at) + facts + md5)


def open_listings(path: Path) -> sqlite3.Connection:
    """The database, ready for use by this process alone; an empty one if the file is damaged.

    Raises `TableError` if it is of another version, sqlite3.Error, OSError.
    """
    try:
        return _connected(path)
    except (sqlite3.DatabaseError, UnicodeDecodeError, _DamageError) as error:
        if not _is_damage(error):
            raise
        _log.warning("%s is damaged (%s): all files are listed and hashed anew.", path, error)
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        return _connected(path)


@contextlib.contextmanager
def listing_errors(path: Path) -> Iterator[None]:
    """Turns errors of the database and its disk into `NoRoomError` and `TableError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise _error(path, error, is_full=_code(error) & 0xFF == sqlite3.SQLITE_FULL) from error
    except OSError as error:
        raise _error(path, error, is_full=error.errno in (errno.ENOSPC, errno.EDQUOT)) from error


def _connected(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path)
    try:
        _make_ready(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _make_ready(db: sqlite3.Connection, path: Path) -> None:
    # Exclusive: so that a network file system need not share memory for the write-ahead log.
    db.executescript(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; "
        "PRAGMA wal_autocheckpoint = 10000; CREATE TEMP TABLE seen (number INTEGER PRIMARY KEY); "
        "CREATE TEMP TABLE left_out (number INTEGER PRIMARY KEY);"
    )
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == 0:
        db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
    elif version != VERSION:
        raise TableError(
            f"{path} was written by another version of onefs.",
            "Update onefs, or remove that file: then all files are hashed again.",
        )
    # A folder comes right before what is in it.
    db.create_function("path_order", 1, lambda path: path.replace(b"/", b"\0"), deterministic=True)
    _check(db)


def _check(db: sqlite3.Connection) -> None:
    """Raise what `open_listings` takes for damage if not every row is what was written, and found."""
    if _schema_of(db) != _expected_schema():
        raise _DamageError("other tables than it was made with")
    (found,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise _DamageError(found.splitlines()[-1])
    sessions = db.execute("SELECT eid, CAST(paths AS BLOB), facts, md5s, checksum FROM session")
    hashed = db.execute("SELECT number, at, facts, md5, checksum FROM hashed")
    try:
        are_right = (
            all(session_checksum(*values) == checksum for *values, checksum in sessions)
            and all(hashed_checksum(*values) == checksum for *values, checksum in hashed)
            and all(len(eid) == _ID_BYTES for eid, _ in db.execute("SELECT eid, path FROM gone"))
        )
    except TypeError:
        are_right = False
    if not are_right:
        raise _DamageError("a wrong checksum")


def _schema_of(db: sqlite3.Connection) -> list[tuple[str, str]]:
    return db.execute("SELECT name, sql FROM main.sqlite_master ORDER BY name").fetchall()


def _expected_schema() -> list[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.executescript(_SCHEMA)
        return _schema_of(db)


def _code(error: Exception) -> int:
    """SQLite's code of an error; Python's module has errors of its own, without."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)


def _is_damage(error: Exception) -> bool:
    return _code(error) & 0xFF in _DAMAGED or _code(error) == sqlite3.SQLITE_IOERR_SHORT_READ


def _error(path: Path, error: sqlite3.Error | OSError, *, is_full: bool) -> OnefsError:
    if is_full:
        return NoRoomError(
            f"There is no room on the disk for the list of the files, {path}.",
            "Free some space, or have the tables written elsewhere (--out); then run it again, and it goes on.",
        )
    why = error.strerror if isinstance(error, OSError) and error.strerror else error
    if isinstance(error, sqlite3.Error) and _is_damage(error):
        return TableError(f"The list of the files, {path}, is damaged: {why}.", "Run it again, and it is made anew.")
    return TableError(
        f"The list of the files, {path}, cannot be read or written: {why}.",
        "See that the folder is writable, and your quota not used up; or have the tables written elsewhere (--out).",
    )
