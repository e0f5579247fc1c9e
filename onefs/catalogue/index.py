"""The indexes in the state directory: which belongs to which tables, making missing ones, dropping old ones."""

import errno
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4
from weakref import ref

from onefs import alf
from onefs.catalogue.known import (
    Edition,
    Memo,
    check_same_stat,
    edition_of,
    read_again,
    read_memo,
    without_gone,
    write_memo,
)
from onefs.catalogue.layout import TEMPORARY, Index, IndexUnusableError, read_index
from onefs.catalogue.schema import TableFiles
from onefs.catalogue.stored import Column, ColumnFile
from onefs.errors import BusyError, CacheDamagedError, NoRoomError, OnefsError, TableError, again
from onefs.forks import new_lock
from onefs.memory import without_pandas
from onefs.progress import report

KEPT = 2
"""Indexes kept for one pair of tables: the current one, and the one before it."""

ABANDONED_AFTER_S = 3600
LOCK_WAIT_S = 300.0
"""Longer than any index takes to be made; after that one is made without the lock."""

_LOCK = "lock"
_TRIES = 4
_log = logging.getLogger(__name__)


def indexes_of(state_dir: Path) -> Path:
    """The directory of this host's indexes. Each host has its own, and removes nothing from another's.

    On a shared file system a host knows only its own open files: one that another removes is gone from under them.
    """
    host = os.uname().nodename
    return state_dir / "index" / (host if alf.is_safe_part(host) else "unnamed")


def open_index(files: TableFiles, state_dir: Path) -> Index:
    """The index of two tables; made if it is missing, damaged or of an older layout.

    Raises `TableError` if a table cannot be used, `CacheDamagedError` or `NoRoomError` if an index is needed and
    cannot be written.
    """
    directory = indexes_of(state_dir)
    place = str(files.datasets.absolute())
    edition = None
    for _ in range(_TRIES):
        memo = read_memo(directory)
        edition = edition_of(files, memo)
        if not edition.is_current():
            continue
        index = _ready(directory / edition.digest)
        if index is None:
            edition = read_again(edition, memo)
            index = _make(files, directory, edition)
        else:
            _note_if_news(directory, memo, place, edition)
        if index is not None:
            _Rebuilder(files, directory, edition, index)
            return index
    if edition is not None and edition.is_current():
        raise CacheDamagedError(
            f"The index in {directory} vanishes or is damaged as soon as it is made.",
            "Check the disk, and that no other program cleans this directory.",
        )
    raise TableError(
        f"The cache tables {files.sessions} and {files.datasets} change while they are read.",
        "Try again once whatever writes them is done.",
    )


def open_index_at_hand(files: TableFiles, state_dir: Path) -> Index | None:
    """The index of two tables as `open_index` gives it, if `has_index`; else None."""
    directory = indexes_of(state_dir)
    memo = read_memo(directory)
    edition = _noted_edition(files, memo)
    index = None if edition is None else _ready(directory / edition.digest)
    if edition is None or index is None:
        return None
    _note_if_news(directory, memo, str(files.datasets.absolute()), edition)
    _Rebuilder(files, directory, edition, index)
    return index


def has_index(files: TableFiles, state_dir: Path) -> bool:
    """Whether these very tables were indexed before, told from their stat and the index alone, without pyarrow."""
    directory = indexes_of(state_dir)
    edition = _noted_edition(files, read_memo(directory))
    return edition is not None and _ready(directory / edition.digest) is not None


def _noted_edition(files: TableFiles, memo: Memo) -> Edition | None:
    """The edition of two tables that the note has for their stat; None if it has none."""
    known = {file: memo.files.get(str(file.absolute())) for file in (files.sessions, files.datasets)}
    edition = Edition({file: entry for file, entry in known.items() if entry is not None})
    return edition if len(edition.files) == len(known) and edition.is_current() else None


def has_index_of_bytes(files: TableFiles, state_dir: Path) -> bool:
    """Whether tables with these bytes are indexed, wherever they stood then. Raises `TableError` as `open_index`."""
    directory = indexes_of(state_dir)
    return _ready(directory / edition_of(files, read_memo(directory)).digest) is not None


def _ready(directory: Path, *, is_checked: bool = False) -> Index | None:
    """The index in a directory, None if it is absent or damaged. With `is_checked`, large columns are checked, too."""
    try:
        index = read_index(directory)
        if is_checked:
            index.check()
    except IndexUnusableError:
        return None
    return index


