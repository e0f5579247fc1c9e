"""Every setting once: name, type, unit, default and a line of description; and the parsers of their values."""

import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any

from onefs.alf import RemoteNames
from onefs.modes import Mode

PREFIX = "ONEFS_"
LONGEST_S = 366 * 86400.0
SMALLEST_BLOCK_BYTES = 64 << 10
LARGEST_BLOCK_BYTES = 64 << 20
_COUNT = re.compile(r"[0-9]{1,6}")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|min|h|d)?")
_SIZE = re.compile(r"([0-9]{1,12})\s*([kmgtKMGT]?)(?:i?B)?")
_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_OCTAL = re.compile(r"0o?([0-7]{3})")
_LOGIN = re.compile(r"//[^/]*@")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}
_YES_NO = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


class Group(Enum):
    """The groups of settings in the order of the help. The values are their titles."""

    SOURCE = "Source"
    LOGIN = "Logins"
    VIEW = "View"
    CACHE = "Cache"
    NETWORK = "Network"
    DATABASE = "Tables and database"
    MOUNT = "Mount"
    LOGGING = "Logging"
    OPERATION = "Recording and monitoring"


class Permissions(int):
    """Permission bits of files or directories; as text in octal."""

    def __str__(self) -> str:
        return f"{int(self):04o}"


def duration_s(text: str) -> float:
    """Seconds of `2`, `2s`, `500ms`, `5m`, `24h`, `7d`."""
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise ValueError("a duration such as 2s, 500ms, 5m or 24h")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > LONGEST_S:
        raise ValueError("a duration of at most a year")
    return seconds


def _timeout_s(text: str) -> float:
    seconds = duration_s(text)
    if not seconds:
        raise ValueError("a duration above 0")
    return seconds


def _yes_or_no(text: str) -> bool:
    try:
        return _YES_NO[text.strip().lower()]
    except KeyError:
        raise ValueError("on or off") from None


def _count(text: str) -> int:
    if not _COUNT.fullmatch(text.strip()) or int(text) < 1:
        raise ValueError("a whole number from 1 to 999999")
    return int(text)


