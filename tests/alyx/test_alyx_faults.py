"""What a busy, broken or absent Alyx comes to: waits, errors of ours, one sentence each."""

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from uuid import UUID

import pytest
from replay import USER, MakeClient, Replay, Reply, json_reply, recorded_reply
from waiting import PATIENCE_S

from onefs.alyx.client import AlyxClient
from onefs.alyx.credentials import Credentials
from onefs.alyx.waiting import Clock
from onefs.errors import (
    AccessRefusedError,
    BrokenAnswerError,
    OnefsError,
    TimedOutError,
    UnknownRecordError,
    UnreachableError,
    UsageError,
)
from onefs.outages import PAUSE_S, Outages, PassedOver

HTML = Reply(200, b"<html><body>Welcome to the hotel's network</body></html>", {"Content-Type": "text/html"})
NOON = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


class Waits:
    """A clock that notes the waits and does not wait."""

    def __init__(self, while_waiting: Callable[[], None] = lambda: None, jitter: float = 0.0) -> None:
        self.waited_s: list[float] = []
        self.clock = Clock(now_s=lambda: NOON, wait=self._wait, jitter=lambda: jitter)
        self._while_waiting = while_waiting

    def _wait(self, closing: threading.Event, seconds: float) -> bool:
        self.waited_s.append(seconds)
        self._while_waiting()
        return closing.is_set()


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_waited_for_as_it_says(replay: Replay, make_client: MakeClient, status: int) -> None:
    waits = Waits()
    replay.script("/labs", json_reply({}, status, Retry_After="7"), json_reply({}, status, Retry_After="3"))
    client = make_client(clock=waits.clock)
    assert client.labs()
    assert waits.waited_s == [7.0, 3.0]
    assert client.requests_sent == len(["the login", "refused", "refused", "answered"]) == len(replay.asked)
    assert client.labs()
    assert client.requests_sent == 4, "kept responses cost none"


def test_retry_after_may_be_a_date(replay: Replay, make_client: MakeClient) -> None:
    waits = Waits()
    replay.script("/labs", json_reply({}, 503, Retry_After="Fri, 15 Jan 2027 08:00:12 GMT"))
    assert make_client(clock=waits.clock).labs()
    assert waits.waited_s == [12.0]


@pytest.mark.parametrize(("limit_s", "waited_s"), [(60.0, 44.0), (42.0, 42.0), (40.0, 40.0)])
def test_clients_that_were_told_the_same_do_not_come_back_together(
    replay: Replay, make_client: MakeClient, limit_s: float, waited_s: float
) -> None:
    """They wait longer than they were told, never shorter, as far as their limit allows."""
    waits = Waits(jitter=1.0)
    replay.script("/labs", json_reply({}, 429, Retry_After="40"))
    assert make_client(clock=waits.clock, retry_max_s=limit_s).labs()
    assert waits.waited_s == [waited_s]


def test_without_retry_after_waits_grow(replay: Replay, make_client: MakeClient) -> None:
    waits = Waits(jitter=1.0)
    replay.script("/labs", *[json_reply({}, 503)] * 3, json_reply({}, 503, Retry_After="soon"))
    assert make_client(clock=waits.clock).labs()
    assert waits.waited_s == [1.0, 2.0, 4.0, 8.0]


def test_waits_end_at_their_limit_in_all(replay: Replay, make_client: MakeClient) -> None:
    waits = Waits()
    replay.script("/labs", *[json_reply({}, 429, Retry_After="0")] * 500)
    with pytest.raises(UnreachableError, match="too busy"):
        make_client(clock=waits.clock, retry_max_s=5.0).labs()
    assert sum(waits.waited_s) <= 5.0


def test_a_wait_longer_than_the_limit_is_not_begun(replay: Replay, make_client: MakeClient) -> None:
    waits = Waits()
    replay.script("/labs", recorded_reply("throttled_429"))
    with pytest.raises(UnreachableError, match="Expected available in 60 seconds") as caught:
        make_client(clock=waits.clock, retry_max_s=30.0).labs()
    assert caught.value.remedy
    assert not waits.waited_s


def test_a_busy_login_is_waited_for_too(replay: Replay, make_client: MakeClient) -> None:
    waits = Waits()
    replay.script("/auth-token", recorded_reply("throttled_429"))
    assert make_client(clock=waits.clock, retry_max_s=100.0).labs()
    assert waits.waited_s == [60.0]


