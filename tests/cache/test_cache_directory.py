"""The cache directory: shared by processes, deleted under us, full, damaged, and what a killed process leaves."""

import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from archive_and_cache import ArchiveAndCache, dataset_of, read, read_open
from privileges import another_disk
from reading_by_blocks import blocks_noted
from servers import Fault
from waiting import PATIENCE_S, wait_until

from onefs.errors import CacheDamagedError, MismatchError, NoRoomError
from onefs.fetch.access import State

DATA = os.urandom(1 << 20) * 4
PIECE = 2_500_000
BLOCK = 512 << 10


@pytest.fixture
def file_size_limit() -> Iterator[None]:
    """No file can grow beyond 1 MiB: what a disk that is full looks like to a writer, for any user."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_two_processes_fetch_once(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    place.server.fault(place.url_path(dataset), Fault(stall_after=PIECE))
    file = content.open(dataset, may_fetch=True)
    place.server.wait_for_requests(1)
    others = [place.other_process(dataset), place.other_process(dataset)]
    wait_until(lambda: content.transfers()[0].done_bytes == PIECE)
    place.server.release()
    assert read_open(file) == DATA
    for other in others:
        assert other.communicate()[0].strip() == dataset.md5
    assert place.server.requests() == 1


def test_killed_process_is_taken_over(place: ArchiveAndCache) -> None:
    dataset = place.add(DATA)
    place.server.fault(place.url_path(dataset), Fault(stall_after=PIECE, times=1))
    other = place.other_process(dataset)
    wait_until(lambda: blocks_noted(place, dataset) == list(range(PIECE // BLOCK)))
    content = place.content()
    file = content.open(dataset, may_fetch=True)
    assert content.inspect(dataset).state is State.FETCHING
    other.kill()
    assert read_open(file) == DATA
    assert place.server.headers()[1]["range"] == f"bytes={PIECE // BLOCK * BLOCK}-{len(DATA) - 1}"
    assert place.server.headers()[1]["if-range"] == '"1"'
    assert not place.partial(dataset).exists()


@pytest.fixture
def killed(place: ArchiveAndCache) -> ArchiveAndCache:
    """A place where a process was killed in the middle of its download of dataset 1."""
    dataset = place.add(DATA)
    place.server.fault(place.url_path(dataset), Fault(stall_after=PIECE, times=1))
    other = place.other_process(dataset)
    wait_until(lambda: blocks_noted(place, dataset) == list(range(PIECE // BLOCK)))
    other.kill()
    other.communicate()
    return place


def test_damaged_partial_is_dropped(killed: ArchiveAndCache) -> None:
    dataset, content = dataset_of(1, DATA), killed.content()
    assert content.inspect(dataset).state is State.PARTIAL
    with killed.partial(dataset).open("r+b") as stream:
        stream.write(b"torn by a power loss")
    assert read(content, dataset) == DATA
    asked = [request.get("range", "bytes=0-").partition("-")[0] for request in killed.server.headers()[1:]]
    assert asked == [f"bytes={PIECE // BLOCK * BLOCK}", "bytes=0"]
    assert killed.failures == []


def test_partial_of_another_edition_is_dropped(killed: ArchiveAndCache) -> None:
    new, content = killed.add(DATA[::-1]), killed.content()
    assert read(content, new) == DATA[::-1]
    assert killed.server.headers()[1]["range"].startswith("bytes=0-")


def test_partial_of_another_catalogue_is_not_gone_on_with(killed: ArchiveAndCache) -> None:
    dataset, content = killed.add(DATA, md5=""), killed.content()
    assert read(content, dataset) == DATA
    assert killed.server.headers()[1]["range"].startswith("bytes=0-")


def test_partial_that_shares_its_bytes_with_another_name_is_not_written_to(killed: ArchiveAndCache) -> None:
    dataset, content = dataset_of(1, DATA), killed.content()
    twin = killed.home / "twin"
    os.link(killed.partial(dataset), twin)
    before = twin.read_bytes()
    assert read(content, dataset) == DATA
    assert twin.read_bytes() == before


@pytest.mark.parametrize("what", ["all", "partial", "state"])
def test_directory_deleted_in_the_middle(place: ArchiveAndCache, what: str) -> None:
    dataset, content = place.add(DATA), place.content()
    place.server.fault(place.url_path(dataset), Fault(stall_after=PIECE, times=1))
    file = content.open(dataset, may_fetch=True)
    wait_until(lambda: bool(content.transfers()) and content.transfers()[0].done_bytes == PIECE)
    remove({"all": place.cache, "partial": place.partial(dataset), "state": place.cache / ".onefs"}[what])
    place.server.release()
    assert read_open(file) == DATA
    assert place.file(dataset).read_bytes() == DATA
    assert content.open(dataset, may_fetch=False).read(0, 10) == DATA[:10]


def test_directory_deleted_between_two_files(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    read(content, dataset)
    content.flush()
    remove(place.cache)
    assert content.inspect(dataset).state is State.REMOTE
    assert read(content, dataset) == DATA


def test_no_room(place: ArchiveAndCache, file_size_limit: None) -> None:
    small, large = place.add(DATA[:1000], 1), place.add(DATA, 2)
    content = place.content()
    with pytest.raises(NoRoomError, match="no room for lab/Subjects/KS014") as caught:
        read(content, large)
    assert "onefs evict" in caught.value.remedy
    assert "--cache-size" in caught.value.remedy
    assert not place.partial(large).exists()
    assert content.cached_blocks(large) == 0
    assert read(content, small) == DATA[:1000]
    with pytest.raises(NoRoomError):
        content.open(large, may_fetch=True)


def test_room_is_found_again_soon(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        for _ in range(4):
            with pytest.raises(NoRoomError):
                read(content, dataset)
            place.clock.now_s += 5
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read(content, dataset) == DATA


def test_cache_that_is_no_directory(place: ArchiveAndCache) -> None:
    place.cache.write_text("a file")
    dataset, content = place.add(DATA), place.content()
    with pytest.raises(CacheDamagedError, match=str(place.cache)) as caught:
        read(content, dataset)
    assert caught.value.remedy
    place.cache.unlink()
    content.retry(dataset)
    assert read(content, dataset) == DATA


def test_file_where_a_folder_should_be(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    (place.cache / "lab").mkdir(parents=True)
    (place.cache / "lab" / "Subjects").write_text("in the way")
    with pytest.raises(CacheDamagedError, match="Subjects"):
        read(content, dataset)
    assert content.cached_path(dataset) is None


def test_folder_where_the_file_should_be(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    place.file(dataset).mkdir(parents=True)
    with pytest.raises(Exception, match="is not a file"):
        read(content, dataset)


def test_file_mode_follows_the_umask(place: ArchiveAndCache) -> None:
    before = os.umask(0o027)
    try:
        dataset, content = place.add(DATA), place.content()
        read(content, dataset)
        assert stat.S_IMODE(place.file(dataset).stat().st_mode) == 0o640
    finally:
        os.umask(before)


def test_a_verified_file_that_came_meanwhile_is_kept(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    place.server.fault(place.url_path(dataset), Fault(stall_after=PIECE))
    file = content.open(dataset, may_fetch=True)
    wait_until(lambda: bool(content.transfers()) and content.transfers()[0].done_bytes == PIECE)
    inode = place.put_in_cache(dataset, DATA).stat().st_ino
    place.server.release()
    assert read_open(file) == DATA
    assert place.file(dataset).stat().st_ino == inode
    assert not place.partial(dataset).exists()


def test_nothing_is_left_beside_the_files(place: ArchiveAndCache) -> None:
    content = place.content()
    for number in range(5):
        read(content, place.add(DATA, number))
    with pytest.raises(MismatchError):
        read(content, place.add(DATA, 6, md5="0" * 32))
    content.flush()
    content.close()
    left = {path.relative_to(place.cache / ".onefs").parts[0] for path in place.cache.glob(".onefs/**/*.*")}
    assert not [name for name in left if not name.startswith("state")]
    assert len(list(place.cache.glob(".onefs/state*"))) == 3, "the database, its name and a lock"
    assert [path.name for path in (place.cache / ".onefs" / "locks").iterdir()] == ["datasets"]
    assert not list((place.cache / ".onefs" / "partial").iterdir())


def test_state_on_another_file_system(place: ArchiveAndCache, tmp_path: Path) -> None:
    from onefs.cache.store import ContentStore
    from onefs.fetch.access import Content
    from onefs.transports.http import HttpTransport

    other = Path("/dev/shm") / f"onefs-test-{os.getpid()}"
    dataset = place.add(DATA)
    transport = HttpTransport(connect_timeout_s=PATIENCE_S, read_timeout_s=PATIENCE_S, max_connections=2)
    try:
        content = Content(ContentStore(place.cache, other), transport, place.locate, place.locate)
        assert read(content, dataset) == DATA
        content.close()
        assert (other / "state.current").exists()
    finally:
        remove(other)
        transport.close()


@pytest.mark.needs_mount
def test_a_folder_on_another_file_system(place: ArchiveAndCache) -> None:
    with another_disk(place.cache / "lab"):
        dataset, content = place.add(DATA), place.content()
        assert read(content, dataset) == DATA
        content.flush()
        assert place.file(dataset).stat().st_dev != place.cache.stat().st_dev
        assert not list((place.cache / ".onefs" / "partial").iterdir())
        place.file(dataset).write_bytes(b"wrong")
        assert read(content, dataset) == DATA
        assert place.quarantined() == [b"wrong"]
        content.close()


def remove(path: Path) -> None:
    """Delete a file or a whole folder, whatever is being made in it meanwhile."""
    import shutil

    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
