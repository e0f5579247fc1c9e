"""Owns the endpoint `insertions`: the probes of sessions, their filters, and what `django` can ask of one."""

from collections.abc import Mapping, Sequence

from onefs.demo.database import Database
from onefs.demo.django_filter import django, uuid
from onefs.demo.resources import (
    Ask,
    Field,
    Keeps,
    Resource,
    contains,
    equal,
    identity,
    number,
    one,
    outcome,
    same,
)
from onefs.demo.rest_filters import ATLAS, dataset_fields, with_qc, with_types, within
from onefs.demo.rest_sessions import FIELDS as SESSION_FIELDS
from onefs.demo.rows import DatasetRow, InsertionRow
from onefs.demo.serialise import Serialiser


def _datasets(ask: Ask, value: str) -> Keeps:
    """Insertions with as many datasets of these names and this QC as there are names."""
    wanted = value.split(",")
    limit = outcome(ask.arguments.get("dataset_qc_lte", "FAIL"))
    return lambda row: sum(each.name in wanted and each.qc <= limit for each in row.datasets) >= len(wanted)


def _datasets_of(db: Database, row: InsertionRow) -> Sequence[DatasetRow]:
    del db
    return row.datasets


INSERTION_FIELDS: Mapping[str, Field] = {
    "id": one(lambda row: row.id, uuid),
    "pk": one(lambda row: row.id, uuid),
    "name": one(lambda row: row.name),
    "session": one(lambda row: row.session.id, uuid),
    **dataset_fields("datasets", _datasets_of),
    **within("session", SESSION_FIELDS, lambda db, row: row.session),  # noqa: ARG005
}

INSERTIONS: Resource[InsertionRow] = Resource(
    name="insertions",
    model="ProbeInsertion",
    rows=lambda db: db.insertions,
    brief=Serialiser.insertion_brief,
    full=Serialiser.insertion,
    by_id=True,
    filters={
        "id": identity("id", lambda row: row.id),
        "name": equal(lambda row: row.name),
        "session": identity("session", lambda row: row.session.id),
        "subject": equal(lambda row: row.session.subject),
        "date": equal(lambda row: str(row.session.date)),
        "experiment_number": number("experiment_number", lambda row: row.session.number),
        "model": equal(lambda row: "3B2"),  # noqa: ARG005
        "serial": equal(lambda row: row.serial),
        "lab": same(lambda row: row.session.lab),
        "project": contains(lambda row: row.session.projects),
        "task_protocol": contains(lambda row: [row.session.task_protocol]),
        "tag": contains(lambda row: [tag.name for each in row.datasets for tag in each.tags]),
        "datasets": _datasets,
        "dataset_types": with_types(_datasets_of),
        "dataset_qc_lte": with_qc(_datasets_of),
        **ATLAS,
        "django": django(INSERTION_FIELDS),
    },
    fields=INSERTION_FIELDS,
)
