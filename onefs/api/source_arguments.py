"""From the arguments of `ONE`, `One` and `OneAlyx` to a source and the settings in force."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from onefs.alyx import one_parameters
from onefs.cache.sharing import state_folder
from onefs.configuration import config_file, merge
from onefs.errors import UsageError
from onefs.modes import Mode, parse
from onefs.settings import Settings
from onefs.sources.claims import source_note
from onefs.sources.names import OPENALYX, known_names, look_up, named, source_of
from onefs.sources.source import Kind, Source, resolve, url_of
from onefs.transports.addresses import shown

if TYPE_CHECKING:
    from onefs.alyx.credentials import Credentials

PathLike = str | os.PathLike[str]
DEFAULT = "default"
"""The name under which the database is set up that `ONE()` opens."""

CACHED_REQUESTS = ("GET", "*")
NO_LOGIN: Mapping[str, Any] = {"alyx_user": "", "alyx_password": "", "alyx_password_file": None, "alyx_token": ""}


class Chosen(NamedTuple):
    """A source, and the settings that hold for it."""

    source: Source
    settings: Settings


def mode_of(word: object) -> Mode:
    """The mode that a word names. Raises `UsageError`."""
    if not isinstance(word, str):
        raise UsageError(f"{word!r} is no mode.", "Give one of " + ", ".join(Mode) + ".")
    return parse(word)


def path_of(path: PathLike) -> Path:
    """A path from / on, `~` put right; links stay as they are."""
    return Path(path).expanduser().absolute()


def settings_in_force(own: Path | None = None, **changes: Any) -> Settings:
    """The settings of the environment and of the configuration files, `own` the source's, with these changes.

    Raises `UsageError`.
    """
    return replace(merge({}, os.environ, config_file(), own), **changes)


def last_before() -> str | None:
    """The revision that stands for one that a call does not give: the setting `as_of`; None if there is none."""
    return settings_in_force().as_of or None


def folder(cache_dir: PathLike, tables_dir: PathLike | None = None) -> Chosen:
    """A folder of files and tables. Raises `UsageError` if it is none."""
    directory = path_of(cache_dir)
    if not directory.is_dir():
        raise UsageError(f"There is no folder {directory}.", "Give the folder that holds the cache tables.")
    settings = settings_in_force(mode=Mode.LOCAL, tag="", data_url="")
    source = resolve(str(directory), settings)
    return Chosen(source if tables_dir is None else replace(source, tables_dir=path_of(tables_dir)), settings)


def database(
    base_url: str | None,
    mode: Mode,
    *,
    cache_dir: PathLike | None = None,
    tables_dir: PathLike | None = None,
    login: Mapping[str, str] | None = None,
    cache_rest: str | None = "GET",
) -> Chosen:
    """A database, by its URL or a name; None: the default one. `login` holds settings of the login.

    Raises `UsageError`, `SourceError`, or `AccessRefusedError` for a file of logins that is open.
    """
    if cache_rest is not None and cache_rest not in CACHED_REQUESTS:
        raise UsageError(f"{cache_rest!r} is no kind of request.", "Give cache_rest='GET', or None to keep no answers.")
    meant = named(base_url or default_database())
    settings = settings_in_force(meant.file, mode=mode)
    if login:  # what is set of another login is none of this one
        settings = replace(settings, **{**NO_LOGIN, **login})
    if cache_rest is None:
        settings = replace(settings, cache_rest=False)
    if cache_dir is not None:
        settings = replace(settings, cache_dir=path_of(cache_dir))
    if not url_of(meant.source):
        reason = f"{shown(meant.source)} is no database."
        raise UsageError(reason, "Give the URL of an Alyx database, or One(cache_dir).")
    source = resolve(meant.source, settings, Kind.DATABASE)
    return Chosen(source if tables_dir is None else replace(source, tables_dir=path_of(tables_dir)), settings)


def database_of_user(
    base_url: str, login: "Credentials", mode: Mode, *, cache_dir: PathLike, tables_dir: PathLike | None = None
) -> Chosen:
    """A database for a login, or with a user's name alone for that user's own one, as far as it is kept."""
    chosen = database(base_url, mode, cache_dir=cache_dir, tables_dir=tables_dir)
    known = chosen.source.database
    assert known is not None, "database gives nothing else"
    is_kept = login == known.credentials if login else login.user == known.credentials.user
    if is_kept:
        return chosen
    known = replace(known, credentials=login, keeps_tokens=False)
    return Chosen(replace(chosen.source, database=known), chosen.settings)


def data_url_of(chosen: Chosen) -> str:
    """The address of a database's data server, as it is set or known; "" if it is not known."""
    known = chosen.source.database
    if chosen.settings.data_url or known is None:
        return chosen.settings.data_url
    from onefs.sources.databases import published

    of_one, public = one_parameters.read(known.base_url, one_parameters.default_folder()), published(known.base_url)
    return (of_one.data_url if of_one else "") or (public.data_url if public else "")


def default_database() -> str:
    """The database that is meant when none is named: that set up as `default`, else that of `~/.one`, else openalyx."""
    if source_of(DEFAULT):
        return DEFAULT
    return one_parameters.default_database(one_parameters.default_folder()) or OPENALYX


def default_cache_dir() -> Path:
    """Where the files of the default database are kept."""
    return database(None, Mode.LOCAL).source.data_dir


def databases() -> dict[str, Path]:
    """Cache directories by URL of the databases that onefs and `~/.one` know."""
    urls = [url_of(source_of(name)) or "" for name in known_names()]
    urls += one_parameters.known_databases(one_parameters.default_folder())
    urls.append(url_of(OPENALYX))
    found = {}
    for url in filter(None, dict.fromkeys(urls)):
        chosen = database(url, Mode.LOCAL)
        found[chosen.source.name] = chosen.source.data_dir
    return found


def database_in(cache_dir: PathLike) -> str:
    """The URL of the database that a cache directory is for, "" if it is for none."""
    directory = path_of(cache_dir)
    note = source_note(state_folder(directory))
    try:
        name, _, kind = note.read_text(encoding="utf-8", errors="replace").strip().partition("\n")
    except OSError:
        name = kind = ""
    if url_of(name) and kind != Kind.FOLDER:
        return name
    for name in known_names():
        file = look_up(name).file
        own = settings_in_force(file).cache_dir if file else None
        if own is not None and own == directory and url_of(source_of(name)):
            return source_of(name)
    return one_parameters.database_in(directory, one_parameters.default_folder())
