"""`Searches`: searches by terms such as `subject=KS014`, in the catalogue in use or by its database; and saved ones."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID

import numpy as np
from cachetools import LRUCache

from onefs.archive.database_searches import DatabaseSearches
from onefs.archive.saved_searches import SavedSearches
from onefs.catalogue.interface import Catalogue
from onefs.catalogue.query import columns_of, search
from onefs.catalogue.snapshot import Snapshot
from onefs.catalogue.terms import NAMES, complete, terms_of_words
from onefs.vfs.queries import Found

KEPT = 16
SHORT = {"laboratory": "lab", "date_range": "date"}
"""The terms that people write otherwise."""


class Searches:
    """Searches of one source; the last results are kept as long as its catalogue stays the same.

    Safe to use from several threads.
    """

    def __init__(
        self,
        catalogue: Callable[[], Catalogue],
        state_dir: Path,
        database: Callable[[], DatabaseSearches | None] = lambda: None,
    ) -> None:
        """`catalogue` gives the one in use, at rest: it asks no database.

        `database` gives what answers in its place; None while the catalogue does.
        """
        self._catalogue = catalogue
        self._database = database
        self._saved = SavedSearches(state_dir)
        self._lock = threading.Lock()  # guards _kept
        self._kept: LRUCache[tuple[str, ...], tuple[object, Found]] = LRUCache(KEPT)

    @property
    def terms(self) -> Sequence[str]:
        """The names that terms have, sorted. May ask."""
        database = self._database()
        names = NAMES if database is None else database.terms
        return tuple(sorted(SHORT.get(name, name) for name in names))

    def check(self, words: Sequence[str]) -> None:
        """Raise `UsageError` if a word is no term; one without a value, `subject=`, has only its name checked."""
        database = self._database()
        if database is not None:
            database.check(words)
            return
        terms_of_words([word for word in words if not word.endswith("=")])
        for word in words:
            complete(word.partition("=")[0], NAMES)

    def search(self, words: Sequence[str]) -> Found:
        """The sessions that match all words. Raises `UsageError`, and what the database raises."""
        database = self._database()
        if database is not None:
            return database.search(words)
        catalogue = self._catalogue()
        columns = columns_of(catalogue)  # type: ignore[arg-type]
        edition = catalogue if isinstance(catalogue, Snapshot) else columns
        with self._lock:
            known, found = self._kept.get(tuple(words), (None, None))
        if found is None or known is not edition:
            found = Found(catalogue, search(columns, terms_of_words(words)))
            with self._lock:
                self._kept[tuple(words)] = edition, found
        return found

    def save(self, name: str, words: Sequence[str], eids: Sequence[UUID]) -> None:
        """Keep a result under a name, in place of one of the same name. Raises `UsageError` or `CacheDamagedError`."""
        self._saved.save(name, words, eids)

    def forget(self, name: str) -> None:
        """Remove a saved search. Raises `NotInCatalogueError` if there is none of that name."""
        self._saved.forget(name)

    def saved_names(self) -> list[str]:
        """The names of saved searches, sorted."""
        return self._saved.names()

    def saved(self, name: str) -> Found | None:
        """The sessions of a saved search that the catalogue has; None if there is none of that name."""
        search = self._saved.read(name)
        if search is None:
            return None
        database = self._database()
        if database is not None:
            return database.found(search.eids)
        catalogue = self._catalogue()
        rows = (catalogue.session_of_eid(eid) for eid in search.eids)
        return Found(catalogue, np.array([row for row in rows if row is not None], np.int64))
