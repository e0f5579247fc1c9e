"""Sending requests to one Alyx server: connections, redirections, proxies, and retries while it is busy."""

import logging
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import proxy_bypass

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.util import create_urllib3_context

from onefs.alyx import refusals
from onefs.alyx.waiting import Clock, Patience
from onefs.errors import BrokenAnswerError, UnreachableError
from onefs.forks import begins_anew_in_children, new_lock
from onefs.outages import Outages
from onefs.suspends import SuspendWatch

REDIRECTIONS = (301, 302, 303, 307, 308)
LONGEST_REDIRECTION = 5
LONGEST_ANSWER_BYTES = 64 << 20
"""A page of a thousand records has a few million."""
POOL = 16
JSON = "application/json"
LATER = "Try again later."

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """One request; `name` is what sentences call it. Its secrets are never shown."""

    method: str
    url: str
    name: str
    secrets: tuple[str, ...] = field(default=(), repr=False)
    form: dict[str, str] | None = field(default=None, repr=False)
    json: Any = None
    accept: str = JSON
    token: str = field(default="", repr=False)
    stream: bool = False


class Sender:
    """Sends questions to one host and to no other. Safe to use from several threads."""

    def __init__(
        self,
        host: str,
        *,
        connect_timeout_s: float,
        read_timeout_s: float,
        retry_max_s: float,
        proxy: str,
        clock: Clock,
        outages: Outages,
        server: str,
    ) -> None:
        """`server` is the name of the host in `outages`."""
        self._host = host
        self._outages = outages
        self._server = server
        self._timeout_s = (connect_timeout_s, read_timeout_s)
        self._retry_max_s = retry_max_s
        self._proxy = proxy if not proxy or "://" in proxy else f"http://{proxy}"
        self._clock = clock
        self._closing = threading.Event()
        self._lock = new_lock()  # guards the three below
        self._suspends = SuspendWatch()
        self._session: requests.Session | None = None
        self._requests_sent = 0
        begins_anew_in_children(self)

    def begin_anew(self) -> None:
        """Leave the connections to the parent of this process, which uses them."""
        closing, self._closing = self._closing, threading.Event()
        if closing.is_set():
            self._closing.set()
        self._session = None

    @property
    def requests_sent(self) -> int:
        """How many requests went out so far: logins, redirections and repetitions too, answered or not."""
        with self._lock:
            return self._requests_sent

    def close(self) -> None:
        """End waits for a busy server at once; further requests fail."""
        self._closing.set()
        with self._lock:
            if self._session is not None:
                self._session.close()

    @contextmanager
    def answer(self, question: Question) -> Iterator[requests.Response]:
        """The answer, of any status but 429 and 503: those are retried for at most `retry_max_s`.

        While a `Retry-After` lasts, all requests to the server wait. Raises `UnreachableError`.
        """
        patience = Patience(self._retry_max_s, self._clock)
        wait_s = self._outages.asked_wait_s(self._server)
        if wait_s and not patience.allows(wait_s):
            raise UnreachableError(f"{self._host} {self._busy_until(wait_s)}.", LATER, retry_after_s=wait_s)
        while True:
            self._wait(question, wait_s)
            with self._following(question) as response:
                if response.status_code not in refusals.BUSY:
                    if response.status_code not in refusals.GATEWAY:
                        self._outages.answered(self._server)
                    yield response
                    return
                wait_s = patience.next_wait_s(response.headers.get("Retry-After", ""))
                error = refusals.refusal(response, self._host, question.name, question.secrets, retry_after_s=wait_s)
                self._outages.failed(self._server, error, wait_s)
                if not patience.allows(wait_s):
                    raise error

    def _wait(self, question: Question, wait_s: float) -> None:
        if not wait_s:
            return
        log.warning("%s %s: %s waits.", self._host, self._busy_until(wait_s), question.name)
        with self._outages.waiting(self._server, question.name):
            if self._clock.wait(self._closing, wait_s):
                raise self._ending()

    def _busy_until(self, wait_s: float) -> str:
        moment = datetime.fromtimestamp(self._clock.now_s() + wait_s, UTC)
        return f"is too busy until {moment:%Y-%m-%d %H:%M:%S} UTC"

    def pieces(self, response: requests.Response) -> Iterator[bytes]:
        """The body of an answer that was asked for as a stream."""
        try:
            yield from response.iter_content(1 << 18)
        except requests.RequestException as error:
            raise refusals.from_library(error, self._host, *self._timeout_s) from error

    @contextmanager
    def _following(self, question: Question) -> Iterator[requests.Response]:
        """The answer, after redirections on the same host; others are refused, as they would be told the token."""
        url = question.url
        for _ in range(LONGEST_REDIRECTION):
            response = self._send(question, url)
            try:
                if response.status_code not in REDIRECTIONS:
                    yield response
                    return
                url = self._next_url(question, url, response.headers.get("Location", ""))
            finally:
                response.close()
        raise BrokenAnswerError(f"{self._host} redirects in circles.", "Check the address of the database.")

    def _next_url(self, question: Question, url: str, told: str) -> str:
        try:
            target = urljoin(url, told)
            here, there = urlsplit(url), urlsplit(target)
        except ValueError:
            raise BrokenAnswerError(f"{self._host} sends its callers on to where there is no address.") from None
        # A step from http to https is refused too, lest the next login is once more sent for all to read.
        if question.method != "GET" or (here.scheme, here.netloc) != (there.scheme, there.netloc):
            elsewhere = f"{there.scheme}://{refusals.server_name(target)}"
            raise BrokenAnswerError(
                f"{self._host} sends its callers on to {elsewhere}.", "Give the address that it now has."
            )
        return target

    def _send(self, question: Question, url: str) -> requests.Response:
        for attempt in (1, 2):
            if self._closing.is_set():
                raise self._ending()
            with self._lock:
                self._requests_sent += 1
            try:
                response = self._http().request(
                    question.method,
                    url,
                    data=question.form,
                    json=question.json,
                    headers={"Accept": question.accept, "User-Agent": "onefs"},
                    auth=_Authorisation(question.token),
                    timeout=self._timeout_s,
                    allow_redirects=False,
                    stream=True,
                    proxies=self._proxies(),
                )
                if not (question.stream and response.ok):
                    response.raw = _Bounded(response.raw, self._host)
                    _ = response.content  # read while a failure to do so is still told as ours
                return response
            except (requests.RequestException, HTTPError, ValueError) as error:
                # A kept connection that the server dropped this very moment says nothing about the server.
                if attempt == 1 and question.method == "GET" and refusals.is_broken_off(error):
                    continue
                raise refusals.from_library(error, self._host, *self._timeout_s) from error
        raise AssertionError("unreachable")

    def _proxies(self) -> dict[str, str]:
        if not self._proxy or proxy_bypass(self._host):
            return {}
        return {"http": self._proxy, "https": self._proxy}

    def _http(self) -> requests.Session:
        with self._lock:
            if self._suspends.was_suspended() and self._session is not None:
                self._session.close()  # its connections; it opens others
            if self._session is None:
                self._session = _Session()
                self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
                self._session.mount("http://", HTTPAdapter(pool_maxsize=POOL))
                self._session.mount("https://", _MachinesAuthorities(pool_maxsize=POOL))
            return self._session

    def _ending(self) -> UnreachableError:
        return UnreachableError(f"{self._host} was not asked: onefs is ending.")


