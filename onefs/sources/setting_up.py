"""Trying logins before they are kept, keeping them, and forgetting them."""

from dataclasses import dataclass, replace

from onefs.alyx import credentials as logins_kept
from onefs.alyx.credentials import Credentials, CredentialsFile, DataCredentials
from onefs.errors import AccessRefusedError, BrokenAnswerError, MissingOnServerError, UnknownRecordError
from onefs.fetch.ranges import Ranges
from onefs.settings import Settings
from onefs.sources.databases import Database, open_database, published
from onefs.sources.origins import FolderOrigin
from onefs.sources.probe import brief_http, kind_at
from onefs.sources.repositories import data_servers
from onefs.sources.source import Kind, kind_of_itself, resolve
from onefs.transports.addresses import origin, server_name
from onefs.transports.base import Location, Login
from onefs.transports.keys import INSTALL, can_sign

NOT_THERE = "onefs-tries-the-login"
"""A name that no data server has: those that let us in say that it is missing."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A login that works. `tables` says when the database made its tables, `problem` why it has none."""

    credentials: Credentials
    tables: str
    problem: str


def kind_of(url: str, settings: Settings) -> Kind:
    """What stands at a URL. Asks its server, unless that is published. Raises as `finding.kind_at` does."""
    kind = kind_of_itself(url)
    if kind is None:
        location = resolve(url, replace(settings, tag="", mode=None)).tables_url
        assert location is not None
        if location.bucket is None:
            return kind_at(location, settings)
        with brief_http(settings) as http:
            FolderOrigin(location, Ranges(http)).offered()
        kind = Kind.FOLDER
    return kind


def try_login(database: Database, settings: Settings) -> Tried:
    """Log in and ask one question. Raises `AccessRefusedError` if the login is refused, or what else went wrong."""
    tokens = [database.credentials.token]
    client = open_database(database, settings, None, tokens.append)
    tables, problem = "", ""
    try:
        tables = f"{client.tables_info().created:%Y-%m-%d %H:%M}"
    except (UnknownRecordError, BrokenAnswerError) as error:  # it let us in, but has no tables to offer
        problem = error.reason
    finally:
        client.close()
    return Tried(replace(database.credentials, token=tokens[-1]), tables, problem)


def data_servers_of(database: Database, settings: Settings) -> list[str]:
    """The HTTP data servers that a database names. Raises what is wrong with the database."""
    client = open_database(database, settings, None, lambda token: None)  # noqa: ARG005
    try:
        return data_servers(client.repositories())
    finally:
        client.close()


def lacking_for_buckets(database: Database, settings: Settings) -> str:
    """What to install for the buckets that a database has keys for; "" if it is there or none wants it."""
    if can_sign():
        return ""
    client = open_database(database, settings, None, lambda token: None)  # noqa: ARG005
    try:
        keyed = [each.name for each in client.repositories() if each.secret_key and not each.personal]
    finally:
        client.close()
    if not keyed:
        return ""
    return f"{', '.join(sorted(keyed))}: read with keys, and botocore, which signs, is not installed. {INSTALL}"


def try_data_login(url: str, login: Login, settings: Settings) -> DataCredentials:
    """Ask a data server for a file with a login. Raises `AccessRefusedError` if it refuses that, or what went wrong."""
    try:
        with brief_http(settings) as http, http.open(Location(f"{url.rstrip('/')}/{NOT_THERE}", login)):
            pass
    except MissingOnServerError:
        pass
    except AccessRefusedError as error:
        raise AccessRefusedError(
            f"{server_name(url)} refuses the login of {login.user} ({error.reason.rstrip('.')}).",
            "Give the right name and password of the data server.",
        ) from error
    return DataCredentials(origin(url), login.user, login.password)


def forget(base_url: str) -> bool:
    """Drop the logins that are kept for an address and for its data server; whether there were any."""
    return CredentialsFile(logins_kept.credentials_file()).forget(base_url)


def keep(base_url: str, login: Credentials | None, data: DataCredentials | None) -> bool:
    """Keep logins in the user's file of logins, unless everybody has them; whether one was."""
    file, public = CredentialsFile(logins_kept.credentials_file()), published(base_url)
    if public is not None and login is not None and login.user == public.credentials.user:
        login = None
    if login is not None:
        file.put(base_url, login)
    if data is not None:
        file.put_data_login(base_url, data)
    return login is not None or data is not None
