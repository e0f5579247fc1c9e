"""`Listings`, the database of what is known of a folder's files: their paths, sizes, times, inodes and MD5s."""

import contextlib
import errno
import hashlib
import logging
import os
import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self
from uuid import UUID

from filelock import FileLock, Timeout

from onefs.alf import STATE_FOLDER
from onefs.errors import BusyError, NoRoomError, OnefsError, TableError
from onefs.indexer.hash import Hashed
from onefs.indexer.scan import FACTS, Listing

VERSION = 1
MD5_BYTES = 16
FACTS_BYTES = 8 * len(FACTS)
UNKNOWN = bytes(MD5_BYTES)
"""Stands for an MD5 that is not known."""

COMMIT_AFTER = 500
"""So many changes are lost at most if the process is killed."""

_SCHEMA = f"""
CREATE TABLE session (
    number INTEGER PRIMARY KEY, folder BLOB UNIQUE NOT NULL, eid BLOB NOT NULL,
    paths TEXT NOT NULL, facts BLOB NOT NULL, md5s BLOB NOT NULL
);
CREATE INDEX session_eid ON session (eid);
CREATE TABLE hashed (number INTEGER NOT NULL, at INTEGER NOT NULL, facts BLOB NOT NULL, md5 BLOB);
CREATE TABLE gone (eid BLOB NOT NULL, folder BLOB NOT NULL, path TEXT NOT NULL);
CREATE TABLE note (name TEXT PRIMARY KEY, text TEXT NOT NULL);
PRAGMA user_version = {VERSION};
"""
"""`hashed` are results that are not in `session` yet: the new facts and MD5 of its `at`th file; without, it is gone.

`gone` are files that were listed and are not any more, since the tables were written; with the path "", the folder.
"""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Files:
    """The files in a session's folder, in one order. `md5s` has `UNKNOWN` for each that is not known."""

    paths: list[str]
    facts: bytes
    md5s: bytes

    @classmethod
    def of(cls, paths: str, facts: bytes, md5s: bytes = b"") -> Self:
        """The files in a listing."""
        return cls(paths.split("\n") if paths else [], facts, md5s or UNKNOWN * (len(facts) // FACTS_BYTES))

    def facts_of(self, at: int) -> bytes:
        """The facts of a file."""
        return self.facts[at * FACTS_BYTES : (at + 1) * FACTS_BYTES]

    def md5_of(self, at: int) -> bytes:
        """The MD5 of a file, `UNKNOWN` if it is not known."""
        return self.md5s[at * MD5_BYTES : (at + 1) * MD5_BYTES]

    def by_path(self) -> dict[str, tuple[bytes, bytes]]:
        """The facts and MD5 of each."""
        return {path: (self.facts_of(at), self.md5_of(at)) for at, path in enumerate(self.paths)}

    @classmethod
    def from_paths(cls, files: Mapping[str, tuple[bytes, bytes]]) -> Self:
        """What `by_path` gives."""
        return cls(
            list(files), b"".join(facts for facts, _ in files.values()), b"".join(md5 for _, md5 in files.values())
        )

    @property
    def sizes(self) -> "array[int]":
        """The sizes in bytes."""
        return array("Q", self.facts)[:: len(FACTS)]


class SessionFiles(NamedTuple):
    """A session folder, given from `/` on, and the files in it."""

    number: int
    folder: str
    eid: UUID
    files: Files


class Listings:
    """A context in which the listings of one folder are read and changed, by this process alone.

    They are kept for later runs, whatever becomes of this process. Without their file all is listed and hashed anew.
    Each method raises `NoRoomError` or `TableError` if the file cannot be written.
    """

    def __init__(self, root: str, directory: Path) -> None:
        """The listings of the folder `root`, whose tables are in `directory`."""
        digest = hashlib.blake2b(os.fsencode(root), digest_size=6).hexdigest()
        self._root = root
        self._directory = directory
        self._path = directory / STATE_FOLDER / f"listings-{digest}.db"
        self._lock = FileLock(self._path.with_suffix(".lock"), mode=0o666)
        self._uncommitted = 0
        self._is_noted = False

    def __enter__(self) -> Self:
        """Raises `BusyError` if another process has them open."""
        with self._errors():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                raise BusyError(
                    f"Another process is indexing {self._root} into {self._directory}.",
                    "Wait until it is done, then run it again if files have changed since.",
                ) from None
            try:
                self._db = self._opened()
                self._take_in_hashes()
            except BaseException:
                self._lock.release()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._errors():
                self._db.commit()  # what was found is right, even if something else failed
        finally:
            self._db.close()
            self._lock.release()

    def put(self, listing: Listing, eid: UUID) -> None:
        """Note what is in a session folder now. The MD5s of files whose facts are the same stay known."""
        folder = self._relative(listing.folder)
        with self._errors():
            row = self._db.execute(
                "SELECT number, eid, paths, facts, md5s FROM session WHERE folder = ?", (folder,)
            ).fetchone()
            if row is None:
                files = Files.of(listing.paths, listing.facts)
                number = self._db.execute(
                    "INSERT INTO session (folder, eid, paths, facts, md5s) VALUES (?, ?, ?, ?, ?)",
                    (folder, eid.bytes, listing.paths, listing.facts, files.md5s),
                ).lastrowid
                self._changed()
            else:
                number, *known = row
                if listing.unreadable or known[:3] != [eid.bytes, listing.paths, listing.facts]:
                    self._update(
                        SessionFiles(number, listing.folder, UUID(bytes=known[0]), Files.of(*known[1:])), eid, listing
                    )
            self._db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (number,))

    def _update(self, old: SessionFiles, eid: UUID, listing: Listing) -> None:
        known = old.files.by_path()
        new = {path: each for path, each in known.items() if path.startswith(listing.unreadable)}
        for path, (facts, md5) in Files.of(listing.paths, listing.facts).by_path().items():
            old_facts, old_md5 = known.get(path, (b"", UNKNOWN))
            new[path] = (facts, old_md5 if facts == old_facts else md5)
        if old.eid != eid:
            self._note_gone(old.eid.bytes, self._relative(old.folder), (*known, ""))
            self._store(old.number, eid, new)
        elif new != known:  # else it is the same in another order
            self._note_gone(eid.bytes, self._relative(old.folder), known.keys() - new.keys())
            self._store(old.number, eid, new)

    def _note_gone(self, eid: bytes, folder: bytes, paths: Iterable[str]) -> None:
        self._db.executemany("INSERT INTO gone VALUES (?, ?, ?)", ((eid, folder, path) for path in paths))

    def _store(self, number: int, eid: UUID, by_path: Mapping[str, tuple[bytes, bytes]]) -> None:
        files = Files.from_paths(by_path)
        self._db.execute(
            "UPDATE session SET eid = ?, paths = ?, facts = ?, md5s = ? WHERE number = ?",
            (eid.bytes, "\n".join(files.paths), files.facts, files.md5s, number),
        )
        self._changed()

    def forget_unseen(self, unreadable: Iterable[str]) -> None:
        """Remove the session folders that were not `put`, but for those at or below folders that are unreadable."""
        kept = [self._relative(path) for path in unreadable]
        with self._errors():
            gone = self._db.execute("SELECT number, folder FROM session WHERE number NOT IN (SELECT number FROM seen)")
            rows = [row for row in gone if not any(_is_below(row[1], each) for each in kept)]
            for number, folder in rows:
                eid, paths = self._db.execute("SELECT eid, paths FROM session WHERE number = ?", (number,)).fetchone()
                self._note_gone(eid, folder, (*Files.of(paths, b"").paths, ""))
                self._db.execute("DELETE FROM session WHERE number = ?", (number,))
                self._changed()
            self._db.execute("DELETE FROM seen")
            self._db.commit()

    def add_hashes(self, hashed: Iterable[Hashed]) -> None:
        """Note results of hashing; `take_in_hashes` makes them show."""
        rows = [(each.number, each.at, each.facts, each.md5 or None) for each in hashed if each.facts or each.is_gone]
        with self._errors():
            self._db.executemany("INSERT INTO hashed VALUES (?, ?, ?, ?)", rows)
            self._db.commit()

    def take_in_hashes(self) -> None:
        """Bring what `add_hashes` noted into the listings."""
        with self._errors():
            self._take_in_hashes()

    def _take_in_hashes(self) -> None:
        numbers = [number for (number,) in self._db.execute("SELECT DISTINCT number FROM hashed")]
        for number in numbers:
            row = self._db.execute(
                "SELECT eid, folder, paths, facts, md5s FROM session WHERE number = ?", (number,)
            ).fetchone()
            if row is not None:
                files = Files.of(*row[2:])
                new = list(files.by_path().items())
                for at, facts, md5 in self._db.execute("SELECT at, facts, md5 FROM hashed WHERE number = ?", (number,)):
                    new[at] = (new[at][0], (facts, md5 or UNKNOWN))
                self._note_gone(row[0], row[1], (path for path, (facts, _) in new if not facts))
                self._store(number, UUID(bytes=row[0]), {path: each for path, each in new if each[0]})
            self._db.execute("DELETE FROM hashed WHERE number = ?", (number,))
        self._db.commit()

    # What is known

    def sessions(self, of: UUID | None = None) -> Iterator[SessionFiles]:
        """The session folders of one eid, else all, in the order of their eids, and in that of their paths."""
        one = "WHERE eid = ?" if of else ""
        rows = self._db.execute(
            f"SELECT number, folder, eid, paths, facts, md5s FROM session {one} ORDER BY eid, folder",  # noqa: S608
            (of.bytes,) if of else (),
        )
        for number, folder, eid, *files in rows:
            yield SessionFiles(number, self._absolute(folder), UUID(bytes=eid), Files.of(*files))

    def folders(self) -> Iterator[tuple[UUID, str]]:
        """The eids, and the session folders, in the same order."""
        for eid, folder in self._db.execute("SELECT eid, folder FROM session ORDER BY eid, folder"):
            yield UUID(bytes=eid), self._absolute(folder)

    def gone(self) -> Iterator[tuple[UUID, str, str]]:
        """The eid, session folder and path of files that were listed and are not any more, since the last `set_note`.

        The path "" stands for the folder itself.
        """
        for eid, folder, path in self._db.execute("SELECT eid, folder, path FROM gone ORDER BY eid, folder"):
            yield UUID(bytes=eid), self._absolute(folder), path

    def n_files(self) -> int:
        """How many files there are."""
        return int(self._db.execute("SELECT total(length(facts)) FROM session").fetchone()[0]) // FACTS_BYTES

    def totals(self) -> tuple[int, int, int]:
        """How many sessions and files there are, and the bytes of all files."""
        (n_sessions,) = self._db.execute("SELECT count(DISTINCT eid) FROM session").fetchone()
        n_files = size_bytes = 0
        for (facts,) in self._db.execute("SELECT facts FROM session"):
            sizes = array("Q", facts)[:: len(FACTS)]
            n_files += len(sizes)
            size_bytes += sum(sizes)
        return n_sessions, n_files, size_bytes

    def note(self) -> str:
        """What `set_note` noted, "" if anything has changed since."""
        row = self._db.execute("SELECT text FROM note").fetchone()
        return str(row[0]) if row else ""

    def set_note(self, text: str) -> None:
        """Keep a text until anything changes. The tables have been written now: forget what was `gone`."""
        with self._errors():
            self._db.execute("DELETE FROM gone")
            self._db.execute("INSERT OR REPLACE INTO note VALUES ('tables', ?)", (text,))
            self._db.commit()
            self._is_noted = True

    # How it is kept

    def _changed(self) -> None:
        """Count a change, and commit now and then."""
        if self._is_noted:
            self._db.execute("DELETE FROM note")
            self._is_noted = False
        self._uncommitted += 1
        if self._uncommitted >= COMMIT_AFTER:
            self._db.commit()
            self._uncommitted = 0

    def _relative(self, path: str) -> bytes:
        """A path from the root on; "." for the root itself."""
        return os.fsencode(path[len(self._root.rstrip("/")) + 1 :] or ".")

    def _absolute(self, folder: bytes) -> str:
        return self._root if folder == b"." else f"{self._root.rstrip('/')}/{os.fsdecode(folder)}"

    def _opened(self) -> sqlite3.Connection:
        try:
            return self._connected()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
                raise
            _log.warning("%s is damaged (%s): all files are listed and hashed anew.", self._path, error)
            for suffix in ("", "-wal", "-shm", "-journal"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)
            return self._connected()

    def _connected(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path)
        try:
            self._make_ready(db)
        except BaseException:
            db.close()
            raise
        return db

    def _make_ready(self, db: sqlite3.Connection) -> None:
        # Exclusive: so that a network file system need not share memory for the write-ahead log.
        db.executescript(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; "
            "PRAGMA wal_autocheckpoint = 10000; CREATE TEMP TABLE seen (number INTEGER PRIMARY KEY);"
        )
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        elif version != VERSION:
            raise TableError(
                f"{self._path} was written by another version of onefs.",
                "Update onefs, or remove that file: then all files are hashed again.",
            )
        self._is_noted = bool(db.execute("SELECT count(*) FROM note").fetchone()[0])

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turns errors of the database and its disk into ours."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            is_full = code == sqlite3.SQLITE_FULL
            raise self._error(is_full, str(error)) from error
        except OSError as error:
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise self._error(is_full, error.strerror or str(error)) from error

    def _error(self, is_full: bool, why: str) -> OnefsError:
        if is_full:
            return NoRoomError(
                f"There is no room on the disk for the list of the files, {self._path}.",
                "Free some space, or have the tables written elsewhere (--out); then run it again, and it goes on.",
            )
        return TableError(
            f"The list of the files, {self._path}, cannot be written: {why}.",
            "Make the folder writable, or have the tables written elsewhere (--out).",
        )


def _is_below(folder: bytes, above: bytes) -> bool:
    return above == b"." or folder == above or folder.startswith(above + b"/")
