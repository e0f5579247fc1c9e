"""Owns the endpoints of what is linked to sessions and datasets: insertions, labs, subjects, releases and so on."""

from collections.abc import Mapping
from typing import Any

from onefs.demo import serialise_names as as_json
from onefs.demo.django_filter import django, uuid
from onefs.demo.resources import (
    Ask,
    Field,
    Filter,
    Keeps,
    Resource,
    boolean,
    contains,
    equal,
    identity,
    number,
    one,
    outcome,
    same,
)
from onefs.demo.rest_sessions import FIELDS as SESSION_FIELDS
from onefs.demo.rows import InsertionRow
from onefs.demo.serialise import KEEPER, Serialiser

NAME: Mapping[str, Filter] = {"name": equal(lambda row: row.name)}


def _probe_datasets(ask: Ask, value: str) -> Keeps:
    """Insertions with as many datasets of these names and this QC as there are names."""
    wanted = value.split(",")
    limit = outcome(ask.arguments.get("dataset_qc_lte", "FAIL"))
    return lambda row: sum(each.name in wanted and each.qc <= limit for each in row.datasets) >= len(wanted)


def _probe_types(ask: Ask, value: str) -> Keeps:
    del ask
    wanted = set(value.split(","))
    return lambda row: wanted <= {each.dataset_type for each in row.datasets}


def _probe_qc(ask: Ask, value: str) -> Keeps:
    if "datasets" in ask.arguments:
        return lambda row: True  # noqa: ARG005
    limit = outcome(value)
    return lambda row: any(each.qc <= limit for each in row.datasets)


def _of_session(field: Field) -> Field:
    return Field(lambda db, row: field.values(db, row.session), field.parse)


INSERTION_FIELDS: Mapping[str, Field] = {
    "id": one(lambda row: row.id, uuid),
    "pk": one(lambda row: row.id, uuid),
    "name": one(lambda row: row.name),
    "session": one(lambda row: row.session.id, uuid),
    "datasets": Field(lambda db, row: [each.id for each in row.datasets] or [None], uuid),  # noqa: ARG005
    "datasets__name": Field(lambda db, row: [each.name for each in row.datasets]),  # noqa: ARG005
    "datasets__tags__name": Field(
        lambda db, row: {tag.name for each in row.datasets for tag in each.tags}  # noqa: ARG005
    ),
    **{f"session__{name}": _of_session(field) for name, field in SESSION_FIELDS.items()},
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
        "datasets": _probe_datasets,
        "dataset_types": _probe_types,
        "dataset_qc_lte": _probe_qc,
        "django": django(INSERTION_FIELDS),
    },
    fields=INSERTION_FIELDS,
)

NAMED: tuple[Resource[Any], ...] = (
    Resource("labs", "Lab", lambda db: db.labs, as_json.lab, as_json.lab, filters=NAME),
    Resource(
        "subjects",
        "Subject",
        lambda db: db.subjects,
        Serialiser.subject_brief,
        Serialiser.subject,
        filters={
            "nickname": equal(lambda row: row.nickname),
            "lab": equal(lambda row: row.lab),
            "project": lambda ask, value: lambda row: value in row.projects,  # noqa: ARG005
            "responsible_user": equal(lambda row: KEEPER),  # noqa: ARG005
            "alive": boolean(lambda row: True),  # noqa: ARG005
            "stock": boolean(lambda row: False),  # noqa: ARG005
        },
    ),
    Resource("projects", "Project", lambda db: db.projects, as_json.project, as_json.project),
    Resource("tags", "Tag", lambda db: db.tags, as_json.tag, as_json.tag, filters=NAME),
    Resource("revisions", "Revision", lambda db: db.revisions, as_json.revision, as_json.revision, filters=NAME),
    Resource("dataset-types", "DatasetType", lambda db: db.dataset_types, as_json.dataset_type, as_json.dataset_type),
    Resource(
        "data-repository",
        "DataRepository",
        lambda db: db.repositories,
        Serialiser.repository,
        Serialiser.repository,
        filters={**NAME, "globus_is_personal": boolean(lambda row: row.globus_is_personal)},
    ),
    Resource(
        "users",
        "LabMember",
        lambda db: db.users,
        Serialiser.user,
        Serialiser.user,
        filters={"username": equal(lambda row: row.username)},
    ),
)
