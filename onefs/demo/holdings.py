"""Owns which files each of the demo's servers holds: the data server and the bucket, beside each other."""

from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

from werkzeug.exceptions import NotFound

from onefs import alf
from onefs.demo.archive import DATA_DIR, PUBLIC_DIR, Manifest
from onefs.demo.database_file import BUCKET_NAME, DatabaseFile, Repository, default_repositories
from onefs.demo.plan import CREATED_S
from onefs.demo.raw import LARGE_BYTES, LargeRecording
from onefs.demo.rows import AGGREGATES
from onefs.demo.sending import File, open_file

KEYS_DIR = "data/"
"""What stands before a lab's folder in the bucket's keys, but not before the aggregates'."""
Serves = Callable[[Repository], bool]


def on_data_server(repository: Repository) -> bool:
    """Whether the data server holds what is in a repository."""
    return (repository.data_url or "").startswith(f"/{PUBLIC_DIR}/")


def in_bucket(repository: Repository) -> bool:
    """Whether the demo's bucket holds what is in a repository."""
    return (repository.json or {}).get("bucket_name") == BUCKET_NAME


class Holdings:
    """The files of one archive, by their path below `public/`. Both servers hold all of them but for `only_on`."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self._directory = directory
        self._virtual = manifest.virtual

    def open_path(self, path: str) -> File:
        """What the data server has at a path. Raises `NotFound`."""
        return self._open(path, on_data_server)

    def open_key(self, key: str) -> File:
        """What the bucket has under a key. Raises `NotFound`."""
        if not key.startswith((KEYS_DIR, f"{AGGREGATES}/")):
            raise NotFound
        return self._open(key.removeprefix(KEYS_DIR), in_bucket)

    def _open(self, path: str, serves: Serves) -> File:
        if not alf.is_safe_relative(path) or self._is_elsewhere(path, serves):
            raise NotFound
        if path in self._virtual:
            return File(cast(IO[bytes], LargeRecording(self._virtual[path])), LARGE_BYTES, CREATED_S)
        return open_file(self._directory / DATA_DIR / PUBLIC_DIR / path)

    def _is_elsewhere(self, path: str, serves: Serves) -> bool:
        """Whether the database says that this file is on other servers only."""
        known = DatabaseFile.read(self._directory)
        only = next((names for key, names in known.only_on.items() if key in path.rpartition("/")[2]), None)
        if only is None:
            return False
        repositories = known.repositories
        if repositories is None:
            repositories = default_repositories([path.partition("/")[0]])
        return not any(serves(each) for each in repositories if each.name in only)
