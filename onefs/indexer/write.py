"""Writing what was found in a folder into cache tables."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid3

from onefs import alf
from onefs.catalogue.saving import changing_tables
from onefs.catalogue.schema import QC_NAMES, TableFiles
from onefs.catalogue.tables import write_pair
from onefs.indexer.scan import FoundSession, SessionKey
from onefs.table_times import table_time_text

if TYPE_CHECKING:
    import pyarrow as pa

NAMESPACE = UUID("5ba1f0a4-5fd5-4d0c-9a3c-0d6f7f3c8f6e")
"""What ids are made in. Never to be changed: the ids of every archive indexed so far depend on it."""


def eid_of(session: SessionKey) -> UUID:
    """A session's id: of version 3, for ONE takes versions 3 and 4 only; the same at every run."""
    return uuid3(NAMESPACE, session.text)


def id_of(session: SessionKey, rel_path: str) -> UUID:
    """A dataset's id."""
    return uuid3(NAMESPACE, f"{session.text}/{rel_path}")


def write_index(directory: Path, found: Sequence[FoundSession], *, origin: str, hash_ids: bool = True) -> TableFiles:
    """Write both tables, in place of those that are there, whole and under their lock.

    Not `hash_ids`: without index, in the order of `found`, with the texts themselves that ids are made of as ids; that
    of a dataset is its path in the session. Raises `TableError`, `NoRoomError` or `BusyError`.
    """
    import pyarrow as pa

    sessions = pa.table(_session_columns(found, hash_ids))
    datasets = pa.table(_dataset_columns(found, hash_ids))
    if hash_ids:
        sessions = sessions.sort_by("id")
        datasets = datasets.sort_by([("eid", "ascending"), ("id", "ascending")])
    metadata = {"date_created": table_time_text(), "origin": origin}
    with changing_tables(directory):
        return write_pair(directory, sessions, datasets, metadata, is_indexed=hash_ids)


def _session_columns(found: Sequence[FoundSession], hash_ids: bool) -> "dict[str, pa.Array]":
    import pyarrow as pa

    keys = [session.key for session in found]
    return {
        "id": pa.array([_eid(key, hash_ids) for key in keys], pa.string()),
        "lab": pa.array([key.lab for key in keys], pa.string()),
        "subject": pa.array([key.subject for key in keys], pa.string()),
        "date": pa.array([key.date for key in keys], pa.date32()),
        "number": pa.array([key.number for key in keys], pa.uint16()),
        "task_protocol": pa.array([""] * len(keys), pa.string()),
        "projects": pa.array([""] * len(keys), pa.string()),
    }


def _dataset_columns(found: Sequence[FoundSession], hash_ids: bool) -> "dict[str, pa.Array]":
    import pyarrow as pa

    rows = [(session.key, file) for session in found for file in session.files]
    ids = [str(id_of(key, file.rel_path)) if hash_ids else file.rel_path for key, file in rows]
    defaults = [one for session in found for one in _defaults([file.rel_path for file in session.files])]
    qc = pa.DictionaryArray.from_arrays(pa.array([0] * len(rows), pa.int8()), pa.array(QC_NAMES), ordered=True)
    columns: dict[str, Any] = {
        "eid": pa.array([_eid(key, hash_ids) for key, _ in rows], pa.string()),
        "id": pa.array(ids, pa.string()),
        "rel_path": pa.array([file.rel_path for _, file in rows], pa.string()),
        "file_size": pa.array([file.size_bytes for _, file in rows], pa.uint64()),
        "hash": pa.array([file.md5 or None for _, file in rows], pa.string()),
        "exists": pa.array([True] * len(rows), pa.bool_()),
        "qc": qc,
        "default_revision": pa.array(defaults, pa.bool_()),
    }
    return columns


def _eid(key: SessionKey, hash_ids: bool) -> str:
    return str(eid_of(key)) if hash_ids else key.text


def _defaults(rel_paths: Iterable[str]) -> list[bool]:
    """Which of a session's files are the greatest edition."""
    parts = [alf.split_relative(path) for path in rel_paths]
    greatest: dict[tuple[str, str], str] = {}
    for collection, revision, name in parts:
        greatest[collection, name] = max(revision, greatest.get((collection, name), ""))
    return [greatest[collection, name] == revision for collection, revision, name in parts]
