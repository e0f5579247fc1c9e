"""The work `questions`: searches, lists and loads from Python, and lists on the command line, beside ONE's."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, BenchFailedError, python
from benchmarks.figures import ONEFS, at_least, at_most
from benchmarks.tables import Made, tables

WORK = "questions"
OF_SESSIONS = {
    "by subject": {"subject": "KS-00010"},
    "by date": {"date_range": ["2013-10-22", "2013-10-25"]},
}
OF_DATASETS = {
    "by file name": {"datasets": "spikes.times.npy"},
    "by two file names, QC": {"datasets": ["spikes.times.npy", "_ibl_trials.table.pqt"], "dataset_qc_lte": "PASS"},
}
OF_PATHS = {
    "by part of a path": {"dataset": "spikes.times"},
    "by expression": {"dataset": r"^alf/probe0\d/.*spikes\.(times|amps)\.npy$"},
    "by look-ahead": {"dataset": r"spikes\.(?!times)"},
    "by subject and part of a path": {"subject": "KS-00010", "dataset": "spikes.times"},
}
"""What ONE 3 has no term for."""
LISTS = 50
OBJECT_FILE_BYTES = (80_000, 8_000_000)
IMPORT = "import time; start = time.perf_counter(); import onefs; print(time.perf_counter() - start)"


def measure(bench: Bench) -> None:
    """Large tables with all their bars, then smaller ones, unless they are as large."""
    sizes = bench.sizes
    large = Made("real", sizes.datasets, sizes.sessions)
    both = dict.fromkeys((large, Made("real", sizes.fewer_datasets, sizes.fewer_sessions)))
    for made in both:
        _measure_tables(bench, made, is_large=made == large)
    for made in both:
        _measure_face(bench, made, is_large=made == large)
    _measure_loads(bench)


def _measure_tables(bench: Bench, made: Made, *, is_large: bool) -> None:
    source, state = tables(bench.kept_dir, made), bench.fresh(WORK)
    size = f"{made.datasets:,} datasets".replace(",", " ")
    bench.say(f"{WORK}: making the index of {size}")
    _ask("onefs", source, state, 1, {})
    ours = _ask("onefs", source, state, bench.sizes.repeat, OF_SESSIONS | OF_DATASETS | OF_PATHS)
    for what, seconds in ours["seconds"].items():
        bar = at_most(0.05 if what in OF_SESSIONS else 1.0) if is_large else None
        bench.add(WORK, f"{what}: {size}", ONEFS, seconds, "s", bar, f"finds {ours['found'][what]} sessions")
    bar = at_most(150.0) if is_large else None
    bench.add(WORK, f"private memory: {size}", ONEFS, [ours["private_mb"]], "MB", bar)
    if is_large and not bench.one_large:
        return
    try:
        theirs = _ask("one", source, state, 1, OF_SESSIONS | OF_DATASETS)  # once, for it may take minutes
    except BenchFailedError as error:
        bench.report.note(f"{WORK}: ONE-api was not measured: {error}")
        return
    for what, seconds in theirs["seconds"].items():
        bench.add(WORK, f"{what}: {size}", "ONE-api", seconds, "s", note=f"finds {theirs['found'][what]} sessions")
    bench.add(WORK, f"private memory: {size}", "ONE-api", [theirs["private_mb"]], "MB")


def _measure_face(bench: Bench, made: Made, *, is_large: bool) -> None:
    """From a program's start to a `One`, the datasets of one session, and all of them on the command line."""
    folder = bench.fresh(WORK)
    for table in ("sessions.pqt", "datasets.pqt"):
        (folder / table).hardlink_to(tables(bench.kept_dir, made) / table)
    size = f"{made.datasets:,} datasets".replace(",", " ")
    _face("onefs", folder, 1)  # which makes the index
    with_one = not is_large or bench.one_large
    for who, name in ((ONEFS, "onefs"), ("ONE-api", "one"))[: 1 + with_one]:
        has_bars = is_large and who == ONEFS
        runs = [_face(name, folder, LISTS) for _ in range(bench.sizes.repeat if who == ONEFS else 1)]
        for what, key, unit, limit in (("One ready", "ready_s", "s", 0.3), ("memory of it", "ready_mb", "MB", 150.0)):
            bar = at_most(limit) if has_bars else None
            bench.add(WORK, f"{what}: {size}", who, [run[key] for run in runs], unit, bar, "since exec")
        lists_s = [second for run in runs for second in run["lists_s"]]
        bar = at_most(0.002) if has_bars else None
        bench.add(WORK, f"datasets of a session: {size}", who, lists_s, "s", bar)
    try:
        rates = [made.datasets / _seconds_to_list(folder) for _ in range(bench.sizes.repeat)]
    except BenchFailedError as error:
        bench.report.note(f"{WORK}: {error}")
        return
    bar = at_least(1_000_000.0) if is_large else None
    bench.add(WORK, f"onefs list datasets into a pipe: {size}", ONEFS, rates, "rows/s", bar)


def _measure_loads(bench: Bench) -> None:
    """Objects beside numpy's loads of the same files, and the import."""
    for file_bytes in OBJECT_FILE_BYTES:
        told = _face("object", bench.fresh(WORK), file_bytes, 20 * bench.sizes.repeat)
        what = f"object of 5 files of {file_bytes // 1000} kB, verified"
        bench.add(WORK, what, ONEFS, told["ratios"], "× numpy", at_most(1.2))
    seconds = [float(_last_line([sys.executable, "-c", IMPORT])) for _ in range(bench.sizes.repeat)]
    bench.add(WORK, "import onefs", ONEFS, seconds, "s", at_most(0.15))


def _seconds_to_list(folder: Path) -> float:
    """How long it takes to list all datasets into a pipe that a program reads. Raises `BenchFailedError`."""
    command = [sys.executable, "-m", "onefs.cli.main", "list", "datasets", "--source", str(folder)]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as listing:
        done = subprocess.run(["wc", "-l"], stdin=listing.stdout, capture_output=True, text=True, check=True)
        error = listing.stderr.read() if listing.stderr else ""
    if listing.returncode or not int(done.stdout):
        raise BenchFailedError(f"onefs list datasets failed: {(error.strip().splitlines() or ['nothing listed'])[-1]}")
    return time.perf_counter() - start


def _face(*arguments: object) -> dict[str, Any]:
    """What a process of its own told of the Python face. Raises `BenchFailedError`."""
    told: dict[str, Any] = json.loads(_last_line(python("face.py", *map(str, arguments))))
    return told


def _last_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchFailedError((done.stderr.strip().splitlines() or ["no reason given"])[-1])
    return done.stdout.splitlines()[-1]


def _ask(who: str, source: Path, state: Path, repeat: int, terms: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What a process of its own measured. Raises `BenchFailedError`."""
    command = python("ask.py", who, source, state, str(repeat))
    done = subprocess.run(command, input=json.dumps(terms), capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchFailedError((done.stderr.strip().splitlines() or ["no reason given"])[-1])
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured
