"""What HTTP adds to the contract: logins, connections kept, broken answers, proxies, and what messages may not hold."""

import base64
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import Fault, FaultServer, Nginx, free_port, raw_server
from waiting import PATIENCE_S

from onefs.errors import (
    AccessRefusedError,
    BrokenAnswerError,
    CacheDamagedError,
    MissingOnServerError,
    OfflineError,
    OnefsError,
    OverloadedError,
    TimedOutError,
    UnreachableError,
    UsageError,
)
from onefs.suspends import SuspendWatch
from onefs.transports.base import Location, Login
from onefs.transports.http import HttpTransport

DATA = bytes(range(256)) * 40
LOGIN = Login("mouse", "cheese")


@pytest.fixture
def transport() -> Iterator[HttpTransport]:
    transport = HttpTransport(connect_timeout_s=PATIENCE_S, read_timeout_s=PATIENCE_S, max_connections=64)
    yield transport
    transport.close()


@pytest.fixture
def impatient() -> Iterator[HttpTransport]:
    transport = HttpTransport(connect_timeout_s=PATIENCE_S, read_timeout_s=0.2, max_connections=4)
    yield transport
    transport.close()


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        server.put("/x", DATA)
        yield server


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    root = tmp_path / "root"
    root.mkdir()
    (root / "x").write_bytes(DATA)
    with Nginx(root, LOGIN.user, LOGIN.password) as nginx:
        yield nginx


def read(transport: HttpTransport, url: str, start: int = 0, edition: str = "", login: Login | None = None) -> bytes:
    with transport.open(Location(url, login), start, edition) as body:
        assert body.start in (0, start)
        return b"".join(body.chunks)


def test_login_is_sent_with_the_first_request(transport: HttpTransport, nginx: Nginx) -> None:
    assert read(transport, f"{nginx.url}/x", login=LOGIN) == DATA
    assert [request.status for request in nginx.access_log(at_least=1)] == [200]


def test_login_beyond_ascii(transport: HttpTransport, server: FaultServer) -> None:
    read(transport, f"{server.url}/x", login=Login("müs", "käse€"))
    token = server.headers("/x")[0]["authorization"].removeprefix("Basic ")
    assert base64.b64decode(token).decode() == "müs:käse€"


@pytest.mark.parametrize("login", [None, Login("mouse", "wrong-secret")])
def test_refused_login_is_told_without_the_password(
    transport: HttpTransport, nginx: Nginx, login: Login | None
) -> None:
    with pytest.raises(AccessRefusedError, match="401") as caught:
        read(transport, f"{nginx.url}/x?token=secret", login=login)
    assert "secret" not in str(caught.value)


def test_one_connection_serves_many_requests(transport: HttpTransport, nginx: Nginx) -> None:
    for _ in range(5):
        read(transport, f"{nginx.url}/x", login=LOGIN)
        read(transport, f"{nginx.url}/x", start=100, login=LOGIN)
        with pytest.raises(MissingOnServerError):
            read(transport, f"{nginx.url}/none", login=LOGIN)
    assert len({request.connection for request in nginx.access_log(at_least=15)}) == 1


def test_after_a_suspend_no_old_connection_is_used(nginx: Nginx) -> None:
    asleep_s = [100.0]
    suspends = SuspendWatch(lambda: asleep_s[0])
    http = HttpTransport(connect_timeout_s=5, read_timeout_s=30, max_connections=1, suspends=suspends)
    for slept_s in (0.0, 0.0, 3600.0, 0.0):
        asleep_s[0] += slept_s
        read(http, f"{nginx.url}/x", login=LOGIN)
    http.close()
    first, second, third, fourth = (request.connection for request in nginx.access_log(4))
    assert first == second != third == fourth


def test_leaving_early_does_not_read_the_rest(transport: HttpTransport, server: FaultServer) -> None:
    server.put("/big", bytes(64_000_000))
    with transport.open(Location(f"{server.url}/big")) as body:
        next(body.chunks)
    assert read(transport, f"{server.url}/x") == DATA
    assert server.bytes_sent("/big") < 60_000_000


