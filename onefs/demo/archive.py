"""The demo's archive on disk: the files as a data server holds them, and the cache tables about them."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self
from uuid import UUID

import numpy as np
from filelock import FileLock

from onefs import alf
from onefs.catalogue.records import QC, Dataset
from onefs.demo.contents import StoredFile, VirtualFile, session_files, subject_trials
from onefs.demo.database_file import USERS, Aggregate, BaseSession, DatabaseFile, Tag, default_repositories
from onefs.demo.export import write_export
from onefs.demo.plan import (
    BASE_SESSION,
    CREATED_S,
    CRITICAL_NAMES,
    NEVER_DEFAULT,
    PLANS,
    QC_SHARES,
    TAGS,
    UNSERVED,
    Plan,
    demo_id,
)
from onefs.errors import CacheDamagedError, UsageError

SEED = 20250630
LAYOUT = 4
"""Raised with every change of what is made, so that an archive of an older onefs is made anew."""
TABLES_DIR = "tables"
DATA_DIR = "data"
PUBLIC_DIR = "public"
MANIFEST = "archive.json"
TRIALS = "alf/_ibl_trials.table.pqt"


@dataclass(frozen=True, slots=True)
class Manifest:
    """How an archive was made, and by path the seeds of the files that are not stored."""

    layout: int
    seed: int
    virtual: dict[str, int]

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """The manifest of an archive, None if there is none that can be read."""
        try:
            raw = json.loads((directory / MANIFEST).read_bytes())
            return cls(int(raw["layout"]), int(raw["seed"]), {str(k): int(v) for k, v in raw["virtual"].items()})
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, directory: Path) -> None:
        """Write it into a directory that is being made."""
        value = {"layout": self.layout, "seed": self.seed, "virtual": self.virtual}
        (directory / MANIFEST).write_text(json.dumps(value, indent=1) + "\n")


def make_archive(directory: Path, seed: int = SEED) -> None:
    """Make the demo's archive, unless it is there already: `data/public/…`, and `tables/` about it.

    The same bytes for the same seed; complete or absent, also when two processes make it at once. Raises
    `UsageError` if other things are in the directory, `CacheDamagedError` if it cannot be written.
    """
    directory = directory.absolute()
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(directory.with_name(f".{directory.name}.lock")):
            if not _is_made(directory, seed):
                _replace(directory, seed)
    except OSError as error:
        raise CacheDamagedError(
            f"The demo's archive cannot be made in {directory}: {error.strerror or error}.",
            "Name another directory, or make this one writable and free about 100 MB.",
        ) from error


def _is_made(directory: Path, seed: int) -> bool:
    """Whether this very archive is there. Raises `UsageError` if something else stands in its place."""
    manifest = Manifest.read(directory)
    if manifest is None and directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(
            f"The demo's archive cannot be made in {directory}: something else is there.",
            "Name an empty or a new directory.",
        )
    return manifest is not None and (manifest.layout, manifest.seed) == (LAYOUT, seed)


def _replace(directory: Path, seed: int) -> None:
    """Make the archive beside its place and rename it; the lock is held: what is left beside is nobody's."""
    prefix = f".{directory.name}.making."
    _remove_beside(directory, prefix)
    try:
        making = Path(tempfile.mkdtemp(prefix=prefix, dir=directory.parent))
        making.chmod(0o755)
        _fill(making, seed)
        if directory.exists():
            directory.rename(Path(tempfile.mkdtemp(prefix=prefix, dir=directory.parent)) / "old")
        making.rename(directory)
    finally:
        _remove_beside(directory, prefix)


def _remove_beside(directory: Path, prefix: str) -> None:
    for path in directory.parent.iterdir():
        if path.name.startswith(prefix):
            shutil.rmtree(path)


def _fill(directory: Path, seed: int) -> None:
    """Make everything in an empty directory, the manifest last."""
    public = directory / DATA_DIR / PUBLIC_DIR
    made: list[tuple[Plan, Dataset]] = []
    virtual: dict[str, int] = {}
    trials: dict[str, list[tuple[Plan, bytes]]] = {}
    for plan in PLANS:
        for file in session_files(plan, seed):
            dataset = _dataset(plan, file, seed)
            path = alf.archive_path(dataset.path, dataset.id)
            made.append((plan, dataset))
            if isinstance(file, VirtualFile):
                virtual[path] = file.seed
                continue
            _write(public / path, file.content)
            if file.rel_path == TRIALS:
                trials.setdefault(f"{plan.lab}/{plan.subject}", []).append((plan, file.content))
    aggregates = [_aggregate(public, subject, parts) for subject, parts in trials.items()]
    _write_tables(directory / TABLES_DIR, made)
    _database(made, aggregates).write(directory)
    Manifest(LAYOUT, seed, virtual).write(directory)


