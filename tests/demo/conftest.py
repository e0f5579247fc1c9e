"""Owns the archive, the server and the user that the tests of this folder share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alyx_user import AlyxUser

from onefs.demo.server import DemoServer


@pytest.fixture(scope="session")
def archive(demo_archive: Path) -> Path:
    """The demo's archive; tests only read it."""
    return demo_archive


@pytest.fixture(scope="module")
def server(archive: Path) -> Iterator[DemoServer]:
    """A server of it."""
    with DemoServer(archive) as running:
        yield running


@pytest.fixture
def client(server: DemoServer) -> Iterator[AlyxUser]:
    """A user of that server."""
    client = AlyxUser(server.url)
    with client.http:
        yield client
