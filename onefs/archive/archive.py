"""`Archive`, the parts of a mount without the mount: its tables, its bytes, and its database."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from onefs.archive.refresher import Refresher
from onefs.cache.quota import Limits
from onefs.cache.store import ContentStore
from onefs.catalogue.records import QC, Dataset
from onefs.catalogue.revisions import Rule
from onefs.catalogue.snapshot import Snapshot
from onefs.errors import AccessRefusedError, MismatchError, MissingOnServerError, OnefsError, UnreachableError
from onefs.fetch.access import BlockRules, Content, FetchEvents, NoEvents, Verify
from onefs.fetch.ranges import Patience, Ranges
from onefs.fetch.retry import LocationHealth
from onefs.jitter import Jitter
from onefs.outages import Outages
from onefs.settings import Settings
from onefs.sources.claims import claim
from onefs.sources.databases import open_database
from onefs.sources.kept_places import KeptPlaces
from onefs.sources.locations import Locations, Repositories
from onefs.sources.mismatches import mismatch_reporter
from onefs.sources.origins import Origin, UnderstoodOrigin, origins
from onefs.sources.source import Source
from onefs.transports.base import Location, Transport
from onefs.transports.file import FileTransport
from onefs.transports.schemes import SchemeTransport

if TYPE_CHECKING:
    from onefs.alyx.client import AlyxClient
    from onefs.transports.http import HttpTransport

DEFAULT_VIEW = "default"
"""The view whose names are the default editions of files."""
_ASK_FOR_IT = "Ask the archive's maintainers for it as it was."


@dataclass(frozen=True, slots=True)
class Hooks:
    """What an archive tells whoever shows it, in worker threads.

    `events` are those of its datasets. `on_tables` puts other tables in use, and gives what is to be called when the
    next may come. `jitter` delays checks and back-offs at random.
    """

    events: FetchEvents = field(default_factory=NoEvents)
    on_tables: Callable[[Snapshot], Callable[[], None]] = lambda tables: lambda: None  # noqa: ARG005
    jitter: Jitter = field(default_factory=Jitter)


class Archive:
    """One source, ready to be read. Safe to use from several threads.

    `tables` are those in use, which `refresher` renews; `locations` is where files are to be had; `client` is None
    for a source without a database.
    """

    def __init__(
        self,
        source: Source,
        settings: Settings,
        hooks: Hooks | None = None,
        *,
        tables: Snapshot | None = None,
        understood_only: bool = False,
    ) -> None:
        """Begin with `tables`; without, with those at hand, else the server's.

        With `understood_only` no tables are fetched that are for a newer reader than this.
        Raises any `OnefsError` that stands in the way of that.
        """
        self._hooks = hooks or Hooks()
        self._settings = settings
        self.source = source
        self._outages = Outages(jitter=self._hooks.jitter)
        self.http = make_http(settings) if source.abilities.has_server else None
        self.transport = make_transport(self.http)
        self.ranges = make_ranges(self.transport, settings, self._outages)
        if (source.tables_url is not None or source.database is not None) and not source.is_frozen:
            claim(source.tables_dir, source.state_dir, source.name)
        self.client = self._open_database(settings)
        self._repositories = self._make_repositories(settings)
        self.locations = Locations(source.servers, self._repositories)
        self.content = self._make_content(settings)
        self.refresher = Refresher(
            source,
            self._origins(understood_only=understood_only),
            lambda: self.tables,
            self._adopt,
            expiry_s=settings.cache_expiry_s,
            interval_s=settings.refresh_interval_s,
            on_recovery=self._recovered,
            jitter=self._hooks.jitter,
        )
        try:
            self.tables: Snapshot = (
                self.refresher.open_tables() if tables is None else self.refresher.begin_with(tables)
            )
        except BaseException:
            self.close()
            raise

    def begin_anew(self) -> None:
        """Open the files anew, in a process that was forked off: the threads that fetch stay with the parent."""
        self.content = self._make_content(self._settings)

    def close(self) -> None:
        """Stop what is under way. Does not wait for stalled connections."""
        self.content.close()
        self.transport.close()
        if self.client is not None:
            self.client.close()

    def requests_sent(self) -> dict[str, int]:
        """How many requests were sent to the database and to data servers."""
        return {
            "database": self.client.requests_sent if self.client is not None else 0,
            "data": self.http.requests_sent if self.http is not None else 0,
        }

    def refresh(self) -> bool:
        """Ask for newer tables now, and forget all failures; whether there were newer tables. Raises `OnefsError`."""
        is_new = self.refresher.refresh()
        self.content.forget_failures()
        return is_new

    def _origins(self, *, understood_only: bool) -> Callable[[str], Origin] | None:
        """What makes the origin of the tables, by tag; None where there is no server for them."""
        found = None if self.source.is_frozen else origins(self.source.tables_url, self.client, self.ranges)
        if found is None or not understood_only:
            return found
        return lambda tag: UnderstoodOrigin(found(tag))

    def _open_database(self, settings: Settings) -> "AlyxClient | None":
        database = self.source.database
        if database is None:
            return None
        return open_database(database, settings, self.source.state_dir, outages=self._outages)

    def _make_repositories(self, settings: Settings) -> Repositories | None:
        database = self.source.database
        if self.client is None or database is None:
            return None
        return Repositories(
            self.client,
            database.data_login,
            s3_endpoint=settings.s3_endpoint,
            names=settings.remote_names,
            kept=KeptPlaces(self.source.state_dir, database.base_url),
        )

    def _make_content(self, settings: Settings) -> Content:
        source = self.source
        store = ContentStore(
            source.data_dir,
            source.state_dir,
            is_cache=source.is_cache,
            may_displace=source.may_displace,
            limits=Limits(settings.cache_size, settings.cache_min_free),
            uuid_filenames=settings.uuid_filenames,
        )
        return self.content_in(store, settings)

    def content_in(
        self,
        store: ContentStore,
        settings: Settings,
        near: Callable[[Dataset], Iterable[Location]] = lambda dataset: (),  # noqa: ARG005
    ) -> Content:
        """The archive's files in any cache directory, asked for `near` before all others.

        Whoever asks for it closes it, before the archive.
        """
        locations = self.locations
        return Content(
            store,
            self.transport,
            lambda dataset: self._known_somewhere(chain(near(dataset), locations.of(dataset))),
            locations.known,
            verify=Verify(settings.verify),
            blocks=_block_rules(settings),
            max_transfers=settings.max_transfers,
            prefetches=settings.connections,
            patience=patience_of(settings),
            events=_Events(self, self._hooks.events, self._mismatch_reporter(settings)),
            outages=self._outages,
        )

    def _known_somewhere(self, located: Iterable[Location]) -> Iterator[Location]:
        """The same locations. Raises `MissingOnServerError` if there are none of what a manifest alone may list."""
        last = None
        for last in located:
            yield last
        if last is None and self.source.is_frozen:
            raise MissingOnServerError(
                "its manifest lists it, but the archive does not say any more where it is", _ASK_FOR_IT
            )

    def _mismatch_reporter(self, settings: Settings) -> Callable[[Dataset, Location], None]:
        if self.client is None or self._repositories is None:
            return lambda dataset, location: None  # noqa: ARG005
        return mismatch_reporter(settings, self.client, self._repositories)

    def _adopt(self, tables: Snapshot) -> Callable[[], None]:
        tell = self._hooks.on_tables(tables)
        self.tables = tables
        self.content.forget_failures()
        return tell

    def _recovered(self) -> None:
        """A server that did not answer does: what failed for that may be tried at once."""
        self.content.forget_failures()


class _Events:
    """Tells of datasets in this archive's words, and doubts what is known of servers that fail."""

    def __init__(
        self, archive: Archive, events: FetchEvents, report_mismatch: Callable[[Dataset, Location], None]
    ) -> None:
        self._archive = archive
        self._events = events
        self._report_mismatch = report_mismatch

    def changed(self, dataset: Dataset) -> None:
        self._events.changed(dataset)

    def withdrawn(self, dataset: Dataset) -> None:
        self._events.withdrawn(dataset)

    def mismatched(self, dataset: Dataset, location: Location) -> None:
        self._report_mismatch(dataset, location)

    def failed(self, dataset: Dataset, error: OnefsError) -> None:
        self._events.failed(dataset, told_of_a_replay(error) if self._archive.source.is_frozen else error)
        if isinstance(error, UnreachableError | AccessRefusedError):
            self._archive.refresher.doubt()


