"""The settings in force: from flags, environment variables and configuration files, merged in this order."""

import difflib
import functools
import os
import shlex
import stat
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

from onefs.errors import UsageError
from onefs.setting_values import takes_text_only
from onefs.settings import PREFIX, Settings, table

SOURCE_KEY, MOUNTPOINT_KEY = "source", "mountpoint"
"""In a source's own file, what is mounted under its name, and where; all other keys are settings."""
ONES_NAMES = {"ONE_HTTP_DL_THREADS": "http_dl_threads", "ONE_REVISION_LAST_BEFORE": "as_of"}
"""Variables of ONE that are honoured too."""


def config_file() -> Path:
    """The user's configuration file, whether it is there or not."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "onefs" / "config.toml"


def merge(flags: Mapping[str, str], environment: Mapping[str, str], file: Path, named: Path | None = None) -> Settings:
    """Settings from flags over environment over `named`, a source's own file, over `file` over defaults.

    Raises `UsageError` at what is not understood.
    """
    settings = _apply(Settings(), _read_private(file), str(file))
    if named is not None:
        own = {key: value for key, value in _read_private(named).items() if key not in (SOURCE_KEY, MOUNTPOINT_KEY)}
        settings = _apply(settings, own, str(named))
    variables = {
        name.removeprefix(PREFIX).lower(): value for name, value in environment.items() if name.startswith(PREFIX)
    }
    for name, key in ONES_NAMES.items():
        if environment.get(name) and key not in variables:
            settings = _apply(
                settings, {key: environment[name]}, "the environment", spell=functools.partial(_spelled, name)
            )
    settings = _apply(settings, variables, "the environment", spell=lambda key: PREFIX + key.upper())
    return _apply(settings, flags, "the command line", spell=lambda key: "--" + key.replace("_", "-"))


def read_file(path: Path) -> dict[str, str]:
    """The values in a configuration file, as they would be written on a command line; none if it is not there."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else (error.strerror or "unknown").lower()
        raise UsageError(
            f"The configuration file {path} cannot be read: {why}.", "Mend it, its mode or its owner, or remove it."
        ) from error
    import tomllib  # slow to import, and most users have no such file

    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The configuration file {path} is not valid TOML: {error}.", "Mend that line.") from error
    return {key: _as_text(key, value, path) for key, value in values.items()}


def _read_private(path: Path) -> dict[str, str]:
    """As `read_file`. Raises `UsageError` for a file with a password or token that every user may read."""
    values = read_file(path)
    secrets = [entry.key for entry in table() if entry.secret and entry.key in values]
    if secrets and path.stat().st_mode & stat.S_IRWXO:
        raise UsageError(
            f"{path} holds {secrets[0]}, and is open to every user.",
            f"Run: chmod 600 {shlex.quote(str(path))}",
        )
    return values


def _spelled(name: str, _key: str) -> str:
    return name


def _as_text(key: str, value: object, path: Path) -> str:
    if isinstance(value, dict | list):
        what = "table" if isinstance(value, dict) else "list"
        raise UsageError(f"{key} in {path} is a {what}, and no setting takes one.", f"Write one value: {key} = …")
    entry = next((entry for entry in table() if entry.key == key), None)
    is_of_text = key in (SOURCE_KEY, MOUNTPOINT_KEY) or (entry is not None and takes_text_only(entry.parse))
    if is_of_text and not isinstance(value, str):
        raise UsageError(f"{key} in {path} takes a text, which stands in quotes.", f'Write: {key} = "…"')
    return str(value).lower() if isinstance(value, bool) else str(value)


def _apply(settings: Settings, values: Mapping[str, str], where: str, *, spell: Callable[[str], str] = str) -> Settings:
    by_key = {f.name.removesuffix("_s"): f for f in fields(Settings)}
    changes: dict[str, Any] = {}
    for key, value in values.items():
        known = by_key.get(key)
        if known is None:
            near = difflib.get_close_matches(key, by_key, n=1)
            hint = f"Did you mean {spell(near[0])}?" if near else f"Known settings: {', '.join(sorted(by_key))}."
            raise UsageError(f"{spell(key)} in {where} is not a setting.", hint)
        try:
            changes[known.name] = cast("Callable[[str], object]", known.metadata["parse"])(value)
        except ValueError as error:
            shown = "…" if known.metadata["secret"] else repr(value)
            raise UsageError(f"{spell(key)} in {where} cannot be {shown}.", f"Give {error}.") from error
    return replace(settings, **changes)
