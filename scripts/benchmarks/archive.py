"""Owns made-up archives whose files are there: tables, and the files as a data server holds them."""

import hashlib
import os
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from uuid import uuid4

import numpy as np

from onefs.alf import archive_path
from onefs.catalogue.records import QC, Dataset, Session
from onefs.catalogue.tables import write_tables

PER_SESSION = 50
_PIECE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Archive:
    """`tables` holds the cache tables, `served` the files."""

    tables: Path
    served: Path
    datasets: tuple[Dataset, ...]


def make_archive(home: Path, count: int, size_bytes: int, per_session: int = PER_SESSION) -> Archive:
    """An archive of so many files of this size, of random bytes; those of a session are in one folder."""
    random = np.random.default_rng(2)
    sessions = [_session(number) for number in range(-(-count // per_session))]
    datasets = [
        _make(
            home / "served",
            sessions[n // per_session],
            f"alf/object{n % per_session:03d}.attribute.npy",
            size_bytes,
            random,
        )
        for n in range(count)
    ]
    tables = home / "tables"
    tables.mkdir()
    write_tables(tables, sessions, datasets, created="2025-01-02 03:04", origin="bench")
    return Archive(tables, home / "served", tuple(datasets))


def make_sparse(home: Path, size_bytes: int) -> Archive:
    """An archive of one file of zeros, which takes no room; its MD5 is not known."""
    session = _session(0)
    dataset = _make(home / "served", session, "raw/recording.raw.cbin", 0, np.random.default_rng(2))
    dataset = replace(dataset, size_bytes=size_bytes, md5="0" * 32)
    os.truncate(home / "served" / archive_path(dataset.path, dataset.id), size_bytes)
    tables = home / "tables"
    tables.mkdir()
    write_tables(tables, [session], [dataset], created="2025-01-02 03:04", origin="bench")
    return Archive(tables, home / "served", (dataset,))


def _session(number: int) -> Session:
    return Session(uuid4(), "lab", "mouse", date(2024, 1, 1) + timedelta(days=number), 1, "task", "project")


def _make(served: Path, session: Session, rel_path: str, size_bytes: int, random: np.random.Generator) -> Dataset:
    dataset_id = uuid4()
    file = served / archive_path(f"{session.path}/{rel_path}", dataset_id)
    file.parent.mkdir(parents=True, exist_ok=True)
    md5 = hashlib.md5(usedforsecurity=False)
    with file.open("wb") as stream:
        for start in range(0, size_bytes, _PIECE_BYTES):
            piece = random.bytes(min(_PIECE_BYTES, size_bytes - start))
            md5.update(piece)
            stream.write(piece)
    return Dataset(dataset_id, session.eid, session.path, rel_path, size_bytes, md5.hexdigest(), True, QC.PASS, True)
