"""What onefs and ONE keep of databases: addresses, user names and cache directories.

Settings and `onefs setup` come first, then ONE's `~/.one`, which is only read.
"""

from pathlib import Path
from typing import Any

from onefs.alf_files.bunch import Bunch
from onefs.alyx import one_parameters
from onefs.api import source_arguments
from onefs.api.setup import KnownDatabases, known_databases, set_up_database
from onefs.api.source_arguments import PathLike
from onefs.configuration import config_file
from onefs.modes import Mode
from onefs.one_errors import UsageError, api_errors

__all__ = ["check_cache_conflict", "get", "get_cache_dir", "get_default_client", "get_params_dir", "setup"]

_NOT_HERE = {
    "save": "onefs keeps logins itself: use params.setup or onefs setup.",
    "delete_params": "Remove what is kept of a database with onefs setup --forget NAME.",
}


@api_errors
def get(client: str | None = None, silent: bool = False, username: str | None = None) -> Bunch:  # noqa: ARG001
    """What is known of a database, by its URL or name; None: the default one. Nothing is asked for.

    Keys as in ONE: `ALYX_URL`, `ALYX_LOGIN`, `HTTP_DATA_SERVER`, `HTTP_DATA_SERVER_LOGIN`, `HTTP_DATA_SERVER_PWD`,
    `CACHE_DIR`; None for what is not known.
    """
    chosen = source_arguments.database(_url_of(client), Mode.LOCAL)
    source = chosen.source
    known = source.database
    assert known is not None, "source_arguments.database gives nothing else"
    data_url = source_arguments.data_url_of(chosen)
    login = known.data_login.at(data_url) if data_url else None
    return Bunch(
        ALYX_URL=known.base_url,
        ALYX_LOGIN=username or known.credentials.user or None,
        HTTP_DATA_SERVER=data_url or None,
        HTTP_DATA_SERVER_LOGIN=login.user if login else None,
        HTTP_DATA_SERVER_PWD=login.password if login else None,
        CACHE_DIR=str(source.data_dir),
    )


@api_errors
def get_cache_dir(client: str | None = None) -> Path:
    """Where the files of a database are kept, None: of the default one; the folder is made."""
    directory = source_arguments.database(_url_of(client), Mode.LOCAL).source.data_dir
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@api_errors
def get_default_client(include_schema: bool = True) -> str:
    """The URL of the default database; without `include_schema` the name that ONE has for it."""
    url = source_arguments.database(None, Mode.LOCAL).source.name
    return url if include_schema else one_parameters.key_of(url)


def get_params_dir() -> Path:
    """The folder of onefs's configuration."""
    return config_file().parent


@api_errors
def check_cache_conflict(cache_dir: PathLike) -> None:
    """Raise `UsageError`, which is an AssertionError too, if a directory is the cache of a database."""
    url = source_arguments.database_in(cache_dir)
    if url:
        raise UsageError(f"{cache_dir} is the cache directory of {url}.", "Give another directory.")


@api_errors
def setup(
    client: str | None = None,
    silent: bool = False,
    make_default: bool | None = None,
    username: str | None = None,
    cache_dir: PathLike | None = None,
) -> KnownDatabases:
    """Try the login of a database and keep it, as `ONE.setup` does. The map of databases."""
    set_up_database(_url_of(client), username, cache_dir, silent=silent, make_default=make_default)
    return known_databases()


def _url_of(client: str | None) -> str | None:
    """The URL of a database that is given by ONE's name for it; else what was given."""
    if client is None or "://" in client:
        return client
    return next((url for url in source_arguments.databases() if one_parameters.key_of(url) == client), client)


def __getattr__(name: str) -> Any:
    raise AttributeError(f"onefs.api.params has no {name!r}. {_NOT_HERE.get(name, '')}".strip())
