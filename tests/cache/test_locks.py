"""Locks between processes: real ones, killed and stopped, on disks with locks and without."""

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

import pytest
from archive_and_cache import ArchiveAndCache, Clock, read, read_open
from servers import Fault
from waiting import wait_until

from onefs import mountinfo
from onefs.cache.beneath import Folder
from onefs.cache.locks import LEASE_S, DatasetLocks, Leases, Seen, StoppedError

HOLDER = Path(__file__).with_name("lock_holder.py")
DATASET, ANOTHER = UUID(int=7 << 64 | 7), UUID(int=7 << 64 | 8)
TURNS = 3
PATIENT_S = LEASE_S / 2
DATA = os.urandom(1 << 20) * 4
PIECE = 2_500_000
FORKING_HOLDER = """
import os, sys, threading, time
from pathlib import Path
from uuid import UUID
from onefs.cache.beneath import Folder
from onefs.cache.locks import DatasetLocks
locks, dataset = DatasetLocks(Folder(Path(sys.argv[1]))), UUID(sys.argv[2])
with locks.hold(dataset, threading.Event()):
    pass
child = os.fork()
with locks.hold(dataset, threading.Event()) if child else threading.Lock():
    if child:
        print(child, flush=True)
    time.sleep(600)
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(autouse=True)
def _nothing_is_renewed_afterwards() -> Iterator[None]:
    """A descriptor that is closed without giving its lease back is another file's later, whose times would change."""
    yield
    wait_until(lambda: all(thread.name != "onefs-leases" for thread in threading.enumerate()), "no lease is renewed")


