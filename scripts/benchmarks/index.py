"""Owns the work `index`: the first mount of large tables, the later ones, and the daemon's memory."""

import json
import subprocess
from pathlib import Path

from benchmarks.bench import Bench, python
from benchmarks.figures import ONEFS, Bar, at_most
from benchmarks.mounts import OnefsMount
from benchmarks.tables import Made, tables

WORK = "index"


def measure(bench: Bench) -> None:
    """Large tables with all their bars, then smaller ones."""
    sizes = bench.sizes
    large = Made("real", sizes.datasets, sizes.sessions)
    few = Made("real", sizes.fewer_datasets, sizes.fewer_sessions)
    _measure_tables(bench, large, at_most(1.0), is_large=True)
    _measure_tables(bench, few, at_most(0.6), is_large=False)


def _measure_tables(bench: Bench, made: Made, later: Bar, *, is_large: bool) -> None:
    bench.say(f"{WORK}: making {made.datasets} datasets in {made.sessions} sessions")
    source = tables(bench.kept_dir, made)
    size = f"{made.datasets:,} datasets".replace(",", " ")
    home = bench.fresh(WORK)
    with OnefsMount(source, home) as mount:
        first_s, peak_mb = mount.seconds_to_usable, mount.peak_mb()
    bench.add(WORK, f"first mount, index built: {size}", ONEFS, [first_s], "s", at_most(15.0) if is_large else None)
    bench.add(WORK, f"peak memory of it: {size}", ONEFS, [peak_mb], "MB", at_most(1500.0) if is_large else None)
    times_s, fresh_mb, walked_mb = [], [], []
    for _ in range(max(bench.sizes.repeat, 5) if bench.sizes.repeat > 1 else 1):
        with OnefsMount(source, home) as mount:
            times_s.append(mount.seconds_to_usable)
            fresh_mb.append(mount.private_mb())
    with OnefsMount(source, home) as mount:
        entries = _walk(mount.path, bench.sizes.entries)
        walked_mb.append(mount.private_mb())
    memory = at_most(200.0)
    bench.add(WORK, f"start to usable: {size}", ONEFS, times_s, "s", later, "a later mount")
    bench.add(WORK, f"private memory: {size}", ONEFS, fresh_mb, "MB", memory, "after ls")
    bench.add(WORK, f"private memory, walked: {size}", ONEFS, walked_mb, "MB", memory, f"find over {entries} entries")
    if bench.one_large or not is_large:
        _measure_one(bench, source, size)


def _walk(path: Path, entries: int) -> int:
    """Have find walk until it has named so many entries; how many it named."""
    with subprocess.Popen(["find", str(path)], stdout=subprocess.PIPE) as find:
        assert find.stdout is not None
        named = sum(1 for _, _ in zip(range(entries), find.stdout, strict=False))
        find.kill()
    return named


def _measure_one(bench: Bench, source: Path, size: str) -> None:
    """ONE's start on the same tables, in a process of its own."""
    done = subprocess.run(python("one_load.py", source), capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        bench.report.note(f"{WORK}: ONE-api was not measured: {last}")
        return
    facts = json.loads(done.stdout.splitlines()[-1])
    bench.add(WORK, f"start to usable: {size}", "ONE-api", [facts["seconds"]], "s", note="import and load")
    bench.add(WORK, f"private memory: {size}", "ONE-api", [facts["private_mb"]], "MB")
