"""`AlyxTables`: the tables of a `OneAlyx`, which add what its database answers."""

from collections.abc import Callable
from datetime import date
from uuid import UUID

from onefs.alyx.client import AlyxClient
from onefs.alyx.records import Insertion
from onefs.alyx.rest import is_bypassed
from onefs.alyx.told import Told
from onefs.api.tables_in_use import Database, TablesInUse
from onefs.archive.catalogues import Known
from onefs.archive.questions import AlyxQuestions, dataset_told
from onefs.catalogue.records import Dataset, Session
from onefs.catalogue.session_rows import AGGREGATES
from onefs.catalogue.snapshot import Snapshot
from onefs.errors import OnefsError, UnknownRecordError

NO_COLUMNS = ("id", "session", "session_info", "datasets", "url")
"""Fields of Alyx's record of an insertion that are no columns of the table."""


class AlyxTables(TablesInUse):
    """The tables of one object with a database. Safe to use from several threads."""

    def __init__(self, tables: Snapshot, client: AlyxClient, on_answer: Callable[[OnefsError | None], None]) -> None:
        self._client = client
        super().__init__(tables, Database(self._questions, on_answer, self._expiry_s))

    def learn(self, told: Told) -> None:
        """Add the sessions, datasets and insertions of an answer to the tables."""
        questions = self._questions(self._known)
        sessions = list(questions.placed(told.sessions))
        paths = {session.eid: session.path for session in sessions}
        datasets = []
        for each in told.datasets:
            if each.eid is not None and each.eid not in paths:
                known = self._known(each.eid)
                if known is None:
                    continue
                paths[each.eid] = known.path
            datasets.append(dataset_told(each, each.eid, paths[each.eid] if each.eid else AGGREGATES))
        if sessions or datasets:
            self.take(sessions, datasets)
        if told.insertions:
            self.take_insertions(map(_row, told.insertions))

    def _known(self, eid: UUID) -> Session | None:
        catalogue = self.catalogue
        row = catalogue.session_of_eid(eid)
        return None if row is None else catalogue.session(row)

    def _questions(self, known: Known) -> "WholeSessions":
        return WholeSessions(self._client, known, self)

    def _expiry_s(self) -> float:
        return 0.0 if is_bypassed() else self._client.default_expiry_s


class WholeSessions(AlyxQuestions):
    """A catalogue's questions to Alyx. One request gets a session and its datasets. Frames get the answers, too."""

    def __init__(self, client: AlyxClient, known: Known, tables: TablesInUse) -> None:
        super().__init__(client, known)
        self._tables = tables

    def session(self, eid: UUID) -> Session | None:
        """The session of this eid; None if there is none that has a place."""
        try:
            told = self._told(eid)
        except UnknownRecordError:
            return None
        sessions = list(self.placed(told.sessions))
        self._tables.merge(sessions, [])
        return next(iter(sessions), None)

    def sessions_of_ref(self, day: date, number: int, subject: str) -> list[Session]:
        """The sessions of this date, number and subject."""
        sessions = super().sessions_of_ref(day, number, subject)
        self._tables.merge(sessions, [])
        return sessions

    def datasets(self, session: Session) -> list[Dataset]:
        """A session's datasets. Raises `UnknownRecordError` if Alyx has no such session any more."""
        datasets = [dataset_told(each, session.eid, session.path) for each in self._told(session.eid).datasets]
        self._tables.merge([], datasets)
        return datasets

    def beside(self, id: UUID) -> tuple[Session | None, list[Dataset]] | None:  # noqa: A002
        """The session of a dataset (None for an aggregate) and all datasets there; None if there is no such dataset."""
        try:
            told = self._client.dataset(id)
        except UnknownRecordError:
            return None
        if told.eid is None:
            return None, self.aggregates()
        session = self.session(told.eid)
        if session is None:
            return None
        others = [each for each in self.datasets(session) if each.id != id]
        return session, [*others, dataset_told(told, session.eid, session.path)]

    def _told(self, eid: UUID) -> Told:
        return self._client.told_by_session(self._client.get(f"sessions/{eid}"))


def _row(insertion: Insertion) -> dict[str, object]:
    """An insertion as a row of its table."""
    further = {name: value for name, value in insertion.record.items() if name not in NO_COLUMNS}
    return {"eid": str(insertion.eid), "id": str(insertion.pid), "name": insertion.name, **further}
