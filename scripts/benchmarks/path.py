"""The work `path`: which functions of onefs run while a small file is opened and read that has to be fetched."""

import json
import os
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.archive import PER_SESSION, Archive, make_archive
from benchmarks.bench import Bench, BenchFailedError, python
from benchmarks.figures import ONEFS, Figure, at_most
from benchmarks.mounts import OnefsMount, unmount, wait
from benchmarks.nginx import Nginx

WORK = "path"
WHAT = "functions entered by open and read"
BAR = at_most(90)
WARM_UPS = 6
WINDOWS = 5
STRIDE = 17  # between one file and the next, in folders that do not follow one another: nothing is fetched ahead
SETTLING_S = 0.2


def measure(bench: Bench) -> None:
    """Open and read some files, each the first of its folder and fetched for that read; the median counts."""
    if not bench.has("nginx", WORK):
        return
    archive = make_archive(bench.fresh(WORK), 2 * (WARM_UPS + WINDOWS) * PER_SESSION, bench.sizes.file_bytes)
    home = bench.fresh_in_memory(WORK)
    windows, settled = [], []
    with (
        Nginx(archive.served, logs=True) as server,
        ProfiledMount(archive.tables, home, "--data-url", server.url) as mount,
    ):
        for number, file in enumerate(_files(mount.path, archive)):
            is_warm_up = number < WARM_UPS
            names, later = _one(mount, file, settles=not is_warm_up)
            if not is_warm_up:
                windows.append(names)
                settled.append(later)
        if len(server.requests()) < WARM_UPS + WINDOWS:
            raise BenchFailedError("Some file was there before it was read.")
    windows.sort(key=len)
    settled.sort(key=len)
    figure = _add(bench, WHAT, windows, f"{bench.sizes.file_bytes} bytes; in all threads, until read returns")
    bench.report.lists[f"{WORK}: {figure.value:.0f} {WHAT}"] = windows[len(windows) // 2]
    _add(bench, f"{WHAT}, and {SETTLING_S} s later", settled)


def _add(bench: Bench, what: str, windows: list[list[str]], note: str = "") -> Figure:
    bar = BAR if what == WHAT else None
    return bench.add(WORK, what, ONEFS, [len(names) for names in windows], "functions", bar, note)


def _files(root: Path, archive: Archive) -> list[Path]:
    """One file of every other folder, in no order."""
    sessions = len(archive.datasets) // PER_SESSION
    chosen = [
        archive.datasets[session * PER_SESSION + session * STRIDE % PER_SESSION] for session in range(0, sessions, 2)
    ]
    return [root / dataset.path for dataset in chosen[::2] + chosen[1::2]]


def _one(mount: "ProfiledMount", file: Path, *, settles: bool) -> tuple[list[str], list[str]]:
    """What is entered until the read has returned, and what a little later."""
    file.stat()  # the kernel looks its name up
    mount.ask("reset")
    descriptor = os.open(file, os.O_RDONLY)
    read_bytes = len(os.read(descriptor, 1 << 20))
    names = mount.ask("list")
    if settles:
        time.sleep(SETTLING_S)
    later = mount.ask("list")
    os.close(descriptor)
    if not read_bytes:
        raise BenchFailedError(f"{file} is empty.")
    return names, later


class ProfiledMount(OnefsMount):
    """A mount in the foreground of a process that notes which functions of onefs are entered."""

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            python("profiled.py", *self.command[2:]), env=self.environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True, text=True,
        )  # fmt: skip
        try:
            wait(lambda: self.path.is_mount() or self._process.poll() is not None)
            self.pid = self.status()["pid"]
        except (OSError, KeyboardInterrupt):
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        unmount(self.path)
        try:
            self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def ask(self, question: str) -> list[str]:
        """The functions entered since the last `reset`."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{question}\n")
        self._process.stdin.flush()
        names: list[str] = json.loads(self._process.stdout.readline())
        return names
