"""The checks of `onefs doctor`: each looks at one thing that mounting or fetching needs, and has a remedy."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from onefs.alyx.client import AlyxClient
from onefs.archive.archive import make_http, make_transport, patience_of
from onefs.archive.opening import opened
from onefs.cache.sharing import others_can_write, refuse_shared
from onefs.catalogue.snapshot import Snapshot
from onefs.daemon import samples
from onefs.daemon.kernel_check import of_machine, of_mount
from onefs.errors import CacheDamagedError, MountError, OnefsError
from onefs.fetch.ranges import Ranges
from onefs.fuse import mounting
from onefs.settings import Settings
from onefs.sources.databases import Database, open_database
from onefs.sources.locations import Locations, Repositories
from onefs.sources.origins import Origin, origins
from onefs.sources.setting_up import try_login
from onefs.sources.source import Source, prepare
from onefs.sources.tables import open_tables
from onefs.sources.tables_at_hand import Place, load_tables
from onefs.table_times import table_time
from onefs.text import counted
from onefs.transports.addresses import server_name
from onefs.transports.keys import INSTALL, KeyRing, can_sign

_LITTLE_ROOM_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. `remedy` is "" where all is well."""

    check: str
    is_well: bool
    says: str
    remedy: str


def examine(source_name: str | None, settings: Settings) -> Iterator[Finding]:
    """Check this machine, and a source if one is given: cache, disk, login, tables, clock, one download."""
    yield _try("machine", _machine)
    yield _try("mounts", _stale_mounts)
    yield Finding("kernel", True, _kernel(settings), "")
    if settings.allow_other:
        yield _try("allow_other", _allow_other)
    if source_name is None:
        return
    try:
        with opened(source_name, settings) as source:
            yield from _examine_source(source, settings)
    except OnefsError as error:
        yield Finding("source", False, error.reason, error.remedy)


def _examine_source(source: Source, settings: Settings) -> Iterator[Finding]:
    cache = _try("cache", lambda: _cache(source, settings))
    yield cache
    if not cache.is_well:
        return
    yield _try("disk", lambda: _disk(source))
    bucket = next((server.bucket for server in source.servers if server.bucket is not None), None)
    if bucket is not None and bucket.ring is not None:
        yield _try("keys", partial(_keys, bucket.ring, settings.s3_profile))
    if source.database is not None:
        yield from _login(source.database, settings)
    client = open_database(source.database, settings, source.state_dir) if source.database else None
    try:
        yield from _examine_archive(source, settings, client)
    finally:
        if client is not None:
            client.close()


def _login(database: Database, settings: Settings) -> Iterator[Finding]:
    """Whether the database lets us in, and has tables to offer."""
    host = server_name(database.base_url)
    try:
        tried = try_login(database, settings)
    except OnefsError as error:
        yield Finding("login", False, error.reason, error.remedy or "Check the network and the address.")
        return
    who = f" of {tried.credentials.user}" if tried.credentials.user else ""
    yield Finding("login", True, f"{host} accepts the login{who}.", "")
    if tried.problem:
        yield Finding(
            "newest tables", False, tried.problem, "Ask the database's maintainers to export its cache tables."
        )
    else:
        yield Finding("newest tables", True, f"{host} has tables of {tried.tables}.", "")


def _examine_archive(source: Source, settings: Settings, client: AlyxClient | None) -> Iterator[Finding]:
    transport = make_transport(make_http(settings))
    ranges = Ranges(transport, patience=replace(patience_of(settings), tries=0))  # so that the first failure is told
    place = Place(source.tables_dir, source.tables_state_dir).of_tag(source.tag)
    origin_of = origins(source.tables_url, client, ranges)
    tables = _try("tables", lambda: _tables(place, origin_of(source.tag) if origin_of else None))
    yield tables
    if not tables.is_well:
        return
    snapshot = load_tables(place)
    yield _try("clock", lambda: _clock(snapshot))
    repositories = _repositories(source.database, settings, client)
    if source.abilities.has_server:
        locations = Locations(source.servers, repositories)
        yield _try("download", lambda: samples.download(locations.of, snapshot, ranges))
    if repositories is not None:
        yield from _buckets(repositories, snapshot, ranges)


