"""The records that Alyx answers with: sessions, datasets, file records, repositories and the rest."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One copy of a dataset's file, as Alyx believes it to be.

    `url` is percent-encoded and ready for a request, "" if the repository is not on the web. `relative_path` begins
    at the repository's root and has no UUID in it. `id` is None in what a session says of its datasets.
    """

    id: UUID | None
    repository: str
    relative_path: str
    url: str
    exists: bool
    json: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AlyxDataset:
    """One file of the archive. `eid` is None for aggregates, whose `rel_path` is relative to the aggregates' root.

    `size_bytes` None, `md5` "" and `default_revision` None mean that Alyx did not say. `md5` may be a text that is no
    MD5. `qc` is one of the names NOT_SET, PASS, WARNING, FAIL, CRITICAL. `exists` means what it means in the cache
    tables: a copy stands on the web or in a lab's bucket, not only on a lab's own server. `file_records` may be empty.
    """

    id: UUID
    eid: UUID | None
    rel_path: str
    dataset_type: str
    size_bytes: int | None
    md5: str
    qc: str
    default_revision: bool | None
    protected: bool
    tags: tuple[str, ...]
    exists: bool
    file_records: tuple[FileRecord, ...]

    @property
    def urls(self) -> tuple[str, ...]:
        """Where its bytes can be asked for, in the order in which Alyx lists the copies that exist."""
        return tuple(record.url for record in self.file_records if record.exists and record.url)


@dataclass(frozen=True, slots=True)
class Insertion:
    """One probe in one session. `record` is what Alyx has of it, with fields that have no name here."""

    pid: UUID
    eid: UUID
    name: str
    model: str
    serial: str
    qc: str
    record: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class AlyxSession:
    """One experiment. `number` is None for a base session, which has no place in the tree."""

    eid: UUID
    lab: str
    subject: str
    start: datetime
    number: int | None
    task_protocol: str
    projects: tuple[str, ...]

    @property
    def date(self) -> date:
        """The session's date, as paths have it."""
        return self.start.date()


@dataclass(frozen=True, slots=True)
class Repository:
    """A server or bucket that holds files. Keys are "" for a public bucket; they are never shown.

    `endpoint_url` is the address of the bucket's S3 service, "" if it is Amazon's.
    """

    name: str
    data_url: str
    path: str
    personal: bool
    bucket: str
    region: str
    endpoint_url: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TablesInfo:
    """What the server's cache tables are.

    `created` is in UTC. `locations` are URLs ready for a request, None if
    the server keeps the tables itself (then `AlyxClient.write_tables` reads them). `row_counts` is by table.
    """

    created: datetime
    origin: str
    min_api_version: str
    tags: tuple[str, ...]
    locations: tuple[str, ...] | None
    row_counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Lab:
    """A laboratory and the names of its data repositories."""

    name: str
    institution: str
    timezone: str
    repositories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Subject:
    """An animal."""

    id: UUID
    nickname: str
    lab: str
    sex: str
    birth_date: date | None
    death_date: date | None
    projects: tuple[str, ...]
