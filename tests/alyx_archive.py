"""A small archive on disk that a demo server serves while a test changes it."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import NAMESPACE_URL, UUID, uuid5

import numpy as np

from onefs.alf import archive_path
from onefs.catalogue.records import QC, Dataset, Session
from onefs.demo.archive import DATA_DIR, PUBLIC_DIR, TABLES_DIR, Manifest
from onefs.demo.database_file import DatabaseFile
from onefs.demo.export import TABLE_FILES, write_export

DAY = timedelta(days=1)
FIRST_AGE = timedelta(days=89)
"""Young enough for tables not to expire in a year, and room for changes, each a day later than the one before."""


class AlyxArchive:
    """Sessions and datasets, by their paths in the tree. Changes reach the database with `publish`.

    A dataset keeps its id when it is renamed or its bytes change, as it does in Alyx.
    """

    def __init__(self, directory: Path, first: datetime | None = None) -> None:
        """`first` is when its first tables are made, 89 days ago unless it is told."""
        self.directory = directory
        self.sessions: dict[str, Session] = {}
        self.datasets: dict[str, Dataset] = {}
        self._created = (first or datetime.now(UTC) - FIRST_AGE + DAY) - DAY
        (directory / TABLES_DIR).mkdir(parents=True)
        (directory / DATA_DIR / PUBLIC_DIR).mkdir(parents=True)
        Manifest(layout=1, seed=0, virtual={}).write(directory)

    def put_session(self, path: str, projects: str = "one,two") -> Session:
        """Add a session `lab/Subjects/subject/date/number`."""
        lab, _, subject, day, number = path.split("/")
        eid = uuid5(NAMESPACE_URL, path)
        session = Session(eid, lab, subject, date.fromisoformat(day), int(number), "a_task", projects)
        self.sessions[path] = session
        return session

    def put(self, path: str, content: bytes) -> Dataset:
        """Add a file, or give it other bytes."""
        session_path = "/".join(path.split("/")[:5])
        session = self.sessions.get(session_path) or self.put_session(session_path)
        known = self.datasets.get(path)
        dataset = Dataset(
            id=known.id if known else uuid5(NAMESPACE_URL, path),
            eid=session.eid,
            session_path=session_path,
            rel_path=path.removeprefix(f"{session_path}/"),
            size_bytes=len(content),
            md5=hashlib.md5(content).hexdigest(),
            exists=True,
            qc=QC.PASS,
            default_revision=True,
        )
        self.datasets[path] = dataset
        self.file(path).parent.mkdir(parents=True, exist_ok=True)
        self.file(path).write_bytes(content)
        return dataset

    def put_all(self, files: Mapping[str, bytes]) -> None:
        """Add several files."""
        for path, content in files.items():
            self.put(path, content)

    def rename(self, path: str, new: str) -> None:
        """Give a file another name in its session."""
        before = self.file(path)
        dataset = self.datasets.pop(path)
        self.datasets[new] = replace(dataset, rel_path=new.removeprefix(f"{dataset.session_path}/"))
        self.file(new).parent.mkdir(parents=True, exist_ok=True)
        before.rename(self.file(new))

    def remove(self, path: str) -> None:
        """Take a file out of the database and off the servers."""
        self.file(path).unlink()
        del self.datasets[path]

    def remove_session(self, path: str) -> None:
        """Take a session and its files out."""
        for name in [name for name in self.datasets if name.startswith(f"{path}/")]:
            self.remove(name)
        del self.sessions[path]

    def publish(self) -> str:
        """Let the database and its tables say what was changed; when they were made, always a day later than before."""
        self._created += DAY
        created = f"{self._created:%Y-%m-%d %H:%M}"
        fresh = self.directory / "fresh"
        fresh.mkdir()
        write_export(fresh, list(self.sessions.values()), list(self.datasets.values()), created=created)
        for name in TABLE_FILES:
            if (fresh / name).exists():
                (fresh / name).replace(self.directory / TABLES_DIR / name)
        fresh.rmdir()
        return created

    def keep_only_on(self, path: str, *repositories: str) -> None:
        """Let a file be in some repositories only, such as `aws_lab` or `server_lab`."""
        known = DatabaseFile.read(self.directory)
        only = {**known.only_on, str(self.datasets[path].id): list(repositories)}
        replace(known, only_on=only).write(self.directory)

    def id_of(self, path: str) -> UUID:
        """A file's dataset id."""
        return self.datasets[path].id

    def file(self, path: str) -> Path:
        """Where a file is on disk, as the data server holds it."""
        return self.directory / DATA_DIR / PUBLIC_DIR / archive_path(path, self.id_of(path))

    def move_subject(self, subject: str, lab: str) -> None:
        """Let the database say that a subject is in another lab now. The records of its sessions stay as they are."""
        known = DatabaseFile.read(self.directory)
        replace(known, subject_labs={**known.subject_labs, subject: lab}).write(self.directory)


def archive_of_arrays(home: Path, paths: Iterable[str]) -> AlyxArchive:
    """A published archive in `home`, of files that hold the numbers 0.0 to 9.0."""
    archive = AlyxArchive(home / "archive")
    np.save(home / "array.npy", np.arange(10.0))
    archive.put_all(dict.fromkeys(paths, (home / "array.npy").read_bytes()))
    archive.publish()
    return archive
