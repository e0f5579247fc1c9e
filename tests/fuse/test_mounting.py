"""What is mounted, read from the kernel's table, whatever the names; and why something cannot be."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from archives import make_tables
from lab_members import MEMBERS, Member, lab_folder
from mounted import ONEFS, Mounted
from waiting import wait_until

from onefs.errors import MountError
from onefs.fuse import mounting


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


@pytest.mark.needs_root
def test_the_state_of_a_mount_for_one_user_alone_is_known_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounting, "_ANSWER_S", 0.1)
    with lab_folder() as lab:
        make_tables(lab / "tables", {"alf/a.b.npy": b"x"})
        mount = Member(MEMBERS[0], lab / "tables", lab)
        mount.start()
        try:
            os.kill(mount.pid, signal.SIGSTOP)
            assert mounting.health(mount.path) is mounting.Health.SILENT
            os.kill(mount.pid, signal.SIGCONT)
            wait_until(lambda: mounting.health(mount.path) is mounting.Health.ALIVE, "it answers again")
            mount.kill()
            assert mounting.health(mount.path) is mounting.Health.DEAD
        finally:
            mounting.unmount(mount.path, lazy=True)
