"""What a mount of a database shows, for tests without the mount."""

import gc
from pathlib import Path
from typing import Any

from file_systems import silent_control
from tables_in_use import NOW_S, TablesInUse

from onefs.alf import TABLE_NAMES
from onefs.archive.archive import make_http
from onefs.archive.effect import ModeInEffect
from onefs.cache.store import ContentStore
from onefs.catalogue.snapshot import Snapshot
from onefs.daemon.showing import Showing
from onefs.demo.server import DemoServer
from onefs.fetch.access import Content
from onefs.fuse.errnos import errno_name
from onefs.fuse.notify import Notifier
from onefs.modes import Abilities, Mode
from onefs.outages import PAUSE_S, Outages
from onefs.settings import Settings
from onefs.sources.releases import Releases
from onefs.vfs.filesystem import FileSystem
from onefs.vfs.journal import Journal


class Shown:
    """What a mount of a database shows, without the mount."""

    def __init__(self, server: DemoServer, home: Path, mode: Mode, **options: Any) -> None:
        self.clock_s = 0.0
        self._in_use = TablesInUse(server.url, home / "cache", outages=Outages(lambda: self.clock_s), **options).open()
        self.mode = ModeInEffect(mode, lambda: NOW_S)
        journal = Journal(errno_name)
        self.showing = Showing(
            self._in_use.adopted[0],
            self._in_use.client,
            silent_control(journal),
            Abilities(has_server=True, has_database=True),
            lambda: self.mode.state.requested,
            self._in_use.refresher.check_before_listing,
            lambda error: self.mode.heard(error or self._in_use.client.outage, PAUSE_S),
            lambda: self.file_system,
            Notifier(),
            Settings(),
            Releases(self._in_use.source, None, lambda: False),
            self._in_use.source.state_dir,
        )
        store = ContentStore(home / "cache", home / "cache" / ".onefs")
        self.content = Content(store, make_http(Settings()), lambda _: [], lambda _: [])
        self.file_system = FileSystem(
            self.showing.forest(), self.content, journal, lambda: mode, serves_mismatches=False
        )

    def close(self) -> None:
        """Let all of it go."""
        self.content.close()
        vars(self).clear()
        gc.collect()

    def pass_s(self, seconds: float) -> None:
        """Let time pass for kept responses, pauses and all that was asked."""
        self.clock_s += seconds
        self._in_use.now_s += seconds

    def switch_tables(self, mode: Mode) -> None:
        """Have the renewal of tables be in a mode."""
        self._in_use.refresher.switch(mode)

    def tables(self) -> Snapshot:
        """The newest tables of the database, not shown yet."""
        self._in_use.refresher.refresh()
        return self._in_use.adopted.pop()

    def names(self, path: str) -> set[str]:
        """What is listed in a folder."""
        ino = self.file_system.forest.find(path).ino
        return {name for name, _ in self.file_system.entries(ino)} - {".", "..", *TABLE_NAMES}
