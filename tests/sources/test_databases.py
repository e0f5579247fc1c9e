"""Which login holds for a database: what wins, what is refused, and where new tokens are kept."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from alyx_archive import AlyxArchive

from onefs.alyx.credentials import Credentials, CredentialsFile, DataCredentials
from onefs.alyx.one_parameters import key_of
from onefs.demo.server import DemoServer
from onefs.errors import AccessRefusedError, UsageError
from onefs.settings import Settings
from onefs.sources.databases import database_of, open_database
from onefs.sources.names import OPENALYX_URL
from onefs.sources.repositories import DataLogin
from onefs.sources.source import Kind, resolve
from onefs.transports.base import Login

URL = "https://alyx.example"
pytestmark = pytest.mark.usefixtures("home")
FLAGS = Settings(alyx_user="flag", alyx_password="from flags")


@pytest.fixture
def kept(home: Path) -> CredentialsFile:
    return CredentialsFile(home / "config" / "onefs" / "credentials.toml")


@pytest.fixture
def alyx(home: Path) -> Iterator[DemoServer]:
    archive = AlyxArchive(home / "archive")
    archive.publish()
    with DemoServer(archive.directory) as server:
        yield server


def one_knows(home: Path, url: str, cache_dir: Path | None = None, **parameters: object) -> None:
    folder = home / "home" / ".one"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f".{key_of(url)}").write_text(json.dumps({"ALYX_URL": url, **parameters}))
    caches = {"CLIENT_MAP": {key_of(url): str(cache_dir)} if cache_dir else {}, "DEFAULT": key_of(url)}
    (folder / ".caches").write_text(json.dumps(caches))


def test_settings_over_the_url_over_the_file_over_one_over_nothing(home: Path, kept: CredentialsFile) -> None:
    inside = Login("inside", "from the URL")
    assert not database_of(URL, Settings()).credentials
    one_knows(home, URL, ALYX_LOGIN="one", ALYX_PWD="from ONE", TOKEN={"one": {"token": "t1"}})
    assert database_of(URL, Settings()).credentials == Credentials("one", "from ONE", "t1")
    kept.put(URL, Credentials("own", "from the file"))
    assert database_of(URL, Settings()).credentials == Credentials("own", "from the file")
    assert database_of(URL, Settings(), inside).credentials == Credentials("inside", "from the URL")
    assert database_of(URL, FLAGS, inside).credentials == Credentials("flag", "from flags")
    assert database_of(URL, Settings(alyx_token="t2")).credentials == Credentials(token="t2")


def test_only_a_login_from_the_file_has_its_tokens_kept_there(home: Path, kept: CredentialsFile) -> None:
    one_knows(home, URL, ALYX_LOGIN="one", ALYX_PWD="from ONE")
    assert not database_of(URL, Settings()).keeps_tokens
    kept.put(URL, Credentials("own", "from the file"))
    assert database_of(URL, Settings()).keeps_tokens
    assert not database_of(URL, FLAGS).keeps_tokens


def test_the_published_login_holds_where_nothing_else_is_kept(kept: CredentialsFile) -> None:
    assert database_of(OPENALYX_URL, Settings()).credentials == Credentials("intbrainlab", "international")
    kept.put(OPENALYX_URL, Credentials("me", "mine"))
    assert database_of(OPENALYX_URL, Settings()).credentials.user == "me"


def test_a_user_s_name_alone_means_the_login_that_is_kept_for_it(kept: CredentialsFile) -> None:
    kept.put(URL, Credentials("own", "secret"))
    assert database_of(URL, Settings(alyx_user="own")).credentials == Credentials("own", "secret")
    with pytest.raises(UsageError, match="no password for the database's user other") as refused:
        database_of(URL, Settings(alyx_user="other"))
    assert "ONEFS_ALYX_PASSWORD" in refused.value.remedy


def test_a_password_without_a_name_is_refused() -> None:
    with pytest.raises(UsageError, match="no user name"):
        database_of(URL, Settings(alyx_password="secret"))


def test_a_password_from_a_file_is_its_first_line(home: Path) -> None:
    (home / "password").write_text("päss word \r\nnot this\n")
    (home / "password").chmod(0o600)
    given = replace(FLAGS, alyx_password_file=home / "password")
    assert database_of(URL, given).credentials == Credentials("flag", "päss word ")


def test_a_file_of_logins_that_others_may_read_is_not_used(home: Path, kept: CredentialsFile) -> None:
    kept.put(URL, Credentials("own", "secret"))
    (home / "config" / "onefs" / "credentials.toml").chmod(0o644)
    with pytest.raises(AccessRefusedError, match="chmod 600"):
        database_of(URL, Settings())
    assert database_of(URL, FLAGS).credentials.user == "flag"


def test_the_login_for_files_is_for_the_server_that_it_was_given_for(home: Path) -> None:
    given = Settings(data_user="me", data_password="pw")
    assert database_of(URL, given).data_login == DataLogin(Login("me", "pw"))
    named = database_of(URL, replace(given, data_url="https://data.example:8443/x"))
    assert named.data_login == DataLogin(Login("me", "pw"), "https://data.example:8443")
    one_knows(
        home,
        URL,
        HTTP_DATA_SERVER="https://one.example/public",
        HTTP_DATA_SERVER_LOGIN="iblmember",
        HTTP_DATA_SERVER_PWD="members",
    )
    from_one = database_of(URL, Settings())
    assert from_one.data_login == DataLogin(Login("iblmember", "members"), "https://one.example")
    assert database_of(URL, given).data_login == DataLogin(Login("me", "pw"), "https://one.example")
    assert database_of("https://other.example", Settings()).data_login == DataLogin()


def test_a_login_for_files_that_is_kept(home: Path, kept: CredentialsFile) -> None:
    server = "https://data.example"
    one_knows(home, URL, HTTP_DATA_SERVER=server, HTTP_DATA_SERVER_LOGIN="one", HTTP_DATA_SERVER_PWD="from ONE")
    kept.put_data_login(URL, DataCredentials(server, "own", "kept"))
    own = DataLogin(Login("own", "kept"), server)
    assert database_of(URL, Settings()).data_login == own
    assert database_of(URL, Settings(data_user="own")).data_login == own, "as a name's file may say"
    assert database_of(URL, Settings(data_user="me", data_password="pw")).data_login.login == Login("me", "pw")
    with pytest.raises(UsageError, match="no password"):
        database_of(URL, Settings(data_user="me"))
    assert database_of("https://other.example", Settings()).data_login == DataLogin()
    for data_url, login in ((f"{server}/x", own.login), ("http://data.example/x", None), (f"{server}:8443", None)):
        (named,) = resolve(URL, Settings(data_url=data_url), Kind.DATABASE).servers
        assert named.login == login, data_url
    kept.put(URL, Credentials("me", "mine"))
    kept.keep_token(URL, "another", "token")
    assert kept.data_login(URL) == DataCredentials(server, "own", "kept")
    assert "kept" not in repr(kept.data_login(URL))
    kept.forget(URL)
    assert not kept.data_login(URL)


def test_files_go_where_one_keeps_those_of_that_database(home: Path) -> None:
    one_knows(home, URL, home / "ONE cache")
    assert resolve(URL, Settings(), Kind.DATABASE).data_dir == home / "ONE cache"
    assert resolve(URL, Settings(cache_dir=home / "c"), Kind.DATABASE).data_dir == home / "c"
    assert resolve("https://other.example", Settings(), Kind.DATABASE).data_dir.is_relative_to(home / "xdg")


def test_a_new_token_is_kept_beside_the_login_it_came_from(alyx: DemoServer, kept: CredentialsFile) -> None:
    kept.put(alyx.url, Credentials("demo", "demo"))
    client = open_database(database_of(alyx.url, Settings()), Settings(), None)
    client.labs()
    client.close()
    assert kept.get(alyx.url).token
    assert kept.get(alyx.url).password == "demo"


def test_a_token_of_a_login_from_elsewhere_is_not_kept(alyx: DemoServer, home: Path, kept: CredentialsFile) -> None:
    one_knows(home, alyx.url, ALYX_LOGIN="demo", ALYX_PWD="demo")
    for settings in (Settings(), Settings(alyx_user="demo", alyx_password="demo")):
        client = open_database(database_of(alyx.url, settings), settings, None)
        client.labs()
        client.close()
    assert kept.get(alyx.url) == Credentials()
    assert "TOKEN" not in (home / "home" / ".one" / f".{key_of(alyx.url)}").read_text()


def test_responses_are_kept_in_the_state_directory_unless_told_otherwise(alyx: DemoServer, home: Path) -> None:
    settings = Settings(alyx_user="demo", alyx_password="demo")
    client = open_database(database_of(alyx.url, settings), settings, home / "state")
    client.labs()
    client.close()
    assert any((home / "state" / "responses").iterdir())
    alyx.close()
    again = open_database(database_of(alyx.url, settings), settings, home / "state")
    assert again.labs() == []
    again.close()
