"""Owns the work `refresh`: what readers notice while newer tables are taken, and what a refresh costs without any."""

import json
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.bench import Bench, BenchFailedError, python, run
from benchmarks.editions import Editions
from benchmarks.figures import ONEFS, at_most
from benchmarks.mounts import ONEFS_PROGRAM, OnefsMount
from benchmarks.nginx import Nginx

WORK = "refresh"
FOLDERS = 400
SETTLING_S = 1.0
BAR_MS = at_most(50.0)
OTHER_READS = 5  # for what else wakes the daemon
WAYS = {"read": "longest open, read, close", "ls": "longest ls"}


def measure(bench: Bench) -> None:
    """Newer tables with some changes while readers read; then a refresh when there are none."""
    if not bench.has("nginx", WORK):
        return
    home = bench.fresh(WORK)
    bench.say(f"{WORK}: making {bench.sizes.datasets} datasets in {bench.sizes.sessions} sessions")
    editions = Editions.of(bench, home)
    with Nginx(editions.archive.served, logs=True) as server, OnefsMount(server.url, home) as mount:
        files = [dataset.path for dataset in editions.archive.datasets]
        folders = [*editions.session_folders(FOLDERS), *sorted({str(Path(file).parent) for file in files})]
        wanted = home / "wanted"
        wanted.write_text("".join(_lines("read", mount.path, files) + _lines("ls", mount.path, folders)))
        run(["cat", *(mount.path / file for file in files)])
        mount.settle()
        for path in folders:
            run(["ls", "-l", mount.path / path])
        _measure_changes(bench, editions, mount, home, files)
        _measure_no_change(bench, server, mount, files)


def _lines(how: str, root: Path, paths: Sequence[str]) -> list[str]:
    return [f"{how} {root / path}\n" for path in paths]


def _measure_changes(bench: Bench, editions: Editions, mount: OnefsMount, home: Path, files: Sequence[str]) -> None:
    on_disk = home / "wanted-on-disk"
    on_disk.write_text("".join(_lines("read", mount.cache, files)))
    quiet, busy, disk, times_s = [], [], [], []
    with Readers(bench, home / "wanted") as readers:
        time.sleep(bench.sizes.quiet_s)
    quiet.append(readers.longest_ms())
    for _ in range(bench.sizes.repeat):
        editions.put_next(bench.sizes.changed)
        with Readers(bench, home / "wanted") as readers, Readers(bench, on_disk, count=1) as control:
            times_s.append(run([ONEFS_PROGRAM, "refresh", mount.path]))
            time.sleep(SETTLING_S)
        if mount.status()["tables"]["created"] != editions.created:
            raise BenchFailedError("The newer tables were not taken.")
        busy.append(readers.longest_ms())
        disk.append(control.longest_ms())
    note = f"{bench.sizes.changed} of {bench.sizes.datasets} datasets changed"
    bench.add(WORK, "onefs refresh", ONEFS, times_s, "s", note=note)
    for how, what in WAYS.items():
        bench.add(WORK, f"{what}, in peace", ONEFS, [one[how] for one in quiet], "ms")
        worst = [max(one[how] for one in busy)]
        bench.add(
            WORK, f"{what}, refreshing", ONEFS, worst, "ms", BAR_MS, f"the worst of {bench.sizes.readers} readers"
        )
    bench.add(WORK, f"{WAYS['read']}, refreshing", "local disk", [max(one["read"] for one in disk)], "ms")


class Readers:
    """A context in which processes read and list what a file names."""

    def __init__(self, bench: Bench, wanted: Path, count: int | None = None) -> None:
        self._wanted = wanted
        self._count = bench.sizes.readers if count is None else count
        self._told: list[dict[str, list[float]]] = []
        self._stack = ExitStack()
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        for number in range(self._count):
            command = python("stalls.py", self._wanted, str(number))
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self._processes.append(self._stack.enter_context(process))
            self._stack.callback(process.kill)
        time.sleep(SETTLING_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if kind is None:
                self._told = [json.loads(process.communicate()[0]) for process in self._processes]

    def longest_ms(self) -> dict[str, float]:
        """How long the slowest of each took, of all readers."""
        return {how: max(told[how][1] for told in self._told) * 1000 for how in WAYS}


def _measure_no_change(bench: Bench, server: Nginx, mount: OnefsMount, files: Sequence[str]) -> None:
    paths = [mount.path / file for file in files]
    _look_at(paths)
    requests = len(server.requests())
    elapsed_s = run([ONEFS_PROGRAM, "refresh", mount.path])
    asked = len(server.requests()) - requests
    before = mount.reads()
    _look_at(paths)
    bench.add(WORK, "no newer tables", ONEFS, [elapsed_s], "s")
    bench.add(WORK, "requests to the server, no newer tables", ONEFS, [asked], "requests", at_most(1))
    forgotten = mount.reads() - before  # each name that the kernel forgot costs one
    note = f"{len(paths)} names looked at, no newer tables"
    bench.add(WORK, "requests of the kernel", ONEFS, [forgotten], "reads", at_most(OTHER_READS), note)


def _look_at(paths: Sequence[Path]) -> None:
    for path in paths:
        path.stat()
