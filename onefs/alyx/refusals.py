"""Errors for answers that are no success: one table from HTTP status to exception and sentence."""

import errno
from collections.abc import Iterable
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import ReadTimeoutError

from onefs.alyx import fields
from onefs.errors import (
    AccessRefusedError,
    BrokenAnswerError,
    ConnectTimedOutError,
    OnefsError,
    TimedOutError,
    UnknownRecordError,
    UnreachableError,
    UsageError,
)
from onefs.redaction import without_logins

BUSY = (429, 503)
GATEWAY = (502, 504)
"""Statuses that a proxy answers with when the server behind it does not answer."""
LONGEST_DETAIL = 300
LONGEST_QUESTION = 160
HIDDEN_KEYS = ("detail", "status_code")

# Status: the error, what the server did, and the remedy.
REFUSALS: dict[int, tuple[type[OnefsError], str, str]] = {
    400: (UsageError, "does not understand", "Update onefs; if that does not help, please report it."),
    401: (AccessRefusedError, "refuses", "Check the login."),
    403: (AccessRefusedError, "refuses", "Ask for the permission, or use another login."),
    404: (UnknownRecordError, "does not know", ""),
    429: (UnreachableError, "is too busy for", "Try again later."),
    502: (UnreachableError, "cannot reach its database for", "Try again later."),
    503: (UnreachableError, "is out of service for", "Try again later."),
    504: (UnreachableError, "cannot reach its database for", "Try again later."),
}
FAILURE = (BrokenAnswerError, "failed over", "Try again later; if it stays so, tell the database's maintainers.")
NO_PAGE = (BrokenAnswerError, "has no page for", "Check the address: it may be no Alyx database.")


def refusal(
    response: requests.Response, host: str, question: str, secrets: Iterable[str], *, retry_after_s: float = 0.0
) -> OnefsError:
    """The error for an answer with an error status. `secrets` are left out of its sentence."""
    status = response.status_code
    detail = _detail(response)
    kind, verb, remedy = REFUSALS.get(status, FAILURE)
    if status == 404 and detail is None and "<" in response.text:
        kind, verb, remedy = NO_PAGE
    said = _presentable(detail or ("" if "<" in response.text else response.text), secrets)
    why = f": {said.rstrip('.')}." if said else f" (status {status})."
    name = _presentable(question, secrets, LONGEST_QUESTION)
    error = kind(f"{host} {verb} {name}{why}", remedy, retry_after_s=retry_after_s)
    error.status = status
    return error


def is_rejected_token(response: requests.Response) -> bool:
    """Whether the server no longer knows the token that was sent."""
    return response.status_code in (401, 403) and (_detail(response) or "").startswith("Invalid token.")


def _detail(response: requests.Response) -> str | None:
    """What the server's JSON says in words, None if the answer is no JSON object."""
    try:
        content = fields.parsed(response.content)
    except ValueError:
        return None
    if not isinstance(content, dict):
        return None
    if isinstance(content.get("detail"), str):
        return str(content["detail"])
    parts = []
    for key, value in content.items():
        if key not in HIDDEN_KEYS:
            words = " ".join(map(str, value)) if isinstance(value, list) else str(value)
            parts.append(words if key == "non_field_errors" else f"{key}: {words}")
    return "; ".join(parts)


def _presentable(words: str, secrets: Iterable[str], longest: int = LONGEST_DETAIL) -> str:
    """Words for a sentence: one line, not too long, nothing that moves a cursor, no login and no signature of a URL."""
    for secret in filter(None, secrets):
        words = words.replace(secret, "…")
    words = without_logins(words)
    words = "".join(letter if letter.isprintable() else " " for letter in words)
    words = " ".join(words.split())
    return words if len(words) <= longest else f"{words[: longest - 1]}…"


def from_library(error: Exception, host: str, connect_s: float, read_s: float) -> OnefsError:
    """Our error for a request that got no answer."""
    if isinstance(error, requests.ConnectTimeout) or any(_is_time_out(part) for part in _causes(error)):
        return ConnectTimedOutError(f"{host} did not accept a connection within {connect_s:g} s.", "Check the network.")
    if isinstance(error, requests.ReadTimeout) or any(isinstance(part, ReadTimeoutError) for part in _causes(error)):
        return TimedOutError(f"{host} did not answer within {read_s:g} s.", "Try again later.")
    if isinstance(error, requests.exceptions.SSLError):
        return UnreachableError(
            f"{host} cannot be reached: its certificate is not trusted.",
            "Check the address and the clock, or set REQUESTS_CA_BUNDLE.",
        )
    if isinstance(error, requests.exceptions.ProxyError):
        return UnreachableError(f"{host} cannot be reached: the proxy failed.", "Check the proxy setting.")
    if isinstance(error, ValueError):  # the library's own for addresses are of that kind too
        return UsageError(f"{host} has an address that cannot be used.", "Check the address.")
    if isinstance(error, requests.exceptions.ChunkedEncodingError) or is_broken_off(error):
        return UnreachableError(f"{host} broke off the connection.", "Try again later.")
    if isinstance(error, requests.exceptions.ContentDecodingError):
        return BrokenAnswerError(f"{host} sent an answer that cannot be decoded.")
    return UnreachableError(f"{host} cannot be reached.", "Check the network and the address.")


def is_broken_off(error: Exception) -> bool:
    """Whether a connection that stood was dropped by the other side."""
    return any(isinstance(part, ConnectionResetError | BrokenPipeError) for part in _causes(error))


def _is_time_out(error: BaseException) -> bool:
    """Whether the connection timed out in the kernel, before our own time-out."""
    return isinstance(error, OSError) and error.errno == errno.ETIMEDOUT


def _causes(error: BaseException) -> list[BaseException]:
    """The error and all that led to it; libraries keep the cause in the arguments as often as in the chain."""
    found: list[BaseException] = []
    waiting: list[BaseException] = [error]
    while waiting:
        part = waiting.pop()
        if all(part is not known for known in found):
            found.append(part)
            nested = (part.__cause__, part.__context__, getattr(part, "reason", None), *part.args)
            waiting.extend(item for item in nested if isinstance(item, BaseException))
    return found


def server_name(base_url: str) -> str:
    """Host and port of an address, for sentences; never a login."""
    return urlsplit(base_url).netloc.rpartition("@")[2]
