"""What a SOURCE stands for, in each of its forms; no server is asked."""

from pathlib import Path

import pytest

from onefs.errors import CacheDamagedError, SourceError, UsageError
from onefs.modes import Abilities, Mode
from onefs.settings import Settings
from onefs.sources.logins import login_of
from onefs.sources.source import Kind, Source, default_cache, prepare, resolve
from onefs.transports.base import Location, Login

URL = "https://host.org/public"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def folder(home: Path) -> Path:
    (home / "archive").mkdir()
    return home / "archive"


def where(source: Source) -> list[str]:
    from uuid import UUID

    return [server.location("a/b.npy", UUID(int=0)).url.partition("/a/")[0] for server in source.servers]


def login(source: Source) -> Login | None:
    from uuid import UUID

    return source.servers[0].location("a.npy", UUID(int=0)).login


def test_a_url_is_tables_and_files(home: Path) -> None:
    source = resolve(URL + "/", Settings())
    assert source.name == URL
    assert source.tables_url is not None
    assert (source.tables_url.url, source.tables_url.login) == (URL, None)
    assert where(source) == [URL]
    assert source.tables_dir == source.data_dir == default_cache("host.org/public")
    assert source.data_dir.is_relative_to(home / "xdg" / "onefs")
    assert source.state_dir == source.data_dir / ".onefs"
    assert (source.mode, source.is_cache) == (Mode.AUTO, True)


def test_files_may_be_on_another_server(home: Path) -> None:
    settings = Settings(data_url="http://data.org/x/", data_user="me", data_password="pw", cache_dir=home / "c")
    source = resolve(URL, settings)
    assert where(source) == ["http://data.org/x"]
    assert source.data_dir == home / "c"
    assert login(source) == Login("me", "pw")
    assert source.tables_url is not None
    assert source.tables_url.login is None, "a password is for the server it was given for"


def test_a_login_is_for_the_tables_too_where_they_are_on_the_same_server() -> None:
    for data_url in ("", "https://host.org/other"):
        source = resolve(URL, Settings(data_url=data_url, data_user="me", data_password="pw"))
        assert source.tables_url is not None
        assert source.tables_url.login == login(source) == Login("me", "pw")


def test_a_login_for_files_over_tls_is_not_sent_for_plain_tables() -> None:
    settings = Settings(data_url="https://host.org/other", data_user="me", data_password="pw")
    source = resolve("http://host.org/public", settings)
    assert source.tables_url is not None
    assert (source.tables_url.login, login(source)) == (None, Login("me", "pw"))


def test_a_login_in_a_bucket_s_address_is_not_repeated() -> None:
    with pytest.raises(SourceError) as told:
        resolve("s3://key:secret@bucket/prefix", Settings())
    assert "secret" not in str(told.value)


def test_a_login_in_a_url_is_used_and_never_shown() -> None:
    source = resolve("https://me:p%40ss@host.org/public", Settings())
    assert "ss" not in source.name + str(source.data_dir) + repr(source)
    assert source.tables_url is not None
    assert source.tables_url.url == source.name == URL
    assert source.tables_url.login == login(source) == Login("me", "p@ss")
    elsewhere = resolve("https://me:pw@host.org/public", Settings(data_url="https://data.org"))
    assert login(elsewhere) is None


def test_a_folder_is_read_in_place(folder: Path) -> None:
    source = resolve(str(folder), Settings())
    assert (source.mode, source.is_cache, source.servers, source.tables_url) == (Mode.LOCAL, False, (), None)
    assert source.tables_dir == source.data_dir == folder
    assert source.state_dir == folder / ".onefs"


