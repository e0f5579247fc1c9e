"""Owns which edition of the database is served now: the newest on disk, with what clients changed since."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onefs.demo.database import Database, read_database
from onefs.demo.database_file import DATABASE_FILE
from onefs.demo.export import QC_SUMMARY, TABLES
from onefs.demo.rows import FileRow
from onefs.errors import TableError

Stamp = tuple[tuple[str, int, int, int], ...]


class LiveDatabase:
    """The database of an archive, read anew when its files change. For several threads at once."""

    def __init__(self, directory: Path, tables: Path) -> None:
        self._directory = directory
        self._tables = tables
        self._lock = threading.Lock()  # guards all below
        self._stamp: Stamp | None = None
        self._database: Database | None = None
        self._file_json: dict[str, Any] = {}

    def current(self) -> Database:
        """The edition on disk; the one before it while there is none. Raises `TableError` if it cannot be read."""
        with self._lock:
            stamp = tuple(self._files())
            if self._database is not None and (stamp == self._stamp or not self._is_whole()):
                return self._database
            try:
                self._database = read_database(self._directory, self._tables)
            except (OSError, ValueError, TypeError, KeyError) as error:  # pyarrow's errors are among them
                raise TableError(f"The archive in {self._directory} cannot be read: {error!r}.") from error
            self._stamp = stamp
            return self._database

    def _is_whole(self) -> bool:
        return all((self._tables / name).is_file() for name in TABLES)

    def _files(self) -> Iterator[tuple[str, int, int, int]]:
        """The state of each file that the database is read from."""
        for path in (
            self._directory / DATABASE_FILE,
            *(self._tables / name for name in (*TABLES, QC_SUMMARY)),
            *sorted(self._tables.glob(f"*/{TABLES[1]}")),
        ):
            try:
                status = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                continue
            yield str(path), status.st_ino, status.st_size, status.st_mtime_ns

    def file_json(self, file: FileRow) -> Any:
        """The free-form part of a file record."""
        with self._lock:
            return self._file_json.get(file.id)

    def change_file_json(self, file: FileRow, value: Any) -> None:
        """Keep what a client says of a file record, as long as this server runs."""
        with self._lock:
            self._file_json[file.id] = value
