"""HTTP connections that read answers plainly: the head into a dict, the body as it comes."""

import contextlib
import re
import socket
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse, IncompleteRead, LineTooLong, RemoteDisconnected
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

BUFFER_BYTES = 1 << 15
"""So that a small file comes with its head in one piece."""
LONGEST_LINE_BYTES = 1 << 16
MOST_HEADERS = 256
MOST_HEADS = 10
"""How many preliminary answers (100 Continue, 103 Early Hints) may come, and the one that is meant."""
HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*\r?\n")
CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")
LENGTH = re.compile(r"[0-9]{1,18}")


class NoHttpError(HTTPException):
    """The answer breaks the rules of HTTP. Its text says how."""


class Headers(dict[str, str]):
    """Headers of an answer by name in lower case; those sent several times joined with commas."""

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        """The value of a header, "" if there is none."""
        return super().get(name.lower(), default)


class Response(HTTPResponse):
    """An answer. `length` is how many bytes of the body are still to come, None if that is not known."""

    headers: Headers  # type: ignore[assignment]
    version_string = "HTTP"
    retries: object = None

    def __init__(self, sock: socket.socket) -> None:
        self.fp = sock.makefile("rb", BUFFER_BYTES)  # type: ignore[assignment]
        self.debuglevel = 0
        self._method = "GET"
        self._sock = sock
        self.was_shut_down = False
        """Whether the end of the body is not the server's."""
        self._pool: HTTPConnectionPool | None = None  # this and the next are set by the pool
        self._connection: HTTPConnection | None = None

    def begin(self) -> None:
        """Read the head. Raises NoHttpError or another HTTPException if it is none, or OSError."""
        for _ in range(MOST_HEADS):
            version, status, reason = self._read_status()  # type: ignore[attr-defined]
            if version not in ("HTTP/1.0", "HTTP/1.1"):
                raise NoHttpError(f"it speaks {version[:20]!r}")
            headers = self._read_headers()
            if status >= HTTPStatus.OK:
                break
        else:
            raise NoHttpError("it sends preliminary answers without end")
        self.code = self.status = status
        self.reason = reason.strip()
        self.version = 10 if version == "HTTP/1.0" else 11
        self.headers = self.msg = headers  # type: ignore[assignment]
        self.chunked = self._is_chunked()
        self.chunk_left: int | None = None
        self.length = self._body_length()
        self.will_close = self._check_close() or (not self.chunked and self.length is None)  # type: ignore[attr-defined]

    @property
    def length_remaining(self) -> int | None:
        """How many bytes of the body are still to come, None if that is not known."""
        return self.length

    @property
    def is_finished(self) -> bool:
        """Whether the body was read to its end, so that the connection can be used again."""
        return self.length == 0 or self.isclosed()

    def release(self) -> None:
        """Give the connection back; closed if the body was not read to its end."""
        pool, connection = self._pool, self._connection
        self._connection = None
        if connection is None or pool is None:
            return
        if not self.is_finished:
            connection.close()
        self.close()
        pool._put_conn(connection)

    def shutdown(self) -> None:
        """Break the connection off: who reads from it gets an error. Safe to call from any thread."""
        if self._connection is None:
            return
        self.was_shut_down = True
        sock = getattr(self._sock, "socket", self._sock)  # the inner one of TLS within TLS
        with contextlib.suppress(OSError):
            # Not the method of a TLS socket, after which that one reads on without decrypting.
            socket.socket.shutdown(sock, socket.SHUT_RD)

    def get_redirect_location(self) -> str:
        """The address of a redirection, "" if the answer is none."""
        is_redirection = self.status in (301, 302, 303, 307, 308)
        return self.headers.get("location") if is_redirection else ""

    def _get_chunk_left(self) -> int | None:
        """How many bytes of the current chunk are still to come; None after the last."""
        if self.chunk_left == 0:
            end = self.fp.read(2)
            if len(end) < 2:
                raise IncompleteRead(b"")
            if end != b"\r\n":
                raise NoHttpError(f"it sends {end!r} after a chunk of the body")
        if not self.chunk_left:
            self.chunk_left = self._read_chunk_size()
            if not self.chunk_left:
                self._read_and_discard_trailer()  # type: ignore[attr-defined]
                self._close_conn()  # type: ignore[attr-defined]
                self.chunk_left = None
        return self.chunk_left

    def _read_chunk_size(self) -> int:
        size = self.fp.readline(LONGEST_LINE_BYTES + 1).partition(b";")[0].strip()
        if not size:
            raise IncompleteRead(b"")
        if not CHUNK_SIZE.fullmatch(size):
            raise NoHttpError(f"it says that a chunk of the body has {size[:20]!r} bytes")
        return int(size, 16)

    def _read_headers(self) -> Headers:
        headers = Headers()
        read_line, fullmatch = self.fp.readline, HEADER.fullmatch
        for _ in range(MOST_HEADERS):
            line = read_line(LONGEST_LINE_BYTES + 1)
            if line in (b"\r\n", b"\n"):
                return headers
            match = fullmatch(line)
            if match is None:
                raise _head_error(line)
            name, value = match[1].decode("ascii").lower(), match[2].decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        raise NoHttpError(f"its head has more than {MOST_HEADERS} lines")

    def _is_chunked(self) -> bool:
        coding = self.headers.get("transfer-encoding").lower()
        if coding not in ("", "identity", "chunked"):
            raise NoHttpError(f"it sends the body as {coding[:20]!r}, though not asked to")
        return coding == "chunked"

    def _body_length(self) -> int | None:
        if self.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            return 0
        said = {length.strip() for length in self.headers.get("content-length").split(",")}
        if self.chunked or said == {""}:
            return None
        length = said.pop()
        if said:
            raise NoHttpError("it names several lengths of one body")
        if not LENGTH.fullmatch(length):
            raise NoHttpError(f"it says that the body has {length[:20]!r} bytes")
        return int(length)