def test_identity_encoding_is_asked_for(transport: HttpTransport, server: FaultServer) -> None:
    read(transport, f"{server.url}/x")
    assert server.headers("/x")[0]["accept-encoding"] == "identity"


def test_netrc_is_not_consulted(
    transport: HttpTransport, server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    read(transport, f"{server.url}/x")
    assert "authorization" not in server.headers("/x")[0]


def test_body_without_length(transport: HttpTransport, server: FaultServer) -> None:
    server.fault("/x", Fault(chunked=True))
    with transport.open(Location(f"{server.url}/x")) as body:
        assert body.total_bytes is None
        assert b"".join(body.chunks) == DATA


@pytest.mark.parametrize("chunked", [False, True])
def test_short_body(transport: HttpTransport, server: FaultServer, chunked: bool) -> None:
    server.fault("/x", Fault(cut_after=1000, chunked=chunked))
    with pytest.raises(BrokenAnswerError, match="ended after 1000 of"):
        read(transport, f"{server.url}/x")


def test_short_rest(transport: HttpTransport, server: FaultServer) -> None:
    server.fault("/x", Fault(cut_after=1000))
    with pytest.raises(BrokenAnswerError, match=f"ended after 1500 of {len(DATA)} bytes"):
        read(transport, f"{server.url}/x", start=500)


def test_connection_reset(transport: HttpTransport, server: FaultServer) -> None:
    server.fault("/x", Fault(reset_after=1000))
    with pytest.raises(UnreachableError, match="broke off"):
        read(transport, f"{server.url}/x")


def test_range_ignored_by_the_server(transport: HttpTransport, server: FaultServer) -> None:
    server.fault("/x", Fault(ignore_range=True))
    with transport.open(Location(f"{server.url}/x"), 500, '"1"') as body:
        assert body.start == 0
        assert b"".join(body.chunks) == DATA


@pytest.mark.parametrize("told", ["bytes 0-9/" + "9" * 5000, "bytes 0-9/-5", "bytes 0-3,5-9/20", "bytes 9-0/20", ""])
def test_a_range_that_makes_no_sense(transport: HttpTransport, told: str) -> None:
    said = f"HTTP/1.1 206 Partial Content\r\nContent-Range: {told}\r\nContent-Length: 9\r\n\r\nxxxxxxxxx"
    with (
        raw_server(said.encode()) as url,
        pytest.raises(BrokenAnswerError, match="another range"),
        transport.open(Location(f"{url}/x"), 0, "", 9),
    ):
        """The answer is refused."""


@pytest.mark.parametrize("shift", [-7, 7])
def test_another_range_than_asked_for(transport: HttpTransport, server: FaultServer, shift: int) -> None:
    server.fault("/x", Fault(shift_range=shift))
    with pytest.raises(BrokenAnswerError, match="another range"):
        read(transport, f"{server.url}/x", start=500)


def test_a_changed_edition_is_asked_for_with_if_range(transport: HttpTransport, server: FaultServer) -> None:
    server.put("/x", DATA[::-1])
    with transport.open(Location(f"{server.url}/x"), 500, '"1"') as body:
        assert (body.start, body.edition) == (0, '"2"')
        assert b"".join(body.chunks) == DATA[::-1]
    assert server.headers("/x")[0]["if-range"] == '"1"'


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BrokenAnswerError),
        (401, AccessRefusedError),
        (403, AccessRefusedError),
        (404, MissingOnServerError),
        (410, MissingOnServerError),
        (429, OverloadedError),
        (500, BrokenAnswerError),
        (503, OverloadedError),
        (599, BrokenAnswerError),
    ],
)
def test_statuses(transport: HttpTransport, server: FaultServer, status: int, kind: type[OnefsError]) -> None:
    server.fault("/x", Fault(status=status))
    with pytest.raises(OnefsError, match=str(status)) as caught:
        read(transport, f"{server.url}/x?signature=secret")
    assert type(caught.value) is kind
    assert "secret" not in str(caught.value)


def test_stall_before_the_answer(impatient: HttpTransport, server: FaultServer) -> None:
    server.fault("/x", Fault(stall_before_headers=True))
    with pytest.raises(TimedOutError, match=r"did not answer within 0\.2 s"):
        read(impatient, f"{server.url}/x")


