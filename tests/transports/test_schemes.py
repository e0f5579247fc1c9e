"""Addresses: where an archive's files stand, and which transport reads them."""

from pathlib import Path
from uuid import UUID

import pytest

from onefs.errors import BrokenAnswerError, MissingOnServerError
from onefs.transports.archive import ArchiveServer
from onefs.transports.base import Location, Login
from onefs.transports.file import FileTransport
from onefs.transports.http import HttpTransport
from onefs.transports.schemes import SchemeTransport

ID = UUID("0f7a1c2e-0000-4000-8000-000000000001")


def test_revision_and_uuid_in_the_address() -> None:
    server = ArchiveServer("https://data.example/public/")
    location = server.location("lab/Subjects/KS 1/2020-01-01/001/alf/#2024#/a.b.npy", ID)
    place = "https://data.example/public/lab/Subjects/KS%201/2020-01-01/001/alf"
    assert location == Location(f"{place}/%232024%23/a.b.{ID}.npy")


def test_login_in_the_base_is_taken_out() -> None:
    location = ArchiveServer("https://mo%40use:che%3Aese@data.example").location("a.b.npy", ID)
    assert location == Location(f"https://data.example/a.b.{ID}.npy", Login("mo@use", "che:ese"))
    assert "che" not in repr(location)


def test_each_scheme_has_its_transport(tmp_path: Path) -> None:
    http = HttpTransport(connect_timeout_s=1, read_timeout_s=1, max_connections=1)
    transport = SchemeTransport({"http": http, "https": http, "file": FileTransport()})
    (tmp_path / "x").write_bytes(b"here")
    with transport.open(Location((tmp_path / "x").as_uri())) as body:
        assert b"".join(body.chunks) == b"here"
    with pytest.raises(BrokenAnswerError, match="ftp"), transport.open(Location("ftp://data.example/x")):
        pass
    transport.close()


@pytest.mark.parametrize("url", ["file://elsewhere/x", "file:relative", "file:///a%00b"])
def test_file_addresses_that_cannot_be_read(url: str) -> None:
    with pytest.raises(BrokenAnswerError), FileTransport().open(Location(url)):
        pass


def test_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(BrokenAnswerError, match="not a file"), FileTransport().open(Location(tmp_path.as_uri())):
        pass
    with pytest.raises(MissingOnServerError), FileTransport().open(Location(f"{tmp_path.as_uri()}/a/b")):
        pass


def test_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(bytes(4_000_000))
    with FileTransport().open(Location(file.as_uri())) as body:
        next(body.chunks)
        with file.open("r+b") as stream:
            stream.truncate(2_000_000)
        with pytest.raises(BrokenAnswerError, match="ended after 2000000 of 4000000"):
            list(body.chunks)
