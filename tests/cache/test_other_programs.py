"""Other programs at work in the cache: writing, replacing and reading the same files, under other users too."""

import json
import os
import resource
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from archive_and_cache import QUICK, ArchiveAndCache, Clock, dataset_of, read, read_open
from privileges import another_disk
from servers import Fault
from waiting import wait_until

from onefs.cache.beneath import Folder
from onefs.cache.layout import Copy
from onefs.cache.locks import DatasetLocks
from onefs.cache.store import ContentStore
from onefs.cache.verify import Verify, wanted
from onefs.catalogue.records import Dataset
from onefs.errors import CacheDamagedError, CopyRemovedError, MismatchError, NoRoomError
from onefs.fetch import obtain
from onefs.fetch.access import Content, State
from onefs.fetch.failures import Failures
from onefs.fetch.whole import WholeFile

DATA = os.urandom(300_000)
WATCHFUL = replace(QUICK, settled_s=60)
"""So long that a file written by a test counts as young, whatever the machine's load."""


@pytest.mark.parametrize("md5", [None, ""], ids=["hash", "no hash"])
def test_a_copy_changed_while_it_is_open_is_not_served(place: ArchiveAndCache, md5: str | None) -> None:
    dataset, content = place.add(DATA, md5=md5), place.content()
    read(content, dataset)
    file = content.open(dataset, may_fetch=True)
    found = place.file(dataset).stat()
    assert file.edition == (found.st_size, found.st_mtime_ns, found.st_ino)
    assert file.read(0, 100) == DATA[:100]
    with place.file(dataset).open("r+b") as other:
        other.write(b"changed")
    os.utime(place.file(dataset), (1, 1))
    for reading in (file.read, file.read_now):
        with pytest.raises(CacheDamagedError, match="changed its cached copy") as caught:
            reading(0, 100)
        assert caught.value.remedy
    assert read(content, dataset) == DATA


