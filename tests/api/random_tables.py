"""Random cache tables and files, written by pandas: labs, revisions, defaults, outcomes, odd names, aggregates."""

import hashlib
import io
import json
import random
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from right_answers import QC_NAMES

NAMES = [
    "spikes.times.npy", "spikes.amps.npy", "_ibl_wheel.position.npy", "_ibl_trials.goCue_times.npy",
    "spikes.times_ephysClock.npy", "spikes.times.part0.npy", "spikes.times_ephysClock.a.b.npy",
]  # fmt: skip
ODD_NAMES = ["notes.txt", "Read Me", "a.b", "x (1).y.npy", "spikes,times.npy"]
COLLECTIONS = ["", "alf", "alf", "alf/probe00", "alf/probe00/pykilosort", "raw_video_data"]
REVISIONS = ["", "", "", "#2023-01-01#", "#2024-05-06#", "#2024-05-06a#", "#test#"]
SUBJECTS = ["KS014", "KS.1", "ZM_1"]


class Tables(NamedTuple):
    """Sessions by id; datasets by eid and id, without those of no session, and these."""

    sessions: pd.DataFrame
    datasets: pd.DataFrame
    aggregates: pd.DataFrame


def an_id(pick: random.Random) -> str:
    """An id of the version that ONE takes."""
    return str(UUID(int=pick.getrandbits(128), version=4))


def content_of(rel_path: str) -> bytes:
    """The file of a dataset: an array that tells which one it is."""
    file = io.BytesIO()
    np.save(file, np.frombuffer(hashlib.md5(rel_path.encode()).digest(), np.uint32))
    return file.getvalue()


def random_tables(pick: random.Random) -> Tables:
    """Tables of one to six sessions."""
    sessions = pd.DataFrame(
        {
            "lab": pick.choice(["laba", "labb"]),
            "subject": pick.choice(SUBJECTS),
            "date": date(2020, 1, 1) + timedelta(pick.randint(0, 3)),
            "number": pick.randint(1, 3),
            "task_protocol": pick.choice(["", "ephys", "training"]),
            "projects": pick.choice(["", "practice", "a,practice"]),
            "id": an_id(pick),
        }
        for _ in range(pick.randint(1, 6))
    ).drop_duplicates(["lab", "subject", "date", "number"])
    sessions["number"] = sessions["number"].astype("uint16")
    with_defaults = pick.random() < 0.7
    rows = [_dataset(pick, eid, path) for eid in sessions["id"] for path in sorted(_paths(pick))] + [
        _dataset(pick, sessions["id"].iloc[0], "alf/spikes.depths.npy")
    ]  # ONE takes no tables without rows
    aggregates = [
        _dataset(pick, None, f"aggregates/Subjects/laba/{subject}/{edition}_ibl_subjectTrials.table.npy")
        for subject in pick.sample(SUBJECTS, pick.randint(0, 2))
        for edition in pick.sample(["", "#2024-01-01#/"], pick.randint(1, 2))
    ]
    frames = [
        (frame if with_defaults else frame.drop(columns="default_revision")).set_index(["eid", "id"])
        for frame in (_frame(rows), _frame(aggregates or rows).iloc[: len(aggregates)])
    ]
    return Tables(sessions.set_index("id").sort_index(), frames[0].sort_index(), frames[1])


def _paths(pick: random.Random) -> set[str]:
    names = NAMES if pick.random() < 0.7 else NAMES + ODD_NAMES
    parts = [(pick.choice(COLLECTIONS), pick.choice(REVISIONS), pick.choice(names)) for _ in range(pick.randint(0, 9))]
    return {"/".join(filter(None, each)) for each in parts}


def _dataset(pick: random.Random, eid: str | None, rel_path: str) -> dict[str, object]:
    content = content_of(rel_path)
    return {
        "eid": eid,
        "id": an_id(pick),
        "rel_path": rel_path,
        "file_size": len(content),
        "hash": hashlib.md5(content).hexdigest(),
        "exists": pick.random() < 0.8,
        "qc": pick.choice(QC_NAMES),
        "default_revision": "#" not in rel_path if pick.random() < 0.6 else pick.random() < 0.5,
    }


def _frame(rows: list[dict[str, object]]) -> pd.DataFrame:
    qc = pd.CategoricalDtype(QC_NAMES, ordered=True)
    return pd.DataFrame(rows).astype({"file_size": "UInt64", "qc": qc})


def write(folder: Path, tables: Tables) -> None:
    """The tables into a folder, and the files of the datasets that exist."""
    metadata = json.dumps({"date_created": "2024-01-03 00:00", "origin": "tests"}).encode()
    datasets = pd.concat([tables.datasets, tables.aggregates]) if len(tables.aggregates) else tables.datasets
    for name, frame in (("sessions", tables.sessions), ("datasets", datasets)):
        table = pa.Table.from_pandas(frame)
        table = table.replace_schema_metadata({**table.schema.metadata, b"one_metadata": metadata})
        pq.write_table(table, folder / f"{name}.pqt")
    for (eid, _), row in datasets[datasets["exists"]].iterrows():
        file = folder / row.rel_path
        if isinstance(eid, str):
            session = tables.sessions.loc[eid]
            file = (
                folder / f"{session.lab}/Subjects/{session.subject}/{session.date}/{session.number:03}/{row.rel_path}"
            )
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content_of(row.rel_path))
