"""Owns bringing cache tables here from a folder on a server: `cache.zip`, or the two tables beside each other."""

import errno
import json
import logging
import lzma
import os
import shutil
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from onefs.alf import TABLE_NAMES
from onefs.catalogue.index import has_index
from onefs.catalogue.tables import check_tables, find_tables, read_metadata
from onefs.content.download import Pace
from onefs.content.files import cache_errors
from onefs.errors import (
    BrokenAnswerError,
    CacheDamagedError,
    MissingOnServerError,
    SourceError,
    TableError,
    UnreachableError,
)
from onefs.transports.addresses import server_name
from onefs.transports.base import Location, Transport

INFO = "cache_info.json"
ZIP = "cache.zip"
LARGEST_TABLE_BYTES = 16 << 30
MOVE_AWAY = "Move them away to have the server's fetched, or give another --cache-dir."
_COPY_BYTES = 1 << 20
_TRIES = 4
_PAUSE_S = 0.5
_STALL_S = 30.0
_TOLD_AFTER_S = 3.0
_LOCK_TIMEOUT_S = 600.0
_log = logging.getLogger(__name__)


def ensure_tables(tables_dir: Path, state_dir: Path, url: Location | None, transport: Transport) -> None:
    """Have both tables in `tables_dir`: those at hand, else fetched.

    Raises `SourceError`, what is wrong with the server or the disk, or `TableError` for tables at hand that do not
    fit: they are somebody's, and stay.
    """
    if url is None or _are_at_hand(tables_dir, state_dir):
        return
    with cache_errors("the cache tables", tables_dir), _locked(state_dir / "tables.lock"):
        _move_in(_ready(state_dir), tables_dir)
        if not _are_at_hand(tables_dir, state_dir):
            _fetch(tables_dir, state_dir, url, transport)


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


def fetch_if_newer(tables_dir: Path, state_dir: Path, url: Location, transport: Transport, created: str) -> bool:
    """Fetch the tables if those of the server are newer than `created` by a minute at least; whether they were.

    Raises what is wrong with the server or the disk; then the tables at hand stay.
    """
    with cache_errors("the cache tables", tables_dir), _locked(state_dir / "tables.lock"):
        with tempfile.TemporaryDirectory(dir=state_dir) as work:
            offered = _created(_download(transport, url, INFO, Path(work)), url)
        at_hand = read_metadata(find_tables(tables_dir).sessions).created
        if max(_minute(created), _minute(at_hand)) >= offered:
            return _minute(at_hand) > _minute(created)  # another daemon may have fetched them meanwhile
        _fetch(tables_dir, state_dir, url, transport)
        return True


def _created(info: Path, url: Location) -> datetime:
    """When a server's tables were made, from its `cache_info.json`."""
    try:
        return _minute(json.loads(info.read_bytes())["date_created"])
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenAnswerError(
            f"{url.url}/{INFO} does not tell when the tables were made.", "Ask the archive's keeper."
        ) from error


def _minute(created: str) -> datetime:
    return datetime.fromisoformat(created).replace(tzinfo=None)


