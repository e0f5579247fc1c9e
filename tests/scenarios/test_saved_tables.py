"""Saving tables on real mounts: what an analysis saw stays to be seen, and nothing is spoilt on the way."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alyx_archive import AlyxArchive
from alyx_mounts import Asked, mount_of, tree_of
from archives import MADE_SESSION, change_metadata, make_tables
from mounted import ONEFS, Mounted, run_onefs
from privileges import remount
from waiting import PATIENCE_S

from onefs.catalogue.snapshot import load_snapshot
from onefs.demo.server import DemoServer

KNOWN = "lab/Subjects/mouse/2024-01-02/001/alf/a.times.npy"
LEARNED = "lab/Subjects/rat/2024-01-05/002/alf/#2024-02-02#/b.times.npy"
BYTES = {KNOWN: b"known", LEARNED: b"learned"}
TABLES = ("sessions.pqt", "datasets.pqt")
HOLDER = """
import sys
from pathlib import Path
from onefs.catalogue import saving
from onefs.catalogue.interface import Learned
def stall(*_):
    print("saving", flush=True)
    sys.stdin.read()
saving.Merge.batches = lambda *_: iter(stall, None)
saving.save_tables(Path(sys.argv[1]), Learned([], []), clobber=False)
"""


@pytest.fixture
def archive(tmp_path: Path) -> AlyxArchive:
    archive = AlyxArchive(tmp_path / "archive")
    archive.put(KNOWN, BYTES[KNOWN])
    archive.publish()
    return archive


@pytest.fixture(scope="module")
def saving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    """A mount of a database, for tests that only save its tables, and may fail to."""
    home = tmp_path_factory.mktemp("saving")
    archive = AlyxArchive(home / "archive")
    archive.put(KNOWN, BYTES[KNOWN])
    archive.publish()
    with DemoServer(archive.directory) as server, mount_of(server, home, "--cache-expiry", "365d") as mount:
        mount.may_log_errors = True
        yield mount


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def save(mount: Mounted, *words: str | Path) -> "subprocess.CompletedProcess[str]":
    return run_onefs("tables", "save", *words, "--mount", mount.path)


def told_by(directory: Path, home: Path) -> set[str]:
    """The paths of all datasets that the tables in a directory tell of."""
    tables = load_snapshot(directory, home / "state of the tables")
    rows = [tables.datasets(row) for row in range(tables.n_sessions)]
    return {each.dataset(number).path for each in rows for number in range(len(each))}


def test_a_local_mount_on_saved_tables_shows_what_a_remote_one_had_learned(
    archive: AlyxArchive, server: DemoServer, tmp_path: Path
) -> None:
    with mount_of(server, tmp_path, "--mode", "remote", "--cache-expiry", "365d") as mount:
        archive.put(LEARNED, BYTES[LEARNED])
        archive.publish()
        seen = {path: (mount.path / path).read_bytes() for path in tree_of(mount.path)}
        assert seen == BYTES
        assert told_by(mount.path, tmp_path) == {KNOWN}
        assert save(mount, tmp_path / "saved").returncode == 0
        assert told_by(tmp_path / "saved", tmp_path) == set(BYTES)
        assert told_by(mount.path, tmp_path) == {KNOWN}
        assert save(mount).returncode == 0
        assert told_by(mount.path, tmp_path) == set(BYTES)
        assert [(mount.path / name).stat().st_size for name in TABLES] == [
            len((mount.path / name).read_bytes()) for name in TABLES
        ]
    asked = Asked(server)
    with mount_of(server, tmp_path, "--mode", "local") as mount:
        assert {path: (mount.path / path).read_bytes() for path in tree_of(mount.path)} == seen
    assert asked.paths() == []


def test_the_tables_in_use_can_be_kept_without_a_database(tmp_path: Path) -> None:
    make_tables(tmp_path / "archive", {"alf/a.times.npy": b"a"})
    (tmp_path / "archive" / MADE_SESSION / "alf").mkdir(parents=True)
    with Mounted(tmp_path / "archive", tmp_path) as mount:
        mount.may_log_errors = True
        assert save(mount, tmp_path / "kept").returncode == 0
        in_use, kept = (load_snapshot(tmp_path / name, tmp_path / "index") for name in ("archive", "kept"))
        assert (kept.n_sessions, kept.n_datasets) == (in_use.n_sessions, in_use.n_datasets) == (1, 1)
        assert kept.session(0) == in_use.session(0)
        before = (tmp_path / "archive/datasets.pqt").stat()
        refused = save(mount)
        assert refused.returncode == 1
        assert "tables save DIR" in refused.stderr
        assert (tmp_path / "archive/datasets.pqt").stat() == before
        make_tables(tmp_path / "archive", {"alf/other.times.npy": b"a"}, created="2024-05-05 00:00")
        late = save(mount, tmp_path / "late")
        assert late.returncode == 1
        assert "2024-05-05 00:00" in late.stderr
        assert not (tmp_path / "late").exists()


def test_the_tables_of_another_archive_are_only_replaced(saving: Mounted, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    make_tables(folder, {"alf/x.y.npy": b"z"})
    before = {file.name: file.read_bytes() for file in folder.glob("*.pqt")}
    refused = save(saving, folder)
    assert refused.returncode == 1
    assert f"The cache tables in {folder} are of tests, and not of " in refused.stderr
    assert "clobber" in refused.stderr
    assert {file.name: file.read_bytes() for file in folder.glob("*.pqt")} == before
    for words in (["--clobber"], []):
        assert save(saving, folder, *words).returncode == 0
        assert [file.name for file in sorted(folder.iterdir())] == [".onefs", "datasets.pqt", "sessions.pqt"]
        assert load_snapshot(folder, tmp_path / "index").n_sessions == 1


@pytest.mark.needs_mount
def test_a_full_disk_leaves_the_saved_tables_as_they_were(saving: Mounted, small_disk: Path) -> None:
    assert save(saving, small_disk).returncode == 0
    before = {file.name: file.read_bytes() for file in small_disk.glob("*.pqt")}
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as stream, pytest.raises(OSError, match="No space left"):
        while True:
            stream.write(os.urandom(4096))
    os.truncate(filler, filler.stat().st_size - 4096)  # room for a beginning, and for no whole table
    failed = save(saving, small_disk)
    assert failed.returncode == 1
    assert "no room" in failed.stderr
    assert str(small_disk) in failed.stderr
    assert {file.name: file.read_bytes() for file in small_disk.glob("*.pqt")} == before
    assert {file.name for file in small_disk.iterdir()} == {".onefs", "filler", *before}
    filler.unlink()
    assert save(saving, small_disk).returncode == 0


@pytest.mark.needs_mount
def test_what_cannot_be_written_is_one_sentence(saving: Mounted, small_disk: Path, tmp_path: Path) -> None:
    remount(small_disk, "ro")
    (tmp_path / "way in").symlink_to(saving.path / "lab")
    (tmp_path / "file").write_text("in the way")
    for directory, why in {
        small_disk: "Read-only file system",
        tmp_path / "new": "",
        saving.path: "lies in the mount itself",
        saving.path / "new": "lies in the mount itself",
        tmp_path / "way in": "lies in the mount itself",
        tmp_path / "file": "Not a directory",
    }.items():
        done = save(saving, directory)
        if why:
            assert done.returncode == 1, directory
            assert done.stderr.startswith("onefs: ")
            assert why in done.stderr
            assert done.stderr.count("\n") == 1
        else:
            assert done.returncode == 0, done.stderr
    assert tree_of(saving.path) == {KNOWN}


def test_two_mounts_save_into_one_folder_after_a_third_was_killed_there(
    archive: AlyxArchive, server: DemoServer, tmp_path: Path
) -> None:
    folder = tmp_path / "shared"
    homes = [tmp_path / name for name in ("one", "two")]
    make_tables(folder, {"alf/x.y.npy": b"z"}, lab="otherlab")
    change_metadata(folder, origin=None)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "saving\n"
        assert [file.name for file in folder.glob(".datasets.pqt.*")]
        with mount_of(server, homes[0]) as one:
            archive.put(LEARNED, BYTES[LEARNED])
            archive.publish()
            with mount_of(server, homes[1]) as two:
                waiting = [
                    subprocess.Popen(
                        [*ONEFS, "tables", "save", folder, "--mount", mount.path],
                        stdout=subprocess.DEVNULL,
                    )
                    for mount in (one, two)
                ]
                with (folder / ".onefs/tables.lock").open() as lock, pytest.raises(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                holder.send_signal(signal.SIGKILL)
                assert [each.wait(timeout=PATIENCE_S) for each in waiting] == [0, 0]
    finally:
        holder.kill()
        holder.communicate()
    saved = load_snapshot(folder, tmp_path / "index")
    assert (saved.n_sessions, saved.n_datasets) == (3, 3)
    assert {file.name for file in folder.iterdir()} == {".onefs", "sessions.pqt", "datasets.pqt"}
