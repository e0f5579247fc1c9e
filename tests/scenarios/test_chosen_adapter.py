"""Mounts through each adapter to the kernel, and through pyfuse3 where it is not installed."""

import os
from pathlib import Path

import pytest
from archives import RECORDINGS
from mounted import ADAPTER_VARIABLE, Mounted, run_onefs

TABLES = RECORDINGS / "tables"
HIDDEN = "raise ModuleNotFoundError(\"No module named 'pyfuse3'\", name='pyfuse3')\n"


@pytest.fixture
def without_pyfuse3(tmp_path: Path) -> str:
    """The path of modules for a process that finds no pyfuse3."""
    folder = tmp_path / "without"
    folder.mkdir()
    (folder / "pyfuse3.py").write_text(HIDDEN)
    return f"{folder}:{os.environ.get('PYTHONPATH', '')}"


@pytest.mark.parametrize("adapter", ["session", "pyfuse3"])
def test_a_mount_has_the_adapter_that_was_chosen(adapter: str, tmp_path: Path) -> None:
    with Mounted(TABLES, tmp_path, **{ADAPTER_VARIABLE: adapter}) as mount:
        assert mount.status()["kernel"]["adapter"] == adapter
        assert f"kernel_adapter: {adapter}\n" in (mount.path / ".onefs/control").read_text()


def test_a_mount_needs_no_pyfuse3(tmp_path: Path, without_pyfuse3: str) -> None:
    with Mounted(TABLES, tmp_path, **{ADAPTER_VARIABLE: "auto", "PYTHONPATH": without_pyfuse3}) as mount:
        assert mount.status()["kernel"]["adapter"] == "session"
        assert sum(len(names) for _, _, names in os.walk(mount.path)) > 100


def test_pyfuse3_that_is_missing_is_one_sentence_before_anything_is_mounted(
    tmp_path: Path, without_pyfuse3: str
) -> None:
    (tmp_path / "mnt").mkdir()
    words = ("mount", TABLES, tmp_path / "mnt", "--cache-dir", tmp_path / "cache", "--kernel-adapter", "pyfuse3")
    done = run_onefs(*words, PYTHONPATH=without_pyfuse3)
    assert done.returncode == 1
    assert done.stderr.startswith("onefs: kernel_adapter is pyfuse3, and pyfuse3 is not installed. Install it")
    assert 'pip install "onefs[pyfuse3]"' in done.stderr
    assert done.stderr.count("\n") == 1
    assert not os.path.ismount(tmp_path / "mnt")
