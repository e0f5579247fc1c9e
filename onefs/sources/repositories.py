"""What a database's labs and data repositories mean: which servers hold a lab's files, and which get a login."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote
from uuid import UUID

from onefs.alf import RemoteNames
from onefs.alyx.records import AlyxDataset, FileRecord, Lab, Repository
from onefs.catalogue.records import Dataset
from onefs.errors import UsageError
from onefs.transports.addresses import origin
from onefs.transports.archive import ArchiveServer, bucket_server
from onefs.transports.base import Location, Login
from onefs.transports.buckets import Bucket
from onefs.transports.keys import GivenKeys, Keys

BUCKETS = "aws_"
OF_AGGREGATES = "aggregates"
SUBJECTS = "/Subjects"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DataLogin:
    """A login for the HTTP data server at `server` (scheme, host and port), or, if that is "", for all of them."""

    login: Login | None = None
    server: str = ""

    def at(self, url: str) -> Login | None:
        """What is sent to an address of a data server."""
        return self.login if self.server in ("", origin(url)) else None


@dataclass(frozen=True, slots=True)
class Places:
    """The servers of a database's repositories. Each has its files below the repository's root, not the archive's.

    `of_lab` and `of_aggregates` are in the order to try. `roots` are servers of whole archives, for labs of which the
    database names no repository.
    """

    by_name: Mapping[str, ArchiveServer]
    of_lab: Mapping[str, tuple[ArchiveServer, ...]]
    of_aggregates: tuple[ArchiveServer, ...]
    roots: tuple[ArchiveServer, ...]
    logins: Mapping[str, Login]
    """By scheme, host and port."""
    buckets: Mapping[str, Bucket | None]
    """By their addresses: they get no login though a data server may stand at the same host."""

    def locations(self, dataset: Dataset) -> Iterator[Location]:
        """Where a dataset should be, by its path."""
        servers, path = self._holding(dataset)
        yield from (each for server in servers for each in server.locations(path, dataset.id))

    def locations_on(self, server: ArchiveServer, dataset: Dataset) -> list[Location]:
        """Where a dataset should be on one of the servers; none if it should not be there."""
        servers, path = self._holding(dataset)
        return list(server.locations(path, dataset.id)) if server in servers else []

    def signed(self) -> list[tuple[str, ArchiveServer]]:
        """The buckets that are read with keys, and their repositories' names."""
        named = sorted(self.by_name.items())
        return [
            (name, server) for name, server in named if server.bucket is not None and server.bucket.ring is not None
        ]

    def _holding(self, dataset: Dataset) -> tuple[Sequence[ArchiveServer], str]:
        """The servers that should have a dataset, and its path on them."""
        if dataset.eid is None:
            return self.of_aggregates, dataset.rel_path
        lab, has_lab, inside = dataset.path.partition(f"{SUBJECTS}/")
        if has_lab and lab in self.of_lab:
            return self.of_lab[lab], inside
        return (self.roots if has_lab else ()), dataset.path

    def copies(self, dataset: AlyxDataset) -> Iterator[Location]:
        """Where the database says that copies are."""
        for record in dataset.file_records:
            if record.exists:
                yield from self._addresses(record, dataset.id)

    def record_at(self, dataset: AlyxDataset, url: str) -> UUID | None:
        """The id of the file record whose copy stands at an address; None if that cannot be told."""
        for record in dataset.file_records:
            if any(unquote(location.url) == unquote(url) for location in self._addresses(record, dataset.id)):
                return record.id
        return None

    def _addresses(self, record: FileRecord, dataset_id: UUID) -> Iterator[Location]:
        server = self.by_name.get(record.repository)
        if server is not None and record.relative_path:
            yield from server.locations(record.relative_path, dataset_id)
        if record.url:
            yield self._address(record.url)

    def _address(self, url: str) -> Location:
        for address, bucket in self.buckets.items():
            if url.startswith(f"{address}/"):
                return Location(url, bucket=bucket if bucket is not None and bucket.serves(url) else None)
        return Location(url, self.logins.get(origin(url)))


