"""Owns made-up cache tables of any size, as an Alyx exports them: random ids and hashes, kept by their parameters."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.bench import TABLES_PREFIX
from benchmarks.shapes import SHAPES, Collection

LABS = 10
SUBJECTS = 200
FIRST_DAY = 16_000  # since 1970
EDITION = 1  # of what is made here; other editions in the work directory are not used
QC_NAMES = ("NOT_SET", "PASS", "WARNING", "FAIL", "CRITICAL")
PROJECTS = ("ibl_neuropixel_brainwide_01", "", "ibl_neuropixel_brainwide_01,practice", "churchlandlab_learninglifespan")
METADATA = {"date_created": "2025-01-02 03:04", "origin": "alyx", "min_api_version": "2.10"}

Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Made:
    """Which tables: a name in `shapes.SHAPES`, and how many rows."""

    shape: str
    datasets: int
    sessions: int


def tables(kept_dir: Path, made: Made) -> Path:
    """The directory of these tables, made if they are not there yet."""
    directory = kept_dir / f"{TABLES_PREFIX}{EDITION}-{made.shape}-{made.datasets}-{made.sessions}"
    if not directory.exists():
        temporary = directory.with_suffix(".making")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        _write(temporary, made)
        temporary.rename(directory)
    return directory


def paths(directory: Path) -> list[str]:
    """Every dataset's path in the tree."""
    sessions = pq.read_table(directory / "sessions.pqt").to_pandas(ignore_metadata=True)
    folders = {
        row.id: f"{row.lab}/Subjects/{row.subject}/{row.date}/{row.number:03d}"
        for row in sessions.itertuples(index=False)
    }
    datasets = pq.read_table(directory / "datasets.pqt", columns=["eid", "rel_path"])
    eids, names = (datasets[name].to_pylist() for name in ("eid", "rel_path"))
    return [f"{folders[eid]}/{name}" for eid, name in zip(eids, names, strict=True)]


def _write(directory: Path, made: Made) -> None:
    random = np.random.default_rng(1)
    eids = np.sort(_hex_of(_uuids(random, made.sessions)).view("S32").ravel())
    eid_texts = _uuid_texts(eids.view(np.uint8).reshape(-1, 32))
    _save(directory / "sessions.pqt", _sessions(random, eid_texts), ["id"])
    _save(directory / "datasets.pqt", _datasets(random, eid_texts, made), ["eid", "id"])


def _sessions(random: np.random.Generator, eids: pa.Array) -> pa.Table:
    """Each subject has a session a day, and two on every ninth day."""
    count = len(eids)
    order = random.permutation(count)  # ids are random, so tables sorted by them have the subjects mixed
    subject, nth = order % SUBJECTS, order // SUBJECTS
    is_second = nth % 10 == 9
    labs = [f"lab{n:02d}" for n in range(LABS)]
    subjects = [f"{'ZFM' if n % 2 else 'KS'}-{n:05d}" for n in range(SUBJECTS)]
    protocols = [f"_iblrig_tasks_{kind}ChoiceWorld6.{n}.0" for kind in ("ephys", "training") for n in range(10)]
    return pa.table(
        {
            "lab": _taken(labs, subject % LABS),
            "subject": _taken(subjects, subject),
            "date": pa.array((FIRST_DAY + nth - is_second).astype(np.int32), pa.date32()),
            "number": pa.array((1 + is_second).astype(np.uint16)),
            "task_protocol": _taken(protocols, random.integers(0, len(protocols), count)),
            "projects": _taken(PROJECTS, random.integers(0, len(PROJECTS), count)),
            "id": eids,
        }
    )