def told_of_a_replay(error: OnefsError) -> OnefsError:
    """The same failure, with what to do about it where a manifest says what the bytes are."""
    is_final = isinstance(error, MismatchError | MissingOnServerError)
    return type(error)(error.reason, _ASK_FOR_IT) if is_final else error


def make_http(settings: Settings) -> "HttpTransport":
    """HTTP with the settings' time-outs and proxy."""
    from onefs.transports.http import HttpTransport  # slow to import, and no use for a folder

    return HttpTransport(
        connect_timeout_s=settings.connect_timeout_s,
        read_timeout_s=settings.read_timeout_s,
        max_connections=settings.max_transfers + settings.connections,
        proxy=settings.proxy,
    )


def make_transport(http: "HttpTransport | None") -> Transport:
    """Every kind of location; without `http`, files of this machine alone."""
    transports: dict[str, Transport] = {} if http is None else {"http": http, "https": http}
    return SchemeTransport({**transports, "file": FileTransport()})


def make_ranges(transport: Transport, settings: Settings, outages: Outages | None = None) -> Ranges:
    """Downloads over a transport, by the settings."""
    return Ranges(transport, LocationHealth(outages or Outages()), patience_of(settings))


def patience_of(settings: Settings) -> Patience:
    """How hard a location is tried."""
    return Patience(slow_limit=settings.slow_limit, slow_window_s=settings.read_timeout_s)


def rule_of(settings: Settings) -> Rule:
    """What the root of a tree shows."""
    return Rule(QC[settings.qc], settings.ignore_qc_not_set, settings.as_of, settings.view == DEFAULT_VIEW)


def _block_rules(settings: Settings) -> BlockRules:
    return BlockRules(settings.whole_file_max, settings.block_size, settings.read_ahead_max, settings.http_dl_threads)