def _aggregate(public: Path, subject: str, parts: list[tuple[Plan, bytes]]) -> Aggregate:
    """Write the trials of all sessions of a subject, given as `lab/subject`, as one dataset of no session."""
    content = subject_trials([(str(plan.session.eid), content) for plan, content in parts])
    path = f"Subjects/{subject}/_ibl_subjectTrials.table.pqt"
    dataset_id = demo_id(f"aggregates/{path}")
    _write(public / "aggregates" / alf.archive_path(path, dataset_id), content)
    return Aggregate(str(dataset_id), path, len(content), hashlib.md5(content, usedforsecurity=False).hexdigest())


def _write(path: Path, content: bytes) -> None:
    """Write a file of the archive; its time is fixed, so that a server's name for this edition is too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (CREATED_S, CREATED_S))


def _dataset(plan: Plan, file: StoredFile | VirtualFile, seed: int) -> Dataset:
    session = plan.session
    dataset_id = demo_id(f"{session.eid}/{file.rel_path}")
    if isinstance(file, VirtualFile):
        size_bytes, md5 = file.size_bytes, file.md5
    else:
        size_bytes, md5 = len(file.content), hashlib.md5(file.content, usedforsecurity=False).hexdigest()
    rng = np.random.default_rng([seed, dataset_id.int])
    qc = rng.choice(np.array(list(QC_SHARES)), p=list(QC_SHARES.values()))
    critical = file.rel_path in (*plan.critical, *CRITICAL_NAMES)
    return Dataset(
        id=dataset_id,
        eid=session.eid,
        session_path=session.path,
        rel_path=file.rel_path,
        size_bytes=size_bytes,
        md5=md5,
        exists=True,
        qc=QC.CRITICAL if critical else QC(int(qc)),
        default_revision=None,
    )


def _with_defaults(datasets: list[Dataset]) -> list[Dataset]:
    """Say which edition of each file is the default: the newest, but for the revisions that never are."""
    newest: dict[tuple[UUID | None, str, str], str] = {}
    for dataset in datasets:
        collection, revision, name = alf.split_relative(dataset.rel_path)
        if revision not in NEVER_DEFAULT:
            key = (dataset.eid, collection, name)
            newest[key] = max(newest.get(key, ""), revision)
    return [replace(dataset, default_revision=_is_default(dataset, newest)) for dataset in datasets]


def _is_default(dataset: Dataset, newest: dict[tuple[UUID | None, str, str], str]) -> bool:
    collection, revision, name = alf.split_relative(dataset.rel_path)
    return newest[dataset.eid, collection, name] == revision


def _write_tables(directory: Path, made: Sequence[tuple[Plan, Dataset]]) -> None:
    """The tables of the archive, and below them those of each release that has any."""
    directory.mkdir()
    defaults = _with_defaults([dataset for _, dataset in made])
    sessions = [plan.session for plan in PLANS]
    write_export(directory, sessions, defaults, qc=[_session_qc(plan) for plan in PLANS])
    for tag in TAGS:
        if tag.has_tables:
            (directory / tag.name).mkdir()
            held = [row for row, (plan, _) in zip(defaults, made, strict=True) if tag.holds(plan, row.rel_path)]
            eids = {row.eid for row in held}
            within = [session for session in sessions if session.eid in eids]
            write_export(directory / tag.name, within, held, tag=tag.name)


def _database(made: Sequence[tuple[Plan, Dataset]], aggregates: Sequence[Aggregate]) -> DatabaseFile:
    """What the archive's database knows beyond the tables."""
    session, rel_path = UNSERVED
    unserved = next(row for plan, row in made if (plan.session.path, row.rel_path) == (session, rel_path))
    base = BASE_SESSION
    base_id = demo_id(f"{base.session.path}/base")
    tags = [
        Tag(
            tag.name,
            tag.description,
            tag.protected,
            tag.public,
            hashlib.sha1(tag.name.encode(), usedforsecurity=False).hexdigest() if tag.public else None,
            None if tag.has_tables else [str(row.id) for plan, row in made if tag.holds(plan, row.rel_path)],
        )
        for tag in TAGS
    ]
    return DatabaseFile(
        users=USERS,
        tags=tags,
        repositories=default_repositories(sorted({plan.lab for plan in PLANS})),
        base_sessions=[BaseSession(str(base_id), base.lab, base.subject, str(base.date))],
        aggregates=aggregates,
        only_on={str(unserved.id): [f"aws_{unserved.session_path.partition('/')[0]}"]},
    )


def _session_qc(plan: Plan) -> dict[str, object]:
    """A session's line in Alyx's `QC.json`."""
    eid = plan.session.eid
    line: dict[str, object] = {"eid": str(eid), "qc_outcome": "NOT_SET", "extended_qc": None}
    if plan.probes:
        line["probe_insertions"] = [
            {"pid": str(demo_id(f"{eid}/{probe}")), "probe_name": probe, "qc_outcome": "NOT_SET"}
            for probe in plan.probes
        ]
    return line