def test_stall_on_a_connection_that_was_used_before(impatient: HttpTransport, server: FaultServer) -> None:
    read(impatient, f"{server.url}/x")
    server.fault("/x", Fault(stall_before_headers=True))
    with pytest.raises(TimedOutError, match=r"did not answer within 0\.2 s"):
        read(impatient, f"{server.url}/x")


def test_stall_in_the_body(impatient: HttpTransport, server: FaultServer) -> None:
    server.fault("/x", Fault(stall_after=1000))
    with pytest.raises(TimedOutError, match="stopped sending after 1000 bytes"):
        read(impatient, f"{server.url}/x")


def test_pieces_come_as_they_arrive(transport: HttpTransport, server: FaultServer) -> None:
    server.fault("/x", Fault(stall_after=1000))
    with transport.open(Location(f"{server.url}/x")) as body:
        got = next(body.chunks)
        assert got
        assert DATA[:1000].startswith(got)
        server.release()
        assert got + b"".join(body.chunks) == DATA


def test_nobody_listens(transport: HttpTransport) -> None:
    with pytest.raises(UnreachableError, match="cannot be reached: connection refused"):
        read(transport, f"http://127.0.0.1:{free_port()}/x?signature=secret")


def test_unknown_host(transport: HttpTransport) -> None:
    with pytest.raises(UnreachableError, match="its name is not known"):
        read(transport, "http://no-such-host.invalid/x")


@pytest.mark.parametrize("url", ["http://[::1/x", "http:///x", "https://ho st/x"])
def test_addresses_that_mean_nothing(transport: HttpTransport, url: str) -> None:
    with pytest.raises(OnefsError):
        read(transport, url)


def test_plain_http_where_tls_was_expected(transport: HttpTransport, server: FaultServer) -> None:
    with pytest.raises(BrokenAnswerError, match=r"127\..*does not answer in TLS"):
        read(transport, server.url.replace("http:", "https:") + "/x")


def test_a_restarted_server_is_found_again(transport: HttpTransport, server: FaultServer) -> None:
    read(transport, f"{server.url}/x")
    server.stop()
    with pytest.raises(UnreachableError):
        read(transport, f"{server.url}/x")
    server.start()
    assert read(transport, f"{server.url}/x") == DATA


def test_login_does_not_follow_to_another_server(transport: HttpTransport, server: FaultServer) -> None:
    with FaultServer() as other:
        other.put("/y", b"moved")
        server.fault("/x", Fault(redirect=f"{other.url}/y"))
        server.fault("/z", Fault(redirect=f"{other.url.replace('127.0.0.1', 'localhost')}/y"))
        assert read(transport, f"{server.url}/x", login=LOGIN) == b"moved"
        assert read(transport, f"{server.url}/z", login=LOGIN) == b"moved"
        assert all("authorization" not in headers for headers in other.headers("/y"))
        assert transport.requests_sent == server.requests() + other.requests() == 4


def test_login_follows_on_the_same_server(transport: HttpTransport, server: FaultServer) -> None:
    server.fault("/from", Fault(redirect="/x"))
    assert read(transport, f"{server.url}/from", login=LOGIN) == DATA
    assert "authorization" in server.headers("/x")[0]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://[", "http://127.0.0.1:99999/"])
def test_a_redirection_to_what_is_no_web_server(transport: HttpTransport, server: FaultServer, target: str) -> None:
    server.fault("/x", Fault(redirect=target))
    with pytest.raises(BrokenAnswerError, match="cannot be used"):
        read(transport, f"{server.url}/x")


def test_endless_redirection(transport: HttpTransport, server: FaultServer) -> None:
    server.fault("/x", Fault(redirect=f"{server.url}/x"))
    with pytest.raises(BrokenAnswerError, match="redirects"):
        read(transport, f"{server.url}/x")


