"""What is mounted, read from the kernel's table, whatever the names; and why something cannot be."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
from archives import make_tables
from mounted import ONEFS, Mounted

from onefs.errors import MountError
from onefs.fuse import mounting

STRANGE = [
    "with space",
    "new\nline",
    "tab\there",
    "back\\slash",
    "octal\\040",
    "cr\rx",
    "ls\u2028x",
    "ünïcode",
    "[/red]",
    "a,b",
    "#hash",
    "'\"",
]


@pytest.mark.parametrize("name", STRANGE)
def test_strange_names_are_found_in_the_table(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    make_tables(home / "tables", {"alf/a.b.npy": b"x"})
    with Mounted(home / "tables", home) as mount:
        (found,) = [found for found in mounting.mounts() if found.mountpoint == mount.path]
        assert unquote(found.source) == str(home / "tables")
        assert mounting.mount_of(mount.path / "lab") == found
        assert os.listdir(mount.path / "lab") == ["Subjects"]


def test_a_mount_is_found_through_symbolic_links(tmp_path: Path) -> None:
    make_tables(tmp_path / "tables", {"alf/a.b.npy": b"x"})
    (tmp_path / "link").symlink_to(tmp_path / "home")
    (tmp_path / "home").mkdir()
    with Mounted(tmp_path / "tables", tmp_path / "home") as mount:
        found = mounting.mount_of(tmp_path / "link" / "mnt" / "lab")
        assert found is not None
        assert found.mountpoint == mount.path
        assert mounting.mount_of(tmp_path) is None
        assert mounting.mount_of(tmp_path / "home" / "mnt2") is None


def test_a_mountpoint_through_a_symbolic_link_can_be_used_and_unmounted(tmp_path: Path) -> None:
    make_tables(tmp_path / "tables", {"alf/a.b.npy": b"x"})
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "home")
    with Mounted(tmp_path / "tables", tmp_path / "link") as mount:
        assert os.listdir(mount.path / "lab") == ["Subjects"]
    assert not os.path.ismount(tmp_path / "home" / "mnt")


def test_unmounting_what_is_not_mounted_says_so(tmp_path: Path) -> None:
    with pytest.raises(MountError, match="cannot be unmounted: not mounted"):
        mounting.unmount(tmp_path)


def test_a_folder_that_is_no_mount_is_not_stale(tmp_path: Path) -> None:
    assert mounting.health(tmp_path) is mounting.Health.ALIVE
    assert mounting.health(tmp_path / "nothing") is mounting.Health.ALIVE


def test_what_fusermount_prints_is_kept_and_the_rest_passed_on(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with mounting.words_of_fuse() as said:
        subprocess.run(["fusermount3", "-u", tmp_path], check=False)
        os.write(2, b"another thread\n")
        words = said()
    assert words.startswith("fusermount3: ")
    assert capfd.readouterr().err == "another thread\n"
    error = mounting.refusal(tmp_path, words)
    assert words in error.reason
    assert error.remedy


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up the right to mount")
def test_a_mount_that_is_refused_says_what_fusermount_said(tmp_path: Path) -> None:
    make_tables(tmp_path / "tables", {"alf/a.b.npy": b"x"})
    (tmp_path / "mnt").mkdir()
    words = ["mount", tmp_path / "tables", tmp_path / "mnt", "--cache-dir", tmp_path / "cache"]
    done = subprocess.run(
        ["setpriv", "--bounding-set=-sys_admin", *ONEFS, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "fusermount3: mount failed: Operation not permitted" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_machine_without_the_folder_of_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounting, "_CONNECTIONS", tmp_path / "connections")
    assert not mounting.raise_max_background("0:0")


@pytest.mark.needs_root
def test_without_a_program_mount_the_kernels_settings_are_mounted_too() -> None:
    """Where nothing has mounted them, as in a container."""
    program = (
        "import os; from onefs.fuse import mounting; assert not mounting.raise_max_background('0:0');"
        "assert os.path.ismount('/sys/fs/fuse/connections')"
    )
    # An empty file system is what the kernel shows there before.
    script = f'mount -t tmpfs none /sys/fs/fuse/connections && PATH=/nowhere exec {sys.executable} -c "$0"'
    subprocess.run(["unshare", "--mount", "sh", "-c", script, program], check=True)
