"""`onefs status --watch`: the screen for mounts at work, and the live view on a terminal and in a pipe."""

import os
import pty
import select
import subprocess
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from archives import make_tables
from mounted import ONEFS, Mounted, is_alive
from waiting import PATIENCE_S, wait_until

from onefs.cli.watch_screen import Rates, mount_lines, screen, sparkline
from onefs.monitoring.styled import plain

NOW_S = 1_767_348_000.0
LABS = [{"lab": f"lab{number}", "bytes": 1_000_000 * (9 - number), "files": number + 1} for number in range(8)]
PROGRAMS = [{"program": f"python3 job{number}", "fetched_files": number, "read_bytes": 5_000} for number in range(8)]
TRANSFER = {
    "path": "lab/Subjects/mouse/2024-01-02/001/alf/spikes.times.npy",
    "done_bytes": 5,
    "total_bytes": 10,
    "rate_bytes_per_s": 1_200_000,
    "left_s": 12.0,
    "host": "data.example.org",
}


def facts(**more: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "pid": 1,
        "source": "archive",
        "mountpoint": "/mnt/ibl",
        "started": "2026-01-02T07:00:00Z",
        "mode": {"requested": "auto", "effective": "auto"},
        "tables": {
            "tag": "",
            "checked": None,
            "saved": None,
            "expired": False,
            "created": "2026-01-01 09:00",
            "sessions": 1,
            "datasets": 1,
            "left_out": {},
        },
        "cache": {
            "used_bytes": 0,
            "used_files": 0,
            "most_bytes": 0,
            "kept_free_bytes": 0,
            "evicted_files": 0,
            "pinned_files": 0,
            "labs": LABS,
            "free_bytes": 1_000_000_000,
        },
        "passed_over": [],
        "transfers": [],
        "totals": {"files_fetched": 0, "bytes_fetched": 0, "failures": 0},
        "requests": {"database": 10, "data": 0},
        "shown": {"view": "full", "as_of": None, "qc": "FAIL", "ignore_qc_not_set": False},
        "jobs": [],
        "recording": {"recordings": []},
        "errors": [],
        "log": "/log",
    }
    return known | more


def text_of(told: dict[str, Any], rates: Rates | None = None, width: int = 80, height: int = 40) -> list[str]:
    return [plain(line).rstrip() for line in mount_lines(told, rates or Rates(), width, height, NOW_S)]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (100, 30)])
def test_a_busy_mount_fits_the_terminal(width: int, height: int) -> None:
    busy = facts(transfers=[TRANSFER] * 256, programs=PROGRAMS)
    lines = screen([busy], {"/mnt/ibl": Rates()}, width, height, NOW_S, "q ends")
    assert len(lines) <= height
    assert max(len(plain(line).rstrip()) for line in lines) <= width
    text = "\n".join(map(plain, lines))
    for part in ("archive at /mnt/ibl", "256, 307.2 MB/s", "50%", "cache by lab", "lab0", "q ends"):
        assert part in text


def test_labs_and_programs_stand_side_by_side_where_there_is_room() -> None:
    (wide,) = [line for line in text_of(facts(programs=PROGRAMS), width=120) if "lab0" in line]
    assert "python3 job0" in wide
    narrow = text_of(facts(programs=PROGRAMS), width=80)
    assert not [line for line in narrow if "lab0" in line and "job0" in line]
    assert "  and 2 more" in narrow


def test_rates_are_of_the_time_between_two_looks() -> None:
    rates = Rates()
    rates.take(facts(), NOW_S - 2)
    later = facts(totals={"files_fetched": 1, "bytes_fetched": 3_000_000, "failures": 0}, requests={"database": 20})
    rates.take(later, NOW_S)
    text = "\n".join(text_of(later, rates))
    assert "network    1.5 MB/s" in text
    assert "asked      database 5.0/s" in text


def test_a_daemon_that_was_started_again_is_told_and_has_no_negative_rates() -> None:
    rates = Rates()
    rates.take(facts(requests={"database": 1000}), NOW_S - 10)
    rates.take(facts(pid=2), NOW_S - 5)
    rates.take(facts(pid=2), NOW_S)
    text = "\n".join(text_of(facts(pid=2), rates))
    assert "The daemon was started again 5 s ago." in text
    assert "database 0.0/s" in text


def test_two_mounts_share_the_screen_and_a_dead_one_takes_little() -> None:
    dead = {"mountpoint": "/mnt/dead", "source": "other", "problem": "The daemon of /mnt/dead has died. Clean up."}
    rates = {"/mnt/ibl": Rates(), "/mnt/dead": Rates()}
    lines = [plain(line) for line in screen([facts(), dead], rates, 80, 40, NOW_S, "note")]
    assert "archive at /mnt/ibl" in lines
    assert "  state      The daemon of /mnt/dead has died. Clean up." in lines


@pytest.mark.parametrize(("values", "drawn"), [([], ""), ([0, 0], ""), ([0, 4, 8], " ▄█")])
def test_a_sparkline(values: list[float], drawn: str) -> None:
    assert sparkline(values) == drawn


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, *words: str | Path) -> None:
        self._master, slave = pty.openpty()
        self.said = ""
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *ONEFS, *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm"},
        )
        os.close(slave)

    def wait_for(self, words: str) -> None:
        """Read until the words were said since the last time."""
        end_s = time.monotonic() + PATIENCE_S
        while words not in self.said:
            assert time.monotonic() < end_s, self.said
            if select.select([self._master], [], [], 1)[0]:
                self.said += os.read(self._master, 65536).decode(errors="replace")
        self.said = ""

    def key(self, key: bytes) -> None:
        os.write(self._master, key)

    def end(self) -> int:
        """The exit code, once it has ended."""
        while self.process.poll() is None:
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    os.read(self._master, 65536)
                except OSError:
                    break
        code = self.process.wait(PATIENCE_S)
        os.close(self._master)
        return code


@pytest.fixture
def mount(tmp_path: Path) -> Mounted:
    make_tables(tmp_path / "tables", {"alf/a.b.npy": b"spikes"})
    return Mounted(tmp_path / "tables", tmp_path)


def test_the_live_view_outlives_its_mount_and_ends_with_q(mount: Mounted) -> None:
    with mount:
        terminal = Terminal("status", "--watch", "0.1", mount.path)
        terminal.wait_for("state      ")
        mount.stop()
        terminal.wait_for("It is not mounted any more.")
        mount.start()
        terminal.wait_for("The daemon was started again")
        terminal.key(b"q")
        assert terminal.end() == 0


def test_ctrl_c_ends_the_live_view_of_a_daemon_that_died(mount: Mounted) -> None:
    mount.start()
    try:
        terminal = Terminal("status", mount.path, "--watch", "0.1")
        terminal.wait_for("state      ")
        mount.kill()
        terminal.wait_for("has died")
        terminal.key(b"\x03")
        assert terminal.end() == 0
    finally:
        subprocess.run([*ONEFS, "umount", mount.path], check=True)


def test_in_a_pipe_one_report_follows_another(mount: Mounted) -> None:
    with mount:
        words = [*ONEFS, "status", "--watch", "0.1", mount.path]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = list(islice(process.stdout, 100))
            process.terminate()
        wait_until(lambda: not is_alive(process.pid), "it has ended")
        assert process.returncode == 0
        assert sum(line.startswith(str(mount.source)) for line in lines) > 1
        assert "\x1b" not in "".join(lines)