@pytest.fixture(params=["bytes", "leases"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        yield Path(made)


@pytest.fixture
def start(folder: Path, kind: str) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(*counting: object) -> "subprocess.Popen[str]":
            process = subprocess.Popen(
                [sys.executable, HOLDER, folder, str(DATASET), kind, *map(str, counting)],
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield begin


def held(locks: DatasetLocks, dataset_id: UUID) -> bool:
    """Whether somebody else has it just now."""
    stop = threading.Event()
    stop.set()
    try:
        with locks.hold(dataset_id, stop):
            return False
    except StoppedError:
        return True


def test_a_process_forked_off_meanwhile_does_not_keep_the_lock(folder: Path, kind: str) -> None:
    locks = DatasetLocks(Folder(folder), leased=kind == "leases")
    ready, goes_on = os.pipe(), os.pipe()
    with locks.hold(DATASET, threading.Event()):
        child = os.fork()
        if not child:
            os.write(ready[1], b"x")
            os.read(goes_on[0], 1)
            os._exit(0)
        os.read(ready[0], 1)
    try:
        assert not held(locks, DATASET)
    finally:
        os.write(goes_on[1], b"x")
        os.waitpid(child, 0)
        for number in (*ready, *goes_on):
            os.close(number)


def test_a_killed_owner_keeps_nobody_waiting(folder: Path, kind: str, start: Start) -> None:
    locks = DatasetLocks(Folder(folder), leased=kind == "leases")
    for _ in range(TURNS):
        process = start()
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert held(locks, DATASET)
        assert not held(locks, ANOTHER)
        taken = threading.Event()

        def wait(taken: threading.Event = taken) -> None:
            with locks.hold(DATASET, threading.Event()):
                taken.set()

        waiter = threading.Thread(target=wait)
        waiter.start()
        assert not taken.wait(0.1)
        process.kill()
        assert taken.wait(PATIENT_S)
        waiter.join()


def test_one_at_a_time_whoever_asks(folder: Path, kind: str, start: Start) -> None:
    counter = folder / "counter"
    counter.write_text("0")
    processes = [start(counter, 30) for _ in range(TURNS)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert counter.read_text() == "90"
    assert {path.name for path in folder.iterdir()} == {"counter", "locks"}
    assert {path.name for path in (folder / "locks").iterdir()} <= {"datasets"}


def test_threads_of_one_process_wait_too(folder: Path, kind: str) -> None:
    locks = DatasetLocks(Folder(folder), leased=kind == "leases")
    with locks.hold(DATASET, threading.Event()):
        assert held(locks, DATASET)
        assert held(DatasetLocks(Folder(folder), leased=kind == "leases"), DATASET)
    assert not held(locks, DATASET)


def test_a_folder_deleted_meanwhile_keeps_nobody_waiting(folder: Path, kind: str, start: Start) -> None:
    process = start()
    assert process.stdout is not None
    process.stdout.readline()
    shutil.rmtree(folder / "locks")
    assert not held(DatasetLocks(Folder(folder), leased=kind == "leases"), DATASET)


def test_a_process_forked_off_before_keeps_no_lock_of_a_killed_owner(folder: Path) -> None:
    """The lock file is open in both."""
    command = [sys.executable, "-c", FORKING_HOLDER, folder, str(DATASET)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            assert held(DatasetLocks(Folder(folder)), DATASET)
            process.kill()
            process.wait()
            with DatasetLocks(Folder(folder)).hold(DATASET, threading.Event(), PATIENT_S):
                os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_lock_file_that_was_deleted_is_left(folder: Path) -> None:
    locks, others = DatasetLocks(Folder(folder)), DatasetLocks(Folder(folder))
    with locks.hold(ANOTHER, threading.Event()):
        shutil.rmtree(folder / "locks")
        with locks.hold(DATASET, threading.Event()):
            assert held(others, DATASET)
            assert held(locks, ANOTHER)
    assert not held(others, DATASET)
    locks.close()
    others.close()
    targets = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    assert not [target for target in targets if "datasets" in target and str(folder) in target]


def test_a_lease_from_elsewhere_ends_when_it_is_not_renewed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, path, seen = Clock(), folder / "x.lease", Seen()
    leases = Leases(Folder(folder))
    monkeypatch.setattr(time, "monotonic", clock)
    path.write_text("another machine 1 1")

    def take(after_s: float) -> int | None:
        clock.now_s += after_s
        return leases.take(path.name, seen)

    assert take(0) is None
    assert take(LEASE_S - 1) is None
    os.utime(path, (1, 1))
    assert take(LEASE_S - 1) is None
    assert take(LEASE_S - 1) is None
    assert path.read_text() == "another machine 1 1"
    assert take(1) is None
    assert not path.exists()
    number = leases.take(path.name, seen)
    assert number is not None
    leases.give_back(path.name, number)


def test_a_disk_that_knows_no_locks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Lustre answers if it was mounted without them."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    one, other = DatasetLocks(Folder(folder)), DatasetLocks(Folder(folder))
    with one.hold(DATASET, threading.Event()):
        assert one.are_leased
        assert held(other, DATASET)
    assert not held(other, DATASET)


@pytest.mark.parametrize(
    ("line", "common"),
    [
        ("ext4 /dev/sda1 rw,errors=remount-ro", True),
        ("nfs4 server:/lab rw,vers=4.2,hard,local_lock=none,addr=10.0.0.1", True),
        ("nfs server:/lab rw,vers=3,nolock,local_lock=all,addr=10.0.0.1", False),
        ("lustre mgs@tcp:/lab rw,flock,lazystatfs", True),
        ("lustre mgs@tcp:/lab rw,localflock", False),
        ("fuse.sshfs server:/lab rw,user_id=0", False),
    ],
)
def test_whose_locks_reach_other_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, common: bool
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(f"20 1 0:30 / / rw - ext4 /dev/root rw\n31 20 0:42 / /lab rw,relatime shared:5 - {line}\n")
    monkeypatch.setattr(mountinfo, "TABLE", table)
    assert mountinfo.has_common_locks(Path("/lab/cache/.onefs/locks")) is common
    assert mountinfo.has_common_locks(Path("/home"))


def test_an_owner_that_lost_its_lease_spoils_nothing(place: ArchiveAndCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mountinfo, "has_common_locks", lambda path: False)
    dataset, stalled, heir = place.add(DATA), place.content(), place.content()
    place.server.fault(place.url_path(dataset), Fault(stall_after=PIECE, times=1))
    file = stalled.open(dataset, may_fetch=True)
    wait_until(lambda: bool(stalled.transfers()) and stalled.transfers()[0].done_bytes == PIECE)
    (lease,) = (place.cache / ".onefs" / "locks").glob("*.lease")
    before = place.partial(dataset).stat().st_ino
    lease.unlink()
    assert read(heir, dataset) == DATA
    inode = place.file(dataset).stat().st_ino
    assert inode != before
    place.server.release()
    assert read_open(file) == DATA
    assert place.file(dataset).read_bytes() == DATA
    assert place.quarantined() == []
