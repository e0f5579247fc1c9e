"""Owns the work `open`: open, read 4 kB, close of many small files that are in the cache and verified."""

import json
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.archive import Archive, make_archive
from benchmarks.bench import Bench, python
from benchmarks.figures import ONEFS, at_least
from benchmarks.mounts import OnefsMount, RcloneMount
from benchmarks.nginx import Nginx

WORK = "open"
BAR = at_least(12_000)
REMOUNTED_BAR = at_least(6_000)
WARM = "kernel cache warm"
REMOUNTED = "first time after a remount"
SINGLE = "one file of 1 kB"
ONE_FILES = 20
ONE_NOTE = "load_dataset with download_only"
UNIT = "files/s"


def measure(bench: Bench) -> None:
    """onefs warm and after a remount, the same files on the disk and through rclone; single ones through ONE too."""
    if not bench.has("nginx", WORK):
        return
    home = bench.fresh(WORK)
    archive = make_archive(home, bench.sizes.files, bench.sizes.file_bytes)
    plain = [dataset.path for dataset in archive.datasets]
    served = [str(path.relative_to(archive.served)) for path in sorted(archive.served.rglob("*.npy"))]
    with Nginx(archive.served) as server:
        cache = _measure_onefs(bench, archive, server.url, home, plain)
        bench.add(WORK, WARM, "local disk", [_rate(cache, plain) for _ in range(bench.sizes.repeat)], UNIT)
        if bench.has("rclone", WORK):
            with RcloneMount(server.url, home) as mount:
                _rate(mount.path, served)
                rates = [_rate(mount.path, served) for _ in range(bench.sizes.repeat)]
            bench.add(WORK, WARM, "rclone", rates, UNIT)
    _measure_single(bench)


def _measure_onefs(bench: Bench, archive: Archive, url: str, home: Path, plain: Sequence[str]) -> Path:
    flags = ("--data-url", url)
    with OnefsMount(archive.tables, home, *flags) as mount:
        _rate(mount.path, plain)
        mount.settle()
    remounted, cpu_ms, warm = [], [], []
    for _ in range(bench.sizes.repeat):
        with OnefsMount(archive.tables, home, *flags) as mount:
            before_s = mount.cpu_s()
            remounted.append(_rate(mount.path, plain))
            cpu_ms.append((mount.cpu_s() - before_s) * 1e3 / len(plain))
            warm += [_rate(mount.path, plain) for _ in range(bench.sizes.repeat)]
    bench.add(WORK, WARM, ONEFS, warm, UNIT, BAR, f"{len(plain)} files, a loop of os.open, pread, close")
    bench.add(WORK, REMOUNTED, ONEFS, remounted, UNIT, REMOUNTED_BAR, "paths looked up, state read")
    bench.add(WORK, f"{REMOUNTED}, CPU a file", ONEFS, cpu_ms, "ms")
    return mount.cache


def _rate(root: Path, paths: Sequence[str]) -> float:
    """Files per second in one process."""
    names = "\n".join(f"{root}/{path}" for path in paths)
    done = subprocess.run(python("open_loop.py"), input=names, capture_output=True, text=True, check=True)
    return len(paths) / float(done.stdout)


def _measure_single(bench: Bench) -> None:
    """One verified file at a time, as a person's script has it: after a remount, so that nobody opened it before."""
    home = bench.fresh(WORK)
    count = min(ONE_FILES, bench.sizes.files)
    archive = make_archive(home, count, 1_000)
    with Nginx(archive.served) as server:
        flags = ("--data-url", server.url)
        with OnefsMount(archive.tables, home, *flags) as mount:
            _rate(mount.path, [dataset.path for dataset in archive.datasets])
            mount.settle()
        with OnefsMount(archive.tables, home, *flags) as mount:
            ours_ms = [1e3 / _rate(mount.path, [dataset.path]) for dataset in archive.datasets]
            cache = mount.cache
    bench.add(WORK, SINGLE, ONEFS, ours_ms, "ms", note="its first time after a remount")
    times_s = _one_times_s(bench, archive, cache)
    if times_s:
        figure = bench.add(WORK, SINGLE, "ONE-api", [time_s * 1e3 for time_s in times_s], "ms", note=ONE_NOTE)
        ratio = figure.value / statistics.median(ours_ms)
        bench.add(WORK, f"{SINGLE}, times faster than ONE-api", ONEFS, [ratio], "×", at_least(100))


def _one_times_s(bench: Bench, archive: Archive, cache: Path) -> list[float]:
    """Seconds that ONE takes for each of some files; none if it is not installed."""
    wanted = "\n".join(f"{dataset.eid} {dataset.rel_path}" for dataset in archive.datasets[:ONE_FILES])
    done = subprocess.run(
        python("one_open.py", cache, archive.tables), input=wanted, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        bench.report.note(f"{WORK}: ONE-api was not measured: {last}")
        return []
    times_s: list[float] = json.loads(done.stdout.splitlines()[-1])[1:]  # its first call imports and compiles
    return times_s
