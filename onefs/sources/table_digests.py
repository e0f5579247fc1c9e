"""Digests of fetched tables, kept beside them to detect damage."""

import hashlib
from contextlib import suppress
from pathlib import Path

from onefs.alf import TABLE_NAMES
from onefs.cache.atomic import read_json, write_json
from onefs.catalogue.schema import NEW_TABLES
from onefs.catalogue.tables import read_metadata
from onefs.errors import DamagedTableError, TableError

NAME = "tables.json"


def write_digests(directory: Path) -> Path:
    """Write the digests of a directory's tables into a file in it, and give that. Raises OSError or `TableError`."""
    note = directory / NAME
    write_json(note, {name: _facts(directory / name) for name in TABLE_NAMES})
    return note


def check_digests(directory: Path, note: Path) -> None:
    """Raise `DamagedTableError` if a fetched table has gone, or has other bytes with the same times.

    A table with other times, such as ONE or `onefs tables save` writes, has replaced it and is not damaged. Tables
    without digests are not checked.
    """
    digests = read_json(note)
    for name, noted in digests.items():
        file = directory / name
        if name not in TABLE_NAMES or not isinstance(noted, dict):
            continue
        if _is_as_noted(file, noted) or read_json(note) != digests:  # others are being put there just now
            continue
        how = "damaged: its bytes are no longer those that were fetched" if file.exists() else "no longer there"
        raise DamagedTableError(f"The cache table {file} is {how}.", NEW_TABLES)


def is_one_as_fetched(directory: Path, note: Path) -> bool:
    """Whether one of the tables, at least, has the bytes that were fetched."""
    for name, noted in read_json(note).items():
        with suppress(OSError):
            if name in TABLE_NAMES and isinstance(noted, dict) and _digest(directory / name) == noted.get("blake2b"):
                return True
    return False


def _is_as_noted(file: Path, noted: dict[str, object]) -> bool:
    """Whether a table is the one that was fetched, or says that it is another."""
    try:
        return _digest(file) == noted.get("blake2b") or _times(file) != noted.get("times")
    except (TableError, FileNotFoundError):
        return False


def _facts(file: Path) -> dict[str, object]:
    return {"blake2b": _digest(file), "times": _times(file)}


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _times(file: Path) -> list[str]:
    """When a table was made and modified, as it says itself."""
    metadata = read_metadata(file)
    return [metadata.created, str(metadata.raw.get("date_modified") or "")]
