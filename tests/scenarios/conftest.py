"""Owns the mounts that the scenarios use."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from archive_views import VIEWS, ArchiveView
from archives import PASSWORD, RECORDINGS, USER, flags_for
from mounted import Mounted
from servers import Nginx


@pytest.fixture(scope="session")
def data_server() -> Iterator[Nginx]:
    """The recorded data behind a real nginx with Basic auth."""
    with Nginx(RECORDINGS / "data" / "public", USER, PASSWORD) as server:
        yield server


@pytest.fixture
def recorded(data_server: Nginx, tmp_path: Path) -> Iterator[Mounted]:
    """The recorded archive, mounted with every QC outcome shown."""
    with _recorded(data_server, tmp_path) as mount:
        yield mount


@pytest.fixture(scope="module")
def shared(data_server: Nginx, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    """The same, for all tests of a module that leave it as it was and do not depend on what was read."""
    with _recorded(data_server, tmp_path_factory.mktemp("shared")) as mount:
        yield mount


def _recorded(data_server: Nginx, home: Path) -> Mounted:
    flags = (*flags_for(data_server), "--qc", "CRITICAL")
    return Mounted(RECORDINGS / "tables", home, *flags, ONEFS_DATA_PASSWORD=PASSWORD)


@pytest.fixture
def data_server_flags(data_server: Nginx) -> list[str]:
    """Flags that point a mount at the recorded data."""
    return flags_for(data_server)


@pytest.fixture(scope="module", params=VIEWS)
def archive_view(
    request: pytest.FixtureRequest, data_server: Nginx, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ArchiveView]:
    """The recorded archive in process, and again through a mount. Shared: tests must not depend on what was read."""
    with VIEWS[request.param](data_server, tmp_path_factory.mktemp(request.param)) as view:
        yield view
