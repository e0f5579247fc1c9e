"""Commands that never wait for a disk."""

import subprocess
import sys
from pathlib import Path

import pytest

UNSYNCED = Path(__file__).parents[1] / "unsynced.py"
SYNC_ALL = """
import os, sys
with open(sys.argv[1], "wb", buffering=0) as file:
    file.write(b"x")
    os.fsync(file)
    os.fdatasync(file)
os.sync()
os.fsync(12345)  # not open: a real one would fail
"""


@pytest.mark.needs_root
def test_a_sync_does_nothing_in_the_command_and_what_it_starts(tmp_path: Path) -> None:
    inner = [sys.executable, "-c", SYNC_ALL, tmp_path / "file"]
    outer = [sys.executable, "-c", "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))", *inner]
    assert subprocess.run([sys.executable, UNSYNCED, *outer], check=False).returncode == 0
    assert (tmp_path / "file").read_bytes() == b"x"


def test_the_exit_code_is_the_commands() -> None:
    assert subprocess.run([sys.executable, UNSYNCED, "sh", "-c", "exit 3"], check=False).returncode == 3
