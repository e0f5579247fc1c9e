"""`OldState`: the state that onefs kept before there was a database, in many small files, until it is taken over."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from onefs import alf
from onefs.cache.atomic import read_json
from onefs.cache.verify import CopyRecord, Signature, Stamp
from onefs.catalogue.records import QC, Dataset

FOLDERS = ("stamps", "pins", "room")


class OldState:
    """What is below `folder` of copies below `data_dir`. Safe to use from several threads."""

    def __init__(self, folder: Path, data_dir: Path) -> None:
        self._folder = os.fspath(folder)
        self._root = os.fspath(data_dir)
        self._is_gone: bool | None = None

    @property
    def is_there(self) -> bool:
        """Whether anything is left to be taken over; looked at once."""
        if self._is_gone is None:
            self._is_gone = not any(os.path.isdir(f"{self._folder}/{name}") for name in FOLDERS)  # noqa: PTH112
        return not self._is_gone

    def find(self, dataset_id: UUID) -> CopyRecord | None:
        """What is known of a dataset's copy, if its file is still the one that was verified."""
        return self._record(dataset_id, self._stamp_path(dataset_id)) if self.is_there else None

    def stamp(self, dataset_id: UUID) -> Stamp | None:
        """The stamp of a dataset's copy, if its file is still the one that was verified."""
        found = self.find(dataset_id)
        return found.stamp if found is not None else None

    def forget(self, dataset_id: UUID) -> None:
        """Forget a dataset's copy."""
        if self.is_there:
            with suppress(OSError):
                os.unlink(self._stamp_path(dataset_id))  # noqa: PTH108

    def copies(self) -> Iterator[CopyRecord]:
        """What is known of all copies whose files are still those that were verified, or fetched."""
        for line in _lines(f"{self._folder}/room/arrivals"):
            with suppress(ValueError, KeyError, TypeError):
                value = json.loads(line)
                record = self._parsed(UUID(value["id"]), {**value, "md5": ""}, 0.0)
                if record is not None:
                    yield record
        for dataset_id, path in _files(f"{self._folder}/stamps"):
            record = self._record(dataset_id, path)
            if record is not None:
                yield record

    def pins(self) -> list[UUID]:
        """The datasets that are pinned."""
        return [dataset_id for dataset_id, _ in _files(f"{self._folder}/pins")]

    def remove_pins(self) -> None:
        """Delete the pins, once they were taken over."""
        shutil.rmtree(f"{self._folder}/pins", ignore_errors=True)

    def remove(self) -> None:
        """Delete what was taken over."""
        for name in FOLDERS:
            shutil.rmtree(f"{self._folder}/{name}", ignore_errors=True)
        for name in _names(f"{self._folder}/quarantine"):  # failures, which are remembered for some minutes
            with suppress(ValueError, OSError):
                UUID(name.removesuffix(".json"))
                os.unlink(f"{self._folder}/quarantine/{name}")  # noqa: PTH108
        self._is_gone = True

    def _stamp_path(self, dataset_id: UUID) -> str:
        name = str(dataset_id)
        return f"{self._folder}/stamps/{name[:2]}/{name}.json"

    def _record(self, dataset_id: UUID, path: str) -> CopyRecord | None:
        try:
            last_use_s = os.stat(path).st_mtime  # noqa: PTH116
        except OSError:
            return None
        return self._parsed(dataset_id, read_json(path), last_use_s)

    def _parsed(self, dataset_id: UUID, value: dict[str, Any], last_use_s: float) -> CopyRecord | None:
        """The record that a JSON object tells, with the ctime that the file has now; None if the file is another."""
        try:
            told = value["signature"]
            signature = Signature(int(told["size_bytes"]), int(told["mtime_ns"]), 0, int(told["inode"]))
            md5, accepted, source = str(value["md5"]), str(value["accepted"]), str(value["source"])
            eid = UUID(value["eid"]) if value["eid"] else None
            session, path = str(value["session"]), str(value["path"])
            "".join((md5, accepted, source, session, path)).encode()  # what is no text cannot be kept in the database
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        if not alf.is_safe_relative(f"{session}/{path}"):
            return None
        dataset = Dataset(dataset_id, eid, session, path, signature.size_bytes, md5, True, QC.NOT_SET, None)
        found = CopyRecord(dataset, Stamp(signature, md5, accepted, source), last_use_s).find_file(self._root)
        if found is None:
            return None
        return CopyRecord(dataset, Stamp(Signature.of(found[1]), md5, accepted, source), last_use_s)


def _files(folder: str) -> Iterator[tuple[UUID, str]]:
    for inner in _names(folder):
        for name in _names(f"{folder}/{inner}"):
            with suppress(ValueError):
                yield UUID(name.removesuffix(".json")), f"{folder}/{inner}/{name}"


def _lines(folder: str) -> Iterator[bytes]:
    for name in _names(folder):
        with suppress(OSError):
            yield from Path(folder, name).read_bytes().splitlines()


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  (names are strings here)
    except OSError:
        return []
