"""What a SOURCE means: where the tables come from, where bytes come from, and where they are kept."""

import errno
import hashlib
import logging
import os
import pwd
import re
import shlex
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from onefs.alf import STATE_FOLDER, TABLE_NAMES
from onefs.cache.beneath import Folder
from onefs.cache.sharing import USERS, hold_state, state_folder
from onefs.errors import CacheDamagedError, SourceError, UsageError
from onefs.modes import Abilities, Mode, check
from onefs.settings import Settings
from onefs.sources.names import OPENALYX, OPENALYX_URL

if TYPE_CHECKING:
    from onefs.sources.databases import Database
    from onefs.transports.archive import ArchiveServer
    from onefs.transports.base import Location

FORMS = (
    "Give the URL of an Alyx database, a folder that holds cache tables or the URL of one, "
    "a name from onefs setup, openalyx or demo."
)
S3 = "s3://"
_log = logging.getLogger(__name__)


class Kind(StrEnum):
    """What can stand at a URL."""

    FOLDER = "folder"
    DATABASE = "database"


@dataclass(frozen=True, slots=True)
class Source:
    """An archive that can be mounted.

    `tables_url` is None where the tables are at hand. With `is_cache`, files are fetched into `data_dir`; without,
    they are read there in place and nothing but `state_dir` is ever written. Without `may_displace`, files are fetched
    into a folder that is the user's own, and those that are there already are not moved even if they are wrong.
    With a `database`, the tables are asked of it (those of the release `tag`, if it is not ""), and `servers` are
    tried before the places that it names. The tables of one that `is_frozen` are its own, and no newer ones are ever
    asked for. Those of `indexed_dir`, a folder that has none of its own, are made of the files there; with
    `is_just_indexed` that was done as the source was opened.
    """

    name: str
    tables_dir: Path
    tables_url: "Location | None"
    data_dir: Path
    state_dir: Path
    is_cache: bool
    may_displace: bool
    servers: "tuple[ArchiveServer, ...]"
    mode: Mode
    database: "Database | None" = None
    tag: str = ""
    is_frozen: bool = False
    indexed_dir: Path | None = None
    is_just_indexed: bool = False

    @property
    def tables_state_dir(self) -> Path:
        """Where the state of the tables is: the lock, and those that were fetched and have no place yet."""
        has_own = self.is_frozen or self.indexed_dir is not None
        return self.tables_dir / STATE_FOLDER if has_own else self.state_dir

    @property
    def is_indexed(self) -> bool:
        """Whether newer tables are made of a folder's files, for which no server is needed in any mode."""
        return self.indexed_dir is not None and not self.is_frozen

    @property
    def abilities(self) -> Abilities:
        """What modes it can be in."""
        has_database = self.database is not None
        return Abilities(
            has_server=has_database or bool(self.servers), has_database=has_database and not self.is_frozen
        )


def resolve(name: str, settings: Settings, kind: Kind = Kind.FOLDER) -> Source:
    """What a SOURCE stands for; `kind` is what is known to stand at a URL.

    Asks no server. Raises `SourceError`, `UsageError`, or `AccessRefusedError` for a file of logins that is open.
    """
    url = url_of(name)
    if url or name.startswith(S3):
        from onefs.sources import remote_source  # what is needed for servers takes long to import

        if not url:
            return remote_source.of_bucket(name.rstrip("/"), settings)
        is_database = kind_of_itself(url) or kind is Kind.DATABASE
        return remote_source.of_database(url, settings) if is_database else remote_source.of_folder(url, settings)
    directory = os.path.expanduser(name)  # noqa: PTH111 - leaves a user that does not exist as it is
    if os.path.isdir(directory):  # noqa: PTH112 - a path that cannot be looked at is no folder, and no crash
        return _of_directory(Path(directory).resolve(), settings)
    if "://" in name:
        raise SourceError(f"{name.partition('://')[0]}:// is no kind of source that onefs mounts.", FORMS)
    if "/" in name or name.startswith((".", "~")):
        raise SourceError(f"The source {name} is no folder on this machine.", FORMS)
    raise SourceError(f"{name!r} is not a source that onefs knows.", FORMS)


def url_of(name: str) -> str:
    """The URL that a SOURCE is or stands for, "" if it is of another form."""
    if name == OPENALYX:
        return OPENALYX_URL
    scheme, _, rest = name.partition("://")
    if scheme.lower() not in ("http", "https") or not rest:
        return ""
    authority, slash, path = rest.partition("/")
    login, at, host = authority.rpartition("@")
    return f"{scheme.lower()}://{login}{at}{host.lower()}{slash}{path}".rstrip("/")


def kind_of_itself(url: str) -> Kind | None:
    """What is known to stand at a URL without asking."""
    return Kind.DATABASE if url == OPENALYX_URL else None