def test_proxy_setting(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    proxy = server.url.replace("http://", "http://cat:secret@")
    transport = HttpTransport(connect_timeout_s=PATIENCE_S, read_timeout_s=PATIENCE_S, max_connections=4, proxy=proxy)
    assert read(transport, "http://data.example/x") == DATA
    headers = server.headers("/x")[0]
    assert headers["host"] == "data.example"
    assert base64.b64decode(headers["proxy-authorization"].removeprefix("Basic ")) == b"cat:secret"


def test_proxy_variables(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    transport = HttpTransport(connect_timeout_s=PATIENCE_S, read_timeout_s=PATIENCE_S, max_connections=4)
    assert read(transport, "http://data.example/x") == DATA
    with FaultServer() as direct:
        direct.put("/x", b"direct")
        assert read(transport, f"{direct.url}/x") == b"direct"


def test_proxy_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    proxy = f"http://cat:secret@127.0.0.1:{free_port()}"
    transport = HttpTransport(connect_timeout_s=PATIENCE_S, read_timeout_s=PATIENCE_S, max_connections=4, proxy=proxy)
    with pytest.raises(UnreachableError, match="proxy") as caught:
        read(transport, "http://data.example/x")
    assert "secret" not in str(caught.value)


def test_closing_wakes_a_stalled_reader(transport: HttpTransport, server: FaultServer) -> None:
    server.fault("/x", Fault(stall_after=1000))
    begun, errors = threading.Event(), []

    def stall() -> None:
        try:
            with transport.open(Location(f"{server.url}/x")) as body:
                for _ in body.chunks:
                    begun.set()
        except OnefsError as error:
            errors.append(error)

    thread = threading.Thread(target=stall)
    thread.start()
    begun.wait()
    transport.close()
    thread.join(timeout=PATIENCE_S)
    assert errors
    with pytest.raises(OfflineError, match="ending"):
        read(transport, f"{server.url}/x")


def through(proxy: str) -> HttpTransport:
    return HttpTransport(connect_timeout_s=PATIENCE_S, read_timeout_s=PATIENCE_S, max_connections=4, proxy=proxy)


def test_proxy_login_with_escapes(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    transport = through(server.url.replace("http://", "http://c%40t:p%3A%C3%A4@"))
    with pytest.raises(MissingOnServerError):
        read(transport, "http://data.example.org/y")
    sent = server.headers()[0]["proxy-authorization"].removeprefix("Basic ")
    assert base64.b64decode(sent).decode() == "c@t:p:ä"
    transport.close()


@pytest.mark.parametrize("proxy", ["socks5://cat:secret@host:1", "http://[::1", "http://host:port"])
def test_proxy_that_means_nothing_is_no_fault_of_the_server(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="proxy") as caught:
        read(through(proxy), "http://data.example.org/y")
    assert "--proxy" in caught.value.remedy
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("text", [None, "no certificate"])
def test_certificates_that_are_none(
    transport: HttpTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str | None
) -> None:
    if text is not None:
        (tmp_path / "bundle.pem").write_text(text)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv(name, str(tmp_path / "bundle.pem"))
    with pytest.raises(UsageError, match=r"bundle\.pem cannot be used") as caught:
        read(transport, "https://data.example.org/y")
    assert name in caught.value.remedy


def test_no_descriptors_left(transport: HttpTransport, server: FaultServer) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(CacheDamagedError, match="too many open files") as caught:
            read(transport, f"{server.url}/x")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "ulimit" in caught.value.remedy
    assert read(transport, f"{server.url}/x") == DATA


@pytest.mark.parametrize(
    ("encoding", "url", "is_refused"),
    [
        ("gzip", "/a.npy", True),
        ("br", "/a.npy?x=.gz", True),
        ("gzip", "/a.csv", True),
        ("identity", "/a.npy", False),
        ("x-gzip", "/a.csv.gz?signature=1", False),
    ],
)
def test_other_encodings_than_asked_for(transport: HttpTransport, encoding: str, url: str, is_refused: bool) -> None:
    said = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: 3\r\n\r\nabc"
    with raw_server(said.encode()) as server:
        if is_refused:
            with pytest.raises(BrokenAnswerError, match=encoding):
                read(transport, server + url)
        else:
            assert read(transport, server + url) == b"abc"
