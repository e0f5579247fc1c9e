"""A refresher for tests, in the place where a mount has it: over an Alyx, with a clock that the test moves."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from alyx_archive import AlyxArchive
from waiting import PATIENCE_S

from onefs.alyx.client import AlyxClient
from onefs.alyx.credentials import Credentials
from onefs.alyx.waiting import Clock
from onefs.archive.archive import make_http, make_transport
from onefs.archive.refresher import Refresher
from onefs.catalogue.snapshot import Snapshot
from onefs.demo.archive import TABLES_DIR
from onefs.demo.export import write_export
from onefs.fetch.ranges import Patience, Ranges
from onefs.jitter import Jitter
from onefs.modes import Mode
from onefs.outages import Outages
from onefs.settings import Settings
from onefs.sources.databases import Database
from onefs.sources.origins import origins
from onefs.sources.source import Kind, prepare, resolve

NOW_S = 1_750_000_000.0
DAY_S = 86400.0


class TablesInUse:
    """What one mount of a database knows of its tables."""

    def __init__(
        self,
        url: str,
        cache: Path,
        *,
        mode: Mode = Mode.AUTO,
        tag: str = "",
        password: str = "demo",
        interval_s: float = 60.0,
        waits: Callable[[float], None] | None = None,
        outages: Outages | None = None,
        responses_dir: Path | None = None,
        read_timeout_s: float = PATIENCE_S,
        jitter: Jitter | None = None,
    ) -> None:
        database = Database(url, Credentials("demo", password))
        source = resolve(url, Settings(cache_dir=cache, tag=tag, alyx_user="demo", alyx_password="demo"), Kind.DATABASE)
        self.source = replace(source, database=database, mode=mode)
        prepare(self.source)
        transport = make_transport(make_http(Settings()))
        self.client = AlyxClient(
            url,
            database.credentials,
            responses_dir=responses_dir,
            connect_timeout_s=PATIENCE_S,
            read_timeout_s=read_timeout_s,
            retry_max_s=60.0 if waits else 0.0,
            clock=Clock(lambda: self.now_s, wait=lambda _, seconds: bool(waits and waits(seconds))),
            outages=outages,
        )
        self.now_s = NOW_S
        self.adopted: list[Snapshot] = []
        self.when_adopting: Callable[[], object] = lambda: None
        self.tell: Callable[[], None] = lambda: None
        self.refresher = Refresher(
            self.source,
            origins(None, self.client, Ranges(transport, patience=Patience(first_pause_s=0.01))),
            lambda: self.adopted[-1],
            self._adopt,
            expiry_s=DAY_S,
            interval_s=interval_s,
            clock=lambda: self.now_s,
            jitter=jitter,
        )

    def open(self) -> "TablesInUse":
        """As a mount begins."""
        self.adopted.append(self.refresher.open_tables())
        return self

    def _adopt(self, tables: Snapshot) -> Callable[[], None]:
        self.when_adopting()
        self.adopted.append(tables)
        return self.tell

    @property
    def created(self) -> str:
        """Of the tables that are served."""
        return self.adopted[-1].metadata.created

    @property
    def n_datasets(self) -> int:
        return self.adopted[-1].n_datasets


def export_tag(archive: AlyxArchive, tag: str, created: str, *paths: str) -> None:
    """Export the tables of a release that holds these files of an `AlyxArchive`."""
    directory = archive.directory / TABLES_DIR / tag
    directory.mkdir(exist_ok=True)
    datasets = [archive.datasets[path] for path in paths]
    sessions = [archive.sessions[path] for path in {dataset.session_path for dataset in datasets}]
    write_export(directory, sessions, datasets, tag=tag, created=created)
