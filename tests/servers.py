"""The servers that tests talk to: a real nginx, and one that fails in whatever way a test asks for."""

import contextlib
import hashlib
import os
import random
import shutil
import socket
import socketserver
import ssl
import struct
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from waiting import PATIENCE_S

NGINX = "/usr/sbin/nginx"
NGINX_CONFIGURATION = """\
daemon off;
user root;
master_process off;
pid {home}/pid;
error_log {home}/error.log;
events {{ worker_connections 2048; }}
http {{
    log_format request
        '$request_method\\t$request_uri\\t$status\\t$http_range\\t$connection\\t$body_bytes_sent';
    access_log {home}/access.log request;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    types {{ }}
    default_type application/octet-stream;
    sendfile on;
    keepalive_timeout 60;
    keepalive_requests 100000;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {root};
        {login}
    }}
}}
"""


# Made for these tests alone, for 127.0.0.1.
PEM = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgr3hNU4IWvrs5v1lZ
NTxnIZSEKEsB/AtbfL1fPKvx5ZGhRANCAATySNaJ4/zqwgFFxuWO9FW5Blo3nImE
I0cabHDtmYJrywAQuyYQUhKsgsojDMkZWYF0uVnDeMhNFjKlcNync6JF
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBkjCCATigAwIBAgIUdXdb3mtIDOQX0H9AUVlr0gpAHKwwCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKb25lZnMgdGVzdDAgFw0yNjExMjAxMDQ4NTlaGA8yMTI2MTAy
NzEwNDg1OVowFTETMBEGA1UEAwwKb25lZnMgdGVzdDBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABPJI1onj/OrCAUXG5Y70VbkGWjeciYQjRxpscO2ZgmvLABC7JhBS
EqyCyiMMyRlZgXS5WcN4yE0WMqVw3KdzokWjZDBiMB0GA1UdDgQWBBSL1WotoDCn
PvFXEiaRQV01jOtFYDAfBgNVHSMEGDAWgBSL1WotoDCnPvFXEiaRQV01jOtFYDAP
BgNVHREECDAGhwR/AAABMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAw
RQIhAK7w/gtnM8IyHQMNT2LjxuLmCXI5geip2yo3mFwVhrBgAiBW2vTokg48oDEm
F8Dmmn4d/ZJ8BbQ/RgOSIQovD/kYOw==
-----END CERTIFICATE-----
"""


class _RawServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    said = b""
    waits = True
    stalls = False
    context: ssl.SSLContext | None = None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""


class _RawHandler(socketserver.StreamRequestHandler):
    server: _RawServer

    def setup(self) -> None:
        if self.server.context is not None:
            self.request = self.server.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def handle(self) -> None:
        if not self.server.waits:
            self.wfile.write(self.server.said)
        while self.rfile.readline().strip():
            """Read the head of the request."""
        if self.server.waits:
            self.wfile.write(self.server.said)
        if self.server.stalls:
            self.rfile.read()

    def finish(self) -> None:
        super().finish()
        self.request.close()


@contextlib.contextmanager
def raw_server(
    said: bytes, certificate: Path | None = None, *, waits: bool = True, stalls: bool = False
) -> Iterator[str]:
    """The URL of a server that says the same on every connection, whatever is asked, and closes it, unless it `stalls`.

    It says so at once unless it `waits` for a request; in TLS with a `certificate` (a file with `PEM`).
    """
    with _RawServer(("127.0.0.1", 0), _RawHandler) as server:
        server.said, server.waits, server.stalls = said, waits, stalls
        if certificate is not None:
            server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server.context.load_cert_chain(certificate)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"{'http' if certificate is None else 'https'}://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@contextlib.contextmanager
def full_server() -> Iterator[str]:
    """The URL of a server whose queue is full: connections to it are neither taken nor refused."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def free_port() -> int:
    """A loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class Request:
    """One line of nginx's access log. `connection` numbers the TCP connections."""

    method: str
    path: str
    status: int
    range: str
    connection: int
    body_bytes: int


