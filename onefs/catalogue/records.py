"""The values that describe sessions and datasets."""

from dataclasses import dataclass, replace
from datetime import date
from enum import IntEnum
from typing import Any
from uuid import UUID

from onefs import alf
from onefs.errors import UsageError


class QCError(UsageError, ValueError):
    """What is no quality control outcome."""

    default_remedy = "Use NOT_SET (0), PASS (10), WARNING (30), FAIL (40) or CRITICAL (50)."


class QC(IntEnum):
    """Quality control outcome. The values are Alyx's numbers; tables hold the names, ordered."""

    NOT_SET = 0
    PASS = 10
    WARNING = 30
    FAIL = 40
    CRITICAL = 50

    @staticmethod
    def validate(value: Any) -> "QC":
        """The QC that a member, a number, digits or a name in any case stand for. Raises `QCError`."""
        try:
            if isinstance(value, str):
                name = value.strip().upper()
                return QC(int(name)) if name.isdecimal() else QC[name]
            if not isinstance(value, bool):
                return QC(value)
        except (KeyError, ValueError):
            pass
        raise QCError(f"{value!r} is no QC.")


QC_CODES = tuple(QC)
"""QC by the code (0 to 4) that the index and the tables' dictionary column hold."""


@dataclass(frozen=True, slots=True)
class Session:
    """One experiment. `lab` may be "". `projects` is comma-joined, as the tables hold it."""

    eid: UUID
    lab: str
    subject: str
    date: date
    number: int
    task_protocol: str
    projects: str

    @property
    def path(self) -> str:
        """Path from the mount's root, and from the cache directory's."""
        return alf.session_path(self.lab, self.subject, self.date, self.number)

    @property
    def reference(self) -> str:
        """`2020-07-01_1_KS014`: the date, number and subject."""
        return f"{self.date}_{self.number}_{self.subject}"

    @property
    def project_names(self) -> tuple[str, ...]:
        """Names of its projects, sorted: their order in `projects` means nothing."""
        return tuple(sorted(self.projects.split(",")))

    def is_as(self, other: "Session") -> bool:
        """Whether another session has the same fields, but for the order of the projects."""
        return self.project_names == other.project_names and replace(self, projects=other.projects) == other


@dataclass(frozen=True, slots=True)
class Dataset:
    """One file of the archive. `size_bytes` None and `md5` "" mean that the catalogue does not know."""

    id: UUID
    eid: UUID | None
    session_path: str
    rel_path: str
    size_bytes: int | None
    md5: str
    exists: bool
    qc: QC
    default_revision: bool | None

    @property
    def path(self) -> str:
        """Path from the mount's root, and from the cache directory's."""
        return f"{self.session_path}/{self.rel_path}"

    @property
    def revision(self) -> str:
        """Name of the revision, or ""."""
        return alf.split_relative(self.rel_path).revision
