"""Finds out what is at a URL: a folder of cache tables, or an Alyx."""

from collections.abc import Iterator
from contextlib import contextmanager

from onefs.alyx import fields
from onefs.alyx.recognition import is_alyx
from onefs.errors import AccessRefusedError, ContentError, SourceError
from onefs.fetch.cancel import CancelToken
from onefs.fetch.ranges import MemorySink, Patience, Ranges
from onefs.settings import Settings
from onefs.sources.source import Kind
from onefs.transports.base import Location
from onefs.transports.http import HttpTransport

INFO = "cache_info.json"
LONGEST_INFO_BYTES = 1 << 20
ASKED_ONCE = Patience(tries=0)
_REMEDY = f"Give the address of an Alyx database, or of a folder that holds {INFO}."


def kind_at(folder: Location, settings: Settings) -> Kind:
    """What stands at a URL. Asks its server twice at most.

    Raises `SourceError` if it is neither, or `UnreachableError`, `AccessRefusedError`, `BrokenAnswerError` for what
    stands in the way of finding out.
    """
    refused: AccessRefusedError | None = None
    says = f"its {INFO} does not tell when tables were made"
    try:
        if _tells_of_tables(_info(folder, settings)):
            return Kind.FOLDER
    except ContentError as error:
        says = f"it holds no {INFO} ({error.reason.rstrip('.')})"
    except AccessRefusedError as error:
        refused = error
    if is_alyx(
        folder.url,
        connect_timeout_s=settings.connect_timeout_s,
        read_timeout_s=settings.read_timeout_s,
        retry_max_s=settings.retry_max_s,
        proxy=settings.proxy,
    ):
        return Kind.DATABASE
    if refused is not None:
        raise refused
    raise SourceError(
        f"{folder.url} is no folder of cache tables, as {says}, and no Alyx database, as it takes no login.", _REMEDY
    )


def _info(folder: Location, settings: Settings) -> bytes:
    """What a folder tells of its tables. Raises `MismatchError` if that is longer than is sensible."""
    sink = MemorySink(LONGEST_INFO_BYTES)
    with brief_http(settings) as http:
        Ranges(http, patience=ASKED_ONCE).fetch(folder.below(INFO), sink, CancelToken())
    return sink.content


@contextmanager
def brief_http(settings: Settings) -> Iterator[HttpTransport]:
    """HTTP for a question or two."""
    transport = HttpTransport(
        connect_timeout_s=settings.connect_timeout_s,
        read_timeout_s=settings.read_timeout_s,
        max_connections=1,
        proxy=settings.proxy,
    )
    try:
        yield transport
    finally:
        transport.close()


def _tells_of_tables(told: bytes) -> bool:
    try:
        info = fields.parsed(told)
    except ValueError:
        return False
    return isinstance(info, dict) and isinstance(info.get("date_created"), str)
