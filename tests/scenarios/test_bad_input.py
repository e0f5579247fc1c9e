"""Wrong use gets one sentence with its remedy, exit code 1 or 2, and leaves nothing mounted."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from archives import MADE_SESSION, RECORDINGS, make_tables
from mounted import Mounted, run_onefs

from onefs.catalogue.records import QC
from onefs.catalogue.snapshot import load_snapshot
from onefs.catalogue.tables import write_tables

TABLES = RECORDINGS / "tables"


@pytest.fixture
def mountpoint(tmp_path: Path) -> Path:
    path = tmp_path / "mnt"
    path.mkdir()
    return path


def refused(
    mountpoint: Path, source: str | Path, *flags: str | Path, code: int = 1, lines: int = 1, **environment: str
) -> str:
    """The sentence with which a mount is refused, the last of some lines."""
    home = mountpoint.parent
    flags = flags if "--cache-dir" in flags else ("--cache-dir", home / "cache", *flags)
    done = run_onefs("mount", source, mountpoint, *flags, XDG_CONFIG_HOME=str(home / "config"), **environment)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("onefs: ")
    assert done.stderr.count("\nonefs: ") == lines - 1
    assert done.stderr.count("\n") == lines
    assert "Traceback" not in done.stderr
    assert not os.path.ismount(mountpoint)
    return done.stderr


@pytest.mark.parametrize("source", ["nonsense", "/no/such/folder", "ftp://server/folder", "https://"])
def test_an_unknown_source(mountpoint: Path, source: str) -> None:
    said = refused(mountpoint, source)
    assert source.removesuffix("server/folder").rstrip("/") in said
    assert "Give" in said


def test_a_folder_without_tables(mountpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = refused(mountpoint, tmp_path / "empty", lines=2)  # the first says that its files are indexed
    assert f"There is no session folder below {tmp_path}/empty" in said
    (tmp_path / "empty/sessions.pqt").touch()
    assert "datasets.pqt" in refused(mountpoint, tmp_path / "empty")


def test_a_server_that_is_not_there(mountpoint: Path) -> None:
    assert "127.0.0.1" in refused(mountpoint, "http://127.0.0.1:9/tables")


def test_a_mountpoint_that_does_not_exist(tmp_path: Path) -> None:
    assert "mkdir" in refused(tmp_path / "nowhere", TABLES)


def test_a_mountpoint_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "not a directory" in refused(tmp_path / "file", TABLES)


def test_a_mountpoint_that_is_not_empty(mountpoint: Path) -> None:
    (mountpoint / "thesis.txt").write_text("precious")
    assert "not empty" in refused(mountpoint, TABLES)
    assert (mountpoint / "thesis.txt").read_text() == "precious"


def test_a_mountpoint_that_is_mounted_already(tmp_path: Path) -> None:
    with Mounted(TABLES, tmp_path) as mount:
        done = run_onefs("mount", TABLES, mount.path, "--cache-dir", tmp_path / "other")
        assert done.returncode == 1
        assert "already mounted" in done.stderr
        assert len(os.listdir(mount.path)) > 2


def test_a_dead_daemons_mountpoint_is_taken_over(tmp_path: Path) -> None:
    mount = Mounted(TABLES, tmp_path)
    mount.start()
    mount.kill()
    with pytest.raises(OSError):
        os.listdir(mount.path)
    with mount:
        assert "cortexlab" in os.listdir(mount.path)


@pytest.mark.needs_mount
def test_no_dev_fuse(mountpoint: Path) -> None:
    """In a mount namespace of its own, /dev/fuse is hidden."""
    bare = mountpoint.parent / "dev"
    bare.mkdir()
    command = (
        f"mount -t tmpfs tmpfs {bare} && touch {bare}/null && mount --bind /dev/null {bare}/null"
        f" && mount --rbind {bare} /dev && exec python3 -m onefs mount {TABLES} {mountpoint}"
    )
    done = in_namespace(command)
    assert done.returncode == 1
    assert "/dev/fuse is missing" in done.stderr
    assert "modprobe fuse" in done.stderr


@pytest.mark.needs_root
def test_no_fusermount3() -> None:
    """For a user who is not root, and in whose PATH there is no fusermount3."""
    program = (
        "import os\n"
        "from onefs.errors import OnefsError\n"
        "from onefs.fuse.mounting import check_machine\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "os.environ['PATH'] = '/nowhere'\n"
        "try: check_machine()\n"
        "except OnefsError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "fusermount3 is missing" in done.stdout, done.stderr
    assert "apt install fuse3" in done.stdout


def in_namespace(command: str) -> "subprocess.CompletedProcess[str]":
    """Run a shell command in user and mount namespaces of its own."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", command],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
        timeout=60,
    )


@pytest.mark.parametrize("table", ["sessions", "datasets"])
def test_a_truncated_table(mountpoint: Path, tmp_path: Path, table: str) -> None:
    folder = tmp_path / "tables"
    make_tables(folder, {"alf/a.b.npy": b"x"})
    path = folder / f"{table}.pqt"
    path.write_bytes(path.read_bytes()[:-20])
    said = refused(mountpoint, folder)
    assert f"{table}.pqt" in said


