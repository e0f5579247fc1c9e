"""Logging in to Alyx: names, tokens, and what is never shown."""

import io
import logging
import netrc
import traceback
from pathlib import Path

import pytest
from replay import PASSWORD, USER, MakeClient, Replay, Reply, json_reply, recorded_reply

from onefs.alyx.client import AlyxClient
from onefs.alyx.credentials import Credentials
from onefs.errors import AccessRefusedError, BrokenAnswerError, UnreachableError, UsageError


def test_one_login_serves_all_questions(replay: Replay, client: AlyxClient) -> None:
    client.labs()
    client.subjects()
    logins = replay.requests("/auth-token", "POST")
    assert len(logins) == 1
    assert [asked.headers["authorization"] for asked in replay.requests("/labs")] == ["Token token-1"]


def test_a_given_token_is_used_as_it_is(replay: Replay, make_client: MakeClient) -> None:
    replay.tokens.add("given")
    assert make_client(Credentials(token="given")).labs()
    assert not replay.requests("/auth-token", "POST")


def test_a_rejected_token_leads_to_one_login_and_the_question_is_answered(
    replay: Replay, make_client: MakeClient
) -> None:
    told: list[str] = []
    client = make_client(Credentials(USER, PASSWORD, token="old"), keep_token=told.append)
    assert [lab.name for lab in client.labs()] == ["cortexlab", "mainenlab"]
    assert told == ["token-1"]
    assert len(replay.requests("/labs")) == 2


def test_a_token_rejected_again_after_login_is_told_and_not_tried_for_ever(replay: Replay, client: AlyxClient) -> None:
    replay.script("/labs", *[recorded_reply("invalid_token")] * 5)
    with pytest.raises(AccessRefusedError, match="Invalid token"):
        client.labs()
    assert len(replay.requests("/labs")) == 2


def test_a_rejected_token_without_a_password_asks_for_a_login(make_client: MakeClient, replay: Replay) -> None:
    with pytest.raises(AccessRefusedError, match="does not accept the token") as caught:
        make_client(Credentials(USER, token="old")).labs()
    assert "onefs setup" in caught.value.remedy
    assert not replay.requests("/auth-token", "POST")


def test_a_wrong_password_is_said_as_that(make_client: MakeClient, replay: Replay) -> None:
    with pytest.raises(AccessRefusedError, match=f"refuses the login of {USER}: wrong name or password"):
        make_client(Credentials(USER, "nope-nope")).labs()


def test_no_credentials_say_how_to_give_them_and_ask_nothing(make_client: MakeClient, replay: Replay) -> None:
    with pytest.raises(AccessRefusedError, match="none was given") as caught:
        make_client(Credentials()).labs()
    assert "onefs setup" in caught.value.remedy
    assert not replay.asked


def test_nothing_is_opened_before_the_first_question(make_client: MakeClient, replay: Replay, tmp_path: Path) -> None:
    client = make_client(base_url="http://192.0.2.1:9")  # an address that nobody has
    assert repr(client) == "AlyxClient('http://192.0.2.1:9')"
    client.close()
    assert not replay.asked
    assert not list(tmp_path.iterdir())


def test_a_permission_that_is_missing_is_told_in_the_servers_words(replay: Replay, client: AlyxClient) -> None:
    replay.script("/labs", recorded_reply("files_patch_public_403"))
    with pytest.raises(AccessRefusedError, match="do not have permission"):
        client.labs()
    assert len(replay.requests("/auth-token", "POST")) == 1


def test_a_login_answered_without_a_token_is_no_login(replay: Replay, client: AlyxClient) -> None:
    replay.script("/auth-token", json_reply({"hello": "world"}))
    with pytest.raises(BrokenAnswerError, match="without a token"):
        client.labs()


def test_no_secret_is_ever_shown(
    replay: Replay, make_client: MakeClient, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    credentials = Credentials(USER, PASSWORD, "hush-hush-token")
    replay.tokens.add("hush-hush-token")
    client = make_client(credentials)
    client.labs()
    echo = json_reply({"detail": f"hush-hush-token {PASSWORD} http://a:pw@x.example/y?Signature=signed"}, status=500)
    replay.script("/data-repository", echo)
    with pytest.raises(BrokenAnswerError) as caught:
        client.repositories()
    replay.stop()
    with pytest.raises(UnreachableError, match=r"cannot be reached|broke off") as unreachable:
        client.subjects()
    told = "".join(traceback.format_exception(caught.value)) + "".join(traceback.format_exception(unreachable.value))
    client.close()
    kept = b"".join(path.read_bytes() for path in (tmp_path / "responses").iterdir())
    for secret in ("hush-hush-token", PASSWORD, "Signature", "a:pw"):
        assert secret not in told + caplog.text + repr(credentials) + repr(client)
        assert secret.encode() not in kept


def test_a_login_in_netrc_does_not_take_the_tokens_place(
    replay: Replay, client: AlyxClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine 127.0.0.1 login other password other\n")
    file.chmod(0o600)
    assert netrc.netrc(str(file)).hosts
    monkeypatch.setenv("NETRC", str(file))
    assert client.labs()
    assert "authorization" not in replay.requests("/auth-token", "POST")[0].headers


@pytest.mark.parametrize(
    "address", ["", "alyx.example", "ftp://alyx.example", "https://", "https://a:b@alyx.example", "https://x:99999"]
)
def test_an_address_that_cannot_be_used_is_refused_at_once(make_client: MakeClient, address: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_client(base_url=address)
    assert "a:b" not in str(caught.value)
    assert caught.value.remedy


def test_the_zip_of_tables_comes_with_the_token(replay: Replay, client: AlyxClient) -> None:
    content = bytes(range(256)) * 4096
    replay.put("/cache.zip", Reply(200, content, {"Content-Type": "application/zip"}))
    stream = io.BytesIO()
    assert client.write_tables(stream) == len(content)
    assert stream.getvalue() == content
