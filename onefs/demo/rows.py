"""The rows of the demo's database: values, linked to the rows they belong to."""

from dataclasses import dataclass, field
from datetime import date
from typing import Any

from onefs import alf
from onefs.catalogue.records import QC

AGGREGATES = "aggregates"


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session; a base session has no number, and neither protocol, projects nor users."""

    id: str
    lab: str
    subject: str
    date: date
    number: int | None
    task_protocol: str
    projects: tuple[str, ...]

    @property
    def is_base(self) -> bool:
        """Whether it is a base session."""
        return self.number is None

    @property
    def start_time(self) -> str:
        """ISO date and time."""
        return f"{self.date}T{'09:00:00' if self.is_base else '10:21:03.123456'}"

    @property
    def users(self) -> tuple[str, ...]:
        """Usernames of the experimenters."""
        return () if self.is_base else ("member",)

    @property
    def location(self) -> str | None:
        """Where it was recorded."""
        return None if self.is_base else f"rig_{self.lab}_01"

    @property
    def path(self) -> str:
        """`subject/date/number`, as file records have it."""
        return f"{self.subject}/{self.date}/{self.number or 0:03d}"


@dataclass(frozen=True, slots=True)
class TagRow:
    """A release."""

    id: str
    name: str
    description: str
    protected: bool
    public: bool
    hash: str | None


@dataclass(frozen=True, slots=True)
class RepositoryRow:
    """A place where files are. `data_url` may be without a host: this server's."""

    name: str
    of: str
    globus_path: str
    hostname: str
    data_url: str | None
    globus_is_personal: bool
    globus_endpoint_id: str | None
    json: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class FileRow:
    """A copy of a dataset in a repository; `relative_path` is without the dataset's id."""

    id: str
    dataset_id: str
    repository: RepositoryRow
    relative_path: str
    exists: bool
    lab: str


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A dataset. `path` is relative to its session, or to the archive's `aggregates/`; `default` that edition."""

    id: str
    session: SessionRow | None
    path: str
    size_bytes: int | None
    md5: str
    qc: QC
    default: bool
    tags: tuple[TagRow, ...]
    files: tuple[FileRow, ...]

    @property
    def collection(self) -> str:
        """Folder, without that of the revision."""
        return alf.split_relative(self.path).collection

    @property
    def revision(self) -> str:
        """Name of the revision, or ""."""
        return alf.split_relative(self.path).revision

    @property
    def name(self) -> str:
        """File name."""
        return alf.split_relative(self.path).name

    @property
    def dataset_type(self) -> str:
        """What kind of data it is, as Alyx registers it."""
        return type_of(self.name)

    @property
    def is_public(self) -> bool:
        """Whether it is in a public release."""
        return any(tag.public for tag in self.tags)

    @property
    def is_protected(self) -> bool:
        """Whether a release forbids to change it."""
        return any(tag.protected for tag in self.tags)

    @property
    def on_servers(self) -> bool:
        """Whether any copy of it is on a server that is not a lab's own."""
        return any(file.exists and not file.repository.globus_is_personal for file in self.files)


@dataclass(frozen=True, slots=True)
class InsertionRow:
    """A probe in a session, with the datasets of its collections."""

    id: str
    session: SessionRow
    name: str
    datasets: tuple[DatasetRow, ...]

    @property
    def serial(self) -> str:
        """Serial number of the probe."""
        return f"1900510{self.name[-1:]}42"


@dataclass(frozen=True, slots=True)
class RevisionRow:
    """A revision; `created` is an ISO date and time."""

    id: str
    name: str
    created: str


@dataclass(frozen=True, slots=True)
class SubjectRow:
    """An animal, with the projects of its sessions and the labs in which they were made."""

    id: str
    nickname: str
    lab: str
    projects: tuple[str, ...]
    session_labs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LabRow:
    """A lab, with its repositories' names."""

    name: str
    repositories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UserRow:
    """Somebody who may log in."""

    id: str
    username: str
    password: str = field(repr=False)
    is_public: bool


@dataclass(frozen=True, slots=True)
class NamedRow:
    """Something of which only the name matters: a project, a dataset type."""

    id: str
    name: str


def type_of(name: str) -> str:
    """The dataset type of a file name: object and attribute, but that cameras and raw recordings have shared types."""
    parts = alf.parse_file_name(name)
    if parts is None:
        return "unknown"
    if parts.object.endswith("Camera"):
        return f"camera.{parts.attribute}"
    if parts.object.startswith("ephysData"):
        kind = parts.extra.rpartition(".")[2]
        return f"ephysData.raw.{kind if parts.extension in ('cbin', 'npy') else parts.extension}"
    return f"{parts.object}.{parts.attribute}"
