"""Owns the way the cache's own files are written (whole or not at all), and what their disk's errors mean."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from onefs.errors import CacheDamagedError, NoRoomError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REMEDIES = {
    errno.EACCES: "Give the user who mounts write access to the cache directory, or choose another one.",
    errno.EPERM: "Give the user who mounts write access to the cache directory, or choose another one.",
    errno.EROFS: "Choose a cache directory on a disk that can be written.",
    errno.EIO: "Check the disk that holds the cache directory.",
    errno.ESTALE: "Check the network file system that holds the cache directory.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
    errno.ENFILE: "Raise the machine's limit of open files (fs.file-max).",
}


@contextmanager
def cache_errors(what: str, place: str | Path) -> Iterator[None]:
    """Turn the disk's errors into ours, for `what` at `place`."""
    try:
        yield
    except OSError as error:
        raise cache_error(what, place, error) from error


def cache_error(what: str, place: str | Path, error: OSError) -> CacheDamagedError | NoRoomError:
    """Our error for one of the disk's."""
    text = (error.strerror or str(error)).lower()
    if error.errno in NO_ROOM:
        return NoRoomError(
            f"There is no room for {what} in {place}: {text}.",
            "Free some space, or move the cache directory to a larger disk.",
        )
    place = error.filename if isinstance(error.filename, str) else place
    remedy = REMEDIES.get(error.errno or 0, "Check the cache directory; its contents can be fetched again.")
    return CacheDamagedError(f"{what} cannot be had from the cache or put there: {place}: {text}.", remedy)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, if need be. Raises OSError."""
    if not os.path.isdir(path):  # noqa: PTH112  (the usual case, and the cheapest way to tell)
        path.mkdir(parents=True, exist_ok=True)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a small file whole: temporary, renamed. Raises OSError."""
    make_folder(path.parent)
    temporary = path.with_name(f"{path.name}.{uuid4().hex}.tmp")  # process numbers repeat on machines that share it
    try:
        temporary.write_text(json.dumps(value))
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any]:
    """A small file's contents; {} if it is absent or damaged, which costs no more than fetching again."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
