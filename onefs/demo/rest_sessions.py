"""Owns the endpoint `sessions`: its filters, and what `django` can ask of a session."""

from collections.abc import Callable, Mapping, Sequence

from onefs.demo.database import Database
from onefs.demo.django_filter import day, django, numeric, uuid
from onefs.demo.resources import (
    Ask,
    Field,
    Filter,
    Keeps,
    Resource,
    boolean,
    contains,
    day_range,
    equal,
    identity,
    number,
    one,
    outcome,
    same,
)
from onefs.demo.rest_filters import ATLAS, dataset_fields, of_outcome, with_qc, with_types
from onefs.demo.rows import DatasetRow, SessionRow
from onefs.demo.serialise import N_CORRECT_TRIALS, N_TRIALS, Serialiser, procedures_of, qc_of


def datasets_of(db: Database, row: SessionRow) -> Sequence[DatasetRow]:
    """A session's datasets."""
    return db.datasets_of.get(row.id, ())


def _users(ask: Ask, value: str) -> Keeps:
    del ask
    wanted = value.split(",")
    return lambda row: all(user in row.users for user in wanted)


def _date_range(ask: Ask, value: str) -> Keeps:
    del ask
    return day_range(value, lambda row: str(row.date))


def _tag(ask: Ask, value: str) -> Keeps:
    return lambda row: any(value.lower() in tag.name.lower() for each in datasets_of(ask.db, row) for tag in each.tags)


def _datasets(ask: Ask, value: str) -> Keeps:
    """Sessions in which each of these names is on a server, at this QC or better."""
    wanted = set(value.split(","))
    limit = outcome(ask.arguments.get("dataset_qc_lte", "FAIL"))
    return lambda row: (
        wanted <= {each.name for each in datasets_of(ask.db, row) if each.on_servers and each.qc <= limit}
    )


def _performance(passes: Callable[[float, float], bool]) -> Filter:
    def filter_(ask: Ask, value: str) -> Keeps:
        del ask
        limit = float(numeric(value))
        return lambda row: not row.is_base and passes(100 * N_CORRECT_TRIALS / N_TRIALS, limit)

    return filter_


def _procedures(ask: Ask, value: str) -> Keeps:
    return lambda row: any(value.lower() in each.lower() for each in procedures_of(ask.db, row))


FIELDS: Mapping[str, Field] = {
    "id": one(lambda row: row.id, uuid),
    "pk": one(lambda row: row.id, uuid),
    "subject__nickname": one(lambda row: row.subject),
    "lab__name": one(lambda row: row.lab),
    "location__name": one(lambda row: row.location),
    "number": one(lambda row: row.number, numeric),
    "start_time": one(lambda row: row.start_time),
    "start_time__date": one(lambda row: str(row.date), day),
    "task_protocol": one(lambda row: row.task_protocol),
    "type": one(lambda row: "Base" if row.is_base else "Experiment"),
    "narrative": one(lambda row: "" if row.is_base else "auto"),
    "n_trials": one(lambda row: None if row.is_base else N_TRIALS, numeric),
    "parent_session": one(lambda row: None, uuid),  # noqa: ARG005
    "projects": Field(lambda db, row: row.projects or [None]),  # noqa: ARG005
    "projects__name": Field(lambda db, row: row.projects or [None]),  # noqa: ARG005
    "users": Field(lambda db, row: row.users or [None]),  # noqa: ARG005
    "users__username": Field(lambda db, row: row.users or [None]),  # noqa: ARG005
    "procedures__name": Field(lambda db, row: procedures_of(db, row) or [None]),
    "probe_insertion": Field(lambda db, row: [each.id for each in db.insertions_of.get(row.id, ())] or [None], uuid),
    **dataset_fields("data_dataset_session_related", datasets_of),
}

SESSIONS: Resource[SessionRow] = Resource(
    name="sessions",
    model="Session",
    rows=lambda db: db.sessions,
    brief=Serialiser.session_brief,
    full=Serialiser.session,
    by_id=True,
    filters={
        "id": identity("id", lambda row: row.id),
        "subject": same(lambda row: row.subject),
        "nickname": same(lambda row: row.subject),
        "lab": same(lambda row: row.lab),
        "location": contains(lambda row: [row.location]),
        "users": _users,
        "date_range": _date_range,
        "number": number("number", lambda row: row.number),
        "type": same(lambda row: "Base" if row.is_base else "Experiment"),
        "task_protocol": contains(lambda row: [row.task_protocol]),
        "procedures": _procedures,
        "projects": contains(lambda row: row.projects),
        "project": contains(lambda row: row.projects),
        "narrative": equal(lambda row: "" if row.is_base else "auto"),
        "tag": _tag,
        "dataset_types": with_types(datasets_of),
        "datasets": _datasets,
        "dataset_qc_lte": with_qc(datasets_of),
        "qc": of_outcome(qc_of),
        "histology": boolean(lambda row: False),  # noqa: ARG005 - no subject has any
        **ATLAS,
        "performance_gte": _performance(lambda found, limit: found >= limit),
        "performance_lte": _performance(lambda found, limit: found <= limit),
        "django": django(FIELDS),
    },
    fields=FIELDS,
)
