"""Encrypted connections: a certificate that nobody vouches for is refused, one that the site trusts is not."""

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from servers import PEM, Fault, FaultServer, raw_server
from waiting import PATIENCE_S

from onefs.errors import BrokenAnswerError, UnreachableError
from onefs.transports.base import Location
from onefs.transports.http import HttpTransport


class _Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing is printed."""


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that breaks off the handshake is what one test is about."""


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "certificate.pem"
    path.write_text(PEM)
    return path


@pytest.fixture
def url(certificate: Path) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with _QuietServer(("127.0.0.1", 0), _Hello) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"https://127.0.0.1:{server.server_address[1]}/x"
        server.shutdown()
        thread.join()


def read(url: str) -> bytes:
    transport = HttpTransport(connect_timeout_s=PATIENCE_S, read_timeout_s=PATIENCE_S, max_connections=2)
    try:
        with transport.open(Location(url)) as body:
            return b"".join(body.chunks)
    finally:
        transport.close()


def test_unknown_certificate(url: str) -> None:
    with pytest.raises(UnreachableError, match="cannot be trusted: self-signed certificate"):
        read(url)


def test_certificate_that_the_site_trusts(url: str, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    assert read(url) == b"hello"


def test_a_redirection_into_tls_trusts_what_the_site_trusts(
    url: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultServer() as plain:
        plain.fault("/y", Fault(redirect=url))
        with pytest.raises(UnreachableError, match="cannot be trusted"):
            read(f"{plain.url}/y")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert read(f"{plain.url}/y") == b"hello"


def test_a_redirection_out_of_tls_is_refused(url: str, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with FaultServer() as plain:
        plain.put("/tables", b"forged")
        with pytest.raises(BrokenAnswerError, match="without TLS") as told:
            read(f"{url.removesuffix('/x')}/to/{plain.url}/tables?signature=secret")
        assert "secret" not in str(told.value)
        assert not plain.requests()


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
@pytest.mark.parametrize("is_encrypted", [False, True])
def test_a_reading_that_is_aborted_gives_no_further_byte_and_no_end(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, head: bytes, is_encrypted: bool
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    http = HttpTransport(connect_timeout_s=PATIENCE_S, read_timeout_s=PATIENCE_S, max_connections=1)
    said = head + b"spikes"
    with (
        raw_server(said, certificate if is_encrypted else None, stalls=True) as server,
        http.open(Location(f"{server}/a.npy")) as body,
    ):
        content = b""
        while content != b"spikes":
            content += next(body.chunks)
        aborting = threading.Timer(0.05, body.abort)
        aborting.start()
        with pytest.raises(UnreachableError, match="broken off after 6 bytes"):
            next(body.chunks)
        aborting.join()
    http.close()
