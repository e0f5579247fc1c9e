"""`onefs setup`: give a source a name and keep the logins for it, once they are known to work."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from onefs.cli.completion import complete_sources
from onefs.cli.options import PATH, CommandWithSettings, settings_from, with_settings_of
from onefs.cli.printing import complain, say
from onefs.cli.verb_settings import SETUP
from onefs.configuration import SOURCE_KEY, read_file
from onefs.errors import AccessRefusedError, UsageError
from onefs.settings import Settings
from onefs.sources.names import check_name, file_of, known_names, remove_name, save_name, source_of

KEPT_WITH_THE_NAME = ("data_url", "s3_profile", "s3_endpoint", "s3_region")

if TYPE_CHECKING:
    from onefs.alyx.credentials import Credentials, DataCredentials
    from onefs.sources.source import Kind


@click.command("setup", cls=CommandWithSettings)
@click.argument("name", required=False, shell_complete=complete_sources)
@click.option("--url", metavar="URL", help="address of the database, or of a folder or bucket with cache tables")
@click.option("--alyx-user", "--user", metavar="NAME", help="user name for the database")
@click.option(
    "--alyx-password-file", "--password-file", type=PATH, metavar="PATH", help="file whose first line is the password"
)
@click.option("--token-file", type=PATH, metavar="PATH", help="file whose first line is a token, instead of a password")
@with_settings_of(SETUP - {"alyx_user", "alyx_password_file"})
@click.option("--no-input", is_flag=True, help="ask nothing: fail if something is missing")
@click.option("--forget", is_flag=True, help="forget NAME and its logins; what was fetched stays")
def command(name: str | None, url: str | None, no_input: bool, forget: bool, **flags: Any) -> None:
    """Save the login for a database, and give it a NAME for onefs mount.

    What no flag gives is asked for. Logins are tried before they are saved, into files that only you can read. Run it
    again to change what was saved, with --forget to remove it. ONEFS_ALYX_PASSWORD, ONEFS_ALYX_TOKEN and
    ONEFS_DATA_PASSWORD are used, too.
    """
    if forget:
        _forget(name)
        return
    if name:
        check_name(name)
    with _remedies_besides_setup():
        _set_up(name, url, flags, asks=not no_input)


@contextmanager
def _remedies_besides_setup() -> Iterator[None]:
    """A block that replaces the remedy «run onefs setup» by one for whoever is running it."""
    try:
        yield
    except AccessRefusedError as error:
        if "onefs setup" not in error.remedy:
            raise
        raise AccessRefusedError(
            error.reason,
            "Give the right login: --alyx-user and --alyx-password-file for the database, "
            "--data-user and --data-password-file for the data server.",
        ) from error


def _forget(name: str | None) -> None:
    """Drop a name and the logins that are kept for its source."""
    from onefs.sources.names import OPENALYX_URL
    from onefs.sources.setting_up import forget

    if not name:
        raise UsageError("There is no name to forget.", "Write: onefs setup --forget NAME")
    known, file = known_names(), None
    if name in known:
        file = file_of(name)
    elif name != "openalyx":
        listed = ", ".join(known) or "there are none"
        raise UsageError(f"{name!r} is no name of a source.", f"Give one of those that were set up ({listed}).")
    source = source_of(name) if file else OPENALYX_URL
    others = [other for other in known if other != name and source_of(other) == source]
    had_login, had_name = bool(source) and forget(source), remove_name(name)
    if had_login:
        shared = f", which {', '.join(others)} had, too" if others else ""
        say(f"The login of {source} is forgotten{shared}.")
    if had_name:
        say(f"The name {name} is forgotten. What was fetched stays in its cache directory.")
    elif file is not None:
        say(f"The name {name} stays, as it is the system's: {file}.")
    elif not had_login:
        say(f"No login of {name} was kept.")


def _set_up(name: str | None, url: str | None, flags: Mapping[str, Any], *, asks: bool) -> None:
    file = file_of(name) if name else None
    before = read_file(file) if file else {}
    settings = settings_from(_given(flags), file)
    url = _address(url, before, asks)
    _refuse_login_in(settings.data_url)
    from onefs.sources.setting_up import kind_of  # what knows servers is slow to import
    from onefs.sources.source import Kind

    kind = kind_of(url, settings)
    login = _log_in(url, settings, asks) if kind is Kind.DATABASE else None
    data = _data_login(url, settings, login, asks)
    changes = {SOURCE_KEY: url, **_cache(url, settings, kind, flags["cache_dir"], asks)}
    changes |= {key: flags[key].rstrip("/") for key in KEPT_WITH_THE_NAME if flags[key]}
    name = name or _new_name(url, asks)
    # Only now is anything written: whoever breaks off before leaves all as it was.
    from onefs.sources.setting_up import keep

    if keep(url, login, data):
        click.echo("The login is kept.")
    save_name(name, changes)
    say(f"Mount it with: onefs mount {name} DIRECTORY")


def _new_name(url: str, asks: bool) -> str:
    """A name that no other source has. Raises `UsageError` for one that is taken."""
    host = urlsplit(url).hostname or ""
    name = _ask("Name for it", "NAME", default=host) if asks else host
    check_name(name)
    file = file_of(name)
    other = read_file(file).get(SOURCE_KEY, url) if file else url
    if other != url:
        raise UsageError(f"{name} is the name of {other}.", f"Give another one, or change it with: onefs setup {name}")
    return name


def _ask(question: str, flag: str, **how: Any) -> str:
    """The answer to a question, which the flag gives too. Raises `UsageError` if nobody can answer."""
    try:
        return str(click.prompt(question, **how))
    except click.Abort as stop:
        if not isinstance(stop.__context__, EOFError) or sys.stdin.isatty():
            raise
        missing = question.partition(" (")[0]
        raise UsageError(
            f"{missing} is not given, and standard input is at its end.",
            f"Give {flag}; with --no-input, nothing is asked.",
        ) from None


def _given(flags: Mapping[str, Any]) -> dict[str, str | None]:
    """The flags as the settings that they are."""
    from onefs.sources.logins import first_line

    token_file = flags["token_file"]
    return {
        "alyx_user": flags["alyx_user"],
        "alyx_password_file": str(flags["alyx_password_file"]) if flags["alyx_password_file"] else None,
        "alyx_token": first_line(token_file, "token") if token_file else None,
        "cache_dir": flags["cache_dir"],
        "data_user": flags["data_user"],
        "data_password_file": flags["data_password_file"],
        **{key: flags[key] for key in KEPT_WITH_THE_NAME},
    }


def _address(url: str | None, before: Mapping[str, str], asks: bool) -> str:
    from onefs.sources.names import OPENALYX_URL
    from onefs.sources.source import url_of

    known = before.get(SOURCE_KEY, "")
    if url is None and asks:
        url = _ask("Address of the database", "--url", default=known or OPENALYX_URL)
    url = (url or known).strip().rstrip("/")
    if not url:
        raise UsageError("It is not said what to set up.", "Give --url.")
    if "://" not in url and (url.startswith(("/", ".", "~")) or Path(url).is_dir()):
        raise UsageError(f"{url} is a folder on this machine: it needs no login.", f"Run: onefs mount {url} MOUNTPOINT")
    url = url_of(url) or (url if "://" in url else f"https://{url}")
    _refuse_login_in(url)
    if not url.lower().startswith(("http://", "https://", "s3://")):
        raise UsageError(f"{url} is no address of a server.", "Give it as https://host, or as s3://bucket/prefix.")
    return url


def _refuse_login_in(url: str) -> None:
    from onefs.transports.addresses import shown

    if "@" in url.partition("://")[2].partition("/")[0]:
        raise UsageError(f"{shown(url)} was given with a login in it, which would be saved.", "Leave the login out.")


def _log_in(url: str, settings: Settings, asks: bool) -> "Credentials":
    """The login for the database, which works."""
    from onefs.sources.databases import database_of
    from onefs.sources.setting_up import lacking_for_buckets, try_login

    database = database_of(url, _with_login(url, settings) if asks else settings)
    if not database.credentials:
        raise UsageError(
            f"There is no login for {url}.",
            "Give --alyx-user and --alyx-password-file (or set ONEFS_ALYX_PASSWORD), or --token-file.",
        )
    tried = try_login(database, settings)
    who = f" of {tried.credentials.user}" if tried.credentials.user else ""
    about = f"its tables are of {tried.tables}" if tried.tables else f"but it offers no tables: {tried.problem}"
    say(f"{url} accepts the login{who}; {about.rstrip('.')}.")
    lacking = lacking_for_buckets(replace(database, credentials=tried.credentials), settings)
    if lacking:
        complain(lacking)
    return tried.credentials


def _with_login(url: str, settings: Settings) -> Settings:
    """Settings that hold a login, asked for if they do not."""
    from onefs.sources.databases import database_of

    if settings.alyx_token:
        return settings
    has_password = settings.alyx_password or settings.alyx_password_file
    none = replace(settings, alyx_user="", alyx_password="", alyx_password_file=None)
    known = database_of(url, none).credentials
    user = settings.alyx_user or _ask("User name", "--alyx-user", default=known.user or None)
    settings = replace(settings, alyx_user=user)
    if has_password:
        return settings
    is_known = bool(known) and user == known.user
    return replace(settings, alyx_password=_password("--alyx-password-file", is_known=is_known))


def _password(flag: str, *, is_known: bool) -> str:
    """A password that is asked for; "" for the one that is known."""
    hint = "Password (nothing for the one that is known)" if is_known else "Password"
    return _ask(hint, flag, default="" if is_known else None, hide_input=True, show_default=False)


def _data_login(url: str, settings: Settings, login: "Credentials | None", asks: bool) -> "DataCredentials | None":
    """The login for the data server, which works; None if nobody gives one. It is for that one server."""
    from onefs.sources.databases import data_login_of, published
    from onefs.sources.logins import login_of
    from onefs.sources.setting_up import try_data_login

    has_password = settings.data_password or settings.data_password_file
    if has_password and not (settings.data_user or asks):
        raise UsageError("There is a password for the data server, but no user name.", "Give --data-user.")
    if asks and login is not None and not published(url):
        known = data_login_of(url, replace(settings, data_user="", data_password="", data_password_file=None))
        known_user = known.login.user if known.login else ""
        user = settings.data_user or _ask(
            "User name for the data server (nothing if it wants none)",
            "--data-user",
            default=known_user,
            show_default=bool(known_user),
        )
        password = ""
        if user and not has_password:
            password = _password("--data-password-file", is_known=user == known_user)
        if known.login and user == known_user and not (password or has_password):
            password = known.login.password
        settings = replace(settings, data_user=user, data_password=password or settings.data_password)
    given = login_of(settings)
    if given is None:
        return None
    data = try_data_login(_data_server(url, settings, login, asks), given, settings)
    say(f"{data.server} accepts the login of {data.user}.")
    return data


def _data_server(url: str, settings: Settings, login: "Credentials | None", asks: bool) -> str:
    """The address of the data server that a login is for."""
    from onefs.sources.databases import data_login_of, database_of
    from onefs.sources.setting_up import data_servers_of

    known = settings.data_url or data_login_of(url, settings).server
    if known or login is None:
        return known or url
    servers = data_servers_of(replace(database_of(url, settings), credentials=login), settings)
    if len(servers) == 1:
        return servers[0]
    if asks:
        return _ask("Address of the data server", "--data-url", default=servers[0] if servers else None)
    what = f"names several data servers ({', '.join(servers)})" if servers else "names no data server"
    raise UsageError(f"{url} {what}.", "Say which one the login is for: --data-url.")


def _cache(url: str, settings: Settings, kind: "Kind", given: str | None, asks: bool) -> dict[str, str]:
    """The cache directory to keep with the name, if it is another than would be taken anyway."""
    from onefs.sources.source import resolve

    usual = str(resolve(url, replace(settings, mode=None, tag=""), kind).data_dir)
    if given is not None or not asks:
        return {"cache_dir": usual} if given is not None else {}
    chosen = _ask("Cache directory", "--cache-dir", default=usual)
    return {"cache_dir": str(Path(chosen).expanduser().absolute())} if chosen != usual else {}