def _ready(state_dir: Path) -> Path:
    """Where fetched tables stand, checked and synced, until both have their names.

    So a pair that is half replaced is known from this folder, and completed from it.
    """
    return state_dir / "tables.ready"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock that guards the pair of tables while it is replaced, and the folders beside it."""
    lock = FileLock(path, mode=0o666)  # for others who share the cache, too
    try:
        lock.acquire(timeout=_TOLD_AFTER_S)
    except Timeout:
        _log.warning("Waiting for another onefs that is fetching the cache tables (%s)", path)
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


def _are_at_hand(tables_dir: Path, state_dir: Path) -> bool:
    """Whether both tables are there and of one edition. Raises `TableError` if what is there does not fit."""
    if _ready(state_dir).exists() or not any((tables_dir / table).exists() for table in TABLE_NAMES):
        return False
    try:
        files = find_tables(tables_dir)
        if has_index(files, state_dir):
            return True
        created = [read_metadata(file).created for file in (files.sessions, files.datasets)]
    except TableError as error:
        raise TableError(error.reason, MOVE_AWAY) from error
    if created[0] != created[1]:
        raise TableError(
            f"The cache tables in {tables_dir} do not belong together: created {created[0]} and {created[1]}.",
            MOVE_AWAY,
        )
    return True


def _fetch(tables_dir: Path, state_dir: Path, url: Location, transport: Transport) -> None:
    _log.info("Fetching the cache tables from %s", url.url)
    work = state_dir / "tables.new"
    shutil.rmtree(work, ignore_errors=True)  # what a killed process left
    try:
        work.mkdir()
        _download_all(work, url, transport)
        files = find_tables(work)
        try:
            check_tables(files)
        except TableError as error:
            reason = error.reason.replace(f"{work}/", "")
            raise TableError(
                f"The tables of {url.url} cannot be used: {reason}", "Ask the archive's keeper."
            ) from error
        for file in (files.sessions, files.datasets):
            _sync(file)
        for name in (INFO, ZIP):
            (work / name).unlink(missing_ok=True)
        work.rename(_ready(state_dir))
        _move_in(_ready(state_dir), tables_dir)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _move_in(ready: Path, tables_dir: Path) -> None:
    """Give the tables that stand ready their names; does nothing if there are none."""
    if ready.exists():
        for table in TABLE_NAMES:
            if (ready / table).exists():
                _give_name(ready / table, tables_dir / table)
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


def _download_all(work: Path, url: Location, transport: Transport) -> None:
    try:
        _created(_download(transport, url, INFO, work), url)
    except MissingOnServerError as error:
        raise SourceError(
            f"{url.url} holds no {INFO}, so it is no folder of cache tables.",
            "Give the URL of the folder in which the tables stand.",
        ) from error
    try:
        _unpack(_download(transport, url, ZIP, work), work)
    except MissingOnServerError:
        _download_tables(work, url, transport)


def _download_tables(work: Path, url: Location, transport: Transport) -> None:
    for table in TABLE_NAMES:
        try:
            _download(transport, url, table, work)
        except MissingOnServerError as error:
            raise SourceError(
                f"{url.url} holds neither {ZIP} nor {table}.", "Ask the archive's keeper, or give another URL."
            ) from error


def _download(transport: Transport, folder: Location, name: str, into: Path) -> Path:
    """Fetch a file, going on after a break of the connection if that try brought bytes."""
    target, edition = into / name, ""
    location = Location(f"{folder.url}/{name}", folder.login)
    with target.open("wb") as out:
        for tries_left in reversed(range(_TRIES)):
            before = out.tell()
            try:
                with transport.open(location, before if edition else 0, edition) as body:
                    out.truncate(body.start)
                    out.seek(body.start)
                    edition = body.edition
                    pace = Pace(server_name(location.url), _STALL_S)
                    for chunk in body.chunks:
                        out.write(chunk)
                        pace.add(len(chunk))
                    break
            except (UnreachableError, BrokenAnswerError) as error:
                if not tries_left or out.tell() <= before:
                    raise
                _log.warning("%s Going on with %s.", error.reason, name)
            time.sleep(_PAUSE_S)
    return target


def _unpack(archive: Path, into: Path) -> None:
    """Take the two tables out of the zip, by their exact names and nothing else."""
    try:
        with zipfile.ZipFile(archive) as packed:
            for table in TABLE_NAMES:
                member = packed.getinfo(table)
                if member.file_size > LARGEST_TABLE_BYTES:
                    raise TableError(f"{table} in {ZIP} claims {member.file_size} bytes.", "Ask the archive's keeper.")
                with packed.open(member) as stream, (into / table).open("wb") as out:
                    shutil.copyfileobj(stream, out, _COPY_BYTES)
    except (zipfile.BadZipFile, KeyError, EOFError, RuntimeError, zlib.error, lzma.LZMAError) as error:
        raise TableError(
            f"{ZIP} from the server is damaged or lacks a table: {error}.", "Try again, or ask the archive's keeper."
        ) from error
