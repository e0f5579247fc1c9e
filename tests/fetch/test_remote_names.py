"""Files whose names on a server have no UUIDs: they are found, the server's form is remembered, and 404s name URLs."""

import random
from collections.abc import Callable, Sequence

import pytest
from archive_and_cache import ArchiveAndCache, read
from reading_by_blocks import DATA, by_blocks, part, sparse
from servers import Fault, FaultServer
from waiting import wait_until

from onefs.alf import RemoteNames
from onefs.catalogue.records import Dataset
from onefs.errors import AccessRefusedError, BrokenAnswerError, MissingOnServerError
from onefs.fetch.access import State, Verify
from onefs.transports.archive import ArchiveServer, bucket_server
from onefs.transports.base import Location

SMALL = [random.Random(number).randbytes(3000) for number in range(6)]


def on(*servers: ArchiveServer) -> Callable[[Dataset], Sequence[Location]]:
    return lambda dataset: [each for server in servers for each in server.locations(dataset.path, dataset.id)]


def add_plain(place: ArchiveAndCache, data: bytes, number: int = 1) -> Dataset:
    """A dataset that stands on the server under its plain name only."""
    dataset = place.add(data, number)
    place.server.fault(place.url_path(dataset), Fault(status=404))
    place.server.put("/" + dataset.path, data)
    return dataset


def asked(server: FaultServer, place: ArchiveAndCache, datasets: Sequence[Dataset]) -> tuple[int, int]:
    """Requests for names with UUIDs, and for plain ones."""
    with_uuid = sum(server.requests(place.url_path(dataset)) for dataset in datasets)
    return with_uuid, sum(server.requests("/" + dataset.path) for dataset in datasets)


def test_a_server_of_plain_names_costs_one_request_in_vain_in_all(place: ArchiveAndCache) -> None:
    datasets = [add_plain(place, data, number) for number, data in enumerate(SMALL)]
    content = place.content(locate=on(ArchiveServer(place.server.url)))
    for dataset, data in zip(datasets, SMALL, strict=True):
        assert read(content, dataset) == data
    assert asked(place.server, place, datasets) == (1, len(SMALL))


def test_a_server_of_names_with_uuids_costs_none(place: ArchiveAndCache) -> None:
    datasets = [place.add(data, number) for number, data in enumerate(SMALL)]
    content = place.content(locate=on(ArchiveServer(place.server.url)))
    for dataset, data in zip(datasets, SMALL, strict=True):
        assert read(content, dataset) == data
    assert asked(place.server, place, datasets) == (len(SMALL), 0)


def test_a_single_file_of_the_other_form_is_found_too(place: ArchiveAndCache) -> None:
    plain, other = add_plain(place, SMALL[0], 0), place.add(SMALL[1], 1)
    content = place.content(locate=on(ArchiveServer(place.server.url)))
    assert read(content, plain) == SMALL[0]
    assert read(content, other) == SMALL[1]
    assert asked(place.server, place, [other]) == (1, 1)


def test_a_file_that_is_nowhere_names_each_url_that_was_asked(place: ArchiveAndCache) -> None:
    dataset = place.add(b"gone")
    place.server.fault(place.url_path(dataset), Fault(status=404))
    content = place.content(locate=on(server := ArchiveServer(place.server.url)))
    with pytest.raises(MissingOnServerError) as missing:
        read(content, dataset)
    for location in server.locations(dataset.path, dataset.id):
        assert f"{location.url} answered 404 Not Found" in missing.value.reason
    assert asked(place.server, place, [dataset]) == (1, 1)


@pytest.mark.parametrize(("names", "requests"), [(RemoteNames.UUID, (1, 0)), (RemoteNames.PLAIN, (0, 1))])
def test_a_form_that_is_set_is_the_only_one_that_is_asked(
    place: ArchiveAndCache, names: RemoteNames, requests: tuple[int, int]
) -> None:
    dataset = place.add(b"gone")
    place.server.fault(place.url_path(dataset), Fault(status=404))
    with pytest.raises(MissingOnServerError):
        read(place.content(locate=on(ArchiveServer(place.server.url, names=names))), dataset)
    assert asked(place.server, place, [dataset]) == requests


