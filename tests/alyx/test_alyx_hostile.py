"""What an Alyx that means harm, or something else at its address, comes to: a sentence, and no secret told."""

import json
import logging
from pathlib import Path

import pytest
from replay import PASSWORD, USER, MakeClient, Replay, Reply, json_reply
from waiting import PATIENCE_S

from onefs.alyx import sending
from onefs.alyx.client import AlyxClient
from onefs.alyx.credentials import Credentials, CredentialsFile, find
from onefs.alyx.one_parameters import key_of
from onefs.alyx.recognition import is_alyx
from onefs.errors import AccessRefusedError, BrokenAnswerError, OnefsError, UnreachableError, UsageError

HALF_A_LETTER = "\ud800"
NESTED = b"[" * 200_000
TIMES = {"connect_timeout_s": PATIENCE_S, "read_timeout_s": PATIENCE_S, "retry_max_s": 1.0}


@pytest.mark.parametrize(
    "retry_after",
    ["86400", "9" * 4000, "Mon, 01 Jan 99999999999999 00:00:00 GMT", "Mon, 01 Jan 9999 00:00:00 +99999999999"],
)
def test_nobody_waits_longer_than_is_allowed(replay: Replay, make_client: MakeClient, retry_after: str) -> None:
    client = make_client(retry_max_s=0.1)
    replay.script("/labs", json_reply({"detail": "Later."}, 429, Retry_After=retry_after))
    with pytest.raises(UnreachableError, match="too busy"):
        client.labs()


@pytest.mark.parametrize("target", ["http://[", "file:///etc/passwd", "https://127.0.0.1:1/labs", "//elsewhere/"])
def test_a_redirection_to_elsewhere_is_not_followed(replay: Replay, client: AlyxClient, target: str) -> None:
    replay.script("/labs", Reply(302, headers={"Location": target}))
    with pytest.raises(BrokenAnswerError, match="sends its callers on"):
        client.labs()


def test_no_login_is_sent_where_all_are_sent_on_to_https(replay: Replay) -> None:
    replay.script("/auth-token", Reply(301, headers={"Location": f"https://{replay.host}/auth-token"}))
    with pytest.raises(BrokenAnswerError, match=rf"on to https://{replay.host}.*Give the address"):
        is_alyx(replay.url, **TIMES)


@pytest.mark.parametrize("following", ["http://[", "/labs?name=%ED%A0%80"])
def test_pages_that_lead_nowhere(replay: Replay, client: AlyxClient, following: str) -> None:
    replay.script("/labs", json_reply({"count": 2, "next": following, "results": [{"name": "lab"}]}))
    with pytest.raises(BrokenAnswerError, match="where labs goes on"):
        client.labs()


@pytest.mark.parametrize("status", [200, 400, 403, 405, 500])
def test_json_that_is_nested_without_end(replay: Replay, make_client: MakeClient, status: int) -> None:
    replay.script("/labs", Reply(status, NESTED))
    with pytest.raises(OnefsError):
        make_client().labs()
    replay.script("/auth-token", Reply(status, NESTED, {"Allow": "POST"}))
    with pytest.raises(OnefsError):
        make_client().repositories()
    replay.script("/auth-token", Reply(status, NESTED, {"Allow": "POST"}))
    assert not is_alyx(replay.url, **TIMES)


@pytest.mark.parametrize("status", [200, 404])
def test_an_answer_without_end(
    replay: Replay, client: AlyxClient, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(sending, "LONGEST_ANSWER_BYTES", 1 << 20)
    replay.script("/labs", Reply(status, b'["' + b"x" * (2 << 20) + b'"]'))
    with pytest.raises(BrokenAnswerError, match="more than 1 MB"):
        client.labs()
    assert client.repositories()


@pytest.mark.parametrize("token", ["a\r\nX-Evil: 1", "secret\nline", "secret€", " secret"])
def test_what_can_be_no_token_is_neither_sent_nor_told(
    replay: Replay, make_client: MakeClient, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(AccessRefusedError, match=r"is no token.*onefs setup") as told:
        make_client(Credentials(token=token)).labs()
    assert "secret" not in str(told.value) + caplog.text
    replay.script("/auth-token", json_reply({"token": token}))
    with pytest.raises(BrokenAnswerError, match="without a token"):
        make_client().labs()
    assert not replay.requests("/labs")


@pytest.mark.parametrize("host", ["a..b", "a" * 70 + ".org", "ü" + "x" * 70])
def test_a_host_that_can_be_none(make_client: MakeClient, host: str) -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        make_client(base_url=f"http://{host}").labs()
    with pytest.raises(UsageError, match="cannot be used"):
        is_alyx(f"http://{host}", **TIMES)


def test_words_that_would_move_the_cursor_are_not_passed_on(replay: Replay, client: AlyxClient) -> None:
    replay.script("/labs", json_reply({"detail": "Sorry\x1b[2J\x07\u202e, no."}, 403))
    with pytest.raises(AccessRefusedError) as told:
        client.labs()
    assert "Sorry" in told.value.reason
    assert told.value.reason.isprintable()


def test_halves_of_letters_do_no_harm(replay: Replay, client: AlyxClient) -> None:
    bucket = {"bucket_name": "bucket", "region_name": HALF_A_LETTER}
    broken = {
        "name": "r",
        "data_url": f"https://d.example/{HALF_A_LETTER}",
        "globus_path": HALF_A_LETTER,
        "json": bucket,
    }
    replay.script("/data-repository", json_reply([broken, {**broken, "name": HALF_A_LETTER}]))
    (found,) = client.repositories()
    assert (found.name, found.data_url, found.path, found.region) == ("r", "", "", "")
    replay.script("/labs", json_reply([{"name": "lab", "repositories": [HALF_A_LETTER, "r"]}]))
    assert client.labs()[0].repositories == ("r",)


def test_a_login_kept_for_https_is_not_sent_for_all_to_read(tmp_path: Path) -> None:
    kept = CredentialsFile(tmp_path / "credentials.toml")
    kept.put("https://alyx.example", Credentials(USER, PASSWORD))
    parameters = {"ALYX_URL": "https://other.example", "ALYX_LOGIN": USER, "ALYX_PWD": PASSWORD}
    (tmp_path / f".{key_of('https://other.example')}").write_text(json.dumps(parameters))
    for host in ("alyx.example", "other.example"):
        assert find(f"https://{host}", tmp_path / "credentials.toml", tmp_path)
        assert not find(f"http://{host}", tmp_path / "credentials.toml", tmp_path)
    kept.put("http://alyx.example", Credentials("other", "word"))
    assert kept.get("https://alyx.example").user == USER
    assert kept.get("http://alyx.example").user == "other"
