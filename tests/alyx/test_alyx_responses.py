"""Responses that are kept: when they are used, for whom, and that no damage to them is ever fatal."""

import logging
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path
from uuid import UUID

import pytest
from replay import PASSWORD, USER, MakeClient, Replay, Reply, json_reply, recorded_reply

from onefs.alyx.client import AlyxClient
from onefs.alyx.connection import Connection
from onefs.alyx.credentials import Credentials
from onefs.alyx.responses import FILE_NAME, ResponseCache
from onefs.alyx.waiting import Clock
from onefs.errors import OnefsError, TimedOutError, UnknownRecordError, UnreachableError
from onefs.outages import noting_stale_answers

DAY_S = 86400.0


class Now:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.s = 1_800_000_000.0
        self.clock = Clock(now_s=lambda: self.s)


def counted(replay: Replay, path: str = "/labs") -> int:
    return len(replay.requests(path))


def test_a_response_is_good_for_a_day(replay: Replay, make_client: MakeClient) -> None:
    now = Now()
    client = make_client(clock=now.clock)
    first = client.labs()
    now.s += DAY_S - 10
    assert client.labs() == first
    assert counted(replay) == 1
    now.s += 20
    assert client.labs() == first
    assert counted(replay) == 2


def test_another_process_uses_what_was_kept(replay: Replay, make_client: MakeClient) -> None:
    make_client().labs()
    again = make_client()
    assert again.labs()
    assert counted(replay) == 1


def test_a_renewed_token_keeps_the_responses(replay: Replay, make_client: MakeClient) -> None:
    make_client().labs()
    replay.tokens.clear()
    client = make_client(Credentials(USER, PASSWORD, "outdated"))
    client.subjects()  # the token is rejected here
    client.labs()
    assert counted(replay) == 1


def test_users_do_not_see_each_others_responses(replay: Replay, make_client: MakeClient) -> None:
    replay.tokens |= {"hers", "his"}
    make_client(Credentials("her", token="hers")).labs()
    make_client(Credentials("him", token="his")).labs()
    make_client(Credentials(token="hers")).labs()
    make_client(Credentials(token="his")).labs()
    assert counted(replay) == 4


def test_servers_do_not_see_each_others_responses(replay: Replay, make_client: MakeClient) -> None:
    make_client().labs()
    with Replay() as other:
        other.put("/labs", [{"name": "otherlab"}])
        assert [lab.name for lab in make_client(base_url=other.url).labs()] == ["otherlab"]


def test_the_whole_query_counts(replay: Replay, client: AlyxClient) -> None:
    assert len(client.sessions()) == 13
    assert {session.lab for session in client.sessions(lab="mainenlab")} == {"mainenlab"}
    assert client.sessions(subject="nobody") == []


def test_no_cache_for_one_call(replay: Replay, client: AlyxClient) -> None:
    client.labs()
    replay.put("/labs", [{"name": "newlab"}])
    assert [lab.name for lab in client.labs(no_cache=True)] == ["newlab"]
    assert [lab.name for lab in client.labs()] == ["newlab"]


def test_no_cache_for_a_block_is_for_its_own_thread(replay: Replay, client: AlyxClient) -> None:
    client.labs()
    with client.no_cache():
        client.labs()
        assert counted(replay) == 2
        thread = threading.Thread(target=client.labs)
        thread.start()
        thread.join()
        assert counted(replay) == 2
    client.labs()
    assert counted(replay) == 2


