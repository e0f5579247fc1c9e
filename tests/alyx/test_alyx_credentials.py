"""Logins that are kept, and those that ONE keeps."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from one.params import _key_from_url
from replay import PASSWORD, USER, MakeClient, Replay

from onefs.alyx import credentials, one_parameters
from onefs.alyx.credentials import Credentials, CredentialsFile
from onefs.errors import AccessRefusedError, CacheDamagedError, UsageError

ALYX = "https://alyx.example"
AWKWARD = 'qu"ote\\back\nline\ttab # ünï \x7f \x01 𝄞'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "onefs" / "credentials.toml"


def test_a_login_is_kept_by_host(path: Path) -> None:
    file = CredentialsFile(path)
    assert not file.get(ALYX)
    file.put(ALYX, Credentials("me", AWKWARD))
    file.put("http://127.0.0.1:8000/alyx/", Credentials("you", token="t"))
    again = CredentialsFile(path)
    assert again.get(f"{ALYX}/") == Credentials("me", AWKWARD)
    assert again.get("http://127.0.0.1:8000/alyx") == Credentials("you", token="t")
    again.forget(ALYX)
    assert not file.get(ALYX)
    assert file.get("http://127.0.0.1:8000/alyx")


def test_only_the_user_can_read_it(path: Path) -> None:
    CredentialsFile(path).put(ALYX, Credentials("me", "secret"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert sorted(entry.name for entry in path.parent.iterdir() if "secret" in entry.read_text()) == [path.name]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_open_to_others_is_refused(path: Path, mode: int) -> None:
    file = CredentialsFile(path)
    file.put(ALYX, Credentials("me", "secret"))
    path.chmod(mode)
    with pytest.raises(AccessRefusedError, match="open to other users") as caught:
        file.get(ALYX)
    assert caught.value.remedy == f"Run: chmod 600 {path}"


def test_a_file_that_is_no_toml_is_refused_without_showing_it(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("password = secret-without-quotes")
    path.chmod(0o600)
    with pytest.raises(UsageError, match="not the file of logins") as caught:
        CredentialsFile(path).get(ALYX)
    assert "secret-without-quotes" not in str(caught.value)
    path.write_text('title = "x"\n["alyx.example"]\nuser = 5\ntoken = "t"\n')
    assert CredentialsFile(path).get(ALYX) == Credentials(token="t")


def test_a_token_is_kept_beside_the_password_of_its_user(path: Path) -> None:
    file = CredentialsFile(path)
    file.put(ALYX, Credentials("me", "secret"))
    file.keep_token(ALYX, "me", "t1")
    assert file.get(ALYX) == Credentials("me", "secret", "t1")
    file.keep_token(ALYX, "you", "t2")
    assert file.get(ALYX) == Credentials("you", token="t2")


def test_a_login_that_cannot_be_kept_is_told_and_no_half_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CacheDamagedError, match="could not be kept"):
        CredentialsFile(tmp_path / "file" / "credentials.toml").put(ALYX, Credentials("me", "secret"))


def test_processes_that_write_at_once_lose_nothing(path: Path) -> None:
    program = """
import sys
from pathlib import Path
from onefs.alyx.credentials import Credentials, CredentialsFile
for number in range(15):
    CredentialsFile(Path(sys.argv[1])).put(f"https://{sys.argv[2]}{number}.example", Credentials(sys.argv[2], "pw"))
"""
    processes = [subprocess.Popen([sys.executable, "-c", program, str(path), who]) for who in "ab"]
    assert [process.wait(60) for process in processes] == [0, 0]
    file = CredentialsFile(path)
    assert all(file.get(f"https://{who}{number}.example").user == who for who in "ab" for number in range(15))


def test_the_token_of_a_login_serves_the_next_start(replay: Replay, make_client: MakeClient, path: Path) -> None:
    file = CredentialsFile(path)
    file.put(replay.url, Credentials(USER, PASSWORD))
    for _ in range(2):
        client = make_client(
            file.get(replay.url), keep_token=lambda token: file.keep_token(replay.url, USER, token), cache_rest=False
        )
        assert client.labs()
        client.close()
    assert len(replay.requests("/auth-token", "POST")) == 1


def test_a_token_that_cannot_be_kept_is_no_failure(
    replay: Replay, make_client: MakeClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    file = CredentialsFile(tmp_path / "file" / "credentials.toml")
    client = make_client(keep_token=lambda token: file.keep_token(replay.url, USER, token))
    assert client.labs()
    assert "could not be kept" in caplog.text
    assert "token-1" not in caplog.text


@pytest.fixture
def ones(tmp_path: Path) -> Path:
    """ONE's folder of parameters, as ONE writes it."""
    folder = tmp_path / ".one"
    folder.mkdir()
    caches = {"CLIENT_MAP": {"alyx.example": "/data/ONE/alyx.example"}, "DEFAULT": "alyx.example"}
    (folder / ".caches").write_text(json.dumps(caches))
    known = {
        "ALYX_URL": ALYX,
        "ALYX_LOGIN": "her",
        "HTTP_DATA_SERVER": "https://data.example/public",
        "HTTP_DATA_SERVER_LOGIN": "iblmember",
        "HTTP_DATA_SERVER_PWD": "files-secret",
        "TOKEN": {"her": {"token": "her-token"}, "him": {"token": "his-token"}},
    }
    (folder / ".alyx.example").write_text(json.dumps(known))
    return folder


def test_ones_parameters_are_read_and_never_written(ones: Path, path: Path) -> None:
    before = {entry: (entry.read_bytes(), entry.stat().st_mtime_ns) for entry in ones.iterdir()}
    parameters = one_parameters.read(ALYX, ones)
    assert parameters is not None
    assert (parameters.user, parameters.token, parameters.password) == ("her", "her-token", "")
    assert (parameters.data_url, parameters.data_user) == ("https://data.example/public", "iblmember")
    assert parameters.data_password == "files-secret"
    assert parameters.cache_dir == Path("/data/ONE/alyx.example")
    assert "her-token" not in repr(parameters) and "files-secret" not in repr(parameters)
    assert one_parameters.default_database(ones) == ALYX
    assert credentials.find(ALYX, path, ones) == Credentials("her", token="her-token")
    assert {entry: (entry.read_bytes(), entry.stat().st_mtime_ns) for entry in ones.iterdir()} == before


def test_our_own_login_comes_first(ones: Path, path: Path) -> None:
    CredentialsFile(path).put(ALYX, Credentials("me", "secret"))
    assert credentials.find(ALYX, path, ones) == Credentials("me", "secret")
    assert not credentials.find("https://other.example", path, ones)


def test_another_users_token_is_not_taken(ones: Path, path: Path) -> None:
    CredentialsFile(path).put(ALYX, Credentials("me"))
    assert credentials.find(ALYX, path, ones) == Credentials("me")


@pytest.mark.parametrize("content", ["", "[]", "{", '{"TOKEN": 5}', '{"ALYX_LOGIN": null, "TOKEN": {"": 1}}'])
def test_odd_parameters_of_one_are_no_failure(ones: Path, path: Path, content: str) -> None:
    (ones / ".alyx.example").write_text(content)
    (ones / ".caches").write_text(content)
    assert not credentials.find(ALYX, path, ones)
    assert one_parameters.default_database(ones) == ""


@pytest.mark.parametrize(
    "url", ["https://Alyx.Example/", "http://localhost:8000", "https://a.b/alyx/x y", "alyx.example", "https://ﬁ.x"]
)
def test_databases_are_named_as_one_names_them(url: str) -> None:
    assert one_parameters.key_of(url) == _key_from_url(url)
