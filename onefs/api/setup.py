"""`setup` of `One` and `OneAlyx`: makes the tables of a folder, or keeps the login of a database; asks for the rest."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from getpass import getpass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from onefs.alf import TABLE_NAMES
from onefs.alyx.credentials import Credentials
from onefs.api import source_arguments
from onefs.api.source_arguments import PathLike
from onefs.configuration import SOURCE_KEY
from onefs.errors import AccessRefusedError
from onefs.modes import Mode
from onefs.sources.names import look_up, save_name
from onefs.sources.setting_up import keep, try_login


class KnownDatabases(NamedTuple):
    """The databases that onefs and ONE know: `CLIENT_MAP` has the cache directory of each URL."""

    CLIENT_MAP: Mapping[str, str]
    DEFAULT: str


def known_databases() -> KnownDatabases:
    """The map of databases, and the one that `ONE()` opens."""
    found = {url: str(directory) for url, directory in source_arguments.databases().items()}
    return KnownDatabases(found, look_up(source_arguments.default_database()).source)


def set_up_folder(cache_dir: PathLike | None, *, silent: bool, **kwargs: Any) -> Path:
    """Make the tables of a folder, and return that; `silent` leaves those that are there.

    Raises `FileNotFoundError` if there is no such folder.
    """
    from onefs.api.cache import make_parquet_db

    asks = not silent and sys.stdin.isatty()
    if cache_dir is None and asks:
        cache_dir = input(f"Folder to index [{Path.cwd()}]: ").strip() or None
    folder = source_arguments.path_of(cache_dir or Path.cwd())
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}. Make it, or give another.")
    has_tables = any((folder / name).exists() for name in TABLE_NAMES)
    if not has_tables or (asks and _says_yes(f"Replace the cache tables in {folder}? [y/N]: ")):
        make_parquet_db(folder, **kwargs)
    return folder


def set_up_database(
    base_url: str | None,
    username: str | None,
    cache_dir: PathLike | None,
    *,
    silent: bool,
    make_default: bool | None,
) -> str:
    """Try the login of a database and keep it; returns its URL. Raises `AccessRefusedError` if it is refused."""
    asks = not silent and sys.stdin.isatty()
    if base_url is None and asks:
        default = look_up(source_arguments.default_database()).source
        base_url = input(f"URL of the database [{default}]: ").strip() or None
    chosen = source_arguments.database(base_url, Mode.AUTO, cache_dir=cache_dir)
    known = chosen.source.database
    assert known is not None, "source_arguments.database gives nothing else"
    login = known.credentials
    if username not in (None, login.user):
        login = Credentials(username or "")
    if not (login.password or login.token) and asks:
        name = login.user or input(f"User of {known.base_url}: ").strip()
        login = Credentials(name, getpass(f"Password of {name}: "))
    if not login:
        raise AccessRefusedError(
            f"There is no login for {known.base_url}.",
            "Give it: ONE.setup(base_url) in a terminal, or ONE(username=…, password=…).",
        )
    tried = try_login(replace(known, credentials=login), chosen.settings)
    keep(known.base_url, tried.credentials, None)
    if make_default is None and asks:
        make_default = not input("Let ONE() open it from now on? [Y/n]: ").strip().lower().startswith("n")
    changes = {SOURCE_KEY: known.base_url}
    if cache_dir is not None:
        changes["cache_dir"] = str(source_arguments.path_of(cache_dir))
        save_name(_name_of(known.base_url), changes)
    if make_default:
        save_name(source_arguments.DEFAULT, changes)
    return known.base_url


def _says_yes(question: str) -> bool:
    return input(question).strip().lower() == "y"


def _name_of(base_url: str) -> str:
    """The name under which a database is set up."""
    parts = urlsplit(base_url)
    return (parts.hostname or "database").replace(":", "-") + (f"-{parts.port}" if parts.port else "")
