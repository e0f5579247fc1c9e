"""Owns the checks of `onefs doctor`: each finds one thing that mounting or fetching needs, with its remedy."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from onefs.alyx.client import AlyxClient
from onefs.catalogue.records import Dataset
from onefs.catalogue.snapshot import Snapshot
from onefs.daemon.archive import make_http, make_transport
from onefs.daemon.databases import Database, open_database
from onefs.daemon.locations import Locations, Repositories
from onefs.daemon.opening import opened
from onefs.daemon.origins import Origin, origins
from onefs.daemon.setting_up import try_login
from onefs.daemon.sources import Source, prepare
from onefs.daemon.tables import Place, ensure_tables, load_tables
from onefs.digests import new_md5
from onefs.errors import CacheDamagedError, MismatchError, MissingOnServerError, MountError, OnefsError
from onefs.fuse import mounting
from onefs.settings import Settings
from onefs.transports.addresses import server_name
from onefs.transports.base import Location, Transport

_LITTLE_ROOM_BYTES = 1 << 30
_SAMPLE_BYTES = 4 << 20
_SESSIONS_LOOKED_AT = 200


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
    cache = _try("cache", lambda: _cache(source))
    yield cache
    if not cache.is_well:
        return
    yield _try("disk", lambda: _disk(source))
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
        yield Finding("newest tables", False, tried.problem, "Ask the database's keepers to export its cache tables.")
    else:
        yield Finding("newest tables", True, f"{host} has tables of {tried.tables}.", "")


def _examine_archive(source: Source, settings: Settings, client: AlyxClient | None) -> Iterator[Finding]:
    transport = make_transport(make_http(settings))
    place = Place(source.tables_dir, source.state_dir).of_tag(source.tag)
    origin_of = origins(source.tables_url, client, transport)
    tables = _try("tables", lambda: _tables(place, origin_of(source.tag) if origin_of else None))
    yield tables
    if not tables.is_well:
        return
    snapshot = load_tables(place)
    yield _try("clock", lambda: _clock(snapshot))
    locations = Locations(source.servers, _repositories(source.database, settings, client))
    if source.abilities.has_server:
        yield _try("download", lambda: _download(locations, snapshot, transport))


def _repositories(database: Database | None, settings: Settings, client: AlyxClient | None) -> Repositories | None:
    if database is None or client is None:
        return None
    return Repositories(client, database.data_login, s3_endpoint=settings.s3_endpoint)


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
        if mounting.health(mount.mountpoint) is mounting.Health.DEAD:
            raise MountError(
                f"The daemon of {mount.mountpoint} has died.", f"Clean up: onefs umount {mount.mountpoint}"
            )
    return f"{len(present)} onefs mounts, all alive."


def _allow_other() -> str:
    if os.geteuid() == 0:
        return "root may let others in."
    try:
        allowed = re.search(r"^\s*user_allow_other", Path("/etc/fuse.conf").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        allowed = None
    if not allowed:
        raise MountError(
            "/etc/fuse.conf does not let users use allow_other.", "Have root add the line user_allow_other."
        )
    return "/etc/fuse.conf permits it."


def _cache(source: Source) -> str:
    prepare(source)
    return f"{source.data_dir} is usable."


def _disk(source: Source) -> str:
    free = shutil.disk_usage(source.state_dir).free
    if free < _LITTLE_ROOM_BYTES:
        raise CacheDamagedError(
            f"Only {free / 1e9:.1f} GB are free where {source.state_dir} stands.", "Free some, or choose another cache."
        )
    return f"{free / 1e9:.0f} GB are free."


def _tables(place: Place, origin: Origin | None) -> str:
    ensure_tables(place, origin)
    snapshot = load_tables(place)
    return f"{snapshot.n_sessions} sessions and {snapshot.n_datasets} datasets, created {snapshot.metadata.created}."


def _clock(snapshot: Snapshot) -> str:
    now = datetime.now(UTC)
    try:
        created = datetime.fromisoformat(snapshot.metadata.created)
    except ValueError:
        return f"The tables' date {snapshot.metadata.created!r} tells nothing of it."
    created = created if created.tzinfo else created.replace(tzinfo=UTC)
    if created > now + timedelta(days=1):
        raise MountError(
            f"The tables are from {created:%Y-%m-%d}, this machine thinks it is {now:%Y-%m-%d}.", "Set its clock."
        )
    return "The tables are not from the future."


def _download(locations: Locations, snapshot: Snapshot, transport: Transport) -> str:
    """Fetch a small file from the first of its locations that gives it, as a mount would."""
    dataset = _small_dataset(snapshot)
    if dataset is None:
        return "There is no small file to try."
    failure: OnefsError = MissingOnServerError(
        f"There is no place where {dataset.path} could be.", "Give the server of the files with --data-url."
    )
    for location in locations.of(dataset):
        try:
            _fetch(dataset, location, transport)
        except OnefsError as error:
            failure = error
        else:
            return f"{dataset.path} came whole and verified from {server_name(location.url)}."
    raise failure


def _fetch(dataset: Dataset, location: Location, transport: Transport) -> None:
    md5, size_bytes = new_md5(), 0
    with transport.open(location) as body:
        for chunk in body.chunks:
            md5.update(chunk)
            size_bytes += len(chunk)
            if size_bytes > _SAMPLE_BYTES:
                raise MismatchError(
                    f"{dataset.path} came with more bytes than the tables say.", "Tell the archive's keeper."
                )
    if dataset.md5 and md5.hexdigest() != dataset.md5:
        raise MismatchError(
            f"{dataset.path} came with MD5 {md5.hexdigest()}, the tables say {dataset.md5}.",
            "Tell the archive's keeper.",
        )


def _small_dataset(snapshot: Snapshot) -> Dataset | None:
    for row in range(min(snapshot.n_sessions, _SESSIONS_LOOKED_AT)):
        rows = snapshot.datasets(row)
        for number in range(len(rows)):
            if rows.exists[number] and 0 < rows.sizes[number] <= _SAMPLE_BYTES:
                return rows.dataset(number)
    return None
