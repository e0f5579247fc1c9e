"""Stamps on disk: a small JSON file for each dataset, whose time is that of the last use."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from onefs import alf
from onefs.cache.atomic import read_json, write_json
from onefs.cache.verify import Signature, Stamp
from onefs.catalogue.records import QC, Dataset


@dataclass(frozen=True, slots=True)
class Fetched:
    """The stamp on disk of a file that onefs fetched.

    `dataset` is as the catalogue had it then; when it was last used is the time of the stamp's own file.
    """

    dataset: Dataset
    signature: Signature
    last_use_s: float


class StampedFile(NamedTuple):
    """The file that a stamp on disk is of. `path` is relative to the cache, without a UUID in the name."""

    dataset_id: UUID
    path: str
    signature: Signature
    is_fetched: bool


class StampFiles:
    """The files of stamps below one folder; each is written whole or not at all. Raises OSError."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def path(self, dataset_id: UUID) -> str:
        """Where a dataset's stamp is kept."""
        name = str(dataset_id)
        return f"{self.folder}/{name[:2]}/{name}.json"

    def read(self, dataset_id: UUID) -> Stamp | None:
        """A dataset's stamp; None if there is none, or it is damaged."""
        return stamp_of(read_json(self.path(dataset_id)))

    def write(self, dataset: Dataset, stamp: Stamp) -> None:
        """Write a dataset's stamp, in the place of another."""
        write_json(self.path(dataset.id), noted(dataset, stamp))

    def remove(self, dataset_id: UUID) -> None:
        """Remove a dataset's stamp, if there is one."""
        with suppress(FileNotFoundError):
            os.unlink(self.path(dataset_id))  # noqa: PTH108  (paths are strings here)

    def adopt(self, dataset_id: UUID, value: dict[str, Any]) -> None:
        """Write the stamp of a file that came to a process that was killed: as ours, and as not verified."""
        path = self.path(dataset_id)
        there = read_json(path)
        if there.get("signature") != value["signature"]:
            write_json(path, {**value, "md5": ""})
        elif not there.get("source"):
            write_json(path, {**value, "md5": there["md5"]})

    def fetched(self, dataset_id: UUID) -> Fetched | None:
        """A dataset's stamp, if it is that of a file that onefs fetched."""
        return self._fetched(dataset_id, self.path(dataset_id))

    def all_fetched(self) -> Iterator[Fetched]:
        """The stamps of the files that onefs fetched."""
        for dataset_id in self.ids():
            found = self.fetched(dataset_id)
            if found is not None:
                yield found

    def ids(self) -> Iterator[UUID]:
        """The ids of the datasets that have a stamp."""
        for folder in _names(self.folder):
            for name in _names(f"{self.folder}/{folder}"):
                with suppress(ValueError):
                    yield UUID(name.removesuffix(".json"))

    def file(self, dataset_id: UUID) -> StampedFile | None:
        """The file that a dataset's stamp is of, whoever put it there; None if there is no stamp, or it is damaged."""
        value = read_json(self.path(dataset_id))
        stamp = stamp_of(value)
        if stamp is None:
            return None
        path = f"{value.get('session')}/{value.get('path')}"
        return StampedFile(dataset_id, path, stamp.signature, bool(stamp.source))

    def _fetched(self, dataset_id: UUID, path: str) -> Fetched | None:
        try:
            with open(path, "rb") as file:  # noqa: PTH123  (a Path costs more than the call)
                return fetched_of(dataset_id, json.loads(file.read()), os.fstat(file.fileno()).st_mtime)
        except (OSError, ValueError):
            return None


def file_of(root: str, fetched: Fetched) -> tuple[str, os.stat_result] | None:
    """Path and status of a file that onefs fetched, under either name; None if it is not that file any more."""
    plain = f"{root}/{fetched.dataset.path}"
    for path in (plain, alf.archive_path(plain, fetched.dataset.id)):
        with suppress(OSError):
            status = os.stat(path)  # noqa: PTH116  (a Path costs more than the call)
            if Signature.of(status) == fetched.signature:
                return path, status
    return None


def noted(dataset: Dataset, stamp: Stamp) -> dict[str, Any]:
    """A stamp and whose it is, as JSON has it."""
    signature = stamp.signature
    return {
        "eid": "" if dataset.eid is None else str(dataset.eid),
        "session": dataset.session_path,
        "path": dataset.rel_path,
        "signature": {
            "size_bytes": signature.size_bytes,
            "mtime_ns": signature.mtime_ns,
            "inode": signature.inode,
        },
        "md5": stamp.md5,
        "accepted": stamp.accepted,
        "source": stamp.source,
    }


def fetched_of(dataset_id: UUID, value: Any, last_use_s: float) -> Fetched | None:
    """What `noted` tells of a file that onefs fetched; None if it is damaged, or tells of another program's file."""
    try:
        stamp, session, rel_path = stamp_of(value), str(value["session"]), str(value["path"])
        eid = UUID(value["eid"]) if value["eid"] else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if stamp is None or not stamp.source or not alf.is_safe_relative(f"{session}/{rel_path}"):
        return None
    size_bytes = stamp.signature.size_bytes
    dataset = Dataset(dataset_id, eid, session, rel_path, size_bytes, stamp.md5, True, QC.NOT_SET, None)
    return Fetched(dataset, stamp.signature, last_use_s)


def stamp_of(value: dict[str, Any]) -> Stamp | None:
    """The stamp that `noted` wrote; None if it is damaged."""
    try:
        told = value["signature"]
        signature = Signature(int(told["size_bytes"]), int(told["mtime_ns"]), int(told["inode"]))
        return Stamp(signature, str(value["md5"]), str(value["accepted"]), str(value["source"]))
    except (KeyError, TypeError, ValueError):
        return None


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  (names are strings here)
    except (FileNotFoundError, NotADirectoryError):
        return []
