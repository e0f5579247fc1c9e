"""The demo's database: one edition of what an archive's tables and `database.json` say, as linked rows."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pyarrow.parquet as pq

from onefs import alf
from onefs.catalogue.records import QC
from onefs.catalogue.tables import read_metadata
from onefs.demo.database_file import Aggregate, DatabaseFile, Tag, default_repositories
from onefs.demo.export import QC_SUMMARY, TABLES
from onefs.demo.plan import demo_id
from onefs.demo.rows import (
    AGGREGATES,
    DatasetRow,
    FileRow,
    InsertionRow,
    LabRow,
    NamedRow,
    RepositoryRow,
    RevisionRow,
    SessionRow,
    SubjectRow,
    TagRow,
    UserRow,
)

Raw = dict[str, Any]
RowT = TypeVar("RowT")


@dataclass(frozen=True, slots=True)
class Database:
    """One edition. Each table is ordered, by the key that stands in a URL. `created` is an ISO date and time."""

    created: str
    sessions: Mapping[str, SessionRow]
    datasets: Mapping[str, DatasetRow]
    datasets_of: Mapping[str, Sequence[DatasetRow]]
    files: Mapping[str, FileRow]
    insertions: Mapping[str, InsertionRow]
    insertions_of: Mapping[str, Sequence[InsertionRow]]
    labs: Mapping[str, LabRow]
    subjects: Mapping[str, SubjectRow]
    projects: Mapping[str, NamedRow]
    tags: Mapping[str, TagRow]
    revisions: Mapping[str, RevisionRow]
    dataset_types: Mapping[str, NamedRow]
    repositories: Mapping[str, RepositoryRow]
    users: Mapping[str, UserRow]


def id_of(kind: str, name: str) -> str:
    """The id of a row that has none in the tables: the same whenever it is asked for."""
    return str(demo_id(f"{kind}/{name}"))


def read_database(directory: Path, tables: Path) -> Database:
    """Read an archive's tables and its `database.json`. Raises what reading them raises."""
    known = DatabaseFile.read(directory)
    created = read_metadata(tables / "datasets.pqt").created.replace(" ", "T") + ":00.123456"
    sessions = _sessions(pq.read_table(tables / TABLES[0]).to_pylist(), known)
    raw = pq.read_table(tables / TABLES[1]).to_pylist()
    labs = sorted({*(row.lab for row in sessions.values()), *known.subject_labs.values()})
    repositories = _repositories(known, labs)
    tags, tagged = _tags(known, tables)
    link = _Links(sessions, repositories, tags, tagged, known.only_on)
    datasets = link.datasets(raw, known.aggregates)
    datasets_of = _grouped((row.session.id, row) for row in datasets.values() if row.session)
    insertions = _insertions(sessions.values(), datasets_of, tables)
    return Database(
        created=created,
        sessions=sessions,
        datasets=datasets,
        datasets_of=datasets_of,
        files={file.id: file for row in datasets.values() for file in row.files},
        insertions=insertions,
        insertions_of=_grouped((row.session.id, row) for row in insertions.values()),
        labs={lab: LabRow(lab, tuple(r.name for r in repositories.values() if r.of == lab)) for lab in labs},
        subjects=_subjects(sessions.values(), known.subject_labs),
        projects=_named("project", (name for row in sessions.values() for name in row.projects)),
        tags=tags,
        revisions=_revisions({row.revision for row in datasets.values()} - {""}, created),
        dataset_types=_named("type", (row.dataset_type for row in datasets.values())),
        repositories=repositories,
        users={
            each.username: UserRow(id_of("user", each.username), each.username, each.password, each.public)
            for each in sorted(known.users, key=lambda user: user.username)
        },
    )


def _grouped(pairs: Iterable[tuple[str, RowT]]) -> dict[str, list[RowT]]:
    groups: dict[str, list[RowT]] = {}
    for key, row in pairs:
        groups.setdefault(key, []).append(row)
    return groups


def _named(kind: str, names: Iterable[str]) -> dict[str, NamedRow]:
    return {name: NamedRow(id_of(kind, name), name) for name in sorted(set(names))}


def _sessions(raw: Iterable[Raw], known: DatabaseFile) -> dict[str, SessionRow]:
    """Newest first; on one day by time, and those of one time by number."""
    rows = [
        SessionRow(
            id=str(row["id"]),
            lab=row["lab"],
            subject=row["subject"],
            date=row["date"],
            number=row["number"],
            task_protocol=row.get("task_protocol") or "",
            projects=tuple(filter(None, (row.get("projects") or "").split(","))),
        )
        for row in raw
    ]
    rows += [
        SessionRow(base.id, base.lab, base.subject, date.fromisoformat(base.date), None, "", ())
        for base in known.base_sessions
    ]
    rows.sort(key=lambda row: (row.number or 0, row.id))
    rows.sort(key=lambda row: row.start_time, reverse=True)
    return {row.id: row for row in rows}


def _repositories(known: DatabaseFile, labs: Sequence[str]) -> dict[str, RepositoryRow]:
    given = default_repositories(labs) if known.repositories is None else known.repositories
    rows = (
        RepositoryRow(
            each.name,
            each.of,
            each.globus_path,
            each.hostname,
            each.data_url,
            each.globus_is_personal,
            each.globus_endpoint_id,
            each.json,
        )
        for each in sorted(given, key=lambda each: each.name)
    )
    return {row.name: row for row in rows}