def places_of(
    labs: Iterable[Lab],
    repositories: Sequence[Repository],
    data: DataLogin,
    s3_endpoint: str,
    names: RemoteNames,
) -> Places:
    """What the lists of labs and repositories mean. `s3_endpoint` is for buckets that name no service of their own."""
    usable = [repository for repository in repositories if not repository.personal]
    logins = {origin(url): login for url in (*data_servers(usable), data.server) if url and (login := data.at(url))}
    by_name: dict[str, ArchiveServer] = {}
    for repository in usable:
        if _is_bucket(repository):
            server = _bucket(repository, s3_endpoint, names)
        else:
            server = _web_server(repository, data, names)
        if server is not None:
            by_name[repository.name] = server
    buckets = {repository.name: repository.data_url.rstrip("/") for repository in usable if _is_bucket(repository)}

    def in_order(names: Iterable[str], first: str) -> tuple[ArchiveServer, ...]:
        ordered = sorted({*names} & by_name.keys(), key=lambda name: (name != first, name not in buckets, name))
        return tuple(by_name[name] for name in ordered)

    found = {lab.name: in_order((*lab.repositories, f"{BUCKETS}{lab.name}"), f"{BUCKETS}{lab.name}") for lab in labs}
    return Places(
        by_name=by_name,
        of_lab={lab: servers for lab, servers in found.items() if servers},
        of_aggregates=in_order((name for name in by_name if name.endswith(OF_AGGREGATES)), f"{BUCKETS}{OF_AGGREGATES}"),
        roots=tuple(_roots(found, names)),
        logins=logins,
        buckets={
            address: by_name[name].bucket if name in by_name else None
            for name, data_url in buckets.items()
            for address in (by_name[name].base_url if name in by_name else "", data_url)
            if address
        },
    )


def _is_bucket(repository: Repository) -> bool:
    return bool(repository.bucket) or repository.name.startswith(BUCKETS)


def data_servers(repositories: Iterable[Repository]) -> list[str]:
    """The addresses of the HTTP data servers, one of each server."""
    usable = (each for each in repositories if each.data_url and not each.personal and not _is_bucket(each))
    return list({origin(each.data_url): each.data_url for each in usable}.values())


def _web_server(repository: Repository, data: DataLogin, names: RemoteNames) -> ArchiveServer | None:
    url = repository.data_url
    return ArchiveServer(url, data.at(url), names=names) if url else None


def _bucket(repository: Repository, s3_endpoint: str, names: RemoteNames) -> ArchiveServer | None:
    endpoint = repository.endpoint_url or s3_endpoint
    ring = _ring(repository)
    if repository.data_url and ring is None and not (repository.bucket and endpoint):
        return ArchiveServer(repository.data_url, names=names)
    try:
        return bucket_server(repository.bucket, repository.region, repository.path, endpoint, ring, names=names)
    except UsageError as error:
        _log.warning("The data repository %r is left out: %s", repository.name, error.reason)
        return None


def _ring(repository: Repository) -> GivenKeys | None:
    if not (repository.access_key and repository.secret_key):
        return None
    return GivenKeys(Keys(repository.access_key, repository.secret_key))


def _roots(of_lab: Mapping[str, Sequence[ArchiveServer]], names: RemoteNames) -> Iterator[ArchiveServer]:
    """Servers that hold several labs' files, as far as the addresses of single labs tell."""
    seen: set[str] = set()
    for lab, servers in of_lab.items():
        below = f"/{quote(lab, safe='')}{SUBJECTS}"
        for server in servers:
            root = server.base_url.removesuffix(below)
            if root not in (server.base_url, *seen):
                seen.add(root)
                yield ArchiveServer(root, server.login, names=names)
