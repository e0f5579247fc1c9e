"""Locations that are found out one after the other, by asking somebody who may not answer."""

import os
from collections.abc import Iterator

import pytest
from archive_and_cache import ArchiveAndCache, read
from servers import Fault

from onefs.catalogue.records import Dataset
from onefs.errors import AccessRefusedError, MissingOnServerError, OnefsError, UnreachableError
from onefs.transports.base import Location

DATA = os.urandom(100_000)


def test_locations_are_asked_for_only_while_none_gives_the_file(place: ArchiveAndCache) -> None:
    second = place.another_server()
    dataset = place.add(DATA)
    asked: list[int] = []

    def locate(dataset: Dataset) -> Iterator[Location]:
        for number, location in enumerate(place.locate(dataset)):
            asked.append(number)
            yield location

    assert read(place.content(locate=locate), dataset) == DATA
    assert asked == [0]
    other = place.add(DATA, 2)
    place.server.fault(place.url_path(other), Fault(status=404))
    assert read(place.content(locate=locate), other) == DATA
    assert (asked, second.requests()) == ([0, 0, 1], 1)


def test_a_question_for_locations_that_fails_is_told(place: ArchiveAndCache) -> None:
    dataset = place.add(DATA)
    refused = AccessRefusedError("alyx.example refuses the login of me.", "Give a login.")
    errors: list[OnefsError] = [UnreachableError("alyx.example cannot be reached."), refused]

    def locate(dataset: Dataset) -> Iterator[Location]:
        yield from place.locate(dataset)
        raise errors[0]

    content = place.content(locate=locate)
    assert read(content, dataset) == DATA
    missing = place.add(DATA, 2)
    place.server.fault(place.url_path(missing), Fault(status=404))
    with pytest.raises(MissingOnServerError, match=r"404 Not Found; alyx\.example cannot be reached\."):
        read(content, missing)
    errors.pop(0)
    content.retry(missing)
    with pytest.raises(AccessRefusedError, match=r"refuses the login of me; .*404.*Give a login\."):
        read(content, missing)
    place.server.fault(place.url_path(missing))
    content.retry(missing)
    assert read(content, missing) == DATA


def test_no_location_can_be_found_out(place: ArchiveAndCache) -> None:
    dataset = place.add(DATA)

    def locate(dataset: Dataset) -> Iterator[Location]:
        yield from ()
        raise UnreachableError("alyx.example cannot be reached.", "Wait.")

    with pytest.raises(UnreachableError, match=r"alyx\.example cannot be reached\. Wait\."):
        read(place.content(locate=locate), dataset)


def test_a_skipped_location_is_tried_though_the_rest_cannot_be_found_out(place: ArchiveAndCache) -> None:
    first, dataset = place.add(DATA, 1), place.add(DATA, 2)
    ends = False

    def locate(dataset: Dataset) -> Iterator[Location]:
        yield from place.locate(dataset)
        if ends:
            raise UnreachableError("alyx.example cannot be reached.")

    content = place.content(locate=locate)
    place.server.stop()
    with pytest.raises(UnreachableError):
        read(content, first)
    place.server.start()
    place.clock.now_s += 10  # the server counts as down, but may be tried again
    ends = True
    assert read(content, dataset) == DATA


def test_each_location_with_wrong_bytes_is_reported(place: ArchiveAndCache) -> None:
    second = place.another_server()
    dataset = place.add(DATA)
    place.server.fault(place.url_path(dataset), Fault(wrong_bytes=True))
    assert read(place.content(), dataset) == DATA
    assert [(found.id, location.url) for found, location in place.mismatches] == [
        (dataset.id, place.locate(dataset)[0].url)
    ]
    missing = place.add(DATA, 2)
    for server in (place.server, second):
        server.fault(place.url_path(missing), Fault(status=404))
    with pytest.raises(MissingOnServerError):
        read(place.content(), missing)
    assert len(place.mismatches) == 1


def test_the_source_is_told_without_asking(place: ArchiveAndCache) -> None:
    dataset = place.add(DATA)

    def locate(dataset: Dataset) -> Iterator[Location]:
        raise AssertionError("asked")
        yield

    assert place.content(locate=locate).inspect(dataset).source == place.locate(dataset)[0].url.partition("?")[0]
