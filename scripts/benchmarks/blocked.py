"""The work `blocked`: how long others wait while many opens, or many reads, wait for a server that has stalled."""

import itertools
import os
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.archive import make_archive
from benchmarks.bench import Bench, BenchFailedError, python, run
from benchmarks.distance import Stalling
from benchmarks.figures import ONEFS, at_most
from benchmarks.mounts import PATIENCE_S, OnefsMount
from benchmarks.nginx import Nginx

WORK = "blocked"
BAR_MS = at_most(15)
LOOKS, QUICK_LOOKS = 100, 10
PAUSE_S = 0.01  # so that a look waits for the file system, and not for a processor
FILE_BYTES = 100_000
PER_FOLDER = 5
IDLE_S = 1.0
LONG = "1h"


def measure(bench: Bench) -> None:
    """Opens that wait for their fetch; then reads of files whose open did not wait."""
    if not bench.has("nginx", WORK):
        return
    looks = QUICK_LOOKS if bench.is_quick else LOOKS
    for what, count, open_wait in (
        ("opens", bench.sizes.blocked_opens, LONG),
        ("reads", bench.sizes.blocked_reads, "0"),
    ):
        archive = make_archive(bench.fresh(WORK), count + looks, FILE_BYTES, PER_FOLDER)
        names = [dataset.path for dataset in archive.datasets]
        listed_ms, read_ms, cpu_ms = [], [], []
        with Nginx(archive.served) as server:
            for _ in range(bench.sizes.repeat):
                with Stalling(server.url) as stalling:
                    flags = ("--data-url", stalling.url, "--open-wait", open_wait, "--read-timeout", LONG)
                    with OnefsMount(archive.tables, bench.fresh(WORK), *flags, "--prefetch", "off") as mount:
                        waiting, verified = (
                            [mount.path / name for name in part] for part in (names[:count], names[count:])
                        )
                        run(["cat", *verified])
                        stalling.stall()
                        with Waiting(waiting) as blocked:
                            time.sleep(IDLE_S)  # until all of them wait
                            cpu_ms.append(_cpu_ms_a_second(mount))
                            longest_ms = _longest_ms(sorted({file.parent for file in waiting}), verified)
                            blocked.check_all_wait()
                listed_ms.append(longest_ms[0])
                read_ms.append(longest_ms[1])
        beside = f"beside {count} {what} that wait"
        bench.add(WORK, f"ls {beside}", ONEFS, listed_ms, "ms", BAR_MS, f"the longest of {looks}")
        bench.add(WORK, f"a verified file {beside}", ONEFS, read_ms, "ms", BAR_MS, f"the longest of {looks}")
        bench.add(WORK, f"CPU a second with {count} {what} that wait", ONEFS, cpu_ms, "ms")


def _cpu_ms_a_second(mount: OnefsMount) -> float:
    """How much CPU time the daemon uses a second while nothing happens."""
    before_s = mount.cpu_s()
    time.sleep(IDLE_S)
    return (mount.cpu_s() - before_s) * 1e3 / IDLE_S


def _longest_ms(folders: list[Path], files: list[Path]) -> tuple[float, float]:
    """The longest time that listing one of the folders took, and reading one of the files, in turn."""
    listed_s, read_s = 0.0, 0.0
    for folder, file in zip(itertools.cycle(folders), files, strict=False):
        time.sleep(PAUSE_S)
        start = time.perf_counter()
        os.listdir(folder)
        between = time.perf_counter()
        file.read_bytes()
        read_s = max(read_s, time.perf_counter() - between)
        listed_s = max(listed_s, between - start)
    return listed_s * 1e3, read_s * 1e3


class Waiting:
    """A context in which a program has opened some files, all at once, and wants the first byte of each."""

    def __init__(self, files: list[Path]) -> None:
        self._files = files

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            python("waiting.py"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, text=True
        )
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("".join(f"{file}\n" for file in self._files) + "\n")
        self._process.stdin.flush()
        self._process.stdout.readline()
        return self

    def check_all_wait(self) -> None:
        """Raise `BenchFailedError` unless each file is still waited for."""
        waiting = len(os.listdir(f"/proc/{self._process.pid}/task")) - 1
        if waiting != len(self._files):
            raise BenchFailedError(f"Of {len(self._files)} files {waiting} were waited for.")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate(timeout=PATIENCE_S)
