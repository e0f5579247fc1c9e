"""`Searches`: answers searches such as `subject=KS014` from the catalogue or its database; and saved searches."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from cachetools import LRUCache

from onefs.archive.saved_searches import SavedSearches
from onefs.catalogue.interface import Catalogue
from onefs.catalogue.query import columns_of, search
from onefs.catalogue.snapshot import Snapshot
from onefs.catalogue.terms import NAMES, SHORT, complete_word, terms_of_words
from onefs.vfs.queries import Found

if TYPE_CHECKING:
    from onefs.alyx.client import AlyxClient
    from onefs.archive.catalogues import Catalogues
    from onefs.archive.database_searches import DatabaseSearches

KEPT = 16


def searches_of_database(client: "AlyxClient | None", catalogues: "Catalogues") -> "DatabaseSearches | None":
    """The searches that a database answers; None without one."""
    if client is None:
        return None
    from onefs.archive.database_searches import DatabaseSearches  # slow to import, with what asks the database

    return DatabaseSearches(client, catalogues)


class Searches:
    """Searches of one source; the last results are kept as long as its catalogue stays the same.

    Safe to use from several threads.
    """

    def __init__(
        self,
        catalogue: Callable[[], Catalogue],
        state_dir: Path,
        database: "Callable[[], DatabaseSearches | None]" = lambda: None,
    ) -> None:
        """`catalogue` gives the catalogue in use, which asks no database.

        `database` gives the searches that answer instead of it; None while the catalogue answers.
        """
        self._catalogue = catalogue
        self._database = database
        self._saved = SavedSearches(state_dir)
        self._lock = threading.Lock()  # guards the two below
        self._edition: object = None
        self._kept: LRUCache[tuple[object, ...], Found] = LRUCache(KEPT)

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue in use, at rest."""
        return self._catalogue()

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
            complete_word(word.partition("=")[0], NAMES)

    def search(self, words: Sequence[str]) -> Found:
        """The sessions that match all words. Raises `UsageError`, and what the database raises."""
        database = self._database()
        if database is not None:
            return database.search(words)
        catalogue = self._catalogue()
        edition = _edition(catalogue)
        found = self._known(tuple(words), edition)
        if found is None:
            columns = columns_of(catalogue) if isinstance(catalogue, Snapshot) else edition
            found = Found(catalogue, search(columns, terms_of_words(words)))  # type: ignore[arg-type]
            self._keep(tuple(words), edition, found)
        return found

    def _known(self, key: tuple[object, ...], edition: object) -> Found | None:
        with self._lock:
            if edition is not self._edition:  # nothing is kept of a catalogue that is no longer in use
                self._kept.clear()
                self._edition = edition
            return self._kept.get(key)

    def _keep(self, key: tuple[object, ...], edition: object, found: Found) -> None:
        with self._lock:
            if edition is self._edition:
                self._kept[key] = found

    def saved_names(self) -> list[str]:
        """The names of saved searches, sorted."""
        return self._saved.names()

    def saved(self, name: str) -> Found | None:
        """The sessions of a saved search that the catalogue has; None if there is none of that name."""
        database = self._database()
        if database is not None:
            search = self._saved.read(name)
            return None if search is None else database.found(search.eids)
        catalogue, written = self._catalogue(), self._saved.written(name)
        edition = _edition(catalogue)
        found = self._known((name, written), edition)
        if found is None:
            search = self._saved.read(name)
            if search is None:
                return None
            rows = (catalogue.session_of_eid(eid) for eid in search.eids)
            found = Found(catalogue, np.array([row for row in rows if row is not None], np.int64))
            self._keep((name, written), edition, found)
        return found


def _edition(catalogue: Catalogue) -> object:
    """What is another whenever a search may find something else."""
    return catalogue if isinstance(catalogue, Snapshot) else columns_of(catalogue)  # type: ignore[arg-type]
