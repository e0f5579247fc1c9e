"""A local folder mounted in place: its files are read, verified and never touched."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from archives import MADE_SESSION, make_tables
from mounted import Mounted
from privileges import remount

FILES = {f"alf/{name}.times.npy": os.urandom(3000) for name in ("a", "b", "wrong", "short")}
MISSING = "alf/missing.times.npy"


def make_archive(folder: Path) -> None:
    """Tables and files; one file is wrong, one too short, one not there."""
    make_tables(folder, {**FILES, MISSING: b"x"})
    for name, data in FILES.items():
        path = folder / MADE_SESSION / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes({"alf/wrong.times.npy": b"y" * 3000, "alf/short.times.npy": data[:-1]}.get(name, data))


def everything(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """All that could be changed of the archive's own files."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if ".onefs" not in path.parts and path.is_file():
            status = path.stat()
            found[str(path)] = (status.st_ino, status.st_mtime_ns, status.st_mode, path.read_bytes())
    return found


def fails(path: Path) -> int | None:
    with pytest.raises(OSError) as failure:
        path.read_bytes()
    return failure.value.errno


def read_all(mount: Mounted) -> None:
    session = mount.path / MADE_SESSION
    assert session.joinpath("alf/a.times.npy").read_bytes() == FILES["alf/a.times.npy"]
    assert mount.xattr(f"{MADE_SESSION}/alf/a.times.npy", "state") == "verified"
    assert fails(session / "alf/wrong.times.npy") == errno.EIO
    assert fails(session / "alf/short.times.npy") == errno.EIO
    assert fails(session / MISSING) == errno.ENETDOWN
    told = mount.xattr(f"{MADE_SESSION}/{MISSING}", "error")
    assert "Put the file there, or mount the folder with --data-url" in told
    assert told in mount.log()
    with pytest.raises(OSError, match="Network is down"):
        (mount.path / ".onefs/control").write_text(f"fetch {MADE_SESSION}")
    assert "a folder without a server" in mount.errors()
    assert "mode auto" not in told + mount.errors()  # which would be refused
    assert mount.xattr(f"{MADE_SESSION}/alf/wrong.times.npy", "state") == "mismatch"
    for name in ("wrong", "short", "missing"):
        assert f"alf/{name}.times.npy" in mount.errors()


class InPlace(Mounted):
    """A mount of a folder with nothing said of a cache."""

    def __init__(self, archive: Path, home: Path, state: Path, *flags: str) -> None:
        super().__init__(archive, home, *flags)
        self.cache = state.parent

    def start(self) -> "InPlace":
        self.path.mkdir(parents=True, exist_ok=True)
        from mounted import run_onefs

        done = run_onefs("mount", self.source, self.path, *self.flags, **self.environment)
        assert done.returncode == 0, done.stderr
        self.pid = self.status()["pid"]
        return self


def test_the_archive_is_left_as_it_is(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    make_archive(archive)
    before = everything(archive)
    with InPlace(archive, tmp_path, archive / ".onefs") as mount:
        assert mount.status()["mode"]["effective"] == "local"
        read_all(mount)
    assert everything(archive) == before
    assert {path.name for path in archive.iterdir()} == {"lab", "sessions.pqt", "datasets.pqt", ".onefs"}
    assert list((archive / ".onefs").glob("onefs-*.log"))


def test_with_a_cache_directory_not_even_state_is_written_there(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    make_archive(archive)
    before = everything(archive)
    with Mounted(archive, tmp_path) as mount:
        read_all(mount)
    assert everything(archive) == before
    assert {path.name for path in archive.iterdir()} == {"lab", "sessions.pqt", "datasets.pqt"}
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {".onefs"}


@pytest.fixture
def on_read_only_disk(tmp_path: Path) -> Iterator[Path]:
    """An archive on a file system of its own, that is mounted read-only."""
    archive = tmp_path / "archive"
    archive.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", archive], check=True)
    try:
        make_archive(archive)
        remount(archive, "ro")
        yield archive
    finally:
        subprocess.run(["umount", "-l", archive], check=True)


@pytest.mark.needs_mount
def test_of_an_archive_that_cannot_be_written_the_user_keeps_the_state(on_read_only_disk: Path, tmp_path: Path) -> None:
    before = everything(on_read_only_disk)
    user = tmp_path / "xdg" / "onefs"
    with InPlace(on_read_only_disk, tmp_path, user) as mount:
        (state,) = user.glob("*/.onefs")
        mount.cache = state.parent
        assert mount.status()["cache"]["state"] == str(state)
        read_all(mount)
    assert everything(on_read_only_disk) == before
    assert {path.name for path in on_read_only_disk.iterdir()} == {"lab", "sessions.pqt", "datasets.pqt"}


def test_a_file_that_is_put_right_is_served(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    make_archive(archive)
    wrong = archive / MADE_SESSION / "alf/wrong.times.npy"
    with InPlace(archive, tmp_path, archive / ".onefs") as mount:
        assert fails(mount.path / MADE_SESSION / "alf/wrong.times.npy") == errno.EIO
        wrong.write_bytes(FILES["alf/wrong.times.npy"])
        assert (mount.path / MADE_SESSION / "alf/wrong.times.npy").read_bytes() == FILES["alf/wrong.times.npy"]