def test_a_folder_that_may_not_be_written_keeps_its_state_elsewhere(
    folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    source = resolve(str(folder), Settings())
    assert source.data_dir == folder
    assert source.state_dir.is_relative_to(home / "xdg" / "onefs")
    assert resolve(str(folder), Settings(cache_dir=home / "c")).state_dir == home / "c" / ".onefs"


def test_a_folder_of_tables_with_a_server_fetches_into_it_or_into_the_cache(folder: Path, home: Path) -> None:
    source = resolve(str(folder), Settings(data_url=URL))
    assert (source.mode, source.is_cache) == (Mode.AUTO, True)
    assert source.data_dir == source.tables_dir == folder
    assert not source.may_displace, "what stands in the user's own folder may be the only copy"
    elsewhere = resolve(str(folder), Settings(data_url=URL, cache_dir=home / "c"))
    assert (elsewhere.data_dir, elsewhere.may_displace) == (home / "c", True)
    assert resolve(str(folder), Settings(data_url=URL, mode=Mode.LOCAL)).mode is Mode.LOCAL


def test_folders_by_relative_home_and_linked_names(folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "home").mkdir()
    (home / "home" / "mine").mkdir()
    (home / "link").symlink_to(folder)
    monkeypatch.chdir(home)
    assert resolve("archive", Settings()).data_dir == folder
    assert resolve("./archive/", Settings()).data_dir == folder
    assert resolve("link", Settings()).data_dir == folder
    assert resolve("~/mine", Settings()).data_dir == home / "home" / "mine"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "nonsense",
        "s3://",
        "s3:///prefix",
        "https://",
        "https:///path",
        "http://host:port/",
        "http://[::1/",
        "http://user@/x",
        "/no/such/folder",
        "~nosuchuser/archive",
        "n" * 5000,
        "a\0b",
        "ftp://host/x",
    ],
)
def test_what_is_no_source_is_said_to_be_none(name: str) -> None:
    with pytest.raises(SourceError) as refused:
        resolve(name, Settings())
    assert refused.value.remedy.startswith("Give ")


@pytest.mark.parametrize("data_url", ["host.org/public", "ftp://host/x", "https://", "s3://-", "http://host:port"])
def test_a_data_url_that_is_none_is_refused_before_mounting(folder: Path, data_url: str) -> None:
    for name in (str(folder), URL):
        with pytest.raises(UsageError, match=r"--data-url|s3://bucket"):
            resolve(name, Settings(data_url=data_url))


def test_files_of_a_folder_may_be_in_another_folder(folder: Path, home: Path) -> None:
    source = resolve(str(folder), Settings(data_url=f"file://{home}", cache_dir=home / "c"))
    assert where(source) == [f"file://{home}"]


@pytest.mark.parametrize("mode", [Mode.REFRESH, Mode.REMOTE])
def test_modes_that_need_a_database_are_refused(folder: Path, mode: Mode) -> None:
    for name in (str(folder), URL):
        with pytest.raises(UsageError, match="needs a database"):
            resolve(name, Settings(mode=mode))


def test_fetching_without_a_server_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="--data-url"):
        resolve(str(folder), Settings(mode=Mode.AUTO))


@pytest.mark.parametrize("mode", [0o644, 0o602])
def test_a_password_file_that_is_open_to_every_user_is_refused(home: Path, mode: int) -> None:
    (home / "password").write_text("pw\n")
    (home / "password").chmod(mode)
    with pytest.raises(UsageError, match=rf"open to every user. Run: chmod 600 {home}/password"):
        login_of(Settings(data_user="me", data_password_file=home / "password"))


def test_a_password_file_that_is_not_there_is_one_sentence(home: Path) -> None:
    with pytest.raises(UsageError) as refused:
        login_of(Settings(data_user="me", data_password_file=home / "none"))
    assert refused.value.reason == f"The password file {home / 'none'} cannot be read: no such file or directory."


def test_a_password_from_a_file_is_its_first_line(home: Path) -> None:
    (home / "password").write_text("päss word \r\nnot this\n")
    (home / "password").chmod(0o600)
    settings = Settings(data_user="me", data_password="other", data_password_file=home / "password")
    assert login_of(settings) == Login("me", "päss word ")


def test_half_a_login_is_refused(home: Path) -> None:
    with pytest.raises(UsageError, match="ONEFS_DATA_PASSWORD"):
        login_of(Settings(data_user="me"))
    assert login_of(Settings(data_password="pw")) is None
    (home / "binary").write_bytes(b"\xff\xfe")
    for path in (home / "none", home, home / "binary"):
        with pytest.raises(UsageError, match=str(path)):
            login_of(Settings(data_user="me", data_password_file=path))


