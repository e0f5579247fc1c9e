"""The kernel's settings of a mount, on machines that have the folders of these settings and on others."""

import subprocess
import sys
from pathlib import Path

import pytest
from archives import make_tables
from lab_members import MEMBERS, Member, lab_folder
from mounted import Mounted

from onefs.fuse import tuning
from onefs.fuse.mounting import NO_DEVICE, device


def test_a_machine_without_the_folder_of_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "_CONNECTIONS", tmp_path / "connections")
    assert not tuning.tune(NO_DEVICE)


@pytest.mark.needs_root
def test_without_a_program_mount_the_kernels_settings_are_mounted_too() -> None:
    """Where nothing has mounted them, as in a container."""
    program = (
        "import os; from onefs.fuse import tuning; assert not tuning.tune('0:0');"
        "assert os.path.ismount('/sys/fs/fuse/connections')"
    )
    # An empty file system is what the kernel shows there before.
    script = f'mount -t tmpfs none /sys/fs/fuse/connections && PATH=/nowhere exec {sys.executable} -c "$0"'
    subprocess.run(["unshare", "--mount", "sh", "-c", script, program], check=True)


def test_no_mount_has_no_read_ahead() -> None:
    assert tuning.read_ahead_kib(NO_DEVICE) is None


def background_of(mountpoint: Path) -> int:
    number = device(mountpoint).partition(":")[2]
    return int(Path(f"/sys/fs/fuse/connections/{number}/max_background").read_text())


@pytest.mark.needs_root
def test_root_sets_what_it_wants(tmp_path: Path) -> None:
    make_tables(tmp_path / "tables", {"alf/a.b.npy": b"x"})
    with Mounted(tmp_path / "tables", tmp_path) as mount:
        assert background_of(mount.path) == tuning.MAX_BACKGROUND
        assert tuning.read_ahead_kib(device(mount.path)) == tuning.READ_AHEAD_KIB


@pytest.mark.needs_root
def test_a_user_sets_as_much_as_the_kernel_takes() -> None:
    with lab_folder() as lab:
        make_tables(lab / "tables", {"alf/a.b.npy": b"x"})
        with Member(MEMBERS[0], lab / "tables", lab) as mount:
            limit = int(Path("/sys/module/fuse/parameters/max_user_bgreq").read_text())  # more with more memory
            assert background_of(mount.path) == min(limit, tuning.MAX_BACKGROUND)
