"""Owns the source `demo`: its archive is made at first use, its server runs as long as the mount."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import platformdirs

from onefs.daemon.sources import Source, resolve
from onefs.settings import Settings

NAME = "demo"


@contextlib.contextmanager
def opened(name: str, settings: Settings) -> Iterator[Source]:
    """The source of a name, with the demo's server running if it is that."""
    if name != NAME:
        yield resolve(name, settings)
        return
    from onefs.demo.archive import make_archive  # what makes and serves the demo is slow to import
    from onefs.demo.server import start_demo

    home = platformdirs.user_cache_path("onefs") / NAME
    make_archive(home / "archive")
    with start_demo(home / "archive") as server:
        ours = replace(
            settings,
            cache_dir=settings.cache_dir or home / "cache",
            data_url=server.data_url,
            data_user=server.user,
            data_password=server.password,
        )
        yield replace(resolve(server.tables_url, ours), name=NAME)
