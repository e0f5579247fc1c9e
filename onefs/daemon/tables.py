"""Owns the cache tables on this machine's disk: which are at hand, and replacing a pair whole or not at all."""

import errno
import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from filelock import FileLock, Timeout

from onefs.alf import INSERTIONS_NAME, STATE_FOLDER, TABLE_NAMES, is_safe_part
from onefs.catalogue.index import has_index
from onefs.catalogue.insertions import read_insertions
from onefs.catalogue.snapshot import Snapshot, load_snapshot
from onefs.catalogue.tables import TableMetadata, find_tables, read_metadata
from onefs.content.files import cache_errors
from onefs.daemon.indexing import check_apart
from onefs.daemon.origins import ASK_KEEPER, Origin
from onefs.errors import CacheDamagedError, SourceError, TableError, UsageError
from onefs.progress import report

UNDERSTOOD_API = (3, 6)
"""The newest ONE whose tables onefs was tried with; they may ask for no newer one."""

MOVE_AWAY = "Move them away to have the server's fetched, or give another --cache-dir."
_TOLD_AFTER_S = 3.0
_LOCK_TIMEOUT_S = 600.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pair of tables is, and its state (lock, index). `tag`: what they are restricted to, "" if to nothing."""

    tables_dir: Path
    state_dir: Path
    tag: str = ""

    def of_tag(self, tag: str) -> "Place":
        """Where the tables restricted to a tag are: apart from all others. Raises `UsageError` for a hostile name."""
        if not tag:
            return Place(self.tables_dir, self.state_dir)
        if not is_safe_part(tag) or tag.startswith(".") or tag in TABLE_NAMES or not tag.isprintable():
            raise UsageError(f"{tag!r} is no name of a tag.", "Give a tag as the database lists it.")
        directory = self.tables_dir / tag
        return Place(directory, directory / STATE_FOLDER, tag)


def ensure_tables(place: Place, origin: Origin | None) -> None:
    """Have both tables in their place: those at hand, else those of `origin`. None: whatever is there will do.

    Raises what is wrong with the server or the disk, or `TableError` for tables at hand that do not fit: they are
    somebody's, and stay.
    """
    with cache_errors("the cache tables", place.tables_dir):
        if _ready(place).exists():
            with _locked(place):
                _move_in(place)
        if origin is None or are_at_hand(place):
            return
        _check_version(origin.offered().min_api_version, origin.name)
        place.state_dir.mkdir(parents=True, exist_ok=True)
        with _locked(place):
            _move_in(place)
            if not are_at_hand(place):
                _fetch(place, origin, None)


def claim(tables_dir: Path, state_dir: Path, source: str) -> None:
    """Note whose tables a cache directory holds. Raises `SourceError` if they are another source's.

    Tables without a note are ONE's, or a user's, and are taken as they are. More lines may stand below the name.
    """
    note = state_dir / "source"
    with cache_errors("the cache tables", note):
        owner = note.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip() if note.exists() else ""
        if owner == source:
            return
        if owner and any((tables_dir / table).exists() for table in TABLE_NAMES):
            raise SourceError(
                f"{tables_dir} holds the tables of {owner}, not of {source}.", "Choose another with --cache-dir."
            )
        note.write_text(source + "\n", encoding="utf-8")


def fetch_if_newer(place: Place, origin: Origin, created: str) -> bool:
    """Fetch the tables if the origin's are newer than `created` by a minute at least; whether newer ones are at hand.

    Raises what is wrong with the server or the disk; then the tables at hand stay.
    """
    with cache_errors("the cache tables", place.tables_dir), _locked(place):
        offer = origin.offered()
        at_hand = _metadata(place)
        newest = minute_of(created)
        if at_hand is not None:
            newest = max(newest, minute_of(at_hand.created))
            if offer.created - newest < timedelta(minutes=1):
                return newest > minute_of(created)  # another daemon may have fetched them meanwhile
        _check_version(offer.min_api_version, origin.name)
        _fetch(place, origin, at_hand)
        return True


def fetch_again(place: Place, origin: Origin) -> None:
    """Fetch the tables whatever is at hand, in whose place they come."""
    with cache_errors("the cache tables", place.tables_dir), _locked(place):
        _check_version(origin.offered().min_api_version, origin.name)
        _fetch(place, origin, _metadata(place))


def load_tables(place: Place) -> Snapshot:
    """The tables in a place. Raises `TableError` if they cannot be used, or are other than those of the place's tag."""
    snapshot = load_snapshot(place.tables_dir, place.state_dir)
    if place.tag and place.tag not in snapshot.metadata.tags:
        raise TableError(
            f"The cache tables in {place.tables_dir} are not restricted to the tag {place.tag}.", MOVE_AWAY
        )
    return snapshot


def check_loadable(directory: Path) -> None:
    """Raise `TableError` unless a directory holds a pair of tables that can be used."""
    files = find_tables(directory)
    found = [read_metadata(file) for file in (files.sessions, files.datasets)]
    _check_pair(found, directory, "Save or export them again.")
    for metadata in found:
        _check_version(metadata.min_api_version, str(directory))


def are_at_hand(place: Place) -> bool:
    """Whether both tables are there and of one edition. Raises `TableError` if what is there does not fit."""
    if _ready(place).exists() or not any((place.tables_dir / table).exists() for table in TABLE_NAMES):
        return False
    try:
        files = find_tables(place.tables_dir)
        if has_index(files, place.state_dir):
            return True
        found = [read_metadata(file) for file in (files.sessions, files.datasets)]
    except TableError as error:
        raise TableError(error.reason, MOVE_AWAY) from error
    _check_pair(found, place.tables_dir, MOVE_AWAY)
    return True


