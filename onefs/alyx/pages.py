"""Lists of records that are fetched page by page, when they are touched."""

from collections.abc import Sequence
from typing import Any, Protocol, overload

from onefs.alyx.client import AlyxClient
from onefs.alyx.rest import Page, Query, identity
from onefs.forks import new_lock

AlyxRecord = dict[str, Any]
LIMIT, OFFSET = "limit", "offset"
WITHOUT_ORDER = frozenset({"datasets", "files"})


class PageSource(Protocol):
    """Where the pages of one list come from."""

    @property
    def has_order(self) -> bool:
        """Whether the list has an order, so that a page can be asked for by its offset."""

    def page(self, offset: int, limit: int) -> Page:
        """The page of at most `limit` records that begins at `offset`."""

    def every(self) -> Sequence[AlyxRecord]:
        """All records."""


class Pages(Sequence[AlyxRecord]):
    """The records of a list, of which the first page is there. Safe to use from several threads.

    A list without an order is fetched whole as soon as more than its first page is touched: pages by offset could
    repeat some of its records and skip others. If the list changed meanwhile, its new length counts.
    """

    def __init__(self, source: PageSource, first: Page) -> None:
        self._source = source
        self._limit = len(first.records)
        self._lock = new_lock()  # guards the records, and lets one thread at a time ask for more
        self._records: list[AlyxRecord | None] = []
        self._put(0, first)

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> AlyxRecord: ...

    @overload
    def __getitem__(self, index: slice) -> list[AlyxRecord]: ...

    def __getitem__(self, index: int | slice) -> AlyxRecord | list[AlyxRecord]:
        if isinstance(index, slice):
            found = [self._record(each) for each in range(*index.indices(len(self)))]
            return [record for record in found if record is not None]
        record = self._record(index)
        if record is None:
            raise IndexError(f"There are {len(self)} records, and none at {index}.")
        return record

    def __repr__(self) -> str:
        there = sum(record is not None for record in self._records)
        return f"<{len(self)} records, {there} of them fetched>"

    def _record(self, index: int) -> AlyxRecord | None:
        """The record at an index; None if the list is, or has become, too short."""
        with self._lock:
            place = index + len(self._records) if index < 0 else index
            if 0 <= place < len(self._records) and self._records[place] is None:
                self._fetch(place)
            return self._records[place] if 0 <= place < len(self._records) else None

    def _fetch(self, place: int) -> None:
        if self._source.has_order:
            offset = place - place % self._limit
            self._put(offset, self._source.page(offset, self._limit))
            return
        first = [record for record in self._records if record is not None]
        known = {identity(record) for record in first}
        self._records = [*first, *(record for record in self._source.every() if identity(record) not in known)]

    def _put(self, offset: int, page: Page) -> None:
        missing = page.count - len(self._records)
        self._records.extend([None] * missing)
        del self._records[page.count :]
        for place, record in enumerate(page.records[: max(0, page.count - offset)], offset):
            self._records[place] = record


class Listing:
    """The list that answers one question, of which Alyx gives a page at a time.

    `limit` and `offset` of the question hold for its first page.
    """

    def __init__(self, client: AlyxClient, endpoint: str, query: Query = (), *, no_cache: bool = False) -> None:
        self._client = client
        self._endpoint = endpoint
        self._query = tuple(query)
        self._no_cache = no_cache

    @property
    def has_order(self) -> bool:
        """Whether the list has an order, so that a page can be asked for by its offset."""
        return self._endpoint not in WITHOUT_ORDER

    def records(self, first: Page | None = None) -> Sequence[AlyxRecord]:
        """The records: a list if they came in one page, else a sequence that fetches further pages when touched.

        `first` is the first page, if it is there already.
        """
        first = first or self._page(self._query)
        asked_for_a_part = any(name == OFFSET and value != "0" for name, value in self._query)
        if not first.records or asked_for_a_part or len(first.records) >= first.count:
            return list(first.records)
        return Pages(self, first)

    def page(self, offset: int, limit: int) -> Page:
        """The page of at most `limit` records that begins at `offset`."""
        return self._page((*self._filters(), (LIMIT, str(limit)), (OFFSET, str(offset))))

    def every(self) -> list[AlyxRecord]:
        """All records, each once."""
        return self._taken(self._client.records(self._endpoint, self._filters(), no_cache=self._no_cache))

    def _filters(self) -> Query:
        return tuple(pair for pair in self._query if pair[0] not in (LIMIT, OFFSET))

    def _page(self, query: Query) -> Page:
        page = self._client.page(self._endpoint, query, no_cache=self._no_cache)
        return Page(tuple(self._taken(page.records)), page.count)

    def _taken(self, records: Sequence[AlyxRecord]) -> list[AlyxRecord]:
        """The records of an answer, as this list has them."""
        return list(records)
