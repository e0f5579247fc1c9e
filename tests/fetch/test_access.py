"""Opening datasets: what is answered at once, what is fetched once for all, and what state is told."""

import os
import sqlite3
import threading
from pathlib import Path

import pytest
from archive_and_cache import ArchiveAndCache, read, read_open, together
from servers import Fault
from waiting import wait_until

from onefs.errors import CacheDamagedError, ContentError, MismatchError, OfflineError
from onefs.fetch.access import Inspection, State, Verify

DATA = os.urandom(300_000)


def test_fetched_once_then_opened_at_once(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    assert read(content, dataset) == DATA
    assert place.file(dataset).read_bytes() == DATA
    file = content.open(dataset, may_fetch=False)
    assert file.wait(0, 100) is None
    assert file.size_bytes == len(DATA)
    assert place.server.requests() == 1


def test_large_file_is_hashed_beside_the_writer(place: ArchiveAndCache) -> None:
    data = os.urandom(1 << 20) * 20
    dataset, content = place.add(data), place.content()
    assert read(content, dataset) == data
    assert content.inspect(dataset).state is State.VERIFIED


def test_empty_file(place: ArchiveAndCache) -> None:
    dataset, content = place.add(b""), place.content()
    assert read(content, dataset) == b""
    assert place.file(dataset).stat().st_size == 0


def test_50_opens_are_one_fetch(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    place.server.fault(place.url_path(dataset), Fault(stall_before_headers=True))
    results: list[bytes] = []
    opened = threading.Barrier(51)

    def open_and_read(number: int) -> None:
        file = content.open(dataset, may_fetch=True)
        opened.wait()
        results.append(read_open(file))
        file.close()

    threads = [threading.Thread(target=open_and_read, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    opened.wait()
    place.server.release()
    for thread in threads:
        thread.join()
    assert results == [DATA] * 50
    assert place.server.requests() == 1


def test_a_stalled_server_does_not_hold_up_another_file(place: ArchiveAndCache) -> None:
    stalled = [place.add(b"x" * 100, number) for number in range(200)]
    healthy = place.add(DATA, 1000)
    for dataset in stalled:
        place.server.fault(place.url_path(dataset), Fault(stall_after=10))
    content = place.content()
    files = [content.open(dataset, may_fetch=True) for dataset in stalled]
    place.server.wait_for_requests(200)
    assert read(content, healthy) == DATA
    assert len(content.transfers()) == 200
    place.server.release()
    assert {read_open(file) for file in files} == {b"x" * 100}


def test_a_fetch_goes_on_when_its_asker_leaves(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    place.server.fault(place.url_path(dataset), Fault(stall_after=1000))
    content.open(dataset, may_fetch=True).close()
    place.server.wait_for_requests(1)
    place.server.release()
    wait_until(lambda: content.inspect(dataset).state is State.VERIFIED)


def test_not_cached_and_fetching_off(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    with pytest.raises(OfflineError, match=r"table1\.npy is not in the cache"):
        content.open(dataset, may_fetch=False)
    assert place.server.requests() == 0
    assert place.failures == []
    assert "onefs mode auto" in content.inspect(dataset).error
    assert read(content, dataset) == DATA  # it is held against no later try
    assert content.inspect(dataset).error == ""


def test_joining_needs_no_permission_to_fetch(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    place.server.fault(place.url_path(dataset), Fault(stall_after=1000))
    first = content.open(dataset, may_fetch=True)
    second = content.open(dataset, may_fetch=False)
    place.server.release()
    assert read_open(first) == read_open(second) == DATA


def test_states_of_a_fetch(place: ArchiveAndCache) -> None:
    data = DATA * 10
    dataset, content = place.add(data), place.content()
    source = place.locate(dataset)[0].url.partition("?")[0]
    assert content.inspect(dataset) == Inspection(State.REMOTE, source, "", (source,))
    assert (content.cached_blocks(dataset), content.cached_path(dataset)) == (0, None)
    assert not place.cache.exists()
    place.server.fault(place.url_path(dataset), Fault(stall_after=1_500_000))
    file = content.open(dataset, may_fetch=True)
    wait_until(lambda: [transfer.done_bytes for transfer in content.transfers()] == [1_500_000])
    assert content.inspect(dataset).state is State.FETCHING
    assert content.cached_blocks(dataset) > 0
    transfer = content.transfers()[0]
    assert (transfer.path, transfer.total_bytes) == (dataset.path, len(data))
    assert transfer.host in source
    place.server.release()
    assert read_open(file) == data
    assert content.inspect(dataset) == Inspection(State.VERIFIED, source, "", (source,))
    assert content.cached_blocks(dataset) * 512 >= len(data)
    assert content.cached_path(dataset) == place.file(dataset)
    assert content.cached_size(dataset) == len(data)
    assert content.transfers() == []
    assert (content.totals().files_fetched, content.totals().bytes_fetched) == (1, len(data))
    assert dataset in place.changes


def test_what_a_folder_holds(place: ArchiveAndCache) -> None:
    content = place.content()
    plain, named = place.add(DATA, 1, "alf/a.b.npy"), place.add(DATA, 2, "alf/c.d.npy")
    folder = f"{plain.session_path}/alf"
    assert content.cached_blocks_in(folder) == {}
    read(content, plain)
    place.put_in_cache(named, DATA, with_uuid=True)
    assert set(content.cached_blocks_in(folder)) == {"a.b.npy", "c.d.npy"}
    assert content.cached_blocks_in(folder)["a.b.npy"] == content.cached_blocks(plain)
    assert content.cached_blocks_in("../..") == {}
    held = {each: content.keeping.holds(each) for each in ("", folder, f"{folder}/a.b.npy", "other", "../..")}
    assert held == {"": True, folder: True, f"{folder}/a.b.npy": False, "other": False, "../..": False}


def test_blocks_are_those_of_the_file_that_stands_there_now(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    path = place.put_in_cache(dataset, DATA)
    assert content.cached_blocks(dataset) == content.cached_blocks(dataset) == path.stat().st_blocks
    path.unlink()
    assert content.cached_blocks(dataset) == 0
    path.write_bytes(DATA[:1])
    assert content.cached_blocks(dataset) == path.stat().st_blocks
    path.unlink()
    path.symlink_to("/etc/passwd")
    assert content.cached_blocks(dataset) == 0
    path.unlink()
    path.parent.rmdir()
    place.put_in_cache(dataset, DATA)
    assert content.cached_blocks(dataset) == path.stat().st_blocks


def test_unknown_size_and_hash(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA, md5="", size=None), place.content()
    assert content.cached_size(dataset) is None
    file = content.open(dataset, may_fetch=True)
    assert read_open(file) == DATA
    assert file.size_bytes == content.cached_size(dataset) == len(DATA)
    assert content.inspect(dataset).state is State.CACHED
    content.flush()
    assert place.content().inspect(dataset).state is State.CACHED


def test_copy_that_another_program_put_there(place: ArchiveAndCache) -> None:
    for number, with_uuid in enumerate([False, True]):
        dataset, content = place.add(DATA, number), place.content()
        path = place.put_in_cache(dataset, DATA, with_uuid=with_uuid)
        assert content.inspect(dataset).state is State.CACHED
        assert content.cached_path(dataset) == path
        assert read(content, dataset, may_fetch=False) == DATA
        assert content.inspect(dataset).state is State.VERIFIED
        assert path.read_bytes() == DATA
    assert place.server.requests() == 0


def test_a_verified_copy_is_not_hashed_again(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    read(content, dataset)
    content.flush()
    again = place.content()
    assert again.inspect(dataset).state is State.VERIFIED
    assert again.open(dataset, may_fetch=False).wait(0, 1) is None


@pytest.mark.parametrize("change", ["size", "mtime", "inode"])
def test_a_changed_copy_is_hashed_again(place: ArchiveAndCache, change: str) -> None:
    dataset, content = place.add(DATA), place.content()
    read(content, dataset)
    content.flush()
    path = place.file(dataset)
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    if change == "size":
        path.write_bytes(DATA + b"more")
    elif change == "mtime":
        path.write_bytes(DATA[::-1])
    else:
        path.rename(path.with_name("aside"))
        path.write_bytes(DATA[::-1])
    if change != "mtime":
        os.utime(path, ns=times)
    else:
        os.utime(path, ns=(times[0], times[1] + 1))
    assert content.inspect(dataset).state is State.CACHED
    assert read(content, dataset) == DATA
    assert place.server.requests() == 2
    assert len(place.quarantined()) == 1


def test_a_copy_is_fetched_anew_when_the_catalogue_changes(
    place: ArchiveAndCache, caplog: pytest.LogCaptureFixture
) -> None:
    content = place.content()
    assert read(content, place.add(DATA)) == DATA
    new = place.add(DATA[::-1])
    assert content.inspect(new).state is State.CACHED
    with caplog.at_level("WARNING"):
        assert read(content, new) == DATA[::-1]
    assert (place.quarantined(), caplog.text) == ([], "")


def test_a_copy_that_rotted_is_put_aside_also_when_the_catalogue_changes(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    read(content, dataset)
    content.flush()
    path = place.file(dataset)
    times = path.stat().st_mtime_ns
    with path.open("r+b") as stream:
        stream.write(b"?")
    os.utime(path, ns=(times, times))
    new = place.add(DATA[::-1])
    assert read(content, new) == DATA[::-1]
    assert place.quarantined() == [b"?" + DATA[1:]]


def test_wrong_copy_is_put_aside_and_fetched(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    wrong = DATA[:-1] + b"?"
    place.put_in_cache(dataset, wrong)
    assert read(content, dataset) == DATA
    assert place.quarantined() == [wrong]


def test_wrong_copy_stays_while_it_cannot_be_replaced(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    place.put_in_cache(dataset, DATA[:-1] + b"?")
    with pytest.raises(MismatchError, match="should be"):
        read(content, dataset, may_fetch=False)
    assert place.file(dataset).exists()
    assert content.inspect(dataset).state is State.MISMATCH
    with pytest.raises(MismatchError):
        content.open(dataset, may_fetch=False)
    assert read(content, dataset) == DATA


def test_without_a_hash_the_first_one_counts(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA, md5=""), place.content()
    read(content, dataset)
    place.file(dataset).write_bytes(DATA[::-1])
    os.utime(place.file(dataset), (1, 1))
    assert read(content, dataset) == DATA
    assert place.quarantined() == [DATA[::-1]]


def test_archive_read_in_place_is_never_touched(place: ArchiveAndCache) -> None:
    good, bad, gone = place.add(DATA, 1), place.add(DATA, 2), place.add(DATA, 3)
    place.put_in_cache(good, DATA)
    path = place.put_in_cache(bad, DATA[::-1])
    before = {entry: entry.stat().st_mtime_ns for entry in place.cache.glob("lab/**/*")}
    content = place.content(is_cache=False)
    assert read(content, good) == DATA
    with pytest.raises(MismatchError):
        read(content, bad)
    with pytest.raises(OfflineError, match="not in"):
        read(content, gone)
    assert {entry: entry.stat().st_mtime_ns for entry in place.cache.glob("lab/**/*")} == before
    assert place.server.requests() == 0
    path.write_bytes(DATA)
    assert read(content, bad) == DATA
    place.put_in_cache(gone, DATA)
    assert read(content, gone) == DATA


def test_paths_that_lead_outside_are_refused(place: ArchiveAndCache, tmp_path: Path) -> None:
    content = place.content()
    (tmp_path / "secret").write_bytes(DATA)
    for name in ("../../../../../../../secret", "a/../../b", "/etc/passwd", "a//b", "nul\0"):
        dataset = place.add(DATA, name=name)
        with pytest.raises(ContentError, match="outside the cache"):
            content.open(dataset, may_fetch=True)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_is_behind_a_link_is_neither_served_nor_written(place: ArchiveAndCache, tmp_path: Path, what: str) -> None:
    elsewhere, dataset = tmp_path / "bigger-disk", place.add(DATA)
    place.put_in_cache(dataset, DATA)
    link = place.file(dataset) if what == "file" else place.cache / "lab"
    link.rename(elsewhere)
    link.symlink_to(elsewhere)
    content = place.content()
    for may_fetch in (True, False):
        with pytest.raises(CacheDamagedError, match="symbolic link") as failure:
            read(content, dataset, may_fetch=may_fetch)
        assert str(place.file(dataset)) in failure.value.reason
        assert "mount --bind" in failure.value.remedy
    assert link.is_symlink()
    assert len([path for path in (elsewhere, *elsewhere.rglob("*")) if path.is_file()]) == 1


def test_the_cache_directory_itself_may_be_a_link(place: ArchiveAndCache, tmp_path: Path) -> None:
    (tmp_path / "bigger-disk").mkdir()
    place.cache.symlink_to(tmp_path / "bigger-disk")
    dataset = place.add(DATA)
    assert read(place.content(), dataset) == DATA
    assert (tmp_path / "bigger-disk" / dataset.path).read_bytes() == DATA


def test_links_in_an_archive_that_is_read_in_place_are_followed(place: ArchiveAndCache, tmp_path: Path) -> None:
    dataset = place.add(DATA)
    place.put_in_cache(dataset, DATA)
    (place.cache / "lab").rename(tmp_path / "bigger-disk")
    (place.cache / "lab").symlink_to(tmp_path / "bigger-disk")
    assert read(place.content(is_cache=False), dataset, may_fetch=False) == DATA
    place.cache.chmod(0o777)
    with pytest.raises(CacheDamagedError, match="symbolic link"):
        read(place.content(is_cache=False), dataset, may_fetch=False)


def test_verify_warn_serves_what_differs(place: ArchiveAndCache) -> None:
    dataset = place.add(DATA, md5="0" * 32, size=len(DATA) + 1)
    content = place.content(verify=Verify.WARN)
    assert read(content, dataset) == DATA
    assert content.inspect(dataset).state is State.MISMATCH
    assert content.open(dataset, may_fetch=False).wait(0, 1) is None
    content.flush()
    assert place.content(verify=Verify.STRICT).inspect(dataset).state is State.CACHED


def test_verify_off_checks_size_only(place: ArchiveAndCache) -> None:
    content = place.content(verify=Verify.OFF)
    dataset = place.add(DATA, md5="0" * 32)
    assert read(content, dataset) == DATA
    assert content.inspect(dataset).state is State.CACHED
    with pytest.raises(MismatchError):
        read(content, place.add(DATA, 2, size=len(DATA) + 1))


def test_close_is_prompt_and_tells_those_who_wait(place: ArchiveAndCache) -> None:
    stalled = [place.add(DATA, number) for number in range(20)]
    for dataset in stalled:
        place.server.fault(place.url_path(dataset), Fault(stall_after=1000))
    content = place.content()
    files = [content.open(dataset, may_fetch=True) for dataset in stalled]
    waiting = [file.wait(0, 1) for file in files]
    place.server.wait_for_requests(20)
    content.close()
    for file, future in zip(files, waiting, strict=True):
        assert future is not None
        assert future.done()
        with pytest.raises(OfflineError, match="ending"):
            file.wait(0, 1)
    with pytest.raises(OfflineError):
        content.open(stalled[0], may_fetch=True)


def test_threads_that_open_read_and_close_at_random(place: ArchiveAndCache) -> None:
    datasets = [place.add(os.urandom(20_000 + number), number) for number in range(12)]
    contents = [place.content(), place.content()]

    def work(number: int) -> None:
        for turn in range(24):
            dataset = datasets[(number * 7 + turn) % len(datasets)]
            data = read(contents[(number + turn) % 2], dataset)
            assert len(data) == dataset.size_bytes
            if (number + turn) % 11 == 0:
                place.file(dataset).unlink(missing_ok=True)

    together(work, 12)
    assert place.quarantined() == []


def test_nobody_waits_for_ever_where_the_state_fails(place: ArchiveAndCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("not now")

    content, dataset = place.content(), place.add(b"trials")
    monkeypatch.setattr("onefs.cache.state.State.forget_quarantine", fail)
    assert read(content, dataset) == b"trials"
