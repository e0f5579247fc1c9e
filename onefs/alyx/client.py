"""The client of an Alyx database: what onefs asks of it, and the one change that it can make there."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from onefs.alyx import filters, parsing, rest, schema, told
from onefs.alyx.connection import Connection
from onefs.alyx.credentials import Credentials
from onefs.alyx.fields import Record
from onefs.alyx.filters import Filter
from onefs.alyx.questions import Questions, segment
from onefs.alyx.records import (
    AlyxDataset,
    AlyxSession,
    FileRecord,
    Insertion,
    Lab,
    Repository,
    Subject,
    TablesInfo,
)
from onefs.alyx.responses import ResponseCache
from onefs.alyx.rest import Page, Query
from onefs.alyx.schema import Schema
from onefs.alyx.told import Told
from onefs.alyx.waiting import Clock
from onefs.errors import BrokenAnswerError, OnefsError, UnknownRecordError
from onefs.outages import Outages


class AlyxClient:
    """One Alyx database. Safe to use from several threads; opens nothing before the first question.

    Responses are kept in `responses_dir` (None: nowhere) for `default_expiry_s`, and served beyond that, with a
    warning, when the server cannot be reached. Every question takes `no_cache`. `keep_token` is told the token of
    every login; `outages` is the circuit breaker. Raises `UnreachableError`, `TimedOutError`,
    `AccessRefusedError`, `UnknownRecordError`, `BrokenAnswerError`, and `UsageError` for filters that cannot be meant.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Credentials,
        *,
        responses_dir: Path | None,
        connect_timeout_s: float,
        read_timeout_s: float,
        retry_max_s: float,
        proxy: str = "",
        default_expiry_s: float = 86400.0,
        cache_rest: bool = True,
        keep_token: Callable[[str], None] | None = None,
        clock: Clock | None = None,
        outages: Outages | None = None,
    ) -> None:
        clock = clock or Clock()
        self._connection = Connection(
            base_url,
            credentials,
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
            retry_max_s=retry_max_s,
            proxy=proxy,
            clock=clock,
            keep_token=keep_token,
            outages=outages,
        )
        self._clock = clock
        self._responses = ResponseCache(responses_dir)
        self._rest = rest.Rest(
            self._connection,
            self._responses,
            clock,
            default_expiry_s=default_expiry_s,
            cache_rest=cache_rest,
        )
        self._questions = Questions(self._rest, self._connection.host)
        self._schema: Schema | None = None

    def __repr__(self) -> str:
        return f"AlyxClient({self.base_url!r})"

    @property
    def base_url(self) -> str:
        """The database's address, without a slash at its end."""
        return self._connection.base_url

    @property
    def user(self) -> str:
        """The name that is or would be logged in, "" if only a token is known."""
        return self._connection.credentials.user

    @property
    def credentials(self) -> Credentials:
        """The login in use; its token is the one that was given, not that of a later login."""
        return self._connection.credentials

    @property
    def is_logged_in(self) -> bool:
        """Whether there is a token, kept or from a login."""
        return self._connection.is_logged_in

    def log_in(self, credentials: Credentials, keep_token: Callable[[str], None] | None = None) -> None:
        """Use another login from now on, and tell `keep_token` its tokens. A name and password are tried at once."""
        self._connection.log_in(credentials, keep_token)

    def log_out(self) -> None:
        """Forget the login: further questions are refused until there is another."""
        self._connection.log_out()

    @property
    def requests_sent(self) -> int:
        """How many requests went out so far, those of logins and repetitions too; kept responses cost none."""
        return self._connection.requests_sent

    @property
    def outage(self) -> OnefsError | None:
        """The error of the server's outage; None if the server answered last."""
        return self._connection.outage

    @property
    def left_alone_s(self) -> float:
        """Seconds until the server may be asked again; 0 if it may be asked now."""
        return self._connection.left_alone_s

    @property
    def default_expiry_s(self) -> float:
        """How long responses are good for."""
        return self._rest.default_expiry_s

    @default_expiry_s.setter
    def default_expiry_s(self, seconds: float) -> None:
        self._rest.default_expiry_s = seconds

    @property
    def cache_rest(self) -> bool:
        """Whether responses are kept and used."""
        return self._rest.cache_rest

    @cache_rest.setter
    def cache_rest(self, on: bool) -> None:
        self._rest.cache_rest = on

    def no_cache(self) -> AbstractContextManager[None]:
        """A block in which the server itself is asked; for this thread or task alone."""
        return rest.no_cache()

    def expire_responses(self) -> None:
        """Expire all cached responses and reset the circuit breaker, but not before the end of a `Retry-After`.

        The responses stay for when the server cannot be reached.
        """
        self._rest.expire()
        self._schema = None
        self._connection.forget_outage()

    def clear_responses(self) -> None:
        """Drop the kept responses, of every database and user that share the folder."""
        self._responses.clear()

    def close(self) -> None:
        """End waits for a busy server and close all files; a later question fails if the server would be asked."""
        self._connection.close()
        self._responses.end(self._clock.now_s())

    # Records as Alyx has them

    def get(self, path: str, query: Query = (), *, no_cache: bool = False, expiry_s: float | None = None) -> Any:
        """The answer to any question, kept for `expiry_s`, else as long as others."""
        return self._rest.get(path, query, no_cache=no_cache, expiry_s=expiry_s)

    def page(self, path: str, query: Query = (), *, no_cache: bool = False) -> Page:
        """One page of any list."""
        return self._rest.page(path, query, no_cache=no_cache)

    def records(self, path: str, query: Query = (), *, no_cache: bool = False) -> list[dict[str, Any]]:
        """Every record of any list, each once."""
        return [dict(record) for record in self._rest.every(path, query, no_cache=no_cache)]

    def schema(self) -> Schema:
        """The description of the database's interface, kept for a week."""
        if self._schema is None:
            try:
                content = self._description("api/schema", schema.OPENAPI)
            except (UnknownRecordError, BrokenAnswerError) as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                content = self._description("docs", schema.CORE_API)
            self._schema = Schema(content)
        return self._schema

    def _description(self, path: str, accept: str) -> Any:
        return self._rest.get(path, expiry_s=schema.EXPIRY_S, accept=accept)

    def told_by_list(self, endpoint: str, records: Sequence[Record]) -> Told:
        """What records of a list tell of sessions, datasets and insertions."""
        return told.told_by_list(self._questions, endpoint, records)

    def told_by_session(self, record: Record) -> Told:
        """What the whole record of a session tells of it, its datasets and its insertions."""
        return told.told_by_session(self._questions, record)

    # Tables

    def tables_info(self, tag: str | None = None) -> TablesInfo:
        """What the cache tables are now, or those restricted to a tag. Always asked of the server itself."""
        path = f"cache/info/{segment(tag, 'tag')}/" if tag else "cache/info/"
        info = self._questions.one(parsing.tables_info, self._rest.ask(path), path)
        if tag and tag not in info.tags:
            raise BrokenAnswerError(f"{self._connection.host} answered for other tables than those of the tag {tag}.")
        return info

    def write_tables(self, stream: BinaryIO) -> int:
        """Write the zip of tables that the server keeps itself to a stream; its size in bytes."""
        size_bytes = 0
        with self._connection.stream("cache.zip") as pieces:
            for piece in pieces:
                size_bytes += stream.write(piece)
        return size_bytes

    # Sessions and datasets

    def sessions(self, *, no_cache: bool = False, **conditions: Filter) -> list[AlyxSession]:
        """The sessions that match all filters, newest first, without their datasets."""
        query = filters.query("sessions", conditions)
        return self._questions.every(parsing.session, "sessions", query, no_cache=no_cache)

    def sessions_of_ids(self, eids: Iterable[UUID], *, no_cache: bool = False) -> list[AlyxSession]:
        """The sessions of these ids that Alyx knows, without their datasets."""
        return self._questions.of_ids(parsing.session, "sessions", "pk__in", eids, no_cache=no_cache)

    def datasets(self, session: UUID, *, no_cache: bool = False, **conditions: Filter) -> list[AlyxDataset]:
        """The datasets of one session that match all filters, with their file records, in no order."""
        query = filters.query("datasets", {"session": session, **conditions})
        return self._questions.every(parsing.dataset, "datasets", query, no_cache=no_cache)

    def dataset(self, dataset_id: UUID, *, no_cache: bool = False) -> AlyxDataset:
        """One dataset."""
        return self._questions.read(parsing.dataset, f"datasets/{dataset_id}", no_cache=no_cache)

    def datasets_of_ids(
        self, ids: Iterable[UUID], *, existing_only: bool = True, no_cache: bool = False
    ) -> list[AlyxDataset]:
        """The datasets of these ids that Alyx knows (and, `existing_only`, of which it knows a copy), in no order."""
        more = (("exists", "True"),) if existing_only else ()
        return self._questions.of_ids(parsing.dataset, "datasets", "id__in", ids, more, no_cache=no_cache)

    def aggregates(self, *, no_cache: bool = False) -> list[AlyxDataset]:
        """The datasets of no session."""
        return self._questions.every(
            parsing.dataset, "datasets", (("django", "session__isnull,True"),), no_cache=no_cache
        )

    def insertion(self, pid: UUID, *, no_cache: bool = False) -> Insertion:
        """One probe insertion."""
        return self._questions.read(parsing.insertion, f"insertions/{pid}", no_cache=no_cache)

    # Where files are

    def repositories(self, *, no_cache: bool = False) -> list[Repository]:
        """All data repositories."""
        return self._questions.every(parsing.repository, "data-repository", no_cache=no_cache)

    def report_mismatch(self, file_id: UUID, notes: Mapping[str, Any]) -> FileRecord:
        """Add notes to a file record's `json`. What else stands there is kept; nothing is sent if they stand there."""
        path = f"files/{file_id}"
        record = self._rest.ask(path)
        present = record.get("json") if isinstance(record, dict) else None
        if present is not None and not isinstance(present, dict):
            raise BrokenAnswerError(f"The file record {file_id} has notes of an unknown kind, and is left as it is.")
        merged = {**(present or {}), **notes}
        if merged != present:
            record = self._rest.change(path, {"json": merged})
        return self._questions.one(parsing.file_record, record, path)

    # Names and descriptions

    def labs(self, *, no_cache: bool = False) -> list[Lab]:
        """All labs."""
        return self._questions.every(parsing.lab, "labs", no_cache=no_cache)

    def subjects(self, lab: str | None = None, *, no_cache: bool = False) -> list[Subject]:
        """All subjects, or those with sessions whose records name a lab: the subject may be in another lab by now."""
        of_lab = f"actions_sessions__lab__name__in,{json.dumps([lab], ensure_ascii=False)}"
        query = (("django", of_lab),) if lab else ()
        return self._questions.every(parsing.subject, "subjects", query, no_cache=no_cache)