def _buckets(repositories: Repositories, snapshot: Snapshot, ranges: Ranges) -> Iterator[Finding]:
    """One file from each bucket that is read with keys, whether or not another place has it too."""
    try:
        places = repositories.places()
    except OnefsError as error:
        yield Finding("repositories", False, error.reason, error.remedy)
        return
    for name, server in places.signed():
        of_it = partial(places.locations_on, server)
        yield _try(name, partial(samples.download, of_it, snapshot, ranges))


def _repositories(database: Database | None, settings: Settings, client: AlyxClient | None) -> Repositories | None:
    if database is None or client is None:
        return None
    return Repositories(client, database.data_login, s3_endpoint=settings.s3_endpoint, names=settings.remote_names)


def _try(check: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(check, True, look(), "")
    except OnefsError as error:
        return Finding(check, False, error.reason, error.remedy)


def _machine() -> str:
    mounting.check_machine()
    return "/dev/fuse and fusermount3 are usable."


def _stale_mounts() -> str:
    present = mounting.mounts()
    for mount in present:
        mounting.check_health(mount.mountpoint)
    return f"{counted(len(present), 'onefs mount')}, all alive."


def _kernel(settings: Settings) -> str:
    """How the kernel serves the mounts that tell this user; if there are none, how it would serve one."""
    told = filter(None, map(of_mount, mounting.mounts()))
    return " ".join(told) or of_machine(settings)


def _allow_other() -> str:
    if os.geteuid() == 0:
        return "root may let others in."
    try:
        allowed = re.search(r"^\s*user_allow_other", Path("/etc/fuse.conf").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        allowed = None
    if not allowed:
        raise MountError(
            "/etc/fuse.conf does not let users use allow_other.", "As root, add the line user_allow_other to it."
        )
    return "/etc/fuse.conf permits it."


def _cache(source: Source, settings: Settings) -> str:
    if source.is_cache:
        refuse_shared(source.data_dir, serves_others=settings.allow_other, is_trusted=settings.trust_cache)
    prepare(source)
    if source.is_cache and others_can_write(source.data_dir):
        return f"{source.data_dir} is usable. Others can write there: what is known of its files is each user's own."
    return f"{source.data_dir} is usable."


def _disk(source: Source) -> str:
    free = shutil.disk_usage(source.state_dir).free
    if free < _LITTLE_ROOM_BYTES:
        raise CacheDamagedError(
            f"Only {free / 1e9:.1f} GB are free where {source.state_dir} stands.", "Free some, or choose another cache."
        )
    return f"{free / 1e9:.0f} GB are free."


def _keys(ring: KeyRing, profile: str) -> str:
    """Whether there are keys for a bucket, which may be one that wants none."""
    if not can_sign() and not profile:
        return f"botocore is not installed, which is needed only if the bucket wants keys. {INSTALL}"
    if ring.keys() is not None:
        return "There are keys, if the bucket wants any."
    return "There are none, which is right if the bucket wants none."


def _tables(place: Place, origin: Origin | None) -> str:
    snapshot = open_tables(place, origin)
    sessions, datasets = counted(snapshot.n_sessions, "session"), counted(snapshot.n_datasets, "dataset")
    return f"{sessions} and {datasets}, created {snapshot.metadata.created}."


def _clock(snapshot: Snapshot) -> str:
    now = datetime.now(UTC)
    created = table_time(snapshot.metadata.created)
    if created is None:
        return f"The tables' date {snapshot.metadata.created!r} tells nothing of it."
    if created > now + timedelta(days=1):
        raise MountError(
            f"The tables are from {created:%Y-%m-%d}, this machine thinks it is {now:%Y-%m-%d}.", "Set its clock."
        )
    return "The tables are not from the future."
