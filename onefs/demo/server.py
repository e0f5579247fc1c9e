"""Owns the demo's server: its connections and threads, and its life as a process of its own."""

import argparse
import logging
import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import unquote_to_bytes

from werkzeug.wrappers import Request

from onefs.demo.answers import PASSWORD, USER, Answers
from onefs.demo.troubles import Trouble
from onefs.demo.visits import Visit
from onefs.errors import MountError, OnefsError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

LOG = logging.getLogger(__name__)
LOOPBACK = "127.0.0.1"
IDLE_S = 120.0
STOP_S = 5.0
POLL_S = 0.05
"""How long a server that is closed may take to see it."""
LONGEST_BODY_BYTES = 1 << 20


class _Handler(BaseHTTPRequestHandler):
    """One connection, kept open between requests; werkzeug's own handler closes it after each."""

    protocol_version = "HTTP/1.1"
    server_version = "onefs-demo"
    sys_version = ""
    timeout = IDLE_S
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > LONGEST_BODY_BYTES or "Transfer-Encoding" in self.headers:
            self.send_error(413)
            self.close_connection = True
            return
        environ = self._environ(self.rfile.read(int(length)))
        response = cast("_Server", self.server).answers.answer(Request(environ))
        body, status, headers = response.get_wsgi_response(environ)
        code, _, reason = status.partition(" ")
        try:
            self.send_response(int(code), reason.title() if reason.isupper() else reason)
            for name, value in headers:
                if name.lower() != "date":
                    self.send_header(name, value)
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            for piece in body:
                self.wfile.write(piece)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        finally:
            response.close()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve  # noqa: N815

    def _environ(self, body: bytes) -> "WSGIEnvironment":
        """The request as WSGI says it."""
        path, _, query = self.path.partition("?")
        host, port = cast("tuple[str, int]", self.server.server_address)
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": host,
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": self.request_version,
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.url_scheme": "http",
            "wsgi.input": BytesIO(body),
            "wsgi.errors": sys.stderr,
        }
        for name, value in self.headers.items():
            environ.setdefault(f"HTTP_{name.upper().replace('-', '_')}", value)
        if kind := self.headers.get("Content-Type"):
            environ["CONTENT_TYPE"] = kind
        return environ

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Requests are told at debug level only."""
        LOG.debug(format, *args)


class _Server(ThreadingHTTPServer):
    """Listens on a port of the loopback address (0: a free one), one thread a connection."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, answers: Answers, port: int) -> None:
        self.answers = answers
        self._lock = threading.Lock()  # guards the open connections
        self._open: set[socket.socket] = set()
        super().__init__((LOOPBACK, port), _Handler)

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
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no error of ours."""
        del request
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            LOG.exception("The demo's server failed on a request from %s.", client_address)


class _Closed:
    """Is closed where a `with` ends."""

    __slots__ = ()

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class DemoServer(_Closed):
    """Serves one demo archive from threads of this process, until closed.

    Alyx is at `url`, its tables at `tables_url`, the data at `data_url` and in a bucket. The limit is each user's, over
    REST only. What is in the archive may change meanwhile. It can be stopped and started again, on the same port.
    """

    def __init__(self, directory: Path, *, requests_per_minute: int | None = None, keeps_tables: bool = False) -> None:
        self.directory = directory
        self.answers = Answers(directory, keeps_tables=keeps_tables)
        self.answers.throttle.requests_per_minute = requests_per_minute
        self._port = 0
        self._server: _Server | None = None
        self._thread = threading.Thread()
        self.start()

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def tables_url(self) -> str:
        """The open folder of the cache tables."""
        return f"{self.url}/tables"

    @property
    def data_url(self) -> str:
        """The data server, which wants Basic auth."""
        return f"{self.url}/public"

    def start(self) -> None:
        """Listen, unless it does already."""
        if self._server is not None:
            return
        self._server = _Server(self.answers, self._port)
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_S,), name="demo server", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections and break those that are open; tokens stay good. Safe to call twice."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._server.break_connections()
        self.answers.troubles.end()
        self._server = None

    def requests(self) -> list[Visit]:
        """The requests that came so far, oldest first."""
        return self.answers.visits.all()

    def fail(self, path: str = "/", status: int = 502) -> None:
        """From now on, answer requests below a path with an error page in HTML."""
        self.answers.troubles.begin(Trouble(path, status))

    def hold(self, path: str = "/") -> None:
        """From now on, do not answer requests below a path until `recover`."""
        self.answers.troubles.begin(Trouble(path, held=True))

    def recover(self) -> None:
        """End `fail` or `hold`; what was held is answered."""
        self.answers.troubles.end()

    def close(self) -> None:
        """Stop for good."""
        self.stop()


@dataclass(slots=True)
class RunningDemo(_Closed):
    """A demo server in a process of its own. It ends when closed, or with the process that started it.

    `url` is Alyx's, `tables_url` the open folder of its tables; the login is that of Alyx and of the data server.
    """

    url: str
    tables_url: str
    data_url: str
    user: str
    password: str = field(repr=False)
    _process: "subprocess.Popen[str]" = field(repr=False)

    def close(self) -> None:
        """End the server's process; safe to call twice."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def start_demo(directory: Path) -> RunningDemo:
    """Start a process that serves the archive in a directory. Raises `MountError` if it does not come up."""
    command = [sys.executable, "-m", "onefs.demo.server", str(directory)]
    # A session of its own: an interrupt at the terminal is for the one that started it, which then ends it.
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    with process.stdout:
        url = process.stdout.readline().strip()
    demo = RunningDemo(url, f"{url}/tables", f"{url}/public", USER, PASSWORD, process)
    if not url:
        demo.close()
        raise MountError(
            f"The demo's server for {directory} did not start (exit {process.returncode}).",
            "See what it says above, or in the log.",
        )
    return demo


def main(arguments: list[str] | None = None) -> int:
    """Serve an archive until standard input ends; the first line of output is the base URL."""
    parser = argparse.ArgumentParser(prog="python -m onefs.demo.server", description=main.__doc__)
    parser.add_argument("directory", type=Path, help="where the archive was made")
    directory = parser.parse_args(arguments).directory
    try:
        server = DemoServer(directory)
    except OnefsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    with server, suppress(KeyboardInterrupt, BrokenPipeError):  # whoever started it may have gone already
        os.write(sys.stdout.fileno(), f"{server.url}\n".encode())  # a stream would try again at the end
        while sys.stdin.buffer.read(1 << 16):
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
