"""scripts/bench, at sizes that show that it runs."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

BENCH = Path(__file__).parents[2] / "scripts" / "bench"
PACKAGE = Path(__file__).parents[2] / "onefs"


def mounts_below(directory: Path) -> list[str]:
    """What is mounted in a directory."""
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if f" {directory}/" in line]


def run_bench(folder: Path, *words: str) -> tuple[dict[str, Any], str]:
    """The report as JSON, and what was printed; nothing is left mounted."""
    report = folder / "report.json"
    command = [BENCH, *words, "--quick", "--work", folder / "work", "--json", report]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert not mounts_below(folder)
    return json.loads(report.read_text()), done.stdout


def figures_of(facts: dict[str, Any]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The figures by work, what was done and by whom."""
    return {(figure["work"], figure["what"], figure["who"]): figure for figure in facts["figures"]}


def test_measures_the_bytes_of_files_beside_its_peers(tmp_path: Path) -> None:
    """In one run, which is enough to see that each work runs, and that it measures what it says."""
    works = ("open", "roundtrip", "blocked", "cold", "far", "large", "huge", "path", "size")
    sizes = ("--files", "4", "--far-files", "4", "--round-trip-ms", "100", "--readers", "2", "--big-mib", "4")
    sizes += ("--blocked-opens", "3", "--blocked-reads", "5")
    facts, printed = run_bench(tmp_path, *works, *sizes, "--base", "HEAD")
    figures = figures_of(facts)
    assert {work for work, _, _ in figures} == set(works)
    for work, what, who in (
        ("open", "first time after a remount", "onefs"),
        ("open", "one file of 1 kB", "ONE-api"),
        ("roundtrip", "stat of a file", "onefs"),
        ("roundtrip", "stat of a name that is absent", "pyfuse3 alone"),
        ("blocked", "ls beside 3 opens that wait", "onefs"),
        ("blocked", "a verified file beside 5 reads that wait", "onefs"),
        ("cold", "one reader of small files", "onefs"),
        ("cold", "2 readers of small files", "rclone"),
        ("far", "onefs fetch of small files", "onefs"),
        ("large", "cp of a large file, cache in memory", "curl -o"),
        ("large", "cp of a large file, cache on disk, to rclone", "onefs"),
        ("huge", "read from its beginning, to curl's rate", "onefs"),
        ("huge", "random places, bytes sent to bytes read", "onefs"),
    ):
        assert figures[work, what, who]["value"] > 0, what
        assert what in printed
    ours, theirs = (figures["cold", "one reader of small files", who] for who in ("onefs", "rclone"))
    assert theirs["onefs_to_this"] == pytest.approx(ours["value"] / theirs["value"])
    bar = figures["cold", "one reader of small files, CPU a file", "onefs"]["bar"]
    assert bar == {"limit": 1.0, "at_least": False}
    there_and_back_twice_s = 0.2  # to connect, and for a file
    assert figures["far", "one reader of small files in folders of 50", "onefs"]["value"] > there_and_back_twice_s
    check_code(facts, figures)
    assert [entry.name for entry in (tmp_path / "work").iterdir()] == []


def test_measures_both_adapters_in_one_run(tmp_path: Path) -> None:
    sizes = ("--entries", "300", "--big-mib", "4")
    figures = figures_of(run_bench(tmp_path, "walk", "again", *sizes, "--adapter", "both")[0])
    for what in ("real: find, third time", "real: ls -lR, after that"):
        ours, theirs = (figures["walk", what, who] for who in ("onefs", "onefs, pyfuse3"))
        assert theirs["onefs_to_this"] == pytest.approx(ours["value"] / theirs["value"])
        assert figures["walk", what, "local disk"]["value"] > 0
        assert figures["walk", f"{what}, time to the local disk's", "onefs"]["bar"]["limit"] in (1.5, 5)
    user = "as an ordinary user" if os.geteuid() else "as root"
    for who in ("onefs", "onefs, pyfuse3", "local disk"):
        assert figures["again", f"{user}, read again", who]["value"] > 0


def check_code(facts: dict[str, Any], figures: dict[tuple[str, str, str], dict[str, Any]]) -> None:
    """What is reported of the code itself."""
    modules = [file for name in ("cache", "fetch") for file in (PACKAGE / name).glob("*.py")]
    assert figures["size", "modules of cache and fetch", "onefs"]["value"] == len(modules)
    lines = sum(len(file.read_text().splitlines()) for file in modules)
    assert figures["size", "lines of cache and fetch", "onefs"]["value"] == lines
    whole = figures["size", "lines of the repository", "HEAD"]
    assert whole["value"] > lines
    entered = figures["path", "functions entered by open and read", "onefs"]["value"]
    (names,) = (names for title, names in facts["lists"].items() if title.startswith("path: "))
    assert len(names) == entered
    assert {"fuse.operations:Operations.open", "fuse.operations:Operations.read"} <= set(names)


def test_measures_questions_and_refreshes(tmp_path: Path) -> None:
    # Every 61st size changes 50 times, and so none of the 60 files that are there, which come last.
    sizes = ("--readers", "2", "--datasets", "5000", "--sessions", "100")
    same = ("--fewer-datasets", "5000", "--fewer-sessions", "100", "--one-large")
    figures = figures_of(run_bench(tmp_path, "questions", "refresh", *sizes, *same)[0])
    assert figures["refresh", "requests to the server, no newer tables", "onefs"]["value"] == 1
    assert figures["refresh", "requests of the kernel", "onefs"]["value"] <= 5
    for what in ("longest open, read, close, refreshing", "longest ls, refreshing"):
        assert figures["refresh", what, "onefs"]["value"] > 0
        assert figures["refresh", what, "onefs"]["bar"]["limit"] == 50
    assert figures["questions", "by subject: 5 000 datasets", "onefs"]["bar"]["limit"] == 0.05
    for name in ("by subject", "by date", "by file name", "by two file names, QC"):
        ours, theirs = (figures["questions", f"{name}: 5 000 datasets", who] for who in ("onefs", "ONE-api"))
        assert ours["value"] > 0
        assert theirs["onefs_to_this"] == pytest.approx(ours["value"] / theirs["value"])
        assert ours["note"] == theirs["note"] != "finds 0 sessions"
    left = [entry.name for entry in (tmp_path / "work").iterdir()]
    assert left
    assert all(name.startswith("tables-") for name in left)


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
    assert (
        "none of index, walk, roundtrip, open, warm, again, blocked, cold, far, large, dropped, huge, questions, "
        "folder, size, path, refresh" in done.stderr
    )
