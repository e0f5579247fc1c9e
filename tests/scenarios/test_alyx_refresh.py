"""A refresh under programs that are at work: what is open stays as it was, what is opened next is new."""

import contextlib
import errno
import hashlib
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alyx_archive import AlyxArchive
from alyx_mounts import errno_of, mount_of, tree_of
from mounted import Mounted
from waiting import wait_until

from onefs.demo.server import DemoServer

SESSION = "lab/Subjects/mouse/2024-01-02/001"
ALF = f"{SESSION}/alf"
KEPT, CHANGED, GONE, RENAMED = (f"{ALF}/{name}.times.npy" for name in ("kept", "changed", "gone", "renamed"))
NEW, RENAMED_TO, NEW_LAB = f"{ALF}/new.times.npy", f"{ALF}/other.times.npy", "lab2/Subjects/rat/2024-02-01/001"
GONE_SESSION = "lab/Subjects/mouse/2024-01-03/001"
SIZE = 300_000
READERS = 16


def content(word: str) -> bytes:
    """Bytes that tell which edition they are, at every place."""
    return (word.encode() * (SIZE // len(word) + 1))[:SIZE]


@pytest.fixture
def archive(tmp_path: Path) -> AlyxArchive:
    archive = AlyxArchive(tmp_path / "archive")
    archive.put_all({path: content(f"old {path} ") for path in (KEPT, CHANGED, GONE, RENAMED)})
    archive.put(f"{GONE_SESSION}/alf/x.times.npy", content("x"))
    archive.publish()
    return archive


@pytest.fixture
def mount(server: DemoServer, tmp_path: Path) -> Iterator[Mounted]:
    with mount_of(server, tmp_path, "--cache-expiry", "365d") as mount:
        yield mount


def change(archive: AlyxArchive) -> None:
    """Add, remove, rename and change files, a session and a lab."""
    archive.put(CHANGED, content("new "))
    archive.put(NEW, content("added "))
    archive.remove(GONE)
    archive.rename(RENAMED, RENAMED_TO)
    archive.remove_session(GONE_SESSION)
    archive.put(f"{NEW_LAB}/alf/y.times.npy", content("y"))
    archive.publish()


def refresh(mount: Mounted) -> None:
    (mount.path / ".onefs/control").write_text("refresh\n")


def test_what_is_open_stays_and_what_is_opened_is_new(mount: Mounted, archive: AlyxArchive) -> None:
    root = mount.path
    old = {path: content(f"old {path} ") for path in (KEPT, CHANGED, GONE, RENAMED)}
    numbers = {path: (root / path).stat().st_ino for path in old}
    absent = (NEW, RENAMED_TO, f"{NEW_LAB}/alf/y.times.npy", NEW_LAB, "lab2")
    assert [errno_of((root / path).stat) for path in absent] == [errno.ENOENT] * len(absent)
    opened = {path: (root / path).open("rb", buffering=0) for path in old}
    begun = {path: file.read(1000) for path, file in opened.items()}
    with (root / CHANGED).open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        first = mapped[:10]
        change(archive)
        refresh(mount)
        assert mapped[:] == old[CHANGED] and first == old[CHANGED][:10]
    for path, file in opened.items():
        with file:
            assert begun[path] + file.readall() == old[path]
            assert os.fstat(file.fileno()).st_ino == numbers[path]
    assert tree_of(root) == set(archive.datasets)
    for path in archive.datasets:
        assert (root / path).read_bytes() == archive.file(path).read_bytes(), path
    assert [errno_of((root / path).stat) for path in absent] == [0] * len(absent)
    gone = (GONE, RENAMED, GONE_SESSION)
    assert [errno_of((root / path).stat) for path in gone] == [errno.ENOENT] * len(gone)
    assert (root / KEPT).stat().st_ino == numbers[KEPT]
    assert (root / CHANGED).stat().st_ino != numbers[CHANGED]


def test_a_renamed_file_is_not_fetched_again(mount: Mounted, archive: AlyxArchive, server: DemoServer) -> None:
    (mount.path / KEPT).read_bytes()
    before = len(server.requests())
    change(archive)
    refresh(mount)
    assert (mount.path / KEPT).read_bytes() == archive.file(KEPT).read_bytes()
    assert not [each for each in server.requests()[before:] if "kept" in each.path]


READER = """
import hashlib, pathlib, sys, time
path, stop = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
seen = set()
print("reading", flush=True)
while True:
    last = stop.exists()
    seen.add(hashlib.md5(path.read_bytes()).hexdigest())
    if last:
        break
    time.sleep(0.01)
print(*sorted(seen), hashlib.md5(path.read_bytes()).hexdigest())
"""


def test_many_readers_and_refreshes_at_once(mount: Mounted, archive: AlyxArchive, tmp_path: Path) -> None:
    """Each reader sees whole editions only, and at last the last; nothing blocks for good."""
    stop = tmp_path / "stop"
    command = [sys.executable, "-c", READER, mount.path / CHANGED, stop]
    with contextlib.ExitStack() as stack:
        readers = [
            stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)) for _ in range(READERS)
        ]
        for reader in readers:
            stack.callback(reader.kill)
            assert reader.stdout.readline() == "reading\n"
        editions = [(mount.path / CHANGED).read_bytes()]
        for number in range(5):
            editions.append(content(f"edition {number} "))
            archive.put(CHANGED, editions[-1])
            archive.put(f"{ALF}/extra{number}.times.npy", content("extra"))
            archive.publish()
            refresh(mount)
            assert (mount.path / CHANGED).read_bytes() == editions[-1]
            assert (mount.path / f"{ALF}/extra{number}.times.npy").stat().st_size == SIZE
        stop.touch()
        digests = [hashlib.md5(each).hexdigest() for each in editions]
        for reader in readers:
            said = reader.communicate(timeout=60)[0].split()
            assert reader.returncode == 0, mount.errors()
            assert said[-1] == digests[-1]
            assert set(said) <= set(digests)


