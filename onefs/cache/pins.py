"""Owns the pins: which datasets stay in the cache whatever room is wanted, for all who share it."""

import os
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from onefs.cache.atomic import make_folder

FOR_THE_GROUP = 0o664


class Pins:
    """One empty file for each pinned dataset under `folder`. Safe to use from several threads. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, dataset_id: UUID) -> None:
        """Pin a dataset, whether it is in the cache or not."""
        path = self._path(dataset_id)
        make_folder(path.parent)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, FOR_THE_GROUP))

    def remove(self, dataset_id: UUID) -> None:
        """Pin it no longer."""
        self._path(dataset_id).unlink(missing_ok=True)

    def has(self, dataset_id: UUID) -> bool:
        """Whether it is pinned, by whomever."""
        return os.path.exists(self._path(dataset_id))  # noqa: PTH110  (a Path costs more than the call)

    def names(self) -> set[str]:
        """The ids of all that are pinned, as text."""
        found: set[str] = set()
        with suppress(FileNotFoundError), os.scandir(self._folder) as folders:
            for folder in folders:
                with suppress(NotADirectoryError):
                    found.update(os.listdir(folder.path))  # noqa: PTH208
        return found

    def _path(self, dataset_id: UUID) -> Path:
        name = str(dataset_id)
        return self._folder / name[:2] / name
