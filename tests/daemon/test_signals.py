"""Signals that ask something of a mount without ending it: SIGUSR1 and SIGHUP."""

import os
import signal
import subprocess
from pathlib import Path

from archives import MADE_SESSION, make_tables
from mounted import Mounted
from notified import supervised
from servers import full_server
from waiting import PATIENCE_S, wait_until


def send_many(pid: int, *numbers: int) -> None:
    for _ in range(50):
        for number in numbers:
            os.kill(pid, number)


def test_sigusr1_writes_stacks_and_state_whatever_the_level_and_the_mount_goes_on(tmp_path: Path) -> None:
    make_tables(tmp_path / "tables", {"alf/a.times.npy": b"a"})
    with Mounted(tmp_path / "tables", tmp_path, "--log", "error") as mount:
        send_many(mount.pid, signal.SIGUSR1, signal.SIGHUP)
        wait_until(lambda: "State at SIGUSR1:" in mount.log(), "the state is written")
        wait_until(lambda: str(mount.path) in mount.log().rpartition("State at SIGUSR1:")[2], "all of it is written")
        said = mount.log()
        assert "thread: MainThread" in said
        assert "in _heed_signals" in said, "the stack of a task"
        assert os.listdir(mount.path / MADE_SESSION) == ["alf"]


def test_sigusr1_during_the_start_shows_what_it_waits_for(tmp_path: Path) -> None:
    with full_server() as url, supervised(tmp_path, url, "--connect-timeout", "10min") as (daemon, listener):
        listener.until("STATUS=Starting: asking")
        assert daemon.stderr is not None
        said = ""
        while "in kind_at" not in said:
            send_many(daemon.pid, signal.SIGHUP)
            daemon.send_signal(signal.SIGUSR1)
            while not (line := daemon.stderr.readline()).endswith("it has no state yet.\n"):
                assert line, said
                said += line
        daemon.send_signal(signal.SIGTERM)
        daemon.communicate(timeout=PATIENCE_S)
        assert daemon.returncode == 128 + signal.SIGTERM


def test_a_log_that_was_moved_away_is_begun_anew_at_sighup(tmp_path: Path) -> None:
    make_tables(tmp_path / "tables", {"alf/a.times.npy": b"a"})
    with Mounted(tmp_path / "tables", tmp_path) as mount:
        (log,) = (mount.cache / ".onefs").glob("onefs-*.log")
        subprocess.run(["mv", log, tmp_path / "old"], check=True)
        log.touch()  # as logrotate's "create" does
        os.kill(mount.pid, signal.SIGHUP)
        wait_until(lambda: "Refreshing at SIGHUP" in log.read_text(), "the new file is written to")
    assert "Refreshing" not in (tmp_path / "old").read_text()
