"""Tables of a local folder without tables: made by indexing its files, and kept in its state directory."""

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from onefs.alf import STATE_FOLDER
from onefs.cache.atomic import cache_errors, write_whole
from onefs.cache.sharing import path_of
from onefs.catalogue.snapshot import Snapshot, load_snapshot
from onefs.catalogue.tables import tables_in
from onefs.errors import SourceError, TableError
from onefs.indexer.run import IndexOptions, IndexResult, index
from onefs.progress import report, warn
from onefs.sources.child_process import run_in_child
from onefs.sources.source import Source, prepare
from onefs.sources.tables_at_hand import Place, is_indexed, load_indexed_tables
from onefs.text import counted
from onefs.workers import LocalWorkers

_NOTE = "indexed.json"
_TOLD_AFTER_S = 3.0
_TRIES = 3
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TablesNote:
    """What is stored beside tables that were made of a folder's files.

    `files_dir` is the folder below which the paths in the tables hold; `looked_s` when its files were last listed, in
    seconds since the epoch; `warning` what is missing in the tables, "" if nothing is; `stats` are sizes, times and
    inodes of these tables.
    """

    files_dir: str
    looked_s: float
    warning: str
    stats: list[list[int]]


def with_tables(source: Source) -> Source:
    """The source of a folder without tables, with those made of its files: those of an earlier time, else new ones.

    Warns that it makes new ones. Raises `SourceError` if there is no session, or another `OnefsError` if the folder
    cannot be read or the tables cannot be written.
    """
    source = as_indexed(source)
    known = read_note(source)
    is_new = known is None
    if known is None:
        warn(_log, f"{source.indexed_dir} has no cache tables; indexing its files.")
        prepare(source)
        _index_in_child(source, if_missing=True)
        known = read_note(source)
        if known is None:
            raise _changing(source)
        if known.warning:
            warn(_log, known.warning)
    return replace(source, data_dir=Path(known.files_dir), is_just_indexed=is_new)


def as_indexed(source: Source) -> Source:
    """The source of a folder without tables, with the place of those that are made of its files."""
    folder = source.tables_dir
    # Named by the folder: another one may have the same state directory.
    digest = hashlib.blake2b(os.fsencode(folder), digest_size=6).hexdigest()
    return replace(source, indexed_dir=folder, tables_dir=source.state_dir / f"tables-{digest}")


def kept_tables(source: Source) -> tuple[Snapshot, TablesNote]:
    """The tables made of a folder's files, and their note; made anew if they are damaged.

    Raises as `with_tables`.
    """
    for _ in range(_TRIES):
        known = read_note(source)
        snapshot = None if known is None else load_indexed_tables(_place(source))
        if known is not None and snapshot is not None and read_note(source) == known:
            _check_files_dir(source, known)
            return snapshot, known
        _index_in_child(source, if_missing=True)
    raise _changing(source)


def renewed_tables(source: Source) -> tuple[Snapshot, TablesNote]:
    """Index a folder again; its tables and their note. Raises as `with_tables`; then the old tables stay."""
    _index_in_child(source, if_missing=False)
    return kept_tables(source)


def read_note(source: Source) -> TablesNote | None:
    """The note of the tables that are kept; None if there are none, or the note is of other tables."""
    place = _place(source)
    known = _read(place)
    return known if known is not None and known.stats == tables_in(place.tables_dir).stats() else None


def index_folder(folder: str, tables_dir: str, if_missing: str) -> None:
    """Make the tables of a folder's files, in this process. With `if_missing` not "", nothing is done if there are any.

    Waits for another process that does the same. Raises `SourceError` if the folder is gone or empty; then nothing is
    written there.
    """
    _check_there(folder)
    place = Place(path_of(tables_dir), path_of(tables_dir) / STATE_FOLDER)
    note = place.state_dir / _NOTE
    with cache_errors(f"the tables of {folder}", note):
        place.state_dir.mkdir(parents=True, exist_ok=True)
        with _locked(place, folder):
            known = _read(place)
            if (
                if_missing
                and known is not None
                and known.stats == tables_in(place.tables_dir).stats()
                and is_indexed(place)
            ):
                return
            options = IndexOptions(replaces=True, one_base=True, preferred_base=known.files_dir if known else "")
            looked_s = time.time()
            with LocalWorkers() as workers:
                result = index(Path(folder), place.tables_dir, options, workers)
            load_snapshot(place.tables_dir, place.state_dir)
            noted = TablesNote(result.base, looked_s, _warning(folder, result), tables_in(place.tables_dir).stats())
            write_whole(note, json.dumps(asdict(noted)).encode())


def _check_there(folder: str) -> None:
    """Raise `SourceError` if a folder is gone or empty, as that of a disk that is not mounted: it stays as it is."""
    why = "it is empty"
    try:
        with os.scandir(folder) as entries:
            if any(entry.name != STATE_FOLDER for entry in entries):
                return
    except OSError as error:
        why = (error.strerror or str(error)).lower()
    raise SourceError(
        f"There is no session folder below {folder}: {why}.", "Mount the disk that it is on, or move it back."
    )


def _index_in_child(source: Source, *, if_missing: bool) -> None:
    folder = str(source.indexed_dir)
    run_in_child(f"index {folder}", index_folder, folder, str(source.tables_dir), "if missing" if if_missing else "")


def _place(source: Source) -> Place:
    return Place(source.tables_dir, source.tables_state_dir)


def _check_files_dir(source: Source, known: TablesNote) -> None:
    if Path(known.files_dir) != source.data_dir:
        raise SourceError(
            f"The sessions of {source.name} stand below {known.files_dir} now, and no longer below {source.data_dir}.",
            "Mount it again.",
        )


def _changing(source: Source) -> TableError:
    return TableError(
        f"The tables of {source.name} in {source.tables_dir} are changed or removed while they are read.",
        "Try again once whatever changes them is done.",
    )


@contextmanager
def _locked(place: Place, folder: str) -> Iterator[None]:
    """Hold the lock that guards the tables of a folder, however long another process needs."""
    lock = FileLock(place.state_dir / "indexing.lock", mode=0o600)
    while not lock.is_locked:
        try:
            lock.acquire(timeout=_TOLD_AFTER_S)
        except Timeout:  # told again and again: a service manager takes a start that stays silent for one that hangs
            report(f"waiting for another onefs that is indexing {folder}")
    try:
        yield
    finally:
        lock.release()


def _warning(folder: str, result: IndexResult) -> str:
    """What is not in the tables, though it is in the folder; "" if nothing is."""
    words = []
    if result.misplaced:
        words.append(
            f"{counted(result.n_misplaced, 'session')} in {folder} cannot be shown, such as "
            f"{result.misplaced[0].folder}: those that are shown stand at their paths below {result.base}. Mount the "
            "folder that holds it by itself, or rename it if its number has not three digits."
        )
    if result.n_unreadable:
        first = result.unreadable[0]
        words.append(
            f"{counted(result.n_unreadable, 'path')} in {folder} could not be read, such as {first.path}: {first.why}. "
            "Mend the permissions, then run onefs refresh."
        )
    return " ".join(words)


def _read(place: Place) -> TablesNote | None:
    """The note beside tables, which may be of others; None if there is none."""
    try:
        return TablesNote(**json.loads((place.state_dir / _NOTE).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