class _Session(requests.Session):
    """Leaves redirections to us: the library would read all of their bodies, however long, to find the next URL."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None of its own."""


class _Authorisation(requests.auth.AuthBase):
    """Sends the token, if there is one. Given even without one, so that no login from ~/.netrc is sent instead."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Token {self._token}"
        return request


class _Bounded:
    """A body that fails where it gets longer than any answer that is asked for."""

    def __init__(self, raw: Any, host: str) -> None:
        self._raw = raw
        self._host = host
        self.close = raw.close
        self.release_conn = raw.release_conn

    def stream(self, size_bytes: int, decode_content: bool) -> Iterator[bytes]:
        """Its pieces, as the library asks for them."""
        left_bytes = LONGEST_ANSWER_BYTES
        for piece in self._raw.stream(size_bytes, decode_content=decode_content):
            left_bytes -= len(piece)
            if left_bytes < 0:
                self.close()
                raise BrokenAnswerError(
                    f"{self._host} answers with more than {LONGEST_ANSWER_BYTES >> 20} MB, which no answer has.",
                    "Check the address: it may be no Alyx database.",
                )
            yield piece


class _MachinesAuthorities(HTTPAdapter):
    """Trusts the machine's certificate authorities beside the well-known ones, as file transfers do."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=_tls_context(), **kwargs)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, ssl_context=_tls_context(), **kwargs)


def _tls_context() -> ssl.SSLContext:
    context = create_urllib3_context()
    context.load_default_certs()
    return context
