"""Owns how the rows of the database look as JSON, field by field as Alyx shows them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin
from uuid import UUID

from onefs import alf
from onefs.catalogue.records import QC
from onefs.demo.database import Database
from onefs.demo.live import LiveDatabase
from onefs.demo.rows import (
    DatasetRow,
    FileRow,
    InsertionRow,
    RepositoryRow,
    SessionRow,
    SubjectRow,
    UserRow,
)

Json = dict[str, Any]

REGISTRAR = "member"
KEEPER = "demo"
"""Who registered all datasets, and whose all subjects are."""
VERSION = "2.9.0"
BIRTH_DATE = "2022-01-01"
N_TRIALS = 500
N_CORRECT_TRIALS = 400
DATA_FORMATS = {"pqt": "parquet"}
EPHYS = "Ephys recording with acute probe(s)"
BEHAVIOUR = "Behavior training/tasks"
INSERTION_JSON = {"qc": "PASS", "extended_qc": {"alignment_resolved": True}}


@dataclass(frozen=True, slots=True)
class Serialiser:
    """Turns rows into JSON. `base` is this server's URL, without a slash at its end."""

    db: Database
    live: LiveDatabase
    base: str

    def _url(self, endpoint: str, key: str) -> str:
        return f"{self.base}/{endpoint}/{key}"

    # -- sessions --------------------------------------------------------------------------------------------------

    def session_brief(self, row: SessionRow) -> Json:
        """A session in a list."""
        return {
            "id": row.id,
            "subject": row.subject,
            "start_time": row.start_time,
            "number": row.number,
            "lab": row.lab,
            "projects": list(row.projects),
            "url": self._url("sessions", row.id),
            "task_protocol": row.task_protocol,
        }

    def session(self, row: SessionRow) -> Json:
        """A session in full, with those of its datasets that are on a server."""
        insertions = self.db.insertions_of.get(row.id, ())
        datasets = self.db.datasets_of.get(row.id, ())
        return {
            "subject": row.subject,
            "users": list(row.users),
            "location": row.location,
            "procedures": procedures_of(self.db, row),
            "lab": row.lab,
            "projects": list(row.projects),
            "type": "Base" if row.is_base else "Experiment",
            "task_protocol": row.task_protocol,
            "number": row.number,
            "start_time": row.start_time,
            "end_time": None if row.is_base else f"{row.date}T11:30:00",
            "narrative": "" if row.is_base else "auto",
            "parent_session": None,
            "n_correct_trials": None if row.is_base else N_CORRECT_TRIALS,
            "n_trials": None if row.is_base else N_TRIALS,
            "url": self._url("sessions", row.id),
            "extended_qc": {"task": "PASS", "_task_stimOn_delays": 0.99} if row.task_protocol else None,
            "qc": qc_of(row).name,
            "wateradmin_session_related": [],
            "data_dataset_session_related": [self._session_dataset(each) for each in datasets if each.on_servers],
            "auto_datetime": self.db.created,
            "id": row.id,
            "json": None if row.is_base else {"IS_MOCK": True},
            "probe_insertion": [self.insertion_brief(each) for each in insertions],
            "field_of_view": [],
            "notes": [],
        }

    def _session_dataset(self, row: DatasetRow) -> Json:
        """A dataset in its session: its revision is an id here, and its default edition a word."""
        revision = self.db.revisions[row.revision].id if row.revision else ""
        return {
            "id": row.id,
            "name": row.name,
            "dataset_type": row.dataset_type,
            "data_url": self._dataset_url(row),
            "url": self._url("datasets", row.id),
            "file_size": row.size_bytes,
            "hash": row.md5,
            "version": VERSION,
            "collection": row.collection,
            "revision": revision,
            "default_revision": str(row.default),
            "qc": row.qc.name,
        }

    def _dataset_url(self, row: DatasetRow) -> str | None:
        """The one URL that Alyx gives for a dataset: that of a server before that of a lab, the last by name."""
        files = sorted(row.files, key=lambda file: file.repository.name, reverse=True)
        files.sort(key=lambda file: file.repository.globus_is_personal)
        urls = (self._file_url(file) for file in files if file.exists)
        return next((url for url in urls if url), None)

    # -- datasets, files -------------------------------------------------------------------------------------------

    def dataset(self, row: DatasetRow) -> Json:
        """A dataset by itself."""
        return {
            "url": self._url("datasets", row.id),
            "name": row.name,
            "created_by": REGISTRAR,
            "created_datetime": self.db.created,
            "dataset_type": row.dataset_type,
            "data_format": format_of(row.name),
            "collection": row.collection,
            "session": self._url("sessions", row.session.id) if row.session else None,
            "file_size": row.size_bytes,
            "hash": row.md5,
            "version": VERSION,
            "experiment_number": row.session.number if row.session else None,
            "file_records": [self._dataset_file(file) for file in row.files],
            "auto_datetime": self.db.created,
            "revision": row.revision,
            "default_dataset": row.default,
            "tags": [tag.name for tag in row.tags],
            "qc": row.qc.name,
            "json": None,
        }

    def dataset_brief(self, row: DatasetRow) -> Json:
        """A dataset in a list, where two fields more are counted, as integers."""
        return {**self.dataset(row), "protected": int(row.is_protected), "public": int(row.is_public)}

    def _dataset_file(self, row: FileRow) -> Json:
        return {
            "id": row.id,
            "data_repository": row.repository.name,
            "data_repository_path": row.repository.globus_path,
            "relative_path": row.relative_path,
            "data_url": self._file_url(row),
            "exists": row.exists,
        }

    def _file_url(self, row: FileRow) -> str | None:
        """Where a copy is, its `#` unescaped as Alyx has it; None if its repository is not on the web."""
        root = self._absolute(row.repository.data_url)
        return root + alf.archive_path(row.relative_path, UUID(row.dataset_id)) if root else None

    def _absolute(self, url: str | None) -> str | None:
        return urljoin(self.base, url) if url else None

    def file(self, row: FileRow) -> Json:
        """A file record."""
        return {
            "url": self._url("files", row.id),
            "dataset": self._url("datasets", row.dataset_id),
            "data_repository": row.repository.name,
            "name": "",
            "json": self.live.file_json(row),
            "relative_path": row.relative_path,
            "exists": row.exists,
        }

    def repository(self, row: RepositoryRow) -> Json:
        """A data repository."""
        return {
            "name": row.name,
            "timezone": "UTC",
            "globus_path": row.globus_path,
            "hostname": row.hostname,
            "data_url": self._absolute(row.data_url),
            "repository_type": "Fileserver",
            "globus_endpoint_id": row.globus_endpoint_id,
            "globus_is_personal": row.globus_is_personal,
            "json": self._storage(row),
        }

    def _storage(self, row: RepositoryRow) -> Json | None:
        """A repository's bucket; an endpoint without a host is this server's."""
        if row.json is None or "endpoint_url" not in row.json:
            return row.json
        return {**row.json, "endpoint_url": urljoin(self.base, row.json["endpoint_url"]).rstrip("/")}

    # -- insertions ------------------------------------------------------------------------------------------------

    def insertion_brief(self, row: InsertionRow) -> Json:
        """An insertion in a list: its datasets are ids."""
        return self._insertion(row, [each.id for each in row.datasets])

    def insertion(self, row: InsertionRow) -> Json:
        """An insertion in full; the QC of its datasets is a number."""
        names = ("id", "name", "dataset_type", "data_url", "url", "file_size", "hash", "version", "collection")
        datasets = []
        for each in row.datasets:
            known = self._session_dataset(each)
            datasets.append({**{name: known[name] for name in names}, "qc": int(each.qc)})
        return self._insertion(row, datasets)

    def _insertion(self, row: InsertionRow, datasets: Sequence[object]) -> Json:
        info = self.session_brief(row.session)
        del info["url"]
        return {
            "id": row.id,
            "session": row.session.id,
            "model": "3B2",
            "session_info": info,
            "name": row.name,
            "json": INSERTION_JSON,
            "serial": row.serial,
            "auto_datetime": self.db.created,
            "chronic_insertion": None,
            "datasets": list(datasets),
        }

    # -- names -----------------------------------------------------------------------------------------------------

    def subject_brief(self, row: SubjectRow) -> Json:
        """A subject in a list."""
        weight_g = dict.fromkeys(("reference_weight", "expected_water", "remaining_water"), 0.0)
        unknown = dict.fromkeys(
            ("death_date", "species", "litter", "strain", "source", "line", "last_water_restriction", "json")
        )
        return {
            "nickname": row.nickname,
            "url": self._url("subjects", row.nickname),
            "id": row.id,
            "responsible_user": KEEPER,
            "birth_date": BIRTH_DATE,
            "age_weeks": 182,
            "sex": "F",
            "projects": list(row.projects),
            "session_projects": list(row.projects),
            "lab": row.lab,
            "genotype": [],
            "description": "",
            "alive": True,
            **weight_g,
            **unknown,
        }

    def subject(self, row: SubjectRow) -> Json:
        """A subject in full."""
        return {**self.subject_brief(row), "weighings": [], "water_administrations": []}

    def user(self, row: UserRow) -> Json:
        """A user; whoever is not public belongs to every lab."""
        return {
            "id": row.id,
            "username": row.username,
            "email": f"{row.username}@localhost",
            "subjects_responsible": sorted(self.db.subjects) if row.username == KEEPER else [],
            "lab": [] if row.is_public else sorted(self.db.labs),
            "allowed_users": [],
            "is_stock_manager": False,
        }


def format_of(name: str) -> str:
    """The data format of a file name, as Alyx calls it."""
    extension = name.rpartition(".")[2]
    return DATA_FORMATS.get(extension, extension)


def qc_of(row: SessionRow) -> QC:
    """The QC of a session."""
    return QC.PASS if row.task_protocol else QC.NOT_SET


def procedures_of(db: Database, row: SessionRow) -> list[str]:
    """What was done in a session."""
    if row.is_base:
        return []
    return [EPHYS, BEHAVIOUR] if row.id in db.insertions_of else [BEHAVIOUR]
