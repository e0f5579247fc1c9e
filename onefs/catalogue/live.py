"""The catalogue of mode remote: the tables at hand, overlaid with what a database tells as folders are listed."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from uuid import UUID

from onefs.catalogue.asking import Asking
from onefs.catalogue.changes import Changes
from onefs.catalogue.interface import Learned, Questions, Rows
from onefs.catalogue.learning import AGGREGATED, Learning, Question
from onefs.catalogue.records import Dataset, Session
from onefs.catalogue.session_rows import refusal
from onefs.catalogue.silent import SilentSnapshot
from onefs.catalogue.snapshot import NO_EID, Folder, Snapshot
from onefs.errors import OnefsError, UnknownRecordError
from onefs.outages import noting_stale_answers

__all__ = ["Learned", "LiveSnapshot", "Questions", "merged"]

EXPIRY_S = 86400.0
RETRY_S = 60.0
_log = logging.getLogger(__name__)


class LiveSnapshot(SilentSnapshot):
    """A `Catalogue` that asks a database, over the tables at hand. Safe to use from several threads.

    A listing asks, unless it is known since less than what `expiry_s` gives; so do looking up a name that is not
    known, and finding something by an identifier. If the database does not answer, or the answer is stale, what it told
    of that folder stays, and it is asked again after `retry_s`; where nothing is known, and for a name that is
    not, its error is raised. Rows of `base` keep their meaning; new ones are added. `on_change` is told of each answer
    that changed something, with rows of this catalogue (`folders_new` has folders with another session, too), in the
    thread that asked; `on_answer` of each answer: None, why it is stale, or why there is none.
    """

    may_ask = True

    def __init__(
        self,
        questions: Questions,
        base: Snapshot | None,
        *,
        expiry_s: Callable[[], float] = lambda: EXPIRY_S,
        retry_s: float = RETRY_S,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[Changes], None] | None = None,
        on_answer: Callable[[OnefsError | None], None] | None = None,
    ) -> None:
        super().__init__(base, Learning(base), threading.RLock())
        self._questions = questions
        self._asking = Asking(expiry_s=expiry_s, retry_s=retry_s, clock=clock)
        self._on_change = on_change
        self._on_answer = on_answer or (lambda error: None)  # noqa: ARG005

    def is_free(self) -> bool:
        """Whether no other thread is reading or changing what was learned."""
        is_free = self._lock.acquire(blocking=False)
        if is_free:
            self._lock.release()
        return is_free

    def expire(self) -> None:
        """Ask for everything anew when it is next looked at."""
        self._asking.expire()

    def silent(self) -> SilentSnapshot:
        """The same catalogue for whoever must not ask: it shows what is known, and what this one learns later."""
        return SilentSnapshot(self.base, self._known, self._lock)

    # -- looking -------------------------------------------------------------------------------------------------

    def folders(self, row: int) -> list[Folder]:
        """The folders in a folder, sorted by the bytes of their names; none in one that is gone by then. May ask."""
        with self._lock:
            questions = self._known.questions_about(row)
        for question in questions:
            error = self._ask(question)
            if question != AGGREGATED:
                self._check(error, row, question)
        with self._lock:
            return super().folders(row) if self._known.folders.stands(row) else []

    def child(self, row: int, name: str) -> Folder | None:
        """The folder of this name in a folder. Asks if it is not known, and raises why that cannot be told."""
        with self._lock:
            found = self._known.folders.child(row, name)
            questions = [] if found else self._known.questions_about(row, name)
        errors = list(filter(None, [self._ask(question) for question in questions]))
        found = found or super().child(row, name)
        if found is None and errors:
            raise errors[0]
        return found

    def sessions_of_ref(self, day: date, number: int, subject: str) -> list[int]:
        """Rows of the sessions of this reference. Asks the database; raises its error if none is known."""
        if refusal("", subject, day, number):
            return []
        error = self._ask(("reference", day.isoformat(), str(number), subject))
        found = super().sessions_of_ref(day, number, subject)
        if error and not found:
            raise error
        return found

    def find_session(self, eid: UUID) -> int | None:
        """The row of a session. Asks the database; raises its error if the session is not known."""
        error = self._ask(("session", str(eid)))
        found = self.session_of_eid(eid)
        if error and found is None:
            raise error
        return found

    def find_dataset(self, id: UUID) -> Dataset | None:  # noqa: A002
        """The dataset with this id. Asks for those of its session; raises the error if it is not known."""
        question = ("dataset", str(id))
        known = self.dataset_of_id(id)
        if known is not None and not self._asking.was_answered(question):
            self._renew(known.eid or NO_EID)
            known = self.dataset_of_id(id)
            if known is not None:
                return known
        error = self._ask(question)
        found = self.dataset_of_id(id)
        if error and found is None:
            raise error
        return found

    def _renew(self, eid: UUID) -> None:
        """Ask for a session and its datasets, or for the aggregates."""
        if eid != NO_EID:
            self._ask(("session", str(eid)))
        if self.session_of_eid(eid) is not None:
            self._ask(AGGREGATED if eid == NO_EID else ("datasets", str(eid)))

    def newest(self, row: int) -> int:
        """The row that stands now for a row's session. Asks for its datasets if they are known no more."""
        self._ask(self._question_of(row))
        return super().newest(row)

    def datasets(self, row: int) -> Rows:
        """The datasets of a session, those that do not exist included; for one row always the same.

        Asks if none are known: `newest` is what asks anew.
        """
        with self._lock:
            is_known = self._known.sessions.can_tell(row)
        error = None if is_known else self._ask(self._question_of(row))
        with self._lock:
            if error and not self._known.sessions.can_tell(row):
                raise error
            return super().datasets(row)

    def learn(self, sessions: Iterable[Session], datasets: Iterable[Dataset]) -> None:
        """Take in what the database told besides: these are new, or as it says now; what else is known stays."""
        with self._lock:
            self._known.add(sessions, datasets)
            change = self._known.news()
        if change and self._on_change:
            self._on_change(change)

    def learned(self) -> Learned:
        """All that the database told of sessions and datasets that stand in the tree."""
        with self._lock:
            sessions = [self.session(row) for row in self._rows_of(self._known.told_sessions)]
            datasets = []
            for row in self._rows_of(self._known.told_datasets):
                rows = self._known.sessions.rows(row, self.session_path(row))
                datasets += [rows.dataset(i) for i in range(len(rows))]
            return Learned(sessions, datasets)

    def _rows_of(self, eids: Iterable[UUID]) -> Iterator[int]:
        rows = (self._standing(self._known.sessions.of_eid(eid)) for eid in eids)
        return (row for row in rows if row is not None)

    # -- asking --------------------------------------------------------------------------------------------------

    def _question_of(self, row: int) -> Question:
        """What to ask to know a session's datasets."""
        eid = self.session(row).eid
        return AGGREGATED if eid == NO_EID else ("datasets", str(eid))

    def _check(self, error: OnefsError | None, row: int, question: Question) -> None:
        """Raise why a folder's children cannot be told, if nothing is known of them."""
        if error and not self._known.folders.is_in_base(row) and not self._asking.was_answered(question):
            raise error

    def _ask(self, question: Question) -> OnefsError | None:
        """Ask, unless the answer has not expired, and learn from it. Why it failed or the answer is stale, or None."""
        changes: list[Changes] = []
        error = self._asking.once(question, lambda: self._answer(question, changes))
        for change in changes:
            if change and self._on_change:
                self._on_change(change)
        return error

    def _answer(self, question: Question, changes: list[Changes]) -> OnefsError | None:
        """Ask, and add what changed. Why the answer is stale, or None; raises if there is no answer."""
        try:
            with noting_stale_answers() as freshness:
                learn = self._put(question)
        except OnefsError as error:
            _log.warning("%s What is known of %s stays as it is.", error.reason, " ".join(question))
            self._on_answer(error)
            raise
        self._on_answer(freshness.outage)
        if freshness.outage is not None and self._asking.was_answered(question):
            return freshness.outage  # more may have been learned since that stale answer
        with self._lock:
            learn()
            changes.append(self._known.news())
        return freshness.outage

    def _put(self, question: Question) -> Callable[[], None]:
        """Put a question to the database; what takes in the answer."""
        ask, known = self._questions, self._known
        match question:
            case ("labs",):
                labs = ask.labs()
                without_lab = ask.subjects("") if "" in labs else None
                return lambda: known.labs(question, labs, without_lab)
            case ("subjects", lab):
                subjects = ask.subjects(lab)
                return lambda: known.subjects(question, lab, subjects)
            case ("sessions", lab, subject):
                sessions = ask.sessions(lab, subject)
                return lambda: known.sessions_of(question, lab, subject, sessions)
            case ("session", eid):
                return self._put_session(UUID(eid))
            case ("reference", day, number, subject):
                found = ask.sessions_of_ref(date.fromisoformat(day), int(number), subject)
                return lambda: known.sessions_of_ref(date.fromisoformat(day), int(number), subject, found)
            case ("dataset", id_):
                beside = ask.beside(UUID(id_))
                return lambda: known.dataset(*beside) if beside is not None else None
            case ("datasets", eid):
                try:
                    datasets = ask.datasets(self._session_of_eid(UUID(eid)))
                except UnknownRecordError:
                    return lambda: known.session(UUID(eid), None)
                return lambda: known.datasets_of(question, UUID(eid), datasets)
        aggregates = ask.aggregates()
        return lambda: known.aggregates(question, aggregates)

    def _put_session(self, eid: UUID) -> Callable[[], None]:
        """Ask for a session, and for the others that are known on its path: they may have moved."""
        session = self._questions.session(eid)
        with self._lock:
            others = set(self._known.eids_at(session.path)) - {eid} if session is not None else ()
        told = {other: self._questions.session(other) for other in others} | {eid: session}

        def learn() -> None:
            for each, what in told.items():
                self._known.session(each, what)

        return learn

    def _session_of_eid(self, eid: UUID) -> Session:
        with self._lock:
            row = self._known.sessions.of_eid(eid)
            assert row is not None, "asked about a session that has a row"
            return self._known.sessions.session(row)


def merged(base: Snapshot | None, live: LiveSnapshot) -> Learned:
    """What a database told, but for what `base` says in the same words: the rows to save beyond those of `base`."""
    learned = live.learned()
    if base is None:
        return learned
    return Learned(
        [session for session in learned.sessions if _session_in(base, session.eid) != session],
        [dataset for dataset in learned.datasets if base.dataset_of_id(dataset.id) != dataset],
    )


def _session_in(base: Snapshot, eid: UUID) -> Session | None:
    row = base.session_of_eid(eid)
    return None if row is None else base.session(row)