class Nginx:
    """A real nginx on a free loopback port that serves the files under `root`.

    With `user`, Basic auth is demanded everywhere. Use as a context manager; `.url` has no slash at its end.
    Works as root and as a normal user.
    """

    def __init__(self, root: Path, user: str = "", password: str = "") -> None:
        self._root = root.resolve()
        self._user = user
        self._password = password
        self._port = free_port()
        self._home = Path()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Base URL of the files, without a slash at its end."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._home = Path(tempfile.mkdtemp(prefix="onefs-nginx-"))
        login = ""
        if self._user:
            (self._home / "htpasswd").write_text(f"{self._user}:{{PLAIN}}{self._password}\n")
            login = f"auth_basic archive; auth_basic_user_file {self._home}/htpasswd;"
        configuration = NGINX_CONFIGURATION.format(home=self._home, port=self._port, root=self._root, login=login)
        (self._home / "nginx.conf").write_text(configuration)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def start(self) -> None:
        """Start listening, on the same port as before if it was stopped."""
        command = [NGINX, "-p", str(self._home), "-c", "nginx.conf", "-e", str(self._home / "error.log")]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE_S):
                return
            time.sleep(0.02)
        raise RuntimeError(f"nginx did not start: {self.error_log()}")

    def stop(self) -> None:
        """End nginx; every connection breaks, and further ones are refused."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def access_log(self, at_least: int = 0, timeout_s: float = PATIENCE_S) -> list[Request]:
        """The requests answered; waits until there are `at_least` so many (nginx logs after answering)."""
        deadline = time.monotonic() + timeout_s
        while True:
            path = self._home / "access.log"
            lines = path.read_text().splitlines() if path.exists() else []
            if len(lines) >= at_least or time.monotonic() > deadline:
                return [_parse_request(line) for line in lines]
            time.sleep(0.01)

    def error_log(self) -> str:
        """What nginx complained of."""
        path = self._home / "error.log"
        return path.read_text() if path.exists() else ""


def _parse_request(line: str) -> Request:
    method, path, status, byte_range, connection, body_bytes = line.split("\t")
    byte_range = "" if byte_range == "-" else byte_range
    return Request(method, path, int(status), byte_range, int(connection), int(body_bytes))


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the answers for one path. The default is nothing.

    Counts of bytes are of one response's body. `times` limits the fault to that many requests; later ones are
    answered rightly. Stalls last until `FaultServer.release()` or `stop()`.
    """

    cut_after: int | None = None
    """The connection is closed after so many bytes, though Content-Length promised all of them."""
    reset_after: int | None = None
    """The connection is reset (RST) after so many bytes."""
    stall_after: int | None = None
    """Nothing more comes after so many bytes."""
    held: tuple[int, int] | None = None
    """Nothing more comes of a response that reaches one of these places of the file: from the first to the second."""
    stall_before_headers: bool = False
    wrong_bytes: bool = False
    """Every byte is another one; the length is right."""
    ignore_range: bool = False
    """200 and the whole file as answer to a range request."""
    shift_range: int = 0
    """206 with a range that starts so many bytes beside the one asked for."""
    new_edition_each_time: bool = False
    """The ETag (and so the edition) changes with each request."""
    no_edition: bool = False
    """Neither ETag nor Last-Modified."""
    chunked: bool = False
    """No Content-Length: the body comes in chunks."""
    trickle_bytes: int = 0
    """So many bytes at a time, with a pause of `trickle_pause_s` after each."""
    trickle_pause_s: float = 0.05
    status: int = 0
    """This status, with a short text body, instead of the file."""
    text: str = ""
    """That text."""
    headers: tuple[tuple[str, str], ...] = ()
    """Headers beside that text."""
    redirect: str = ""
    """302 to this URL."""
    times: int | None = None


HEALTHY = Fault()
_OTHER_BYTES = bytes(byte ^ 0xFF for byte in range(256))


