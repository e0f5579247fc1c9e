"""Owns one run of the benchmarks: its directory, its sizes, how time is taken, and that nothing is left mounted."""

import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import ONEFS, Bar, Figure, Report

PROGRAMS = Path(__file__).parent / "programs"
PEERS = ("rclone", "curl", "nginx")
DROP_CACHES = Path("/proc/sys/vm/drop_caches")
TABLES_PREFIX = "tables-"
ADAPTER_VARIABLE = "ONEFS_KERNEL_ADAPTER"
ADAPTERS = ("session", "pyfuse3")


class BenchFailedError(RuntimeError):
    """A command, a server or a mount that does not do its part."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each work is done."""

    datasets: int = 5_000_000
    sessions: int = 100_000
    fewer_datasets: int = 210_000
    fewer_sessions: int = 13_000
    entries: int = 125_000
    files: int = 2_000
    file_bytes: int = 10_000
    big_mib: int = 1024
    readers: int = 8
    changed: int = 1_000
    repeat: int = 3
    quiet_s: int = 5
    huge_gib: int = 100
    places: int = 200
    in_order_mib: int = 2048
    tree_files: int = 1_000_000
    tree_sessions: int = 20_000
    hash_mib: int = 6144
    blocked_opens: int = 120
    blocked_reads: int = 500
    far_files: int = 400
    round_trip_ms: int = 50


QUICK = Sizes(
    datasets=20_000,
    sessions=400,
    fewer_datasets=5_000,
    fewer_sessions=300,
    entries=5_000,
    files=60,
    big_mib=16,
    changed=50,
    repeat=1,
    quiet_s=1,
    huge_gib=1,
    places=10,
    in_order_mib=64,
    tree_files=2_000,
    tree_sessions=40,
    hash_mib=300,
    blocked_opens=12,
    blocked_reads=30,
    far_files=60,
    round_trip_ms=10,
)


@dataclass(slots=True)
class Bench:
    """What the works share. `run_dir` is removed at the end; `kept_dir` outlives the run if the user named it.

    `out_dir` is in memory if there is room. `base` is the revision with which the size of the code is compared.
    With `compared`, an adapter, onefs's figures are those of a peer: what is measured once more through that adapter.
    """

    run_dir: Path
    kept_dir: Path
    out_dir: Path
    sizes: Sizes
    one_large: bool
    base: str
    report: Report
    compared: str = ""

    @property
    def is_quick(self) -> bool:
        """Whether this run only tries whether the works run."""
        return not self.report.judges

    def say(self, text: str) -> None:
        """Tell on standard error what is going on."""
        print(f"… {text}", file=sys.stderr, flush=True)

    def add(
        self,
        work: str,
        what: str,
        who: str,
        samples: Sequence[float],
        unit: str,
        bar: Bar | None = None,
        note: str = "",
    ) -> Figure:
        """Report the median of some runs. When they are run again to be compared, the peers' are not reported again."""
        value = statistics.median(samples)
        if self.compared:
            figure = Figure(
                work, what, through(self.compared) if who == ONEFS else who, value, unit, None, tuple(samples)
            )
            if who == ONEFS:
                self.report.figures.append(figure)
            return figure
        figure = Figure(work, what, who, value, unit, bar, tuple(samples), note)
        self.report.figures.append(figure)
        verdict = self.report.verdict(figure)
        self.say(f"{work}: {what}, {who}: {value:.4g} {unit}{f' ({verdict})' if verdict else ''}")
        return figure

    def add_ratio(
        self, work: str, what: str, samples: Sequence[float], to: Sequence[float], bar: Bar | None, note: str = ""
    ) -> None:
        """Report the median of the ratios of runs to those that were made in turn with them."""
        ratios = [value / other for value, other in zip(samples, to, strict=True) if other]
        if ratios:
            self.add(work, what, ONEFS, ratios, "×", bar, note)

    def has(self, program: str, work: str) -> bool:
        """Whether a peer is installed; the report says so if it is not."""
        if find_program(program):
            return True
        self.report.note(f"{work}: {program} is missing, so it was not measured. Install it: scripts/setup.sh bench")
        return False

    def fresh(self, name: str) -> Path:
        """A new empty directory of this run, on the disk."""
        return Path(tempfile.mkdtemp(dir=self.run_dir, prefix=f"{name}-"))

    def fresh_in_memory(self, name: str) -> Path:
        """A new empty directory of this run, in memory if there is room."""
        return Path(tempfile.mkdtemp(dir=self.out_dir, prefix=f"{name}-"))

    def clear(self) -> None:
        """Remove what the last work left, but for tables."""
        for directory in (*self.run_dir.iterdir(), *self.out_dir.iterdir()):
            if not directory.name.startswith(TABLES_PREFIX):
                shutil.rmtree(directory, ignore_errors=True)


def through(adapter: str) -> str:
    """How onefs is called in the report when it is a peer of itself, with another adapter to the kernel."""
    return f"{ONEFS}, {adapter}"


def find_program(name: str) -> str | None:
    """Path of a program; the superuser's directories are searched too."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def run(command: Sequence[str | Path], out: Path | None = None) -> float:
    """Run a command to its end, its output into a file or thrown away; seconds. Raises `BenchFailedError`."""
    with (out or Path(os.devnull)).open("wb") as stream:
        start = time.perf_counter()
        done = subprocess.run([str(word) for word in command], stdout=stream, stderr=subprocess.PIPE, check=False)
        elapsed = time.perf_counter() - start
    if done.returncode:
        raise BenchFailedError(f"{' '.join(map(str, command))} failed: {done.stderr.decode(errors='replace').strip()}")
    return elapsed


def cat_all(path: Path, count: int, readers: int = 1) -> float:
    """Seconds that so many readers at once take for all files below a path, `count` of them, each a part in order."""
    share = str(-(-count // readers))
    script = 'find "$1" -name "*.npy" -print0 | xargs -0 -P "$2" -n "$3" cat'
    return run(["sh", "-c", script, "sh", path, str(readers), share])


def drop_caches() -> bool:
    """Have the kernel forget what it holds of files, of the whole machine; False if this user may not."""
    os.sync()
    try:
        DROP_CACHES.write_text("3")
    except OSError:
        return False
    return True


def python(program: str, *arguments: str | Path) -> list[str]:
    """A command that runs one of our own small programs in a process of its own."""
    return [sys.executable, str(PROGRAMS / program), *map(str, arguments)]


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory / 1e9, 1),
        "load_at_start": os.getloadavg(),
        "peers": {name: _version(name) for name in PEERS},
    }


def _version(name: str) -> str:
    program = find_program(name)
    if program is None:
        return "missing"
    flag = {"nginx": "-v", "rclone": "version"}.get(name, "--version")
    done = subprocess.run([program, flag], capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).splitlines()[0]