def test_a_copy_changed_before_it_is_read_must_be_opened_again(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    read(content, dataset)
    file = content.open(dataset, may_fetch=True)
    with place.file(dataset).open("r+b") as other:
        other.write(b"changed")
    for reading in (file.read, file.read_now):
        with pytest.raises(CopyRemovedError, match="replaced its cached copy") as caught:
            reading(0, 100)
        assert caught.value.remedy
    assert read(content, dataset) == DATA


def test_the_edition_is_known_once_the_bytes_are_there(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content()
    file = content.open(dataset, may_fetch=True)
    assert read_open(file) == DATA
    assert file.edition is not None
    assert file.edition[2] == place.file(dataset).stat().st_ino
    file.close()
    assert file.edition is None


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obtain, "WRITING_PAUSE_S", 0.01)


def test_another_programs_download_is_waited_for(place: ArchiveAndCache, impatient: None) -> None:
    dataset, content = place.add(DATA), place.content(patience=WATCHFUL)
    path = place.put_in_cache(dataset, DATA[:1000], with_uuid=True)
    file = content.open(dataset, may_fetch=True)
    wait_until(lambda: any((place.cache / ".onefs" / "locks").glob("*")))
    with path.open("ab") as other:
        other.write(DATA[1000:])
    assert read_open(file) == DATA
    assert path.read_bytes() == DATA
    assert (place.server.requests(), place.quarantined()) == (0, [])


def test_a_download_that_comes_to_no_end_is_given_up(
    place: ArchiveAndCache, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(obtain, "WRITING_WAITS", 3)
    dataset, content = place.add(DATA), place.content(patience=WATCHFUL)
    path = place.put_in_cache(dataset, DATA[:1000])
    with pytest.raises(MismatchError, match="Another program may still be writing it"):
        read(content, dataset)
    assert path.read_bytes() == DATA[:1000]
    os.utime(path, (1, 1))
    assert read(content, dataset) == DATA
    assert place.quarantined() == [DATA[:1000]]


def test_where_nothing_is_fetched_a_file_being_written_is_told(place: ArchiveAndCache) -> None:
    dataset = place.add(DATA)
    path = place.put_in_cache(dataset, DATA[:1000])
    for content in (place.content(is_cache=False, patience=WATCHFUL), place.content(patience=WATCHFUL)):
        path.write_bytes(DATA[:1000])
        with pytest.raises(MismatchError, match="Another program may still be writing it"):
            read(content, dataset, may_fetch=False)
        path.write_bytes(DATA)
        assert read(content, dataset, may_fetch=False) == DATA


def test_the_right_file_is_not_moved_for_the_wrong_one_before_it(
    place: ArchiveAndCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, content = place.add(DATA), place.content()
    path = place.put_in_cache(dataset, bytes(len(DATA)))
    real = ContentStore.put_away

    def put_away(store: ContentStore, dataset: Dataset, copy: Copy) -> bool:
        right = path.with_name("right")
        right.write_bytes(DATA)
        right.rename(path)
        return real(store, dataset, copy)

    monkeypatch.setattr(ContentStore, "put_away", put_away)
    assert read(content, dataset) == DATA
    assert path.read_bytes() == DATA
    assert (place.server.requests(), place.quarantined()) == (0, [])


def test_a_users_own_files_are_never_moved(place: ArchiveAndCache) -> None:
    theirs, ours, content = place.add(DATA, 1), place.add(DATA, 2), place.content(may_displace=False)
    path = place.put_in_cache(theirs, bytes(len(DATA)))
    with pytest.raises(MismatchError, match="move it away"):
        read(content, theirs)
    assert path.read_bytes() == bytes(len(DATA))
    path.rename(path.with_name("away"))
    assert read(content, theirs) == DATA
    read(content, ours)
    new = place.add(DATA[::-1], 2)
    assert read(content, new) == DATA[::-1]
    assert place.quarantined() == []


def test_what_is_moved_to_quarantine_can_be_put_back(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA, name="alf/_ibl_a.settings.json"), place.content()
    path = place.put_in_cache(dataset, b"{}")
    assert read(content, dataset) == DATA
    origin = next((place.cache / ".onefs" / "quarantine").glob("*.json.json"))
    assert json.loads(origin.read_text())["from"] == str(path)
    content.retry(None)
    assert origin.with_suffix("").read_bytes() == b"{}"


@pytest.mark.needs_mount
def test_quarantine_on_another_disk_without_room(place: ArchiveAndCache) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with another_disk(place.cache / "lab"):
        try:
            dataset, content = place.add(DATA), place.content()
            path = place.put_in_cache(dataset, bytes(2 << 20))
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
            with pytest.raises(NoRoomError):
                read(content, dataset)
            assert path.stat().st_size == 2 << 20
            assert list((place.cache / ".onefs" / "quarantine").iterdir()) == []
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            content.close()


@pytest.mark.parametrize("is_right", [True, False])
def test_a_file_that_somebody_puts_there_while_it_is_fetched_is_looked_at(
    place: ArchiveAndCache, is_right: bool
) -> None:
    data = DATA[:10_000]
    dataset, content = place.add(data), place.content()
    place.server.fault(place.url_path(dataset), Fault(stall_after=100))
    file = content.open(dataset, may_fetch=True)
    wait_until(lambda: any(transfer.done_bytes for transfer in content.transfers()))
    place.put_in_cache(dataset, data if is_right else data[::-1])
    inode = place.file(dataset).stat().st_ino
    place.server.release()
    assert read_open(file) == place.file(dataset).read_bytes() == data
    file.close()
    assert (place.file(dataset).stat().st_ino == inode) is is_right
    assert place.quarantined() == ([] if is_right else [data[::-1]])


def test_a_file_of_the_same_name_is_not_taken_for_ours(place: ArchiveAndCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when somebody deletes the state directory, and another daemon begins the same file anew."""
    dataset, content = place.add(DATA), place.content()
    real, others = ContentStore.commit, list[Path]()

    def commit(store: ContentStore, dataset: Dataset, part: WholeFile) -> Copy:
        part.status()
        assert part.path is not None
        part.path.unlink()
        part.path.write_bytes(b"half of it")
        others.append(part.path)
        return real(store, dataset, part)

    monkeypatch.setattr(ContentStore, "commit", commit)
    assert read(content, dataset) == DATA
    assert place.file(dataset).read_bytes() == DATA
    assert [path.read_bytes() for path in others] == [b"half of it"]
    assert not list(place.file(dataset).parent.glob(".*"))


def test_a_local_file_waits_behind_no_fetch(place: ArchiveAndCache) -> None:
    """Here the fetches wait for the locks of another daemon, which is stuck."""
    stuck = [place.add(DATA, number) for number in range(4)]
    local = place.add(DATA, 99)
    place.put_in_cache(local, DATA)
    stop = threading.Event()
    others = DatasetLocks(Folder(place.cache / ".onefs"))
    locks = [others.hold(dataset.id, stop) for dataset in stuck]
    for lock in locks:
        lock.__enter__()
    content = place.content(max_transfers=len(stuck))
    files = [content.open(dataset, may_fetch=True) for dataset in stuck]
    assert read(content, local) == DATA
    for lock in locks:
        lock.__exit__(None, None, None)
    assert {read_open(file) for file in files} == {DATA}


def test_who_may_fetch_does_not_get_the_answer_of_who_may_not(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA), place.content(patience=WATCHFUL)
    place.put_in_cache(dataset, DATA[:-1] + b"?")
    place.server.fault(place.url_path(dataset), Fault(stall_after=10, times=1))
    offline = content.open(dataset, may_fetch=False)
    online = content.open(dataset, may_fetch=True)
    with pytest.raises(MismatchError, match="still be writing"):
        read_open(offline)
    place.put_in_cache(dataset, DATA)
    assert read_open(online) == DATA


@pytest.fixture
def shared() -> Iterator[ArchiveAndCache]:
    """A place that every user may write."""
    with tempfile.TemporaryDirectory(dir="/tmp") as home, ArchiveAndCache(Path(home)) as place:
        Path(home).chmod(0o777)
        yield place


@pytest.mark.needs_root
def test_what_another_user_left_is_no_hindrance(shared: ArchiveAndCache) -> None:
    data = DATA * 10
    dataset = shared.add(data)
    partial = shared.partial(dataset)
    partial.parent.mkdir(parents=True)
    partial.write_bytes(data[:2_000_000])
    partial.chmod(0o400)
    partial.with_name(f"{dataset.id}.json").write_text(json.dumps({"wanted": wanted(dataset)}))
    for folder in (shared.cache, partial.parent.parent, partial.parent):
        folder.chmod(0o777)
    os.seteuid(65534)
    try:
        assert read(shared.content(), dataset) == data
    finally:
        os.seteuid(0)
    assert shared.server.headers()[0]["range"].startswith("bytes=0-")


def test_names_too_long_for_the_archives_form(place: ArchiveAndCache) -> None:
    dataset, content = place.add(DATA, name=f"alf/{'a' * 225}.times.npy"), place.content()
    place.file(dataset).parent.mkdir(parents=True)
    assert read(content, dataset) == DATA
    assert content.inspect(dataset).state is State.VERIFIED


@pytest.mark.parametrize("policy", list(Verify))
def test_a_torn_partial_is_never_served(place: ArchiveAndCache, policy: Verify) -> None:
    data = os.urandom(3 << 20)
    dataset = place.add(data)
    partial = place.partial(dataset)
    partial.parent.mkdir(parents=True)
    partial.write_bytes(data[: 1 << 20] + bytes(1 << 20))
    note = {"wanted": wanted(dataset), "source": place.locate(dataset)[0].url.partition("?")[0], "edition": '"1"'}
    partial.with_name(f"{dataset.id}.json").write_text(json.dumps(note))
    assert read(place.content(verify=policy), dataset) == data


def test_a_disk_that_fails_to_sync_leaves_nothing_verified(
    place: ArchiveAndCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fetched, theirs, content = place.add(DATA, 1), place.add(DATA, 2), place.content()
    path = place.put_in_cache(theirs, DATA)
    real = os.fsync

    def fsync(number: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    for dataset in (fetched, theirs):
        assert read(content, dataset) == DATA
    content.flush()
    assert "could not be written to disk" in caplog.text
    assert not place.file(fetched).exists()
    assert path.read_bytes() == DATA
    assert content.inspect(theirs).state is State.CACHED
    monkeypatch.setattr(os, "fsync", real)
    for dataset in (fetched, theirs):
        assert read(content, dataset) == DATA
    assert place.server.requests() == 2


def test_a_machine_that_gives_no_more_threads(place: ArchiveAndCache, monkeypatch: pytest.MonkeyPatch) -> None:
    real = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name in ("onefs-state", "onefs-sync", "onefs-hash"):
            raise RuntimeError("can't start new thread")
        real(thread)

    data = DATA * 20
    dataset, content = place.add(data), place.content()
    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", start)
        assert read(content, dataset) == data
        content.flush()
        assert content.inspect(dataset).state is State.VERIFIED
    place.file(dataset).unlink()
    assert read(content, dataset) == data
    content.flush()
    assert ContentStore(place.cache, place.cache / ".onefs").state.copy(dataset.id) is not None


def test_what_is_told_amid_a_read_does_not_shorten_how_long_failures_hold() -> None:
    clock = Clock()
    failures, dataset, error = Failures(clock), dataset_of(1, b"some"), MismatchError("It is wrong.", "Wait.")
    _, first_s = failures.remember(dataset, error, None, offline=False)
    clock.now_s += first_s
    failures.tell(dataset, error)
    times, second_s = failures.remember(dataset, error, None, offline=False)
    assert (times, second_s) == (2, 2 * first_s)


def test_a_failure_of_another_edition_does_not_hide_the_quarantine() -> None:
    failures, old, new = Failures(Clock()), dataset_of(1, b"old"), dataset_of(1, b"new")
    failures.remember(old, MismatchError("old"), None, offline=False)
    failures.hold(new, MismatchError("new"), 1, 100.0)
    current = failures.current(new, None, may_fetch=True)
    assert current is not None
    assert current.reason == "new"


def test_a_cache_on_another_machine_may_block(place: ArchiveAndCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def content_on(kind: str) -> Content:
        table = place.home / "mountinfo"
        place.home.joinpath("a b").mkdir(exist_ok=True)
        there = str(place.home / "a b").replace(" ", "\\040")
        table.write_text(f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:5 / {there} rw shared:1 - {kind} server rw\n")
        monkeypatch.setattr("onefs.mountinfo.TABLE", table)
        place.cache = place.home / "a b" / "cache"
        return place.content()

    assert not content_on("xfs").may_block
    for kind in ("nfs4", "cifs", "lustre", "fuse.sshfs", "beegfs"):
        assert content_on(kind).may_block
    monkeypatch.setattr("onefs.mountinfo.TABLE", place.home / "none")
    assert place.content().may_block


def test_an_older_catalogue_does_not_drive_out_a_newer_copy(place: ArchiveAndCache) -> None:
    newer, older = place.add(b"new" * 1000), dataset_of(1, b"old" * 1000)
    content, behind = place.content(), place.content()
    assert read(content, newer) == b"new" * 1000
    content.flush()
    with pytest.raises(MismatchError):
        read(behind, older)
    assert (place.file(newer).read_bytes(), place.quarantined()) == (b"new" * 1000, [])
    asked = place.server.requests()
    assert read(content, newer) == b"new" * 1000
    assert place.server.requests() == asked
    place.add(b"old" * 1000)
    behind.retry(None)
    assert read(behind, older) == b"old" * 1000
    assert place.quarantined() == []
