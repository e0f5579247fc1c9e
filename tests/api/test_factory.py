"""`ONE`: which class it makes of which arguments, and that it makes each once."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archives import make_tables

import onefs
from onefs import ONE, One, OneAlyx
from onefs.api import webclient
from onefs.api.source_arguments import default_database
from onefs.demo.server import DemoServer
from onefs.one_errors import UsageError
from onefs.request_errors import AccessRefusedError
from onefs.sources.names import save_name

FILES = {"alf/licks.times.npy": b"1"}


@pytest.fixture(autouse=True)
def made_anew(home: Path) -> Iterator[None]:
    """No object of another test."""
    ONE.cache_clear()
    yield
    ONE.cache_clear()


@pytest.fixture(scope="module")
def server(demo_archive: Path) -> Iterator[DemoServer]:
    with DemoServer(demo_archive) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_tables(tmp_path / "folder", FILES)
    return tmp_path / "folder"


@pytest.fixture
def ones_parameters(home: Path, server: DemoServer) -> Path:
    """What ONE keeps of the demo's database: its cache directory."""
    key = server.url.removeprefix("http://").replace(":", "_")
    directory = home / "home" / ".one"
    directory.mkdir(parents=True)
    (home / "ones").mkdir()
    (directory / ".caches").write_text(json.dumps({"CLIENT_MAP": {key: str(home / "ones")}, "DEFAULT": key}))
    login = {"ALYX_URL": server.url, "ALYX_LOGIN": "demo", "ALYX_PWD": "demo"}
    (directory / f".{key}").write_text(json.dumps(login))
    return home / "ones"


def test_a_folder_makes_a_one(folder: Path) -> None:
    one = ONE(cache_dir=folder)
    assert type(one) is One
    assert (one.mode, one.wildcards) == ("local", True)
    assert type(ONE(cache_dir=str(folder), mode="local", wildcards=False)) is One


@pytest.mark.parametrize("mode", ["remote", "refresh", "offline"])
def test_a_folder_has_no_database(folder: Path, mode: str) -> None:
    with pytest.raises(ValueError, match="ode"):
        ONE(cache_dir=folder, mode=mode)


def test_the_same_arguments_make_the_same_object(folder: Path) -> None:
    one = ONE(cache_dir=folder)
    one.record_loaded = True
    assert ONE(cache_dir=folder) is one
    assert ONE(cache_dir=folder).record_loaded
    assert ONE.cache_info().hits == 2
    assert ONE(cache_dir=folder, wildcards=False) is not one
    assert ONE(cache_dir=folder) is not one
    again = ONE(cache_dir=folder)
    ONE.cache_clear()
    assert ONE(cache_dir=folder) is not again
    assert ONE.version == onefs.__version__


def test_offline_is_mode_local(folder: Path) -> None:
    with pytest.warns(FutureWarning, match="mode='local'") as told:
        assert ONE(cache_dir=folder, offline=True).mode == "local"
    assert told[0].filename == __file__


def test_a_url_or_a_login_makes_a_one_alyx(server: DemoServer, home: Path) -> None:
    one = ONE(base_url=server.url, username="demo", password="demo", cache_dir=home / "cache", silent=True)
    assert type(one) is OneAlyx
    assert one.cache_dir == home / "cache"
    assert ONE(base_url=server.url, username="demo", password="demo", cache_dir=home / "cache", silent=True) is one
    with webclient.no_cache(one.alyx) as client:
        assert client is one.alyx
    one._archive.close()


def test_a_cache_that_onefs_has_of_a_database_is_opened_as_such(server: DemoServer, home: Path) -> None:
    one = ONE(base_url=server.url, username="demo", password="demo", cache_dir=home / "cache")
    again = ONE(cache_dir=home / "cache", mode="local")
    assert type(again) is OneAlyx
    assert again.alyx.base_url == server.url
    assert again.search() == one.search()
    again._archive.close()
    one._archive.close()


def test_a_cache_that_one_has_of_a_database_is_opened_as_such(server: DemoServer, ones_parameters: Path) -> None:
    one = ONE(cache_dir=ones_parameters)
    assert type(one) is OneAlyx
    assert (one.alyx.base_url, one.mode) == (server.url, "auto")
    assert one.search()
    one._archive.close()


@pytest.mark.filterwarnings("ignore:There are no cache tables")
def test_without_arguments_the_default_database_is_opened(server: DemoServer, ones_parameters: Path) -> None:
    one = ONE()
    assert (one.alyx.base_url, one.cache_dir) == (server.url, ones_parameters)
    one._archive.close()
    save_name("default", {"source": "https://alyx.example.org"})
    assert OneAlyx(mode="local", silent=True).alyx.base_url == "https://alyx.example.org"


def test_no_password_is_told_of_what_is_no_database(home: Path) -> None:
    with pytest.raises(ValueError, match=r"ftp://example\.org/data is no database") as told:
        ONE(base_url="ftp://me:s3cret@example.org/data", cache_dir=home)
    assert "s3cret" not in str(told.value)


def test_openalyx_is_the_last_default() -> None:
    assert default_database() == "openalyx"


@pytest.mark.parametrize("unknown", ["colour", "cache"])
def test_unknown_arguments(folder: Path, server: DemoServer, unknown: str) -> None:
    with pytest.raises((TypeError, ValueError), match=unknown):
        ONE(cache_dir=folder, **{unknown: 1})
    with pytest.raises((TypeError, ValueError), match=unknown):
        ONE(base_url=server.url, **{unknown: 1})


# -- setting up ---------------------------------------------------------------------------------------------------


def typed(monkeypatch: pytest.MonkeyPatch, answers: list[str], password: str = "demo") -> None:
    """Have a terminal at which these are typed."""
    rest = iter(answers)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: next(rest))
    monkeypatch.setattr("onefs.api.setup.getpass", lambda question: password)


def test_a_database_is_set_up(server: DemoServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, [])
    known = ONE.setup(server.url, username="demo", make_default=True, cache_dir=home / "cache")
    assert server.url == known.DEFAULT
    assert known.CLIENT_MAP[server.url] == str(home / "cache")
    one = ONE()
    assert (one.alyx.base_url, one.cache_dir) == (server.url, home / "cache")
    assert one.search()
    one._archive.close()
    assert not (home / "home" / ".one").exists()


@pytest.mark.parametrize("password", ["wrong", ""])
def test_a_login_that_is_refused_is_not_kept(
    server: DemoServer, monkeypatch: pytest.MonkeyPatch, home: Path, password: str
) -> None:
    typed(monkeypatch, [], password)
    with pytest.raises(AccessRefusedError):
        OneAlyx.setup(server.url, username="demo", make_default=True, cache_dir=home / "cache")
    assert default_database() == "openalyx"


def test_silent_asks_nothing(server: DemoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(question: str) -> Any:
        raise AssertionError(question)

    monkeypatch.setattr("builtins.input", ask)
    monkeypatch.setattr("onefs.api.setup.getpass", ask)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    with pytest.raises((AccessRefusedError, UsageError)):
        OneAlyx.setup(server.url, silent=True)
