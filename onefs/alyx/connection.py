"""The connection to one Alyx server: its login, kept and renewed, its circuit breaker, and what an answer means."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import requests

from onefs.alyx import fields, refusals
from onefs.alyx.credentials import Credentials
from onefs.alyx.sending import JSON, Question, Sender
from onefs.alyx.waiting import Clock
from onefs.errors import (
    AccessRefusedError,
    BrokenAnswerError,
    OnefsError,
    UnreachableError,
    UsageError,
    again,
)
from onefs.forks import new_lock
from onefs.outages import DATABASE, PAUSE_S, Outages

HOW_TO_LOG_IN = "Run onefs setup, or give --alyx-user and --alyx-password-file."
HOW_TO_RENEW = "Set a new ONEFS_ALYX_TOKEN or, without one, log in: onefs setup --alyx-user NAME."
TOKEN = re.compile(r"[\x21-\x7e]+")
"""What may be sent as one: a line of a password's file, say, must not become a header of its own."""

log = logging.getLogger(__name__)


class Connection:
    """One server and the login there. Safe to use from several threads; nothing is opened before the first request.

    `keep_token` is told every token that a login gives. The token goes to the server's own host and no other.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Credentials,
        *,
        connect_timeout_s: float,
        read_timeout_s: float,
        retry_max_s: float,
        proxy: str = "",
        clock: Clock | None = None,
        keep_token: Callable[[str], None] | None = None,
        outages: Outages | None = None,
    ) -> None:
        self.base_url = _checked(base_url)
        self.host = refusals.server_name(base_url)
        self._clock = clock or Clock()
        self._outages = outages or Outages()
        self._server = f"{DATABASE}{self.base_url}"  # another than that of files at the same address
        self._credentials = credentials
        self._sender = Sender(
            self.host,
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
            retry_max_s=retry_max_s,
            proxy=proxy,
            clock=self._clock,
            outages=self._outages,
            server=self._server,
        )
        self._keep_token = keep_token
        self._login_lock = new_lock()  # guards those below, and lets one thread at a time log in
        self._token = credentials.token
        self._refused_login: AccessRefusedError | None = None
        self._refused_until_s = 0.0
        self._failed_login: UnreachableError | None = None  # why the last login had no answer

    def __repr__(self) -> str:
        return f"Connection({self.host!r}, {self._credentials!r})"

    @property
    def requests_sent(self) -> int:
        """How many requests went out so far, those of logins and repetitions too."""
        return self._sender.requests_sent

    @property
    def credentials(self) -> Credentials:
        """The login in use; its `token` is the one that was given, not that of a later login."""
        return self._credentials

    @property
    def is_logged_in(self) -> bool:
        """Whether there is a token, kept or from a login."""
        return bool(self._token)

    def log_in(self, credentials: Credentials, keep_token: Callable[[str], None] | None = None) -> None:
        """Use another login from now on, and tell `keep_token` its tokens. A name and password are tried at once.

        Raises what `ask` raises; then the login stays what it was.
        """
        with self._login_lock:
            before = self._credentials, self._token, self._keep_token, self._refused_login, self._failed_login
            self._credentials, self._token, self._keep_token = credentials, credentials.token, keep_token
            self._refused_login = self._failed_login = None
            try:
                if self._token:
                    self._check_token()
                    self._tell(self._token)
                else:
                    self._token = self._log_in(None)
            except OnefsError:
                self._credentials, self._token, self._keep_token, self._refused_login, self._failed_login = before
                raise

    def log_out(self) -> None:
        """Forget the login: further requests are refused until there is another."""
        with self._login_lock:
            self._credentials, self._token = Credentials(), ""

    @property
    def outage(self) -> OnefsError | None:
        """The error of the server's outage; None if the server answered last."""
        outage = self._outages.of(self._server)
        return outage.error if outage is not None else None

    @property
    def left_alone_s(self) -> float:
        """Seconds until the server may be asked again; 0 if it may be asked now."""
        return self._outages.left_s(self._server)

    def forget_outage(self) -> None:
        """Reset the circuit breaker, but not before the end of a `Retry-After`."""
        self._outages.forget(even_asked=False)

    def close(self) -> None:
        """End waits for a busy server at once; further requests fail."""
        self._sender.close()

    def ask(
        self,
        method: str,
        path: str,
        query: str = "",
        *,
        payload: Any = None,
        accept: str = JSON,
        probes: bool = False,
    ) -> bytes:
        """The body of the server's answer, decoded.

        While the circuit breaker is open, only what `probes` is sent; for all else the error of the outage is raised
        at once. Raises `UnreachableError` or `TimedOutError` if there is no answer; `AccessRefusedError`,
        `UnknownRecordError`, `UsageError` or `BrokenAnswerError` for an answer of another kind than expected.
        """
        url_query = f"{path}?{query}" if query else path
        failed, breaker = self._failed_login, self._circuit_breaker(probes)
        with breaker, self._answer(method, url_query, payload, accept, failed, stream=False) as response:
            return response.content

    @contextmanager
    def stream(self, path: str) -> Iterator[Iterator[bytes]]:
        """The pieces of a large answer."""
        failed = self._failed_login
        with self._circuit_breaker(True), self._answer("GET", path, None, "*/*", failed, stream=True) as response:
            yield self._sender.pieces(response)

    @contextmanager
    def _circuit_breaker(self, probes: bool) -> Iterator[None]:
        """Apply the circuit breaker: raise the error of an outage at once, and note one if the request fails."""
        if probes:
            self._refused_login = None
        failure = None if probes else self._outages.claim(self._server)
        if failure is not None:
            raise failure
        try:
            yield
        except UnreachableError as error:
            if not error.retry_after_s:
                self._outages.failed(self._server, error, PAUSE_S)
            raise

    @contextmanager
    def _answer(
        self, method: str, question: str, payload: Any, accept: str, failed: UnreachableError | None, *, stream: bool
    ) -> Iterator[requests.Response]:
        """The answer to a question, with the login. `failed` is the failed login that was the last before it."""
        url = f"{self.base_url}/{question}"
        token = self._current_token(failed)
        for renewed in (False, True):
            asked = Question(
                method, url, question, self._secrets(token), json=payload, accept=accept, token=token, stream=stream
            )
            with self._sender.answer(asked) as response:
                if not renewed and refusals.is_rejected_token(response):
                    token = self._renewed_token(token, failed)
                    continue
                if not response.ok:
                    raise refusals.refusal(response, self.host, question, self._secrets(token))
                yield response
                return

    def _current_token(self, failed: UnreachableError | None) -> str:
        with self._login_lock:
            if not self._token:
                self._token = self._log_in(failed)
            self._check_token()
            return self._token

    def _check_token(self) -> None:
        if not TOKEN.fullmatch(self._token):
            raise AccessRefusedError(
                f"The token for {self.host} is no token: it has spaces or line breaks.", HOW_TO_RENEW
            )

    def _renewed_token(self, rejected: str, failed: UnreachableError | None) -> str:
        with self._login_lock:
            if self._token == rejected:
                if not (self._credentials.user and self._credentials.password):
                    raise AccessRefusedError(f"{self.host} does not accept the token.", HOW_TO_RENEW)
                self._token = ""
                self._token = self._log_in(failed)
            return self._token

    def _log_in(self, failed: UnreachableError | None) -> str:
        """A new token. A login that was refused is not tried again for a while, lest the account is locked.

        One that had no answer while this waited for the lock is not tried again at all: each try may take a time-out.
        """
        if self._failed_login is not None and self._failed_login is not failed:
            raise again(self._failed_login)
        if self._refused_login is not None and self._outages.now_s() < self._refused_until_s:
            raise again(self._refused_login)
        try:
            token = self._ask_for_token()
        except AccessRefusedError as error:
            self._refused_login, self._refused_until_s = error, self._outages.now_s() + PAUSE_S
            raise
        except UnreachableError as error:
            self._failed_login = error.with_traceback(None)
            raise
        self._tell(token)
        return token

    def _ask_for_token(self) -> str:
        user, password = self._credentials.user, self._credentials.password
        if not (user and password):
            raise AccessRefusedError(f"{self.host} asks for a login, and none was given.", HOW_TO_LOG_IN)
        form = {"username": user, "password": password}
        asked = Question("POST", f"{self.base_url}/auth-token", "auth-token", self._secrets(""), form=form)
        with self._sender.answer(asked) as response:
            if response.status_code == 400:
                raise AccessRefusedError(
                    f"{self.host} refuses the login of {user}: wrong name or password.", HOW_TO_LOG_IN
                )
            if not response.ok:
                raise refusals.refusal(response, self.host, "auth-token", self._secrets(""))
            token = _token_in(response)
        if not TOKEN.fullmatch(token):
            raise BrokenAnswerError(
                f"{self.host} answered the login without a token.", "Check the address: it may be no Alyx database."
            )
        return token

    def _tell(self, token: str) -> None:
        if self._keep_token is not None:
            try:
                self._keep_token(token)
            except OnefsError as error:
                log.warning("%s", error)

    def _secrets(self, token: str) -> tuple[str, str]:
        return (token, self._credentials.password)


def _token_in(response: requests.Response) -> str:
    try:
        content = fields.parsed(response.content)
    except ValueError:
        return ""
    token = content.get("token") if isinstance(content, dict) else None
    return token if isinstance(token, str) else ""


def _checked(base_url: str) -> str:
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment
        usable = usable and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise UsageError("The address of the database cannot be used.", "Give one such as https://alyx.example.org.")
    if "@" in parts.netloc:
        raise UsageError("The address of the database must not hold a login.", HOW_TO_LOG_IN)
    return base_url.rstrip("/")
