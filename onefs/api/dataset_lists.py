"""Lists of datasets as arguments: requests of `load_datasets`, and ids of datasets in every form that is accepted."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np

from onefs import alf
from onefs.alf_files.bunch import Bunch
from onefs.api.dataset_choice import DatasetName
from onefs.catalogue.records import Dataset
from onefs.one_errors import UsageError


class DatasetRequest(NamedTuple):
    """One dataset that `load_datasets` is to load. With `as_path` a bare name is a path: a file in the session's root.

    `id` is set for the row of a frame.
    """

    name: DatasetName
    collection: str | None
    revision: str | None
    as_path: bool
    id: UUID | None = None


def dataset_requests(datasets: Any, collections: Any, revisions: Any) -> list[DatasetRequest]:
    """The requests for datasets given to `load_datasets`. Raises `UsageError`, or `TypeError` if they are no list."""
    is_frame = hasattr(datasets, "columns")
    names = datasets["rel_path"] if is_frame else datasets
    if isinstance(names, str | Mapping) or not isinstance(names, Iterable):
        raise TypeError("datasets is not a list. Give a list of names, of relative paths or of dicts, or a frame.")
    names = list(names)
    ids: Sequence[UUID | None] = dataset_ids(datasets) if is_frame else []
    if not all(isinstance(name, str) for name in names) and not all(isinstance(name, Mapping) for name in names):
        raise UsageError("datasets mixes texts and dicts, or holds something else.", "Give texts only, or dicts only.")
    as_path = is_frame or any(isinstance(name, str) and "/" in name for name in names)
    if as_path and not (collections is None and revisions is None):
        raise UsageError(
            "Relative paths and frames say where each dataset is, and collections or revisions are given too.",
            "Leave these out.",
        )
    places = _one_each(collections, len(names), "collections")
    editions = _one_each(revisions, len(names), "revisions")
    return [
        DatasetRequest(name, place, edition, as_path, id_)
        for name, place, edition, id_ in zip(names, places, editions, ids or repeat(None), strict=False)
    ]


def _one_each(value: Any, count: int, what: str) -> list[Any]:
    if value is None or isinstance(value, str):
        return [value] * count
    values = list(value)
    if len(values) != count:
        raise UsageError(
            f"There are {count} datasets and {len(values)} {what}.", "Give one text for all, or one for each."
        )
    return values


def dataset_id(value: Any) -> UUID:
    """A dataset's id given as text, UUID or two int64 (its 16 bytes, little-endian). Raises `UsageError`."""
    if isinstance(value, UUID):
        return value
    try:
        if isinstance(value, str):
            return UUID(value)
        pair = np.asarray(value)
        if pair.shape == (2,) and pair.dtype.kind == "i":
            return UUID(bytes=pair.astype("<i8").tobytes())
    except (ValueError, TypeError):
        pass
    raise UsageError(f"{value!r} is no id of a dataset.", "Give a UUID, as text or as two int64.")


def dataset_ids(records: Any) -> list[UUID]:
    """The ids of datasets: of a frame's rows, of a Series that is a row, of Alyx's or other records."""
    if hasattr(records, "columns"):
        level = records["id"] if "id" in records.columns else records.index.get_level_values(-1)
        return [dataset_id(each) for each in level]
    if hasattr(records, "index") and hasattr(records, "name"):
        return [dataset_id(records["id"] if "id" in records.index else np.ravel(np.asarray(records.name, object))[-1])]
    members = [records] if isinstance(records, Mapping) else list(records)
    return [_of_record(each) for each in members]


def _of_record(record: Any) -> UUID:
    if not isinstance(record, Mapping):
        return dataset_ids(record)[0] if hasattr(record, "index") and hasattr(record, "name") else dataset_id(record)
    if "id" in record:
        return dataset_id(record["id"])
    return dataset_id(str(record.get("url", "")).rstrip("/").rpartition("/")[2])


def record_of(dataset: Dataset, further: Mapping[str, Any]) -> Bunch:
    """A dataset as `load_datasets` tells it: its ids, the table's columns, further ones too, and its revision."""
    columns = {
        "eid": None if dataset.eid is None else str(dataset.eid),
        "id": str(dataset.id),
        "rel_path": dataset.rel_path,
        "file_size": dataset.size_bytes,
        "hash": dataset.md5 or None,
        "exists": dataset.exists,
        "qc": dataset.qc.name,
    }
    if dataset.default_revision is not None:
        columns["default_revision"] = dataset.default_revision
    return Bunch(columns, **further, revision=alf.split_relative(dataset.rel_path).revision)
