"""Mounts a tree of tables and, as `.onefs/via/remote`, that of a database which the test answers for."""

import sys
from pathlib import Path

import trio
from asking import TablesDatabase
from file_systems import file_system_of

from onefs.cache.store import ContentStore
from onefs.catalogue.live import LiveSnapshot
from onefs.catalogue.snapshot import load_snapshot
from onefs.fetch.access import Content
from onefs.fuse.mounters import Mounter
from onefs.fuse.notify import Notifier
from onefs.fuse.operations import Operations
from onefs.fuse.pyfuse3_adapter import Pyfuse3Adapter
from onefs.modes import Mode
from onefs.transports.base import Location
from onefs.transports.file import FileTransport
from onefs.vfs.links import resolvers
from onefs.vfs.tree import Tree
from onefs.vfs.views import View


def main(home: Path, mountpoint: Path) -> None:
    notifier = Notifier()
    tables, database = load_snapshot(home / "tables", home / "state"), TablesDatabase(home)

    def locations(dataset: object) -> list[Location]:
        return [Location((home / "bytes").as_uri())]

    content = Content(ContentStore(home / "cache", home / "state"), FileTransport(), locations, locations)
    live = LiveSnapshot(
        database,
        tables,
        expiry_s=lambda: -1,
        retry_s=-1,
        on_change=lambda changes: notifier.tell_names(file_system.learned(changes)),
    )
    views = {
        "remote": Tree(live, View(1), {}),
        "local": Tree(live.silent(), View(2), {}),
        "refresh": Tree(live.silent(), View(3), {}, before_listing=lambda: look_for_tables()),
    }

    def look_for_tables() -> None:
        """New tables come, and the kernel is told of thousands of names, in the very directory that is listed."""
        database.told("tables")
        notifier.names_changed([(views["refresh"].root_ino, f"lab{number}") for number in range(5000)])

    file_system = file_system_of(
        Tree(live.silent(), View(), {}),
        content,
        Mode.AUTO,
        views={"via": views},
        links=resolvers(live.silent(), database.eid_of_pid),
    )
    operations = Operations(file_system, open_wait_s=2)
    mounter = Mounter(mountpoint)
    adapter = Pyfuse3Adapter(mounter.mount("asking"), operations)
    notifier.start(adapter)
    print("ready", flush=True)
    try:
        trio.run(adapter.serve)
    finally:
        notifier.stop()
        adapter.close()
        mounter.close()
        content.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
