"""`scripts/demo` and `onefs demo` from nothing to reading a file and back."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mounted import is_alive, run_onefs
from waiting import wait_until

SCRIPT = Path(__file__).parents[2] / "scripts" / "demo"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A folder with a space in its name; whatever is mounted in it at the end is unmounted."""
    home = tmp_path / "at home"
    home.mkdir()
    yield home
    for path in home.iterdir():
        if os.path.ismount(path):
            subprocess.run(["umount", "-l", path], check=True)


def run_script(home: Path, *arguments: str) -> str:
    done = subprocess.run(
        [SCRIPT, *arguments],
        cwd=home,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "XDG_CACHE_HOME": str(home / "cache"), "XDG_CONFIG_HOME": str(home / "config")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_script_mounts_shows_checks_and_stops(home: Path) -> None:
    said = run_script(home)
    assert "14 sessions" in said
    assert "MD5 as in the catalogue" in said
    mountpoint = home / "demo"
    assert os.path.ismount(mountpoint)
    for doing in ("Setting up onefs", "Making a small archive", "Listing", "Copying"):
        assert f"\n{doing}" in f"\n{said}"
    printed = [line.strip() for line in said.partition("Look around")[2].splitlines() if line.startswith("  ")]
    assert len(printed) == 4
    for command in printed[:-1]:  # as they are printed, from another folder and with no onefs on the PATH
        done = subprocess.run(["bash", "-c", command], cwd="/", capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), command
        assert done.stdout
    assert printed[-1].endswith("--stop " + str(mountpoint).replace(" ", "\\ "))
    pid = json.loads((mountpoint / ".onefs/status.json").read_text())["pid"]
    assert "mounted at" in run_script(home, "demo")
    assert (mountpoint / ".onefs/errors").read_text() == ""
    assert "is unmounted" in run_script(home, "--stop")
    assert not os.path.ismount(mountpoint)
    wait_until(lambda: not is_alive(pid), "the daemon ends")
    assert "Nothing is mounted" in run_script(home, "--stop")


def test_the_script_tells_how_it_is_used(home: Path) -> None:
    assert run_script(home, "--help").startswith("usage: ")
    for wrong in (["--nothing"], ["one", "two"]):
        assert subprocess.run([SCRIPT, *wrong], capture_output=True).returncode == 2


def test_the_verb_makes_its_mountpoint_and_serves_files(home: Path, demo_archive: Path) -> None:
    shutil.copytree(demo_archive, home / "cache/onefs/demo/archive")  # where it finds what was made before
    environment = {"XDG_CACHE_HOME": str(home / "cache"), "XDG_CONFIG_HOME": str(home / "config")}
    mountpoint = home / "new" / "demo"
    done = run_onefs("demo", mountpoint, **environment)
    assert done.returncode == 0, done.stderr
    assert "onefs umount " in done.stdout
    try:
        status = json.loads((mountpoint / ".onefs/status.json").read_text())
        assert status["source"] == "demo"
        files = [Path(folder) / name for folder, _, names in os.walk(mountpoint) for name in names]
        assert len(files) > 300
        table = next(path for path in files if path.name == "_ibl_trials.table.pqt")
        assert len(table.read_bytes()) == table.stat().st_size
        assert os.getxattr(table, "user.onefs.state") == b"verified"
        done = run_onefs("demo", mountpoint, **environment)
        assert done.returncode == 1
        assert "already mounted" in done.stderr
    finally:
        assert run_onefs("umount", mountpoint).returncode == 0
    wait_until(lambda: not is_alive(status["pid"]), "the daemon ends")
