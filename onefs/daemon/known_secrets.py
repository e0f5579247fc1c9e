"""Every secret of this user that onefs can know of, so that none of them is put into a bundle."""

import configparser
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onefs.configuration import config_file
from onefs.redaction import secrets_in
from onefs.settings import Settings, table
from onefs.sources.names import SYSTEM_FOLDER

LARGEST_BYTES = 1 << 20
NO_SECRETS = {"PWD", "OLDPWD", "XDG_SESSION_ID", "CREDENTIALS_DIRECTORY", "TOKENIZERS_PARALLELISM"}
"""Variables whose names look like those of secrets. To take out the working directory would spoil every path."""
_SECRET_FILE = re.compile(r"(password|token)_file$")
_NETRC = re.compile(r"\b(?:password|account)\s+(\S+)")


def known_secrets(settings: Settings) -> set[str]:
    """Passwords, tokens and keys in settings, variables and files. What cannot be read is passed over."""
    found = {str(getattr(settings, entry.name)) for entry in table() if entry.secret}
    found |= secrets_in({entry.name: str(getattr(settings, entry.name)) for entry in table()})
    found |= secrets_in({name: value for name, value in os.environ.items() if name not in NO_SECRETS})
    files = {Path(str(getattr(settings, entry.name))) for entry in table() if _SECRET_FILE.search(entry.name)}
    for values in _toml_files():
        found |= secrets_in(values)
        files |= {Path(str(each)).expanduser() for key, each in values.items() if _SECRET_FILE.search(key)}
    for file in files:
        found |= set(_text(file).splitlines())
    for values in (*_json_files(), *_ini_files()):
        found |= secrets_in(values)
    found |= set(_NETRC.findall(_text(Path(os.environ.get("NETRC") or "~/.netrc").expanduser())))
    return {secret.strip() for secret in found} - {"", "None"}


def _toml_files() -> Iterator[Mapping[str, Any]]:
    for folder in (config_file().parent, SYSTEM_FOLDER):
        for file in sorted(folder.glob("*.toml")):
            try:
                yield tomllib.loads(_text(file))
            except tomllib.TOMLDecodeError:
                continue


def _json_files() -> Iterator[Any]:
    """What ONE keeps in `~/.one`, and AWS tools of logins that hold for a while."""
    home = Path.home()
    places = (home / ".one", home / ".aws/sso/cache", home / ".aws/cli/cache")
    for file in (each for place in places if place.is_dir() for each in sorted(place.rglob("*"))):
        try:
            yield json.loads(_text(file))
        except ValueError:
            continue


def _ini_files() -> Iterator[Any]:
    for variable, usual in (("AWS_SHARED_CREDENTIALS_FILE", "credentials"), ("AWS_CONFIG_FILE", "config")):
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(_text(Path(os.environ.get(variable) or f"~/.aws/{usual}").expanduser()))
        except configparser.Error:
            continue
        yield {section: dict(parser[section]) for section in parser.sections()}


def _text(file: Path) -> str:
    """A file's text, "" if it cannot be read, or is too large to be one of these."""
    try:
        if not file.is_file() or file.stat().st_size > LARGEST_BYTES:
            return ""
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
