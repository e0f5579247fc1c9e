"""`Batches`: a database whose small changes are written together, by a thread of its own."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Hashable
from typing import TypeVar

from onefs import forks
from onefs.cache.database import Database

T = TypeVar("T")
Change = Callable[[sqlite3.Connection], object]
BATCH_S = 0.01
"""Changes that come within this time are written together."""
IDLE_S = 60.0
log = logging.getLogger(__name__)


class Batches:
    """Reads and writes a database. Safe to use from several threads. What waits is left to the parent at a fork."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._begin()
        forks.begins_anew_in_children(self)

    def _begin(self) -> None:
        self._news = threading.Condition()  # guards all below
        self._later: dict[Hashable, Change] = {}
        self._under_way: dict[Hashable, Change] = {}
        self._thread: threading.Thread | None = None
        self._hurries = self._closed = False
        self._writing = threading.Lock()  # held while a batch is written; taken before the other

    def begin_anew(self) -> None:
        """Leave what was to be written to the parent of this process."""
        self._begin()

    def add_schema(self, schema: str) -> None:
        """Have further tables (`CREATE TABLE IF NOT EXISTS …`): now, and in each database that is begun anew."""
        self._database.add_schema(schema)

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """What a query finds, also of what was to be written later. Waits while others write."""
        self._write_batch()
        return self._database.read(query)

    def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Make a change, alone in one transaction. What it raises is raised, and nothing changed.

        It may be called twice, as the database may have to be begun anew.
        """
        self._write_batch()
        return self._database.write(change)

    def write_later(self, change: Change, key: Hashable = None, *, is_urgent: bool = False) -> None:
        """Have a change made soon, with others. It takes the place of an earlier one with the same key.

        An urgent one is made at once, but is not waited for.
        """
        with self._news:
            if self._closed or not self._has_thread():
                return
            key = object() if key is None else key
            self._later.pop(key, None)
            self._later[key] = change
            self._hurries |= is_urgent
            if is_urgent or len(self._later) == 1:
                self._news.notify_all()

    def is_pending(self, key: Hashable) -> bool:
        """Whether a change with this key is not written yet."""
        return key in self._later or key in self._under_way

    def flush_batch(self, timeout_s: float | None) -> bool:
        """Have what waits written now; False if that took longer."""
        with self._news:
            if self._thread is None or self._closed:
                return True
            self._hurries = True
            self._news.notify_all()
            self._news.wait_for(lambda: not (self._thread and (self._later or self._under_way)), timeout_s)
            return not (self._later or self._under_way)

    def end(self) -> None:
        """End the thread. What comes from now on is dropped."""
        with self._news:
            self._closed = True
            self._news.notify_all()

    def _prepare(self) -> None:
        """Called first in the thread."""

    def _idle(self) -> None:
        """Called in the thread when nothing came for `IDLE_S`."""

    def _start(self) -> None:
        """Have the thread, so that all is ready once there is something to write."""
        if self._thread is None:
            with self._news:
                self._has_thread()

    def _has_thread(self) -> bool:
        """Start the thread, if need be; False if the machine gives none. To be called with the lock."""
        if self._thread is None and not self._closed:
            thread = threading.Thread(target=self._work, name="onefs-state", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._thread = thread
        return True

    def _work(self) -> None:
        try:
            self._prepare()
            while not self._closed:
                with self._news:
                    is_idle = not self._news.wait_for(lambda: self._later or self._closed, IDLE_S)
                    if not is_idle:
                        self._news.wait_for(lambda: self._hurries or self._closed, BATCH_S)
                        self._hurries = False
                if is_idle:
                    self._idle()
                self._write_batch()
        finally:
            with self._news:
                self._thread = None
                self._news.notify_all()

    def _write_batch(self) -> None:
        with self._writing:
            with self._news:
                self._under_way, self._later = self._later, {}
            batch = list(self._under_way.values())
            try:
                if batch:
                    self._database.write(lambda connection: [change(connection) for change in batch])
            except Exception:
                log.exception("A change of the state failed: the others are made one by one")
                self._write_singly(batch)
            with self._news:
                self._under_way = {}
                self._news.notify_all()

    def _write_singly(self, changes: list[Change]) -> None:
        for change in changes:
            try:
                self._database.write(change)
            except Exception as error:  # noqa: BLE001 - told once, with all of them
                log.debug("%r failed: %s", change, error)
