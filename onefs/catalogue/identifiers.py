"""Identifiers of sessions, datasets and probes (ids, references, paths, URLs): parse them, and look them up."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from urllib.parse import unquote, urlsplit
from uuid import UUID

from onefs import alf
from onefs.catalogue.insertions import Insertion
from onefs.catalogue.interface import Catalogue
from onefs.catalogue.records import Dataset
from onefs.catalogue.session_rows import AGGREGATES

LENGTH_OF_ID = 36
FORMS = "Give an eid, the id of a dataset or a probe, a reference such as 2020-07-01_1_KS014, a path, or a file's URL."

InsertionOf = Callable[[UUID], Insertion | None]
"""Gives the session's eid and the name of a probe by its id; None if there is no such probe. May ask a database."""


class DatasetRows(Protocol):
    """The relative paths and ids of a session's datasets."""

    @property
    def rel_paths(self) -> list[str]: ...
    def id(self, i: int) -> UUID: ...


class Place(NamedTuple):
    """A path in the archive: its session, and the rest below the session's folder. `lab` is None if not in the path."""

    lab: str | None
    session: alf.Reference
    rest: str


@dataclass(frozen=True, slots=True)
class Identifier:
    """A parsed identifier: an `id`, a `reference`, or a path, which is a `place` or the path of an `aggregate`.

    Beside a path, `id` is the UUID in the file's name, if there is one.
    """

    id: UUID | None = None
    reference: alf.Reference | None = None
    place: Place | None = None
    aggregate: str = ""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What an identifier names in a catalogue: rows of sessions, datasets, and probes by id."""

    sessions: list[int] = field(default_factory=list)
    datasets: list[Dataset] = field(default_factory=list)
    probes: dict[UUID, Insertion] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.sessions or self.datasets or self.probes)


def identifier_of(text: str) -> Identifier | None:
    """Parse a text as an identifier; None if it has none of the forms. An id after the last `/` counts alone."""
    path = unquote(urlsplit(text, allow_fragments=False).path) if "://" in text else text
    path = path.rstrip("/")
    last = path.rpartition("/")[2]
    if len(last) == LENGTH_OF_ID and alf.UUID_PART.fullmatch(last):
        return Identifier(id=UUID(last))
    if (reference := alf.parse_reference(last)) is not None:
        return Identifier(reference=reference)
    if (place := place_in(path)) is not None:
        return Identifier(id=alf.uuid_in(last), place=place)
    _, found, aggregate = f"/{path}".rpartition(f"/{AGGREGATES}/")
    if found:
        return Identifier(id=alf.uuid_in(last), aggregate=aggregate)
    return None


def place_in(path: str) -> Place | None:
    """The session and the rest of a path below any root; None if the path holds no session."""
    found = alf.find_session(path)
    day = alf.calendar_date(found["date"]) if found else None
    if found is None or day is None:
        return None
    session = alf.Reference(day, int(found["number"]), found["subject"])
    return Place(found["lab"], session, path[found.end() :].strip("/"))


def rows_at(rows: DatasetRows, rel_path: str) -> list[int]:
    """Rows of the datasets at a relative path. Its file name may have the dataset's UUID in it."""
    folder, slash, name = rel_path.rpartition("/")
    id_, plain = alf.uuid_in(name), f"{folder}{slash}{alf.without_uuid(name)}"
    found = [i for i, path in enumerate(rows.rel_paths) if path in (rel_path, plain)]
    return [i for i in found if rows.rel_paths[i] == rel_path or rows.id(i) == id_]


def resolve(catalogue: Catalogue, identifier: Identifier, insertion_of: InsertionOf) -> Resolved:
    """The sessions, datasets and probes that an identifier names.

    The path of a file gives that dataset, the path of a folder in a session gives the session. The catalogue and
    `insertion_of` may ask a database.
    """
    if identifier.reference is not None:
        return Resolved(sessions=catalogue.sessions_of_ref(*identifier.reference))
    if identifier.place is not None:
        return _at_place(catalogue, identifier.place)
    if identifier.aggregate:
        row = catalogue.aggregates
        return Resolved() if row is None else _below(catalogue, [row], identifier.aggregate)
    assert identifier.id is not None, "an identifier is one of these"
    return _of_id(catalogue, identifier.id, insertion_of)


def _of_id(catalogue: Catalogue, id_: UUID, insertion_of: InsertionOf) -> Resolved:
    """The session, dataset or probe of an id. What is known already is used before a database is asked."""
    row = catalogue.session_of_eid(id_) if id_.int else None
    if row is not None:
        return Resolved(sessions=[row])
    dataset = catalogue.dataset_of_id(id_)
    if dataset is not None:
        return Resolved(datasets=[dataset])
    row = catalogue.find_session(id_) if id_.int else None
    dataset = catalogue.find_dataset(id_) if row is None else None
    insertion = insertion_of(id_) if row is None and dataset is None else None
    return Resolved(
        [] if row is None else [row],
        [] if dataset is None else [dataset],
        {} if insertion is None else {id_: insertion},
    )


def _at_place(catalogue: Catalogue, place: Place) -> Resolved:
    rows = catalogue.sessions_of_ref(*place.session)
    if place.lab is not None:
        rows = [row for row in rows if catalogue.session(row).lab == place.lab]
    return _below(catalogue, rows, place.rest) if place.rest else Resolved(sessions=rows)


def _below(catalogue: Catalogue, sessions: list[int], rest: str) -> Resolved:
    """The datasets at a path in sessions, or the sessions if it is a folder of theirs."""
    rows = [catalogue.datasets(catalogue.newest(row)) for row in sessions]
    datasets = [each.dataset(i) for each in rows for i in rows_at(each, rest)]
    if datasets:
        return Resolved(datasets=datasets)
    holding = [session for session, each in zip(sessions, rows, strict=True) if _has_folder(iter(each.rel_paths), rest)]
    return Resolved(sessions=[row for row in holding if row != catalogue.aggregates])


def _has_folder(rel_paths: Iterator[str], folder: str) -> bool:
    return any(path.startswith(f"{folder}/") for path in rel_paths)
