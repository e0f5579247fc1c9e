"""Owns the list of files that came and have no stamp on disk yet, so that a killed daemon's are known to be ours."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from onefs.cache.atomic import make_folder
from onefs.cache.marks import is_open, mark_open


class Arrivals:
    """One file of JSON lines for each process, under `folder`. Raises OSError.

    For whoever holds a lock, but what asks for those of others. `sees_all` tells whether marks made on other machines
    are seen here.
    """

    def __init__(self, folder: Path, sees_all: Callable[[], bool]) -> None:
        self._folder = folder
        self._sees_all = sees_all
        self._path = folder / str(uuid4())
        self._number = -1
        self._is_empty = True

    def add(self, value: dict[str, Any]) -> None:
        """Note a file that came."""
        if self._number < 0:
            make_folder(self._folder)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._number = os.open(self._path, flags, 0o666)
            mark_open(self._number)
        os.write(self._number, json.dumps(value).encode() + b"\n")
        self._is_empty = False

    def clear(self) -> None:
        """All that came have stamps by now."""
        if not self._is_empty:
            os.ftruncate(self._number, 0)
            self._is_empty = True

    def close(self) -> None:
        """End the list; it stays if there are files on it."""
        if self._number < 0:
            return
        try:
            if self._is_empty:
                self._path.unlink(missing_ok=True)
        finally:
            os.close(self._number)
            self._number = -1

    def of_others(self) -> Iterator[tuple[Path, bool, list[dict[str, Any]]]]:
        """Each other process's list, and whether it is still there; if not, who has dealt with it removes the list."""
        for path in self._folder.glob("*"):
            with suppress(OSError):
                if path != self._path:
                    is_there = is_open(path, sees_all=self._sees_all())
                    yield path, is_there, [value for line in path.read_bytes().splitlines() for value in _parsed(line)]

    def told_by_others(self, dataset_id: UUID) -> list[dict[str, Any]]:
        """What other processes noted of one dataset, the latest of each first; some may have ended since."""
        name, found = str(dataset_id).encode(), list[dict[str, Any]]()
        for path in self._folder.glob("*"):
            with suppress(OSError):
                if path != self._path and name in (data := path.read_bytes()):
                    lines = [line for line in reversed(data.splitlines()) if name in line]
                    found += [value for line in lines for value in _parsed(line) if value.get("id") == str(dataset_id)]
        return found


def _parsed(line: bytes) -> list[dict[str, Any]]:
    try:
        value = json.loads(line)
    except ValueError:
        return []
    return [value] if isinstance(value, dict) else []
