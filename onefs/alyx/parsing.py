"""Alyx's JSON as records. Odd ones raise `OddRecordError`, which listings skip and count."""

from collections.abc import Iterable, Mapping
from uuid import UUID

from onefs import alf
from onefs.alyx import fields
from onefs.alyx.fields import OddRecordError, Record
from onefs.alyx.records import (
    AlyxDataset,
    AlyxSession,
    FileRecord,
    Insertion,
    Lab,
    Repository,
    Subject,
    TablesInfo,
)
from onefs.table_times import table_time

BUCKETS = "aws_"


def session(record: Record) -> AlyxSession:
    """A session as listings have it."""
    return AlyxSession(
        eid=fields.own_id(record),
        lab=fields.text(record, "lab"),
        subject=fields.needed_text(record, "subject"),
        start=fields.moment(record, "start_time"),
        number=fields.whole_number(record, "number"),
        task_protocol=fields.text(record, "task_protocol"),
        projects=fields.texts(record, "projects"),
    )


def nested_dataset(record: Record, eid: UUID, revisions: Mapping[UUID, str]) -> AlyxDataset:
    """A dataset as `sessions/<eid>` has it: its revision is a UUID there, so its name comes from the file's URL.

    Where there is no URL it comes from `revisions`; a revision that is not there raises `OddRecordError`.
    """
    path = fields.raw_path(record, "data_url")
    rel_path = _inside_session(path)
    if not rel_path:
        revision = alf.split_relative(path).revision if path else ""
        revision_id = revision_of_nested(record)
        if revision_id is not None:
            if revision_id not in revisions:
                raise OddRecordError("a revision that is not known")
            revision = revisions[revision_id]
        rel_path = _joined(record, revision)
    url = fields.web_address(record, "data_url")
    return _dataset(
        record,
        eid=eid,
        rel_path=rel_path,
        default_revision=fields.truth(record, "default_revision"),
        exists=True,
        file_records=(FileRecord(None, "", "", url, exists=True),) if url else (),
    )


def revision_of_nested(record: Record) -> UUID | None:
    """The revision whose name must be looked up, as the dataset has no URL to tell it; None if there is no need."""
    return None if fields.text(record, "data_url") else fields.uuid_or_none(record, "revision")


def dataset(record: Record) -> AlyxDataset:
    """A dataset as the `datasets` endpoint has it."""
    file_records = tuple(_readable(map(_file_record_or_none, fields.records(record, "file_records"))))
    eid = fields.uuid(record.get("session")) if record.get("session") else None
    paths = [_inside_session(copy.relative_path) for copy in file_records] if eid else []
    return _dataset(
        record,
        eid=eid,
        rel_path=next(filter(None, paths), "") or _joined(record, fields.text(record, "revision")),
        default_revision=fields.truth(record, "default_dataset"),
        exists=any(copy.exists and (copy.url or copy.repository.startswith(BUCKETS)) for copy in file_records),
        file_records=file_records,
    )


def _dataset(
    record: Record,
    *,
    eid: UUID | None,
    rel_path: str,
    default_revision: bool | None,
    exists: bool,
    file_records: tuple[FileRecord, ...],
) -> AlyxDataset:
    return AlyxDataset(
        id=fields.own_id(record),
        eid=eid,
        rel_path=rel_path,
        dataset_type=fields.text(record, "dataset_type"),
        size_bytes=fields.whole_number(record, "file_size"),
        md5=fields.md5(record),
        qc=fields.qc(record),
        default_revision=default_revision,
        protected=bool(fields.truth(record, "protected")),
        tags=fields.texts(record, "tags"),
        exists=exists,
        file_records=file_records,
    )


def _inside_session(path: str) -> str:
    """What follows `subject/date/number/` in a path, without the UUID in the file's name; "" if it has no session."""
    session = alf.find_session(path)
    if not session:
        return ""
    folder, slash, name = path[session.end() + 1 :].rpartition("/")
    return f"{folder}{slash}{alf.without_uuid(name)}"


def _joined(record: Record, revision: str) -> str:
    parts = (
        fields.text(record, "collection").strip("/"),
        f"#{revision}#" if revision else "",
        fields.needed_text(record, "name"),
    )
    return "/".join(filter(None, parts))


def file_record(record: Record) -> FileRecord:
    """A file record, nested in a dataset or from the `files` endpoint."""
    return FileRecord(
        id=fields.own_id(record),
        repository=fields.text(record, "data_repository"),
        relative_path=fields.text(record, "relative_path"),
        url=fields.web_address(record, "data_url"),
        exists=bool(fields.truth(record, "exists")),
        json=fields.mapping(record, "json"),
    )


def _file_record_or_none(record: Record) -> FileRecord | None:
    try:
        return file_record(record)
    except OddRecordError:
        return None


def _readable(found: Iterable[FileRecord | None]) -> Iterable[FileRecord]:
    return (record for record in found if record is not None)


def insertion(record: Record) -> Insertion:
    """A probe insertion."""
    return Insertion(
        pid=fields.own_id(record),
        eid=fields.uuid(record.get("session")),
        name=fields.text(record, "name"),
        model=fields.text(record, "model"),
        serial=fields.text(record, "serial"),
        qc=fields.qc(fields.mapping(record, "json")),
        record=record,
    )


def repository(record: Record) -> Repository:
    """A data repository; its bucket and keys stand in its `json`."""
    storage = fields.mapping(record, "json")
    return Repository(
        name=fields.needed_text(record, "name"),
        data_url=fields.web_address(record, "data_url"),
        path=fields.text(record, "globus_path"),
        personal=bool(fields.truth(record, "globus_is_personal")),
        bucket=fields.text(storage, "bucket_name"),
        region=fields.text(storage, "region_name"),
        endpoint_url=fields.web_address(storage, "endpoint_url"),
        access_key=fields.text(storage, "Access key ID"),
        secret_key=fields.text(storage, "Secret access key"),
    )


def tables_info(record: Record) -> TablesInfo:
    """What `cache/info` says."""
    counts = {
        table: count
        for table, about in fields.mapping(record, "tables").items()
        if isinstance(about, dict) and (count := fields.whole_number(about, "nrecs")) is not None
    }
    locations = tuple(fields.web_address({"": url}, "") for url in fields.texts(record, "location"))
    if not all(locations):
        raise OddRecordError("a location that is no web address")
    created = table_time(record.get("date_created"))
    if created is None:
        raise OddRecordError("no time in date_created")
    return TablesInfo(
        created=created,
        origin=",".join(fields.texts(record, "origin")),
        min_api_version=fields.text(record, "min_api_version"),
        tags=fields.texts(record, "database_tags"),
        locations=locations or None,
        row_counts=counts,
    )


def lab(record: Record) -> Lab:
    """A lab."""
    return Lab(
        name=fields.needed_text(record, "name"),
        institution=fields.text(record, "institution"),
        timezone=fields.text(record, "timezone"),
        repositories=fields.texts(record, "repositories"),
    )


def subject(record: Record) -> Subject:
    """A subject."""
    return Subject(
        id=fields.own_id(record),
        nickname=fields.needed_text(record, "nickname"),
        lab=fields.text(record, "lab"),
        sex=fields.text(record, "sex"),
        birth_date=fields.day(record, "birth_date"),
        death_date=fields.day(record, "death_date"),
        projects=fields.texts(record, "projects"),
    )


def revision(record: Record) -> tuple[UUID, str]:
    """The id and the name of a revision."""
    return fields.own_id(record), fields.needed_text(record, "name")
