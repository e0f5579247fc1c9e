"""Reading over HTTP: pooled connections, proxies, certificates, logins sent at once, and ranges."""

import base64
import contextlib
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.client import RemoteDisconnected
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import BaseHTTPResponse, PoolManager, ProxyManager, Retry, Timeout
from urllib3 import exceptions as http_errors
from urllib3.util import create_urllib3_context, parse_url

from onefs.errors import BrokenAnswerError, ContentError, UnreachableError, UsageError
from onefs.forks import begins_anew_in_children, new_lock
from onefs.suspends import SuspendWatch
from onefs.transports.addresses import server_name, shown
from onefs.transports.answers import body, from_library, root_cause
from onefs.transports.base import Body, Location, Login
from onefs.transports.buckets import TELLING, Asked, Bucket, refusal

LONGEST_REDIRECTION = 5
POOLS = 64
SCHEMES = ("http", "https")
LONGEST_REFUSAL_BYTES = 1 << 16
CERTIFICATE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
STALE_CONNECTION = (RemoteDisconnected, ConnectionResetError, BrokenPipeError)


class HttpTransport:
    """Reads `http://` and `https://` locations. Safe to use from several threads.

    `proxy` is a URL, "" for what the standard variables say (`https_proxy`, `no_proxy`, …). Sentences of its
    errors begin with the server's name and never hold a login or a query, so that signed URLs stay secret.
    """

    def __init__(
        self,
        *,
        connect_timeout_s: float,
        read_timeout_s: float,
        max_connections: int,
        proxy: str = "",
        suspends: SuspendWatch | None = None,
    ) -> None:
        self._timeout = Timeout(connect=connect_timeout_s, read=read_timeout_s)
        self._max_connections = max_connections
        self._proxy = proxy
        self._lock = new_lock()  # guards the six below
        self._suspends = suspends or SuspendWatch()
        self._managers: dict[tuple[str, bool], PoolManager] = {}
        self._manager_of_host: dict[tuple[str, str], PoolManager] = {}
        self._reading: set[BaseHTTPResponse] = set()
        self._closed = False
        self._requests_sent = 0
        begins_anew_in_children(self)

    def begin_anew(self) -> None:
        """Leave the connections to the parent of this process, which uses them."""
        self._managers, self._manager_of_host, self._reading = {}, {}, set()

    @property
    def requests_sent(self) -> int:
        """How many requests went out so far: redirections and repetitions too, answered or not."""
        with self._lock:
            return self._requests_sent

    @contextmanager
    def open(self, location: Location, start: int = 0, edition: str = "", end: int | None = None) -> Iterator[Body]:
        """Begin reading at byte `start`; see `Transport.open`. Without `edition` nothing is checked."""
        response = self._request(location, start, edition, end)
        try:
            with self._watched(response):
                found = body(response, location.url, start, edition, end)
                if found is None and (start or end is not None):
                    response.close()
                    response.release_conn()
                    with self.open(location) as whole:
                        yield whole
                    return
                if found is None:
                    raise BrokenAnswerError(
                        f"{server_name(location.url)} answered a request for the whole file with a part."
                    )
                yield found
        except ContentError:
            _drain_if_short(response)
            raise
        finally:
            if response.length_remaining != 0:
                response.close()
            response.release_conn()

    def close(self) -> None:
        """Break the connections in use, so that no reader waits for its time-out; further requests fail."""
        with self._lock:
            self._closed = True
            responses = list(self._reading)
            managers = list(self._managers.values())
        for response in responses:
            with contextlib.suppress(ValueError, RuntimeError, OSError):
                response.shutdown()
        for manager in managers:
            manager.clear()

    def _request(self, location: Location, start: int, edition: str, end: int | None) -> BaseHTTPResponse:
        """The answer, after redirections. Logins and signatures go to no other server, and no step leads out of TLS.

        A request to a bucket is signed each time that it is sent, as signatures hold for minutes.
        """
        login, bucket = location.login, location.bucket
        asked = _asked(bucket, location.url)
        for _ in range(LONGEST_REDIRECTION + 1):
            url = asked.url
            try:
                response = self._send(url, {**_headers(login, start, edition, end), **asked.headers})
                better = _heard(bucket, asked, response) if bucket is not None else None
                if better is not None:
                    asked = better
                    continue
                told = response.get_redirect_location()
                if not told:
                    return response
                _drain_if_short(response)
                response.close()
                further = urljoin(url, told)
                if _server_of(further) != _server_of(url):
                    login, bucket = None, None
            except (http_errors.HTTPError, OSError, ValueError) as error:
                raise from_library(error, server_name(url), self._timeout) from error
            if url.lower().startswith("https:") and not further.lower().startswith("https:"):
                raise BrokenAnswerError(f"{server_name(url)} sends its callers on to {shown(further)}, without TLS.")
            asked = _asked(bucket, further)
        raise BrokenAnswerError(f"{server_name(location.url)} redirects without end.")

    def _send(self, url: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
        manager = self._manager(url)
        for attempt in (1, 2):
            with self._lock:
                self._requests_sent += 1
            try:
                return manager.request(
                    "GET",
                    url,
                    headers=headers,
                    redirect=False,
                    retries=Retry(0, respect_retry_after_header=False),
                    preload_content=False,
                    decode_content=False,
                )
            except http_errors.MaxRetryError as error:
                # A kept connection that the server dropped this very moment says nothing about the server.
                if attempt == 2 or not isinstance(root_cause(error), STALE_CONNECTION):
                    raise
        raise AssertionError("unreachable")

    @contextmanager
    def _watched(self, response: BaseHTTPResponse) -> Iterator[None]:
        with self._lock:
            self._reading.add(response)
            closed = self._closed
        try:
            if closed:
                raise UnreachableError("The answer was not read: onefs is ending.")
            yield
        finally:
            with self._lock:
                self._reading.discard(response)

    def _manager(self, url: str) -> PoolManager:
        """The pool for a URL. The environment is asked once per host, as that is slow."""
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES or not parts.hostname:
            raise BrokenAnswerError(f"{server_name(url) or 'A server'} has an address that cannot be used.")
        key = (parts.scheme, parts.netloc)
        with self._lock:
            if self._closed:
                raise UnreachableError(f"{server_name(url)} was not asked: onefs is ending.")
            if self._suspends.was_suspended():
                for each in self._managers.values():
                    each.clear()  # a request on a dead connection would wait for its time-out
            manager = self._manager_of_host.get(key)
            if manager is None:
                proxy = _proxy_for(parts.scheme, parts.netloc, self._proxy)
                kind = (proxy, parts.scheme == "https")
                manager = self._managers.get(kind) or self._make_manager(*kind)
                self._managers[kind] = self._manager_of_host[key] = manager
            return manager

    def _make_manager(self, proxy: str, tls: bool) -> PoolManager:
        """A pool. Raises `UsageError` for settings that cannot be used, so that no server is blamed for them."""
        context = _tls_context() if tls else None
        size = self._max_connections
        if not proxy:
            return PoolManager(POOLS, maxsize=size, timeout=self._timeout, ssl_context=context)
        try:
            login = parse_url(proxy).auth
            headers = {"Proxy-Authorization": _basic(unquote(login))} if login else None
            return ProxyManager(
                proxy, POOLS, proxy_headers=headers, maxsize=size, timeout=self._timeout, ssl_context=context
            )
        except (http_errors.HTTPError, ValueError) as error:
            raise UsageError(
                f"The proxy {shown(proxy)} cannot be used: {error}.".replace("..", "."),
                "Give --proxy, or https_proxy and its like in the environment, as http://host:port.",
            ) from error


def _asked(bucket: Bucket | None, url: str) -> Asked:
    return bucket.asking(url) if bucket is not None else Asked(url)


def _heard(bucket: Bucket, asked: Asked, response: BaseHTTPResponse) -> Asked | None:
    """The request to send instead, if a bucket's refusal tells how; else its error, if that tells more than the status.

    The text of the refusal is read, and the connection is free again.
    """
    if response.status not in TELLING:
        if response.status < HTTPStatus.BAD_REQUEST:
            bucket.accepted(asked)
        return None
    told = refusal(response.status, response.headers, response.read(LONGEST_REFUSAL_BYTES))
    better = bucket.further(asked, told)
    error = None if better is not None or response.get_redirect_location() else bucket.error(asked, told)
    if better is not None or error is not None:
        response.close()
        response.release_conn()
    if error is not None:
        raise error
    return better


def _drain_if_short(response: BaseHTTPResponse) -> None:
    """Read the text of a refusal, so that the connection can be used again."""
    if response.length_remaining is not None and response.length_remaining <= LONGEST_REFUSAL_BYTES:
        with contextlib.suppress(http_errors.HTTPError, OSError):
            while response.read1(LONGEST_REFUSAL_BYTES):
                pass


def _server_of(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _headers(login: Login | None, start: int, edition: str, end: int | None) -> dict[str, str]:
    headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "onefs"}
    if login is not None:
        headers["Authorization"] = _basic(f"{login.user}:{login.password}")
    if start or end is not None:
        headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        if edition:
            headers["If-Range"] = edition
    return headers


def _basic(login: str) -> str:
    return f"Basic {base64.b64encode(login.encode()).decode()}"


def _proxy_for(scheme: str, netloc: str, proxy: str) -> str:
    """URL of the proxy to use, or ""."""
    if proxy_bypass(netloc.rpartition("@")[2]):
        return ""
    found = proxy or getproxies().get(scheme) or getproxies().get("all") or ""
    return found if not found or "://" in found else f"http://{found}"


def _tls_context() -> ssl.SSLContext:
    """Trusts the machine's authorities and the well-known ones, or those that the usual variables name."""
    context = create_urllib3_context()
    variable = next((name for name in CERTIFICATE_VARIABLES if os.environ.get(name)), "")
    if not variable:
        context.load_default_certs()
    path = os.environ[variable] if variable else DEFAULT_CA_BUNDLE_PATH
    try:
        context.load_verify_locations(**{"capath" if os.path.isdir(path) else "cafile": path})  # noqa: PTH112
    except OSError as error:
        text = "it holds no certificates" if isinstance(error, ssl.SSLError) else (error.strerror or str(error)).lower()
        raise UsageError(
            f"The certificates in {path} cannot be used: {text}.",
            f"Let {variable} name a file of certificates, or unset it." if variable else "Install certifi again.",
        ) from error
    return context
