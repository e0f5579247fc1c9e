"""Owns the note beside the indexes: the tables' digests by their stat, and which indexes belong to which tables."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

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


def read_memo(directory: Path) -> Memo:
    """The note; an empty one if there is none or if it is odd in any way, which costs time and nothing else."""
    try:
        raw = json.loads((directory / NAME).read_text(encoding="utf-8"))
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
    temporary = directory / f".{NAME}.{uuid4().hex}"
    try:
        temporary.write_text(json.dumps({"files": files, "kept": dict(memo.kept)}, indent=1), encoding="utf-8")
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
