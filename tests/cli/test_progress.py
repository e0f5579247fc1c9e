"""Progress: a bar and the time left fit into 80 columns, and what mounting waits for is told from the daemon."""

import io
import logging
import os
import pty
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest
from archives import make_tables
from mounted import ONEFS
from rich.console import Console

from onefs.cli import progress
from onefs.cli.progress import Display, Shown, Word, fitting, moving_line
from onefs.progress import Step, report

WORDS = [Word("12 of 54 files", 2), Word("1.2 GB of 3.4 GB", 3), Word("12.3 MB/s", 4), Word("3 min 20 s left", 0)]
JOB: dict[str, Any] = {
    "command": "fetch northlab/Subjects/NL_001/2023-03-06/001/raw_ephys_data and 3 more",
    "total_files": 54,
    "done_files": 12,
    "done_bytes": 1_200_000_000,
    "total_bytes": 3_400_000_000,
    "rate_bytes_per_s": 12_300_000,
    "left_s": 200.0,
    "files": {"fetched": 9, "failed": 3},
}


def test_where_room_is_scarce_the_time_left_stays() -> None:
    assert fitting(WORDS, 80) == "12 of 54 files, 1.2 GB of 3.4 GB, 12.3 MB/s, 3 min 20 s left"
    assert fitting(WORDS, 50) == "12 of 54 files, 1.2 GB of 3.4 GB, 3 min 20 s left"
    assert fitting(WORDS, 45) == "12 of 54 files, 12.3 MB/s, 3 min 20 s left"
    assert fitting(WORDS, 5) == "3 min 20 s left"
    assert fitting([], 5) == ""


@pytest.mark.parametrize("width", [80, 60, 200])
def test_a_line_keeps_its_bar_and_the_time_left(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    shown = io.StringIO()
    console = Console(file=shown, width=width, force_terminal=True)
    line = moving_line(console)
    task = line.add_task("", total=None, words="")
    monkeypatch.setattr(progress, "_begun", lambda: (line, task))
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    with redirect_stderr(terminal):
        Display().show([JOB])
    with console.capture() as captured:
        console.print(line.get_renderable())
    (text,) = captured.get().splitlines()
    assert "3 min 20 s left" in text
    assert "3 failed" in text
    assert "━━" in text
    assert "fetch nor" in text


def test_elsewhere_than_on_a_terminal_a_line_is_written_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_STEP_EVERY_S", -1.0)
    with redirect_stderr(io.StringIO()) as said, Shown():
        report("downloading cache.zip", 12_000_000, 80_000_000)
        report("building the index of the tables")
    report("nobody hears this")
    assert said.getvalue() == "downloading cache.zip: 12.0 MB of 80.0 MB\nbuilding the index of the tables\n"


class Clock:
    """A clock that is set."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_steps_have_a_rate_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, meter = Clock(), progress.Meter
    monkeypatch.setattr(progress, "PLAIN_STEP_EVERY_S", -1.0)
    monkeypatch.setattr(progress, "Meter", lambda: meter(clock))
    with redirect_stderr(io.StringIO()) as said, Shown():
        for done in (1000, 3000):
            report("listing", done, None, "file")
            clock.now_s += 2
        for done in (500, 1000):
            report("listing again", done, 2000, "file")
            clock.now_s += 1
        for done in (500_000_000, 1_000_000_000):
            report("hashing", done, 2_000_000_000)
            clock.now_s += 4
    assert said.getvalue().splitlines() == [
        "listing: 1000 files",
        "listing: 3000 files, 1000 files/s",
        "listing again: 500 of 2000 files",
        "listing again: 1000 of 2000 files, 500 files/s, 2 s left",
        "hashing: 500.0 MB of 2.0 GB",
        "hashing: 1.0 GB of 2.0 GB, 125.0 MB/s, 8 s left",
    ]


class Terminal(io.StringIO):
    """A file that says that it is a terminal."""

    def isatty(self) -> bool:
        """Whether it is one."""
        return True


def test_a_log_that_begins_while_the_line_moves_keeps_its_long_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with redirect_stderr(Terminal()) as terminal:
        with Shown():
            report("downloading cache.zip")
            handler = logging.StreamHandler(sys.stderr)
        handler.emit(logging.makeLogRecord({"msg": "long " * 40}))
    assert f"{'long ' * 40}\n" in terminal.getvalue()


WITHOUT_A_READER = """
import sys
from onefs.cli import progress
from onefs.cli.main import run
progress.PLAIN_STEP_EVERY_S = -1.0
sys.exit(run(sys.argv[1:]))
"""


def test_a_mount_comes_to_be_though_nobody_reads_its_progress(tmp_path: Path) -> None:
    make_tables(tmp_path / "tables", {"alf/a.times.npy": b"x"})
    (tmp_path / "mnt").mkdir()
    words = ["mount", tmp_path / "tables", tmp_path / "mnt", "--cache-dir", tmp_path / "cache"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", WITHOUT_A_READER, *words], stderr=writer, check=False)
    os.close(writer)
    try:
        assert done.returncode == 0
        assert (tmp_path / "mnt" / "lab").is_dir()
    finally:
        subprocess.run([*ONEFS, "umount", tmp_path / "mnt"], check=False)


def test_a_step_knows_its_share() -> None:
    assert Step("x").share is None
    assert Step("x", 5, 20).share == 0.25
    assert Step("x", 30, 20).share == 1.0


def test_mounting_shows_what_it_waits_for(tmp_path: Path) -> None:
    make_tables(tmp_path / "tables", {"alf/a.times.npy": b"x"})
    (tmp_path / "mnt").mkdir()
    command = [*ONEFS, "mount", tmp_path / "tables", tmp_path / "mnt", "--cache-dir", tmp_path / "cache"]
    master, terminal = pty.openpty()
    done = subprocess.run(command, stderr=terminal, stdout=terminal, check=False, env={**os.environ, "COLUMNS": "80"})
    os.close(terminal)
    said = b""
    while True:
        try:
            said += os.read(master, 1 << 16)
        except OSError:  # all has been read, and nobody is left to write
            break
    os.close(master)
    subprocess.run([*ONEFS, "umount", tmp_path / "mnt"], check=True, capture_output=True)
    assert done.returncode == 0, said
    assert b"building the index of the tables" in said
