"""Owns the catalogue of remote mode: the tables at hand, and over them what a database tells as folders are entered."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from uuid import UUID

from onefs.catalogue.asking import Asking
from onefs.catalogue.changes import Changes
from onefs.catalogue.interface import Learned, Questions, Rows
from onefs.catalogue.layout import LeftOut
from onefs.catalogue.learning import AGGREGATED, Learning, Question
from onefs.catalogue.records import Dataset, Session
from onefs.catalogue.snapshot import NO_EID, Folder, Snapshot, TableMetadata
from onefs.errors import GoneError, OnefsError

__all__ = ["Learned", "LiveSnapshot", "Questions", "merged"]

EXPIRY_S = 86400.0
RETRY_S = 60.0
NO_TABLES = TableMetadata("", "", "", (), {})
_log = logging.getLogger(__name__)


class LiveSnapshot:
    """A `Catalogue` that asks a database, over the tables at hand. Safe to use from several threads.

    A listing asks, unless it is known since less than `expiry_s`; so does looking up a name that is not known. If
    the database does not answer, what is known of that folder stays, and it is asked again after `retry_s`; where
    nothing is known its error is raised. Rows of `base` keep their meaning; new ones are added. `on_change` is told
    of each answer that changed something, with rows of this catalogue (`folders_new` has folders with another
    session, too), in the thread that asked.
    """

    def __init__(
        self,
        questions: Questions,
        base: Snapshot | None,
        *,
        expiry_s: float = EXPIRY_S,
        retry_s: float = RETRY_S,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[Changes], None] | None = None,
    ) -> None:
        self.base = base
        self.metadata = base.metadata if base else NO_TABLES
        self._questions = questions
        self._asking = Asking(expiry_s=expiry_s, retry_s=retry_s, clock=clock)
        self._on_change = on_change
        self._lock = threading.RLock()  # guards the two below; not held while the database is asked
        self._known = Learning(base)
        self._totals: tuple[int, int, int] | None = None  # sessions, datasets, bytes

    def expire(self) -> None:
        """Ask for everything anew when it is next looked at."""
        self._asking.expire()

    # -- counts --------------------------------------------------------------------------------------------------

    @property
    def left_out(self) -> Mapping[str, LeftOut]:
        """Rows of the tables and of the answers that cannot stand in the tree, by reason."""
        with self._lock:
            return self._known.left_out()

    @property
    def n_sessions(self) -> int:
        """Sessions known so far."""
        return self._counts()[0]

    @property
    def n_datasets(self) -> int:
        """Datasets known so far."""
        return self._counts()[1]

    @property
    def total_bytes(self) -> int:
        """Sum of the known sizes of the datasets known so far, at most `MOST_BYTES`."""
        return self._counts()[2]

    @property
    def aggregates(self) -> int | None:
        """The row that stands for all datasets of no session, if there are any."""
        with self._lock:
            row = self._known.sessions.of_eid(NO_EID)
            return row if row is not None and self._known.stands(row) else None

    def _counts(self) -> tuple[int, int, int]:
        with self._lock:
            if self._totals is None:
                self._totals = self._known.counts()
            return self._totals

    # -- folders -------------------------------------------------------------------------------------------------

    def folder(self, row: int) -> Folder:
        """A folder by its row, one that is gone included."""
        with self._lock:
            return self._known.folders.folder(row)

    def folders(self, row: int) -> list[Folder]:
        """The folders in a folder, sorted by the bytes of their names. May ask."""
        with self._lock:
            questions = self._known.questions_about(row)
        for question in questions:
            error = self._ask(question)
            if question != AGGREGATED:
                self._check(error, row, question)
        with self._lock:
            return self._known.folders.children(row)

    def child(self, row: int, name: str) -> Folder | None:
        """The folder of this name in a folder. Asks if it is not known."""
        with self._lock:
            found = self._known.folders.child(row, name)
            questions = [] if found else self._known.questions_about(row, name)
        for question in questions:
            self._check(self._ask(question), row, question)
        with self._lock:
            return found or self._known.folders.child(row, name)

    def folder_path(self, row: int) -> str:
        """Path of a folder from the root, "" for the root."""
        with self._lock:
            return "/".join(self._known.folders.parts(row))

    def folder_key(self, row: int) -> int:
        """A number below 2**48 computed from the folder's path."""
        with self._lock:
            return self._known.folders.key(row)

    def folder_of_key(self, key: int) -> Folder | None:
        """The folder that has this key, if it is in the tree as far as that is known."""
        with self._lock:
            return self._known.folders.of_key(key)

    # -- sessions ------------------------------------------------------------------------------------------------

    def session(self, row: int) -> Session:
        """A session by its row."""
        with self._lock:
            return self._known.sessions.session(row)

    def session_key(self, row: int) -> int:
        """A number below 2**34 computed from the session's eid."""
        with self._lock:
            return self._known.sessions.key(row)

    def session_of_key(self, key: int) -> int | None:
        """The row that now stands for the session that has this key."""
        with self._lock:
            return self._standing(self._known.sessions.of_key(key))

    def session_of_eid(self, eid: UUID) -> int | None:
        """The row that now stands for the session with this eid."""
        with self._lock:
            return self._standing(self._known.sessions.of_eid(eid))

    def session_digest(self, row: int) -> int:
        """A number that changes if and only if the session's fields or those of its known datasets do."""
        with self._lock:
            return self._known.sessions.digest(row)

    def session_folder(self, row: int) -> Folder:
        """The folder of a session."""
        with self._lock:
            return self._known.folders.folder(self._known.sessions.folder(row))

    def session_path(self, row: int) -> str:
        """Path of a session from the root; `aggregates` for the aggregates."""
        with self._lock:
            return "/".join(self._known.folders.parts(self._known.sessions.folder(row)))

    def newest(self, row: int) -> int:
        """The row that stands now for a row's session. Asks for its datasets if they are known no more."""
        self._ask(self._question_of(row))
        with self._lock:
            return self._known.sessions.newest(row)

    def _standing(self, row: int | None) -> int | None:
        return row if row is not None and self._known.stands(row) else None

    # -- datasets ------------------------------------------------------------------------------------------------

    def datasets(self, row: int) -> Rows:
        """The datasets of a session, those that do not exist included; for one row always the same. May ask."""
        with self._lock:
            has_told = self._known.sessions.has_told(row)
        error = None if has_told else self._ask(self._question_of(row))
        with self._lock:
            if not self._known.sessions.tell_known(row):
                raise error or GoneError(f"Session {self.session(row).eid} is no longer in the catalogue.")
            return self._known.sessions.rows(row, self.session_path(row))

    def dataset_of_id(self, id: UUID) -> Dataset | None:  # noqa: A002
        """The dataset with this id, as far as it is known. Asks nothing."""
        with self._lock:
            found = self.base.dataset_of_id(id) if self.base else None
            eid = self._known.session_of_dataset.get(id, (found.eid or NO_EID) if found else None)
            row = None if eid is None else self._standing(self._known.sessions.of_eid(eid))
            if row is None:
                return None
            edition = self._known.sessions.edition(row)
            if edition is None:
                return found
            rows = self._known.sessions.rows(row, self.session_path(row))
            return rows.dataset(edition.ids.index(id)) if id in edition.ids else None

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
        """Ask, unless the answer is known, and take what is answered. Why there is no answer, or None."""
        changes: list[Changes] = []
        error = self._asking.once(question, lambda: changes.append(self._answer(question)))
        for change in changes:
            if change and self._on_change:
                self._on_change(change)
        return error

    def _answer(self, question: Question) -> Changes:
        try:
            learn = self._put(question)
        except OnefsError as error:
            _log.warning("%s What is known of %s stays as it is.", error.reason, " ".join(question))
            raise
        with self._lock:
            learn()
            self._totals = None
            return self._known.news()

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
            case ("datasets", eid):
                datasets = ask.datasets(self._session_of_eid(UUID(eid)))
                return lambda: known.datasets_of(question, UUID(eid), datasets)
        aggregates = ask.aggregates()
        return lambda: known.aggregates(question, aggregates)

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