def test_default_caches_differ_and_can_be_read() -> None:
    names = [
        "host.org/a",
        "host.org/b",
        "host.org/a-b",
        "host.org/a/b",
        "é",
        "\udcff",
        "x" * 500 + "a",
        "x" * 500 + "b",
    ]
    caches = [default_cache(name) for name in names]
    assert len(set(caches)) == len(names)
    assert caches[0].name.startswith("host.org-a-")
    assert all(len(cache.name) < 100 for cache in caches)


def test_directories_are_made_and_the_archive_is_left_alone(folder: Path, home: Path) -> None:
    prepare(resolve(URL, Settings(cache_dir=home / "deep" / "cache")))
    assert (home / "deep" / "cache" / ".onefs").is_dir()
    prepare(resolve(str(folder), Settings(cache_dir=home / "other")))
    assert list(folder.iterdir()) == []


def test_a_cache_that_cannot_be_made_is_named(home: Path) -> None:
    (home / "file").touch()
    with pytest.raises(CacheDamagedError, match=str(home / "file")):
        prepare(resolve(URL, Settings(cache_dir=home / "file")))


def test_a_database_is_asked_for_tables_and_for_places_of_files(home: Path) -> None:
    source = resolve("https://alyx.example/", Settings(), Kind.DATABASE)
    assert source.database is not None
    assert (source.name, source.tables_url, source.servers) == ("https://alyx.example", None, ())
    assert (source.mode, source.abilities) == (Mode.AUTO, Abilities(has_server=True, has_database=True))
    assert resolve("https://alyx.example", Settings(mode=Mode.REMOTE), Kind.DATABASE).mode is Mode.REMOTE
    named = resolve("https://alyx.example", Settings(data_url=URL, tag="2024_Q2"), Kind.DATABASE)
    assert where(named) == [URL]
    assert named.tag == "2024_Q2"


@pytest.mark.parametrize("tag", ["../x", "a/b", "..", ".onefs", "a\0b"])
def test_a_tag_that_would_lead_elsewhere_is_none(tag: str) -> None:
    with pytest.raises(UsageError, match="cannot be a tag"):
        resolve("https://alyx.example", Settings(tag=tag), Kind.DATABASE)


def test_a_tag_needs_a_database(folder: Path) -> None:
    for name in (str(folder), URL, "s3://bucket/x"):
        with pytest.raises(UsageError, match="--tag needs a database"):
            resolve(name, Settings(tag="2024_Q2"))


@pytest.mark.parametrize(
    "name",
    [
        "openalyx",
        "https://openalyx.internationalbrainlab.org/",
        "https://openalyx.internationalbrainlab.org//",
        "HTTPS://OpenAlyx.InternationalBrainLab.org",
    ],
)
def test_the_public_archive_is_built_in(name: str) -> None:
    source = resolve(name, Settings())
    assert source.database is not None
    assert source.name == source.database.base_url == "https://openalyx.internationalbrainlab.org"
    assert where(source) == [
        "https://ibl-brain-wide-map-public.s3.us-east-1.amazonaws.com/data",
        "https://ibl.flatironinstitute.org/public",
    ]
    assert login(source) is None


def test_a_bucket_is_a_folder_of_tables_and_files(home: Path) -> None:
    source = resolve("s3://bucket/some/prefix/", Settings(s3_region="eu-west-2"))
    assert source.tables_url == Location("https://bucket.s3.eu-west-2.amazonaws.com/some/prefix")
    assert where(source) == ["https://bucket.s3.eu-west-2.amazonaws.com/some/prefix"]
    assert (source.name, source.mode, source.database) == ("s3://bucket/some/prefix", Mode.AUTO, None)
    own = resolve("s3://bucket", Settings(s3_endpoint="http://localhost:9000"))
    assert own.tables_url is not None
    assert own.tables_url.url.rstrip("/") == "http://localhost:9000/bucket"
    assert own.data_dir != source.data_dir
    assert where(resolve(URL, Settings(data_url="s3://bucket/files"))) == [
        "https://bucket.s3.us-east-1.amazonaws.com/files"
    ]
