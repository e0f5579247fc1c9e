"""What cache tables look like: their columns, which are needed, and the shapes of older tables."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from onefs.errors import TableError

METADATA_KEY = b"one_metadata"
QC_NAMES = ("NOT_SET", "PASS", "WARNING", "FAIL", "CRITICAL")
"""Names of QC outcomes by code, in the tables' order."""

NEW_TABLES = "Put good tables in its place; those of a server are fetched anew when it is mounted in mode auto."


@dataclass(frozen=True, slots=True)
class Column:
    """A column, and the groups of file columns that can stand for it: the first that is whole is read."""

    name: str
    sources: tuple[tuple[str, ...], ...]
    needed: bool = True


SESSION_COLUMNS = (
    Column("id", (("id",), ("eid",), ("id_0", "id_1"), ("eid_0", "eid_1"), ("__index_level_0__",))),
    Column("lab", (("lab",),)),
    Column("subject", (("subject",),)),
    Column("date", (("date",),)),
    Column("number", (("number",),)),
    Column("task_protocol", (("task_protocol",),), needed=False),
    Column("projects", (("projects",), ("project",)), needed=False),
)
DATASET_COLUMNS = (
    Column("eid", (("eid",), ("eid_0", "eid_1"), ("__index_level_0__",))),
    Column("id", (("id",), ("id_0", "id_1"), ("__index_level_1__",))),
    Column("rel_path", (("rel_path",),)),
    Column("file_size", (("file_size",),)),
    Column("hash", (("hash",),)),
    Column("exists", (("exists",), ("exists_aws", "exists_flatiron"), ("exists_aws",), ("exists_flatiron",))),
    Column("qc", (("qc",),), needed=False),
    Column("default_revision", (("default_revision",),), needed=False),
)
INSERTION_COLUMNS = (
    Column("eid", (("eid",), ("eid_0", "eid_1"), ("__index_level_0__",))),
    Column("id", (("id",), ("id_0", "id_1"), ("__index_level_1__",))),
    Column("name", (("name",),)),
)

CODED = ("eid", "rel_path", "qc")
"""Columns of few texts that come again and again."""


@dataclass(frozen=True, slots=True)
class TableFiles:
    """Where the two cache tables are."""

    sessions: Path
    datasets: Path

    def stats(self) -> list[list[int]]:
        """Size in bytes, mtime in ns and inode number of each, which change with the tables; [] if one is missing."""
        try:
            found = [file.stat() for file in (self.sessions, self.datasets)]
        except OSError:
            return []
        return [[each.st_size, each.st_mtime_ns, each.st_ino] for each in found]


@dataclass(frozen=True, slots=True)
class TableMetadata:
    """What a cache table says of itself. `created` is "YYYY-MM-DD HH:MM" as given; absent values are ""."""

    created: str
    origin: str
    min_api_version: str
    tags: tuple[str, ...]
    raw: Mapping[str, object]

    @classmethod
    def of(cls, raw: Mapping[str, object]) -> "TableMetadata":
        """The values of a table's `one_metadata`, which must hold `date_created`."""
        return cls(
            created=str(raw["date_created"]),
            origin=", ".join(_texts(raw.get("origin"))),
            min_api_version=str(raw.get("min_api_version") or ""),
            tags=_texts(raw.get("database_tags")),
            raw=MappingProxyType(dict(raw)),
        )


def _texts(value: object) -> tuple[str, ...]:
    """Exports write one string or a list of them."""
    if isinstance(value, list | tuple):
        return tuple(str(item) for item in value)
    return (str(value),) if value else ()


def sources(columns: Iterable[Column], present: Iterable[str], file: Path) -> dict[str, tuple[str, ...]]:
    """For each column the file's columns to read it from.

    Raises `TableError` if a needed one is missing, or if two columns of the file have one name.
    """
    names: set[str] = set()
    for name in present:
        if name in names:
            raise TableError(f"The cache table {file} has two columns {name!r}.", NEW_TABLES)
        names.add(name)
    found = {}
    for column in columns:
        group = next((group for group in column.sources if names.issuperset(group)), None)
        if group is not None:
            found[column.name] = group
        elif column.needed:
            raise TableError(f"The cache table {file} lacks the column {column.name!r}.", NEW_TABLES)
    return found
