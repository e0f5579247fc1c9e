"""Owns the quarantine: wrong files put aside, and the record of datasets that no server gives rightly."""

import json
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from onefs.cache.atomic import give_name, read_json, write_json
from onefs.cache.beneath import Folder
from onefs.cache.verify import wanted
from onefs.catalogue.records import Dataset

RECORDS = f"{'?' * len(str(UUID(int=0)))}.json"
"""Not what was moved here, which may be JSON as well."""
FOLDER = "quarantine"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Record:
    """Why a dataset is in quarantine, how often it failed so, and for how long not to ask again."""

    reason: str
    remedy: str
    times: int
    left_s: float


class Quarantine:
    """Records in `records`, files in the folder `quarantine` of what `beside()` says (on the data's file system).

    Records are a help, not a need: where they cannot be written, the failure is remembered by this process only.
    """

    def __init__(self, records: Path, beside: Callable[[], Folder]) -> None:
        self._records = records
        self._beside = beside

    def put_away(self, dataset: Dataset, folder: Folder, path: str, reader: int) -> None:
        """Move a wrong file, which `reader` reads, out of the cache; nothing is deleted. Raises OSError.

        A JSON file beside it tells where it stood, so that it can be put back.
        """
        beside = self._beside()
        target = f"{FOLDER}/{dataset.id}.{time.time_ns()}{Path(path).suffix}"
        origin = {"from": str(folder.path / path), "dataset": str(dataset.id), "wanted": wanted(dataset)}
        beside.write(f"{target}.json", json.dumps(origin).encode())
        number = os.dup(reader)
        try:
            number = give_name(folder, path, number, beside, target)
        except OSError:
            beside.unlink(f"{target}.json")
            raise
        finally:
            os.close(number)

    def record(self, dataset: Dataset, record: Record) -> None:
        """Remember across restarts that no location gives the right bytes."""
        value = {
            "path": dataset.path,
            "wanted": wanted(dataset),
            "reason": record.reason,
            "remedy": record.remedy,
            "times": record.times,
            "until": time.time() + record.left_s,
        }
        try:
            write_json(self._record_path(dataset), value)
        except OSError as error:
            log.warning("The quarantine of %s cannot be recorded: %s", dataset.path, error)

    def read(self, dataset: Dataset) -> Record | None:
        """The record of a dataset; None if there is none or the catalogue has changed since."""
        value = read_json(self._record_path(dataset))
        if value.get("wanted") != wanted(dataset):
            return None
        try:
            left_s = float(value["until"]) - time.time()
            return Record(str(value["reason"]), str(value["remedy"]), int(value["times"]), left_s)
        except (KeyError, TypeError, ValueError):
            return None

    def forget(self, dataset: Dataset | None) -> None:
        """Drop the record of a dataset, or all records. The files stay."""
        paths = [self._record_path(dataset)] if dataset is not None else list(map(str, self._records.glob(RECORDS)))
        for path in paths:
            with suppress(OSError):
                os.unlink(path)  # noqa: PTH108  (a Path costs more than the call)

    def _record_path(self, dataset: Dataset) -> str:
        return f"{self._records}/{dataset.id}.json"
