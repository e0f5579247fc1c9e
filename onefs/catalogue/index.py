"""Owns the indexes in the state directory: which belongs to which tables, making missing ones, dropping old ones."""

import errno
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from onefs import alf
from onefs.catalogue.known import Known, Memo, Stat, read_memo, stat_of, without_gone, write_memo
from onefs.catalogue.layout import LAYOUT, TEMPORARY, Index, IndexUnusableError, read_index
from onefs.catalogue.schema import NEW_TABLES, TableFiles
from onefs.errors import CacheDamagedError, NoRoomError, TableError

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

    On a shared file system a host knows only its own maps: a file that another one removes is gone from under them.
    """
    host = os.uname().nodename
    return state_dir / "index" / (host if alf.is_safe_part(host) else "unnamed")


@dataclass(frozen=True, slots=True)
class _Edition:
    """The tables as they were at one moment: their stat, and digests of their bytes."""

    files: dict[Path, Known]

    @property
    def digest(self) -> str:
        """What names the tables' index."""
        both = hashlib.blake2b(f"layout {LAYOUT}".encode(), digest_size=16)
        for known in self.files.values():
            both.update(known.digest.encode())
        return both.hexdigest()

    def is_current(self) -> bool:
        """Whether the tables still are these."""
        try:
            return all(stat_of(file) == known.stat for file, known in self.files.items())
        except OSError:
            return False


def open_index(files: TableFiles, state_dir: Path) -> Index:
    """The index of two tables, memory-mapped; made if it is missing, damaged or of an older layout.

    Raises `TableError` if a table cannot be used, `CacheDamagedError` or `NoRoomError` if an index is needed and
    cannot be written.
    """
    directory = indexes_of(state_dir)
    place = str(files.datasets.absolute())
    edition = None
    for _ in range(_TRIES):
        memo = read_memo(directory)
        edition = _edition(files, memo)
        if not edition.is_current():
            continue
        index = _ready(directory / edition.digest)
        if index is None:
            index = _make(files, directory, edition)
        elif memo != _noted(memo, place, edition):
            with _locked(directory, wait_s=0) as is_alone:
                if is_alone:  # or else next time
                    _note(directory, place, edition)
        if index is not None:
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


def has_index(files: TableFiles, state_dir: Path) -> bool:
    """Whether these very tables were indexed before, told from their stat and the index alone, without pyarrow."""
    directory = indexes_of(state_dir)
    noted = read_memo(directory).files
    known = {file: noted.get(str(file.absolute())) for file in (files.sessions, files.datasets)}
    edition = _Edition({file: entry for file, entry in known.items() if entry is not None})
    return len(edition.files) == len(known) and edition.is_current() and _ready(directory / edition.digest) is not None


def _ready(directory: Path) -> Index | None:
    try:
        return read_index(directory)
    except IndexUnusableError:
        return None


def _edition(files: TableFiles, memo: Memo) -> _Edition:
    """The tables as they are. Raises `TableError` if one cannot be read."""
    return _Edition(
        {file: _known(file, memo.files.get(str(file.absolute()))) for file in (files.sessions, files.datasets)}
    )


def _known(file: Path, noted: Known | None) -> Known:
    """A table's stat and the digest of its bytes, which are not read again while the stat is the noted one.

    The stat is from before the reading: if the table changes meanwhile, it no longer is the table's.
    """
    try:
        stat: Stat = stat_of(file)
        if noted is not None and noted.stat == stat:
            return noted
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise TableError(f"The cache table {file} cannot be read: {error.strerror or error}.", NEW_TABLES) from error
    return Known(stat, digest)


def _make(files: TableFiles, directory: Path, edition: _Edition) -> Index | None:
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
                try:
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
    lock = FileLock(directory / _LOCK, mode=0o666)
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
    shutil.rmtree(aside, ignore_errors=True)


def _noted(memo: Memo, place: str, edition: _Edition) -> Memo:
    """The note with this edition of the tables as the newest."""
    digest = edition.digest
    kept = (digest, *(old for old in memo.kept.get(place, ()) if old != digest))[:KEPT]
    files = {str(file.absolute()): known for file, known in edition.files.items()}
    return without_gone(Memo({**memo.files, **files}, {**memo.kept, place: kept}))


def _note(directory: Path, place: str, edition: _Edition) -> None:
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
    """Whoever has a removed index mapped keeps it: the files live until they are unmapped."""
    for entry in list(directory.iterdir()):
        if not entry.is_dir() or entry.name in kept:
            continue
        if entry.name.startswith(TEMPORARY) and time.time() - entry.stat().st_mtime < ABANDONED_AFTER_S:
            continue
        shutil.rmtree(entry, ignore_errors=True)