def _tags(known: DatabaseFile, tables: Path) -> tuple[dict[str, TagRow], dict[str, set[str]]]:
    """The tags, and by tag the ids of its datasets. Without a `database.json` each folder of tables is a tag."""
    folders = sorted(path.parent.name for path in tables.glob(f"*/{TABLES[1]}"))
    given = [Tag(name) for name in folders] if known.tags is None else known.tags
    tags, tagged = {}, {}
    for tag in sorted(given, key=lambda each: each.name):
        row = TagRow(id_of("tag", tag.name), tag.name, tag.description, tag.protected, tag.public, tag.hash)
        tags[tag.name] = row
        if tag.datasets is not None:
            tagged[tag.name] = set(tag.datasets)
        elif tag.name in folders:
            column = pq.read_table(tables / tag.name / TABLES[1]).column("id")
            tagged[tag.name] = {str(value) for value in column.to_pylist()}
        else:
            tagged[tag.name] = set()
    return tags, tagged


def _subjects(sessions: Iterable[SessionRow], labs: Mapping[str, str]) -> dict[str, SubjectRow]:
    groups = _grouped((row.subject, row) for row in sessions)
    return {
        name: SubjectRow(
            id_of("subject", name),
            name,
            labs.get(name, rows[0].lab),
            tuple(sorted({each for row in rows for each in row.projects})),
            tuple(sorted({row.lab for row in rows})),
        )
        for name, rows in sorted(groups.items())
    }


def _revisions(names: Iterable[str], created: str) -> dict[str, RevisionRow]:
    rows = {}
    for name in sorted(names):
        day = alf.revision_date(name)
        rows[name] = RevisionRow(id_of("revision", name), name, f"{day}T00:00:00" if day else created)
    return rows


def _insertions(
    sessions: Iterable[SessionRow], datasets_of: Mapping[str, Sequence[DatasetRow]], tables: Path
) -> dict[str, InsertionRow]:
    """A probe for each folder `…/probeNN`; those that the export's QC summary names have the ids it gives them."""
    named: dict[tuple[str, str], str] = {}
    summary = tables / QC_SUMMARY
    for line in json.loads(summary.read_bytes()) if summary.is_file() else ():
        for probe in line.get("probe_insertions") or ():
            named[line["eid"], probe["probe_name"]] = probe["pid"]
    rows = []
    for session in sessions:
        own = datasets_of.get(session.id, ())
        folders = {part for row in own for part in row.collection.split("/") if part.startswith("probe")}
        for probe in sorted(folders):
            pid = named.get((session.id, probe)) or str(demo_id(f"{session.id}/{probe}"))
            inside = tuple(row for row in own if probe in row.collection)
            rows.append(InsertionRow(pid, session, probe, inside))
    return {row.id: row for row in rows}


@dataclass(frozen=True, slots=True)
class _Links:
    """What a dataset is linked to while its row is made."""

    sessions: Mapping[str, SessionRow]
    repositories: Mapping[str, RepositoryRow]
    tags: Mapping[str, TagRow]
    tagged: Mapping[str, set[str]]
    only_on: Mapping[str, Sequence[str]]

    def datasets(self, raw: Sequence[Raw], aggregates: Sequence[Aggregate]) -> dict[str, DatasetRow]:
        """All datasets by id. Rows of sessions that are in no table are left out."""
        newest: dict[tuple[Any, str, str], str] = {}
        for row in raw:
            collection, revision, name = alf.split_relative(row["rel_path"])
            key = (row["eid"], collection, name)
            newest[key] = max(newest.get(key, ""), revision)
        made = [self._of_table(row, newest) for row in raw if not row["eid"] or str(row["eid"]) in self.sessions]
        made += [
            self._linked(each.id, None, each.path, each.size_bytes, each.md5, QC.NOT_SET, default=True)
            for each in aggregates
        ]
        made.sort(key=lambda row: row.id)
        return {row.id: row for row in made}

    def _of_table(self, row: Raw, newest: Mapping[tuple[Any, str, str], str]) -> DatasetRow:
        collection, revision, name = alf.split_relative(row["rel_path"])
        default = row.get("default_revision")
        if default is None:
            default = newest[row["eid"], collection, name] == revision
        return self._linked(
            str(UUID(str(row["id"]))),
            self.sessions[str(row["eid"])] if row["eid"] else None,
            row["rel_path"].removeprefix(f"{AGGREGATES}/") if not row["eid"] else row["rel_path"],
            row["file_size"],
            row["hash"] or "",
            QC[row.get("qc") or "NOT_SET"],
            default=default,
            exists=row["exists"],
        )

    def _linked(
        self,
        id: str,  # noqa: A002 - what a row's key is called everywhere
        session: SessionRow | None,
        path: str,
        size_bytes: int | None,
        md5: str,
        qc: QC,
        *,
        default: bool,
        exists: bool = True,
    ) -> DatasetRow:
        tags = tuple(tag for name, tag in self.tags.items() if id in self.tagged[name])
        files = self._files(id, session, path, exists)
        return DatasetRow(id, session, path, size_bytes, md5, qc, default, tags, files)

    def _files(self, id: str, session: SessionRow | None, path: str, exists: bool) -> tuple[FileRow, ...]:  # noqa: A002
        """A copy in each repository of the lab; on a lab's own server there is one even of what no server has."""
        lab = session.lab if session else AGGREGATES
        below = f"{session.path}/{path}" if session else path
        only = self.only_on.get(id)
        return tuple(
            FileRow(id_of("file", f"{id}/{name}"), id, place, below, exists or place.globus_is_personal, lab)
            for name, place in self.repositories.items()
            if place.of == lab and (only is None or name in only)
        )
