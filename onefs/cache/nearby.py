"""Which datasets to read the records of at once, where one file of a folder is opened after the other."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

MOST_AT_ONCE = 64


class Beside(Protocol):
    """A file that knows the datasets near its own."""

    @property
    def folder_path(self) -> str: ...
    def ids_from_here(self, count: int) -> list[UUID]:
        """The ids of its dataset and of some that follow it, `count` at most."""


class RecordsAhead:
    """Chooses them: none for the first file of a folder, then 2, and twice as many each time that those are used up."""

    def __init__(self) -> None:
        self._last = "", 1  # the folder, and how many of it

    def ids(self, file: Beside) -> Sequence[UUID]:
        """The ids of datasets to read together, as that of a file is needed; none if that is to be read alone."""
        folder, count = self._last
        count = min(2 * count, MOST_AT_ONCE) if folder == file.folder_path else 1
        self._last = file.folder_path, count
        return file.ids_from_here(count) if count > 1 else ()
