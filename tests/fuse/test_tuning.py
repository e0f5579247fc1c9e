"""The kernel's settings of a mount, on machines that have the folders of these settings and on others."""

import subprocess
import sys
from pathlib import Path

import pytest

from onefs.fuse import tuning
from onefs.fuse.mounting import NO_DEVICE


def test_a_machine_without_the_folder_of_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "_CONNECTIONS", tmp_path / "connections")
    assert not tuning.raise_max_background(NO_DEVICE)


@pytest.mark.needs_root
def test_without_a_program_mount_the_kernels_settings_are_mounted_too() -> None:
    """Where nothing has mounted them, as in a container."""
    program = (
        "import os; from onefs.fuse import tuning; assert not tuning.raise_max_background('0:0');"
        "assert os.path.ismount('/sys/fs/fuse/connections')"
    )
    # An empty file system is what the kernel shows there before.
    script = f'mount -t tmpfs none /sys/fs/fuse/connections && PATH=/nowhere exec {sys.executable} -c "$0"'
    subprocess.run(["unshare", "--mount", "sh", "-c", script, program], check=True)


def test_no_mount_has_no_read_ahead() -> None:
    assert tuning.read_ahead_kib(NO_DEVICE) is None
