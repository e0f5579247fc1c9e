"""`Listings`, the database of a folder's files at the last run: paths, sizes, times, inodes and MD5s."""

import hashlib
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from filelock import FileLock, Timeout

from onefs.cache.sharing import make_state_folder, state_folder
from onefs.errors import BusyError
from onefs.indexer.hash import Hashed
from onefs.indexer.listings_file import hashed_checksum, listing_errors, open_listings, session_checksum
from onefs.indexer.scan import FACTS, Listing
from onefs.indexer.session_folder import FACTS_BYTES, UNKNOWN, FolderFiles, SessionFolder

COMMIT_AFTER = 500
"""The most changes that are lost if the process is killed."""
READ_AT_ONCE = 16
"""How many session folders are read together while others may be changed."""
_LISTED = "WHERE number NOT IN (SELECT number FROM left_out)"
_FILES = f"SELECT number, folder, eid, paths, facts, md5s FROM session {_LISTED}"  # noqa: S608
LOCK_TIMEOUT_S = 2.0
"""The processes of a run that was killed end with it, and have its lock until then."""


class Listings:
    """A context in which the listings of one folder are read and changed, by this process alone.

    They stay for later runs, even if this process is killed. Without their file all is listed and hashed anew.
    Each method raises `NoRoomError` or `TableError` if the file cannot be written.
    """

    def __init__(self, root: str, directory: Path) -> None:
        """The listings of the folder `root`, whose tables are in `directory`; both from `/` on.

        A directory that holds what is listed may be moved: its listings are moved along, and count as before.
        """
        above = directory.resolve()
        place = os.path.relpath(root, above) if Path(root).is_relative_to(above) else root
        digest = hashlib.blake2b(os.fsencode(place), digest_size=6).hexdigest()
        self._root = root
        self._directory = directory
        state = state_folder(directory)
        self._path = state / f"listings-{digest}.db"
        self._lock = FileLock(state / "index.lock", mode=0o600)
        self._uncommitted = 0
        self._is_noted = False

    def __enter__(self) -> Self:
        """Raises `BusyError` if another process has any listings of this directory open."""
        with self._errors(), ExitStack() as stack:
            make_state_folder(self._directory)
            try:
                self._lock.acquire(timeout=LOCK_TIMEOUT_S)
            except Timeout:
                raise BusyError(
                    f"Another process is indexing into {self._directory}.",
                    "Wait until it is done, then run it again if files have changed since.",
                ) from None
            stack.callback(self._lock.release)
            self._db = stack.enter_context(closing(open_listings(self._path)))
            self._is_noted = bool(self.note())
            self._take_in_hashes()
            self._closing = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._errors(), self._closing:
            if error is None:
                self._db.commit()
            else:  # it may have come in the midst of a change
                self._db.rollback()

    def put(self, listing: Listing, eid: UUID) -> None:
        """Store the listing of a session folder. MD5s stay for files whose facts are the same."""
        folder = self._relative(listing.folder)
        with self._errors():
            row = self._db.execute(
                "SELECT number, eid, paths, facts, md5s FROM session WHERE folder = ?", (folder,)
            ).fetchone()
            if row is None:
                files = FolderFiles.of(listing.paths, listing.facts)
                number = self._db.execute(
                    "INSERT INTO session (folder, eid, paths, facts, md5s, checksum) VALUES (?, ?, ?, ?, ?, ?)",
                    (folder, *_checked(eid, listing.paths, listing.facts, files.md5s)),
                ).lastrowid
                self._changed()
            else:
                number, *known = row
                if listing.unreadable or known[:3] != [eid.bytes, listing.paths, listing.facts]:
                    self._update(
                        SessionFolder(number, listing.folder, UUID(bytes=known[0]), FolderFiles.of(*known[1:])),
                        eid,
                        listing,
                    )
            self._db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (number,))

    def _update(self, old: SessionFolder, eid: UUID, listing: Listing) -> None:
        known = old.files.by_path()
        files, folders = set(listing.unreadable), tuple(each for each in listing.unreadable if each[-1:] in ("", "/"))
        new = {path: each for path, each in known.items() if path in files or path.startswith(folders)}
        for path, (facts, md5) in FolderFiles.of(listing.paths, listing.facts).by_path().items():
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
        files = FolderFiles.from_paths(by_path)
        self._db.execute(
            "UPDATE session SET eid = ?, paths = ?, facts = ?, md5s = ?, checksum = ? WHERE number = ?",
            (*_checked(eid, "\n".join(files.paths), files.facts, files.md5s), number),
        )
        self._changed()

    def forget_unseen(self, closed: Iterable[str]) -> None:
        """Remove the session folders that were not `put`, but for those at or below folders that are unreadable."""
        kept = {self._relative(path) for path in closed}
        with self._errors():
            gone = self._db.execute("SELECT number, folder FROM session WHERE number NOT IN (SELECT number FROM seen)")
            rows = [row for row in gone if not _is_below(row[1], kept)]
            for number, folder in rows:
                eid, paths = self._db.execute("SELECT eid, paths FROM session WHERE number = ?", (number,)).fetchone()
                self._note_gone(eid, folder, (*FolderFiles.of(paths, b"").paths, ""))
                self._db.execute("DELETE FROM session WHERE number = ?", (number,))
                self._changed()
            self._db.execute("DELETE FROM seen")
            self._db.commit()

    def add_hashes(self, hashed: Iterable[Hashed]) -> None:
        """Store results of hashing; `take_in_hashes` brings them into the listings."""
        rows = [(each.number, each.at, each.facts, each.md5) for each in hashed if each.facts or each.is_gone]
        with self._errors():
            self._db.executemany(
                "INSERT OR REPLACE INTO hashed VALUES (?, ?, ?, ?, ?)", ((*row, hashed_checksum(*row)) for row in rows)
            )
            self._db.commit()

    def take_in_hashes(self) -> None:
        """Bring what `add_hashes` noted into the listings."""
        with self._errors():
            self._take_in_hashes()

    def _take_in_hashes(self) -> None:
        while row := self._db.execute("SELECT number FROM hashed LIMIT 1").fetchone():
            (number,) = row
            hashed = self._db.execute("SELECT at, facts, md5 FROM hashed WHERE number = ?", (number,)).fetchall()
            # Before anything is stored, which may commit: `at` counts in the list of files as it was.
            self._db.execute("DELETE FROM hashed WHERE number = ?", (number,))
            self._take_in(number, hashed)
        self._db.commit()

    def _take_in(self, number: int, hashed: Iterable[tuple[int, bytes, bytes]]) -> None:
        """Bring results of one session folder into its listing."""
        row = self._db.execute(
            "SELECT eid, folder, paths, facts, md5s FROM session WHERE number = ?", (number,)
        ).fetchone()
        if row is None:
            return
        files = FolderFiles.of(*row[2:])
        new = list(files.by_path().items())
        for at, facts, md5 in hashed:
            new[at] = (new[at][0], (facts, md5 or UNKNOWN))
        self._note_gone(row[0], row[1], (path for path, (facts, _) in new if not facts))
        self._store(number, UUID(bytes=row[0]), {path: each for path, each in new if each[0]})

    def leave_out(self, folders: Iterable[str]) -> None:
        """Have `sessions`, `folders` and `totals` give none of these session folders, as long as this is open."""
        with self._errors():
            self._db.executemany(
                "INSERT OR IGNORE INTO left_out SELECT number FROM session WHERE folder = ?",
                ((self._relative(folder),) for folder in folders),
            )
            self._db.commit()

    # What is known

    def sessions(self, of: UUID | None = None) -> Iterator[SessionFolder]:
        """The session folders of one eid, else all, in the order of their eids, and in that of their paths."""
        one = "AND eid = ?" if of else ""
        rows = self._rows(f"{_FILES} {one} ORDER BY eid, folder", (of.bytes,) if of else ())
        for number, folder, eid, *files in rows:
            yield SessionFolder(number, self._absolute(folder), UUID(bytes=eid), FolderFiles.of(*files))

    def sessions_as_found(self) -> Iterator[SessionFolder]:
        """All session folders, in the order in which they were first found: about that of their places on the disk.

        A few are read at a time, so that the listings may be changed meanwhile.
        """
        number = 0
        while rows := list(self._rows(f"{_FILES} AND number > ? ORDER BY number LIMIT {READ_AT_ONCE}", (number,))):
            for number, folder, eid, *files in rows:
                yield SessionFolder(number, self._absolute(folder), UUID(bytes=eid), FolderFiles.of(*files))

    def folders(self) -> Iterator[str]:
        """All session folders, in the order of their paths."""
        for (folder,) in self._rows(f"SELECT folder FROM session {_LISTED} ORDER BY folder"):  # noqa: S608
            yield self._absolute(folder)

    def first_folders(self, *, by_path: bool = False) -> Iterator[tuple[UUID, str]]:
        """Each eid once, and the first of its session folders; in the order of the eids, or in that of the folders."""
        order = "path_order(min(folder))" if by_path else "eid"
        query = f"SELECT eid, min(folder) FROM session {_LISTED} GROUP BY eid ORDER BY {order}"  # noqa: S608
        for eid, folder in self._rows(query):
            yield UUID(bytes=eid), self._absolute(folder)

    def gone(self) -> Iterator[tuple[UUID, str, str]]:
        """The eid, session folder and path of files that were listed and are not any more, since the last `set_note`.

        The path "" stands for the folder itself.
        """
        for eid, folder, path in self._rows("SELECT eid, folder, path FROM gone ORDER BY eid, folder"):
            yield UUID(bytes=eid), self._absolute(folder), path

    def n_files(self) -> int:
        """How many files there are."""
        return int(self._db.execute("SELECT total(length(facts)) FROM session").fetchone()[0]) // FACTS_BYTES

    def totals(self) -> tuple[int, int, int]:
        """How many sessions and files there are, and the bytes of all files."""
        ((n_sessions,),) = self._rows(f"SELECT count(DISTINCT eid) FROM session {_LISTED}")  # noqa: S608
        n_files = size_bytes = 0
        for (facts,) in self._rows(f"SELECT facts FROM session {_LISTED}"):  # noqa: S608
            sizes = array("Q", facts)[:: len(FACTS)]
            n_files += len(sizes)
            size_bytes += sum(sizes)
        return n_sessions, n_files, size_bytes

    def unhashed_bytes(self) -> int:
        """The bytes of all files whose MD5 is not known."""
        total_bytes = 0
        for facts, md5s in self._rows(f"SELECT facts, md5s FROM session {_LISTED}"):  # noqa: S608
            if UNKNOWN in md5s:
                files = FolderFiles.of("", facts, md5s)
                total_bytes += sum(size for at, size in enumerate(files.sizes) if files.md5_of(at) == UNKNOWN)
        return total_bytes

    def note(self) -> str:
        """What `set_note` noted, "" if anything has changed since."""
        return self._noted("tables")

    def former_root(self) -> str:
        """The path that the folder had when its tables were written, "" if they never were."""
        return self._noted("root")

    def set_note(self, text: str) -> None:
        """Keep a text until anything changes. The tables have been written now: forget what was `gone`."""
        with self._errors():
            self._db.execute("DELETE FROM gone")
            notes = [("tables", os.fsencode(text)), ("root", os.fsencode(self._root))]
            self._db.executemany("INSERT OR REPLACE INTO note VALUES (?, ?)", notes)
            self._db.commit()
            self._is_noted = True

    # How it is kept

    def _changed(self) -> None:
        """Count a change, and commit now and then."""
        if self._is_noted:
            self._db.execute("DELETE FROM note WHERE name = 'tables'")
            self._is_noted = False
        self._uncommitted += 1
        if self._uncommitted >= COMMIT_AFTER:
            self._db.commit()
            self._uncommitted = 0

    def _noted(self, name: str) -> str:
        texts = self._rows("SELECT CAST(text AS BLOB) FROM note WHERE name = ?", (name,))
        return "".join(os.fsdecode(text) for (text,) in texts)

    def _rows(self, query: str, parameters: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        with self._errors():
            yield from map(tuple, self._db.execute(query, parameters))  # not of the cursor: it would be closed, too

    def _errors(self) -> AbstractContextManager[None]:
        return listing_errors(self._path)

    def _relative(self, path: str) -> bytes:
        """A path from the root on; "." for the root itself."""
        return os.fsencode(path[len(self._root.rstrip("/")) + 1 :] or ".")

    def _absolute(self, folder: bytes) -> str:
        return self._root if folder == b"." else f"{self._root.rstrip('/')}/{os.fsdecode(folder)}"


def _checked(eid: UUID, paths: str, facts: bytes, md5s: bytes) -> tuple[bytes, str, bytes, bytes, int]:
    return eid.bytes, paths, facts, md5s, session_checksum(eid.bytes, paths.encode(), facts, md5s)


def _is_below(folder: bytes, folders: Set[bytes]) -> bool:
    """Whether a folder, relative to the root, is one of some folders or below one; the root is "."."""
    while folder not in folders:
        if folder == b".":
            return False
        folder = folder.rpartition(b"/")[0] or b"."
    return True
