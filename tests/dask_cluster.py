"""A Dask cluster of real processes on loopback, for tests."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from waiting import PATIENCE_S, wait_until

DASK = (sys.executable, "-m", "dask")
WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")
"""Has a process end with the tests, however those end."""


class DaskCluster:
    """A context with a scheduler and workers of one thread each, `processes`. `file` is the scheduler's file."""

    def __init__(self, home: Path, n_workers: int, **environment: str) -> None:
        self.file = home / "scheduler.json"
        self._home = home
        self._n_workers = n_workers
        self._environment = {"PYTHONPATH": os.pathsep.join(sys.path), **environment}
        self._all: list[subprocess.Popen[bytes]] = []
        self.scheduler: subprocess.Popen[bytes]
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        """The address of the scheduler."""
        return str(json.loads(self.file.read_text())["address"])

    def __enter__(self) -> Self:
        words = ("--host", "127.0.0.1", "--port", "0", "--dashboard-address", ":0", "--scheduler-file", str(self.file))
        self.scheduler = self.start([*DASK, "scheduler", *words])
        wait_until(lambda: self.file.exists() and self.file.read_text().endswith("}"))
        for _ in range(self._n_workers):
            self.add_worker()
        return self

    def add_worker(self, *words: str, host: str = "127.0.0.1", **environment: str) -> "subprocess.Popen[bytes]":
        """Start another worker, by `words` if there are any."""
        command = words or (*DASK, "worker")
        options = ("--nthreads", "1", "--no-nanny", "--dashboard-address", ":0", "--host", host)
        worker = self.start([*command, self.address, *options], **environment)
        self.processes.append(worker)
        return worker

    def start(self, words: Sequence[str], **environment: str) -> "subprocess.Popen[bytes]":
        """Start a process that ends with the cluster."""
        self._home.mkdir(exist_ok=True)
        surroundings = {**os.environ, **self._environment, **environment}
        with (self._home / f"{len(self._all)}.log").open("wb") as log:
            process = subprocess.Popen([*WITH_PARENT, *words], stdout=log, stderr=log, cwd=self._home, env=surroundings)
        self._all.append(process)
        return process

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._all):
            process.kill()
            process.wait(PATIENCE_S)
