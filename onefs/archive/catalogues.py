"""The catalogues that one mount serves: the tables in use, overlaid with what its database tells."""

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from onefs.cache.sharing import make_state_folder
from onefs.catalogue.changes import Changes
from onefs.catalogue.interface import Catalogue, Learned, Questions
from onefs.catalogue.records import Dataset, Session
from onefs.catalogue.schema import TableFiles
from onefs.catalogue.snapshot import Snapshot
from onefs.catalogue.tables import read_metadata
from onefs.errors import BusyError, OnefsError, UsageError
from onefs.forks import begins_anew_in_children, new_lock

if TYPE_CHECKING:
    from onefs.catalogue.live import LiveSnapshot

Known = Callable[[UUID], Session | None]
_log = logging.getLogger(__name__)


class Catalogues:
    """The tables in use and what was learned beyond them. Safe to use from several threads.

    `questions` makes what a database is asked, None without one. `on_change` is told, in the thread that asked, over
    which edition of the tables what was learned; it is to ask `takes`. `on_answer` is told of each answer, or why there
    was none.
    """

    def __init__(
        self,
        tables: Snapshot,
        questions: Callable[[Known], Questions] | None,
        on_change: Callable[[int, Changes], None],
        on_answer: Callable[[OnefsError | None], None],
        *,
        expiry_s: Callable[[], float],
    ) -> None:
        self.tables = tables
        self._questions = questions
        self._on_change = on_change
        self._on_answer = on_answer
        self._expiry_s = expiry_s
        self._lock = new_lock()  # guards those below, and `tables`
        self._edition = 0
        self._live: LiveSnapshot | None = None
        self._silent: Catalogue | None = None
        self._has_learned = False
        begins_anew_in_children(self)

    def begin_anew(self) -> None:
        """Forget what the database told, if another thread was taking in an answer at the fork."""
        if self._live is not None and not self._live.is_free():
            self._forget()

    def adopt(self, tables: Snapshot) -> None:
        """Use other tables. What was learned beyond the old ones goes: it is asked for again."""
        with self._lock:
            if self._has_learned:
                _log.info("What the database told beyond the old tables is asked for again")
            self.tables = tables
            self._forget()

    def _forget(self) -> None:
        self._edition += 1
        self._live = self._silent = None
        self._has_learned = False

    def expire(self) -> None:
        """Expire all that the database told."""
        with self._lock:
            live = self._live
        if live is not None:
            live.expire()

    @property
    def tag(self) -> str:
        """The release that the tables in use are restricted to, "" if to none."""
        return "".join(self.tables.metadata.tags[:1])

    @property
    def at_rest(self) -> Catalogue:
        """What is known, without asking: the tables, with what was learned beyond them."""
        with self._lock:
            return self._silent if self._silent is not None and self._has_learned else self.tables

    @property
    def asking(self) -> Catalogue:
        """The catalogue that asks the database. The tables themselves where there is none."""
        with self._lock:
            return self.tables if self._questions is None else self._alive(self._questions)

    def takes(self, edition: int) -> bool:
        """Note that something was learned; False if it was over tables that are no longer in use."""
        with self._lock:
            self._has_learned |= edition == self._edition
            return edition == self._edition

    def learn(self, sessions: Iterable[Session], datasets: Iterable[Dataset]) -> None:
        """Take in what the database told besides the questions asked here."""
        with self._lock:
            live = None if self._questions is None else self._alive(self._questions)
        if live is not None:
            live.learn(sessions, datasets)

    def learned(self) -> Learned:
        """What the database told beyond the tables in use."""
        with self._lock:
            tables, live = self.tables, self._live if self._has_learned else None
        return _learned(tables, live)

    def save(self, directory: Path, origin: str, *, clobber: bool) -> TableFiles:
        """Save the tables in use with what was learned into a directory.

        Raises `TableError`, `BusyError`; `UsageError` where that would change nothing, or save what is not in use.
        """
        with self._lock:
            tables = self.tables
            live = None if self._questions is None else self._alive(self._questions)
        at_home = os.path.realpath(directory) == os.path.realpath(tables.files.datasets.parent)
        if live is None and at_home:
            raise UsageError(
                f"Without a database nothing is learned that could be saved into {directory}.",
                "Name another directory to keep the tables in use there: onefs tables save DIR.",
            )
        if not at_home:
            _check_in_use(tables)
        from onefs.catalogue.saving import save_tables

        return save_tables(
            directory,
            _learned(tables, live),
            clobber=clobber,
            base=tables.files,
            origin=origin,
            state_dir=make_state_folder(directory),
        )

    def _alive(self, questions: Callable[[Known], Questions]) -> "LiveSnapshot":
        """The live catalogue over the tables in use, made when it is first needed."""
        if self._live is None:
            from onefs.catalogue.live import LiveSnapshot
            from onefs.outages import PAUSE_S

            tables, edition = self.tables, self._edition

            def known(eid: UUID) -> Session | None:
                row = tables.session_of_eid(eid)
                return None if row is None else tables.session(row)

            self._live = LiveSnapshot(
                questions(known),
                tables,
                expiry_s=self._expiry_s,
                retry_s=PAUSE_S,
                on_change=lambda changes: self._on_change(edition, changes),
                on_answer=self._on_answer,
            )
            self._silent = self._live.silent()
        return self._live


def _learned(tables: Snapshot, live: "LiveSnapshot | None") -> Learned:
    """What the database told beyond the tables."""
    if live is None:
        return Learned([], [])
    from onefs.catalogue.live import merged

    return merged(tables, live)


def _check_in_use(tables: Snapshot) -> None:
    """Raise `BusyError` if newer tables have taken the place of those in use: another mount may have fetched them."""
    found = read_metadata(tables.files.sessions).created
    if found != tables.metadata.created:
        raise BusyError(
            f"The tables in {tables.files.datasets.parent} are of {found} now, those in use are of "
            f"{tables.metadata.created}.",
            "Take the newer ones with onefs refresh or onefs tables load, then save.",
        )
