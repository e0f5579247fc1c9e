"""The endpoints of what has a name: labs, subjects, projects, releases, revisions, repositories, users."""

from collections.abc import Mapping
from typing import Any

from onefs.demo import serialise_names as as_json
from onefs.demo.django_filter import django
from onefs.demo.resources import Field, Filter, Resource, boolean, equal, one
from onefs.demo.serialise import KEEPER, Serialiser

NAME: Mapping[str, Filter] = {"name": equal(lambda row: row.name)}

SUBJECT_FIELDS: Mapping[str, Field] = {
    "nickname": one(lambda row: row.nickname),
    "lab__name": one(lambda row: row.lab),
    "actions_sessions__lab__name": Field(lambda db, row: row.session_labs),  # noqa: ARG005
}

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
            "django": django(SUBJECT_FIELDS),
        },
        fields=SUBJECT_FIELDS,
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
