"""`Defaults` tells whether a dataset is the default edition of its file, by the rule in force."""

import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol
from uuid import UUID

from cachetools import LRUCache

from onefs.catalogue.interface import Rows
from onefs.catalogue.records import Dataset
from onefs.catalogue.revisions import Rule, shown
from onefs.catalogue.snapshot import NO_EID

SESSIONS_KEPT = 64


class Sessions(Protocol):
    """What is asked of a catalogue. `Catalogue` describes its members."""

    @property
    def aggregates(self) -> int | None: ...
    def session_of_eid(self, eid: UUID) -> int | None: ...
    def datasets(self, row: int) -> Rows: ...


class Defaults:
    """Which editions `.onefs/default` of a mount shows. For one thread at a time.

    The mount's own date and quality limit count. A file has the same inode in every view, so by which name it was
    opened nobody can tell.
    """

    def __init__(self, catalogue: Callable[[], Sessions], rule: Callable[[], Rule]) -> None:
        """`catalogue` gives one that asks nobody."""
        self._catalogue = catalogue
        self._rule = rule
        self._of: tuple[weakref.ref[Sessions] | None, Rule] = None, Rule()
        self._sessions: LRUCache[tuple[UUID, int], Mapping[str, bool]] = LRUCache(SESSIONS_KEPT)

    def has(self, dataset: Dataset) -> bool:
        """Whether a dataset is a default edition. Of one that the catalogue has not, its own mark counts."""
        catalogue, rule = self._catalogue(), replace(self._rule(), default_only=True)
        known_catalogue, known_rule = self._of
        if known_catalogue is None or known_catalogue() is not catalogue or known_rule != rule:
            self._sessions.clear()
            self._of = weakref.ref(catalogue), rule
        row = catalogue.aggregates if dataset.eid is None else catalogue.session_of_eid(dataset.eid)
        if row is None:
            return bool(dataset.default_revision)
        key = dataset.eid or NO_EID, row  # what is learned of a session later is told of another row
        found = self._sessions.get(key)
        if found is None:
            rows = catalogue.datasets(row)
            names = shown(rows, rule)
            found = {path: name is not None for path, name in zip(rows.rel_paths, names, strict=True)}
            self._sessions[key] = found
        return found.get(dataset.rel_path, bool(dataset.default_revision))
