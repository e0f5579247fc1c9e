"""The parameters and tokens that the ONE client keeps in `~/.one`: read as they are, never written."""

import json
import logging
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OneParameters:
    """What ONE knows of one database. Absent texts are ""; secrets are never shown."""

    alyx_url: str
    user: str
    password: str = field(repr=False)
    token: str = field(repr=False)
    data_url: str
    data_user: str
    data_password: str = field(repr=False)
    cache_dir: Path | None


def default_folder() -> Path:
    """Where ONE keeps its parameters, whether it is there or not."""
    return Path("~/.one").expanduser()


def read(base_url: str, folder: Path) -> OneParameters | None:
    """The parameters of a database, by its address or by ONE's key; None if ONE knows nothing of it."""
    key = key_of(base_url)
    known = _json(folder / f".{key}")
    if not key or not known or _is_plain(base_url) > _is_plain(_text(known, "ALYX_URL")):
        return None
    user = _text(known, "ALYX_LOGIN")
    tokens = known.get("TOKEN")
    given = tokens.get(user) if isinstance(tokens, dict) else None
    # ONE keeps `{"token": …}` for each user, older versions the token alone.
    token = given.get("token") if isinstance(given, dict) else given
    cache_dir = _cache_map(folder).get(key)
    return OneParameters(
        alyx_url=_text(known, "ALYX_URL"),
        user=user,
        password=_text(known, "ALYX_PWD"),
        token=token if isinstance(token, str) else "",
        data_url=_text(known, "HTTP_DATA_SERVER"),
        data_user=_text(known, "HTTP_DATA_SERVER_LOGIN"),
        data_password=_text(known, "HTTP_DATA_SERVER_PWD"),
        cache_dir=Path(cache_dir) if isinstance(cache_dir, str) and cache_dir else None,
    )


def default_database(folder: Path) -> str:
    """Address of the database that ONE uses unless told otherwise, "" if none is set."""
    key = _text(_json(folder / ".caches"), "DEFAULT")
    return _text(_json(folder / f".{key}"), "ALYX_URL") if key else ""


def known_databases(folder: Path) -> list[str]:
    """Addresses of the databases that ONE knows."""
    return [url for key in _cache_map(folder) if (url := _text(_json(folder / f".{key}"), "ALYX_URL"))]


def database_in(cache_dir: Path, folder: Path) -> str:
    """Address of the database whose cache directory this is, "" if ONE knows none."""
    for key, directory in _cache_map(folder).items():
        if isinstance(directory, str) and Path(directory).expanduser() == cache_dir:
            return _text(_json(folder / f".{key}"), "ALYX_URL")
    return ""


def key_of(url: str) -> str:
    """ONE's name for a database: its address without scheme, other characters than words, dots and dashes as `_`."""
    plain = re.sub("^https?://", "", unicodedata.normalize("NFKC", url)).strip("/")
    return re.sub(r"[-\s]+", "-", re.sub(r"[^.\w\s-]", "_", plain.lower()))


def _cache_map(folder: Path) -> dict[str, Any]:
    """Cache directories by ONE's names of databases."""
    caches = _json(folder / ".caches").get("CLIENT_MAP")
    return caches if isinstance(caches, dict) else {}


def _is_plain(url: str) -> bool:
    """Whether all that is sent there can be read on the way: a login for https is none for such an address."""
    return url.lower().startswith("http://")


def _json(path: Path) -> dict[str, Any]:
    """A JSON object in a file; empty, with a warning, if the file cannot be used."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        log.warning("ONE's parameters in %s cannot be read and are left out.", path)
        return {}
    return content if isinstance(content, dict) else {}


def _text(known: dict[str, Any], key: str) -> str:
    value = known.get(key)
    return value if isinstance(value, str) else ""
