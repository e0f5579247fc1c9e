"""`KeptPlaces`: a database's labs and data repositories, kept on disk for when it cannot be reached."""

import json
import logging
import os
import stat
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from zlib import crc32

from onefs.alyx.records import Lab, Repository
from onefs.cache.atomic import write_json

T = TypeVar("T", Lab, Repository)
_log = logging.getLogger(__name__)


class PlaceLists(NamedTuple):
    """A database's labs and data repositories."""

    labs: Sequence[Lab]
    repositories: Sequence[Repository]


class KeptPlaces:
    """The lists of one database, in a file of this user's in a state directory. Its errors are only logged.

    No secret is in it: private buckets, for which the database gives keys, are left out. A file that anybody else could
    have written is not used, as logins are sent to where it leads.
    """

    def __init__(self, state_dir: Path, database: str) -> None:
        self._file = state_dir / f"places-{os.geteuid()}.json"
        self._database = database

    def read(self) -> PlaceLists | None:
        """The lists as last written, without private buckets; None if there are no good ones of this database."""
        try:
            raw = self._own_json()
            if raw["database"] != self._database:
                return None
            labs = [_record(Lab, each) for each in raw["labs"]]
            return PlaceLists(labs, [_record(Repository, each) for each in raw["repositories"]])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            _log.info("What %s says of the places of files cannot be used: %s", self._file, error)
            return None

    def write(self, lists: PlaceLists) -> None:
        """Replace the lists on disk."""
        value = {
            "database": self._database,
            "labs": [asdict(lab) for lab in lists.labs],
            "repositories": [asdict(each) for each in lists.repositories if not (each.access_key or each.secret_key)],
        }
        try:
            write_json(self._file, value | {"crc32": _sum_of(value)})
        except OSError as error:
            _log.info("Where files are cannot be kept in %s: %s", self._file, error)

    def _own_json(self) -> Any:
        """The file's contents. Raises `ValueError` if it is damaged, or not this user's own."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # another user may have put a pipe there
        with os.fdopen(os.open(self._file, flags), "rb") as stream:
            found = os.fstat(stream.fileno())
            if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
                raise ValueError("others may have written or read it")
            raw = json.load(stream)
        if raw.pop("crc32") != _sum_of(raw):
            raise ValueError("it is damaged")
        return raw


def _sum_of(value: dict[str, Any]) -> int:
    return crc32(json.dumps(value, sort_keys=True).encode())


def _record(kind: type[T], raw: dict[str, Any]) -> T:
    """A record from its JSON. Raises `TypeError`, `KeyError` or `ValueError` if it is none."""
    values: dict[str, Any] = {}
    for field in fields(kind):
        value = raw[field.name]
        if field.type in (str, bool):
            is_right = type(value) is field.type
        else:
            is_right = isinstance(value, list) and all(isinstance(each, str) for each in value)
        if not is_right:
            raise ValueError(f"{field.name} is odd")
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)
