"""Reading over HTTP: pooled connections, proxies, certificates, logins sent at once, and ranges."""

import base64
import contextlib
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException, RemoteDisconnected
from typing import Any, cast
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import PoolManager, ProxyManager, Retry, Timeout
from urllib3 import exceptions as http_errors
from urllib3.util import create_urllib3_context, parse_url

from onefs.errors import BrokenAnswerError, ContentError, OfflineError, UsageError
from onefs.forks import begins_anew_in_children, new_lock
from onefs.suspends import SuspendWatch
from onefs.transports.addresses import server_name, shown
from onefs.transports.answers import body, from_library, root_cause
from onefs.transports.base import Body, Location, Login
from onefs.transports.buckets import TELLING, Asked, Bucket, refusal
from onefs.transports.connections import POOLS_OF_SCHEMES, Pool, Response

LONGEST_REDIRECTION = 5
POOLS = 64
SCHEMES = ("http", "https")
START_AGAIN = "Start it again."
LONGEST_REFUSAL_BYTES = 1 << 16
CERTIFICATE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
DEFAULT_PORTS = {"http": 80, "https": 443}
NO_RETRIES = Retry(0, respect_retry_after_header=False)
PLAIN_URL = re.compile(r"(?P<scheme>https?)://(?P<host>[a-z0-9.-]+(?::[0-9]{1,5})?)(?P<target>/[!$&-;=?-Z_a-z~%@]*)")
"""A URL that can be asked for as it is."""
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
        self._lock = new_lock()  # guards what follows but for _reading
        self._suspends = suspends or SuspendWatch()
        self._managers: dict[tuple[str, bool], PoolManager] = {}
        self._routes: dict[tuple[str, str], Pool | PoolManager] = {}
        self._reading: set[Response] = set()  # changed by atomic operations
        self._closed = False
        self._requests_sent = 0
        begins_anew_in_children(self)

    def begin_anew(self) -> None:
        """Leave the connections to the parent of this process, which uses them."""
        self._managers, self._routes, self._reading = {}, {}, set()

    @property
    def requests_sent(self) -> int:
        """How many requests went out so far: redirections and repetitions too, answered or not."""
        with self._lock:
            return self._requests_sent

    @contextmanager
    def open(self, location: Location, start: int = 0, edition: str = "", end: int | None = None) -> Iterator[Body]:
        """Begin reading at byte `start`; see `Transport.open`. Without `edition` nothing is checked."""
        response = self._request(location, start, edition, end)
        self._reading.add(response)
        try:
            if self._closed:
                raise OfflineError("The answer was not read: onefs is ending.", START_AGAIN)
            found = body(response, location.url, start, edition, end)
            if found is None:
                if not (start or end is not None):
                    raise BrokenAnswerError(
                        f"{server_name(location.url)} answered a request for the whole file with a part."
                    )
                response.release()
                with self.open(location) as whole:
                    yield whole
                return
            yield found
        except ContentError:
            _drain_if_short(response)
            raise
        finally:
            self._reading.discard(response)
            response.release()

    def close(self) -> None:
        """Break the connections in use, so that no reader waits for its time-out; further requests fail."""
        with self._lock:
            self._closed = True
            self._managers, self._routes = {}, {}
        for response in tuple(self._reading):
            response.shutdown()

    def _request(self, location: Location, start: int, edition: str, end: int | None) -> Response:
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
                response.release()
                further = urljoin(url, told)
                if _server_of(further) != _server_of(url):
                    login, bucket = None, None
            except (http_errors.HTTPError, HTTPException, OSError, ValueError) as error:
                raise from_library(error, server_name(url), self._timeout) from error
            if url.lower().startswith("https:") and not further.lower().startswith("https:"):
                raise BrokenAnswerError(f"{server_name(url)} sends its callers on to {shown(further)}, without TLS.")
            asked = _asked(bucket, further)
        raise BrokenAnswerError(f"{server_name(location.url)} redirects without end.")

    def _send(self, url: str, headers: Mapping[str, str]) -> Response:
        """The answer to one request. A kept connection that the server dropped is replaced, as that says nothing."""
        scheme, host, target = _split(url)
        headers = {"Host": host, **headers}
        for attempt in (1, 2):
            route = self._route(scheme, host)
            try:
                response = self._send_by(route, url, target, headers)
            except (http_errors.MaxRetryError, *STALE_CONNECTION) as error:
                if attempt == 2 or not isinstance(root_cause(error), STALE_CONNECTION):
                    raise
            else:
                return response
        raise AssertionError("unreachable")

    def _send_by(self, route: Pool | PoolManager, url: str, target: str, headers: Mapping[str, str]) -> Response:
        response = None
        if isinstance(route, Pool):
            response, url = route.reuse(target, headers, self._timeout.read_timeout), target
        return response or cast(
            Response,
            route.urlopen(
                "GET",
                url,
                headers=headers,
                redirect=False,
                retries=NO_RETRIES,
                preload_content=False,
                decode_content=False,
                assert_same_host=False,
            ),
        )

    def _route(self, scheme: str, host: str) -> Pool | PoolManager:
        """The connections to a server, or to the proxy. The environment is asked once per host, as that is slow."""
        with self._lock:
            if self._closed:
                raise OfflineError(f"{host} was not asked: onefs is ending.", START_AGAIN)
            self._requests_sent += 1
            if self._suspends.was_suspended():
                # A request on a dead connection would wait for its time-out. Pools that nobody has close theirs.
                self._managers, self._routes = {}, {}
            route = self._routes.get((scheme, host))
            if route is None:
                route = self._routes[scheme, host] = self._make_route(scheme, host)
            return route

    def _make_route(self, scheme: str, host: str) -> Pool | PoolManager:
        proxy = _proxy_for(scheme, host, self._proxy)
        kind = (proxy, scheme == "https")
        manager = self._managers.get(kind) or self._make_manager(*kind)
        self._managers[kind] = manager
        return manager if proxy else cast(Pool, manager.connection_from_url(f"{scheme}://{host}"))

    def _make_manager(self, proxy: str, tls: bool) -> PoolManager:
        """Connections. Raises `UsageError` for settings that cannot be used, so that no server is blamed for them."""
        options: dict[str, Any] = {"maxsize": self._max_connections, "timeout": self._timeout}
        if tls:
            options["ssl_context"] = _tls_context()
        try:
            if proxy:
                login = parse_url(proxy).auth
                headers = {"Proxy-Authorization": _basic(unquote(login))} if login else None
                manager: PoolManager = ProxyManager(proxy, POOLS, proxy_headers=headers, **options)
            else:
                manager = PoolManager(POOLS, **options)
        except (http_errors.HTTPError, ValueError) as error:
            raise UsageError(
                f"The proxy {shown(proxy)} cannot be used: {error}.".replace("..", "."),
                "Give --proxy, or https_proxy and its like in the environment, as http://host:port.",
            ) from error
        manager.pool_classes_by_scheme = POOLS_OF_SCHEMES
        return manager


