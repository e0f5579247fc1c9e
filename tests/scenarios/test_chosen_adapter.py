"""Mounts through each adapter to the kernel, and what is said where one cannot serve."""

import os
import subprocess
import sys
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


# A command line on a kernel whose protocol is too old, or whose first request fails for a reason that nobody foresaw.
TOO_OLD = "from onefs.fuse import negotiation; negotiation.OLDEST_MINOR = 99"
FAILING = "from onefs.fuse import session; session.negotiate = None"
PROGRAM = "import sys; {change}; from onefs.cli.main import main; main()"


@pytest.mark.parametrize("place", ["--background", "--foreground"])
@pytest.mark.parametrize(
    ("change", "said"),
    [(TOO_OLD, "of the FUSE protocol; onefs needs 7.99"), (FAILING, " is mounted, and does not answer: ")],
    ids=["too old", "failing"],
)
def test_a_kernel_that_cannot_be_served_is_one_sentence(tmp_path: Path, change: str, said: str, place: str) -> None:
    (tmp_path / "mnt").mkdir()
    words = ["mount", TABLES, tmp_path / "mnt", "--cache-dir", tmp_path / "cache", "--kernel-adapter", "session"]
    program = [
        sys.executable,
        "-c",
        PROGRAM.format(change=change),
        *words,
        *([place] if place == "--foreground" else []),
    ]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    told = [line for line in done.stderr.splitlines() if line.startswith("onefs: ")]
    assert done.returncode == 1
    assert len(told) == 1
    assert said in told[0]
    assert "Group" not in done.stderr
    assert not os.path.ismount(tmp_path / "mnt")
