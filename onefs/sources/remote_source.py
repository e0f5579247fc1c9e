"""Sources whose tables or files are on a server: databases, and folders at URLs or in buckets."""

from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from onefs.alf import is_safe_part
from onefs.alyx import one_parameters
from onefs.cache.sharing import state_folder
from onefs.errors import SourceError, UsageError
from onefs.modes import Abilities
from onefs.settings import Settings
from onefs.sources.databases import data_login_of, database_of, published
from onefs.sources.logins import login_of
from onefs.sources.source import S3, Source, default_cache, mode_of, refuse_tag, tables_folder
from onefs.transports.addresses import origin
from onefs.transports.archive import ArchiveServer, bucket_server
from onefs.transports.base import Location, Login
from onefs.transports.keys import FoundKeys


def of_database(url: str, settings: Settings) -> Source:
    """An Alyx database. Raises as `onefs.sources.source.resolve` does."""
    url, login_inside = _without_login(url)
    database, public = database_of(url, settings, login_inside), published(url)
    servers = public.servers if public else ()
    if settings.data_url:
        servers = (_server(settings.data_url, database.data_login.at(settings.data_url), settings),)
    if settings.tag and (not is_safe_part(settings.tag) or settings.tag.startswith(".")):
        raise UsageError(f"{settings.tag!r} cannot be a tag.", "Give the name of a release, as the database has it.")
    cache = _cache_of(url, settings)
    state_dir = state_folder(cache)
    return Source(
        name=url,
        tables_dir=tables_folder(cache, state_dir, settings),
        tables_url=None,
        data_dir=cache,
        state_dir=state_dir,
        is_cache=True,
        may_displace=True,
        servers=servers,
        mode=mode_of(settings, url, Abilities(has_server=True, has_database=True)),
        database=database,
        tag=settings.tag,
    )


def of_folder(url: str, settings: Settings) -> Source:
    """A folder with cache tables at a URL. Raises `SourceError` or `UsageError`."""
    url, login_inside = _without_login(url)
    data_url = settings.data_url or url
    same_server = origin(data_url) == origin(url)
    login = data_login_of(url, settings).at(data_url)
    if login_inside and not (settings.data_url or settings.data_user):
        login = login_inside
    tables_url = Location(url, login_inside or (login if same_server else None))
    return _fetched(url, tables_url, _server(data_url, login, settings), _cache_of(url, settings), settings)


def of_bucket(name: str, settings: Settings) -> Source:
    """A folder with cache tables in a bucket. Raises `SourceError` or `UsageError`."""
    if "@" in name.partition("//")[2].partition("/")[0]:
        raise SourceError("The address of the bucket holds a login.", "Give it as s3://bucket/prefix.")
    if not name.removeprefix(S3).partition("/")[0] or name == "s3:":
        raise SourceError("The source names no bucket.", "Give it as s3://bucket/prefix.")
    server = _server(name, None, settings)
    files = data_server(settings) if settings.data_url else server
    cache = settings.cache_dir or default_cache(server.base_url.partition("://")[2])
    return _fetched(name, server.folder, files, cache, settings)


def data_server(settings: Settings) -> ArchiveServer:
    """The data server in the settings. Raises `UsageError`."""
    return _server(settings.data_url, login_of(settings), settings)


def _fetched(name: str, tables_url: Location, server: ArchiveServer, cache: Path, settings: Settings) -> Source:
    """A source whose tables are fetched from a folder on a server."""
    refuse_tag(name, settings)
    state_dir = state_folder(cache)
    return Source(
        name=name,
        tables_dir=tables_folder(cache, state_dir, settings),
        tables_url=tables_url,
        data_dir=cache,
        state_dir=state_dir,
        is_cache=True,
        may_displace=True,
        servers=(server,),
        mode=mode_of(settings, name, Abilities(has_server=True, has_database=False)),
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


def _without_login(url: str) -> tuple[str, Login | None]:
    """A URL as it may be shown, and the login that stood in it. Raises `SourceError` if it is none."""
    if not _is_of_server(url):
        raise SourceError(f"{url.rpartition('@')[2]} is no URL of a server.", "Give it as https://host/folder.")
    parts = urlsplit(url)
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    shown = urlunsplit((parts.scheme, _host(url), parts.path.rstrip("/"), "", ""))
    return shown, Login(unquote(user), unquote(password)) if user else None


def _server(data_url: str, login: Login | None, settings: Settings) -> ArchiveServer:
    if data_url.startswith(S3):
        bucket, _, prefix = data_url.removeprefix(S3).partition("/")
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
