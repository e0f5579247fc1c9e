"""scripts/install-systemd for users without root, and scripts/test-boot where it cannot run.

What root installs is tried by scripts/test-boot, in a machine of its own.
"""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
AS_USER = [] if os.geteuid() else ["unshare", "--user", "--map-user=1000"]


def run(home: Path, script: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a script as an ordinary user with a home and an onefs of their own, and without a systemd."""
    environment = {"HOME": str(home), "PATH": f"{home}/bin:/usr/bin:/bin"}
    return subprocess.run(
        [*AS_USER, SCRIPTS / script, *words], env=environment, cwd=home, capture_output=True, text=True, check=False
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    command = tmp_path / "bin" / "onefs"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    return tmp_path


def test_a_user_installs_and_removes_their_unit(home: Path) -> None:
    unit = home / ".config/systemd/user/onefs-user@.service"
    done = run(home, "install-systemd", "--user")
    assert (done.returncode, done.stderr) == (0, "")
    assert "systemctl --user enable --now onefs-user@NAME" in done.stdout
    assert f"ExecStart={home}/bin/onefs mount %i --foreground\n" in unit.read_text()
    assert "/usr/local" not in unit.read_text()
    done = run(home, "install-systemd", "--user", "--remove")
    assert (done.returncode, done.stderr) == (0, "")
    assert not unit.exists()
    assert not any(unit.parent.iterdir())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 1, "Only root can install it"),
        (("--remove",), 1, "Only root can install it"),
        (("--purge",), 2, "usage"),
        (("--user", "--remove", "--purge"), 2, "usage"),
        (("--remvoe",), 2, "usage"),
    ],
)
def test_wrong_use_is_refused_with_a_remedy(home: Path, words: tuple[str, ...], code: int, said: str) -> None:
    done = run(home, "install-systemd", *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr


def test_a_boot_that_cannot_be_tried_says_why(home: Path) -> None:
    done = run(home, "test-boot")
    assert (done.returncode, done.stdout) == (77, "")
    assert done.stderr == "scripts/test-boot cannot run here: it needs root.\n"
