"""What an HTTP answer means: its status, its range and its end; and our errors for those of the library."""

import errno
import re
import ssl
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import BadStatusLine, HTTPException, IncompleteRead, RemoteDisconnected
from typing import TypeGuard

from urllib3 import Timeout
from urllib3 import exceptions as http_errors

from onefs.errors import (
    AccessRefusedError,
    BadHttpError,
    BrokenAnswerError,
    ConnectTimedOutError,
    MissingOnServerError,
    OnefsError,
    OverloadedError,
    TimedOutError,
    UnreachableError,
)
from onefs.text import counted
from onefs.transports.addresses import server_name, shown
from onefs.transports.base import Body
from onefs.transports.connections import Headers, NoHttpError, Response
from onefs.transports.limits import own_limit

CHUNK_BYTES = 1 << 20
CONTENT_RANGE = re.compile(r"bytes (?:(?P<first>\d{1,18})-(?P<last>\d{1,18})|\*)/(?P<total>\d{1,18}|\*)")
NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
CHECK = "Check the network and the address."
LATER = "Try again later."
GIVE_LOGIN = (
    "Give that server's login (onefs setup, or --data-user and --data-password-file), or ask for the permission."
)
OVERLOADED = (
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
SECONDS = re.compile(r"\d{1,6}")
MISSING = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
OWN_BYTES = ("", "identity", "aws-chunked")
COMPRESSED = {"gzip": (".gz", ".tgz"), "bzip2": (".bz2",), "compress": (".z",), "zstd": (".zst",)}
"""Endings of files that are stored so compressed, which some servers tell as an encoding."""


def body(response: Response, url: str, start: int, edition: str, end: int | None = None) -> Body | None:
    """What an answer to a request for a file, or for its part from `start` to `end`, means.

    None if it is a part that is of no use and the whole file should be asked for.
    """
    server = server_name(url)
    status = response.status
    found = _edition(response.headers)
    if status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        _refuse_encoded(response.headers, url)
    if status == HTTPStatus.OK:
        total = response.length
        return Body(0, total, found, _chunks(response, server, 0, total), connection=response)
    if status not in (HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
        raise _refusal(status, url, _retry_after_s(response.headers))
    match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        complete = match is not None and match["total"] == str(start)
        return Body(start, start, edition, iter(())) if complete else None
    if not (start or end is not None) or (_same_kind(edition, found) and edition != found):
        return None
    if not _is_part(match, start, end):
        raise BrokenAnswerError(f"{server} answered with another range than the one asked for.")
    total = None if match["total"] == "*" else int(match["total"])
    file_end = int(match["last"]) + 1 if total is None else total
    stop = file_end if end is None else min(end, file_end)
    return Body(
        start, total, found or edition, _chunks(response, server, start, stop), is_part=True, connection=response
    )


def _is_part(match: re.Match[str] | None, start: int, end: int | None) -> TypeGuard[re.Match[str]]:
    """Whether a Content-Range tells of the part that was asked for, or of its beginning."""
    if match is None or match["first"] is None or int(match["first"]) != start:
        return False
    return end is None or int(match["last"]) < end


def _chunks(response: Response, server: str, start: int, end: int | None) -> Iterator[bytes]:
    """The body's pieces as they arrive, without a copy; `end` is where they should end, if known."""
    position = start
    try:
        while not response.is_finished and (piece := response.read1(CHUNK_BYTES)):
            if response.was_shut_down:
                break
            position += len(piece)
            yield piece
    except TimeoutError as error:
        raise TimedOutError(f"{server} stopped sending after {counted(position, 'byte')}.", LATER) from error
    except IncompleteRead as error:
        raise _short(server, position, end) from error
    except HTTPException as error:
        raise bad_http(server, error) from error
    except OSError as error:
        ours = own_limit(server, error)
        if ours is not None:
            raise ours from error
        raise UnreachableError(
            f"{server} broke off the connection after {counted(position, 'byte')}.", LATER
        ) from error
    if response.was_shut_down:
        raise UnreachableError(f"The reading from {server} was broken off after {counted(position, 'byte')}.", LATER)
    if end is not None and position < end:
        raise _short(server, position, end)


def bad_http(server: str, error: HTTPException) -> BadHttpError:
    """Our error for an answer that is no HTTP."""
    if isinstance(error, NoHttpError):
        return BadHttpError(f"{server} breaks the rules of HTTP: {error}.")
    if isinstance(error, BadStatusLine):
        return BadHttpError(f"{server} does not speak HTTP: its answer begins with {_beginning(str(error))}.")
    return BadHttpError(f"{server} does not speak HTTP: its answer has a line without end.")


def _beginning(line: str) -> str:
    return repr(line.strip("'\r\n ")[:40])


def _short(server: str, position: int, end: int | None) -> BrokenAnswerError:
    promised = counted(end, "byte") if end is not None else "an unknown number of bytes"
    return BrokenAnswerError(f"{server} ended after {position} of {promised}.", LATER)


def _edition(headers: Mapping[str, str]) -> str:
    """A validator that If-Range accepts: a strong ETag, else the date, else ""."""
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified", "")


def _refuse_encoded(headers: Mapping[str, str], url: str) -> None:
    """Refuse what is not the file's own bytes, though they were asked for; `.gz` files may be told to be gzip."""
    encoding = headers.get("Content-Encoding", "").strip().lower()
    if encoding in OWN_BYTES or shown(url).lower().endswith(COMPRESSED.get(encoding.removeprefix("x-"), ())):
        return
    raise BrokenAnswerError(f"{server_name(url)} sends the file in another form ({encoding}), though not asked to.")


def _same_kind(one: str, other: str) -> bool:
    return bool(one) and bool(other) and one.startswith('"') == other.startswith('"')


def _refusal(status: int, url: str, retry_after_s: float) -> OnefsError:
    server = server_name(url)
    try:
        phrase = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = str(status)
    reason = f"{server} answered {phrase}."
    if status in REFUSED:
        return AccessRefusedError(reason, GIVE_LOGIN)
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return UnreachableError(
            f"{server} cannot be reached: the proxy wants a login.",
            "Give it in --proxy: http://user:password@host:port.",
        )
    if status in MISSING:
        return MissingOnServerError(f"{shown(url)} answered {phrase}.", "Check the address.")
    if status in OVERLOADED:
        said = f" and asks to stay away for {retry_after_s:.0f} s" if retry_after_s else ""
        return OverloadedError(f"{reason.rstrip('.')}{said}.", LATER, retry_after_s=retry_after_s)
    return BrokenAnswerError(reason, LATER)


def _retry_after_s(headers: Headers) -> float:
    """Seconds of `Retry-After`; those to a date count from the server's own `Date`, as clocks differ."""
    text = headers.get("Retry-After")
    if SECONDS.fullmatch(text):
        return float(text)
    try:
        wait = parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("Date"))
        return max(0.0, wait.total_seconds())
    except (ValueError, TypeError):
        return 0.0


def root_cause(error: BaseException) -> BaseException:
    """The first cause that the HTTP library wrapped."""
    if isinstance(error, http_errors.MaxRetryError) and error.reason is not None:
        return root_cause(error.reason)
    if isinstance(error, http_errors.ProxyError):
        return root_cause(error.original_error)
    if isinstance(error, http_errors.ProtocolError) and isinstance(error.args[-1], BaseException):
        return root_cause(error.args[-1])
    if isinstance(error, http_errors.NewConnectionError) and error.__cause__ is not None:
        return error.__cause__
    return error


def from_library(error: Exception, server: str, timeout: Timeout) -> OnefsError:
    """Our error for one of the HTTP library's, from before the answer came."""
    reason = error.reason if isinstance(error, http_errors.MaxRetryError) else error
    root = root_cause(error)
    ours = own_limit(server, root)
    if ours is not None:
        return ours
    if isinstance(reason, http_errors.NameResolutionError):
        return UnreachableError(f"{server} cannot be reached: its name is not known.", CHECK)
    # The library counts a refused connection among the time-outs.
    if isinstance(reason, http_errors.ConnectTimeoutError) and not isinstance(reason, http_errors.NewConnectionError):
        return ConnectTimedOutError(
            f"{server} cannot be reached: no connection within {timeout.connect_timeout:g} s.", CHECK
        )
    is_silent = isinstance(reason, TimeoutError) and reason.errno is None  # as sockets that wait so long tell it
    if is_silent or isinstance(reason, http_errors.ReadTimeoutError):
        return TimedOutError(f"{server} did not answer within {timeout.read_timeout:g} s.", LATER)
    if isinstance(root, HTTPException) and not isinstance(root, RemoteDisconnected):
        return bad_http(server, root)
    if isinstance(root, http_errors.SSLError | ssl.SSLError):
        return _tls_error(server, root)
    if isinstance(root, http_errors.LocationValueError | ValueError):
        return BrokenAnswerError(f"{server} has an address that cannot be used.", "Check the address.")
    if isinstance(root, OSError) and root.errno == errno.ETIMEDOUT:  # the kernel gave up sooner than we would
        return ConnectTimedOutError(f"{server} cannot be reached: the connection timed out.", CHECK)
    via = "the proxy for " if isinstance(reason, http_errors.ProxyError) else ""
    text = root.strerror if isinstance(root, OSError) and root.strerror else "the connection broke"
    remedy = "Check the proxy setting." if via else CHECK
    return UnreachableError(f"{via}{server} cannot be reached: {text[:1].lower()}{text[1:]}.", remedy)


def _tls_error(server: str, error: BaseException) -> OnefsError:
    inner = error.args[0] if error.args and isinstance(error.args[0], ssl.SSLError) else error
    reason = getattr(inner, "reason", "") or ""
    if any(sign in reason for sign in NO_TLS):
        return BadHttpError(f"{server} does not answer in TLS; perhaps its URL begins with http://.", CHECK)
    if "UNEXPECTED_EOF" in reason:
        return UnreachableError(f"{server} cannot be reached: it ended the connection instead of answering in TLS.")
    why = getattr(inner, "verify_message", "") or reason or "its certificate is not valid"
    return UnreachableError(
        f"{server} cannot be trusted: {why}.", "Check the address and the clock, or set REQUESTS_CA_BUNDLE."
    )