def _split(url: str) -> tuple[str, str, str]:
    """The scheme, the host (as in the header Host) and the path with query of a URL. Raises `BrokenAnswerError`."""
    plain = PLAIN_URL.fullmatch(url)
    if plain is not None and "/." not in plain["target"]:
        return plain["scheme"], plain["host"], plain["target"]
    try:
        parsed = parse_url(url)
    except ValueError:
        parsed = None
    if parsed is None or parsed.scheme not in SCHEMES or not parsed.host:
        raise BrokenAnswerError(f"{server_name(url) or 'A server'} has an address that cannot be used.")
    port = parsed.port if parsed.port != DEFAULT_PORTS[parsed.scheme] else None
    return parsed.scheme, parsed.host if port is None else f"{parsed.host}:{port}", parsed.request_uri


def _asked(bucket: Bucket | None, url: str) -> Asked:
    return bucket.asking(url) if bucket is not None else Asked(url)


def _heard(bucket: Bucket, asked: Asked, response: Response) -> Asked | None:
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
        response.release()
    if error is not None:
        raise error
    return better


def _drain_if_short(response: Response) -> None:
    """Read the text of a refusal, so that the connection can be used again."""
    if response.length is not None and response.length <= LONGEST_REFUSAL_BYTES:
        with contextlib.suppress(HTTPException, OSError):
            while not response.is_finished and response.read1(LONGEST_REFUSAL_BYTES):
                pass


def _server_of(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme)


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
