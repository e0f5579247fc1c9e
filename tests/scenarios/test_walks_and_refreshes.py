"""Programs walk through a mount while refreshes change its listings: none that begins afterwards shows an old name."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mounted import Mounted

SESSIONS = [f"{lab}/Subjects/{subject}/2024-01-02/001" for lab in ("la", "lb") for subject in ("s", "t", "u")]
MOVING = "lc/Subjects/s/2024-01-02/001"
WALKERS = 16
pytestmark = [pytest.mark.needs_mount, pytest.mark.slow]
ROUNDS = int(os.environ.get("ONEFS_TEST_ROUNDS", "3"))


@contextmanager
def walkers(path: Path) -> Iterator[None]:
    """Programs that list everything below a folder, again and again."""
    walk = f"while :; do find '{path}' -newermt 2000-01-01 >/dev/null 2>&1; done"
    started = [subprocess.Popen(["sh", "-c", walk], start_new_session=True) for _ in range(WALKERS)]
    try:
        yield
        assert all(each.poll() is None for each in started)
    finally:
        for each in started:
            os.killpg(each.pid, 9)
            each.wait()


def paths_below(folder: Path) -> set[str]:
    return {
        os.path.relpath(os.path.join(above, name), folder)
        for above, _, names in os.walk(folder)
        for name in names
        if name.endswith(".npy")
    }


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"data")


def change(archive: Path, number: int) -> tuple[set[str], set[str]]:
    """Have each session, and one of two labs, hold other files. Gives the paths that are there now, and some gone."""
    there, gone = set(), set()
    moving = MOVING if number % 2 else MOVING.replace("lc", "ld")
    other = MOVING.replace("lc", "ld") if number % 2 else MOVING
    for session in (*SESSIONS, moving):
        new, old = (f"{session}/alf/x{each}.times.npy" for each in (number, number - 1))
        put(archive / new)
        (archive / old).unlink(missing_ok=True)
        there.add(new)
        gone.add(old)
    shutil.rmtree(archive / other.split("/")[0], ignore_errors=True)
    return there, gone | {f"{other}/alf/x{number - 1}.times.npy"}


def test_after_a_refresh_no_listing_shows_an_old_name(tmp_path: Path) -> None:
    archive = tmp_path / "data"
    change(archive, 0)
    with Mounted(archive, tmp_path) as mount, walkers(mount.path):
        for number in range(1, ROUNDS + 1):
            there, gone = change(archive, number)
            assert not any((mount.path / path).exists() for path in there), "the kernel knows them as absent"
            (mount.path / ".onefs/control").write_text("refresh\n")
            assert paths_below(mount.path) == there
            assert all((mount.path / path).exists() for path in there)
            assert not any((mount.path / path).exists() for path in gone - there)
