"""What is kept of databases: by onefs, and by ONE in `~/.one`, which is read and never written."""

import json
from pathlib import Path

import pytest
from alyx_archive import AlyxArchive
from one import params as reference

from onefs.api import params
from onefs.demo.answers import PASSWORD, USER
from onefs.sources.names import OPENALYX_URL

URL = "https://alyx.example"


@pytest.fixture
def ones(home):
    """`~/.one` of somebody who used ONE."""
    folder = home / "home" / ".one"
    folder.mkdir(parents=True)
    known = {
        "ALYX_URL": URL,
        "ALYX_LOGIN": "someone",
        "HTTP_DATA_SERVER": "https://data.example/public",
        "HTTP_DATA_SERVER_LOGIN": "reader",
        "HTTP_DATA_SERVER_PWD": "a-word",
    }
    (folder / ".alyx.example").write_text(json.dumps(known))
    caches = {"CLIENT_MAP": {"alyx.example": str(home / "ONE" / "alyx")}, "DEFAULT": "alyx.example"}
    (folder / ".caches").write_text(json.dumps(caches))
    return folder


@pytest.fixture
def archive(tmp_path):
    made = AlyxArchive(tmp_path / "archive")
    made.put("lab/Subjects/S/2020-07-01/001/a.b.npy", b"x")
    made.publish()
    return made


@pytest.mark.parametrize("client", [None, URL, "alyx.example"])
def test_what_one_keeps_is_known(client, ones, home):
    before = {file: file.read_bytes() for file in ones.iterdir()}
    assert params.get(client, silent=True) == {
        "ALYX_URL": URL,
        "ALYX_LOGIN": "someone",
        "HTTP_DATA_SERVER": "https://data.example/public",
        "HTTP_DATA_SERVER_LOGIN": "reader",
        "HTTP_DATA_SERVER_PWD": "a-word",
        "CACHE_DIR": str(home / "ONE" / "alyx"),
    }
    assert params.get(client).ALYX_URL == URL
    assert params.get(client, username="other").ALYX_LOGIN == "other"
    assert params.get_cache_dir(client) == home / "ONE" / "alyx"
    assert params.get_cache_dir(client).is_dir()
    assert {file: file.read_bytes() for file in ones.iterdir()} == before


def test_it_is_what_the_reference_client_knows(ones):
    assert params.get(URL) == reference.get(URL, silent=True).as_dict()
    assert params.get_cache_dir(URL) == reference.get_cache_dir(URL)
    assert params.get_default_client() == reference.get_default_client()
    assert params.get_default_client(include_schema=False) == reference.get_default_client(include_schema=False)


def test_the_default_database(ones):
    assert params.get_default_client() == URL
    assert params.get_default_client(include_schema=False) == "alyx.example"


def test_without_parameters_openalyx_is_the_default(home):
    assert params.get_default_client() == OPENALYX_URL
    found = params.get()
    assert found.ALYX_URL == OPENALYX_URL
    assert found.HTTP_DATA_SERVER.startswith("https://")
    assert not (home / "home" / ".one").exists()


def test_a_cache_directory_that_is_taken(ones, home):
    with pytest.raises(AssertionError, match=URL):
        params.check_cache_conflict(home / "ONE" / "alyx")
    params.check_cache_conflict(home / "elsewhere")


def test_onefs_has_a_folder_of_its_own(home):
    assert home in params.get_params_dir().parents
    assert params.get_params_dir() != home / "home" / ".one"


@pytest.mark.parametrize(("name", "remedy"), [("save", "setup"), ("delete_params", "forget"), ("nothing", "nothing")])
def test_what_is_not_there_says_why(name, remedy):
    with pytest.raises(AttributeError, match=remedy):
        getattr(params, name)


def test_setting_up_keeps_a_login_and_tells_the_map(server, home, tmp_path, monkeypatch):
    monkeypatch.setenv("ONEFS_ALYX_USER", USER)
    monkeypatch.setenv("ONEFS_ALYX_PASSWORD", PASSWORD)
    found = params.setup(server.url, silent=True, make_default=True, cache_dir=tmp_path / "cache")
    assert str(found.DEFAULT) == server.url
    assert Path(found.CLIENT_MAP[server.url]) == tmp_path / "cache"
    monkeypatch.delenv("ONEFS_ALYX_USER")
    monkeypatch.delenv("ONEFS_ALYX_PASSWORD")
    assert str(params.get().ALYX_LOGIN) == USER
    assert params.get_cache_dir() == tmp_path / "cache"
    with pytest.raises(AssertionError):
        params.check_cache_conflict(tmp_path / "cache")
    assert not (home / "home" / ".one").exists()
