"""Owns trying a login before it is kept, and keeping it."""

from dataclasses import dataclass, replace

from onefs.alyx import credentials as logins_kept
from onefs.alyx.credentials import Credentials, CredentialsFile
from onefs.daemon.databases import Database, open_database, published
from onefs.daemon.finding import kind_at
from onefs.daemon.sources import Kind, kind_of_itself, resolve
from onefs.errors import BrokenAnswerError, UnknownRecordError
from onefs.settings import Settings


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
        kind = kind_at(location, settings)
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


def keep(database: Database, login: Credentials) -> bool:
    """Keep a login in the user's file of logins, unless everybody has it; whether it was."""
    public = published(database.base_url)
    if public is not None and login.user == public.credentials.user:
        return False
    CredentialsFile(logins_kept.credentials_file()).put(database.base_url, login)
    return True
