"""Owns the endpoints `datasets` and `files`: their filters, and what `django` can ask of them."""

from collections.abc import Callable, Mapping
from typing import Any

from onefs.demo.django_filter import django, numeric, truth, uuid
from onefs.demo.resources import (
    Ask,
    Field,
    Keeps,
    Resource,
    RestError,
    as_uuid,
    boolean,
    choice,
    equal,
    identity,
    number,
    one,
)
from onefs.demo.rest_filters import of_outcome, within
from onefs.demo.rest_sessions import FIELDS as SESSION_FIELDS
from onefs.demo.rows import DatasetRow, FileRow, SessionRow
from onefs.demo.serialise import REGISTRAR, Serialiser, format_of


def _of_session(get: Callable[[SessionRow], object]) -> Callable[[DatasetRow], Any]:
    return lambda row: get(row.session) if row.session else None


def _exists(ask: Ask, value: str) -> Keeps:
    """Datasets of which any copy on a server exists, or does not."""
    del ask
    wanted = {"true": True, "false": False}.get(value.lower())
    return lambda row: (
        wanted is None or any(file.exists == wanted and not file.repository.globus_is_personal for file in row.files)
    )


def _probe_insertion(ask: Ask, value: str) -> Keeps:
    """Datasets whose collection names the probe."""
    key = as_uuid(value)
    if key is None:
        raise RestError(400, {"probe_insertion": ["Enter a valid UUID."]})
    probe = ask.db.insertions.get(key)
    if probe is None:
        raise RestError.fault("ProbeInsertion matching query does not exist.")
    session = probe.session.id
    return lambda row: row.session and row.session.id == session and probe.name.lower() in row.collection.lower()


def _tag(ask: Ask, value: str) -> Keeps:
    del ask
    return lambda row: any(tag.name == value for tag in row.tags)


DATASET_FIELDS: Mapping[str, Field] = {
    "id": one(lambda row: row.id, uuid),
    "pk": one(lambda row: row.id, uuid),
    "name": one(lambda row: row.name),
    "collection": one(lambda row: row.collection),
    "hash": one(lambda row: row.md5),
    "file_size": one(lambda row: row.size_bytes, numeric),
    "qc": one(lambda row: int(row.qc), numeric),
    "default_dataset": one(lambda row: row.default, truth),
    "revision": one(lambda row: row.revision or None),
    "revision__name": one(lambda row: row.revision or None),
    "dataset_type__name": one(lambda row: row.dataset_type),
    "data_format__name": one(lambda row: format_of(row.name)),
    "tags": Field(lambda db, row: [tag.id for tag in row.tags] or [None], uuid),  # noqa: ARG005
    "tags__name": Field(lambda db, row: [tag.name for tag in row.tags] or [None]),  # noqa: ARG005
    "file_records__exists": Field(lambda db, row: [file.exists for file in row.files], truth),  # noqa: ARG005
    "file_records__data_repository__name": Field(
        lambda db, row: [file.repository.name for file in row.files]  # noqa: ARG005
    ),
    "session": one(_of_session(lambda session: session.id), uuid),
    **within("session", SESSION_FIELDS, lambda db, row: row.session),  # noqa: ARG005
}

DATASETS: Resource[DatasetRow] = Resource(
    name="datasets",
    model="Dataset",
    rows=lambda db: db.datasets,
    brief=Serialiser.dataset_brief,
    full=Serialiser.dataset,
    by_id=True,
    filters={
        "id": identity("id", lambda row: row.id),
        "session": choice("session", _of_session(lambda session: session.id), lambda db: db.sessions),
        "name": equal(lambda row: row.name),
        "collection": equal(lambda row: row.collection),
        "hash": equal(lambda row: row.md5),
        "file_size": number("file_size", lambda row: row.size_bytes),
        "default_dataset": boolean(lambda row: row.default),
        "subject": equal(_of_session(lambda session: session.subject)),
        "lab": equal(_of_session(lambda session: session.lab)),
        "date": equal(_of_session(lambda session: str(session.date))),
        "experiment_number": number("experiment_number", _of_session(lambda session: session.number)),
        "created_by": equal(lambda row: REGISTRAR),  # noqa: ARG005
        "dataset_type": equal(lambda row: row.dataset_type),
        "revision": equal(lambda row: row.revision),
        "exists": _exists,
        "public": boolean(lambda row: row.is_public),
        "protected": boolean(lambda row: row.is_protected),
        "tag": _tag,
        "qc": of_outcome(lambda row: row.qc),
        "probe_insertion": _probe_insertion,
        "django": django(DATASET_FIELDS),
    },
    fields=DATASET_FIELDS,
)

FILE_FIELDS: Mapping[str, Field] = {
    "id": one(lambda row: row.id, uuid),
    "pk": one(lambda row: row.id, uuid),
    "exists": one(lambda row: row.exists, truth),
    "relative_path": one(lambda row: row.relative_path),
    "data_repository__name": one(lambda row: row.repository.name),
    "data_repository__globus_is_personal": one(lambda row: row.repository.globus_is_personal, truth),
    "dataset": one(lambda row: row.dataset_id, uuid),
    **within("dataset", DATASET_FIELDS, lambda db, row: db.datasets[row.dataset_id]),
}

FILES: Resource[FileRow] = Resource(
    name="files",
    model="FileRecord",
    rows=lambda db: db.files,
    brief=Serialiser.file,
    full=Serialiser.file,
    by_id=True,
    filters={
        "id": identity("id", lambda row: row.id),
        "dataset": choice("dataset", lambda row: row.dataset_id, lambda db: db.datasets),
        "exists": boolean(lambda row: row.exists),
        "lab": equal(lambda row: row.lab),
        "relative_path": equal(lambda row: row.relative_path),
        "data_repository": equal(lambda row: row.repository.name),
        "globus_is_personal": boolean(lambda row: row.repository.globus_is_personal),
        "django": django(FILE_FIELDS),
    },
    fields=FILE_FIELDS,
)
