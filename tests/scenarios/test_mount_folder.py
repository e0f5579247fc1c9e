"""A folder without tables as a user mounts it: it says so, shows its files, and their changes at a refresh."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from mounted import Mounted, is_alive, run_onefs
from waiting import wait_until

SESSION = "lab/Subjects/mouse/2024-01-02/001"
FIRST, SECOND, THIRD = (f"{SESSION}/alf/{letter}.times.npy" for letter in "abc")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("folder")


@pytest.fixture(scope="module")
def archive(home: Path) -> Path:
    for file in (FIRST, SECOND):
        put(home / "data" / file, file.encode())
    (home / "data/mnt").mkdir()
    return home / "data"


class Below(Mounted):
    """A mount of a folder below that folder itself."""

    def __init__(self, archive: Path, home: Path, *flags: str) -> None:
        super().__init__(archive, home, *flags)
        self.path = archive / "mnt"
        self.said = ""

    def run_mount(self, *words: str | Path) -> "subprocess.CompletedProcess[str]":
        done = super().run_mount(*words)
        self.said = done.stdout + done.stderr
        return done


@pytest.fixture(scope="module")
def one_mount(archive: Path, home: Path) -> Iterator[Below]:
    with Below(archive, home) as mount:
        yield mount


@pytest.fixture
def mount(one_mount: Below, archive: Path) -> Below:
    """The mount with two files, whatever other tests have left."""
    expected = {file: file.encode() for file in (FIRST, SECOND)}
    there = {path.relative_to(archive).as_posix(): path.read_bytes() for path in archive.glob("lab/**/*.npy")}
    if there != expected:
        shutil.rmtree(archive / "lab")
        for file, data in expected.items():
            put(archive / file, data)
        refresh(one_mount)
    return one_mount


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def replace(path: Path, data: bytes) -> None:
    put(path.with_name("new"), data)
    path.with_name("new").rename(path)


def refresh(mount: Mounted) -> str:
    done = run_onefs("refresh", mount.path, **mount.environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def files(mount: Mounted) -> dict[str, bytes]:
    """The bytes of all files in the tree, by their paths."""
    found = (path for path in mount.path.rglob("*") if path.is_file() and path.suffix != ".pqt")
    return {path.relative_to(mount.path).as_posix(): path.read_bytes() for path in found}


def test_mounting_says_that_it_indexes_and_shows_the_files(mount: Below, archive: Path) -> None:
    assert mount.said == f"onefs: {archive} has no cache tables; indexing its files.\n"
    assert files(mount) == {FIRST: FIRST.encode(), SECOND: SECOND.encode()}
    assert mount.xattr(FIRST, "state") == "cached"  # which is what is known without a hash


def test_a_refresh_does_not_look_into_the_mount_itself(mount: Below, archive: Path) -> None:
    assert "2 datasets in 1 session." in refresh(mount)
    assert files(mount).keys() == {FIRST, SECOND}
    tables = mount.status()["tables"]
    assert (tables["indexed"], tables["origin"]) == (True, str(archive))


def test_a_refresh_shows_what_is_new_changed_and_gone(mount: Below, archive: Path) -> None:
    held = (mount.path / FIRST).open("rb")
    ino = os.fstat(held.fileno()).st_ino
    replace(archive / FIRST, b"longer than it was" * 1000)
    replace(archive / SECOND, SECOND.encode().upper())  # of the same size
    put(archive / THIRD, b"new")
    put(archive / "lab/Subjects/rat/2024-01-02/001/alf/a.times.npy", b"rat")
    assert "4 datasets in 2 sessions." in refresh(mount)
    expected = {FIRST: b"longer than it was" * 1000, SECOND: SECOND.encode().upper(), THIRD: b"new"}
    assert files(mount) == {**expected, "lab/Subjects/rat/2024-01-02/001/alf/a.times.npy": b"rat"}
    assert (mount.path / FIRST).stat().st_ino != ino
    assert held.read() == FIRST.encode(), "what is open goes on"
    held.close()
    (archive / THIRD).unlink()
    shutil.rmtree(archive / "lab/Subjects/rat")
    refresh(mount)
    assert files(mount) == {FIRST: expected[FIRST], SECOND: expected[SECOND]}


def test_a_file_that_has_changed_since_is_refused_and_says_that_a_refresh_helps(mount: Below, archive: Path) -> None:
    replace(archive / SECOND, b"other")
    os.utime(archive / SECOND, (0, 0))  # else it might not be complete yet
    with pytest.raises(OSError, match="Input/output error"):
        (mount.path / SECOND).read_bytes()
    assert "run onefs refresh" in mount.xattr(SECOND, "error")
    refresh(mount)
    assert (mount.path / SECOND).read_bytes() == b"other"
    replace(archive / SECOND, b"OTHER")
    refresh(mount)
    done = run_onefs("verify", mount.path / SECOND, **mount.environment)
    assert done.returncode == 0, done.stdout + done.stderr


def test_sighup_refreshes_and_other_modes_are_refused(mount: Below, archive: Path) -> None:
    put(archive / THIRD, b"new")
    os.kill(mount.pid, signal.SIGHUP)
    wait_until((mount.path / THIRD).exists, "it is shown")
    done = run_onefs("mode", "refresh", mount.path, **mount.environment)
    assert (done.returncode, "needs a database" in done.stderr) == (2, True)


def test_status_tells_what_is_shown(mount: Below, archive: Path) -> None:
    done = run_onefs("status", mount.path, **mount.environment)
    assert "made of the folder's files" in done.stdout
    assert "files last looked at" in done.stdout
    assert mount.status()["tables"]["directory"].startswith(str(mount.cache / ".onefs/tables-"))


def test_a_folder_that_has_become_empty_stays_as_it_was_and_says_why(mount: Below, archive: Path, home: Path) -> None:
    """As the folder of a disk that is gone."""
    (archive / "lab").rename(home / "away")
    done = run_onefs("refresh", mount.path, **mount.environment)
    assert done.returncode == 1
    assert f"There is no session folder below {archive}" in done.stderr
    status = mount.status()
    assert (status["mode"]["effective"], status["tables"]["datasets"]) == ("local", 2)
    assert "There is no session folder" in status["mode"]["reason"]
    assert status["concerns"] == ["changes of the folder's files are not noticed"]
    assert os.listdir(mount.path / SESSION / "alf")
    (home / "away").rename(archive / "lab")
    refresh(mount)
    assert "reason" not in mount.status()["mode"]
    assert (mount.path / FIRST).read_bytes() == FIRST.encode()


def test_the_verbs_for_a_source_use_the_same_tables(mount: Below, archive: Path) -> None:
    words = ("--source", archive, "--cache-dir", mount.cache)
    listed = run_onefs("list", "datasets", *words, **mount.environment)
    assert listed.stdout.splitlines() == [FIRST, SECOND]
    assert listed.stderr == ""
    told = run_onefs("info", FIRST, *words, **mount.environment)
    assert str(archive / FIRST) in told.stdout
    checked = run_onefs("doctor", archive, "--cache-dir", mount.cache, **mount.environment)
    assert "1 session and 2 datasets" in checked.stdout


# -- other mounts ------------------------------------------------------------------------------------------------------


def test_a_later_mount_is_usable_at_once_and_then_shows_what_is_new(tmp_path: Path) -> None:
    put(tmp_path / "data" / FIRST, b"a")
    with Mounted(tmp_path / "data", tmp_path):
        pass
    put(tmp_path / "data" / SECOND, b"b")
    (lock,) = (tmp_path / "cache/.onefs").glob("tables-*/.onefs/indexing.lock")
    with FileLock(lock):
        mount = Mounted(tmp_path / "data", tmp_path).start()
        assert files(mount) == {FIRST: b"a"}, "the tables that are kept, while its files cannot be looked at"
        wait_until(lambda: children_of(mount.pid), "it wants to look at them")
        mount.stop()
        wait_until(lambda: not any(map(is_alive, indexers_of(tmp_path / "data"))), "that has ended, too")
    with Mounted(tmp_path / "data", tmp_path) as mount:
        wait_until((mount.path / SECOND).exists, "it is shown")
        assert files(mount) == {FIRST: b"a", SECOND: b"b"}


def test_a_folder_without_sessions_is_not_mounted(tmp_path: Path) -> None:
    (tmp_path / "data/lab").mkdir(parents=True)
    (tmp_path / "mnt").mkdir()
    done = run_onefs("mount", tmp_path / "data", tmp_path / "mnt", XDG_CACHE_HOME=str(tmp_path / "xdg"))
    assert done.returncode == 1
    assert f"onefs: There is no session folder below {tmp_path}/data, such as" in done.stderr
    assert not (tmp_path / "mnt").is_mount()


def children_of(pid: int) -> list[int]:
    return [
        int(each) for task in Path(f"/proc/{pid}/task").iterdir() for each in (task / "children").read_text().split()
    ]


def indexers_of(folder: Path) -> list[int]:
    """The processes that index a folder."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            words = (each / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"index_folder" in words and os.fsencode(folder) in words:
            found.append(int(each.name))
    return found
