"""Files in the cache with their UUIDs in their names: kept so if that is set, and used either way."""

import dataclasses
import os
import random
import signal

import pytest
from archive_and_cache import ArchiveAndCache, read
from reading_by_blocks import DATA as LARGE_DATA
from reading_by_blocks import RULES
from servers import Fault
from waiting import wait_until

from onefs.cache.quota import Limits
from onefs.catalogue.records import Dataset
from onefs.errors import BrokenAnswerError, KeptError, MismatchError
from onefs.fetch.access import Content, State
from onefs.fetch.copies import Outcome

MIB = 1 << 20
DATA = random.Random(1).randbytes(5000)
OTHER_DATA = random.Random(2).randbytes(5000)

both_forms = pytest.mark.parametrize("with_uuid", [False, True], ids=["plain", "uuid"])
both_settings = pytest.mark.parametrize("uuid_filenames", [False, True], ids=["off", "on"])


def names(place: ArchiveAndCache, dataset: Dataset) -> set[bool]:
    """Whether the dataset's files in the cache have UUIDs in their names; two if there are both."""
    return {with_uuid for with_uuid in (False, True) if place.file(dataset, with_uuid=with_uuid).exists()}


@pytest.mark.parametrize("data", [DATA, LARGE_DATA], ids=["whole", "by blocks"])
def test_what_is_fetched_is_kept_under_its_uuid(place: ArchiveAndCache, data: bytes) -> None:
    dataset = place.add(data)
    content = place.content(uuid_filenames=True, blocks=RULES)
    assert read(content, dataset) == data
    wait_until(lambda: content.inspect(dataset).state is State.VERIFIED)
    assert names(place, dataset) == {True}
    assert content.cached_path(dataset) == place.file(dataset, with_uuid=True)
    name = dataset.path.rpartition("/")[2]
    assert content.cached_blocks_in(f"{dataset.session_path}/alf/#2024-05-06#") == {
        name: content.cached_blocks(dataset)
    }
    content.flush()
    asked = place.server.requests()
    again = place.content(uuid_filenames=True)
    assert again.inspect(dataset).state is State.VERIFIED
    assert read(again, dataset, may_fetch=False) == data
    assert place.server.requests() == asked


@both_settings
def test_a_change_of_the_setting_fetches_nothing_again(place: ArchiveAndCache, uuid_filenames: bool) -> None:
    dataset = place.add(DATA)
    before = place.content(uuid_filenames=not uuid_filenames)
    read(before, dataset)
    before.flush()
    after = place.content(uuid_filenames=uuid_filenames)
    assert after.inspect(dataset).state is State.VERIFIED
    assert read(after, dataset) == DATA
    assert place.server.requests() == 1
    assert names(place, dataset) == {not uuid_filenames}
    assert after.keeping.evict(dataset) > 0
    assert names(place, dataset) == set()
    read(after, dataset)
    assert names(place, dataset) == {uuid_filenames}


@both_forms
@both_settings
@pytest.mark.parametrize("is_cache", [True, False], ids=["cache", "in place"])
def test_another_program_s_file_is_used_once_it_is_verified(
    place: ArchiveAndCache, with_uuid: bool, uuid_filenames: bool, is_cache: bool
) -> None:
    dataset = place.add(DATA)
    path = place.put_in_cache(dataset, DATA, with_uuid=with_uuid)
    content = place.content(uuid_filenames=uuid_filenames, is_cache=is_cache)
    assert content.inspect(dataset).state is State.CACHED
    assert read(content, dataset) == DATA
    assert content.inspect(dataset).state is State.VERIFIED
    assert content.cached_path(dataset) == path
    assert place.server.requests() == 0


@both_settings
def test_of_two_right_files_that_of_the_setting_counts(place: ArchiveAndCache, uuid_filenames: bool) -> None:
    dataset = place.add(DATA)
    for with_uuid in (False, True):
        place.put_in_cache(dataset, DATA, with_uuid=with_uuid)
    content = place.content(uuid_filenames=uuid_filenames)
    assert read(content, dataset) == DATA
    path = place.file(dataset, with_uuid=uuid_filenames)
    assert content.cached_path(dataset) == path
    file = content.open(dataset, may_fetch=False)
    os.utime(path)  # another one by now: the other file is hashed and serves
    file.close()
    assert read(content, dataset, may_fetch=False) == DATA
    assert content.inspect(dataset).state is State.VERIFIED


@both_settings
@pytest.mark.parametrize("is_cache", [True, False], ids=["cache", "in place"])
def test_of_two_files_the_right_one_counts(place: ArchiveAndCache, uuid_filenames: bool, is_cache: bool) -> None:
    dataset = place.add(DATA)
    place.put_in_cache(dataset, OTHER_DATA, with_uuid=uuid_filenames)
    right = place.put_in_cache(dataset, DATA, with_uuid=not uuid_filenames)
    content = place.content(uuid_filenames=uuid_filenames, is_cache=is_cache)
    assert read(content, dataset, may_fetch=False) == DATA
    assert content.cached_path(dataset) == right
    assert content.inspect(dataset).state is State.VERIFIED
    assert content.keeping.verify(dataset, lambda size_bytes: None)[0] is Outcome.RIGHT
    assert read(content, dataset) == DATA
    assert place.server.requests() == 0


