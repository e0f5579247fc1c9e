"""The filters of Alyx's lists: which there are, and how their values are written in a query."""

import difflib
from collections.abc import Iterable, Mapping
from datetime import date
from uuid import UUID

from onefs.errors import UsageError

Value = str | int | float | bool | UUID | date
Filter = Value | Iterable[Value] | None

# Alyx ignores a filter that it does not know, and so would answer with everything.
KNOWN = {
    "sessions": frozenset(
        [
            "id",
            "subject",
            "nickname",
            "lab",
            "date_range",
            "number",
            "type",
            "projects",
            "project",
            "task_protocol",
            "users",
            "location",
            "procedures",
            "tag",
            "qc",
            "extended_qc",
            "dataset_types",
            "datasets",
            "dataset_qc_lte",
            "performance_gte",
            "performance_lte",
            "brain_region",
            "atlas_name",
            "atlas_acronym",
            "atlas_id",
            "histology",
            "queries",
            "django",
        ]
    ),
    "datasets": frozenset(
        [
            "session",
            "name",
            "collection",
            "revision",
            "dataset_type",
            "tag",
            "qc",
            "exists",
            "protected",
            "probe_insertion",
            "django",
        ]
    ),
}


def query(endpoint: str, filters: Mapping[str, Filter]) -> tuple[tuple[str, str], ...]:
    """Filters as pairs for a query. None is no filter; several values are joined with commas."""
    known = KNOWN[endpoint]
    for name in filters:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise UsageError(
                f"{endpoint} have no filter {name!r}.",
                f"Did you mean {near[0]!r}?" if near else f"Use one of {', '.join(sorted(known))}.",
            )
    return tuple((name, spelt(value)) for name, value in filters.items() if value is not None)


def spelt(value: object) -> str:
    """A value as it is written in a query; several are joined by commas."""
    if isinstance(value, bytes | str) or not isinstance(value, Iterable):
        return value.isoformat() if isinstance(value, date) else str(value)
    return ",".join(map(spelt, value))