def test_a_busy_server_is_asked_nothing_until_it_may(
    replay: Replay, make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    now_s = 0.0
    outages = Outages(lambda: now_s)
    replay.script("/labs", recorded_reply("throttled_429"))
    client = make_client(clock=Waits().clock, retry_max_s=30.0, outages=outages)
    with pytest.raises(UnreachableError, match="Expected available in 60 seconds"):
        client.labs()
    asked = client.requests_sent
    now_s = 2.0
    for question in (client.labs, client.subjects, client.tables_info):
        with pytest.raises(UnreachableError, match="too busy until 2027-01-15 08:00:58 UTC"):
            question()
    assert client.requests_sent == asked
    assert client.left_alone_s == 58
    told: list[PassedOver] = []
    waits = Waits(lambda: told.extend(outages.facts()))
    replay.tokens.add("known")
    patient = make_client(Credentials(USER, token="known"), clock=waits.clock, retry_max_s=100.0, outages=outages)
    assert patient.subjects()
    assert waits.waited_s == [58.0], "it has not asked to learn that"
    assert [(each.server, each.left_s, each.waiting) for each in told] == [
        (replay.host, 58, ("subjects?limit=1000",)),
    ]
    assert "too busy until 2027-01-15 08:00:58 UTC: subjects?limit=1000 waits." in caplog.text
    assert client.outage is None, "it has answered the other"
    assert client.labs()


def test_closing_ends_a_wait_at_once(replay: Replay, make_client: MakeClient) -> None:
    replay.script("/labs", json_reply({}, 503, Retry_After="3600"))
    client = make_client(retry_max_s=7200.0)
    failures: list[OnefsError] = []

    def ask() -> None:
        with pytest.raises(UnreachableError, match="onefs is ending") as caught:
            client.labs()
        failures.append(caught.value)

    thread = threading.Thread(target=ask)
    thread.start()
    while not replay.requests("/labs"):
        thread.join(0.01)
    client.close()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert failures


def test_a_connection_reset_once_is_not_noticed(replay: Replay, client: AlyxClient) -> None:
    client.subjects()
    replay.script("/labs", Reply(reset=True))
    assert client.labs()


@pytest.mark.parametrize(
    ("replies", "kind", "sentence"),
    [
        ([Reply(reset=True)] * 2, UnreachableError, "broke off the connection"),
        ([Reply(body=b'{"results": []}', cut=True)], UnreachableError, "broke off the connection"),
        ([HTML], BrokenAnswerError, "something other than JSON"),
        ([json_reply("words")], BrokenAnswerError, "something other than a list"),
        ([json_reply({"results": {}})], BrokenAnswerError, "something other than a list"),
        ([recorded_reply("unknown_endpoint_404")], BrokenAnswerError, "may be no Alyx database"),
        ([recorded_reply("sessions_list_bad_django")], BrokenAnswerError, "Cannot resolve keyword 'nofield'"),
        ([recorded_reply("sessions_list_bad_number")], UsageError, "number: Enter a number."),
        ([Reply(502, b"<html>Bad gateway</html>")], UnreachableError, r"labs.* \(status 502\)"),
        ([Reply(500, b"<html>Server Error</html>")], BrokenAnswerError, r"labs.* \(status 500\)"),
        ([Reply(418, b"tea")], BrokenAnswerError, "tea"),
        ([Reply(302, headers={"Location": "/labs"})] * 20, BrokenAnswerError, "in circles"),
    ],
)
def test_each_failure_is_one_sentence(
    replay: Replay, client: AlyxClient, replies: list[Reply], kind: type[OnefsError], sentence: str
) -> None:
    replay.script("/labs", *replies)
    with pytest.raises(kind, match=sentence) as caught:
        client.labs()
    assert caught.value.reason.startswith(replay.host)
    assert "\n" not in str(caught.value)


def test_a_record_that_alyx_does_not_have(client: AlyxClient) -> None:
    with pytest.raises(UnknownRecordError, match="No Dataset matches"):
        client.dataset(UUID("00000000-0000-4000-8000-000000000000"))
    with pytest.raises(UnknownRecordError, match=r"no tag named '\.\.'"):
        client.tables_info("..")


def test_a_server_that_is_not_there(make_client: MakeClient) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(UnreachableError, match=f"127.0.0.1:{port} cannot be reached"):
            make_client(base_url=f"http://127.0.0.1:{port}").labs()


def test_a_server_that_stays_silent(make_client: MakeClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = make_client(base_url=f"http://127.0.0.1:{silent.getsockname()[1]}", read_timeout_s=0.2)
        with pytest.raises(TimedOutError, match=r"did not answer within 0\.2 s"):
            client.labs()


def test_a_silent_server_costs_one_time_out(make_client: MakeClient) -> None:
    now_s = 0.0
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        client = make_client(base_url=url, read_timeout_s=0.2, outages=Outages(lambda: now_s))
        for question in (client.labs, client.subjects, client.labs):
            with pytest.raises(TimedOutError, match=r"did not answer within 0\.2 s"):
                question()
        assert client.requests_sent == 1
        now_s = PAUSE_S
        for question in (client.labs, client.subjects):
            with pytest.raises(TimedOutError):
                question()
        assert client.requests_sent == 2


def test_a_login_that_fails_fails_for_all_who_wait_for_it(make_client: MakeClient) -> None:
    """One after the other they would each wait for the time-out."""
    asking = threading.Semaphore(0)

    class Noting(Outages):
        def claim(self, server: str, pause_s: float | None = None) -> OnefsError | None:
            asking.release()
            return super().claim(server, pause_s)

    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(4) as pool:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        client = make_client(base_url=url, outages=Noting(), cache_rest=False)
        questions = [pool.submit(client.labs) for _ in range(4)]
        for _ in questions:
            assert asking.acquire(timeout=PATIENCE_S)
        while not all(question.done() for question in questions):
            silent.settimeout(0.1)
            with suppress(TimeoutError):
                silent.accept()[0].close()
        for question in questions:
            assert isinstance(question.exception(), UnreachableError)
        assert client.requests_sent == 1


@pytest.mark.parametrize("reply", ["unknown_endpoint_404", "files_patch_public_403", "sessions_list_bad_number"])
def test_a_server_that_answers_at_all_is_up(replay: Replay, client: AlyxClient, reply: str) -> None:
    replay.script("/subjects", recorded_reply(reply))
    with pytest.raises(OnefsError):
        client.subjects()
    assert client.outage is None
    assert client.labs()


def test_a_refused_login_is_not_sent_again_at_once(replay: Replay, make_client: MakeClient) -> None:
    client = make_client(Credentials(USER, "mistaken"))
    for question in (client.labs, client.subjects):
        with pytest.raises(AccessRefusedError, match="wrong name or password"):
            question()
    assert len(replay.requests("/auth-token", "POST")) == 1
    with pytest.raises(AccessRefusedError):
        client.tables_info()
    assert len(replay.requests("/auth-token", "POST")) == 2, "what is asked for explicitly is tried"


def test_the_token_never_leaves_for_another_host(replay: Replay, client: AlyxClient) -> None:
    with Replay() as other:
        replay.script("/labs", Reply(302, headers={"Location": f"{other.url}/labs"}))
        with pytest.raises(BrokenAnswerError, match=f"on to {other.url}"):
            client.labs()
        next_elsewhere = {"count": 3, "next": f"{other.url}/data-repository?offset=2", "results": [{"id": "x"}]}
        replay.script("/data-repository", json_reply(next_elsewhere))
        client.repositories()
        assert not other.asked
        assert replay.requests("/data-repository")[1].query == {"offset": "2"}


def test_a_redirection_on_the_same_host_is_followed(replay: Replay, client: AlyxClient) -> None:
    replay.script("/labs", Reply(301, headers={"Location": "/labs/"}))
    replay.script("/labs/", recorded_reply("labs_list"))
    assert client.labs()
    assert replay.requests("/labs/")[0].headers["authorization"] == "Token token-1"
    assert client.requests_sent == len(replay.asked)


def test_a_proxy_is_asked_in_the_servers_place(make_client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Replay() as proxy:
        client = make_client(base_url="http://alyx.example", proxy=proxy.host)
        assert client.labs()
        assert proxy.requests("/labs")[0].headers["host"] == "alyx.example"