def test_a_server_that_fails_is_not_asked_for_the_other_name(place: ArchiveAndCache) -> None:
    dataset = add_plain(place, SMALL[0])
    place.server.fault(place.url_path(dataset), Fault(status=500))
    with pytest.raises(BrokenAnswerError, match="500"):
        read(place.content(locate=on(ArchiveServer(place.server.url))), dataset)
    assert place.server.requests("/" + dataset.path) == 0


def test_a_bucket_that_may_not_be_listed_refuses_what_it_does_not_have(place: ArchiveAndCache) -> None:
    def path(dataset: Dataset) -> str:
        return f"/bucket/{dataset.path}"

    plain, gone = place.add(SMALL[0], 0), place.add(SMALL[1], 1)
    for name in ("/bucket" + place.url_path(plain), "/bucket" + place.url_path(gone), path(gone)):
        place.server.fault(name, Fault(status=403, text="<Error><Code>AccessDenied</Code></Error>"))
    place.server.put(path(plain), SMALL[0])
    content = place.content(locate=on(bucket_server("bucket", "", "", place.server.url)))
    assert read(content, plain) == SMALL[0]
    with pytest.raises(AccessRefusedError, match="or does not have it"):
        read(content, gone)


@pytest.mark.parametrize("data", [SMALL[0], DATA], ids=["whole", "by blocks"])
def test_verify_warn_serves_what_differs_from_such_a_bucket(place: ArchiveAndCache, data: bytes) -> None:
    dataset = place.add(data, md5="0" * 32)
    place.server.fault(f"/bucket{place.url_path(dataset)}", Fault(status=403))
    place.server.put(f"/bucket/{dataset.path}", data)
    content = by_blocks(place, locate=on(bucket_server("bucket", "", "", place.server.url)), verify=Verify.WARN)
    assert read(content, dataset) == data


def test_a_large_file_goes_on_from_the_plain_name_that_it_was_begun_from(place: ArchiveAndCache) -> None:
    dataset = add_plain(place, DATA)
    first = by_blocks(place, locate=on(ArchiveServer(place.server.url)))
    file = first.open(dataset, may_fetch=True)
    assert part(file, 0, 4096) == DATA[:4096]
    file.close()
    wait_until(lambda: not first.transfers())  # so that what came is on the disk
    first.close()
    second = by_blocks(place, locate=on(ArchiveServer(place.server.url)))
    assert read(second, dataset) == DATA
    wait_until(lambda: second.inspect(dataset).state is State.VERIFIED)
    assert place.server.bytes_sent("/" + dataset.path) == len(DATA)
    assert second.inspect(dataset).source == f"{place.server.url}/{dataset.path.replace('#', '%23')}"
    assert place.withdrawals == []


def test_a_large_file_that_was_begun_from_a_plain_name_and_decayed_is_fetched_once_more(place: ArchiveAndCache) -> None:
    dataset = add_plain(place, DATA)
    first = by_blocks(place, locate=on(ArchiveServer(place.server.url)))
    file = first.open(dataset, may_fetch=True)
    part(file, 0, 4096)
    file.close()
    wait_until(lambda: not first.transfers())  # so that what came is on the disk
    first.close()
    with sparse(place, dataset).open("r+b") as blocks:
        blocks.write(b"decayed")
    second = by_blocks(place, locate=on(ArchiveServer(place.server.url)))
    file = second.open(dataset, may_fetch=True)
    file.wait_whole()
    file.close()
    assert read(second, dataset) == DATA


def test_another_server_s_plain_name_goes_on_with_a_large_file(place: ArchiveAndCache) -> None:
    second = place.another_server()
    dataset = place.add(DATA)
    second.fault(place.url_path(dataset), Fault(status=404))
    second.put("/" + dataset.path, DATA)
    content = by_blocks(place, locate=on(*(ArchiveServer(server.url) for server in (place.server, second))))
    file = content.open(dataset, may_fetch=True)
    assert part(file, 0, 4096) == DATA[:4096]
    place.server.stop()
    assert part(file, len(DATA) - 4096, 4096) == DATA[-4096:]
    assert place.withdrawals == []
    assert second.bytes_sent("/" + dataset.path) > 0
    file.close()
