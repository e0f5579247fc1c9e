"""Unpacks the cache tables of a `cache.zip`: by their exact names, and up to a limit of size."""

import errno
import lzma
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onefs.alf import INSERTIONS_NAME, TABLE_NAMES
from onefs.errors import NoRoomError, TableError
from onefs.text import counted

LARGEST_TABLE_BYTES = 16 << 30
MOST_TIMES_SMALLER = 100
"""Tables are compressed themselves: zipping them takes away a tenth, not all but a hundredth."""

ALWAYS_BELIEVED_BYTES = 16 << 20
_COPY_BYTES = 1 << 20


def unpack(archive: Path, into: Path) -> None:
    """Take the two tables out of a zip, and that of insertions if it is there; whatever else is in it stays there.

    Raises `TableError` if it is no zip, is damaged, lacks a table or claims an unbelievable size, `NoRoomError` if the
    disk has no room for what it claims.
    """
    with _zip_errors(), zipfile.ZipFile(archive) as packed:
        tables = [*TABLE_NAMES, *({INSERTIONS_NAME} & set(packed.namelist()))]
        members = [packed.getinfo(table) for table in tables]
        _check_sizes(members, archive, into)
        for table, member in zip(tables, members, strict=True):
            # No more than the claimed size is ever read: the zip's own check fails if there would be more.
            with packed.open(member) as stream, (into / table).open("wb") as out:
                shutil.copyfileobj(stream, out, _COPY_BYTES)


def _check_sizes(members: list[zipfile.ZipInfo], archive: Path, into: Path) -> None:
    believed = max(ALWAYS_BELIEVED_BYTES, MOST_TIMES_SMALLER * archive.stat().st_size)
    for member in members:
        if member.file_size > min(believed, LARGEST_TABLE_BYTES):
            raise TableError(
                f"{member.filename} in {archive.name} claims {member.file_size} bytes, which no such table has.",
                "Ask the archive's maintainers.",
            )
    needed, free = sum(member.file_size for member in members), shutil.disk_usage(into).free
    if needed > free:
        raise NoRoomError(
            f"The cache tables need {counted(needed, 'byte')}, and {free} are free in {into.parent}.",
            "Free some space, or move the cache directory to a larger disk.",
        )


@contextmanager
def _zip_errors() -> Iterator[None]:
    """Turns what the zip library raises for a damaged or strange zip into `TableError`."""
    try:
        yield
    except (zipfile.BadZipFile, KeyError, EOFError, RuntimeError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise _damaged(error) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # an offset that leads out of the zip
            raise
        raise _damaged(error) from error


def _damaged(error: Exception) -> TableError:
    return TableError(
        f"cache.zip from the server is damaged or lacks a table: {str(error).rstrip('.')}.",
        "Try again, or ask the archive's maintainers.",
    )
