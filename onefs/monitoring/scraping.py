"""The HTTP server that gives the metrics to Prometheus. Imports prometheus_client."""

import errno
import ipaddress
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from onefs.errors import MountError
from onefs.setting_values import Address

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PATH = "/metrics"
MOST_CONNECTIONS = 4
IP_FREEBIND = 15  # of Linux, also for IPv6
PAUSE_S = 0.2
LONGEST_S = 10.0
"""How long a connection may last."""
_log = logging.getLogger(__name__)


@contextmanager
def serving(registry: CollectorRegistry, address: Address) -> Iterator[None]:
    """A block in which the metrics are served. Raises `MountError` if nothing can listen at the address."""
    try:
        server = Server(address, _only_at_path(make_wsgi_app(registry)))
    except OSError as error:
        reason = f"The metrics cannot be served at {address}: {error.strerror or error}."
        raise MountError(reason, "Choose another port or address with --metrics-listen, or leave it off.") from error
    if not is_loopback(server.server_address[0]):
        _log.warning("Whoever reaches %s can read the metrics: names of programs, servers and the source", address)
    _log.info("Metrics are served at http://%s%s", address, PATH)
    threading.Thread(target=server.serve_forever, name="onefs-metrics", daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def is_loopback(host: object) -> bool:
    """Whether an IP address is one that this machine alone can reach."""
    return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback


def _only_at_path(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """The application at one path only, without its query `name[]`, which does not work with collected metrics."""

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["PATH_INFO"] == PATH:
            return app({**environ, "QUERY_STRING": ""}, start_response)
        start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"The metrics are at {PATH}.\n".encode()]

    return answer


class Server(ThreadingMixIn, WSGIServer):
    """A server with few threads, which cuts off long connections."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_port = False  # two mounts at one port would each get half of the requests

    def __init__(
        self,
        address: Address,
        app: Callable[..., Iterable[bytes]],
        *,
        most_connections: int = MOST_CONNECTIONS,
        longest_s: float = LONGEST_S,
    ) -> None:
        """Raises OSError if nothing can listen at the address."""
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, *_, bound = found[0]
        self._most_connections = most_connections
        self._longest_s = longest_s
        self._lock = threading.Lock()  # guards _connections
        self._connections: dict[Any, float] = {}  # with the time when each began
        super().__init__(bound[:2], _Handler)  # type: ignore[arg-type]
        self.set_app(app)

    def server_bind(self) -> None:
        """Bind. Asks no name server for this machine's name, as its base class does: at boot it may not answer.

        An address that the machine does not have yet, as the network is not up, is bound all the same.
        """
        try:
            TCPServer.server_bind(self)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            self.socket.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
            TCPServer.server_bind(self)
            host = self.server_address[0]
            _log.warning("This machine does not have the address %s yet; until then nobody can read the metrics", host)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def get_request(self) -> Any:
        """The next connection. Rests a moment if there is none to be had, for want of descriptors for example."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(PAUSE_S)
            raise

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether a connection may be served: not too many are open."""
        del client_address
        self._cut_off_old()
        with self._lock:
            if len(self._connections) >= self._most_connections:
                return False
            self._connections[request] = time.monotonic()
            return True

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Look after the connections, twice a second."""
        self._cut_off_old()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log a failed connection at level debug: scrapers may break off at any time."""
        del request
        _log.debug("A request for metrics from %s failed", client_address, exc_info=True)

    def _cut_off_old(self) -> None:
        """Shut down connections that lasted too long, which ends their threads."""
        now_s = time.monotonic()
        with self._lock:
            for connection, begun_s in self._connections.items():
                if now_s > begun_s + self._longest_s:
                    with suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)


class _Handler(WSGIRequestHandler):
    """Answers one request."""

    timeout = LONGEST_S  # also of what is sent, in all

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing: scrapers come every few seconds."""
