"""Files that are open: more than there are descriptors, removed or changed while they are closed, evicted."""

import os
import random
import resource
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from archive_and_cache import ArchiveAndCache, read, read_open, together

from onefs.cache.descriptors import CLOSED
from onefs.cache.quota import Limits
from onefs.cache.usage import footprint
from onefs.errors import CopyRemovedError
from onefs.fetch.access import Content, OpenFile

MIB = 1 << 20


@contextmanager
def few_descriptors() -> Iterator[int]:
    """Lets this process have few descriptors besides those of other tests; gives how many may be of cached files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    half = len(os.listdir("/proc/self/fd")) + 50
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * half, before[1]))
    try:
        yield half
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def many(
    place: ArchiveAndCache, count: int, limits: Limits | None = None
) -> tuple[Content, list[OpenFile], list[bytes]]:
    """So many verified files, opened."""
    content = place.content(limits=limits)
    texts = [f"{number} ".encode() * 100 for number in range(count)]
    datasets = [place.add(text, number) for number, text in enumerate(texts)]
    for dataset in datasets:
        read(content, dataset)
    return content, [content.open(dataset, may_fetch=False) for dataset in datasets], texts


def in_cache(place: ArchiveAndCache) -> int:
    """How many descriptors this process has of complete files in the cache."""
    inside = str(place.cache / "lab")
    return sum(_target(number).startswith(inside) for number in os.listdir("/proc/self/fd"))


def _target(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return ""


def test_a_file_has_one_descriptor_however_often_it_is_open(place: ArchiveAndCache) -> None:
    content, files, texts = many(place, 2)
    assert in_cache(place) == 2
    again = content.open(place.add(texts[0], 0), may_fetch=False)
    assert (files[0].read_now(0, 10), again.read(0, 10)) == (texts[0][:10], texts[0][:10])
    assert in_cache(place) == 2
    files[0].close()
    assert again.read(2, 10) == texts[0][2:12]
    again.close()
    files[1].close()
    assert in_cache(place) == 0


def test_more_files_are_open_than_there_are_descriptors(place: ArchiveAndCache) -> None:
    _, files, texts = many(place, 300)
    order = list(range(300)) * 3
    random.Random(1).shuffle(order)

    def read_some(part: int) -> None:
        for number in order[part::4]:
            assert files[number].read_now(3, 500) in (None, texts[number][3:503])
            assert files[number].read(3, 500) == texts[number][3:503]

    with few_descriptors() as most:
        together(read_some, 4)
        assert 50 <= in_cache(place) <= most
        for number in range(300):
            assert read_open(files[number]) == texts[number]
        for file in files:
            file.close()
        assert in_cache(place) == 0


def test_where_no_descriptor_is_left_the_oldest_is_closed(place: ArchiveAndCache) -> None:
    content, files, texts = many(place, 40)
    files.pop().close()
    with few_descriptors():
        taken = []
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            file = content.open(place.add(texts[39], 39), may_fetch=False)
            assert all(map(os.fstat, taken)), "one that is not of the cache was closed"
            assert 1 < in_cache(place) < 40
            assert file.read(0, 9) == texts[39][:9]
            assert files[0].read(0, 9) == texts[0][:9]
        finally:
            for number in taken:
                os.close(number)


def test_a_file_removed_while_it_is_open_is_read_to_its_end(place: ArchiveAndCache) -> None:
    _, (file, replaced), texts = many(place, 2)
    place.file(place.add(texts[0], 0)).unlink()
    other = place.cache / "other"
    other.write_bytes(texts[0])
    other.replace(place.file(place.add(texts[1], 1)))
    assert read_open(file) == texts[0]
    assert read_open(replaced) == texts[1]


def test_a_file_removed_while_it_is_closed_must_be_opened_again(place: ArchiveAndCache) -> None:
    with few_descriptors() as most:
        content, files, texts = many(place, most + 2)
        place.file(place.add(texts[0], 0)).unlink()
        other = place.cache / "other"
        other.write_bytes(texts[0])
        other.replace(place.file(place.add(texts[1], 1)))
        for file in files[:2]:
            for reading in (file.read, file.read_now):
                with pytest.raises(CopyRemovedError, match="removed or replaced"):
                    reading(0, 100)
        assert read(content, place.add(texts[0], 0)) == texts[0]


def test_a_file_changed_while_it_is_closed_is_not_served(place: ArchiveAndCache) -> None:
    with few_descriptors() as most:
        _, files, texts = many(place, most + 1)
        changed = place.file(place.add(texts[0], 0))
        changed.write_bytes(b"other bytes of the same length".ljust(len(texts[0])))
        os.utime(changed, (1, 1))
        with pytest.raises(CopyRemovedError, match="replaced its cached copy"):
            files[0].read(0, 9)


def test_a_file_that_is_open_without_a_descriptor_is_not_evicted(place: ArchiveAndCache) -> None:
    with few_descriptors() as most:
        limit_bytes = (most + 1) * footprint(1000) + 2 * MIB
        content, files, texts = many(place, most + 1, Limits(limit_bytes))
        for number in range(most + 1, most + 1 + limit_bytes * 4 // MIB):
            read(content, place.add(os.urandom(MIB // 4), number))
            content.flush()
        assert place.file(place.add(texts[0], 0)).exists()
        assert not place.file(place.add(texts[most], most)).exists()
        assert read_open(files[0]) == texts[0]
        assert read_open(files[most]) == texts[most]


def test_an_open_file_stays_readable_though_a_user_evicts_it(place: ArchiveAndCache) -> None:
    content, (file,), texts = many(place, 1)
    content.flush()
    assert content.keeping.evict(place.add(texts[0], 0))
    assert not place.file(place.add(texts[0], 0)).exists()
    assert read_open(file) == texts[0]


def test_files_in_memory_are_read_without_waiting(place: ArchiveAndCache) -> None:
    place.cache = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        _, (file,), texts = many(place, 1)
        assert file.read_now(5, 100) == texts[0][5:105]
    finally:
        shutil.rmtree(place.cache)


def test_what_is_lent_stays_open_and_takes_half_of_the_descriptors_at_most(place: ArchiveAndCache) -> None:
    _, files, texts = many(place, 300)
    with few_descriptors() as most:
        lent = {number: file.verified for number, file in enumerate(files) if file.verified is not None}
        numbers = {number: file.lend() for number, file in lent.items()}
        there = {number for number, descriptor in numbers.items() if descriptor != CLOSED}
        assert 20 <= len(there) <= most // 2
        for number, file in enumerate(files):
            assert file.read(0, 9) == texts[number][:9]
        for number in there:
            files[number].close()
            assert os.pread(numbers[number], 9, 0) == texts[number][:9]
        for number in there:
            lent[number].take_back()
        for number in set(lent) - there:
            files[number].close()
        assert in_cache(place) == 0


def test_a_file_that_is_lent_can_be_evicted(place: ArchiveAndCache) -> None:
    data = os.urandom(MIB // 4)
    content = place.content(limits=Limits(MIB))
    first, *others = (place.add(data, number) for number in range(10))
    read(content, first)
    file = content.open(first, may_fetch=False)
    assert file.verified is not None
    number = file.verified.lend()
    for dataset in others:
        read(content, dataset)
        content.flush()
    assert not place.file(first).exists()
    assert os.pread(number, len(data), 0) == data
    assert file.verified.is_as_trusted(os.fstat(number))
    file.verified.take_back()
