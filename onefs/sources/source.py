"""What a SOURCE means: where the tables come from, where bytes come from, and where they are kept."""

import hashlib
import os
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit
from uuid import uuid4

import platformdirs

from onefs.alf import STATE_FOLDER, is_safe_part
from onefs.alyx import one_parameters
from onefs.errors import CacheDamagedError, SourceError, UsageError
from onefs.modes import Abilities, Mode, check
from onefs.settings import Settings
from onefs.sources.databases import OPENALYX, OPENALYX_URL, Database, data_login_of, database_of, published
from onefs.sources.logins import login_of
from onefs.transports.addresses import origin
from onefs.transports.archive import ArchiveServer, bucket_server
from onefs.transports.base import Location, Login
from onefs.transports.keys import FoundKeys

FORMS = (
    "Give the URL of an Alyx database, a folder that holds cache tables or the URL of one, "
    "a name from onefs setup, openalyx or demo."
)
_S3 = "s3://"


class Kind(StrEnum):
    """What can stand at a URL."""

    FOLDER = "folder"
    DATABASE = "database"


@dataclass(frozen=True, slots=True)
class Source:
    """An archive that can be mounted.

    `tables_url` is None where the tables are at hand. With `is_cache`, files are fetched into `data_dir`; without,
    they are read there in place and nothing but `state_dir` is ever written. Without `may_displace`, files are fetched
    into a folder that is the user's own, and those that are there already are not moved even if they are wrong.
    With a `database`, the tables are asked of it (those of the release `tag`, if it is not ""), and `servers` are
    tried before the places that it names. The tables of one that `is_frozen` are its own, and no newer ones are ever
    asked for.
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
    database: Database | None = None
    tag: str = ""
    is_frozen: bool = False

    @property
    def tables_state_dir(self) -> Path:
        """Where the state of the tables is: the lock, and those that were fetched and have no place yet."""
        return self.tables_dir / STATE_FOLDER if self.is_frozen else self.state_dir

    @property
    def abilities(self) -> Abilities:
        """What modes it can be in."""
        has_database = self.database is not None
        return Abilities(
            has_server=has_database or bool(self.servers), has_database=has_database and not self.is_frozen
        )


def resolve(name: str, settings: Settings, kind: Kind = Kind.FOLDER) -> Source:
    """What a SOURCE stands for; `kind` is what is known to stand at a URL.

    Asks no server. Raises `SourceError`, `UsageError`, or `AccessRefusedError` for a file of logins that is open.
    """
    url = url_of(name)
    if url:
        return _of_database(url, settings) if kind_of_itself(url) or kind is Kind.DATABASE else _of_url(url, settings)
    if name.startswith(_S3):
        return _of_bucket(name.rstrip("/"), settings)
    directory = os.path.expanduser(name)  # noqa: PTH111 - leaves a user that does not exist as it is
    if os.path.isdir(directory):  # noqa: PTH112 - a path that cannot be looked at is no folder, and no crash
        return _of_directory(Path(directory).resolve(), settings)
    if "://" in name:
        raise SourceError(f"{name.partition('://')[0]}:// is no kind of source that onefs mounts.", FORMS)
    if "/" in name or name.startswith((".", "~")):
        raise SourceError(f"The source {name} is no folder on this machine.", FORMS)
    raise SourceError(f"{name!r} is not a source that onefs knows.", FORMS)


def url_of(name: str) -> str:
    """The URL that a SOURCE is or stands for, "" if it is of another form."""
    if name == OPENALYX:
        return OPENALYX_URL
    scheme, _, rest = name.partition("://")
    if scheme.lower() not in ("http", "https") or not rest:
        return ""
    authority, slash, path = rest.partition("/")
    login, at, host = authority.rpartition("@")
    return f"{scheme.lower()}://{login}{at}{host.lower()}{slash}{path}".rstrip("/")


def kind_of_itself(url: str) -> Kind | None:
    """What is known to stand at a URL without asking."""
    return Kind.DATABASE if published(url) else None


def _of_url(url: str, settings: Settings) -> Source:
    url, login_inside = _without_login(url)
    data_url = settings.data_url or url
    same_server = origin(data_url) == origin(url)
    login = data_login_of(url, settings).at(data_url)
    if login_inside and not (settings.data_url or settings.data_user):
        login = login_inside
    tables_url = Location(url, login_inside or (login if same_server else None))
    return _fetched(url, tables_url, _server(data_url, login, settings), _cache_of(url, settings), settings)


def _of_bucket(name: str, settings: Settings) -> Source:
    if "@" in name.partition("//")[2].partition("/")[0]:
        raise SourceError("The address of the bucket holds a login.", "Give it as s3://bucket/prefix.")
    if not name.removeprefix(_S3).partition("/")[0] or name == "s3:":
        raise SourceError("The source names no bucket.", "Give it as s3://bucket/prefix.")
    server = _server(name, None, settings)
    files = _server(settings.data_url, login_of(settings), settings) if settings.data_url else server
    cache = settings.cache_dir or default_cache(server.base_url.partition("://")[2])
    return _fetched(name, server.folder, files, cache, settings)


def _fetched(name: str, tables_url: Location, server: ArchiveServer, cache: Path, settings: Settings) -> Source:
    """A source whose tables are fetched from a folder on a server."""
    _refuse_tag(name, settings)
    return Source(
        name=name,
        tables_dir=cache,
        tables_url=tables_url,
        data_dir=cache,
        state_dir=cache / STATE_FOLDER,
        is_cache=True,
        may_displace=True,
        servers=(server,),
        mode=_mode(settings, name, Abilities(has_server=True, has_database=False)),
    )


def _of_database(url: str, settings: Settings) -> Source:
    url, login_inside = _without_login(url)
    database, public = database_of(url, settings, login_inside), published(url)
    servers = public.servers if public else ()
    if settings.data_url:
        servers = (_server(settings.data_url, database.data_login.at(settings.data_url), settings),)
    if settings.tag and (not is_safe_part(settings.tag) or settings.tag.startswith(".")):
        raise UsageError(f"{settings.tag!r} cannot be a tag.", "Give the name of a release, as the database has it.")
    cache = _cache_of(url, settings)
    return Source(
        name=url,
        tables_dir=cache,
        tables_url=None,
        data_dir=cache,
        state_dir=cache / STATE_FOLDER,
        is_cache=True,
        may_displace=True,
        servers=servers,
        mode=_mode(settings, url, Abilities(has_server=True, has_database=True)),
        database=database,
        tag=settings.tag,
    )


def _cache_of(url: str, settings: Settings) -> Path:
    """Where a source's files are kept: as settings say, else where ONE keeps those of that database."""
    if settings.cache_dir:
        return settings.cache_dir
    one = one_parameters.read(url, one_parameters.default_folder())
    if one is not None and one.cache_dir is not None and one.cache_dir.is_absolute():
        return one.cache_dir
    parts = urlsplit(url)
    return default_cache(f"{parts.netloc}{parts.path}")


