"""What is known of a database before it is asked: its address, its login, and what is published of it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from onefs.alf import RemoteNames
from onefs.alyx import credentials as logins_kept
from onefs.alyx import one_parameters
from onefs.alyx.credentials import Credentials, CredentialsFile, DataCredentials
from onefs.errors import AccessRefusedError, UsageError
from onefs.outages import Outages
from onefs.settings import Settings
from onefs.sources.logins import credentials_of, login_of
from onefs.sources.names import OPENALYX_URL
from onefs.sources.repositories import DataLogin
from onefs.transports.addresses import origin
from onefs.transports.archive import ArchiveServer, bucket_server
from onefs.transports.base import Login

if TYPE_CHECKING:
    from onefs.alyx.client import AlyxClient

OPENALYX_DATA = "https://ibl.flatironinstitute.org/public"
RESPONSES = "responses"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Database:
    """An Alyx database and the logins for it and for its HTTP data server.

    With `keeps_tokens`, the login is from the user's file of logins, and tokens that it gives are kept there.
    """

    base_url: str
    credentials: Credentials
    data_login: DataLogin = field(default_factory=DataLogin)
    keeps_tokens: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """What everybody may know of a public database: a login, and where its files are."""

    credentials: Credentials
    servers: tuple[ArchiveServer, ...]
    data_url: str


def published(base_url: str) -> Published | None:
    """What is published of a database; None for all but the public one."""
    if base_url != OPENALYX_URL:
        return None
    return Published(
        Credentials("intbrainlab", "international"),
        (
            bucket_server("ibl-brain-wide-map-public", "us-east-1", "data", names=RemoteNames.UUID),
            ArchiveServer(OPENALYX_DATA, names=RemoteNames.UUID),
        ),
        OPENALYX_DATA,
    )


def database_of(base_url: str, settings: Settings, login_inside: Login | None = None) -> Database:
    """A database and the login that holds there; an empty one if there is none. Asks no server.

    Settings come first, then a login in the URL, the user's file of logins, ONE's parameters, what is published.
    Raises `UsageError`, or `AccessRefusedError` for a file of logins that others may read.
    """
    login, kept = _login(base_url, credentials_of(settings), login_inside)
    return Database(base_url, login, data_login_of(base_url, settings), kept)


def data_login_of(base_url: str, settings: Settings) -> DataLogin:
    """The login for a source's HTTP data server, and which that is; in the order in which `database_of` looks."""
    kept = _kept_data_login(base_url)
    one, public = one_parameters.read(base_url, one_parameters.default_folder()), published(base_url)
    has_password = settings.data_password or settings.data_password_file
    if kept and not has_password and settings.data_user in ("", kept.user):
        return DataLogin(Login(kept.user, kept.password), kept.server)
    login = login_of(settings)
    if login is not None:
        servers = (settings.data_url, kept.server, one.data_url if one else "", public.data_url if public else "")
        return DataLogin(login, next(filter(None, map(origin, servers)), ""))
    if one and one.data_url and one.data_user and one.data_password:
        return DataLogin(Login(one.data_user, one.data_password), origin(one.data_url))
    return DataLogin()


def open_database(
    database: Database,
    settings: Settings,
    state_dir: Path | None,
    keep_token: Callable[[str], None] | None = None,
    outages: Outages | None = None,
) -> "AlyxClient":
    """The client of a database, with its responses in the state directory (None: nowhere). Opens no connection."""
    from onefs.alyx.client import AlyxClient  # slow to import, and not needed to know what a source is

    def keep(token: str) -> None:
        CredentialsFile(logins_kept.credentials_file()).keep_token(database.base_url, database.credentials.user, token)

    return AlyxClient(
        database.base_url,
        database.credentials,
        responses_dir=state_dir / RESPONSES if state_dir else None,
        connect_timeout_s=settings.connect_timeout_s,
        read_timeout_s=settings.read_timeout_s,
        retry_max_s=settings.retry_max_s,
        proxy=settings.proxy,
        default_expiry_s=settings.default_expiry_s,
        cache_rest=settings.cache_rest,
        keep_token=keep_token or (keep if database.keeps_tokens else None),
        outages=outages,
    )


def _login(base_url: str, given: Credentials, inside: Login | None) -> tuple[Credentials, bool]:
    """The login for a database, and whether it is from the file of logins."""
    if given:
        return given, False
    if inside is not None and not given.user:
        return Credentials(inside.user, inside.password), False
    file = logins_kept.credentials_file()
    own = CredentialsFile(file).get(base_url)
    public = published(base_url)
    found = own or logins_kept.find(base_url, file, one_parameters.default_folder())
    if public and not found:
        found = public.credentials
    if given.user and given.user != found.user:
        raise UsageError(
            f"There is no password for the database's user {given.user}.",
            "Set ONEFS_ALYX_PASSWORD, or give --alyx-password-file.",
        )
    return found, bool(own)


def _kept_data_login(base_url: str) -> DataCredentials:
    """What the file of logins has; nothing of a file that cannot be used, as most data servers want no login."""
    try:
        return CredentialsFile(logins_kept.credentials_file()).data_login(base_url)
    except (AccessRefusedError, UsageError) as error:
        _log.warning("%s", error)
        return DataCredentials()
