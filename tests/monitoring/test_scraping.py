"""The HTTP server of the metrics: what it answers, to whom, and that nobody keeps it busy."""

import gzip
import http.client
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry, Gauge, make_wsgi_app
from servers import free_port
from waiting import PATIENCE_S, wait_until

from onefs.errors import MountError
from onefs.monitoring.scraping import Server, is_loopback, serving
from onefs.setting_values import Address

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    Gauge("one", "One.", registry=made).set(1)
    return made


@pytest.fixture
def address() -> Address:
    return Address("127.0.0.1", free_port())


def get(address: Address, path: str = "/metrics", method: str = "GET", **headers: str) -> tuple[int, str, bytes]:
    """Status, content type and body."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read()
    finally:
        connection.close()


def test_both_formats_are_served_at_one_path(registry: CollectorRegistry, address: Address) -> None:
    with serving(registry, address):
        status, kind, body = get(address)
        assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert b"\none 1.0\n" in body
        status, kind, body = get(address, Accept=OPENMETRICS)
        assert (status, kind.partition(";")[0]) == (200, "application/openmetrics-text")
        assert body.endswith(b"\n# EOF\n")
        assert gzip.decompress(get(address, **{"Accept-Encoding": "gzip"})[2]).endswith(b"\none 1.0\n")
        assert [get(address, path)[0] for path in ("/", "/metrics/", "/favicon.ico", "/../metrics")] == [404] * 4
        assert get(address, method="POST")[0] == 405
        assert get(address, "/metrics?name[]=other")[2] == get(address)[2]


def test_it_ends_with_the_block(registry: CollectorRegistry, address: Address) -> None:
    with serving(registry, address):
        assert get(address)[0] == 200
    with pytest.raises(ConnectionRefusedError):
        get(address)
    with serving(registry, address):
        assert get(address)[0] == 200


def test_a_port_that_is_taken_is_told(registry: CollectorRegistry, address: Address) -> None:
    with (
        serving(registry, address),
        pytest.raises(MountError, match=rf"cannot be served at {address}: Address already in use\. Choose another"),
        serving(registry, address),
    ):
        pass


def test_a_host_that_is_not_known_is_told(registry: CollectorRegistry) -> None:
    address = Address("no-such-host.invalid", 9100)
    with pytest.raises(MountError, match=r"at no-such-host\.invalid:9100: "), serving(registry, address):
        pass


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_an_address_that_the_network_will_bring_is_waited_for(
    registry: CollectorRegistry, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(registry, Address(host, free_port())):
        assert f"This machine does not have the address {host} yet" in caplog.text


def test_metrics_are_served_over_ipv6(registry: CollectorRegistry) -> None:
    address = Address("::1", free_port())
    with serving(registry, address):
        assert get(address)[0] == 200


def test_a_warning_says_who_can_read_them(
    registry: CollectorRegistry, address: Address, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        with serving(registry, address):
            pass
        assert not caplog.messages
        with serving(registry, Address("0.0.0.0", address.port)):
            assert get(address)[0] == 200
    assert f"Whoever reaches 0.0.0.0:{address.port} can read the metrics" in caplog.messages[0]
    assert [is_loopback(host) for host in ("127.9.9.9", "::1", "0.0.0.0", "::", "10.0.0.1", "fe80::1%eth0")] == [
        True,
        True,
        *[False] * 4,
    ]


@contextmanager
def running(registry: CollectorRegistry, address: Address, longest_s: float) -> Iterator[Server]:
    with Server(address, make_wsgi_app(registry), most_connections=2, longest_s=longest_s) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def silent(address: Address) -> socket.socket:
    """A connection of a client that has begun a request and never ends it."""
    connection = socket.create_connection((address.host, address.port), timeout=PATIENCE_S)
    connection.sendall(b"GET /metrics HTTP/1.1\r\nX-Slow: ")
    return connection


def test_more_connections_than_may_be_are_closed_at_once(registry: CollectorRegistry, address: Address) -> None:
    with (
        running(registry, address, longest_s=PATIENCE_S),
        silent(address) as first,
        silent(address),
        silent(address) as third,
    ):
        assert is_closed(third)
        first.close()
        wait_until(lambda: answers(address), "there is room for another")


def test_nobody_keeps_a_connection_for_long(registry: CollectorRegistry, address: Address) -> None:
    with running(registry, address, longest_s=0.0), silent(address) as first, silent(address) as second:
        assert is_closed(first)
        assert is_closed(second)
        wait_until(lambda: answers(address), "they have made room")


def test_a_connection_that_cannot_be_had_is_not_asked_for_all_the_time(
    registry: CollectorRegistry, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []
    monkeypatch.setattr("onefs.monitoring.scraping.time.sleep", rests.append)
    with Server(address, make_wsgi_app(registry)) as server:
        server.socket.setblocking(False)  # so that there is none
        with pytest.raises(BlockingIOError):
            server.get_request()
    assert len(rests) == 1


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side closes the connection, with whatever last words."""
    try:
        while connection.recv(1000):
            pass
    except ConnectionResetError:
        pass
    return True


def answers(address: Address) -> bool:
    try:
        return get(address)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def test_a_broken_request_is_not_logged_as_an_error(
    registry: CollectorRegistry, address: Address, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[Callable[[socket.socket], object]] = [
        lambda client: client.sendall(b"\0\xff\r\n\r\n"),
        lambda client: client.sendall(b"GET /metrics\r\n"),
        lambda client: client.sendall(b"GET " + b"a" * 70_000),
        lambda client: client.close(),
    ]
    with serving(registry, address):
        for say in said:
            with socket.create_connection((address.host, address.port), timeout=PATIENCE_S) as client:
                say(client)
                if client.fileno() >= 0:
                    client.shutdown(socket.SHUT_WR)
                    is_closed(client)
        wait_until(lambda: answers(address), "it answers others")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert capfd.readouterr() == ("", "")
