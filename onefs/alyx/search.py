"""Search terms as filters of Alyx's lists of sessions and probe insertions, and the records that match them."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import product

from onefs.alyx.client import AlyxClient
from onefs.alyx.fields import Record
from onefs.alyx.filters import spelt
from onefs.alyx.pages import LIMIT, AlyxRecord, Listing
from onefs.alyx.rest import Query, identity
from onefs.alyx.told import INSERTIONS, SESSIONS, Learner
from onefs.errors import UsageError

JOINED = frozenset({"datasets", "dataset_types", "users", "date_range", "django", "extended_qc", "json"})
"""Filters of which Alyx takes several values, joined by commas."""
ALL_OF = {INSERTIONS: ("atlas_acronym",)}
"""Filters of one value of which a list means all of them."""
REPEATING = frozenset({"projects", "project", "procedures", "atlas_name", "atlas_acronym", "atlas_id"})
"""Filters that Alyx answers with a record once for each match, unless `django` is given too."""
ANY_RECORD = "pk__isnull,False"
RENAMED = {SESSIONS: {"laboratory": "lab"}, INSERTIONS: {"laboratory": "lab", "number": "experiment_number"}}
DATASET = {SESSIONS: "data_dataset_session_related", INSERTIONS: "datasets"}
"""What `django` calls the datasets of a session and of an insertion."""


def search(client: AlyxClient, endpoint: str, terms: Mapping[str, object], learner: Learner) -> Sequence[AlyxRecord]:
    """The sessions or insertions that meet all terms, newest first, with the `date` of each session.

    A list, or, where Alyx answers with several pages, a sequence that fetches them when touched; the learner is told
    each. A list of values where Alyx takes one means any of them; then all matches are fetched. `terms` have the whole
    names that Alyx's schema has, or `dataset`, `laboratory` and, for insertions, `number`.
    """
    groups = questions(endpoint, terms)
    if len(groups) == 1 and len(groups[0]) == 1:
        found = _Matches(client, endpoint, groups[0][0], learner).records()
        return _each_once(found) if isinstance(found, list) else found
    kept: dict[str, AlyxRecord] | None = None
    for group in groups:
        filters = [tuple(pair for pair in query if pair[0] != LIMIT) for query in group]
        lists = (_Matches(client, endpoint, query, learner).every() for query in filters)
        matches = {identity(record): record for records in lists for record in records}
        kept = matches if kept is None else {key: kept[key] for key in kept if key in matches}
    return _newest_first(endpoint, (kept or {}).values())


def questions(endpoint: str, terms: Mapping[str, object]) -> list[list[Query]]:
    """Groups of queries: a record that meets all terms is in the answer to some query of every group."""
    values = {name: _values(name, value) for name, value in _filters(endpoint, terms).items()}
    every = {name: values.pop(name) for name in ALL_OF.get(endpoint, ()) if name in values}
    return [
        [
            (*zip(every, of_all, strict=True), *zip(values, of_any, strict=True))
            for of_any in product(*values.values())
        ]
        for of_all in product(*every.values())
    ]  # fmt: skip


def _filters(endpoint: str, terms: Mapping[str, object]) -> dict[str, object]:
    """Alyx's own filters that say the same."""
    filters: dict[str, object] = {}
    for name, value in terms.items():
        own = RENAMED[endpoint].get(name, name)
        if value is None:
            continue
        if own in filters:
            raise UsageError(f"The terms {name} and {own} are the same.", "Give one of them.")
        filters[own] = value
    django = [",".join(_values("django", filters.pop("django", "")))]
    if "dataset" in filters:
        django.append(f"{DATASET[endpoint]}__name__icontains,{_name_part(filters.pop('dataset'))}")
    if "dataset_qc_lte" in filters and "datasets" not in filters:
        # The filter of this name would answer with a session once for each of its datasets.
        django.append(f"{DATASET[endpoint]}__qc__lte,{spelt(filters.pop('dataset_qc_lte'))}")
    if filters.keys() & REPEATING and not any(django):
        django.append(ANY_RECORD)
    if any(django):
        filters["django"] = ",".join(filter(None, django))
    return filters


def _name_part(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("dataset must be a text that file names contain. For whole names give datasets, a list.")
    if "," in value:
        raise UsageError(f"No file name contains a comma, as in dataset={value!r}.", "Give one part of a name.")
    return value


def _values(name: str, value: object) -> list[str]:
    """What a filter may be, as written in a query."""
    several = isinstance(value, Iterable) and not isinstance(value, str)
    found = [spelt(each) for each in value] if several else [spelt(value)]  # type: ignore[attr-defined]
    return [",".join(found)] if name in JOINED else list(dict.fromkeys(found))


class _Matches(Listing):
    """A list of sessions or insertions, of which the learner is told; sessions get a `date`."""

    def __init__(self, client: AlyxClient, endpoint: str, query: Query, learner: Learner) -> None:
        super().__init__(client, endpoint, query)
        self._learner = learner

    def _taken(self, records: Sequence[AlyxRecord]) -> list[AlyxRecord]:
        self._learner.learn(self._client.told_by_list(self._endpoint, records))
        return [dated(record) for record in records] if self._endpoint == SESSIONS else list(records)


def dated(record: Record) -> AlyxRecord:
    """A session's record with its `date`, if its `start_time` is a time."""
    with suppress(TypeError, ValueError):
        return {**record, "date": datetime.fromisoformat(record.get("start_time", "")).date()}
    return dict(record)


def _each_once(records: Iterable[AlyxRecord]) -> list[AlyxRecord]:
    return list({identity(record): record for record in records}.values())


def _newest_first(endpoint: str, records: Iterable[AlyxRecord]) -> list[AlyxRecord]:
    by_name = sorted(records, key=lambda record: str(record.get("name", "")))
    if endpoint == SESSIONS:
        return sorted(by_name, key=_start, reverse=True)
    return sorted(by_name, key=lambda record: _start(record.get("session_info")), reverse=True)


def _start(session: object) -> str:
    return str(session.get("start_time", "")) if isinstance(session, dict) else ""
