"""The set-up of tests about where a database's files are: a small archive on the demo's Alyx, and a cache."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from archives import make_tables, on_servers
from waiting import PATIENCE_S

from onefs.alf import RemoteNames
from onefs.alyx.client import AlyxClient
from onefs.alyx.credentials import Credentials
from onefs.cache.store import ContentStore
from onefs.catalogue.records import Dataset
from onefs.demo.archive import Manifest
from onefs.demo.database_file import DatabaseFile
from onefs.demo.server import DemoServer
from onefs.demo.visits import Visit
from onefs.fetch.access import Content, NoEvents, Patience
from onefs.outages import Outages
from onefs.sources.kept_places import KeptPlaces
from onefs.sources.locations import Locations, Repositories
from onefs.sources.repositories import DataLogin
from onefs.transports.archive import ArchiveServer
from onefs.transports.base import Location, Login
from onefs.transports.http import HttpTransport

LOGIN = Login("demo", "demo")
FILES = {f"alf/#2024-05-06#/a.number{number}.npy": bytes([number]) * 1000 for number in range(4)}


class Mismatches(NoEvents):
    """Tells of wrong bytes."""

    def __init__(self, tell: Callable[[Dataset, Location], None]) -> None:
        self._tell = tell

    def mismatched(self, dataset: Dataset, location: Location) -> None:
        self._tell(dataset, location)


class ArchiveOfADatabase:
    """Four files of one session, in a bucket and on a data server that wants a login. A context manager.

    `clock_s` is what the repositories and `outages` take for the time.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.datasets = list(make_tables(home / "archive" / "tables", FILES).values())
        self.clock_s = 1000.0
        self.outages = Outages(lambda: self.clock_s)
        for dataset, data in zip(self.datasets, FILES.values(), strict=True):
            path = home / "archive" / "data" / "public" / on_servers(dataset)[1:]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        Manifest(layout=1, seed=0, virtual={}).write(home / "archive")
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.server = self._stack.enter_context(DemoServer(self.home / "archive"))
        self.transport = HttpTransport(connect_timeout_s=PATIENCE_S, read_timeout_s=PATIENCE_S, max_connections=8)
        self._stack.callback(self.transport.close)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def host(self) -> str:
        """Host and port of the Alyx, the data server and the bucket."""
        return self.server.url.removeprefix("http://")

    def knows(self, known: DatabaseFile) -> None:
        """What the database knows, instead of what the tables say."""
        known.write(self.home / "archive")

    def client(self, user: str = "demo", *, keeps: bool = True) -> AlyxClient:
        client = AlyxClient(
            self.server.url,
            Credentials(user, user),
            responses_dir=self.home / "responses" if keeps else None,
            connect_timeout_s=PATIENCE_S,
            read_timeout_s=PATIENCE_S,
            retry_max_s=0.1,
            outages=self.outages,
        )
        self._stack.callback(client.close)
        return client

    def repositories(
        self,
        client: AlyxClient | None = None,
        *,
        data: DataLogin | None = None,
        s3_endpoint: str = "",
        names: RemoteNames = RemoteNames.UUID,
        kept: KeptPlaces | None = None,
    ) -> Repositories:
        client, data = client or self.client(), data or DataLogin(LOGIN, self.server.url)
        return Repositories(client, data, s3_endpoint=s3_endpoint, names=names, kept=kept, clock=lambda: self.clock_s)

    def content(
        self,
        repositories: Repositories,
        servers: Sequence[ArchiveServer] = (),
        on_mismatch: Callable[[Dataset, Location], None] = lambda dataset, location: None,
    ) -> Content:
        locations = Locations(servers, repositories)
        cache = self.home / "cache"
        content = Content(
            ContentStore(cache, cache / ".onefs"),
            self.transport,
            locations.of,
            locations.known,
            patience=Patience(tries=1, first_pause_s=0.01, longest_pause_s=0.01),
            events=Mismatches(on_mismatch),
            outages=self.outages,
        )
        self._stack.callback(content.close)
        return content

    def file(self, dataset: Dataset) -> Path:
        """A dataset's file, which both servers give."""
        return self.home / "archive" / "data" / "public" / on_servers(dataset)[1:]

    def asked(self, below: str, method: str = "GET") -> list[Visit]:
        """The requests that came for a path and what is below it."""
        return [visit for visit in self.server.requests() if visit.method == method and visit.path.startswith(below)]


def read(content: Content, dataset: Dataset) -> bytes:
    """The whole file, waited for."""
    file = content.open(dataset, may_fetch=True)
    try:
        while (waiting := file.wait(0, 1 << 20)) is not None:
            waiting.result(timeout=PATIENCE_S)
        return file.read(0, 1 << 20)
    finally:
        file.close()