class _Rebuilder:
    """Rebuilds an index when damage is found in it while it is in use. Safe to use from several threads.

    The same tables give the same index, so all that was read from the old one stays valid.
    """

    def __init__(self, files: TableFiles, directory: Path, edition: Edition, index: Index) -> None:
        self._files = files
        self._directory = directory
        self._edition = edition
        # The columns refer to this object: strong references back would keep a removed index open until a collection.
        self._columns = [ref(column) for column in index.large_columns()]
        for column in index.large_columns():
            column.rebuilder = self
        self._lock = new_lock()  # held while the index is made; guards those below
        self._failure: tuple[Edition, OnefsError] | None = None

    def rebuild(self, column: Column, damaged: ColumnFile) -> None:
        """Switch the columns in use to a good index, unless another thread has just done so.

        Raises `OnefsError` if the tables give none.
        """
        with self._lock:
            if column.file is not damaged:
                return
            if self._failure is not None and self._failure[0].is_current():
                raise again(self._failure[1])
            whole = self._whole()
            for used, new in zip(self._columns, whole.large_columns(), strict=True):
                old = used()
                if old is not None:
                    old.file = new.file

    def _whole(self) -> Index:
        target = self._directory / self._edition.digest
        whole = _ready(target, is_checked=True)  # another process may have made it
        if whole is not None:
            return whole
        with _writing(self._directory):
            _set_aside(self._directory, target)
        found = edition_of(self._files, Memo())
        try:
            if found.digest != self._edition.digest:
                check_same_stat(found, self._edition)
                raise CacheDamagedError(
                    f"The index in {target} is damaged, and the tables that it was made from are no longer there.",
                    "Use the tables that are there now: onefs refresh or onefs tables load, or mount again.",
                )
            whole = _make(self._files, self._directory, found)
            if whole is None:
                raise BusyError(f"The cache table {self._files.datasets} changes while it is read.", "Try again.")
            whole.check()
        except OnefsError as error:
            self._failure = found, error
            _log.error("%s", error)  # once; whoever looks is told each time
            raise
        except IndexUnusableError as error:
            raise CacheDamagedError(
                f"The index in {target} is damaged as soon as it is made ({error}).", "Check the disk."
            ) from error
        return whole


def _make(files: TableFiles, directory: Path, edition: Edition) -> Index | None:
    """Make an index, unless another process has just done so; None if the tables or the index changed meanwhile."""
    # Imported here: with a ready index a mount needs neither pyarrow nor the time to load it.
    from onefs.catalogue.building import build_index

    target = directory / edition.digest
    with _writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        with _locked(directory, wait_s=LOCK_WAIT_S):
            index = _ready(target)
            if index is None and edition.is_current():
                _set_aside(directory, target)
                report("building the index of the tables")
                try:
                    with without_pandas():
                        build_index(files, target, edition.is_current)
                except TableError:
                    if edition.is_current():  # or else these are not the tables that are wrong
                        raise
                index = _ready(target)
            if index is not None:
                _note(directory, str(files.datasets.absolute()), edition)
            return index


@contextmanager
def _writing(directory: Path) -> Iterator[None]:
    """Turns what the disk says into a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoRoomError(
                f"There is no room on the disk for the index of the cache tables in {directory}.",
                "Free some space, or choose another cache directory.",
            ) from error
        raise CacheDamagedError(
            f"The index of the cache tables cannot be written to {directory}: {error.strerror or error}.",
            "Make the cache directory writable, or choose another.",
        ) from error


@contextmanager
def _locked(directory: Path, *, wait_s: float) -> Iterator[bool]:
    """Hold this host's lock, which guards its indexes while they are made, noted and removed.

    Gives whether no other process is known to hold it. Where locks cannot be had the work may be done twice, and
    nothing worse: an index comes by one rename.
    """
    from filelock import FileLock, Timeout  # slow to import, and not needed for an index that is at hand

    lock = FileLock(directory / _LOCK, mode=0o600)
    is_alone = True
    try:
        lock.acquire(timeout=wait_s)
    except Timeout:
        is_alone = False
        if wait_s:
            _log.warning("Another process has held %s for %g s; the index is made without it.", lock.lock_file, wait_s)
    except (OSError, NotImplementedError) as error:
        _log.info("The lock %s cannot be had: %s. Going on without it.", lock.lock_file, error)
    try:
        yield is_alone
    finally:
        with suppress(OSError):
            lock.release(force=True)


def _set_aside(directory: Path, damaged: Path) -> None:
    """Remove an unusable index, by a rename first, so that nobody meets half of it."""
    aside = directory / f"{TEMPORARY}{uuid4().hex}"
    try:
        damaged.rename(aside)
    except FileNotFoundError:
        return
    _log.warning("The index of the cache tables in %s was damaged; it is made anew from the tables", damaged)
    shutil.rmtree(aside, ignore_errors=True)


def _noted(memo: Memo, place: str, edition: Edition) -> Memo:
    """The note with this edition of the tables as the newest."""
    digest = edition.digest
    kept = (digest, *(old for old in memo.kept.get(place, ()) if old != digest))[:KEPT]
    files = {str(file.absolute()): known for file, known in edition.files.items()}
    return without_gone(Memo({**memo.files, **files}, {**memo.kept, place: kept}))


def _note_if_news(directory: Path, memo: Memo, place: str, edition: Edition) -> None:
    """Note the tables as the newest of a place if `memo`, the note, has others. While the lock is held: next time."""
    if memo != _noted(memo, place, edition):
        with _locked(directory, wait_s=0) as is_alone:
            if is_alone:
                _note(directory, place, edition)


def _note(directory: Path, place: str, edition: Edition) -> None:
    """Note the tables, and remove indexes that no tables need. Failing costs time later, nothing else."""
    before = read_memo(directory)  # again: another process may have noted other tables meanwhile
    memo = _noted(before, place, edition)
    try:
        if memo != before:
            write_memo(directory, memo)
        _remove_old(directory, {name for digests in memo.kept.values() for name in digests})
    except OSError as error:
        _log.info("The note of known tables in %s cannot be kept: %s", directory, error)


def _remove_old(directory: Path, kept: set[str]) -> None:
    """Whoever has a removed index open keeps it: the files live until they are closed."""
    for entry in list(directory.iterdir()):
        if not entry.is_dir() or entry.name in kept:
            continue
        if entry.name.startswith(TEMPORARY) and abs(time.time() - entry.stat().st_mtime) < ABANDONED_AFTER_S:
            continue
        shutil.rmtree(entry, ignore_errors=True)
