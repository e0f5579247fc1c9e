"""What every transport must do, run over a real nginx and over local files."""

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
from servers import Nginx
from waiting import PATIENCE_S

from onefs import alf
from onefs.errors import MissingOnServerError
from onefs.transports.archive import ArchiveServer
from onefs.transports.base import Location, Login, Transport
from onefs.transports.file import FileTransport
from onefs.transports.http import HttpTransport

ID = UUID("0f7a1c2e-0000-4000-8000-000000000001")


@dataclass
class Archive:
    transport: Transport
    root: Path
    server: ArchiveServer

    def put(self, path: str, data: bytes, mtime_s: int | None = None) -> Location:
        file = self.root / alf.archive_path(path, ID)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        if mtime_s is not None:
            os.utime(file, (mtime_s, mtime_s))
        return self.server.location(path, ID)

    def read(self, location: Location, start: int = 0, edition: str = "") -> tuple[int, int | None, str, bytes]:
        with self.transport.open(location, start, edition) as body:
            return body.start, body.total_bytes, body.edition, b"".join(body.chunks)


@pytest.fixture(params=["http", "file"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Archive]:
    if request.param == "file":
        yield Archive(FileTransport(), tmp_path, ArchiveServer(tmp_path.as_uri()))
        return
    transport = HttpTransport(connect_timeout_s=PATIENCE_S, read_timeout_s=PATIENCE_S, max_connections=64)
    with Nginx(tmp_path, "mouse", "cheese") as nginx:
        yield Archive(transport, tmp_path, ArchiveServer(nginx.url, Login("mouse", "cheese")))
        transport.close()


def test_whole_file(archive: Archive) -> None:
    data = os.urandom(3_000_000)
    start, total, edition, got = archive.read(archive.put("lab/x.npy", data))
    assert (start, total, got) == (0, len(data), data)
    assert edition


def test_empty_file(archive: Archive) -> None:
    start, total, _, got = archive.read(archive.put("lab/x.npy", b""))
    assert (start, total, got) == (0, 0, b"")


@pytest.mark.parametrize("name", ["#2024-01-01#/a.b.npy", "per cent %23?.x.npy", "ünï&+=;:@.x.npy", "noextension"])
def test_names_are_encoded(archive: Archive, name: str) -> None:
    assert archive.read(archive.put(f"lab/{name}", b"bytes"))[3] == b"bytes"


def test_goes_on_from_an_offset(archive: Archive) -> None:
    location = archive.put("lab/x.npy", b"0123456789")
    edition = archive.read(location)[2]
    assert archive.read(location, 4, edition) == (4, 10, edition, b"456789")


@pytest.mark.parametrize(("start", "end", "expected"), [(0, 4, b"0123"), (4, 6, b"45"), (8, 20, b"89")])
def test_gives_a_part(archive: Archive, start: int, end: int, expected: bytes) -> None:
    location = archive.put("lab/x.npy", b"0123456789")
    edition = archive.read(location)[2]
    for known in ("", edition):
        with archive.transport.open(location, start, known, end) as body:
            assert (body.start, body.total_bytes, body.edition) == (start, 10, edition)
            assert body.is_part
            assert b"".join(body.chunks) == expected


@pytest.mark.parametrize("start", [0, 4])
def test_gives_the_whole_of_another_edition_than_the_part_was_asked_of(archive: Archive, start: int) -> None:
    edition = archive.read(archive.put("lab/x.npy", b"0123456789", mtime_s=1_000_000_000))[2]
    location = archive.put("lab/x.npy", b"abcdefghij", mtime_s=1_100_000_000)
    with archive.transport.open(location, start, edition, start + 2) as body:
        assert not body.is_part
        assert (body.start, body.total_bytes) == (0, 10)
        assert body.edition != edition
        assert b"".join(body.chunks) == b"abcdefghij"


def test_goes_on_without_an_edition_to_check(archive: Archive) -> None:
    location = archive.put("lab/x.npy", b"0123456789")
    start, total, _, got = archive.read(location, 4)
    assert (start, total, got) == (4, 10, b"456789")


def test_nothing_is_left_to_read(archive: Archive) -> None:
    location = archive.put("lab/x.npy", b"0123456789")
    edition = archive.read(location)[2]
    start, total, _, got = archive.read(location, 10, edition)
    assert (start, total, got) == (10, 10, b"")


def test_another_edition_starts_at_0(archive: Archive) -> None:
    edition = archive.read(archive.put("lab/x.npy", b"0123456789", mtime_s=1_600_000_000))[2]
    location = archive.put("lab/x.npy", b"abcdefghijkl", mtime_s=1_700_000_000)
    start, total, found, got = archive.read(location, 4, edition)
    assert (start, total, got) == (0, 12, b"abcdefghijkl")
    assert found != edition


def test_offset_behind_the_end_starts_at_0(archive: Archive) -> None:
    location = archive.put("lab/x.npy", b"0123456789")
    assert archive.read(location, 11)[0::3] == (0, b"0123456789")


def test_missing(archive: Archive) -> None:
    with pytest.raises(MissingOnServerError):
        archive.read(archive.server.location("lab/none.npy", ID))


def test_leaving_early_does_no_harm(archive: Archive) -> None:
    data = os.urandom(8_000_000)
    location = archive.put("lab/x.npy", data)
    for _ in range(3):
        with archive.transport.open(location) as body:
            assert next(body.chunks)
    assert archive.read(location)[3] == data


def test_many_threads(archive: Archive) -> None:
    files = {number: os.urandom(10_000 + number) for number in range(40)}
    locations = {number: archive.put(f"lab/{number}.x.npy", data) for number, data in files.items()}
    wrong: list[int] = []
    run_together(lambda n: wrong.append(n) if archive.read(locations[n])[3] != files[n] else None, len(files))
    assert not wrong


def run_together(job: Callable[[int], None], count: int) -> None:
    threads = [threading.Thread(target=job, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
