"""What stands at a URL: found out once, noted, and known without a network from then on."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from alyx_archive import AlyxArchive
from archives import make_tables
from servers import Fault, FaultServer, Nginx

from onefs.archive.opening import opened
from onefs.demo.server import DemoServer
from onefs.errors import AccessRefusedError, BrokenAnswerError, SourceError, UnreachableError
from onefs.modes import Mode
from onefs.settings import Settings
from onefs.sources.source import Source

pytestmark = pytest.mark.usefixtures("home")
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def settings(home: Path) -> Settings:
    return Settings(cache_dir=home / "cache", alyx_user="demo", alyx_password="demo")


@pytest.fixture
def alyx(home: Path) -> Iterator[DemoServer]:
    archive = AlyxArchive(home / "archive")
    archive.put("lab/Subjects/mouse/2024-01-02/001/alf/a.times.npy", b"x")
    archive.publish()
    with DemoServer(archive.directory) as server:
        yield server


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


def source(name: str, settings: Settings) -> Source:
    with opened(name, settings) as found:
        return found


def note(settings: Settings) -> list[str]:
    assert settings.cache_dir is not None
    return (settings.cache_dir / ".onefs" / "source").read_text().splitlines()


def is_noted(settings: Settings) -> bool:
    assert settings.cache_dir is not None
    return (settings.cache_dir / ".onefs" / "source").exists()


def test_an_alyx_is_a_database(alyx: DemoServer, settings: Settings) -> None:
    found = source(f"{alyx.url}/", settings)
    assert found.database is not None
    assert found.database.base_url == found.name == alyx.url
    assert (found.tables_url, found.servers, found.mode) == (None, (), Mode.AUTO)
    assert note(settings) == [alyx.url, "database"]


def test_a_folder_of_tables_is_one_though_an_alyx_is_above_it(alyx: DemoServer, settings: Settings) -> None:
    found = source(alyx.tables_url, settings)
    assert found.database is None
    assert found.tables_url is not None
    assert note(settings) == [alyx.tables_url, "folder"]


@pytest.mark.parametrize("kind", ["database", "folder"])
def test_what_was_found_once_needs_no_network(alyx: DemoServer, settings: Settings, kind: str) -> None:
    url = alyx.url if kind == "database" else alyx.tables_url
    assert (source(url, settings).database is None) == (kind == "folder")
    alyx.close()
    assert (source(url, settings).database is None) == (kind == "folder")


def test_a_web_server_is_neither_and_is_told_so(home: Path, settings: Settings) -> None:
    (home / "www").mkdir()
    with Nginx(home / "www") as server, pytest.raises(SourceError) as refused:
        source(server.url, settings)
    assert "404" in refused.value.reason
    assert "cache_info.json" in refused.value.reason
    assert "Alyx" in refused.value.remedy
    assert not (home / "cache").exists(), "nothing is made for what is no source"


@pytest.mark.parametrize("told", [b"<html>Please log in</html>", b"[]", b'{"date_created": 3}', b"{", b"\xff"])
def test_a_server_that_answers_anything_to_everything_is_neither(
    server: FaultServer, settings: Settings, told: bytes
) -> None:
    for path in ("/cache_info.json", "/auth-token"):
        server.put(path, told)
    with pytest.raises(SourceError, match="does not tell when"):
        source(server.url, settings)


def test_a_folder_that_wants_a_login_says_that(home: Path, settings: Settings) -> None:
    (home / "www").mkdir()
    (home / "www" / "cache_info.json").write_text(json.dumps({"date_created": "2024-01-03 00:00"}))
    with Nginx(home / "www", "me", "secret") as server:
        with pytest.raises(AccessRefusedError, match="401"):
            source(server.url, settings)
        assert source(server.url.replace("://", "://me:secret@"), settings).database is None
    assert note(settings) == [server.url, "folder"]


def test_a_server_that_fails_is_blamed_for_that(server: FaultServer, settings: Settings) -> None:
    for path in ("/cache_info.json", "/auth-token"):
        server.put(path, b"")
        server.fault(path, Fault(status=502))
    with pytest.raises(UnreachableError):
        source(server.url, settings)
    assert not is_noted(settings)


def test_without_an_answer_and_without_tables_there_is_nothing_to_mount(settings: Settings) -> None:
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9"):
        source(NOBODY, settings)


def test_with_tables_at_hand_a_silent_server_is_taken_for_a_database_for_now(home: Path, settings: Settings) -> None:
    make_tables(home / "cache", {"alf/a.times.npy": b"x"})
    assert source(NOBODY, settings).database is not None
    assert not is_noted(settings), "it is asked again the next time"


def test_in_mode_local_nobody_is_asked(home: Path, server: FaultServer, settings: Settings) -> None:
    make_tables(home / "cache", {"alf/a.times.npy": b"x"})
    local = Settings(cache_dir=home / "cache", mode=Mode.LOCAL)
    assert source(server.url, local).mode is Mode.LOCAL
    assert server.requests() == 0


def test_the_cache_of_another_source_is_refused_before_anybody_is_asked(
    alyx: DemoServer, home: Path, settings: Settings
) -> None:
    source(alyx.url, settings)
    make_tables(home / "cache", {"alf/a.times.npy": b"x"})
    with pytest.raises(SourceError, match=f"holds the tables of {alyx.url}"):
        source(NOBODY, settings)


@pytest.mark.parametrize("damage", [b"garbage", b"\x00\xff\x17\n", b"http://x.exa\x00mple\ndatabase\n", b""])
def test_a_damaged_note_is_written_anew(alyx: DemoServer, home: Path, settings: Settings, damage: bytes) -> None:
    make_tables(home / "cache", {"alf/a.times.npy": b"x"})
    (home / "cache" / ".onefs").mkdir()
    (home / "cache" / ".onefs" / "source").write_bytes(damage)
    assert source(alyx.url, settings).database is not None
    assert note(settings) == [alyx.url, "database"]
    assert [path.name for path in (home / "cache" / ".onefs").iterdir()] == ["source"], "no temporary file is left"


def test_a_note_without_a_kind_is_completed(alyx: DemoServer, home: Path, settings: Settings) -> None:
    (home / "cache" / ".onefs").mkdir(parents=True)
    (home / "cache" / ".onefs" / "source").write_text(f"{alyx.url}\n")
    assert source(alyx.url, settings).database is not None
    assert note(settings) == [alyx.url, "database"]


def test_an_alyx_that_moved_tells_its_new_address(server: FaultServer, settings: Settings) -> None:
    server.put("/auth-token", b"")
    server.fault("/auth-token", Fault(redirect="https://new.example/auth-token"))
    with pytest.raises(BrokenAnswerError, match=r"https://new\.example"):
        source(server.url, settings)
