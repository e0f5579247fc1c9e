"""Reads and lists of Alyx parsed as records; odd records are skipped and counted."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import UUID

from onefs import alf
from onefs.alyx.fields import OddRecordError, Record
from onefs.alyx.rest import Query, Rest
from onefs.errors import BrokenAnswerError, UnknownRecordError

IDS_PER_QUESTION = 50  # the server refuses longer addresses

T = TypeVar("T")
Parse = Callable[[Record], T]
log = logging.getLogger(__name__)


class Questions:
    """Asks `rest`, and parses what it answers. `host` is for sentences."""

    def __init__(self, rest: Rest, host: str) -> None:
        self._rest = rest
        self._host = host

    def read(self, parse: Parse[T], path: str, *, no_cache: bool) -> T:
        """One record."""
        return self.one(parse, self._rest.get(path, no_cache=no_cache), path)

    def every(self, parse: Parse[T], path: str, query: Query = (), *, no_cache: bool) -> list[T]:
        """Every record of a list."""
        return self.all(parse, self._rest.every(path, query, no_cache=no_cache), path)

    def of_ids(
        self, parse: Parse[T], path: str, field: str, ids: Iterable[UUID], more: Query = (), *, no_cache: bool
    ) -> list[T]:
        """The records of these ids, asked for in portions. `field` is the name of the filter on ids."""
        found: list[T] = []
        for portion in _portions(list(dict.fromkeys(ids))):
            listed = ", ".join(f"'{one}'" for one in portion)
            query = (*more, ("django", f"{field},[{listed}]"))
            found.extend(self.every(parse, path, query, no_cache=no_cache))
        return found

    def one(self, parse: Parse[T], record: Any, path: str) -> T:
        """A record that must be what it should be."""
        try:
            if isinstance(record, dict):
                return parse(record)
            odd = "no record"
        except OddRecordError as error:
            odd = str(error)
        raise BrokenAnswerError(f"{self._host} answered {path} with something that is not understood: {odd}.")

    def all(self, parse: Parse[T], records: Sequence[Record], path: str) -> list[T]:
        """Records as far as they are what they should be."""
        found = []
        odd: list[str] = []
        for record in records:
            try:
                found.append(parse(record))
            except OddRecordError as error:
                odd.append(str(error))
        if odd:
            log.warning(
                "%s: %d of %d records of %s are left out (%s).", self._host, len(odd), len(records), path, odd[0]
            )
        return found


def segment(name: str, what: str) -> str:
    """A name as one part of a path."""
    if not alf.is_safe_part(name):
        raise UnknownRecordError(f"There is no {what} named {name!r}.")
    return quote(name, safe="")


def _portions(ids: list[UUID]) -> Iterable[list[UUID]]:
    return (ids[start : start + IDS_PER_QUESTION] for start in range(0, len(ids), IDS_PER_QUESTION))
