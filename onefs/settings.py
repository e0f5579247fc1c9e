"""The table of settings: name, group, parser, default and description of each."""

import stat
from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any

from onefs.alf import RemoteNames
from onefs.modes import Mode
from onefs.redaction import without_logins
from onefs.setting_values import (
    Address,
    Parser,
    Permissions,
    PermissionsParser,
    any_text,
    block_bytes,
    choices,
    count,
    count_or_0,
    duration_s,
    listen_address,
    log_levels,
    metavar,
    name,
    one_of,
    path,
    proxy,
    revision_bound,
    size_bytes,
    timeout_s,
    url,
    value_text,
    yes_or_no,
)

PREFIX = "ONEFS_"


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


qc_level = one_of("NOT_SET", "PASS", "WARNING", "FAIL", "CRITICAL")


def _setting(default: Any, parse: Parser, doc: str, otherwise: str = "", *, group: Group, secret: bool = False) -> Any:
    """One setting. `otherwise` describes in words a default that is not a value."""
    metadata = {"parse": parse, "doc": doc, "otherwise": otherwise, "group": group, "secret": secret}
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force. Each field is a flag, an `ONEFS_` variable and a line of the configuration file."""

    cache_dir: Path | None = _setting(
        None, path, "where fetched files are kept", "the user's cache folder", group=Group.CACHE
    )
    uuid_filenames: bool = _setting(
        False,
        yes_or_no,
        "put each dataset's UUID into the names of fetched files, as ONE's uuid_filenames does",
        group=Group.CACHE,
    )
    mode: Mode | None = _setting(
        None,
        one_of(*Mode),
        "where names and files come from; see onefs help modes",
        "auto, local for a folder",
        group=Group.SOURCE,
    )
    tag: str = _setting("", name, "show only the datasets of this release of the database", group=Group.SOURCE)
    alyx_user: str = _setting(
        "", name, "user name for the database, instead of the one that onefs setup kept", group=Group.LOGIN
    )
    alyx_password: str = _setting("", any_text, "password for the database", secret=True, group=Group.LOGIN)
    alyx_password_file: Path | None = _setting(
        None, path, "file whose first line is the password for the database", group=Group.LOGIN
    )
    alyx_token: str = _setting(
        "", any_text, "token for the database, instead of a password", secret=True, group=Group.LOGIN
    )
    data_url: str = _setting("", url, "base URL of the files, if they are not beside the tables", group=Group.SOURCE)
    remote_names: RemoteNames = _setting(
        RemoteNames.AUTO,
        one_of(*RemoteNames),
        "how files are named on servers: uuid (name.UUID.ext), plain (name.ext), or auto, which tries both",
        group=Group.SOURCE,
    )
    data_user: str = _setting("", name, "user name for the data server", group=Group.LOGIN)
    data_password: str = _setting("", any_text, "password for the data server", secret=True, group=Group.LOGIN)
    data_password_file: Path | None = _setting(
        None, path, "file whose first line is the password for the data server", group=Group.LOGIN
    )
    view: str = _setting(
        "full",
        one_of("full", "default"),
        "which editions of each file are shown: full, every one; default, only one, without #revision# folders",
        group=Group.VIEW,
    )
    as_of: str = _setting(
        "",
        revision_bound,
        "hide editions later than this date or text; ONE's variable `ONE_REVISION_LAST_BEFORE` sets it, too",
        "none",
        group=Group.VIEW,
    )
    qc: str = _setting("FAIL", qc_level, "worst quality control outcome that is shown", group=Group.VIEW)
    ignore_qc_not_set: bool = _setting(
        False, yes_or_no, "hide datasets without a quality control outcome, too", group=Group.VIEW
    )
    verify: str = _setting(
        "auto",
        one_of("auto", "strict", "warn", "off"),
        "what programs may read: strict, only verified files; auto, also blocks of a large file before all of it is "
        "verified; warn, also files with a wrong hash; off, files of the right size",
        group=Group.CACHE,
    )
    whole_file_max: int = _setting(
        64 << 20, size_bytes, "files up to this size are fetched whole, larger ones by blocks", group=Group.NETWORK
    )
    block_size: int = _setting(
        512 << 10, block_bytes, "size of the blocks that large files are fetched in", group=Group.NETWORK
    )
    read_ahead_max: int = _setting(
        64 << 20,
        size_bytes,
        "most that is fetched ahead of a program that reads a large file in order",
        group=Group.NETWORK,
    )
    http_dl_threads: int = _setting(
        4,
        count,
        "most parts of one large file fetched at the same time; ONE's variable `ONE_HTTP_DL_THREADS` sets it, too",
        group=Group.NETWORK,
    )
    prefetch: str = _setting(
        "auto",
        one_of("auto", "off"),
        "auto, fetch the next small files while a program reads one after another, never more bytes than it has read; "
        "off, fetch only what is opened",
        group=Group.NETWORK,
    )
    connections: int = _setting(
        64,
        count,
        "most files that onefs fetch fetches at the same time, and as many again that are prefetched; more is faster "
        "if the server is far away",
        group=Group.NETWORK,
    )
    cache_size: int = _setting(
        0,
        size_bytes,
        "most disk space for fetched files, of which the least recently used are evicted first; 0 for no limit",
        group=Group.CACHE,
    )
    cache_min_free: int = _setting(
        0,
        size_bytes,
        "disk space to leave free on the cache's disk, by evicting fetched files; 0 for none",
        group=Group.CACHE,
    )
    trust_cache: bool = _setting(
        False,
        yes_or_no,
        "on, trust all users who can write the cache directory: root and mounts with allow_other may then use it, and "
        "cache tables in it are used as they are; see onefs help sharing",
        group=Group.CACHE,
    )
    open_wait_s: float = _setting(
        2.0,
        duration_s,
        "how long open waits for a fetch, so that most failures show in open rather than in read",
        group=Group.NETWORK,
    )
    connect_timeout_s: float = _setting(
        10.0, timeout_s, "how long a server may take to accept a connection", group=Group.NETWORK
    )
    read_timeout_s: float = _setting(30.0, timeout_s, "how long a server may stay silent", group=Group.NETWORK)
    slow_limit: int = _setting(
        1000,
        size_bytes,
        "slowest download in bytes per second, averaged over read_timeout; from a slower server onefs goes on to the "
        "next one that has the file; 0 for no limit",
        group=Group.NETWORK,
    )
    cache_expiry_s: float = _setting(
        86400.0, duration_s, "age of the tables at which onefs asks for newer ones", group=Group.DATABASE
    )
    refresh_interval_s: float = _setting(
        60.0,
        duration_s,
        "shortest time between two questions for newer tables in mode refresh",
        group=Group.DATABASE,
    )
    refresh_jitter_s: float = _setting(
        30.0,
        duration_s,
        "longest random delay of the first check for newer tables, so that machines that start together do not ask "
        "together; later checks are delayed by up to a tenth of cache_expiry; 0 for no delays",
        "s",
        group=Group.DATABASE,
    )
    cache_rest: bool = _setting(
        True,
        yes_or_no,
        "keep the database's responses in the cache, for as long as default_expiry says",
        group=Group.DATABASE,
    )
    default_expiry_s: float = _setting(
        86400.0, duration_s, "how long a kept response of the database is used", group=Group.DATABASE
    )
    retry_max_s: float = _setting(
        60.0, duration_s, "how long to retry while the database says that it is busy", group=Group.DATABASE
    )
    report_mismatch: bool = _setting(
        False,
        yes_or_no,
        "write wrong hashes and sizes to the database's file records; onefs writes nothing else there, ever",
        group=Group.DATABASE,
    )
    s3_endpoint: str = _setting("", url, "URL of the S3 service, if it is not Amazon's", group=Group.SOURCE)
    s3_region: str = _setting(
        "us-east-1",
        name,
        "region of the bucket of an s3:// source; if it is wrong, onefs finds the right one",
        group=Group.SOURCE,
    )
    s3_profile: str = _setting(
        "",
        name,
        "profile in ~/.aws whose keys sign requests to an s3:// source",
        "as AWS's tools choose, if the bucket needs keys",
        group=Group.SOURCE,
    )
    max_transfers: int = _setting(256, count, "most files fetched at the same time", group=Group.NETWORK)
    proxy: str = _setting(
        "", proxy, "proxy for all requests, instead of that of the standard proxy variables", group=Group.NETWORK
    )
    record: bool = _setting(False, yes_or_no, "record what is read, and by whom, from the start", group=Group.OPERATION)
    crawl_warn: int = _setting(
        1000,
        count_or_0,
        "warn when more files than this are fetched for one program within an hour; 0 for no warning",
        group=Group.OPERATION,
    )
    crawl_limit: int = _setting(
        0,
        count_or_0,
        "most files fetched for one program within an hour; after that it can read only cached files until it pauses; "
        "0 for no limit",
        group=Group.OPERATION,
    )
    metrics_listen: Address | None = _setting(
        None,
        listen_address,
        "address at which the mount serves its metrics to Prometheus, at the path /metrics",
        "off",
        group=Group.OPERATION,
    )
    control_dir: str = _setting(
        "hidden", one_of("hidden", "visible"), "whether listings of the root show .onefs", group=Group.MOUNT
    )
    dir_mode: Permissions = _setting(
        Permissions(0o755),
        PermissionsParser(stat.S_IRUSR | stat.S_IXUSR),
        "permissions that directories show; they do not change who may read",
        group=Group.MOUNT,
    )
    file_mode: Permissions = _setting(
        Permissions(0o644),
        PermissionsParser(stat.S_IRUSR),
        "permissions that the archive's files show; they do not change who may read",
        group=Group.MOUNT,
    )
    allow_other: bool = _setting(False, yes_or_no, "let other users use the mount", group=Group.MOUNT)
    run_as: str = _setting(
        "", name, "user that the daemon runs as, once root has mounted; implies allow_other", group=Group.MOUNT
    )
    kernel_adapter: str = _setting(
        "auto",
        one_of("auto", "session", "pyfuse3"),
        "what talks to the kernel: session, which is part of onefs; pyfuse3, the library of that name, which must be "
        "installed; auto, session if the kernel speaks FUSE 7.26 (Linux 4.9) or later",
        group=Group.MOUNT,
    )
    passthrough: str = _setting(
        "auto",
        one_of("auto", "off"),
        "auto: the kernel reads verified files from the cache by itself, for a mount by root on Linux 6.9 or later; "
        "off: it asks the daemon for all bytes, which are counted then",
        group=Group.MOUNT,
    )
    log: str = _setting(
        "info",
        log_levels,
        "lowest level that is logged; each part may have its own, as in info,transports=debug",
        group=Group.LOGGING,
    )
    log_format: str = _setting(
        "text",
        one_of("text", "json"),
        "form of the log: lines of text, or a JSON object per line",
        group=Group.LOGGING,
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the table of settings."""

    name: str
    doc: str
    otherwise: str
    group: Group
    default: object
    secret: bool
    parse: Parser

    @property
    def flag(self) -> str:
        """The command line's spelling, without the unit suffix."""
        return "--" + self.key.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment's spelling."""
        return PREFIX + self.key.upper()

    @property
    def key(self) -> str:
        """The spelling in a configuration file, and of a mount option."""
        return self.name.removesuffix("_s")

    @property
    def metavar(self) -> str:
        """What stands for the value in help: its choices, or a word for its form such as SIZE."""
        return metavar(self.parse)

    @property
    def words(self) -> tuple[str, ...]:
        """The words to choose from; empty if other values are possible."""
        return tuple(choices(self.parse))

    @property
    def default_text(self) -> str:
        """The default as people write it, or a description of it; "" if there is none."""
        return self.otherwise if self.default in (None, "") else self.text(self.default)

    def text(self, value: object) -> str:
        """A value as people write it, which `parse` reads: `64M`, `24h`, `on`; "" for None."""
        return value_text(self.parse, value)


def table() -> tuple[Entry, ...]:
    """Every setting, in the order of the groups."""
    order = list(Group)
    entries = [
        Entry(f.name, meta["doc"], meta["otherwise"], meta["group"], f.default, meta["secret"], meta["parse"])
        for f in fields(Settings)
        for meta in [f.metadata]
    ]
    return tuple(sorted(entries, key=lambda entry: order.index(entry.group)))


def settings_text(settings: Settings) -> str:
    """The settings in force, one `key: value` a line, without secrets, nor logins that stand in URLs."""
    return "".join(
        f"{entry.key}: {without_logins(entry.text(getattr(settings, entry.name)))}\n"
        for entry in table()
        if not entry.secret
    )