def refuse_tag(name: str, settings: Settings) -> None:
    """Raise `UsageError` if a tag is asked for, of a source without a database."""
    if settings.tag:
        raise UsageError(f"--tag needs a database, and {name} has none.", "Leave it out, or mount the database.")


def has_no_tables(source: Source) -> bool:
    """Whether a source is a folder of this machine without tables, whose files are read in place."""
    is_in_place = not source.is_cache and source.tables_url is None and source.database is None
    return is_in_place and not any(os.path.lexists(source.tables_dir / table) for table in TABLE_NAMES)


def _of_directory(directory: Path, settings: Settings) -> Source:
    refuse_tag(str(directory), settings)
    servers: tuple[ArchiveServer, ...] = ()
    if settings.data_url:
        from onefs.sources.remote_source import data_server

        servers = (data_server(settings),)
    data_dir = (settings.cache_dir or directory) if servers else directory
    return Source(
        name=str(directory),
        tables_dir=directory,
        tables_url=None,
        data_dir=data_dir,
        state_dir=_state_of(directory, settings) if not servers else state_folder(data_dir),
        is_cache=bool(servers),
        may_displace=data_dir != directory,
        servers=servers,
        mode=mode_of(settings, str(directory), Abilities(has_server=bool(servers), has_database=False)),
    )


def _state_of(directory: Path, settings: Settings) -> Path:
    """A local archive holds its own state if it can be written."""
    if settings.cache_dir:
        return state_folder(settings.cache_dir)
    if os.access(directory, os.W_OK):
        return state_folder(directory)
    return state_folder(default_cache(str(directory)))


def mode_of(settings: Settings, name: str, abilities: Abilities) -> Mode:
    """The mode of a source at first. Raises `UsageError` for one that it cannot be in."""
    mode = settings.mode or (Mode.AUTO if abilities.has_server else Mode.LOCAL)
    check(mode, name, abilities)
    return mode


def default_cache(name: str) -> Path:
    """The cache directory of a source for which none is set: readable, and different for different sources."""
    import platformdirs

    slug = re.sub(r"[^\w.-]+", "-", name).strip("-")[:60]
    digest = hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=4).hexdigest()
    return platformdirs.user_cache_path("onefs") / f"{slug}-{digest}"


def tables_folder(cache: Path, state_dir: Path, settings: Settings) -> Path:
    """Where tables that are fetched for a cache are kept: beside the files, but a user's own where others can write.

    Whoever writes tables says which bytes of a file are right.
    """
    return cache if settings.trust_cache or state_dir == cache / STATE_FOLDER else state_dir / "tables"


def check_cache_dir(directory: Path) -> None:
    """Raise `CacheDamagedError` if a cache directory is another user's, and closed to the one of this process."""
    place = directory
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    owner = place.lstat().st_uid
    if owner == os.geteuid() or os.access(place, os.W_OK | os.X_OK):
        return
    me, told = _name_of(os.geteuid()), shlex.quote(str(directory))
    if place == directory:
        why, command = f"belongs to {_name_of(owner)}", f"chown -R {me}: {told}"
    else:
        why, command = "does not exist", f"install -d -o {me} -m 0700 {told}"
    reason = f"The cache directory {directory} {why}, and {me} may not write there."
    remedy = f"Choose another cache_dir, or as root, run: {command}"
    if place != directory and not os.access(place, os.X_OK):
        reason = f"The cache directory {directory} lies in {place}, which {me} may not enter."
        remedy = "Choose another cache_dir."
    # The cause tells a service manager that another start would not do better.
    raise CacheDamagedError(reason, remedy) from PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def prepare(source: Source) -> None:
    """Make the directories that will be written. Raises `CacheDamagedError` if they cannot be."""
    try:
        for folder in (hold_state(source.state_dir), *([Folder(source.data_dir)] if source.is_cache else [])):
            folder.make_folders("")
            folder.close()
        if source.is_cache:
            source.tables_dir.mkdir(parents=True, exist_ok=True)
        _tell_unread_state(source)
        probe = source.state_dir / f".probe-{uuid4().hex}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CacheDamagedError(
            f"The cache directory {source.data_dir if source.is_cache else source.state_dir.parent} cannot be written: "
            f"{error.strerror}.",
            "Choose another with --cache-dir, or mend its permissions.",
        ) from error


def _tell_unread_state(source: Source) -> None:
    """Log that the state which an earlier version kept for all users of a cache is not read."""
    common = source.data_dir / STATE_FOLDER
    if source.is_cache and source.state_dir.is_relative_to(common / USERS) and (common / "stamps").exists():
        _log.info(
            "Others can write %s, so what an earlier version kept in %s is not read; each user verifies files once.",
            source.data_dir,
            common,
        )
