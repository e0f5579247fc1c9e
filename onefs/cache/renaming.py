"""Owns the last step of a fetched file: its name in the cache, where it cannot be renamed by a copy."""

import errno
import os
import shutil
from pathlib import Path
from uuid import uuid4

from onefs.digests import CHUNK_BYTES


def reopened(writer: int) -> int:
    """A descriptor to read what another one writes. Raises OSError."""
    return os.open(f"/proc/self/fd/{writer}", os.O_RDONLY | os.O_CLOEXEC)


def give_name(path: Path, reader: int, target: Path) -> int:
    """Give the file at `path` its name, and return a descriptor of it: `reader`, or one of a copy. Raises OSError.

    Where it cannot be renamed (another file system behind a linked folder, or somebody removed it), it is copied
    beside the target first, and `reader` is closed. The folder must exist.
    """
    if not has_its_name(path, reader):
        return _copied(reader, target)
    try:
        path.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        reader = _copied(reader, target)
        path.unlink(missing_ok=True)
    return reader


def has_its_name(path: Path, number: int) -> bool:
    """Whether an open file is still there: not if somebody deleted the folder, and perhaps another began anew."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(number))
    except FileNotFoundError:
        return False


def part_from_others(path: Path) -> None:
    """Put a copy in the place of a file, so that whoever has it open writes to it no longer. Raises OSError."""
    beside = path.with_name(f".{uuid4()}.part")
    try:
        shutil.copyfile(path, beside, follow_symlinks=False)
        beside.replace(path)
    except FileNotFoundError:
        beside.unlink(missing_ok=True)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def _copied(reader: int, target: Path) -> int:
    beside = target.with_name(f".{uuid4()}.part")
    copied = -1
    try:
        with (
            open(reader, "rb", closefd=False) as source,
            beside.open("xb") as copy,
        ):
            source.seek(0)
            shutil.copyfileobj(source, copy, CHUNK_BYTES)
        copied = os.open(beside, os.O_RDONLY | os.O_CLOEXEC)
        beside.rename(target)
    except OSError:
        beside.unlink(missing_ok=True)
        if copied >= 0:
            os.close(copied)
        raise
    os.close(reader)
    return copied