def _size_bytes(text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError("a size such as 512K, 64M or 1G")
    return int(match[1]) * _BYTES[match[2].upper()]


def _block_bytes(text: str) -> int:
    size_bytes = _size_bytes(text)
    if not SMALLEST_BLOCK_BYTES <= size_bytes <= LARGEST_BLOCK_BYTES:
        raise ValueError("a size from 64K to 64M")
    return size_bytes


@dataclass(frozen=True, slots=True)
class _Choice:
    """Parses one of several words, in whatever case."""

    words: tuple[str, ...]

    def __call__(self, text: str) -> str:
        for word in self.words:
            if text.strip().lower() == word.lower():
                return word
        raise ValueError("one of " + ", ".join(self.words))


def _one_of(*words: str) -> _Choice:
    return _Choice(words)


def revision_bound(text: str) -> str:
    """A text as revisions are compared with it, mostly a date; "" for `none`. Raises ValueError."""
    text = text.strip()
    if not text or not text.isprintable():
        raise ValueError("a date such as 2024-04-01, another text to compare revisions with, or none")
    return "" if text.lower() == "none" else text


qc_level = _one_of("NOT_SET", "PASS", "WARNING", "FAIL", "CRITICAL")


def _permissions(owner_has: int) -> Callable[[str], Permissions]:
    """A parser of octal text. TOML's 0o644 comes as "420", so the leading 0 is required."""

    def parse(text: str) -> Permissions:
        match = _OCTAL.fullmatch(text.strip())
        if not match or int(match[1], 8) & owner_has != owner_has:
            example = "0755" if owner_has & stat.S_IXUSR else "0644"
            raise ValueError(f'octal permissions with a 0 before them that let the owner in, such as "{example}"')
        return Permissions(match[1], 8)

    return parse


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("a path")
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise ValueError("a path; there is no such user") from None


def _text(text: str) -> str:
    return text


def _proxy(text: str) -> str:
    """With its scheme, so that a login in it is seen to be one."""
    return text if not text or "://" in text else f"http://{text}"


def _setting(
    default: Any, parse: Callable[[str], object], doc: str, unit: str = "", *, group: Group, secret: bool = False
) -> Any:
    metadata = {"parse": parse, "doc": doc, "unit": unit, "group": group, "secret": secret}
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force. Each field is a flag, an `ONEFS_` variable and a line of the configuration file."""

    cache_dir: Path | None = _setting(
        None, _path, "where fetched files are kept", "the user's cache folder", group=Group.CACHE
    )
    uuid_filenames: bool = _setting(
        False,
        _yes_or_no,
        "put each dataset's UUID into the names of fetched files, as ONE's uuid_filenames does",
        group=Group.CACHE,
    )
    mode: Mode | None = _setting(
        None, _one_of(*Mode), "local, auto, refresh or remote", "auto, local for a folder", group=Group.SOURCE
    )
    tag: str = _setting(
        "", _text, "release whose datasets alone are shown, of a source with a database", group=Group.SOURCE
    )
    alyx_user: str = _setting(
        "", _text, "user name for the database, in place of the one that is kept", group=Group.LOGIN
    )
    alyx_password: str = _setting("", _text, "password for the database", secret=True, group=Group.LOGIN)
    alyx_password_file: Path | None = _setting(
        None, _path, "file whose first line is that password", "none", group=Group.LOGIN
    )
    alyx_token: str = _setting(
        "", _text, "token for the database, in place of a password", secret=True, group=Group.LOGIN
    )
    data_url: str = _setting("", _text, "base URL of the files, if they are not beside the tables", group=Group.SOURCE)
    remote_names: RemoteNames = _setting(
        RemoteNames.AUTO,
        _one_of(*RemoteNames),
        "names of files on servers: uuid (name.UUID.ext), plain, or auto, which tries both and remembers which it was",
        group=Group.SOURCE,
    )
    data_user: str = _setting("", _text, "user name for the data server", group=Group.LOGIN)
    data_password: str = _setting("", _text, "password for the data server", secret=True, group=Group.LOGIN)
    data_password_file: Path | None = _setting(
        None, _path, "file whose first line is that password", "none", group=Group.LOGIN
    )
    view: str = _setting(
        "full",
        _one_of("full", "default"),
        "full shows every edition of a file, default one, without #revision# folders",
        group=Group.VIEW,
    )
    as_of: str = _setting(
        "",
        revision_bound,
        "date, or other text: editions that come after it are not shown; also `ONE_REVISION_LAST_BEFORE`",
        "none",
        group=Group.VIEW,
    )
    qc: str = _setting("FAIL", qc_level, "worst quality control outcome that is shown", group=Group.VIEW)
    ignore_qc_not_set: bool = _setting(
        False, _yes_or_no, "hide also what has no quality control outcome", group=Group.VIEW
    )
    verify: str = _setting(
        "auto",
        _one_of("auto", "strict", "warn", "off"),
        "strict serves verified bytes only, auto also blocks of large files before they are whole, "
        "warn serves mismatches, off checks sizes only",
        group=Group.CACHE,
    )
    whole_file_max: int = _setting(
        64 << 20,
        _size_bytes,
        "files up to this size are fetched whole, larger ones by blocks",
        "bytes",
        group=Group.NETWORK,
    )
    block_size: int = _setting(
        512 << 10, _block_bytes, "size of the blocks that large files are fetched in", "bytes", group=Group.NETWORK
    )
    read_ahead_max: int = _setting(
        64 << 20,
        _size_bytes,
        "how far a large file that is read in order is fetched ahead, at most",
        "bytes",
        group=Group.NETWORK,
    )
    http_dl_threads: int = _setting(
        4,
        _count,
        "parts of one large file fetched at the same time; also `ONE_HTTP_DL_THREADS`",
        group=Group.NETWORK,
    )
    cache_size: int = _setting(
        0,
        _size_bytes,
        "most that onefs keeps of what it fetched, the least recently used goes first; 0 for no limit",
        "bytes",
        group=Group.CACHE,
    )
    cache_min_free: int = _setting(
        0,
        _size_bytes,
        "room that is left free on the cache's disk, by the same means; 0 for none",
        "bytes",
        group=Group.CACHE,
    )
    open_wait_s: float = _setting(
        2.0, duration_s, "how long open waits, so that a failure is told there", "s", group=Group.NETWORK
    )
    connect_timeout_s: float = _setting(
        10.0, _timeout_s, "how long a server may take to accept a connection", "s", group=Group.NETWORK
    )
    read_timeout_s: float = _setting(30.0, _timeout_s, "how long a server may stay silent", "s", group=Group.NETWORK)
    cache_expiry_s: float = _setting(
        86400.0, duration_s, "age at which newer tables are asked for", "s", group=Group.DATABASE
    )
    refresh_interval_s: float = _setting(
        60.0,
        duration_s,
        "mode refresh asks for newer tables before a listing, but not more often",
        "s",
        group=Group.DATABASE,
    )
    cache_rest: bool = _setting(True, _yes_or_no, "keep the database's responses", group=Group.DATABASE)
    default_expiry_s: float = _setting(
        86400.0, duration_s, "how long the database's responses are good for", "s", group=Group.DATABASE
    )
    retry_max_s: float = _setting(
        60.0, duration_s, "how long a busy database is waited for, in all", "s", group=Group.DATABASE
    )
    report_mismatch: bool = _setting(
        False,
        _yes_or_no,
        "note wrong hashes and sizes on the database's file records; nothing else is ever written",
        group=Group.DATABASE,
    )
    s3_endpoint: str = _setting("", _text, "URL of the S3 service, if it is not Amazon's", group=Group.SOURCE)
    s3_region: str = _setting(
        "us-east-1", _text, "region of the bucket of an s3:// source; another one is found out", group=Group.SOURCE
    )
    s3_profile: str = _setting(
        "",
        _text,
        "profile in ~/.aws whose keys sign requests to an s3:// source",
        "as AWS tools choose, if it wants keys",
        group=Group.SOURCE,
    )
    max_transfers: int = _setting(256, _count, "files fetched at the same time, at most", group=Group.NETWORK)
    proxy: str = _setting("", _proxy, "proxy for all requests, over the standard proxy variables", group=Group.NETWORK)
    record: bool = _setting(
        False, _yes_or_no, "record what is read, and by whom, from the start", group=Group.OPERATION
    )
    control_dir: str = _setting(
        "hidden", _one_of("hidden", "visible"), "whether listings of the root show .onefs", group=Group.MOUNT
    )
    dir_mode: Permissions = _setting(
        Permissions(0o755),
        _permissions(stat.S_IRUSR | stat.S_IXUSR),
        "permissions that directories show, in octal; who may read or write does not depend on them",
        group=Group.MOUNT,
    )
    file_mode: Permissions = _setting(
        Permissions(0o644),
        _permissions(stat.S_IRUSR),
        "permissions that the archive's files show, in octal",
        group=Group.MOUNT,
    )
    allow_other: bool = _setting(False, _yes_or_no, "let other users use the mount", group=Group.MOUNT)
    log: str = _setting(
        "info", _one_of("debug", "info", "warning", "error"), "least level that is logged", group=Group.LOGGING
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the table of settings."""

    name: str
    doc: str
    unit: str
    group: Group
    default: object
    secret: bool
    words: tuple[str, ...] = ()
    """The words that alone are its values; none if others are, too."""

    @property
    def flag(self) -> str:
        """The command line's spelling, without the unit suffix."""
        return "--" + self.name.removesuffix("_s").replace("_", "-")

    @property
    def key(self) -> str:
        """The configuration file's spelling."""
        return self.name.removesuffix("_s")


def table() -> tuple[Entry, ...]:
    """Every setting, for help texts and the README."""
    return tuple(
        Entry(
            f.name,
            meta["doc"],
            meta["unit"],
            meta["group"],
            f.default,
            meta["secret"],
            getattr(meta["parse"], "words", ()),
        )
        for f in fields(Settings)
        for meta in [f.metadata]
    )


def settings_text(settings: Settings) -> str:
    """The settings in force, one `key: value` a line, without secrets, nor logins that stand in URLs."""
    return "".join(
        f"{entry.key}: {'' if value is None else _LOGIN.sub('//', str(value))}\n"
        for entry in table()
        if not entry.secret
        for value in [getattr(settings, entry.name)]
    )
