"""What is noted in a database about wrong hashes: nothing unless told to, and on the right record."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from archive_of_a_database import ArchiveOfADatabase, read
from archives import on_servers
from servers import FaultServer
from waiting import wait_until

from onefs.alyx.client import AlyxClient
from onefs.catalogue.records import Dataset
from onefs.errors import MismatchError
from onefs.settings import Settings
from onefs.sources.mismatches import mismatch_reporter
from onefs.transports.archive import ArchiveServer
from onefs.transports.base import Location


@pytest.fixture
def place(tmp_path: Path) -> Iterator[ArchiveOfADatabase]:
    with ArchiveOfADatabase(tmp_path) as place:
        for dataset in place.datasets:
            place.file(dataset).write_bytes(b"wrong" * 200)
        yield place


Report = Callable[[Dataset, Location], None]


def reading(place: ArchiveOfADatabase, client: AlyxClient, *, on: bool = True, **changes: Any) -> Callable[[int], None]:
    """What reads a dataset by its number, and finds it wrong."""
    repositories = place.repositories(client)
    reporter = mismatch_reporter(Settings(report_mismatch=on), client, repositories)
    content = place.content(repositories, on_mismatch=reporter, **changes)

    def read_wrong(number: int) -> None:
        with pytest.raises(MismatchError):
            read(content, place.datasets[number])
        content.retry(None)

    return read_wrong


def notes(place: ArchiveOfADatabase, dataset: Dataset) -> dict[str, dict[str, Any]]:
    """What stands on each of a dataset's file records, but for those on personal servers."""
    login = requests.post(f"{place.server.url}/auth-token", json={"username": "demo", "password": "demo"}, timeout=60)
    headers = {"Authorization": f"Token {login.json()['token']}"}
    query = {"django": f"dataset,{dataset.id},data_repository__globus_is_personal,False"}
    found = requests.get(f"{place.server.url}/files", query, headers=headers, timeout=60).json()
    return {file["data_repository"]: file["json"] or {} for file in found["results"]}


def patches(place: ArchiveOfADatabase) -> int:
    return len(place.asked("/", "PATCH"))


def test_nothing_is_noted_unless_told_to(place: ArchiveOfADatabase) -> None:
    client = place.client()
    reading(place, client, on=False)(0)
    assert patches(place) == 0
    assert notes(place, place.datasets[0]) == {"aws_lab": {}, "server_lab": {}}


def test_noted_once_on_the_record_of_the_copy(place: ArchiveOfADatabase, caplog: pytest.LogCaptureFixture) -> None:
    client = place.client()
    read_wrong = reading(place, client)
    place.server.fail("/onefs-demo", 404)
    read_wrong(0)
    wait_until(lambda: patches(place) == 1)
    wait_until(lambda: notes(place, place.datasets[0])["server_lab"] == {"mismatch_hash": True})
    assert notes(place, place.datasets[0])["aws_lab"] == {}
    read_wrong(0)
    place.server.recover()
    read_wrong(1)
    wait_until(lambda: notes(place, place.datasets[1])["aws_lab"] == {"mismatch_hash": True})
    assert patches(place) == 2
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_what_a_mirror_gives_is_not_noted(place: ArchiveOfADatabase, caplog: pytest.LogCaptureFixture) -> None:
    client, dataset = place.client(), place.datasets[0]
    with FaultServer() as mirror:
        mirror.put(on_servers(dataset), place.file(dataset).read_bytes())
        read_wrong = reading(place, client, servers=[ArchiveServer(mirror.url)])
        read_wrong(0)
        wait_until(lambda: notes(place, dataset)["aws_lab"] == {"mismatch_hash": True})
        mirror.put(on_servers(place.datasets[1]), place.file(place.datasets[1]).read_bytes())
        place.file(place.datasets[1]).unlink()
        with caplog.at_level(logging.INFO, "onefs.sources.mismatches"):
            read_wrong(1)
            wait_until(lambda: "none is marked" in caplog.text)
    assert patches(place) == 1


def test_a_login_that_may_not_note_is_told_once(place: ArchiveOfADatabase, caplog: pytest.LogCaptureFixture) -> None:
    client = place.client("public")
    read_wrong = reading(place, client)
    read_wrong(0)
    wait_until(lambda: "no more will be" in caplog.text)
    read_wrong(1)
    assert len([record for record in caplog.records if record.name == "onefs.sources.mismatches"]) == 1
    assert patches(place) == 1