def test_a_program_in_a_directory_that_changes(mount: Mounted, archive: AlyxArchive) -> None:
    listing = os.open(mount.path / ALF, os.O_RDONLY | os.O_DIRECTORY)
    try:
        change(archive)
        refresh(mount)
        assert set(os.listdir(listing)) == {Path(path).name for path in archive.datasets if path.startswith(f"{ALF}/")}
        with open(os.open("new.times.npy", os.O_RDONLY, dir_fd=listing), "rb") as file:
            assert file.read() == content("added ")
    finally:
        os.close(listing)


def test_a_signal_refreshes(mount: Mounted, archive: AlyxArchive) -> None:
    assert errno_of((mount.path / NEW).stat) == errno.ENOENT
    change(archive)
    os.kill(mount.pid, signal.SIGHUP)
    wait_until((mount.path / NEW).exists, "the name appears")


def test_tables_that_are_no_newer_are_not_fetched(mount: Mounted, server: DemoServer) -> None:
    before = len(server.requests())
    refresh(mount)
    assert {each.path.split("/")[1] for each in server.requests()[before:]} <= {"cache", "auth-token"}


def test_numbers_are_the_same_after_a_restart(mount: Mounted, archive: AlyxArchive) -> None:
    change(archive)
    refresh(mount)
    numbers = {path: (mount.path / path).stat().st_ino for path in archive.datasets}
    mount.stop()
    mount.start()
    assert {path: (mount.path / path).stat().st_ino for path in archive.datasets} == numbers


def test_an_alyx_that_keeps_its_tables_itself(archive: AlyxArchive, tmp_path: Path) -> None:
    with (
        DemoServer(archive.directory, keeps_tables=True) as server,
        mount_of(server, tmp_path, "--cache-expiry", "365d") as mount,
    ):
        assert tree_of(mount.path) == set(archive.datasets)
        change(archive)
        refresh(mount)
        assert tree_of(mount.path) == set(archive.datasets)
        assert "/cache.zip" in [each.path for each in server.requests()]
        assert not [each.path for each in server.requests() if each.path.startswith("/tables")]
