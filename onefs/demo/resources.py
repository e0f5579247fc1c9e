"""Owns what an endpoint is: its rows, its filters and its JSON, as one value in a table; and the usual filters."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Generic, TypeVar
from uuid import UUID

from onefs.catalogue.records import QC
from onefs.demo.database import Database
from onefs.demo.serialise import Json, Serialiser

RowT = TypeVar("RowT")
Keeps = Callable[[Any], bool]


class RestError(Exception):
    """An answer that is an error: `status`, and a body that says it too."""

    def __init__(self, status: int, body: Json, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = {**body, "status_code": status}
        self.headers = dict(headers or {})

    @classmethod
    def fault(cls, detail: str) -> "RestError":
        """What Alyx answers when a question makes it fail."""
        return cls(500, {"detail": detail})


@dataclass(frozen=True, slots=True)
class Ask:
    """A question: of which database, with which arguments in all."""

    db: Database
    arguments: Mapping[str, str]


Filter = Callable[[Ask, str], Keeps]
"""From a question and an argument's value to the rows that it keeps. Raises `RestError` on a bad value."""


@dataclass(frozen=True, slots=True)
class Field:
    """What a `django` filter can ask: the values of a row, and how a text is compared with them."""

    values: Callable[[Database, Any], Iterable[object]]
    parse: Callable[[object], object] = str


@dataclass(frozen=True, slots=True)
class Resource(Generic[RowT]):
    """An endpoint. `model` is what errors call a row; `by_id`: keys are UUIDs, others names; rows stand by key."""

    name: str
    model: str
    rows: Callable[[Database], Mapping[str, RowT]]
    brief: Callable[[Serialiser, RowT], Json]
    full: Callable[[Serialiser, RowT], Json]
    by_id: bool = False
    filters: Mapping[str, Filter] = field(default_factory=dict)
    fields: Mapping[str, Field] = field(default_factory=dict)


def one(get: Callable[[Any], object], parse: Callable[[object], object] = str) -> Field:
    """A field of one value."""
    return Field(lambda db, row: [get(row)], parse)  # noqa: ARG005 - the shape of a field


def equal(get: Callable[[Any], object]) -> Filter:
    """Keeps rows of exactly this value."""
    return lambda ask, value: lambda row: get(row) == value  # noqa: ARG005 - the shape of a filter


def same(get: Callable[[Any], str | None]) -> Filter:
    """Keeps rows of this value, in whatever case."""
    return lambda ask, value: lambda row: (get(row) or "").lower() == value.lower()  # noqa: ARG005


def contains(get: Callable[[Any], Iterable[str | None]]) -> Filter:
    """Keeps rows of which one value contains this one, in whatever case."""

    def filter_(ask: Ask, value: str) -> Keeps:
        del ask
        return lambda row: any(value.lower() in (each or "").lower() for each in get(row))

    return filter_


def number(name: str, get: Callable[[Any], int | None]) -> Filter:
    """Keeps rows of this number."""

    def filter_(ask: Ask, value: str) -> Keeps:
        del ask
        try:
            wanted = float(value)
        except ValueError as error:
            raise RestError(400, {name: ["Enter a number."]}) from error
        return lambda row: get(row) == wanted

    return filter_


def boolean(get: Callable[[Any], bool]) -> Filter:
    """Keeps rows for which this is true or false; what is neither keeps all."""

    def filter_(ask: Ask, value: str) -> Keeps:
        del ask
        wanted = {"true": True, "false": False, "1": True, "0": False}.get(value.lower())
        return lambda row: wanted is None or get(row) == wanted

    return filter_


def identity(name: str, get: Callable[[Any], str | None]) -> Filter:
    """Keeps the rows with this id."""

    def filter_(ask: Ask, value: str) -> Keeps:
        del ask
        wanted = as_uuid(value)
        if wanted is None:
            raise RestError(400, {name: ["Enter a valid UUID."]})
        return lambda row: get(row) == wanted

    return filter_


def choice(name: str, get: Callable[[Any], str | None], known: Callable[[Database], Mapping[str, object]]) -> Filter:
    """Keeps the rows that are linked to the one with this id, which there must be."""

    def filter_(ask: Ask, value: str) -> Keeps:
        wanted = as_uuid(value)
        if wanted not in known(ask.db):
            wrong = "Select a valid choice. That choice is not one of the available choices."
            raise RestError(400, {name: [wrong]})
        return lambda row: get(row) == wanted

    return filter_


def as_uuid(value: str) -> str | None:
    """A UUID in its usual form; None if it is none."""
    try:
        return str(UUID(value))
    except ValueError:
        return None


def outcome(value: str) -> QC:
    """A QC outcome by its name or number. Raises `RestError`."""
    try:
        return QC(int(value)) if value.isdecimal() else QC[value.upper()]
    except (KeyError, ValueError) as error:
        raise RestError.fault(f"{value} is not a valid QC") from error


def day_range(value: str, get: Callable[[Any], str]) -> Keeps:
    """Keeps rows whose ISO date lies between two, both included. Raises `RestError`."""
    first, *rest = value.split(",")
    if not rest:
        raise RestError.fault("list index out of range")
    low, high = as_day(first), as_day(rest[0])
    return lambda row: low <= get(row) <= high


def as_day(value: object) -> str:
    """An ISO date. Raises `RestError`."""
    try:
        return date.fromisoformat(str(value)).isoformat()
    except ValueError as error:
        wrong = f"“{value}” value has an invalid date format. It must be in YYYY-MM-DD format."
        raise RestError.fault(f"['{wrong}']") from error
