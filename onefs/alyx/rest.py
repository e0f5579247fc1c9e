"""Requests for JSON: answered from cached responses where they will do, else by the server, page by page."""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from onefs.alyx import fields
from onefs.alyx.connection import Connection
from onefs.alyx.credentials import Credentials
from onefs.alyx.fields import Record
from onefs.alyx.responses import ResponseCache, response_key
from onefs.alyx.sending import JSON
from onefs.alyx.waiting import Clock
from onefs.errors import BrokenAnswerError, UnreachableError
from onefs.outages import note_stale_answer

Query = Sequence[tuple[str, str]]

LARGEST_PAGE = 1000
ROUNDING_S = 1.0

log = logging.getLogger(__name__)
_bypassed: ContextVar[bool] = ContextVar("onefs_no_cache", default=False)


@contextmanager
def no_cache() -> Iterator[None]:
    """Ask the server itself within this block, in this thread or task alone. Its answers are kept as usual."""
    token = _bypassed.set(True)
    try:
        yield
    finally:
        _bypassed.reset(token)


def is_bypassed() -> bool:
    """Whether this is a block of `no_cache`."""
    return _bypassed.get()


@dataclass(frozen=True, slots=True)
class Answer:
    """Parsed JSON; `kept` says that it comes from the cache of responses.

    `generation` counts the calls of `Rest.expire` before it was asked for: an older answer is not cached.
    """

    content: Any
    kept: bool
    generation: int


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, and how many records the list has in all."""

    records: tuple[dict[str, Any], ...]
    count: int


@dataclass(slots=True)
class _Listing:
    """What the pages of one list held. Records are told apart by what identifies them."""

    records: dict[str, Record] = field(default_factory=dict)
    answers: list[tuple[Query, Answer]] = field(default_factory=list)
    count: int = 0

    @property
    def complete(self) -> bool:
        return len(self.records) >= self.count

    @property
    def kept(self) -> bool:
        return bool(self.answers) and self.answers[0][1].kept


class Rest:
    """JSON questions to one server. Safe to use from several threads.

    `default_expiry_s` is how long responses are good for; `cache_rest` false neither reads nor keeps any.
    """

    def __init__(
        self,
        connection: Connection,
        responses: ResponseCache,
        clock: Clock,
        *,
        default_expiry_s: float,
        cache_rest: bool,
    ) -> None:
        self.default_expiry_s = default_expiry_s
        self.cache_rest = cache_rest
        self._connection = connection
        self._responses = responses
        self._clock = clock
        self._generation = 0  # counts the calls of `expire`

    def expire(self) -> None:
        """Expire all cached responses. They stay for when the server cannot be reached."""
        self._generation += 1
        self._responses.expire(self._clock.now_s())

    def get(
        self,
        path: str,
        query: Query = (),
        *,
        no_cache: bool = False,
        expiry_s: float | None = None,
        accept: str = JSON,
    ) -> Any:
        """The answer to one question, kept for `expiry_s`, else as long as others. Raises as `Connection.ask` does."""
        answer = self._get(path, query, no_cache=no_cache, expiry_s=expiry_s, accept=accept)
        self._keep(path, query, answer, expiry_s)
        return answer.content

    def page(self, path: str, query: Query = (), *, no_cache: bool = False) -> Page:
        """One page of a list."""
        content = self.get(path, query, no_cache=no_cache)
        records = self._records(path, content)
        count = content.get("count") if isinstance(content, dict) else None
        return Page(tuple(records), count if isinstance(count, int) else len(records))

    def ask(self, path: str, query: Query = ()) -> Any:
        """The server's own answer, past the cache of responses and the circuit breaker."""
        return self._parsed(self._connection.ask("GET", path, urlencode(query), probes=True), path)

    def change(self, path: str, payload: Record) -> Any:
        """Change a record; the record as it is then."""
        return self._parsed(self._connection.ask("PATCH", path, payload=payload), path)

    def every(self, path: str, query: Query = (), *, no_cache: bool = False) -> list[Record]:
        """Every record of a list, from all its pages, each once.

        Without an order, or while somebody adds records, pages can repeat some and skip others. So a list that
        lacks some is asked for again, and if it still does a warning says so.
        """
        query = (*query, ("limit", str(LARGEST_PAGE)))
        listing = self._walk(path, query, no_cache=no_cache)
        if listing is None or not (listing.kept or listing.complete):
            again = self._walk(path, query, no_cache=True) or _Listing()
            if listing is not None:
                again.records = {**listing.records, **again.records}
            listing = again
        if listing.complete:
            for asked, answer in listing.answers:
                self._keep(path, asked, answer)
        else:
            host, found = self._connection.host, len(listing.records)
            log.warning("%s listed only %d of %d records of %s: its pages overlap.", host, found, listing.count, path)
        return list(listing.records.values())

    def _walk(self, path: str, query: Query, *, no_cache: bool) -> _Listing | None:
        """All pages of a list, all of one age; None if kept pages would have to be mixed with the server's."""
        listing = _Listing()
        asked: Query | None = query
        while asked is not None:
            following = bool(listing.answers)
            kept = listing.kept
            answer = self._get(path, asked, no_cache=no_cache or (following and not kept), any_age=kept)
            if kept and not answer.kept:
                return None
            listing.answers.append((asked, answer))
            asked = self._add_page(listing, path, answer.content)
            if any(asked == before for before, _ in listing.answers):
                raise BrokenAnswerError(f"{self._connection.host} turns its pages of {path} in circles.")
        return listing

    def _add_page(self, listing: _Listing, path: str, content: Any) -> Query | None:
        """Note a page's records; the query of the next page, which is asked of our own host whatever `next` says."""
        listing.records.update((identity(record), record) for record in self._records(path, content))
        page = content if isinstance(content, dict) else {}
        count = page.get("count")
        listing.count = count if isinstance(count, int) else 0
        following = fields.text(page, "next")
        try:
            return parse_qsl(urlsplit(following).query, errors="strict") if following else None
        except ValueError:
            raise BrokenAnswerError(f"{self._connection.host} does not tell where {path} goes on.") from None

    def _records(self, path: str, content: Any) -> list[dict[str, Any]]:
        """The records in a page of a list, or in a list that has no pages."""
        results = content.get("results") if isinstance(content, dict) else content
        if not isinstance(results, list):
            raise BrokenAnswerError(f"{self._connection.host} answered {path} with something other than a list.")
        return [record for record in results if isinstance(record, dict)]

    def _get(
        self,
        path: str,
        query: Query,
        *,
        no_cache: bool,
        expiry_s: float | None = None,
        accept: str = JSON,
        any_age: bool = False,
    ) -> Answer:
        usable = self.cache_rest and not no_cache and not _bypassed.get()
        generation = self._generation
        kept = self._responses.get(self._key(path, query)) if usable else None
        if kept is not None:
            left_s = kept.expires_unix - self._clock.now_s()
            if any_age or 0 < left_s <= self._expiry_s(expiry_s) + ROUNDING_S:
                return Answer(kept.content, kept=True, generation=generation)
        try:
            return Answer(self._ask(path, query, accept), kept=False, generation=generation)
        except UnreachableError as error:
            if kept is None:
                raise
            log.warning("%s An earlier answer to %s is used.", error.reason, path)
            note_stale_answer(error)
            return Answer(kept.content, kept=True, generation=generation)

    def _expiry_s(self, asked_s: float | None) -> float:
        return self.default_expiry_s if asked_s is None else asked_s

    def _keep(self, path: str, query: Query, answer: Answer, expiry_s: float | None = None) -> None:
        if self.cache_rest and not answer.kept and answer.generation == self._generation:
            expires_unix = int(self._clock.now_s() + self._expiry_s(expiry_s))
            self._responses.put(self._key(path, query), answer.content, expires_unix)

    def _key(self, path: str, query: Query) -> str:
        return response_key(self._connection.base_url, _who(self._connection.credentials), path, query)

    def _ask(self, path: str, query: Query, accept: str = JSON) -> Any:
        return self._parsed(self._connection.ask("GET", path, urlencode(query), accept=accept), path)

    def _parsed(self, body: bytes, path: str) -> Any:
        try:
            return fields.parsed(body)
        except ValueError:
            raise BrokenAnswerError(
                f"{self._connection.host} answered {path} with something other than JSON.",
                "Check the address: it may be no Alyx database.",
            ) from None


def _who(credentials: Credentials) -> str:
    """Whose answers are kept together: the user's. A token without a name stands for its user by a digest."""
    if credentials.user:
        return f"user {credentials.user}"
    return f"token {hashlib.sha256(credentials.token.encode()).hexdigest()}"


def identity(record: Record) -> str:
    """What tells a record of a list from the others."""
    for key in ("id", "url", "nickname", "name"):
        if isinstance(record.get(key), str):
            return str(record[key])
    return json.dumps(record, sort_keys=True)