def _refuse_tag(name: str, settings: Settings) -> None:
    if settings.tag:
        raise UsageError(f"--tag needs a database, and {name} has none.", "Leave it out, or mount the database.")


def _without_login(url: str) -> tuple[str, Login | None]:
    """A URL as it may be shown, and the login that stood in it. Raises `SourceError` if it is none."""
    if not _is_of_server(url):
        raise SourceError(f"{url.rpartition('@')[2]} is no URL of a server.", "Give it as https://host/folder.")
    parts = urlsplit(url)
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    shown = urlunsplit((parts.scheme, _host(url), parts.path.rstrip("/"), "", ""))
    return shown, Login(unquote(user), unquote(password)) if user else None


def _server(data_url: str, login: Login | None, settings: Settings) -> ArchiveServer:
    if data_url.startswith(_S3):
        bucket, _, prefix = data_url.removeprefix(_S3).partition("/")
        ring = FoundKeys(settings.s3_profile, timeout_s=settings.connect_timeout_s)
        signs_all = bool(settings.s3_profile)
        return bucket_server(
            bucket,
            settings.s3_region,
            prefix,
            settings.s3_endpoint,
            ring,
            signs_all=signs_all,
            names=settings.remote_names,
        )
    if not _is_of_server(data_url) and not data_url.startswith("file:///"):
        raise UsageError(
            f"{data_url.rpartition('@')[2]} is no URL of a data server.", "Give --data-url as https://host/folder."
        )
    return ArchiveServer(data_url, login, names=settings.remote_names)


def _is_of_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0 and parts.scheme in ("http", "https")
    except ValueError:  # a port that is no number, an unclosed bracket
        return False


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _of_directory(directory: Path, settings: Settings) -> Source:
    _refuse_tag(str(directory), settings)
    servers = (_server(settings.data_url, login_of(settings), settings),) if settings.data_url else ()
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
        mode=_mode(settings, str(directory), Abilities(has_server=bool(servers), has_database=False)),
    )


def _state_of(directory: Path, settings: Settings) -> Path:
    """A local archive holds its own state if it can be written, so that every user of it shares the verification."""
    if settings.cache_dir:
        return settings.cache_dir / STATE_FOLDER
    if os.access(directory, os.W_OK):
        return directory / STATE_FOLDER
    return default_cache(str(directory)) / STATE_FOLDER


def _mode(settings: Settings, name: str, abilities: Abilities) -> Mode:
    mode = settings.mode or (Mode.AUTO if abilities.has_server else Mode.LOCAL)
    check(mode, name, abilities)
    return mode


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
        probe = source.state_dir / f".probe-{uuid4().hex}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CacheDamagedError(
            f"The cache directory {source.state_dir.parent} cannot be written: {error.strerror}.",
            "Choose another with --cache-dir, or mend its permissions.",
        ) from error
