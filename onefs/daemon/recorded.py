"""What a manifest asks for: each of its datasets once, as the catalogue's own values, from one source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from uuid import UUID

from onefs import alf
from onefs.catalogue.records import QC, Dataset, Session
from onefs.catalogue.revisions import edition_of
from onefs.catalogue.session_rows import AGGREGATES, refusal
from onefs.catalogue.snapshot import Snapshot
from onefs.digests import digest64
from onefs.errors import UsageError
from onefs.recording.manifest import Entry, read_manifest

SUBJECTS = "Subjects"
LARGEST_BYTES = (1 << 63) - 1
CREATED_BY = "Record what was read with onefs record."


@dataclass(frozen=True, slots=True)
class Recorded:
    """The datasets of one manifest, by their paths in the tree, as they were read."""

    manifest: Path
    source: str
    entries: tuple[Entry, ...]
    sessions: tuple[Session, ...]
    datasets: tuple[Dataset, ...]

    @property
    def digest(self) -> str:
        """A text that differs for manifests that ask for other bytes, or for other names or identifiers of them."""
        keys = (
            repr((each.path, str(each.id), str(each.eid), each.md5, each.size_bytes, each.default_revision))
            for each in self.datasets
        )
        return f"{digest64([key.encode(errors='surrogatepass') for key in keys]):016x}"


def read_recorded(manifest: Path, source: str = "") -> Recorded:
    """What a manifest asks for; of `source` rather than of what it names itself, if that is not "".

    Raises `UsageError` for a line that cannot be meant, and for lines that contradict each other.
    """
    lines = read_manifest(manifest)
    if not lines:
        raise UsageError(f"The manifest {manifest} is empty.", CREATED_BY)
    entries = _each_once(manifest, lines)
    seen: dict[object, tuple[int, Session]] = {}
    sessions: dict[UUID, Session] = {}
    datasets = []
    for number, entry in entries.items():
        session_path, rel_path = _place(manifest, number, entry)
        _check_revision(manifest, number, entry, rel_path)
        if entry.eid is not None:
            session = _session(manifest, number, session_path, entry)
            _check_one_eid(manifest, seen, number, session)
            sessions[session.eid] = session
        datasets.append(
            Dataset(
                entry.id, entry.eid, session_path, rel_path, entry.size, entry.hash, True, QC.NOT_SET, entry.default
            )
        )
    _check_one_path_each(manifest, entries)
    return Recorded(
        manifest,
        source or _source(manifest, lines),
        tuple(entries.values()),
        tuple(sessions.values()),
        tuple(_with_one_default_each(datasets)),
    )


def described(recorded: Recorded, tables: Snapshot | None) -> tuple[list[Session], list[Dataset]]:
    """The rows to serve: as recorded, with what tables tell of projects, protocols and quality besides."""
    sessions = [_described_session(session, tables) for session in recorded.sessions]
    return sessions, [_described_dataset(dataset, tables) for dataset in recorded.datasets]


def _with_one_default_each(datasets: Sequence[Dataset]) -> list[Dataset]:
    """Mark what was the default of each file when it was read, or else the greatest, whatever is the default now."""
    best: dict[tuple[str, str], tuple[bool, str]] = {}
    for dataset in datasets:
        key, rank = _edition(dataset)
        best[key] = max(rank, best.get(key, rank))
    defaults = [best[key] == rank for key, rank in map(_edition, datasets)]
    return [
        replace(dataset, default_revision=is_default) for dataset, is_default in zip(datasets, defaults, strict=True)
    ]


def _edition(dataset: Dataset) -> tuple[tuple[str, str], tuple[bool, str]]:
    """What tells the editions of one file from other files, and what their order is: the default is the last."""
    name, revision = edition_of(dataset.rel_path)
    return (dataset.session_path, name), (bool(dataset.default_revision), revision)


def _described_session(session: Session, tables: Snapshot | None) -> Session:
    row = tables.session_of_eid(session.eid) if tables is not None else None
    if tables is None or row is None:
        return session
    known = tables.session(row)
    return replace(session, task_protocol=known.task_protocol, projects=known.projects)


def _described_dataset(dataset: Dataset, tables: Snapshot | None) -> Dataset:
    known = tables.dataset_of_id(dataset.id) if tables is not None else None
    return replace(dataset, qc=known.qc) if known else dataset


def _source(manifest: Path, lines: Mapping[int, Entry]) -> str:
    named = list(dict.fromkeys(entry.source for entry in lines.values()))
    if len(named) > 1:
        raise UsageError(
            f"The manifest {manifest} is of several sources: {', '.join(named)}.",
            "Split it by its field source, or say with --source which one has all of it.",
        )
    return named[0]


def _each_once(manifest: Path, lines: Mapping[int, Entry]) -> dict[int, Entry]:
    """The first entry of each path, with what any tells of its bytes, and whether it was the default for any reader."""
    at: dict[str, int] = {}
    kept: dict[int, Entry] = {}
    for number, entry in lines.items():
        first = at.setdefault(entry.path, number)
        known = kept.setdefault(first, entry)
        for field in ("eid", "hash", "size"):
            one, other = getattr(known, field), getattr(entry, field)
            if one != other and (field == "eid" or (one not in ("", None) and other not in ("", None))):
                raise UsageError(
                    f"{manifest}, line {number}: {field} is {_shown(other)}, and line {first} has {_shown(one)} for "
                    f"the same path {entry.path}.",
                    "Take one of the two lines out.",
                )
        size = entry.size if known.size is None else known.size
        default = entry.default if known.default is None else known.default or bool(entry.default)
        kept[first] = replace(known, hash=known.hash or entry.hash, size=size, default=default)
    return kept


def _check_one_path_each(manifest: Path, entries: Mapping[int, Entry]) -> None:
    """Raise `UsageError` if an id has two paths, as of a dataset that was renamed: tables list it at one."""
    first: dict[UUID, int] = {}
    for number, entry in entries.items():
        known = first.setdefault(entry.id, number)
        if known != number:
            raise UsageError(
                f"{manifest}, line {number}: the dataset {entry.id} is at {entry.path}, and line {known} has it at "
                f"{entries[known].path}.",
                "Take one of the two lines out.",
            )


def _check_revision(manifest: Path, number: int, entry: Entry, rel_path: str) -> None:
    revision = alf.split_relative(rel_path).revision
    if entry.revision != revision:
        said = f"that of {entry.path} is {revision}" if revision else f"{entry.path} has none"
        raise UsageError(
            f"{manifest}, line {number}: revision is {entry.revision!r}, but {said}.",
            "Mend it, or take that line out.",
        )


def _shown(value: object) -> str:
    return "null" if value is None else str(value)


def _place(manifest: Path, number: int, entry: Entry) -> tuple[str, str]:
    """The folder of a dataset's session and the path in it."""
    parts = entry.path.split("/")
    depth = 5 if parts[1:2] == [SUBJECTS] else 3
    if entry.eid is None:
        depth = 1 if parts[0] == AGGREGATES else len(parts)
    if not depth < len(parts) or not alf.is_safe_relative(entry.path) or not _is_text(entry.path):
        raise _no_place(manifest, number, entry)
    if (entry.size or 0) > LARGEST_BYTES:
        raise UsageError(
            f"{manifest}, line {number}: size is {entry.size}, more than a file can have.",
            "Mend it, or take that line out.",
        )
    return "/".join(parts[:depth]), "/".join(parts[depth:])


