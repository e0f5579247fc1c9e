"""scripts/bench, at sizes that show that it runs."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from waiting import wait_until

BENCH = Path(__file__).parents[2] / "scripts" / "bench"


def mounts_below(directory: Path) -> list[str]:
    """What is mounted in a directory."""
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if f" {directory}/" in line]


def test_reports_onefs_and_its_peers_as_json_and_as_a_table(tmp_path: Path) -> None:
    work, report = tmp_path / "work", tmp_path / "report.json"
    sizes = ("--entries", "2000", "--files", "3")
    command = [BENCH, "walk", "open", "--quick", *sizes, "--work", work, "--json", report]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    facts = json.loads(report.read_text())
    figures = {(figure["work"], figure["what"], figure["who"]): figure for figure in facts["figures"]}
    ours = figures["walk", "real: fresh mount", "onefs"]
    assert ours["value"] > 0
    assert ours["bar"] == {"limit": 100_000, "at_least": True, "is_aim": False}
    disk = figures["walk", "real: again", "local disk"]
    assert disk["onefs_to_this"] == pytest.approx(figures["walk", "real: again", "onefs"]["value"] / disk["value"])
    assert ("open", "first time after a remount", "onefs") in figures
    assert ("open", "kernel cache warm", "ONE-api") in figures
    assert "real: fresh mount" in done.stdout
    assert not mounts_below(tmp_path)
    left = [entry.name for entry in work.iterdir()]
    assert left
    assert all(name.startswith("tables-") for name in left)


def test_reports_what_a_refresh_costs(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    # Every 61st size changes 50 times, and so none of the 60 files that are there, which come last.
    sizes = ("--readers", "2", "--datasets", "3000", "--sessions", "60")
    command = [BENCH, "refresh", "--quick", *sizes, "--work", tmp_path / "work", "--json", report]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    figures = {(figure["what"], figure["who"]): figure for figure in json.loads(report.read_text())["figures"]}
    assert figures["requests to the server, no newer tables", "onefs"]["value"] == 1
    assert figures["requests of the kernel", "onefs"]["value"] <= 5
    for what in ("longest open, read, close, refreshing", "longest ls, refreshing"):
        assert figures[what, "onefs"]["value"] > 0
        assert figures[what, "onefs"]["bar"]["limit"] == 50
    assert not mounts_below(tmp_path)


def test_reports_how_long_searches_take_and_that_one_finds_as_many_sessions(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [BENCH, "questions", "--quick", "--work", tmp_path / "work", "--json", report]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    figures = {(figure["what"], figure["who"]): figure for figure in json.loads(report.read_text())["figures"]}
    assert figures["by subject: 20 000 datasets", "onefs"]["bar"]["limit"] == 0.05
    for name in ("by subject", "by date", "by file name", "by two file names, QC"):
        ours, theirs = (figures[f"{name}: 5 000 datasets", who] for who in ("onefs", "ONE-api"))
        assert ours["value"] > 0
        assert theirs["onefs_to_this"] == pytest.approx(ours["value"] / theirs["value"])
        assert ours["note"] == theirs["note"] != "finds 0 sessions"


def test_says_which_peers_are_missing(tmp_path: Path) -> None:
    """Nothing but the shell's own tools is to be found, neither in PATH nor where the superuser's programs are."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "env", "dirname", "cat", "dd", "umount"):
        found = next(path for path in map(Path, (f"/usr/bin/{name}", f"/bin/{name}")) if path.exists())
        (tools / name).symlink_to(found)
    report = tmp_path / "report.json"
    command = [BENCH, "warm", "--quick", "--work", tmp_path / "work", "--json", report]
    environment = {**os.environ, "PATH": str(tools)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert any("rclone is missing" in note for note in json.loads(report.read_text())["notes"])
    assert "rclone is missing" in done.stdout
    assert "cat, second time" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_leaves_nothing_behind_when_it_is_interrupted(tmp_path: Path, number: int) -> None:
    work = tmp_path / "work"
    command = [BENCH, "walk", "--quick", "--entries", "2000", "--repeat", "1000", "--work", work]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: mounts_below(work), "something is mounted")
        process.send_signal(number)
        said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130, said
    assert not mounts_below(work)
    assert [entry.name for entry in work.iterdir() if not entry.name.startswith("tables-")] == []


def test_sets_up_what_the_demo_does_not_need(tmp_path: Path) -> None:
    """In a tree in which onefs is installed, and the packages for measurements are not."""
    for folder in ("scripts", ".venv/bin"):
        (tmp_path / folder).mkdir(parents=True)
    bench, set_up, python = (tmp_path / name for name in ("scripts/bench", "scripts/setup.sh", ".venv/bin/python"))
    shutil.copy(BENCH, bench)
    for script in (set_up, python):
        script.write_text('#!/bin/sh\necho "$0" "$@"\n')
        script.chmod(0o755)
    done = subprocess.run([bench, "walk"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{set_up} bench", f"{python} -m benchmarks walk"]
    (tmp_path / ".venv/.installed-test").touch()
    done = subprocess.run([bench, "walk"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{python} -m benchmarks walk"]


def test_refuses_a_work_that_there_is_not(tmp_path: Path) -> None:
    done = subprocess.run([BENCH, "run", "--work", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "none of index, walk, open, warm, cold, dropped, huge, questions, folder, path, refresh" in done.stderr
