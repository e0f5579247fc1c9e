"""A database for the tests of live catalogues: it answers from lists, counts what it is asked, and can fail or wait."""

import threading
from collections import Counter
from collections.abc import Sequence
from datetime import date
from uuid import UUID

from onefs.catalogue.live import LiveSnapshot
from onefs.catalogue.records import Dataset, Session
from onefs.errors import OnefsError, UnknownRecordError, UnreachableError
from onefs.outages import note_stale_answer


class Database:
    """Answers `Questions` from lists, which tests may change."""

    def __init__(self, sessions: Sequence[Session], datasets: Sequence[Dataset]) -> None:
        self.all_sessions = list(sessions)
        self.all_datasets = list(datasets)
        self.asked: Counter[tuple[str, ...]] = Counter()
        self.failure: OnefsError | None = None
        self.outage: UnreachableError | None = None  # why its answers are earlier ones
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.was_asked = threading.Event()

    def _note(self, *question: str) -> None:
        self.asked[question] += 1
        self.was_asked.set()
        self.may_answer.wait()
        if self.failure:
            raise self.failure
        if self.outage:
            note_stale_answer(self.outage)

    def labs(self) -> list[str]:
        self._note("labs")
        return list({session.lab for session in self.all_sessions})

    def subjects(self, lab: str) -> list[str]:
        self._note("subjects", lab)
        return list({session.subject for session in self.all_sessions if session.lab == lab})

    def sessions(self, lab: str, subject: str) -> list[Session]:
        self._note("sessions", lab, subject)
        return [session for session in self.all_sessions if session.subject == subject]

    def session(self, eid: UUID) -> Session | None:
        self._note("session", str(eid))
        return next((session for session in self.all_sessions if session.eid == eid), None)

    def sessions_of_ref(self, day: date, number: int, subject: str) -> list[Session]:
        self._note("reference", str(day), str(number), subject)
        found = self.all_sessions
        return [each for each in found if (each.date, each.number, each.subject) == (day, number, subject)]

    def beside(self, id_: UUID) -> tuple[Session | None, list[Dataset]] | None:
        self._note("dataset", str(id_))
        found = self.all_datasets
        dataset = next((dataset for dataset in found if dataset.id == id_), None)
        if dataset is None:
            return None
        session = next((session for session in self.all_sessions if session.eid == dataset.eid), None)
        return session, [each for each in found if each.eid == dataset.eid]

    def datasets(self, session: Session) -> list[Dataset]:
        self._note("datasets", str(session.eid))
        if session.eid not in {known.eid for known in self.all_sessions}:
            raise UnknownRecordError("There is no such session any more.")
        return [dataset for dataset in self.all_datasets if dataset.eid == session.eid]

    def aggregates(self) -> list[Dataset]:
        self._note("aggregates")
        return [dataset for dataset in self.all_datasets if dataset.eid is None]


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def walk(catalogue) -> dict[str, object]:
    """Everything that a tree takes from a catalogue, by path, found by listing folder after folder."""
    told: dict[str, object] = {}
    below = [catalogue.folder(0)]
    while below:
        folder = below.pop()
        path = catalogue.folder_path(folder.row)
        children = catalogue.folders(folder.row)
        below += children
        told[path or "/"] = (folder.name, [child.name for child in children], catalogue.folder_key(folder.row))
        if folder.session is not None:
            told[f"{path} datasets"] = session_facts(catalogue, catalogue.newest(folder.session))
    dates = {catalogue.folder_path(row): catalogue.folder(row).date for row in rows_of_folders(catalogue)}
    return told | {f"{path} date": day for path, day in dates.items()}


def rows_of_folders(catalogue) -> list[int]:
    """Rows of all folders, the root first; listings must be known."""
    rows = [0]
    for row in rows:
        rows += [folder.row for folder in catalogue.folders(row)]
    return rows


def session_facts(catalogue, row: int) -> tuple[object, ...]:
    """All that is told of one session, but for its row."""
    rows = catalogue.datasets(row)
    columns = [
        list(column)
        for column in (rows.rel_paths, rows.sizes, rows.exists, rows.qc, rows.content, rows.default_revision)
    ]
    assert rows.session == row
    return (
        catalogue.session(row),
        catalogue.session_key(row),
        catalogue.session_path(row),
        catalogue.session_digest(row),
        columns,
        [rows.id(i) for i in range(len(rows))],
        [rows.dataset(i) for i in range(len(rows))],
    )


def find(catalogue, path: str):
    """The folder at a path, looked up name by name, or None."""
    folder = catalogue.folder(0)
    for part in path.split("/"):
        folder = catalogue.child(folder.row, part)
        if folder is None:
            return None
    return folder


def a_live(database: Database, base=None, **options) -> LiveSnapshot:
    """A live catalogue whose clock stands still."""
    return LiveSnapshot(database, base, **({"clock": Clock()} | options))
