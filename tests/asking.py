"""A database for the tests of catalogues that ask: it answers from tables, which tests may write anew."""

import time
from collections.abc import Iterable
from datetime import date
from hashlib import md5
from pathlib import Path
from uuid import NAMESPACE_URL, UUID, uuid5

from onefs.catalogue.records import QC, Dataset, Session
from onefs.catalogue.snapshot import load_snapshot
from onefs.catalogue.tables import write_tables
from onefs.errors import UnreachableError


def a_session(lab: str = "lab", subject: str = "mouse", day: str = "2024-01-02", number: int = 1) -> Session:
    """A session whose eid follows from where it stands."""
    eid = uuid5(NAMESPACE_URL, f"{lab} {subject} {day} {number}")
    return Session(eid, lab, subject, date.fromisoformat(day), number, "task", "project")


def a_dataset(session: Session | None, rel_path: str, data: bytes = b"spikes", qc: QC = QC.PASS) -> Dataset:
    """A dataset whose id follows from where it stands."""
    place = session.path if session else "aggregates"
    return Dataset(
        uuid5(NAMESPACE_URL, f"{place}/{rel_path}"),
        session.eid if session else None,
        place,
        rel_path,
        len(data),
        md5(data).hexdigest(),
        True,
        qc,
        True,
    )


def tables_of(directory: Path, sessions: Iterable[Session], datasets: Iterable[Dataset]) -> Path:
    """Tables, written into a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    write_tables(directory, list(sessions), list(datasets), created="2024-01-03 00:00", origin="tests")
    return directory


class Database:
    """Answers `Questions` from lists, which tests may change."""

    def __init__(self, sessions: Iterable[Session] = (), datasets: Iterable[Dataset] = ()) -> None:
        self.all_sessions = list(sessions)
        self.all_datasets = list(datasets)

    def told(self, *question: str) -> tuple[list[Session], list[Dataset]]:
        """All that there is."""
        return self.all_sessions, self.all_datasets

    def labs(self) -> list[str]:
        return sorted({session.lab for session in self.told("labs")[0]})

    def subjects(self, lab: str) -> list[str]:
        return sorted({session.subject for session in self.told("subjects", lab)[0] if session.lab == lab})

    def sessions(self, lab: str, subject: str) -> list[Session]:
        found = self.told("sessions", lab, subject)[0]
        return [session for session in found if (session.lab, session.subject) == (lab, subject)]

    def session(self, eid: UUID) -> Session | None:
        return next((session for session in self.told("session", str(eid))[0] if session.eid == eid), None)

    def sessions_of_ref(self, day: date, number: int, subject: str) -> list[Session]:
        found = self.told("reference", str(day), str(number), subject)[0]
        return [each for each in found if (each.date, each.number, each.subject) == (day, number, subject)]

    def beside(self, id_: UUID) -> tuple[Session | None, list[Dataset]] | None:
        found = self.told("dataset", str(id_))[1]
        dataset = next((dataset for dataset in found if dataset.id == id_), None)
        if dataset is None:
            return None
        session = next((session for session in self.all_sessions if session.eid == dataset.eid), None)
        return session, [each for each in found if each.eid == dataset.eid]

    def datasets(self, session: Session) -> list[Dataset]:
        return [dataset for dataset in self.told("datasets", str(session.eid))[1] if dataset.eid == session.eid]

    def aggregates(self) -> list[Dataset]:
        return [dataset for dataset in self.told("aggregates")[1] if dataset.eid is None]

    def eid_of_pid(self, pid: UUID) -> UUID | None:
        """Each session has one probe, whose id is the eid counted on by one."""
        eids = {session.eid for session in self.told("insertion", str(pid))[0]}
        eid = UUID(int=pid.int - 1)
        return eid if eid in eids else None


class TablesDatabase(Database):
    """Answers from the tables in `home`/told, as they are when it is asked.

    While there is a file `home`/down, it cannot be reached; while there is `home`/held, it does not answer. Each
    question is a line in `home`/asked.
    """

    def __init__(self, home: Path) -> None:
        super().__init__()
        self._home = home

    def told(self, *question: str) -> tuple[list[Session], list[Dataset]]:
        with (self._home / "asked").open("a") as asked:
            asked.write(" ".join(question) + "\n")
        while (self._home / "held").exists():
            time.sleep(0.01)
        if (self._home / "down").exists():
            raise UnreachableError("The database cannot be reached.", "Try later.")
        snapshot = load_snapshot(self._home / "told", self._home / "state")
        rows = [*range(snapshot.n_sessions), *([] if snapshot.aggregates is None else [snapshot.aggregates])]
        datasets = [snapshot.datasets(row).dataset(i) for row in rows for i in range(len(snapshot.datasets(row)))]
        return [snapshot.session(row) for row in range(snapshot.n_sessions)], datasets