class FaultServer:
    """An HTTP/1.1 server on loopback that answers each path as the test sets it.

    `put(path, data)` adds a file, `fault(path, Fault(…))` sets what is wrong with it. Right answers have a
    strong ETag, Range, If-Range and keep-alive. Paths are given decoded, beginning with "/".
    """

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}
        self._editions: dict[str, int] = {}
        self._faults: dict[str, Fault] = {}
        self._used: Counter[str] = Counter()
        self._requests: list[tuple[str, dict[str, str]]] = []
        self._sent: Counter[str] = Counter()
        self._lock = threading.Lock()  # guards all of the above
        self._released = threading.Event()
        self._port = 0
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        """Base URL, without a slash at its end. The same after `stop()` and `start()`."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen, on the same port as before if it was stopped."""
        self._released.clear()
        self._server = _Server(("127.0.0.1", self._port), self)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections and break those that are open, stalled ones included."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.break_connections()
            self._released.set()
            self._server = None

    def put(self, path: str, data: bytes) -> None:
        """Add or replace a file; a replaced one is a new edition, with another ETag."""
        with self._lock:
            self._files[path] = data
            self._editions[path] = self._editions.get(path, 0) + 1

    def fault(self, path: str, fault: Fault = HEALTHY) -> None:
        """Set what is wrong with a path from now on; without `fault` it is healthy again."""
        with self._lock:
            self._faults[path] = fault
            self._used[path] = 0

    def release(self) -> None:
        """Let the stalled answers go on."""
        self._released.set()

    def requests(self, path: str | None = None) -> int:
        """How many requests came for a path, or for all."""
        return len(self.headers(path))

    def headers(self, path: str | None = None) -> list[dict[str, str]]:
        """The headers, names in lower case, of each request for a path, in order."""
        with self._lock:
            return [headers for asked, headers in self._requests if path in (None, asked)]

    def bytes_sent(self, path: str | None = None) -> int:
        """How many bytes of bodies were sent for a path, or for all."""
        with self._lock:
            return self._sent[path] if path is not None else self._sent.total()

    def wait_for_requests(self, count: int, path: str | None = None, timeout_s: float = PATIENCE_S) -> None:
        """Return once `count` requests have come; raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while self.requests(path) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.requests(path)} of {count} requests came")
            time.sleep(0.005)

    def _begin(self, path: str, headers: dict[str, str]) -> tuple[bytes | None, str, Fault]:
        with self._lock:
            self._requests.append((path, headers))
            fault = self._faults.get(path, HEALTHY)
            self._used[path] += 1
            if fault.times is not None and self._used[path] > fault.times:
                fault = HEALTHY
            edition = f'"{self._editions.get(path, 0)}"'
            if fault.new_edition_each_time:
                edition = f'"new-{len(self._requests)}"'
            return self._files.get(path), "" if fault.no_edition else edition, fault

    def _count(self, path: str, size_bytes: int) -> None:
        with self._lock:
            self._sent[path] += size_bytes


class BreakableServer(ThreadingHTTPServer):
    """One thread a connection, and all connections can be broken at once."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()  # guards _open
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Note the connection, then serve it in a thread."""
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that ends."""
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def break_connections(self) -> None:
        """End those that are open, whatever they wait for."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""


class _Server(BreakableServer):
    def __init__(self, address: tuple[str, int], owner: FaultServer) -> None:
        self.owner = owner
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing is printed."""

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        data, edition, fault = self.server.owner._begin(path, headers)
        if fault.stall_before_headers:
            self.server.owner._released.wait()
        if fault.redirect:
            self._plain(302, {"Location": fault.redirect})
        elif fault.status or data is None:
            self._plain(fault.status or 404, dict(fault.headers), fault.text)
        else:
            self._answer(path, data, edition, fault)

    def _plain(self, status: int, headers: dict[str, str], text: str = "") -> None:
        body = (text or "no file for you\n").encode()
        self.send_response_only(status)
        for name, value in {"Date": self.date_time_string(), **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _answer(self, path: str, data: bytes, edition: str, fault: Fault) -> None:
        start, end = self._range(edition, fault, len(data))
        if start is not None and start >= len(data):
            self._plain(416, {"Content-Range": f"bytes */{len(data)}"})
            return
        if start is None:
            self.send_response(200)
        else:
            start = max(0, start + fault.shift_range)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        body = data[start or 0 : end]
        fault = _stalling(fault, start or 0, len(body))
        if fault.wrong_bytes:
            body = body.translate(_OTHER_BYTES)
        if edition:
            self.send_header("ETag", edition)
        self.send_header("Accept-Ranges", "bytes")
        if fault.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self._body(path, body, fault)

    def _range(self, edition: str, fault: Fault, size_bytes: int) -> tuple[int | None, int]:
        """The part asked for, from where to where; from None, if the whole file is to be sent."""
        asked = self.headers.get("Range", "")
        condition = self.headers.get("If-Range")
        if not asked or fault.ignore_range or (condition is not None and condition != edition):
            return None, size_bytes
        first, _, last = asked.removeprefix("bytes=").partition("-")
        return int(first), min(int(last) + 1, size_bytes) if last else size_bytes

    def _body(self, path: str, body: bytes, fault: Fault) -> None:
        stops = [n for n in (fault.cut_after, fault.reset_after, fault.stall_after) if n is not None]
        first = min([*stops, len(body)])
        for piece in _pieces(body[:first], fault.trickle_bytes or 1 << 20):
            self._send(path, piece, fault)
            if fault.trickle_bytes and self.server.owner._released.wait(fault.trickle_pause_s):
                continue
        if fault.stall_after is not None and fault.stall_after < len(body):
            self.server.owner._released.wait()
            self._send(path, body[first:], fault)
        elif fault.reset_after is not None and fault.reset_after < len(body):
            self._reset()
            return
        elif fault.cut_after is not None and fault.cut_after < len(body):
            self.close_connection = True
            return
        if fault.chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _send(self, path: str, piece: bytes, fault: Fault) -> None:
        if piece:
            self.server.owner._count(path, len(piece))  # before whoever has them can ask
            try:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if fault.chunked else piece)
            except OSError:
                self.server.owner._count(path, -len(piece))
                raise

    def _reset(self) -> None:
        """Close so that the client sees RST. It may lose bytes that it has not read yet, as in real life."""
        self.wfile.flush()
        time.sleep(0.05)
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # socketserver would shut down first, which sends FIN; closing the descriptor itself sends RST.
        os.close(self.connection.detach())

    def finish(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().finish()


def _stalling(fault: Fault, start: int, size_bytes: int) -> Fault:
    """A fault for a response of so many bytes of a file, from a place on."""
    if fault.held is None or start >= fault.held[1] or start + size_bytes <= fault.held[0]:
        return fault
    return replace(fault, stall_after=max(fault.held[0] - start, 0))


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


_PATTERN = random.Random(7).randbytes((1 << 20) + 7) * 4


class PatternServer:
    """An HTTP/1.1 server on loopback whose files are made while they are sent: none is ever stored.

    `put(path, size_bytes)` adds one; `pattern(offset, size)` are its bytes. `flip` is the place of one wrong byte.
    """

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.flip: int | None = None
        self.pause_s = 0.0
        """Pause after each MiB that is sent."""
        self.sent_bytes = 0
        self.requests = 0
        self.lock = threading.Lock()  # guards the two above
        self._server = _PatternListener(("127.0.0.1", 0), partial(_PatternHandler, self))

    @property
    def url(self) -> str:
        """Base URL, without a slash at its end."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def put(self, path: str, size_bytes: int) -> None:
        """Add a file of so many bytes."""
        self.sizes[path] = size_bytes

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def pattern(offset: int, size: int) -> bytes:
    """The bytes of every file of a `PatternServer`."""
    period = len(_PATTERN) // 4
    pieces = []
    while size > 0:
        begin = offset % period
        piece = _PATTERN[begin : min(begin + size, len(_PATTERN))]
        pieces.append(piece)
        offset, size = offset + len(piece), size - len(piece)
    return b"".join(pieces)


def pattern_md5(size_bytes: int) -> str:
    """The MD5 of a file of a `PatternServer`."""
    digest = hashlib.md5()
    for offset in range(0, size_bytes, 1 << 20):
        digest.update(pattern(offset, min(1 << 20, size_bytes - offset)))
    return digest.hexdigest()


class _PatternListener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""


class _PatternHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, owner: PatternServer, *arguments: Any) -> None:
        self.owner = owner
        super().__init__(*arguments)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing is printed."""

    def do_GET(self) -> None:
        size_bytes = self.owner.sizes.get(unquote(urlsplit(self.path).path), 0)
        asked = self.headers.get("Range", "")
        begin, end = 0, size_bytes
        if asked:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(int(last) + 1, size_bytes) if last else size_bytes
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{size_bytes}")
        self.send_header("ETag", '"pattern"')
        self.send_header("Content-Length", str(end - begin))
        self.end_headers()
        with self.owner.lock:
            self.owner.requests += 1
        with contextlib.suppress(OSError):
            self._send(begin, end)

    def _send(self, begin: int, end: int) -> None:
        while begin < end:
            piece = pattern(begin, min(1 << 20, end - begin))
            flip = self.owner.flip
            if flip is not None and begin <= flip < begin + len(piece):
                changed = bytearray(piece)
                changed[flip - begin] ^= 1
                piece = bytes(changed)
            self.wfile.write(piece)
            with self.owner.lock:
                self.owner.sent_bytes += len(piece)
            begin += len(piece)
            if self.owner.pause_s:
                time.sleep(self.owner.pause_s)
