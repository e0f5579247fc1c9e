"""`DatabaseSearches`: searches that Alyx answers. The catalogues learn the sessions that it finds."""

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from cachetools import LRUCache

from onefs.alyx.client import AlyxClient
from onefs.alyx.rest import identity
from onefs.alyx.schema import LIST
from onefs.alyx.search import JOINED, search
from onefs.alyx.told import SESSIONS, Told
from onefs.archive.catalogues import Catalogues
from onefs.archive.questions import AlyxQuestions
from onefs.catalogue.identifiers import LENGTH_OF_ID
from onefs.catalogue.interface import Catalogue
from onefs.catalogue.records import Session
from onefs.catalogue.terms import NAMES, complete_word, days_of, numbers_of, qc_of, values_of_words
from onefs.errors import UsageError
from onefs.vfs.queries import Found

FAR_PAST, FAR_FUTURE = date(1677, 9, 21), date(2262, 4, 11)
"""What stands for the open ends of a range of dates: the first and the last day that pandas has."""
KEPT = 16
FRESH_S, SHORTEST_S = 60.0, 1.0
"""How long a result counts as fresh, and how long if the client keeps no responses."""


class _Kept(NamedTuple):
    """A result, over which catalogue it was made, and when."""

    found: Found
    catalogue: Catalogue
    made_s: float


class DatabaseSearches:
    """Searches of one database. What they find is learned. Safe to use from several threads."""

    def __init__(self, client: AlyxClient, catalogues: Catalogues) -> None:
        self._client = client
        self._catalogues = catalogues
        self._lock = threading.Lock()  # guards _kept
        self._kept: LRUCache[tuple[str, ...], _Kept] = LRUCache(KEPT)

    @property
    def terms(self) -> tuple[str, ...]:
        """The names of all terms: those of a search in tables, and what else the database's schema names."""
        return search_terms(self._client)

    def check(self, words: Sequence[str]) -> None:
        """Raise `UsageError` if a word is no term; one without a value, `subject=`, has only its name checked."""
        names = _meant(words, self.terms)
        _values([word for word in words if not word.endswith("=")], names)
        for word in words:
            complete_word(word.partition("=")[0], names)

    def search(self, words: Sequence[str]) -> Found:
        """The sessions that match all words, in the database's order. May ask."""
        wait_s = FRESH_S if self._client.cache_rest and self._client.default_expiry_s > FRESH_S else SHORTEST_S
        with self._lock:
            kept = self._kept.get(tuple(words))
        if kept and kept.catalogue is self._catalogues.at_rest and time.monotonic() < kept.made_s + wait_s:
            return kept.found
        made_s = time.monotonic()
        found = self._found(self._eids(words))
        with self._lock:
            self._kept[tuple(words)] = _Kept(found, found.catalogue, made_s)
        return found

    def found(self, eids: Sequence[UUID]) -> Found:
        """The sessions of these eids that there are. Asks for those that are not known."""
        at_rest = self._catalogues.at_rest
        unknown = [eid for eid in eids if at_rest.session_of_eid(eid) is None]
        if unknown:
            self.learn(Told(sessions=tuple(self._client.sessions_of_ids(unknown))))
        return self._found(eids)

    def expire(self) -> None:
        """Ask again for what is searched for next."""
        with self._lock:
            self._kept.clear()

    def learn(self, told: Told) -> None:
        """Have the catalogues learn of sessions that the database told of."""
        questions = AlyxQuestions(self._client, self._known, self._catalogues.tag)
        self._catalogues.learn(questions.placed(told.sessions), [])

    def _known(self, eid: UUID) -> Session | None:
        tables = self._catalogues.tables
        row = tables.session_of_eid(eid)
        return None if row is None else tables.session(row)

    def _eids(self, words: Sequence[str]) -> list[UUID]:
        values = checked(_values(words, self.terms))
        if self._catalogues.tag:
            values.setdefault("tag", self._catalogues.tag)
        parts = values.pop("dataset", None) or [None]
        lists = [self._with_dataset(values, part) for part in parts]  # a question takes one part of a name
        in_all = set(lists[0]).intersection(*lists[1:])
        return [eid for eid in lists[0] if eid in in_all]

    def _with_dataset(self, values: Mapping[str, Any], part: str | None) -> list[UUID]:
        """The sessions that meet terms and have a dataset with this part in its name, or any of its alternatives."""
        alternatives = [None] if part is None else part.split("|")
        records = [
            record
            for each in alternatives
            for record in search(self._client, SESSIONS, {**values, "dataset": each}, self)
        ]
        if len(alternatives) > 1:
            records.sort(key=lambda record: str(record.get("start_time", "")), reverse=True)
        return list(dict.fromkeys(UUID(identity(record)[-LENGTH_OF_ID:]) for record in records))

    def _found(self, eids: Sequence[UUID]) -> Found:
        """Sessions that were learned; base sessions, which have no place in the tree, were not."""
        catalogue = self._catalogues.at_rest
        rows = [row for eid in eids if (row := catalogue.session_of_eid(eid)) is not None]
        return Found(catalogue, np.array(rows, np.int64), len(eids) - len(rows))


def search_terms(client: AlyxClient) -> tuple[str, ...]:
    """The terms that a search of a database's sessions takes."""
    names = client.schema().field_names(SESSIONS, LIST)
    return (*NAMES, *sorted({*names} - {*NAMES, "lab"}))


def checked(terms: Mapping[str, object]) -> dict[str, Any]:
    """The values of terms as Alyx understands them: both ends of a range of dates, QC and numbers as integers."""
    found = dict(terms)
    if "date_range" in found:
        first, last = days_of(found["date_range"])
        found["date_range"] = (first or FAR_PAST, last or FAR_FUTURE)
    if "dataset_qc_lte" in found:
        found["dataset_qc_lte"] = int(qc_of(found["dataset_qc_lte"]))
    for name in ("number", "experiment_number"):
        if name in found:
            found[name] = numbers_of(found[name])
    return found


def _values(words: Sequence[str], names: Sequence[str]) -> dict[str, object]:
    """The values of `term=value`, texts with a `|` as their alternatives. Raises `UsageError`."""
    values = values_of_words(words, _meant(words, names))
    for name, value in values.items():
        if isinstance(value, str) and "|" in value and name not in JOINED:
            values[name] = value.split("|")
    for part in values.get("dataset", ()):  # type: ignore[attr-defined]
        if "," in part:
            raise UsageError(f"No file name contains a comma, as in dataset={part!r}.", "Give one part of a name.")
    checked(values)
    return values


def _meant(words: Sequence[str], names: Sequence[str]) -> list[str]:
    """The terms that words may mean: Alyx's `project`, another name of `projects`, is in the way of no abbreviation."""
    given = {word.partition("=")[0] for word in words}
    return [name for name in names if name != "project" or name in given]
