"""Owns what a SOURCE means: where the tables come from, where bytes come from, and where they are kept."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import platformdirs

from onefs.alf import STATE_FOLDER
from onefs.errors import CacheDamagedError, SourceError, UsageError
from onefs.modes import Abilities, Mode, check
from onefs.settings import Settings
from onefs.transports.archive import ArchiveServer
from onefs.transports.base import Location, Login

FORMS = "Give a folder that holds cache tables, the URL of one, or the word demo."
_NOT_YET = re.compile(r"s3://|openalyx$")


@dataclass(frozen=True, slots=True)
class Source:
    """An archive that can be mounted.

    `tables_url` is None where the tables are at hand. With `is_cache`, files are fetched into `data_dir`; without,
    they are read there in place and nothing but `state_dir` is ever written. Without `may_displace`, files are fetched
    into a folder that is the user's own, and those that are there already are not moved even if they are wrong.
    """

    name: str
    tables_dir: Path
    tables_url: Location | None
    data_dir: Path
    state_dir: Path
    is_cache: bool
    may_displace: bool
    servers: tuple[ArchiveServer, ...]
    mode: Mode

    @property
    def abilities(self) -> Abilities:
        """What modes it can be in. No source of this version has a database."""
        return Abilities(has_server=bool(self.servers), has_database=False)


def resolve(name: str, settings: Settings) -> Source:
    """What a SOURCE stands for. Asks no server. Raises `SourceError` or `UsageError`."""
    if re.match(r"https?://", name):
        return _of_url(name.rstrip("/"), settings)
    directory = os.path.expanduser(name)  # noqa: PTH111 - leaves a user that does not exist as it is
    if os.path.isdir(directory):  # noqa: PTH112 - a path that cannot be looked at is no folder, and no crash
        return _of_directory(Path(directory).resolve(), settings)
    if _NOT_YET.match(name):
        raise SourceError(f"{name} cannot be mounted by this version of onefs.", FORMS)
    if "://" in name:
        raise SourceError(f"{name.partition('://')[0]}:// is no kind of source that onefs mounts.", FORMS)
    if "/" in name or name.startswith((".", "~")):
        raise SourceError(f"The source {name} is no folder on this machine.", FORMS)
    raise SourceError(f"{name!r} is not a source that onefs knows.", FORMS)


def _of_url(url: str, settings: Settings) -> Source:
    url, login_inside = _without_login(url)
    parts = urlsplit(url)
    cache = settings.cache_dir or default_cache(f"{parts.netloc}{parts.path}")
    data_url = settings.data_url or url
    same_server = _host(data_url) == parts.netloc
    login = login_of(settings) or (None if settings.data_url else login_inside)
    return Source(
        name=url,
        tables_dir=cache,
        tables_url=Location(url, login_inside or (login if same_server else None)),
        data_dir=cache,
        state_dir=cache / STATE_FOLDER,
        is_cache=True,
        may_displace=True,
        servers=(_server(data_url, login),),
        mode=_mode(settings, url, has_server=True),
    )


def _without_login(url: str) -> tuple[str, Login | None]:
    """A URL as it may be shown, and the login that stood in it. Raises `SourceError` if it is none."""
    if not _is_of_server(url):
        raise SourceError(f"{url.rpartition('@')[2]} is no URL of a server.", "Give it as https://host/folder.")
    parts = urlsplit(url)
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    shown = urlunsplit((parts.scheme, _host(url), parts.path.rstrip("/"), "", ""))
    return shown, Login(unquote(user), unquote(password)) if user else None


def _server(data_url: str, login: Login | None) -> ArchiveServer:
    if not _is_of_server(data_url) and not data_url.startswith("file:///"):
        raise UsageError(
            f"{data_url.rpartition('@')[2]} is no URL of a data server.", "Give --data-url as https://host/folder."
        )
    return ArchiveServer(data_url, login)


def _is_of_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0 and parts.scheme in ("http", "https")
    except ValueError:  # a port that is no number, an unclosed bracket
        return False


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _of_directory(directory: Path, settings: Settings) -> Source:
    servers = (_server(settings.data_url, login_of(settings)),) if settings.data_url else ()
    data_dir = (settings.cache_dir or directory) if servers else directory
    return Source(
        name=str(directory),
        tables_dir=directory,
        tables_url=None,
        data_dir=data_dir,
        state_dir=_state_of(directory, settings) if not servers else data_dir / STATE_FOLDER,
        is_cache=bool(servers),
        may_displace=data_dir != directory,
        servers=servers,
        mode=_mode(settings, str(directory), has_server=bool(servers)),
    )


def _state_of(directory: Path, settings: Settings) -> Path:
    """A local archive holds its own state if it can be written, so that every user of it shares the verification."""
    if settings.cache_dir:
        return settings.cache_dir / STATE_FOLDER
    if os.access(directory, os.W_OK):
        return directory / STATE_FOLDER
    return default_cache(str(directory)) / STATE_FOLDER


def _mode(settings: Settings, name: str, *, has_server: bool) -> Mode:
    mode = settings.mode or (Mode.AUTO if has_server else Mode.LOCAL)
    check(mode, name, Abilities(has_server=has_server, has_database=False))
    return mode


def login_of(settings: Settings) -> Login | None:
    """The login for the data server, if one is set. Raises `UsageError` if half of it is missing."""
    password = settings.data_password
    if settings.data_password_file:
        password = _first_line(settings.data_password_file)
    if settings.data_user and not password:
        raise UsageError(
            f"There is no password for the data server's user {settings.data_user}.",
            "Set ONEFS_DATA_PASSWORD, or give --data-password-file.",
        )
    return Login(settings.data_user, password) if settings.data_user else None


def _first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as stream:
            return stream.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The password file {path} cannot be read: {error}.", "Check its path and mode.") from error


def default_cache(name: str) -> Path:
    """The cache directory of a source for which none is set: readable, and different for different sources."""
    slug = re.sub(r"[^\w.-]+", "-", name).strip("-")[:60]
    digest = hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=4).hexdigest()
    return platformdirs.user_cache_path("onefs") / f"{slug}-{digest}"


def prepare(source: Source) -> None:
    """Make the directories that will be written. Raises `CacheDamagedError` if they cannot be."""
    try:
        for directory in (source.state_dir, *([source.data_dir] if source.is_cache else [])):
            directory.mkdir(parents=True, exist_ok=True)
        probe = source.state_dir / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CacheDamagedError(
            f"The cache directory {source.state_dir.parent} cannot be written: {error.strerror}.",
            "Choose another with --cache-dir, or mend its permissions.",
        ) from error
