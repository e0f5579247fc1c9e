"""Steering a mount while it runs, by writing words to files and by the same verbs on the command line."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from archives import PASSWORD, RECORDINGS, sound_rows
from mounted import Mounted, run_onefs

FIRST, SECOND = (row.path for row in sound_rows()[:2])


def test_the_mode_is_switched_by_writing_a_word(recorded: Mounted) -> None:
    mode = recorded.path / ".onefs/mode"
    assert mode.read_text() == "auto\n"
    (recorded.path / FIRST).read_bytes()
    subprocess.run(["sh", "-c", f"echo local > {mode}"], check=True)
    assert mode.read_text() == "local\n"
    assert recorded.status()["mode"]["effective"] == "local"
    (recorded.path / FIRST).read_bytes()
    with pytest.raises(OSError) as failure:
        (recorded.path / SECOND).read_bytes()
    assert failure.value.errno == errno.ENETDOWN
    assert "mode local fetches nothing" in recorded.errors()
    mode.write_text("auto")
    (recorded.path / SECOND).read_bytes()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mode remote", "needs a database"),
        ("mode fast", "is no mode"),
        ("modes local", "Did you mean mode?"),
        ("retry nolab/x.y.npy", "is not in the catalogue"),
        ("log loud", "is not a level"),
    ],
)
def test_what_cannot_be_done_fails_with_a_sentence(shared: Mounted, line: str, words: str) -> None:
    with pytest.raises(OSError) as failure:
        (shared.path / ".onefs/control").write_text(line + "\n")
    assert failure.value.errno in (errno.EINVAL, errno.ENOENT)
    assert words in shared.errors()
    assert (shared.path / ".onefs/mode").read_text() == "auto\n"


@pytest.mark.needs_root
def test_only_who_mounted_and_root_may_write(data_server_flags: list[str], tmp_path: Path) -> None:
    with Mounted(
        RECORDINGS / "tables", tmp_path, *data_server_flags, "--allow-other", "on", ONEFS_DATA_PASSWORD=PASSWORD
    ) as mount:
        for folder in [tmp_path, *tmp_path.parents[:-1]]:
            folder.chmod(folder.stat().st_mode | 0o011)
        program = (
            "import os, sys\n"
            "os.setgid(65534); os.setuid(65534)\n"
            "print(open(sys.argv[1] + '/.onefs/mode').read())\n"
            "try: open(sys.argv[1] + '/.onefs/mode', 'w').write('local')\n"
            "except PermissionError as error: print('refused', error.errno)\n"
        )
        done = subprocess.run([sys.executable, "-c", program, mount.path], capture_output=True, text=True)
        assert done.stdout.split() == ["auto", "refused", str(errno.EACCES)], done.stderr
        assert (mount.path / ".onefs/mode").read_text() == "auto\n"


def test_the_command_line_does_the_same(recorded: Mounted) -> None:
    assert run_onefs("mode", recorded.path).stdout == "auto\n"
    assert "mode local now" in run_onefs("mode", "local", recorded.path).stdout
    assert (recorded.path / ".onefs/mode").read_text() == "local\n"
    refused = run_onefs("mode", "refresh", recorded.path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "needs a database" in refused.stderr
    assert run_onefs("mode", "fast", recorded.path).returncode == 2
    missing = run_onefs("retry", recorded.path / "nolab/x.y.npy")
    assert missing.returncode == 1
    assert "is not in the catalogue" in missing.stderr
    assert run_onefs("retry", recorded.path / FIRST).returncode == 0


def test_the_log_is_readable_in_the_mount(shared: Mounted) -> None:
    assert "is mounted at" in (shared.path / ".onefs/log").read_text()