def are_saved(place: Place) -> bool:
    """Whether the tables at hand hold results that were saved into them, by onefs or by ONE."""
    metadata = _metadata(place)
    return metadata is not None and "date_modified" in metadata.raw


def minute_of(created: str) -> datetime:
    """When tables were made, as they say themselves; long ago if that cannot be understood."""
    try:
        return datetime.fromisoformat(created).replace(tzinfo=None)
    except ValueError:
        return datetime(1970, 1, 1)


def _check_pair(found: Sequence[TableMetadata], directory: Path, remedy: str) -> None:
    sessions, datasets = (metadata.created for metadata in found)
    if sessions != datasets:
        raise TableError(
            f"The cache tables in {directory} do not belong together: created {sessions} and {datasets}.", remedy
        )


def _metadata(place: Place) -> TableMetadata | None:
    """What the tables at hand say, None without any; told by their index where they have one, which costs nothing."""
    if not any((place.tables_dir / table).exists() for table in TABLE_NAMES):
        return None
    files = find_tables(place.tables_dir)
    if has_index(files, place.state_dir):
        return load_snapshot(place.tables_dir, place.state_dir).metadata
    return read_metadata(files.sessions)


def _check_version(wanted: str, whose: str) -> None:
    """Raise `TableError` if tables want a newer reader than this."""
    found = re.match(r"v?(\d+)(?:\.(\d+))?", wanted)
    if found and (int(found[1]), int(found[2] or 0)) > UNDERSTOOD_API:
        ours = ".".join(map(str, UNDERSTOOD_API))
        raise TableError(
            f"The cache tables of {whose} are for ONE {wanted} and newer, this onefs understands those for {ours}.",
            "Update onefs.",
        )


def _ready(place: Place) -> Path:
    """Where fetched tables stand, checked and synced, until both have their names.

    So a pair that is half replaced is known from this folder, and completed from it.
    """
    return place.state_dir / "tables.ready"


@contextmanager
def _locked(place: Place) -> Iterator[None]:
    """Hold the lock that guards the pair of tables while it is replaced, and the folders beside it."""
    path = place.state_dir / "tables.lock"
    lock = FileLock(path, mode=0o666)  # for others who share the cache, too
    try:
        lock.acquire(timeout=_TOLD_AFTER_S)
    except Timeout:
        _log.warning("Waiting for another onefs that is fetching the cache tables (%s)", path)
        report("waiting for another onefs that is downloading the tables")
        try:
            lock.acquire(timeout=_LOCK_TIMEOUT_S)
        except Timeout:
            raise CacheDamagedError(
                f"Another onefs has been fetching the cache tables for {_LOCK_TIMEOUT_S / 60:.0f} minutes ({path}).",
                "See what it waits for, or end it; then try again.",
            ) from None
    try:
        yield
    finally:
        lock.release()


def _fetch(place: Place, origin: Origin, at_hand: TableMetadata | None) -> None:
    """Bring the origin's tables in, in place of those at hand. The lock is held."""
    _log.info("Fetching the cache tables from %s", origin.name)
    report(f"downloading the tables from {origin.name}")
    work = place.state_dir / "tables.new"
    shutil.rmtree(work, ignore_errors=True)  # what a killed process left
    try:
        work.mkdir()
        origin.download(work)
        _check_fetched(work, place, origin, at_hand)
        for file in list(work.iterdir()):
            is_insertions = file.name == INSERTIONS_NAME and read_insertions(file) is not None
            if is_insertions or file.name in TABLE_NAMES:
                _sync(file)
            else:
                file.unlink()
        if at_hand is not None and "date_modified" in at_hand.raw:
            _log.warning("Newer tables replace those in %s, and what was saved into them", place.tables_dir)
        work.rename(_ready(place))
        _move_in(place)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check_fetched(work: Path, place: Place, origin: Origin, at_hand: TableMetadata | None) -> None:
    """Raise `TableError` unless what was fetched can be used, and is restricted as it should be."""
    try:
        files = find_tables(work)
        report("checking the tables")
        check_apart(work)
    except TableError as error:
        reason = error.reason.replace(f"{work}/", "").replace(f" in {work}", "")
        raise TableError(f"The tables of {origin.name} cannot be used: {reason}", ASK_KEEPER) from error
    for file in (files.sessions, files.datasets):
        metadata = read_metadata(file)
        _check_version(metadata.min_api_version, origin.name)
        if place.tag and place.tag not in metadata.tags:
            raise TableError(
                f"{origin.name} gave other tables than those of the tag {place.tag}.", "Ask the database's keepers."
            )
        if not place.tag and at_hand is not None and set(metadata.tags) != set(at_hand.tags):
            raise TableError(
                f"The tables of {origin.name} are {_restriction(metadata)}, those in {place.tables_dir} are "
                f"{_restriction(at_hand)}.",
                MOVE_AWAY,
            )


def _restriction(metadata: TableMetadata) -> str:
    return f"restricted to {', '.join(metadata.tags)}" if metadata.tags else "restricted to no tag"


def _move_in(place: Place) -> None:
    """Give the tables that stand ready their names; does nothing if there are none."""
    ready = _ready(place)
    if ready.exists():
        for table in (INSERTIONS_NAME, *TABLE_NAMES):
            if (ready / table).exists():
                _give_name(ready / table, place.tables_dir / table)
        shutil.rmtree(ready)


def _give_name(file: Path, target: Path) -> None:
    try:
        file.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # The state directory is on another disk.
        beside = target.with_name(f".{target.name}.new")
        shutil.copyfile(file, beside)
        _sync(beside)
        beside.replace(target)
        file.unlink()


def _sync(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
