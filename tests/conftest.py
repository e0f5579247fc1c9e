"""Makes tests/servers.py importable from every test folder, and serves the archives that tests change."""

from collections.abc import Iterator

import pytest
from alyx_archive import AlyxArchive

from onefs.demo.server import DemoServer


@pytest.fixture
def server(archive: AlyxArchive) -> Iterator[DemoServer]:
    """An Alyx of the archive that a module makes."""
    with DemoServer(archive.directory) as server:
        yield server
