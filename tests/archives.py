"""Owns what tests know of the recorded archive, read by other means than onefs."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import pyarrow.parquet as pq
from servers import Nginx

from onefs.alf import archive_path
from onefs.catalogue.records import QC, Dataset, Session
from onefs.catalogue.tables import write_tables

RECORDINGS = Path(__file__).parent / "recordings"
ODD_SESSION = "cortexlab/Subjects/KS005/2019-04-01/001"
WRONG_MD5 = f"{ODD_SESSION}/alf/passiveGabor.table.csv"
WRONG_SIZE = f"{ODD_SESSION}/alf/spikes.table.pqt"
FAULTY = {WRONG_MD5, WRONG_SIZE}
USER, PASSWORD = "iblmember", "international"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the recorded tables, read by other means than onefs."""

    path: str
    id: str
    size: int | None
    md5: str
    qc: str

    @property
    def archive_name(self) -> str:
        """Path on the data server."""
        stem, _, extension = self.path.rpartition(".")
        return f"{stem}.{self.id}.{extension}"


def recorded_rows() -> list[Row]:
    """The recorded datasets, with their paths in the tree."""
    sessions = {row["id"]: row for row in pq.read_table(RECORDINGS / "tables" / "sessions.pqt").to_pylist()}
    rows = []
    for row in pq.read_table(RECORDINGS / "tables" / "datasets.pqt").to_pylist():
        session = sessions[row["eid"]]
        folder = f"{session['lab']}/Subjects/{session['subject']}/{session['date']}/{session['number']:03d}"
        rows.append(Row(f"{folder}/{row['rel_path']}", row["id"], row["file_size"], row["hash"] or "", row["qc"]))
    return rows


def sound_rows() -> list[Row]:
    """The recorded datasets that read back whole: those that are held, but for the deliberate faults."""
    return [row for row in held_rows() if row.path not in FAULTY and row.md5]


def held_rows() -> list[Row]:
    """The recorded datasets whose files the recordings hold."""
    public = RECORDINGS / "data" / "public"
    return [row for row in recorded_rows() if (public / row.archive_name).exists()]


def flags_for(server: Nginx) -> list[str]:
    """Flags and environment that point a mount at a data server."""
    return ["--data-url", server.url, "--data-user", USER]


MADE_SESSION = "lab/Subjects/mouse/2024-01-02/001"


def make_tables(
    directory: Path,
    files: Mapping[str, bytes],
    *,
    created: str = "2024-01-03 00:00",
    lab: str = "lab",
    **changes: object,
) -> dict[str, Dataset]:
    """Tables of one session that holds `files` (bytes by relative path), into `directory`; `changes` to each row."""
    eid = uuid5(NAMESPACE_URL, lab)
    session = Session(eid, lab, "mouse", date(2024, 1, 2), 1, "task", "project")
    datasets = {
        path: replace(
            Dataset(
                id=uuid5(eid, path),
                eid=eid,
                session_path=MADE_SESSION,
                rel_path=path,
                size_bytes=len(data),
                md5=hashlib.md5(data).hexdigest(),
                exists=True,
                qc=QC.PASS,
                default_revision=True,
            ),
            **changes,  # type: ignore[arg-type]
        )
        for path, data in files.items()
    }
    directory.mkdir(parents=True, exist_ok=True)
    write_tables(directory, [session], list(datasets.values()), created=created, origin="tests")
    return datasets


def make_served_folder(folder: Path, files: Mapping[str, bytes], *, with_uuids: bool) -> None:
    """A folder as it is on a server: tables, `cache_info.json`, and files with UUIDs in their names or plain ones."""
    for name, dataset in make_tables(folder, files).items():
        path = folder / (archive_path(dataset.path, dataset.id) if with_uuids else dataset.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[name])
    (folder / "cache_info.json").write_text(json.dumps({"date_created": "2024-01-03 00:00"}))


def change_metadata(directory: Path, **changes: object) -> None:
    """Let both tables of a directory say something else of themselves; None takes a value away."""
    for table in ("sessions.pqt", "datasets.pqt"):
        found = pq.read_table(directory / table)
        metadata = dict(found.schema.metadata)
        said = {**json.loads(metadata[b"one_metadata"]), **changes}
        metadata[b"one_metadata"] = json.dumps(
            {key: value for key, value in said.items() if value is not None}
        ).encode()
        pq.write_table(found.replace_schema_metadata(metadata), directory / table)


def on_servers(dataset: Dataset) -> str:
    """A dataset's path on a data server, with a slash before it."""
    return "/" + archive_path(dataset.path, dataset.id)


def copied_tables(folder: Path) -> Path:
    """A folder with copies of the recorded tables, for what keeps its state beside them."""
    for name in ("sessions.pqt", "datasets.pqt"):
        (folder / name).write_bytes((RECORDINGS / "tables" / name).read_bytes())
    return folder