def _is_text(path: str) -> bool:
    """Whether tables can hold a path."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _no_place(manifest: Path, number: int, entry: Entry) -> UsageError:
    folder = "of a session" if entry.eid is not None else f"{AGGREGATES}, as its eid null says"
    return UsageError(
        f"{manifest}, line {number}: path is {entry.path!r}, which is no path of a dataset in the folder {folder}.",
        "Mend it, or take that line out.",
    )


def _session(manifest: Path, number: int, path: str, entry: Entry) -> Session:
    """The session that a path tells of; what else is known of it the tables know."""
    assert entry.eid is not None
    *above, subject, day, no = path.split("/")
    lab = above[0] if above else ""
    try:
        session = Session(entry.eid, lab, subject, date.fromisoformat(day), int(no), "", "")
    except ValueError:
        raise _no_place(manifest, number, entry) from None
    if session.path != path or refusal(lab, subject, session.date, session.number) is not None:
        raise _no_place(manifest, number, entry)
    return session


def _check_one_eid(manifest: Path, seen: dict[object, tuple[int, Session]], number: int, session: Session) -> None:
    """Raise `UsageError` if a session has two eids, or an eid two sessions."""
    for key in (session.eid, session.path):
        first, known = seen.setdefault(key, (number, session))
        if (known.eid, known.path) != (session.eid, session.path):
            raise UsageError(
                f"{manifest}, line {number}: eid is {session.eid} of the session {session.path}, and line {first} has "
                f"{known.eid} of {known.path}.",
                "Take one of the two lines out.",
            )