def _head_error(line: bytes) -> HTTPException:
    if len(line) > LONGEST_LINE_BYTES:
        return LineTooLong("header line")
    if not line.endswith(b"\n"):
        return RemoteDisconnected("The connection ended within the head of an answer")
    return NoHttpError(f"its head holds the line {line[:40]!r}")


class _Connection(HTTPConnection):
    """Sends a request in one piece, and reads the head of the answer as `Response`."""

    def request(  # type: ignore[override]
        self, method: str, url: str, headers: Mapping[str, str] | None = None, **_: object
    ) -> None:
        """Send a request without a body. `headers` are all that are sent."""
        self._set_timeout()
        lines = [f"{method} {url} HTTP/1.1", *[f"{name}: {value}" for name, value in (headers or {}).items()]]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def getresponse(self) -> Response:  # type: ignore[override]
        """Read the head of the answer."""
        self._set_timeout()
        response = Response(self.sock)
        try:
            response.begin()
        except BaseException:
            response.close()
            raise
        if response.will_close:
            self.close()
        return response

    def _set_timeout(self) -> None:
        if self.sock is not None and self.sock.gettimeout() != self.timeout:  # setting it is a system call
            self.sock.settimeout(self.timeout)


class _TlsConnection(_Connection, HTTPSConnection):
    pass


class Pool(HTTPConnectionPool):
    """Connections to one server."""

    ConnectionCls = _Connection  # type: ignore[assignment]

    def reuse(self, target: str, headers: Mapping[str, str], timeout_s: float | None) -> Response | None:
        """The answer to a request over an open connection; None if there is none. Raises HTTPException or OSError.

        It spares what `urlopen` does for connections that have to be made, and for retries.
        """
        connection: Any = self._get_conn()  # one of ours
        if connection.sock is None:
            self._put_conn(connection)
            return None
        connection.timeout = timeout_s
        try:
            connection.request("GET", target, headers)
            response: Response = connection.getresponse()
        except BaseException:
            connection.close()
            self._put_conn(connection)
            raise
        response._pool, response._connection = self, connection
        return response


class _TlsPool(Pool, HTTPSConnectionPool):
    ConnectionCls = _TlsConnection  # type: ignore[assignment]


POOLS_OF_SCHEMES = {"http": Pool, "https": _TlsPool}
