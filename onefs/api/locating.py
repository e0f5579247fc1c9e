"""Find sessions and datasets in tables by id, path, URL, reference or dict: the conversions of programs.

`onefs.catalogue.identifiers` has the forms that the command line takes.
"""

import os
from collections.abc import Mapping
from datetime import date
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit
from uuid import UUID

from onefs import alf
from onefs.alf_files.spec import as_posix
from onefs.api.references import dict2ref, not_a_reference
from onefs.catalogue.identifiers import LENGTH_OF_ID, rows_at
from onefs.catalogue.records import Dataset, Session
from onefs.catalogue.session_rows import AGGREGATES
from onefs.one_errors import ALFMultipleObjectsFound, UsageError


class Rows(Protocol):
    """A session's datasets."""

    @property
    def rel_paths(self) -> list[str]: ...
    def __len__(self) -> int: ...
    def id(self, i: int) -> UUID: ...
    def dataset(self, i: int) -> Dataset: ...


class Tables(Protocol):
    """A catalogue to find them in. All but `session` and `aggregates` may ask a database, if `may_ask`."""

    @property
    def may_ask(self) -> bool: ...
    @property
    def aggregates(self) -> int | None: ...
    def session(self, row: int) -> Session: ...
    def find_session(self, eid: UUID) -> int | None: ...
    def sessions_of_ref(self, day: date, number: int, subject: str) -> list[int]: ...
    def newest(self, row: int) -> int: ...
    def datasets(self, row: int) -> Rows: ...
    def find_dataset(self, id: UUID) -> Dataset | None: ...  # noqa: A002


class Place(NamedTuple):
    """A dataset as a row of its session's datasets."""

    rows: Rows
    i: int


class SessionName(NamedTuple):
    """The date, number and subject of a session. `lab` is None if not given; `text` is the name as it was given."""

    lab: str | None
    day: date
    number: int
    subject: str
    text: str


def id_of(value: object) -> UUID:
    """The id in a value: a UUID, or a text that ends in one. Raises `UsageError`."""
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value.rstrip("/")[-LENGTH_OF_ID:] if isinstance(value, str) and len(value) >= LENGTH_OF_ID else "")
    except ValueError:
        raise UsageError(f"{value!r} is no id.", "Give a UUID of 36 characters, or a text that ends in one.") from None


def row_of_eid(tables: "Tables", eid: object) -> int | None:
    """The row of the session with this eid, None if there is none. Raises `UsageError` for a list of eids."""
    if isinstance(eid, list):
        raise UsageError("A list of sessions is given where one is wanted.", "Call it once for each.")
    id_ = UUID(str(eid))
    return tables.find_session(id_) if id_.int else None  # the nil UUID stands for datasets of no session


def path_of(value: object) -> str:
    """A path or URL as the text of a path. Raises `UsageError` for anything else."""
    if not isinstance(value, str | os.PathLike):
        raise UsageError(f"{value!r} is no path.", "Give a path or a URL.")
    text = as_posix(value)
    return unquote(urlsplit(text, allow_fragments=False).path) if "://" in text else text


def name_in(path: str) -> SessionName | None:
    """The name of the session that a path is in; None if it is in none."""
    found = alf.find_session(path)
    day = alf.calendar_date(found["date"]) if found else None
    if found is None or day is None:
        return None
    return SessionName(found["lab"], day, int(found["number"]), found["subject"], found[0])


def name_of(session: str | Mapping[str, Any]) -> SessionName:
    """The name of a session from a reference, a dict of its parts, or Alyx's record. Raises `UsageError`."""
    text = dict2ref(session) if isinstance(session, Mapping) else session
    found = alf.parse_reference(text) if isinstance(text, str) else None
    if found is None:
        raise not_a_reference(session)
    lab = session.get("lab") or None if isinstance(session, Mapping) else None
    return SessionName(lab, found.day, found.number, found.subject, str(text))


def rows_of(tables: Tables, name: SessionName) -> list[int]:
    """The rows of the sessions that have this name."""
    rows = tables.sessions_of_ref(name.day, name.number, name.subject)
    return rows if name.lab is None else [row for row in rows if tables.session(row).lab == name.lab]


def row_named(tables: Tables, name: SessionName) -> int | None:
    """The row of the session that has this name. Raises `ALFMultipleObjectsFound`."""
    rows = rows_of(tables, name)
    if len(rows) > 1:
        told = ", ".join(sorted(f"{session.eid} ({session.path})" for session in map(tables.session, rows)))
        raise ALFMultipleObjectsFound(
            f"{name.text!r} is the name of several sessions: {told}. Give an eid, or a path with the lab.", terse=True
        )
    return rows[0] if rows else None


def dataset_at(tables: Tables, path: str) -> Place | None:
    """The dataset at a path below any root, with or without its UUID in the name.

    Raises `ALFMultipleObjectsFound` if several sessions have one there.
    """
    session = alf.find_session(path)
    if session is not None:
        name = name_in(path)
        rows = rows_of(tables, name) if name else []
        rest = path[session.end() :].strip("/")
    else:
        rows = [] if tables.aggregates is None else [tables.aggregates]
        rest = f"/{path}".rpartition(f"/{AGGREGATES}/")[2]
    by_session = [tables.datasets(tables.newest(row)) for row in rows]
    found = [Place(datasets, i) for datasets in by_session for i in rows_at(datasets, rest)]
    if len(found) > 1:
        told = ", ".join(sorted(str(place.rows.id(place.i)) for place in found))
        raise ALFMultipleObjectsFound(f"{path!r} is the path of several datasets: {told}. Give an id.", terse=True)
    if found:
        return found[0]
    id_ = alf.uuid_in(path.rpartition("/")[2])
    return _place_of_id(tables, id_) if id_ is not None and session is None else None


def _place_of_id(tables: Tables, id_: UUID) -> Place | None:
    dataset = tables.find_dataset(id_)
    if dataset is None:
        return None
    row = tables.find_session(dataset.eid) if dataset.eid else tables.aggregates
    rows = None if row is None else tables.datasets(tables.newest(row))
    return next((Place(rows, i) for i in range(len(rows)) if rows.id(i) == id_), None) if rows is not None else None


def told_by_row(row: Any) -> tuple[UUID | None, UUID, str]:
    """The eid, id and relative path of a row of the datasets table, named (`eid`, `id`) or with these as columns.

    The eid of an aggregate is None, its path begins below their folder. Raises `UsageError`.
    """
    eid, id_ = row.name if isinstance(row.name, tuple) else (row.get("eid", ""), row.get("id", row.name))
    rel_path = row.get("rel_path")
    if not isinstance(rel_path, str) or eid == "":
        raise UsageError("This is no row of datasets: it needs eid, id and rel_path.", "Name it (eid, id).")
    eid = id_of(eid) if isinstance(eid, str | UUID) else None
    inside = rel_path if eid else f"/{rel_path}".rpartition(f"/{AGGREGATES}/")[2].strip("/")
    if not alf.is_safe_relative(inside):
        raise UsageError(f"{rel_path!r} is no path in a session.", "Correct the table.")
    return eid, id_of(id_), inside
