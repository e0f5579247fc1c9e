"""`.onefs/log`, the sizes of control files, and `onefs log`, at a real mount."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from archives import make_tables
from mounted import ONEFS, Mounted, run_onefs
from waiting import PATIENCE_S, wait_until

from onefs.cli.log import news

CONTROL_FILES = ("README", "mode", "control", "errors", "pinned", "log")


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    home = tmp_path_factory.mktemp("log")
    make_tables(home / "tables", {"alf/a.times.npy": b"a"})
    with Mounted(home / "tables", home) as mount:
        yield mount


def test_the_sizes_of_control_files_are_those_of_their_texts(mount: Mounted) -> None:
    folder = mount.path / ".onefs"
    for name in CONTROL_FILES:
        assert (folder / name).stat().st_size == len((folder / name).read_bytes()), name
    with (folder / "status.json").open("rb") as stream:
        assert os.fstat(stream.fileno()).st_size == len(stream.read())


def test_rsync_copies_them_whole(mount: Mounted, tmp_path: Path) -> None:
    if shutil.which("rsync") is None:
        pytest.skip("rsync is not installed")
    for name in ("README", "status.json", "log"):
        subprocess.run(["rsync", "-a", mount.path / ".onefs" / name, tmp_path], check=True)
    assert (tmp_path / "README").read_bytes() == (mount.path / ".onefs" / "README").read_bytes()
    assert json.loads((tmp_path / "status.json").read_text())["mountpoint"] == str(mount.path)
    assert (tmp_path / "log").read_text() == mount.log()


def test_the_time_of_a_control_file_is_that_of_its_text(mount: Mounted) -> None:
    folder = mount.path / ".onefs"
    assert (folder / "README").stat().st_mtime == (folder / "README").stat().st_mtime > 0
    log = Path(json.loads((folder / "status.json").read_text())["log"])
    wait_until(lambda: (folder / "log").stat().st_mtime == int(log.stat().st_mtime), "nothing is logged meanwhile")


def test_a_mode_is_read_as_it_was_written_just_now(mount: Mounted) -> None:
    file = mount.path / ".onefs" / "mode"
    assert file.stat().st_size == len("local\n")
    assert file.read_text() == "local\n"


def test_tail_shows_what_is_logged_while_it_watches(mount: Mounted) -> None:
    with subprocess.Popen(
        ["tail", "-n", "1", "-s", "0.1", "-f", mount.path / ".onefs" / "log"], stdout=subprocess.PIPE, text=True
    ) as tail:
        assert tail.stdout is not None
        tail.stdout.readline()
        os.kill(mount.pid, signal.SIGUSR1)
        while "State at SIGUSR1" not in tail.stdout.readline():
            pass
        tail.terminate()


def test_onefs_log_shows_so_many_lines(mount: Mounted) -> None:
    done = run_onefs("log", "-n", "1", "--mount", mount.path)
    assert done.stdout == mount.log().splitlines(keepends=True)[-1]
    assert run_onefs("log", "debug", "-f", "--mount", mount.path).returncode == 2


def test_levels_in_force_are_told(mount: Mounted) -> None:
    done = run_onefs("log", "info,transports=debug", "--mount", mount.path)
    assert done.returncode == 0, done.stderr
    assert "\nlog: info,transports=debug\n" in (mount.path / ".onefs" / "control").read_text()
    done = run_onefs("log", "info,nets=debug", "--mount", mount.path)
    assert done.returncode == 2
    assert "'nets' is no part" in done.stderr
    assert run_onefs("log", "info", "--mount", mount.path).returncode == 0


def test_following_ends_with_the_mount_and_does_not_hold_it_up(tmp_path: Path) -> None:
    make_tables(tmp_path / "tables", {"alf/a.times.npy": b"a"})
    with Mounted(tmp_path / "tables", tmp_path) as mount:
        words = [*ONEFS, "log", "-f", "-n", "1", "--mount", mount.path]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
            assert following.stdout is not None
            assert following.stdout.readline(), "the last line so far"
            os.kill(mount.pid, signal.SIGUSR1)
            assert "at SIGUSR1" in following.stdout.readline()
            done = run_onefs("umount", mount.path)
            assert done.returncode == 0, done.stderr
            out, err = following.communicate(timeout=PATIENCE_S)
            assert (following.returncode, err) == (0, "")
            assert "Traceback" not in out


def test_what_was_shown_is_not_repeated_when_older_lines_go(tmp_path: Path) -> None:
    log = tmp_path / "log"
    shown = "".join(f"line {number}\n" for number in range(1000))
    log.write_text(shown[-500:] + "new\n")
    assert next(news(log, shown, len(shown))) == "new\n"
    log.write_text("begun anew\n")
    assert next(news(log, shown, len(shown))) == "begun anew\n"


def test_following_is_ended_by_ctrl_c_while_the_daemon_does_not_answer(tmp_path: Path) -> None:
    make_tables(tmp_path / "tables", {"alf/a.times.npy": b"a"})
    with Mounted(tmp_path / "tables", tmp_path) as mount:
        requests = Path(f"/sys/fs/fuse/connections/{os.minor(mount.path.stat().st_dev)}/waiting")
        if not requests.exists():
            pytest.skip("the kernel does not tell how many requests wait")
        words = [*ONEFS, "log", "-f", "-n", "1", "--mount", mount.path]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as following:
            assert following.stdout is not None
            following.stdout.readline()
            try:
                stop_while_idle(mount.pid, requests)
                wait_until(lambda: int(requests.read_text()), "a request waits")
                following.send_signal(signal.SIGINT)
                assert following.wait(PATIENCE_S) == 130
            finally:
                os.kill(mount.pid, signal.SIGCONT)


def stop_while_idle(pid: int, requests: Path) -> None:
    """Stop a daemon while nobody waits for it: whatever request comes next is the follower's."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: ") T " in Path(f"/proc/{pid}/stat").read_text(), "the daemon is stopped")
        if not int(requests.read_text()):
            return
        os.kill(pid, signal.SIGCONT)
        wait_until(lambda: not int(requests.read_text()), "nobody waits for it")
