"""Makes cache tables for the tests, in the shapes that archives and older clients have given them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from uuid import UUID, uuid5

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from onefs.catalogue.records import QC, Dataset, Session
from onefs.catalogue.snapshot import Snapshot, load_snapshot
from onefs.catalogue.tables import write_tables

SPACE = UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
CREATED = "2026-01-02 03:04"
METADATA = {"date_created": CREATED, "origin": "test", "min_api_version": "2.10"}
RECORDED = Path(__file__).with_name("recordings") / "tables"


def an_id(name: object) -> UUID:
    return uuid5(SPACE, str(name))


def a_session(name="s", lab="lab", subject="subject", day=date(2020, 1, 2), number=1, protocol="task", projects="a,b"):
    return Session(an_id(f"session {name}"), lab, subject, day, number, protocol, projects)


def a_dataset(session, rel_path, name=None, size=10, md5=None, exists=True, qc=QC.PASS, default=True):
    identity = an_id(f"dataset {session and session.eid} {rel_path} {name}")
    return Dataset(
        id=identity,
        eid=session.eid if session else None,
        session_path=session.path if session else "aggregates",
        rel_path=rel_path,
        size_bytes=size,
        md5=identity.hex if md5 is None else md5,
        exists=exists,
        qc=qc,
        default_revision=default,
    )


def an_archive() -> tuple[list[Session], list[Dataset]]:
    """A few sessions in two labs and in none, with revisions, unknown sizes and hashes, and one without datasets."""
    sessions = [
        a_session(f"{lab}{subject}{n}", lab, subject, date(2020, 1, 2) + timedelta(n // 2), n % 2 + 1, f"task{n}", "")
        for lab in ("labb", "laba", "")
        for subject in ("S-2", "S.1")
        for n in range(3)
    ]
    datasets = []
    for at, session in enumerate(sessions[1:]):
        datasets += [
            a_dataset(session, "alf/#2024-05-06#/spikes.times.npy", size=None, default=True),
            a_dataset(session, "alf/spikes.times.npy", md5="", default=False),
            a_dataset(session, "alf/spikes.times.npy", "gone", exists=False),
            a_dataset(session, "raw/_iblrig_taskData.raw.jsonable", size=at, qc=list(QC)[at % 5]),
            a_dataset(session, "é.ü.npy", md5="", size=None, qc=QC.NOT_SET),
        ]
    return sessions, datasets


def load(tmp_path: Path, sessions: Sequence[Session], datasets: Sequence[Dataset], tables="tables") -> Snapshot:
    """The snapshot of an archive, by way of tables in a new directory."""
    directory = tmp_path / tables
    directory.mkdir(exist_ok=True)
    write_tables(directory, sessions, datasets, created=CREATED, origin="test")
    return load_snapshot(directory, tmp_path / "state")


def contents(snapshot: Snapshot) -> dict[Session, list[Dataset]]:
    """Everything that a snapshot tells of its sessions and their datasets, in its order."""
    told = {}
    for row in range(snapshot.n_sessions):
        rows = snapshot.datasets(row)
        told[snapshot.session(row)] = [rows.dataset(i) for i in range(len(rows))]
    return told


def expected(sessions: Iterable[Session], datasets: Iterable[Dataset]) -> dict[Session, list[Dataset]]:
    """The same, told from the lists that the tables were made from; the archive must have no odd rows."""
    ordered = sorted(sessions, key=lambda s: [part.encode() for part in s.path.split("/")])
    told = {session: [] for session in ordered}
    by_eid = {session.eid: session for session in ordered}
    best = {}
    for dataset in sorted(datasets, key=lambda d: (not d.exists, d.id.bytes)):
        best.setdefault((dataset.eid, dataset.rel_path), dataset)
    for (eid, _), dataset in sorted(best.items(), key=lambda item: item[0][1].encode()):
        told[by_eid[eid]].append(dataset)
    return told


def session_columns(sessions: Sequence[Session]) -> dict[str, pa.Array]:
    """The sessions table's columns in today's shape."""
    return {
        "id": pa.array([str(s.eid) for s in sessions], pa.string()),
        "lab": pa.array([s.lab for s in sessions], pa.string()),
        "subject": pa.array([s.subject for s in sessions], pa.string()),
        "date": pa.array([s.date for s in sessions], pa.date32()),
        "number": pa.array([s.number for s in sessions], pa.uint16()),
        "task_protocol": pa.array([s.task_protocol for s in sessions], pa.string()),
        "projects": pa.array([s.projects for s in sessions], pa.string()),
    }


def dataset_columns(datasets: Sequence[Dataset]) -> dict[str, pa.Array]:
    """The datasets table's columns in today's shape."""
    names = pa.array([qc.name for qc in QC])
    codes = pa.array([list(QC).index(d.qc) for d in datasets], pa.int8())
    return {
        "eid": pa.array([d.eid and str(d.eid) for d in datasets], pa.string()),
        "id": pa.array([str(d.id) for d in datasets], pa.string()),
        "rel_path": pa.array([d.rel_path for d in datasets], pa.string()),
        "file_size": pa.array([d.size_bytes for d in datasets], pa.uint64()),
        "hash": pa.array([d.md5 for d in datasets], pa.string()),
        "exists": pa.array([d.exists for d in datasets], pa.bool_()),
        "qc": pa.DictionaryArray.from_arrays(codes, names, ordered=True),
        "default_revision": pa.array([d.default_revision for d in datasets], pa.bool_()),
    }


def save(
    directory: Path,
    sessions: Mapping[str, pa.Array],
    datasets: Mapping[str, pa.Array],
    metadata: Mapping[str, object] = METADATA,
    **options: object,
) -> Path:
    """Write columns as they are into the two tables."""
    directory.mkdir(exist_ok=True)
    for name, columns in (("sessions", sessions), ("datasets", datasets)):
        table = pa.table(dict(columns)).replace_schema_metadata({"one_metadata": json.dumps(metadata)})
        pq.write_table(table, directory / f"{name}.pqt", **options)
    return directory


def as_pair(name: str, ids: Iterable[UUID | None]) -> dict[str, pa.Array]:
    """Ids in ONE's old form: two int64 for the 16 bytes."""
    pairs = np.array([np.frombuffer(i.bytes if i else bytes(16), "<i8") for i in ids]).reshape(-1, 2)
    return {f"{name}_0": pa.array(pairs[:, 0]), f"{name}_1": pa.array(pairs[:, 1])}