def test_cache_rest_off_neither_reads_nor_writes(replay: Replay, make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client(cache_rest=False)
    client.labs()
    client.labs()
    assert counted(replay) == 2
    client.close()
    client = make_client()
    client.labs()
    assert counted(replay) == 3
    client.cache_rest = False
    client.labs()
    assert counted(replay) == 4


def test_without_a_folder_nothing_is_kept(replay: Replay, make_client: MakeClient) -> None:
    client = make_client(responses_dir=None)
    assert client.labs() == client.labs()
    assert counted(replay) == 2


def test_a_shorter_expiry_counts_for_what_is_kept(replay: Replay, client: AlyxClient) -> None:
    client.labs()
    client.default_expiry_s = 60.0
    client.labs()
    assert counted(replay) == 2


def test_clear(replay: Replay, client: AlyxClient) -> None:
    client.labs()
    client.clear_responses()
    client.labs()
    assert counted(replay) == 2


def test_expire(replay: Replay, make_client: MakeClient) -> None:
    client = make_client(retry_max_s=0.0)
    labs = client.labs()
    client.expire_responses()
    replay.put("/labs", [{"name": "newlab"}])
    assert [lab.name for lab in client.labs()] == [lab.name for lab in client.labs()] == ["newlab"]
    assert counted(replay) == 2
    client.expire_responses()
    replay.stop()
    assert [lab.name for lab in client.labs()] == ["newlab"] != [lab.name for lab in labs]


def test_what_was_asked_for_before_everything_expired_is_not_kept(
    replay: Replay, client: AlyxClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Connection.ask

    def asked(connection: Connection, *question: str, **how: str) -> bytes:
        answer = ask(connection, *question, **how)
        monkeypatch.undo()
        client.expire_responses()
        return answer

    monkeypatch.setattr(Connection, "ask", asked)
    client.labs()
    client.labs()
    assert counted(replay) == 2


def test_an_expired_response_serves_when_the_server_is_away(
    replay: Replay, make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    now = Now()
    replay.page = 5
    client = make_client(clock=now.clock, retry_max_s=0.0)
    sessions = client.sessions()
    now.s += 10 * DAY_S
    replay.script("/sessions", json_reply({}, 503))
    assert client.sessions() == sessions
    assert "An earlier answer to sessions is used" in caplog.text
    assert counted(replay, "/sessions") == 4
    replay.stop()
    assert client.sessions() == sessions
    with pytest.raises(UnreachableError):
        client.sessions(no_cache=True)
    with pytest.raises(UnreachableError):
        client.repositories()


def test_a_silent_server_costs_one_time_out_though_kept_responses_are_served(
    replay: Replay, make_client: MakeClient
) -> None:
    now = Now()
    client = make_client(clock=now.clock)
    before = client.labs(), client.subjects(), client.repositories()
    now.s += 2 * DAY_S
    replay.stop()
    with socket.create_server(("127.0.0.1", int(replay.host.partition(":")[2]))):
        again = make_client(clock=now.clock, read_timeout_s=0.2)
        with noting_stale_answers() as freshness:
            assert (again.labs(), again.subjects(), again.repositories()) == before
        assert again.requests_sent == 1
    assert isinstance(freshness.outage, TimedOutError)
    assert isinstance(again.outage, TimedOutError)
    now.s -= 2 * DAY_S
    with noting_stale_answers() as freshness:
        assert again.labs() == before[0]
    assert freshness.outage is None, "what has not expired is as good as new"


def test_a_refusal_is_not_hidden_by_an_expired_response(replay: Replay, make_client: MakeClient) -> None:
    now = Now()
    client = make_client(clock=now.clock)
    client.labs()
    now.s += 2 * DAY_S
    for reply in (recorded_reply("files_patch_public_403"), recorded_reply("sessions_list_bad_django")):
        replay.script("/labs", reply)
        with pytest.raises(OnefsError):
            client.labs()


def test_errors_are_never_kept(replay: Replay, client: AlyxClient) -> None:
    dataset_id = UUID("5764df4f-baf5-4eca-80db-33b724a9c735")
    replay.script(f"/datasets/{dataset_id}", recorded_reply("data_repository_read_404"))
    with pytest.raises(UnknownRecordError):
        client.dataset(dataset_id)
    assert client.dataset(dataset_id).id == dataset_id
    replay.script("/labs", Reply(200, b"not JSON"))
    with pytest.raises(OnefsError):
        client.labs()
    assert client.labs()


def test_what_the_tables_are_is_always_asked_anew(replay: Replay, client: AlyxClient) -> None:
    assert client.tables_info() == client.tables_info()
    assert counted(replay, "/cache/info/") == 2
    replay.stop()
    with pytest.raises(UnreachableError):
        client.tables_info()


def test_a_rejected_token_does_not_drop_the_responses(replay: Replay, make_client: MakeClient) -> None:
    make_client().labs()
    replay.tokens.clear()
    stranger = make_client(Credentials(USER, token="outdated"))
    with pytest.raises(OnefsError):
        stranger.subjects()
    assert stranger.labs()
    assert counted(replay) == 1


def test_only_the_user_can_read_what_is_kept(client: AlyxClient, tmp_path: Path) -> None:
    client.labs()
    folder = tmp_path / "responses"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("damage", [b"", b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_damaged_file_is_dropped(
    replay: Replay, make_client: MakeClient, tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client()
    client.labs()
    client.close()
    (tmp_path / "responses" / FILE_NAME).write_bytes(damage)
    client = make_client()
    assert client.labs()
    assert client.labs()
    assert counted(replay) == 2
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_damage_while_the_file_is_open(replay: Replay, make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client()
    client.labs()
    with (tmp_path / "responses" / FILE_NAME).open("r+b") as stream:
        stream.write(b"\xff" * 40_000)
    assert client.labs()
    assert client.subjects()
    assert make_client().labs()


def test_a_folder_that_goes_away_is_made_anew(replay: Replay, client: AlyxClient, tmp_path: Path) -> None:
    client.labs()
    for path in (tmp_path / "responses").iterdir():
        path.unlink()
    (tmp_path / "responses").rmdir()
    assert client.subjects()
    assert client.repositories()


@pytest.mark.parametrize("entry", ["[1", "[]", "17", '["soon", {}]', b"\xff\xfe"])
def test_a_damaged_entry_is_dropped(
    replay: Replay,
    make_client: MakeClient,
    tmp_path: Path,
    entry: str | bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = make_client()
    client.labs()
    client.close()
    database = sqlite3.connect(tmp_path / "responses" / FILE_NAME)
    with database:
        database.execute("UPDATE responses SET value = ?", (entry,))
    database.close()
    client = make_client()
    assert client.labs()
    assert client.labs()
    assert counted(replay) == 2
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_table_of_another_kind_is_dropped(replay: Replay, make_client: MakeClient, tmp_path: Path) -> None:
    (tmp_path / "responses").mkdir()
    database = sqlite3.connect(tmp_path / "responses" / FILE_NAME)
    with database:
        database.execute("CREATE TABLE responses (other TEXT)")
    database.close()
    client = make_client()
    assert client.labs() == client.labs()
    assert counted(replay) == 1


def test_a_folder_that_cannot_be_made_is_no_failure(
    replay: Replay, make_client: MakeClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    client = make_client(responses_dir=tmp_path / "file" / "responses")
    assert client.labs() == client.labs()
    assert counted(replay) == 2
    assert caplog.text.count("are not kept") == 1


def test_a_file_locked_by_another_process_is_no_failure(
    replay: Replay, make_client: MakeClient, tmp_path: Path
) -> None:
    client = make_client()
    client.labs()
    other = sqlite3.connect(tmp_path / "responses" / FILE_NAME, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert client.subjects()
    other.execute("ROLLBACK")
    other.close()
    client.labs()
    assert counted(replay) == 1


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from onefs.alyx.responses import ResponseCache
cache = ResponseCache(Path(sys.argv[1]))
for number in range(60):
    key = f"{sys.argv[2]}{number:04x}"
    while cache.get(key) is None:  # not kept where another process had the lock for long
        cache.put(key, {"number": number}, 2_000_000_000)
cache.close()
"""
    folder = tmp_path / "responses"
    processes = [subprocess.Popen([sys.executable, "-c", program, str(folder), who]) for who in "abc"]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    cache = ResponseCache(folder)
    kept = [cache.get(f"{who}{number:04x}") for who in "abc" for number in range(60)]
    cache.close()
    assert [found.content["number"] for found in kept if found] == [*range(60)] * 3


def test_what_expired_long_ago_goes_when_a_client_ends(replay: Replay, make_client: MakeClient, tmp_path: Path) -> None:
    now = Now()
    client = make_client(clock=now.clock)
    client.labs()
    now.s += 100 * DAY_S
    client.subjects()
    client.close()
    database = sqlite3.connect(tmp_path / "responses" / FILE_NAME)
    assert database.execute("SELECT count(*) FROM responses").fetchone() == (1,)
    database.close()