def test_a_table_that_lacks_a_column(mountpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    make_tables(folder, {"alf/a.b.npy": b"x"})
    table = pq.read_table(folder / "datasets.pqt")
    pq.write_table(table.drop_columns(["rel_path"]), folder / "datasets.pqt")
    said = refused(mountpoint, folder)
    assert "rel_path" in said
    assert "datasets.pqt" in said


def test_a_file_that_is_no_table(mountpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    make_tables(folder, {"alf/a.b.npy": b"x"})
    (folder / "sessions.pqt").write_text("<html>not found</html>")
    assert "sessions.pqt" in refused(mountpoint, folder)


def test_a_cache_directory_that_cannot_be_written(mountpoint: Path) -> None:
    said = refused(mountpoint, TABLES, "--cache-dir", "/proc/nowhere")
    assert "/proc/nowhere" in said
    assert "--cache-dir" in said


def test_an_unknown_setting_names_the_nearest(mountpoint: Path) -> None:
    said = refused(mountpoint, TABLES, code=2, ONEFS_OPEN_WIAT="3")
    assert "ONEFS_OPEN_WIAT" in said
    assert "ONEFS_OPEN_WAIT" in said


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--qc", "BAD"), "CRITICAL"),
        (("--mode", "remote"), "database"),
        (("--mode", "auto"), "--data-url"),
        (("--open-wait", "soon"), "2s"),
        (("--data-url", "http://127.0.0.1:9", "--data-user", "me"), "ONEFS_DATA_PASSWORD"),
    ],
)
def test_settings_that_cannot_be(mountpoint: Path, flags: tuple[str, ...], word: str) -> None:
    assert word in refused(mountpoint, TABLES, *flags, code=2)


def test_paths_that_would_escape_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    make_tables(folder, {"../../etc/passwd": b"x", "/etc/passwd": b"y", "alf/../../x.y.npy": b"z", "alf/a.b.npy": b"w"})
    with Mounted(folder, tmp_path) as mount:
        names = {name for _, folders, files in os.walk(mount.path) for name in folders + files}
        assert "a.b.npy" in names
        assert "passwd" not in names
        assert sum(mount.status()["tables"]["left_out"].values()) == 3


def test_umount_of_nothing(tmp_path: Path) -> None:
    done = run_onefs("umount", tmp_path)
    assert done.returncode == 1
    assert "no onefs mount" in done.stderr


def test_info_of_what_is_not_there(tmp_path: Path) -> None:
    with Mounted(TABLES, tmp_path) as mount:
        done = run_onefs("info", mount.path / "nolab" / "x")
        assert done.returncode == 1
        assert "nolab/x is not in the catalogue" in done.stderr


def test_info_of_what_is_hidden_says_by_what(tmp_path: Path) -> None:
    later, worse = "alf/#2025-01-01#/h.x.npy", "alf/k.x.npy"
    made = make_tables(tmp_path / "tables", {"alf/h.x.npy": b"a", later: b"b", worse: b"c"})
    rows = [replace(each, qc=QC.CRITICAL) if name == worse else each for name, each in made.items()]
    session = load_snapshot(tmp_path / "tables", tmp_path / "index").session(0)
    write_tables(tmp_path / "tables", [session], rows, created="2024-01-04 00:00", origin="")
    with Mounted(tmp_path / "tables", tmp_path, "--as-of", "2024-12-31") as mount:
        for place in (mount.path, mount.path / ".onefs/default"):
            done = run_onefs("info", place / MADE_SESSION / worse)
            assert done.returncode == 1
            assert "but its QC is CRITICAL, and what is worse than FAIL is hidden." in done.stderr
            assert "onefs qc CRITICAL" in done.stderr
        done = run_onefs("info", mount.path / MADE_SESSION / later)
        assert "but its edition 2025-01-01 is later than 2024-12-31" in done.stderr
        assert "onefs as-of none" in done.stderr
        assert run_onefs("as-of", "none", mount.path).returncode == 0
        assert run_onefs("qc", "CRITICAL", mount.path).returncode == 0
        for path in (later, worse):
            assert run_onefs("info", mount.path / MADE_SESSION / path).returncode == 0
        done = run_onefs("info", mount.path / ".onefs/default" / MADE_SESSION / later)
        assert "but it is at alf/h.x.npy here" in done.stderr
        done = run_onefs("info", mount.path / ".onefs/as-of/2024-12-31" / MADE_SESSION / later)
        assert "later than 2024-12-31" in done.stderr
        done = run_onefs("info", mount.path / MADE_SESSION / "alf/none.x.npy")
        assert "is not in the catalogue" in done.stderr


def test_a_verb_that_does_not_exist() -> None:
    done = run_onefs("mout")
    assert done.returncode == 2
    assert "mout" in done.stderr
