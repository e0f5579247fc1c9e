"""A file beside the indexes that maps tables, by their stat, to their digests and to their indexes."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from onefs.catalogue.layout import LAYOUT, sum_of
from onefs.catalogue.schema import NEW_TABLES, TableFiles
from onefs.errors import DamagedTableError, TableError

NAME = "known.json"

Stat = tuple[int, ...]
"""What tells that a file is still the same: size, times of change, inode."""


@dataclass(frozen=True, slots=True)
class Known:
    """A table's digest, and the stat it had when that was found."""

    stat: Stat
    digest: str


@dataclass(frozen=True, slots=True)
class Memo:
    """What is known of tables by their paths, and the indexes kept for each datasets table, newest first."""

    files: Mapping[str, Known] = field(default_factory=dict)
    kept: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def stat_of(file: Path) -> Stat:
    """The file's stat. Raises OSError."""
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


@dataclass(frozen=True, slots=True)
class Edition:
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


def edition_of(files: TableFiles, memo: Memo) -> Edition:
    """The tables as they are. Raises `TableError` if one cannot be read."""
    return Edition(
        {file: _table(file, memo.files.get(str(file.absolute()))) for file in (files.sessions, files.datasets)}
    )


def _table(file: Path, noted: Known | None) -> Known:
    """A table's stat and the digest of its bytes, which are not read again while the stat is the noted one.

    The stat is from before the reading: if the table changes meanwhile, it no longer is the table's.
    """
    try:
        stat = stat_of(file)
        if noted is not None and noted.stat == stat:
            return noted
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise TableError(f"The cache table {file} cannot be read: {error.strerror or error}.", NEW_TABLES) from error
    return Known(stat, digest)


def read_again(edition: Edition, memo: Memo) -> Edition:
    """The edition with digests of the bytes that are there now, where they came from the note: to build an index.

    Raises `DamagedTableError` if the bytes changed but the stat did not.
    """
    if not any(memo.files.get(str(file.absolute())) == known for file, known in edition.files.items()):
        return edition
    found = Edition({file: _table(file, None) for file in edition.files})
    check_same_stat(found, edition)
    return found


def check_same_stat(found: Edition, noted: Edition) -> None:
    """Raise `DamagedTableError` if the bytes of a table changed but its stat did not."""
    for file, known in found.files.items():
        if known.stat == noted.files[file].stat and known.digest != noted.files[file].digest:
            raise DamagedTableError(
                f"The cache table {file} is damaged: its bytes are no longer those that were put there.", NEW_TABLES
            )


def read_memo(directory: Path) -> Memo:
    """The note; an empty one if there is none or if it is damaged in any way, which costs time and nothing else."""
    try:
        raw = json.loads((directory / NAME).read_text(encoding="utf-8"))
        if raw.pop("crc32") != sum_of(raw):  # else a wrong digit in a digest would pass for damage to the table
            return Memo()
        return Memo(
            {_text(path): _known(noted) for path, noted in raw["files"].items()},
            {_text(path): tuple(map(_text, _list(digests))) for path, digests in raw["kept"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Memo()


def _known(raw: Any) -> Known:
    return Known(tuple(map(_whole, _list(raw["stat"]))), _text(raw["digest"]))


def _text(raw: object) -> str:
    if not isinstance(raw, str):
        raise TypeError
    return raw


def _whole(raw: object) -> int:
    if not isinstance(raw, int):
        raise TypeError
    return raw


def _list(raw: object) -> list[Any]:
    if not isinstance(raw, list):
        raise TypeError
    return raw


def write_memo(directory: Path, memo: Memo) -> None:
    """Replace the note. Raises OSError."""
    files = {path: {"stat": known.stat, "digest": known.digest} for path, known in memo.files.items()}
    raw = {"files": files, "kept": dict(memo.kept)}
    temporary = directory / f".{NAME}.{uuid4().hex}"
    try:
        temporary.write_text(json.dumps({**raw, "crc32": sum_of(raw)}, indent=1), encoding="utf-8")
        temporary.replace(directory / NAME)
    finally:
        temporary.unlink(missing_ok=True)


def without_gone(memo: Memo) -> Memo:
    """The note without tables that are no longer there."""
    return Memo(
        {path: known for path, known in memo.files.items() if _may_exist(path)},
        {path: digests for path, digests in memo.kept.items() if _may_exist(path)},
    )


def _may_exist(path: str) -> bool:
    try:
        Path(path).stat()
    except PermissionError:  # another user's, for all we know
        return True
    except (OSError, ValueError):
        return False
    return True
