"""A server that takes no connection in time is a time-out, whoever asks it for what."""

import errno
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from alyx_archive import AlyxArchive
from servers import full_server

from onefs.alyx.client import AlyxClient
from onefs.alyx.credentials import Credentials
from onefs.daemon.doctor import examine
from onefs.errors import OnefsError
from onefs.fetch.ranges import Ranges
from onefs.fuse.errnos import errno_of
from onefs.settings import Settings
from onefs.sources.origins import FolderOrigin
from onefs.transports.archive import ArchiveServer, bucket_server
from onefs.transports.base import Location
from onefs.transports.http import HttpTransport

CONNECT_S = 0.2
FILE = "lab/Subjects/mouse/2024-01-02/001/alf/a.times.npy", UUID(int=1)


@pytest.fixture
def url() -> Iterator[str]:
    with full_server() as url:
        yield url


@pytest.fixture
def http() -> Iterator[HttpTransport]:
    transport = HttpTransport(connect_timeout_s=CONNECT_S, read_timeout_s=30, max_connections=1)
    yield transport
    transport.close()


def database(url: str, http: HttpTransport) -> None:
    del http
    client = AlyxClient(
        url,
        Credentials("me", "word"),
        responses_dir=None,
        connect_timeout_s=CONNECT_S,
        read_timeout_s=30,
        retry_max_s=0,
    )
    try:
        client.labs()
    finally:
        client.close()


def data_server(url: str, http: HttpTransport) -> None:
    with http.open(ArchiveServer(url).location(*FILE)):
        pass


def bucket(url: str, http: HttpTransport) -> None:
    with http.open(bucket_server("bucket", "", "data", endpoint=url).location(*FILE)):
        pass


def tables(url: str, http: HttpTransport) -> None:
    FolderOrigin(Location(url), Ranges(http)).offered()


@pytest.mark.parametrize("ask", [database, data_server, bucket, tables])
def test_every_kind_of_server_gives_etimedout(
    url: str, http: HttpTransport, ask: Callable[[str, HttpTransport], None]
) -> None:
    with pytest.raises(OnefsError) as caught:
        ask(url, http)
    assert errno_of(caught.value) == errno.ETIMEDOUT
    assert "within 0.2 s" in caught.value.reason
    assert caught.value.reason.startswith(url.removeprefix("http://"))


def test_doctor_tells_the_connect_time_out(url: str, tmp_path: Path) -> None:
    archive = AlyxArchive(tmp_path / "archive")
    archive.put(FILE[0], b"a")
    archive.publish()
    settings = Settings(cache_dir=tmp_path / "cache", connect_timeout_s=CONNECT_S)
    found = {each.check: each for each in examine(f"{url}/tables", settings)}
    assert "within 0.2 s" in found["source"].says
    local = str(archive.directory / "tables")
    found = {each.check: each for each in examine(local, replace(settings, data_url=url))}
    assert "within 0.2 s" in found["download"].says
