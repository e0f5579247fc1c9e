"""The demo's server as tests use it: who asked what, failures on demand, a stop and a start on the same port."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from alyx_user import AlyxUser
from waiting import wait_until

from onefs.demo.server import DemoServer


@pytest.fixture
def own(archive: Path) -> Iterator[DemoServer]:
    """A server that no other test uses."""
    with DemoServer(archive) as running:
        yield running


def test_requests_are_told_with_who_asked(own: DemoServer) -> None:
    client = AlyxUser(own.url, "member")
    with client.http:
        client.get("labs?name=northlab")
        client.http.get(f"{own.data_url}/none", auth=("demo", "demo"), headers={"Authorization": ""})
    seen = [(each.method, each.path, each.query, each.user) for each in own.requests()]
    assert seen == [
        ("POST", "/auth-token", "", ""),
        ("GET", "/labs", "name=northlab", "member"),
        ("GET", "/public/none", "", "demo"),
    ]
    times = [each.time_s for each in own.requests()]
    assert times == sorted(times)
    assert client.http.headers["Authorization"].split()[1] not in repr(own.requests())


def test_it_fails_where_it_is_told_to_until_it_recovers(own: DemoServer) -> None:
    client = AlyxUser(own.url)
    with client.http:
        own.fail("/sessions", 503)
        answer = client.get("sessions")
        assert (answer.status_code, answer.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
        assert client.get("labs").ok
        own.recover()
        assert client.get("sessions").ok


def test_what_is_held_is_answered_when_it_recovers(own: DemoServer) -> None:
    client = AlyxUser(own.url)
    answers: list[int] = []
    with client.http:
        own.hold("/labs")
        asking = threading.Thread(target=lambda: answers.append(client.get("labs").status_code))
        asking.start()
        wait_until(lambda: own.requests()[-1].path == "/labs", "it is asked")
        assert answers == []
        own.recover()
        asking.join()
    assert answers == [200]


def test_it_stops_and_starts_on_the_same_port(own: DemoServer) -> None:
    client = AlyxUser(own.url)
    with client.http:
        assert client.get("labs").ok
        own.stop()
        own.stop()
        with pytest.raises(requests.ConnectionError):
            client.get("labs")
        own.start()
        assert client.get("labs").ok, "the connection is new, the token is good"


def test_what_waits_is_broken_off_by_a_stop(own: DemoServer) -> None:
    client = AlyxUser(own.url)
    failures: list[Exception] = []

    def ask() -> None:
        try:
            client.get("labs").json()
        except requests.RequestException as error:
            failures.append(error)

    with client.http:
        asking = threading.Thread(target=ask)
        own.hold("/labs")
        asking.start()
        wait_until(lambda: own.requests()[-1].path == "/labs", "it is asked")
        own.stop()
        asking.join()
        assert len(failures) == 1
