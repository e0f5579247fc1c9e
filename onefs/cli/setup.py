"""`onefs setup`: give a source a name and keep the login for it, once the login is known to work."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from onefs.cli.names import check_name, file_of, save_name
from onefs.cli.options import PATH, settings_from
from onefs.errors import UsageError
from onefs.settings import SOURCE_KEY, Settings, read_file

if TYPE_CHECKING:
    from onefs.daemon.sources import Kind


@click.command("setup")
@click.argument("name", required=False)
@click.option("--url", metavar="URL", help="address of the database, or of a folder with cache tables")
@click.option("--user", metavar="NAME", help="user name for the database")
@click.option("--password-file", type=PATH, metavar="PATH", help="file whose first line is the password")
@click.option("--token-file", type=PATH, metavar="PATH", help="file whose first line is a token, for a password")
@click.option("--cache-dir", metavar="PATH", help="where fetched files are kept")
@click.option("--no-input", is_flag=True, help="ask nothing: fail if something is missing")
def command(name: str | None, url: str | None, no_input: bool, **flags: Any) -> None:
    """Keep the login for a database, and give it a NAME by which onefs mount knows it.

    What no flag tells is asked for. The login is tried before anything is saved, into files that only you can read;
    a second time changes what was saved. ONEFS_ALYX_PASSWORD and ONEFS_ALYX_TOKEN are heeded too.
    """
    asks = not no_input
    if name:
        check_name(name)
    file = file_of(name) if name else None
    before = read_file(file) if file else {}
    settings = settings_from(_given(flags), file)
    url = _address(url, before, asks)
    from onefs.daemon.setting_up import kind_of  # what knows servers is slow to import
    from onefs.daemon.sources import Kind

    kind = kind_of(url, settings)
    if kind is Kind.DATABASE:
        _log_in(url, settings, asks)
    changes = {SOURCE_KEY: url, **_cache(url, settings, kind, flags["cache_dir"], asks)}
    host = urlsplit(url).hostname or ""
    name = name or (click.prompt("Name for it", default=host) if asks else host)
    check_name(name)
    save_name(name, changes)
    click.echo(f"Mount it with: onefs mount {name} DIRECTORY")


def _given(flags: Mapping[str, Any]) -> dict[str, str | None]:
    """The flags as the settings that they are."""
    from onefs.daemon.logins import first_line

    token_file = flags["token_file"]
    return {
        "alyx_user": flags["user"],
        "alyx_password_file": str(flags["password_file"]) if flags["password_file"] else None,
        "alyx_token": first_line(token_file, "token") if token_file else None,
        "cache_dir": flags["cache_dir"],
    }


def _address(url: str | None, before: Mapping[str, str], asks: bool) -> str:
    from onefs.daemon.databases import OPENALYX_URL
    from onefs.daemon.sources import url_of

    known = before.get(SOURCE_KEY, "")
    if url is None and asks:
        url = click.prompt("Address of the database", default=known or OPENALYX_URL)
    url = (url or known).strip().rstrip("/")
    if not url:
        raise UsageError("It is not said what to set up.", "Give --url.")
    url = url_of(url) or (url if "://" in url else f"https://{url}")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or "@" in parts.netloc:
        why = "holds a login" if "@" in parts.netloc else "is no address of a server"
        raise UsageError(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]} {why}.", "Give it as https://host.")
    return url


def _log_in(url: str, settings: Settings, asks: bool) -> None:
    """Try the login, and keep it if it works."""
    from onefs.daemon.databases import database_of
    from onefs.daemon.setting_up import keep, try_login

    database = database_of(url, _with_login(url, settings) if asks else settings)
    if not database.credentials:
        raise UsageError(
            f"There is no login for {url}.",
            "Give --user and --password-file, or --token-file, or set ONEFS_ALYX_PASSWORD.",
        )
    tried = try_login(database, settings)
    who = f" of {tried.credentials.user}" if tried.credentials.user else ""
    about = f"its tables are of {tried.tables}" if tried.tables else f"but it offers no tables: {tried.problem}"
    click.echo(f"{url} accepts the login{who}; {about.rstrip('.')}.")
    if keep(database, tried.credentials):
        click.echo("The login is kept.")


def _with_login(url: str, settings: Settings) -> Settings:
    """Settings that hold a login, asked for if they do not."""
    from onefs.daemon.databases import database_of

    if settings.alyx_token:
        return settings
    has_password = settings.alyx_password or settings.alyx_password_file
    none = replace(settings, alyx_user="", alyx_password="", alyx_password_file=None)
    known = database_of(url, none).credentials
    user = settings.alyx_user or click.prompt("User name", default=known.user or None)
    settings = replace(settings, alyx_user=user)
    if has_password:
        return settings
    default = "" if user == known.user and known else None
    hint = "Password (nothing for the one that is known)" if default is not None else "Password"
    password = click.prompt(hint, default=default, hide_input=True, show_default=False)
    return replace(settings, alyx_password=password)


def _cache(url: str, settings: Settings, kind: "Kind", given: str | None, asks: bool) -> dict[str, str]:
    """The cache directory to keep with the name, if it is another than would be taken anyway."""
    from onefs.daemon.sources import resolve

    usual = str(resolve(url, replace(settings, mode=None, tag=""), kind).data_dir)
    if given is not None or not asks:
        return {"cache_dir": usual} if given is not None else {}
    chosen = click.prompt("Cache directory", default=usual)
    return {"cache_dir": str(Path(chosen).expanduser().absolute())} if chosen != usual else {}
