"""Where a dataset's bytes can be asked for: on named servers, in its lab's repositories, and at its file records."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from operator import attrgetter
from typing import TYPE_CHECKING
from urllib.parse import unquote
from uuid import UUID

from onefs.alf import RemoteNames
from onefs.catalogue.records import Dataset
from onefs.errors import AccessRefusedError, OnefsError, UnknownRecordError
from onefs.forks import new_lock
from onefs.outages import PAUSE_S, noting_stale_answers
from onefs.sources.kept_places import KeptPlaces, PlaceLists
from onefs.sources.repositories import DataLogin, Places, places_of
from onefs.transports.archive import ArchiveServer
from onefs.transports.base import Location

if TYPE_CHECKING:
    from onefs.alyx.client import AlyxClient

_log = logging.getLogger(__name__)


class Repositories:
    """What a database says of the places of its files. Safe to use from several threads; asks nothing unasked.

    The lists of labs and repositories are kept in memory for as long as the client keeps responses, and in `kept` for
    when the database cannot be reached. Buckets that name no S3 service of their own are at `s3_endpoint`; "" is
    Amazon. `names` says which names files have there.
    """

    def __init__(
        self,
        client: "AlyxClient",
        data: DataLogin,
        *,
        s3_endpoint: str = "",
        names: RemoteNames = RemoteNames.AUTO,
        kept: KeptPlaces | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.database = client.base_url
        self._client = client
        self._kept = kept
        self._data = data
        self._s3_endpoint = s3_endpoint
        self._names = names
        self._clock = clock
        self._lock = new_lock()  # guards _places and _until_s, and lets one thread ask for them
        self._places: Places | None = None
        self._until_s = 0.0

    @property
    def known(self) -> Places | None:
        """The servers as last asked for; None if they were not."""
        return self._places

    def places(self) -> Places:
        """The servers. Asks if they are not known, or not any more; raises what the client raises."""
        with self._lock:
            now_s = self._clock()
            if self._places is not None and now_s < self._until_s:
                return self._places
            try:
                with noting_stale_answers() as freshness:
                    lists = PlaceLists(self._client.labs(), self._client.repositories())
            except OnefsError as error:
                if self._places is None:
                    self._places = self._kept_places(error)
                self._until_s = now_s + PAUSE_S
                return self._places
            self._places = self._meant(lists)
            self._until_s = now_s + (PAUSE_S if freshness.outage else max(self._client.default_expiry_s, PAUSE_S))
            if self._kept is not None:
                self._kept.write(lists)
            return self._places

    def _kept_places(self, error: OnefsError) -> Places:
        """The servers as the database last told an earlier process. Raises `error` if none were kept."""
        # Whoever is refused is told so, and does not go on with what an earlier login was given.
        kept = self._kept.read() if self._kept is not None and not isinstance(error, AccessRefusedError) else None
        if kept is None:
            raise error
        _log.warning("%s Where files are is taken from what it said earlier.", error.reason)
        return self._meant(kept)

    def _meant(self, lists: PlaceLists) -> Places:
        return places_of(lists.labs, lists.repositories, self._data, self._s3_endpoint, self._names)

    def copies(self, dataset_id: UUID) -> list[Location]:
        """Where the file records of a dataset say that it is; none if the database does not know it."""
        places = self.places()
        try:
            return list(places.copies(self._client.dataset(dataset_id)))
        except UnknownRecordError:
            return []

    def record_at(self, dataset_id: UUID, url: str) -> UUID | None:
        """The file record of a dataset's copy at an address; None if that cannot be told."""
        places = self.places()
        return places.record_at(self._client.dataset(dataset_id), url)


class Locations:
    """The locations of datasets: on `servers` first, then where the database has them. For several threads."""

    def __init__(self, servers: Sequence[ArchiveServer], repositories: Repositories | None = None) -> None:
        self._servers = tuple(servers)
        self._repositories = repositories

    def known(self, dataset: Dataset) -> list[Location]:
        """The locations that are known without asking the database."""
        found = self._on_servers(dataset)
        places = self._repositories.known if self._repositories is not None else None
        if places is not None:
            found = [*found, *places.locations(dataset)]
        return [location for location in found if not location.instead_of]

    def of(self, dataset: Dataset) -> Iterator[Location]:
        """All, each once, in the order to try. The database is asked, and may fail, only when it comes to it."""
        seen: set[str] = set()
        for location in self._all(dataset):
            address = unquote(location.url)
            if address not in seen:
                seen.add(address)
                yield location

    def _all(self, dataset: Dataset) -> Iterator[Location]:
        yield from _likely_first(self._on_servers(dataset))
        if self._repositories is not None:
            with self._needing_the_database("where it is"):
                places = self._repositories.places()
            yield from _likely_first(places.locations(dataset))
            with self._needing_the_database("where else it is"):
                copies = self._repositories.copies(dataset.id)
            yield from _likely_first(copies)

    def _on_servers(self, dataset: Dataset) -> list[Location]:
        return [each for server in self._servers for each in server.locations(dataset.path, dataset.id)]

    @contextmanager
    def _needing_the_database(self, what: str) -> Iterator[None]:
        """A block whose errors say what the database was needed for."""
        assert self._repositories is not None
        try:
            yield
        except OnefsError as error:
            told = copy(error)  # the error itself may be raised again elsewhere
            told.reason = f"the database {self._repositories.database} is needed to tell {what}: {error.reason}"
            raise told from error


def _likely_first(locations: Iterable[Location]) -> list[Location]:
    """The same locations; last those whose names are not of their server's form, so that all servers come before."""
    return sorted(locations, key=attrgetter("is_unlikely"))