def _datasets(random: np.random.Generator, eids: pa.Array, made: Made) -> pa.Table:
    collections = SHAPES[made.shape]()
    present = _present(random, collections, made)
    texts = [f"{collection.path}/{name}" for collection in collections for name in collection.names]
    is_default = _defaults(present, texts)
    session, template = np.nonzero(present)
    ids = _hex_of(_uuids(random, made.datasets))
    order = np.lexsort((ids.view(">u8").reshape(-1, 4)[:, 0], session))
    session, template, ids = session[order], template[order], ids[order]
    hashes = _hex_of(random.integers(0, 256, (made.datasets, 16), np.uint8))
    qc = random.choice(4, made.datasets, p=(0.7, 0.2, 0.06, 0.04)).astype(np.int8)
    return pa.table(
        {
            "file_size": pa.array(random.lognormal(11, 3, made.datasets).astype(np.uint64)),
            "hash": _texts(hashes),
            "exists": pa.array(np.ones(made.datasets, bool)),
            "rel_path": _taken(texts, template),
            "qc": pa.DictionaryArray.from_arrays(pa.array(qc), pa.array(QC_NAMES), ordered=True),
            "default_revision": pa.array(is_default[session, template]),
            "eid": eids.take(pa.array(session)),
            "id": _uuid_texts(ids),
        }
    )


def _present(random: np.random.Generator, collections: Sequence[Collection], made: Made) -> Flags:
    """Which session has which file, as many in all as were asked for."""
    parts = []
    expected = sum(len(one.names) * one.in_sessions * one.in_collection for one in collections)
    scale = made.datasets / made.sessions / expected
    for one in collections:
        has_it = random.random((made.sessions, 1)) < one.in_sessions
        likely = min(1.0, one.in_collection * scale)
        parts.append(has_it & (random.random((made.sessions, len(one.names))) < likely))
    present = np.concatenate(parts, axis=1)
    surplus = int(np.count_nonzero(present)) - made.datasets
    among = np.flatnonzero(present if surplus > 0 else ~present)
    present.ravel()[random.choice(among, abs(surplus), replace=False)] = surplus < 0
    return present


def _defaults(present: Flags, texts: Sequence[str]) -> Flags:
    """The newest revision of a file that a session has is its default one."""
    is_default = present.copy()
    columns = {text: number for number, text in enumerate(texts)}
    for text, older in columns.items():
        folder, _, name = text.rpartition("/")
        base = folder.partition("/#")[0]
        for newer in [other for other in columns if other.startswith(f"{base}/#") and other.endswith(f"#/{name}")]:
            if newer > text or "#" not in text:
                is_default[:, older] &= ~present[:, columns[newer]]
    return is_default


def _taken(texts: Sequence[str], numbers: NDArray[Any]) -> pa.Array:
    return pa.array(texts).take(pa.array(numbers))


def _uuids(random: np.random.Generator, count: int) -> Bytes:
    ids = random.integers(0, 256, (count, 16), np.uint8)
    ids[:, 6] = ids[:, 6] & 0x0F | 0x40
    ids[:, 8] = ids[:, 8] & 0x3F | 0x80
    return ids


def _hex_of(digests: Bytes) -> Bytes:
    """ASCII hex digits of each row."""
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    return digits[np.stack((digests >> 4, digests & 15), axis=2).reshape(len(digests), -1)]


def _uuid_texts(digits: Bytes) -> pa.Array:
    """32 hex digits a row, as UUIDs are written."""
    text = np.full((len(digits), 36), ord("-"), np.uint8)
    for start, stop, dashes in ((0, 8, 0), (8, 12, 1), (12, 16, 2), (16, 20, 3), (20, 32, 4)):
        text[:, start + dashes : stop + dashes] = digits[:, start:stop]
    return _texts(text)


def _texts(characters: Bytes) -> pa.Array:
    count, width = characters.shape
    offsets = np.arange(count + 1, dtype=np.int32) * width
    data = np.ascontiguousarray(characters)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(data))


def _save(file: Path, table: pa.Table, index: list[str]) -> None:
    """Write a table with its metadata, and with pandas' own as pandas would write it."""
    like: pd.DataFrame = table.slice(0, 1).to_pandas().set_index(index)
    pandas = pa.Table.from_pandas(like).schema.metadata[b"pandas"]
    metadata = {b"one_metadata": json.dumps(METADATA).encode(), b"pandas": pandas}
    pq.write_table(table.replace_schema_metadata(metadata), file)
