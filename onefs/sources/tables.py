"""Fetching cache tables from a server into their place, both whole or not at all."""

import errno
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from filelock import FileLock, Timeout

from onefs.alf import INSERTIONS_NAME, TABLE_NAMES
from onefs.cache.atomic import cache_errors
from onefs.catalogue.insertions import read_insertions
from onefs.catalogue.snapshot import Snapshot
from onefs.catalogue.tables import TableMetadata, find_tables, read_metadata
from onefs.errors import CacheDamagedError, DamagedTableError, OnefsError, TableError
from onefs.progress import report, warn
from onefs.sources import table_digests
from onefs.sources.origins import ASK_MAINTAINERS, Offer, Origin
from onefs.sources.table_digests import write_digests
from onefs.sources.table_index import index_tables_in_child
from onefs.sources.tables_at_hand import (
    MOVE_AWAY,
    AtHand,
    Place,
    are_at_hand,
    check_bytes,
    damage_of,
    is_for_newer,
    is_indexed,
    load_indexed_tables,
    load_tables,
    minute_of,
    ready_folder,
    what_is_at_hand,
)

_TOLD_AFTER_S = 3.0
_LOCK_TIMEOUT_S = 600.0
_log = logging.getLogger(__name__)


def open_tables(place: Place, origin: Origin | None) -> Snapshot:
    """The tables in their place: fetched if there are none, and anew if they are damaged. Raises as `ensure_tables`."""
    with cache_errors("the cache tables", place.tables_dir):
        at_hand = None if ready_folder(place).exists() else load_indexed_tables(place)
    if at_hand is not None:
        return at_hand
    try:
        ensure_tables(place, origin)
        return load_tables(place)
    except DamagedTableError as error:
        if origin is None:
            raise
        with cache_errors("the cache tables", place.tables_dir), _locked(place):
            _fetch(place, origin, origin.offered(), AtHand(damage=error))
        return load_tables(place)


def ensure_tables(place: Place, origin: Origin | None) -> None:
    """Have both tables in their place: those at hand, else those of `origin`. None: whatever is there will do.

    Raises what is wrong with the server or the disk, or `TableError` for tables at hand that do not fit: they are
    somebody's, and stay. Damaged ones do not.
    """
    with cache_errors("the cache tables", place.tables_dir):
        if ready_folder(place).exists():
            with _locked(place):
                _move_in(place)
        if is_indexed(place):
            return
        if origin is None:
            check_bytes(place)
            return
        if damage_of(place) is None and are_at_hand(place):
            return
        offer = origin.offered()
        place.state_dir.mkdir(parents=True, exist_ok=True)
        with _locked(place):
            _move_in(place)
            damage = damage_of(place)
            if damage is not None or not are_at_hand(place):
                _fetch(place, origin, offer, AtHand(damage=damage))


def fetch_if_newer(place: Place, origin: Origin, created: str) -> bool:
    """Fetch the tables if the origin's are newer than `created` by a minute at least, or those at hand are damaged.

    Gives whether there are other tables now. Raises what is wrong with the server or the disk; then nothing changes.
    """
    with cache_errors("the cache tables", place.tables_dir), _locked(place):
        offer = origin.offered()
        at_hand = what_is_at_hand(place)
        newest = minute_of(created)
        if at_hand.metadata is not None:
            newest = max(newest, minute_of(at_hand.metadata.created))
            if offer.created - newest < timedelta(minutes=1):
                return newest > minute_of(created)  # another daemon may have fetched them meanwhile
        _fetch(place, origin, offer, at_hand)
        return True


def fetch_again(place: Place, origin: Origin) -> None:
    """Fetch the tables whatever is at hand, in whose place they come."""
    with cache_errors("the cache tables", place.tables_dir), _locked(place):
        _fetch(place, origin, origin.offered(), what_is_at_hand(place))


@contextmanager
def _locked(place: Place) -> Iterator[None]:
    """Hold the lock that guards the pair of tables while it is replaced, and the folders beside it."""
    path = place.state_dir / "tables.lock"
    lock = FileLock(path, mode=0o600)
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


def _fetch(place: Place, origin: Origin, offer: Offer, at_hand: AtHand) -> None:
    """Replace the tables at hand by those of the origin. The lock is held."""
    if at_hand.damage is None:
        _log.info("Fetching the cache tables from %s", origin.name)
        _bring(place, origin, offer, at_hand.metadata)
        return
    warn(_log, f"{at_hand.damage.reason} The tables are fetched anew from {origin.name}.")
    try:
        _keep_unknown(place)
        _bring(place, origin, offer, None)
    except OnefsError as error:
        raise type(error)(f"{at_hand.damage.reason} New ones cannot be had: {error.reason}", error.remedy) from error


def _keep_unknown(place: Place) -> None:
    """Copy damaged tables to `tables.damaged`, unless the other one is as it was fetched.

    Results that were saved into them may be nowhere else.
    """
    if table_digests.is_one_as_fetched(place.tables_dir, place.state_dir / table_digests.NAME):
        return
    kept = place.state_dir / "tables.damaged"
    kept.mkdir(exist_ok=True)
    for table in TABLE_NAMES:
        if (place.tables_dir / table).exists():
            shutil.copyfile(place.tables_dir / table, kept / table)
    _log.warning("The damaged tables are kept in %s", kept)


def _bring(place: Place, origin: Origin, offer: Offer, at_hand: TableMetadata | None) -> None:
    report(f"downloading the tables from {origin.name}")
    work = place.state_dir / "tables.new"
    shutil.rmtree(work, ignore_errors=True)  # what a killed process left
    try:
        work.mkdir()
        origin.download(work)
        _check_fetched(work, place, origin, offer, at_hand)
        for file in list(work.iterdir()):
            is_insertions = file.name == INSERTIONS_NAME and read_insertions(file) is not None
            if is_insertions or file.name in TABLE_NAMES:
                _sync(file)
            else:
                file.unlink()
        _sync(write_digests(work))
        if at_hand is not None and "date_modified" in at_hand.raw:
            _log.warning("Newer tables replace those in %s, and what was saved into them", place.tables_dir)
        work.rename(ready_folder(place))
        _move_in(place)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check_fetched(work: Path, place: Place, origin: Origin, offer: Offer, at_hand: TableMetadata | None) -> None:
    """Raise `TableError` unless what was fetched can be used, and is restricted as it should be."""
    try:
        files = find_tables(work)
        report("indexing the tables")
        index_tables_in_child(work, place.state_dir)
    except TableError as error:
        reason = error.reason.replace(f"{work}/", "").replace(f" in {work}", "")
        if is_for_newer(offer.min_api_version):
            reason = f"they are for ONE {offer.min_api_version} and newer. {reason}"
        remedy = "Update onefs." if is_for_newer(offer.min_api_version) else ASK_MAINTAINERS
        raise TableError(f"The tables of {origin.name} cannot be used: {reason}", remedy) from error
    for file in (files.sessions, files.datasets):
        metadata = read_metadata(file)
        if place.tag and place.tag not in metadata.tags:
            raise TableError(
                f"{origin.name} gave other tables than those of the tag {place.tag}.", "Ask the database's maintainers."
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
    """Move the tables from the ready folder into their place; does nothing if there are none."""
    ready = ready_folder(place)
    if ready.exists():
        note = place.state_dir / table_digests.NAME
        note.unlink(missing_ok=True)  # it is of those that were there before
        for table in (INSERTIONS_NAME, *TABLE_NAMES):
            if (ready / table).exists():
                _give_name(ready / table, place.tables_dir / table)
        if (ready / note.name).exists():
            (ready / note.name).replace(note)
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
