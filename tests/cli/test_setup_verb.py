"""`onefs setup`: by flags and by answers, logins tried before anything is saved, and mounting by name."""

import json
import os
import stat
from pathlib import Path

import pytest
from alyx_archive import AlyxArchive
from servers import Nginx
from setting_up_homes import Home

from onefs.demo.server import DemoServer

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def archive(tmp_path: Path) -> AlyxArchive:
    archive = AlyxArchive(tmp_path / "archive")
    archive.put("lab/Subjects/mouse/2024-01-02/001/alf/a.times.npy", b"x")
    archive.publish()
    return archive


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_by_flags_alone(server: DemoServer, archive: AlyxArchive, home: Home, tmp_path: Path) -> None:
    created = archive.publish()
    done = home.onefs(
        "setup", "mine", "--url", server.url, "--alyx-user", "demo", "--alyx-password-file", home.password,
        "--cache-dir", tmp_path / "my cache", "--no-input",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert created in done.stdout
    assert "onefs mount mine" in done.stdout
    assert home.saved() == ["credentials.toml", "mine.toml"]
    assert (
        home.config / "mine.toml"
    ).read_text() == f'source = "{server.url}"\ncache_dir = "{tmp_path / "my cache"}"\n'
    for name in home.saved():
        assert stat.S_IMODE((home.config / name).stat().st_mode) == 0o600
    assert 'password = "demo"' in home.credentials.read_text()
    assert "token = " in home.credentials.read_text(), "so that the next start need not log in"
    assert not (tmp_path / "my cache").exists()


def test_by_answers(server: DemoServer, home: Home) -> None:
    done = home.answering("setup", answers=[server.url, "demo", "demo", "", "", ""])
    assert done.returncode == 0, done.stderr
    assert "onefs mount 127.0.0.1" in done.stdout
    assert home.saved() == ["127.0.0.1.toml", "credentials.toml"]
    assert (home.config / "127.0.0.1.toml").read_text() == f'source = "{server.url}"\n'


def test_a_folder_on_this_machine_needs_no_name(home: Home, tmp_path: Path) -> None:
    refused = home.onefs("setup", "mine", "--url", tmp_path, "--no-input")
    assert refused.returncode == 2
    assert f"Run: onefs mount {tmp_path} MOUNTPOINT" in refused.stderr
    assert home.saved() == []


QUESTIONS = [
    ("Address of the database", "--url"),
    ("User name", "--alyx-user"),
    ("Password", "--alyx-password-file"),
    ("User name for the data server", "--data-user"),
    ("Cache directory", "--cache-dir"),
    ("Name for it", "NAME"),
]


@pytest.mark.parametrize("given", range(len(QUESTIONS)))
def test_with_nobody_to_answer_it_says_what_is_missing(server: DemoServer, home: Home, given: int) -> None:
    done = home.answering("setup", answers=[server.url, "demo", "demo", "", "", ""][:given])
    what, flag = QUESTIONS[given]
    assert done.returncode == 2
    assert f"onefs: {what} is not given, and standard input is at its end. Give {flag};" in done.stderr
    assert home.saved() == []


def test_a_wrong_password_is_told_and_nothing_is_saved(server: DemoServer, home: Home) -> None:
    home.password.write_text("wrong-word\n")
    done = home.onefs(
        "setup", "mine", "--url", server.url, "--user", "demo", "--password-file", home.password, "--no-input"
    )
    assert done.returncode == 1
    assert "wrong name or password" in done.stderr
    assert "Give the right login: --alyx-user and --alyx-password-file" in done.stderr
    assert "onefs setup" not in done.stderr
    assert "wrong-word" not in done.stdout + done.stderr
    assert home.saved() == []
    done = home.answering("setup", "mine", answers=[server.url, "demo", "wrong-word", "", ""])
    assert done.returncode == 1
    assert "wrong-word" not in done.stdout + done.stderr
    assert home.saved() == []


def test_a_token_in_place_of_a_password(server: DemoServer, home: Home, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("no-such-token\n")
    (tmp_path / "token").chmod(0o600)
    flags = ("setup", "mine", "--url", server.url, "--token-file", tmp_path / "token", "--no-input")
    refused = home.onefs(*flags)
    assert refused.returncode == 1
    assert "does not accept the token" in refused.stderr
    assert home.saved() == []
    first = ("setup", "mine", "--url", server.url, "--user", "demo", "--password-file", home.password, "--no-input")
    assert home.onefs(*first).returncode == 0
    token = home.credentials.read_text().split('token = "')[1].split('"')[0]
    done = home.onefs("setup", "mine", "--url", server.url, "--no-input", ONEFS_ALYX_TOKEN=token)
    assert done.returncode == 0, done.stderr
    assert "password" not in home.credentials.read_text().partition("\n")[2]


def test_a_second_time_changes_what_was_saved(server: DemoServer, home: Home, tmp_path: Path) -> None:
    home.onefs("setup", "mine", "--url", server.url, "--user", "demo", "--password-file", home.password, "--no-input")
    with (home.config / "mine.toml").open("a") as file:
        file.write('# by hand\nqc = "PASS"\n')
    done = home.answering("setup", "mine", answers=["", "", "", "", str(tmp_path / "elsewhere")])
    assert done.returncode == 0, done.stderr
    lines = (home.config / "mine.toml").read_text().splitlines()
    assert lines == [f'source = "{server.url}"', f'cache_dir = "{tmp_path / "elsewhere"}"', "# by hand", 'qc = "PASS"']


def test_a_name_and_its_login_are_forgotten(server: DemoServer, home: Home) -> None:
    assert home.setup(server.url, "--data-user", "demo", "--data-password-file", home.password).returncode == 0
    other = ("setup", "other", "--url", server.url, "--user", "demo", "--password-file", home.password, "--no-input")
    assert home.onefs(*other).returncode == 0
    done = home.onefs("setup", "--forget", "mine")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"The login of {server.url} is forgotten, which other had, too." in done.stdout
    assert "The name mine is forgotten" in done.stdout
    assert home.saved() == ["credentials.toml", "other.toml"]
    for secret in ("demo", "token", "127.0.0.1"):
        assert secret not in home.credentials.read_text()
    again = home.onefs("setup", "--forget", "mine")
    assert again.returncode == 2
    assert "'mine' is no name of a source. Give one of those that were set up (other)." in again.stderr
    assert "Write: onefs setup --forget NAME" in home.onefs("setup", "--forget").stderr
    assert "No login of openalyx was kept." in home.onefs("setup", "--forget", "openalyx").stdout


@pytest.mark.parametrize("name", ["config", "credentials", "../config", "mine/../config"])
def test_only_a_name_is_forgotten_and_no_other_file(home: Home, name: str) -> None:
    home.config.mkdir(parents=True)
    files = [home.config / "config.toml", home.config / "credentials.toml", home.config.parent / "config.toml"]
    for file in files:
        file.write_text("")
    done = home.onefs("setup", "--forget", name)
    assert done.returncode == 2
    assert f"'{name}' is no name of a source." in done.stderr
    assert all(file.exists() for file in files)


def test_what_is_no_database_is_told(home: Home, tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    with Nginx(tmp_path / "www") as server:
        done = home.onefs("setup", "mine", "--url", server.url, "--no-input")
    assert done.returncode == 1
    assert "no Alyx database" in done.stderr
    assert home.onefs("setup", "mine", "--url", NOBODY, "--no-input").returncode == 1
    assert home.saved() == []


def test_without_a_login_it_says_how_to_give_one(server: DemoServer, home: Home) -> None:
    done = home.onefs("setup", "mine", "--url", server.url, "--no-input")
    assert done.returncode == 2
    assert "--alyx-password-file" in done.stderr
    assert home.onefs("setup", "--no-input").returncode == 2
    assert home.onefs("setup", "mine", "--url", server.url, "--user", "demo", "--no-input").returncode == 2
    assert home.saved() == []


@pytest.mark.parametrize("name", ["demo", "openalyx", "config", "credentials", "a/b", "..", "-x", "a b", ""])
def test_what_is_a_source_already_or_no_word_is_no_name(server: DemoServer, home: Home, name: str) -> None:
    flags = ("--url", server.url, "--user", "demo", "--password-file", home.password, "--no-input")
    done = home.onefs("setup", *flags, "--", name)
    assert done.returncode == (0 if name == "" else 2), done.stdout + done.stderr


def test_a_folder_of_tables_gets_a_name_without_a_login(server: DemoServer, home: Home) -> None:
    done = home.onefs("setup", "tables", "--url", server.tables_url, "--no-input")
    assert done.returncode == 0, done.stderr
    assert home.saved() == ["tables.toml"]


def test_a_login_in_the_address_is_refused_and_not_repeated(home: Home) -> None:
    done = home.onefs("setup", "mine", "--url", "https://me:secret@alyx.example", "--no-input")
    assert done.returncode == 2
    assert "secret" not in done.stderr


def test_a_name_is_mounted_with_its_own_settings(server: DemoServer, home: Home, tmp_path: Path) -> None:
    home.config.mkdir(parents=True)
    (home.config / "config.toml").write_text('qc = "PASS"\nlog = "debug"\n')
    (home.config / "mine.toml").write_text(
        f'source = "{server.tables_url}"\nqc = "WARNING"\nverify = "strict"\n'
        f'data_url = "{server.data_url}"\ndata_user = "demo"\ncache_dir = "{tmp_path / "cache"}"\n'
    )
    (tmp_path / "mnt").mkdir()
    environment = {"ONEFS_DATA_PASSWORD": "demo", "ONEFS_VERIFY": "off"}
    done = home.onefs("mount", "mine", tmp_path / "mnt", "--log", "warning", **environment)
    assert done.returncode == 0, done.stderr
    try:
        settings = (tmp_path / "mnt" / ".onefs" / "control").read_text()
        for line in ("qc: WARNING", "verify: off", "log: warning", f"cache_dir: {tmp_path / 'cache'}"):
            assert line in settings.splitlines()
        status = json.loads((tmp_path / "mnt" / ".onefs" / "status.json").read_text())
        assert status["source"] == server.tables_url
        assert os.listdir(tmp_path / "mnt" / "lab" / "Subjects") == ["mouse"]
    finally:
        assert home.onefs("umount", "--lazy", tmp_path / "mnt").returncode == 0


def test_a_name_that_is_not_known_gets_the_nearest(home: Home, tmp_path: Path) -> None:
    home.config.mkdir(parents=True)
    (home.config / "cortexlab.toml").write_text('source = "https://alyx.example"\n')
    (home.config / "empty.toml").write_text('qc = "PASS"\n')
    (tmp_path / "mnt").mkdir()
    done = home.onefs("mount", "cortexlap", tmp_path / "mnt")
    assert done.returncode == 1
    assert "Did you mean cortexlab?" in done.stderr
    assert "Did you mean openalyx?" in home.onefs("mount", "openalix", tmp_path / "mnt").stderr
    done = home.onefs("mount", "empty", tmp_path / "mnt")
    assert done.returncode == 2
    assert "does not say what to mount" in done.stderr
