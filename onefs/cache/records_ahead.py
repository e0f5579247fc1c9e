"""`RecordsAhead`: whose records to read from the cache's state together, when files of one folder are opened in turn.

One query for many records takes little more than one for one record.
"""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

MOST_AT_ONCE = 64


class FileInFolder(Protocol):
    """A file of the tree that can name the datasets listed after its own."""

    @property
    def folder_path(self) -> str: ...
    def ids_from_here(self, count: int) -> list[UUID]:
        """The ids of its dataset and of some that follow it, `count` at most."""


class RecordsAhead:
    """Chooses the datasets: the first file of a folder alone, then 2 together, and twice as many each further time."""

    def __init__(self) -> None:
        self._last = "", 1  # the folder of the last file, and how many were read together

    def ids(self, file: FileInFolder) -> Sequence[UUID]:
        """The ids of the datasets to read together when `file` is opened; none if its own is to be read alone."""
        folder, count = self._last
        count = min(2 * count, MOST_AT_ONCE) if folder == file.folder_path else 1
        self._last = file.folder_path, count
        return file.ids_from_here(count) if count > 1 else ()