@both_settings
def test_two_wrong_files_go_to_quarantine(place: ArchiveAndCache, uuid_filenames: bool) -> None:
    dataset = place.add(DATA)
    for with_uuid in (False, True):
        place.put_in_cache(dataset, OTHER_DATA, with_uuid=with_uuid)
    content = place.content(uuid_filenames=uuid_filenames)
    with pytest.raises(MismatchError):
        read(content, dataset, may_fetch=False)
    assert read(content, dataset) == DATA
    assert names(place, dataset) == {uuid_filenames}
    assert place.quarantined() == [OTHER_DATA, OTHER_DATA]


def test_a_new_edition_takes_the_place_of_the_old_one_under_whichever_name(place: ArchiveAndCache) -> None:
    dataset = place.add(DATA)
    before = place.content()
    read(before, dataset)
    before.flush()
    changed = place.add(OTHER_DATA)
    content = place.content(uuid_filenames=True)
    assert read(content, changed) == OTHER_DATA
    assert names(place, dataset) == {True}
    assert place.quarantined() == []


@both_settings
def test_another_program_s_wrong_file_takes_nothing_from_what_was_fetched(
    place: ArchiveAndCache, uuid_filenames: bool
) -> None:
    dataset = place.add(DATA)
    before = place.content(uuid_filenames=True)
    read(before, dataset)
    before.flush()
    before.close()
    place.put_in_cache(dataset, b"wrong")
    changed = place.add(OTHER_DATA)
    place.server.fault(place.url_path(dataset), Fault(status=500))
    content = place.content(uuid_filenames=uuid_filenames)
    with pytest.raises(BrokenAnswerError):
        read(content, changed)
    assert DATA not in place.quarantined()  # before the new edition is there to take its place
    assert read(content, dataset, may_fetch=False) == DATA
    assert content.keeping.evict(dataset) > 0


def test_a_copy_that_decayed_is_found_and_replaced(place: ArchiveAndCache) -> None:
    dataset = place.add(DATA)
    content = place.content(uuid_filenames=True)
    read(content, dataset)
    path = place.file(dataset, with_uuid=True)
    status = path.stat()
    path.write_bytes(OTHER_DATA)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    outcome, error = content.keeping.verify(dataset, lambda size_bytes: None)
    assert outcome is Outcome.MOVED
    assert str(path) in str(error)
    assert names(place, dataset) == set()
    assert place.quarantined() == [OTHER_DATA]
    assert read(content, dataset) == DATA
    assert names(place, dataset) == {True}


def test_what_is_pinned_stays(place: ArchiveAndCache) -> None:
    dataset = place.add(DATA)
    content = place.content(uuid_filenames=True)
    read(content, dataset)
    content.keeping.pin(dataset)
    with pytest.raises(KeptError):
        content.keeping.evict(dataset)
    content.keeping.unpin(dataset)
    assert content.keeping.evict(dataset) > 0
    assert names(place, dataset) == set()


def test_a_name_that_the_uuid_would_make_too_long_stays_plain(place: ArchiveAndCache) -> None:
    dataset = place.add(DATA, name=f"alf/{'n' * 240}.times.npy")
    content = place.content(uuid_filenames=True)
    assert read(content, dataset) == DATA
    assert place.file(dataset).exists()
    assert content.inspect(dataset).state is State.VERIFIED


def fill(place: ArchiveAndCache, content: Content, numbers: range) -> list[Dataset]:
    datasets = [place.add(random.Random(number).randbytes(MIB), number) for number in numbers]
    for dataset in datasets:
        read(content, dataset)
    content.flush()
    return datasets


def test_files_of_both_forms_count_and_leave_a_cache_of_limited_size(place: ArchiveAndCache) -> None:
    limits = Limits(8 * MIB)
    before = place.content(limits=limits)
    plain = fill(place, before, range(1, 4))
    before.close()
    content = place.content(limits=limits, uuid_filenames=True)
    fetched = [*plain, *fill(place, content, range(4, 7))]
    assert [names(place, dataset) for dataset in fetched] == [{False}] * 3 + [{True}] * 3
    fetched += fill(place, content, range(7, 14))
    kept = [number for number, dataset in enumerate(fetched, 1) if names(place, dataset)]
    assert 13 in kept
    assert not {1, 2, 3, 4, 5} & set(kept)
    assert sum(path.stat().st_size for path in place.cache.glob("lab/**/*.npy")) <= 8 * MIB


def test_what_a_killed_daemon_fetched_is_known_to_be_onefs_s(place: ArchiveAndCache) -> None:
    dataset = place.add(random.Random(1).randbytes(MIB))
    process = place.other_process(dataset, dies=True, uuid_filenames=True)
    assert process.wait(60) == -signal.SIGKILL
    assert names(place, dataset) == {True}
    content = place.content(limits=Limits(8 * MIB), uuid_filenames=True)
    wait_until(lambda: content.keeping.usage().files == 1)
    assert content.keeping.evict(dataset) > 0
    assert names(place, dataset) == set()


def test_a_dataset_without_a_hash_is_the_stamped_file(place: ArchiveAndCache) -> None:
    dataset = dataclasses.replace(place.add(DATA), md5="")
    content = place.content(uuid_filenames=True)
    read(content, dataset)
    content.flush()
    place.put_in_cache(dataset, OTHER_DATA)
    for setting in (False, True):
        assert read(place.content(uuid_filenames=setting), dataset) == DATA
    assert place.server.requests() == 1
