"""The work `questions`: searches by subject, date, dataset and regular expression, beside ONE's on the same tables."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, BenchFailedError, python
from benchmarks.figures import ONEFS, at_most
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


def measure(bench: Bench) -> None:
    """Large tables with all their bars, then smaller ones."""
    sizes = bench.sizes
    _measure_tables(bench, Made("real", sizes.datasets, sizes.sessions), is_large=True)
    _measure_tables(bench, Made("real", sizes.fewer_datasets, sizes.fewer_sessions), is_large=False)


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


def _ask(who: str, source: Path, state: Path, repeat: int, terms: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What a process of its own measured. Raises `BenchFailedError`."""
    command = python("ask.py", who, source, state, str(repeat))
    done = subprocess.run(command, input=json.dumps(terms), capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchFailedError((done.stderr.strip().splitlines() or ["no reason given"])[-1])
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured
