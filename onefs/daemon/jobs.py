"""The jobs of one mount: those under way, and for a while those that ended."""

import itertools
import threading
import time
from typing import Any

from onefs.daemon.job import Job
from onefs.daemon.work import Work
from onefs.errors import UsageError
from onefs.threads import Workers

THREADS = 64
LOOKED_AT_EVERY_S = 0.5
KEPT, KEPT_S = 20, 60.0
"""How many that ended are told of, and for how long each is at least."""


class Jobs:
    """Begins jobs, keeps them, and ends them. Safe to use from several threads."""

    def __init__(self, fetches_at_once: int = THREADS) -> None:
        """A job may fetch so many files at once."""
        # Apart, so that no local file waits behind a server.
        threads = {True: THREADS, False: max(THREADS, fetches_at_once)}
        self._workers = {is_local: Workers("onefs-job", limit) for is_local, limit in threads.items()}
        self._numbers = itertools.count(1)
        self._ended = threading.Event()
        self._lock = threading.Lock()  # guards the two below, and how many want each job
        self._jobs: list[Job] = []
        self._looks = False

    def start(self, work: Work) -> Job:
        """Begin with some work. The same that is under way already is not begun a second time: it is wanted by more."""
        with self._lock:
            for job in self._jobs:
                if job.key == work.key and not job.is_over:
                    job.askers += 1
                    return job
            job = Job(next(self._numbers), work, self._workers[work.is_local], self._ended.set)
            self._jobs = [*self._kept(), job]
            begins_to_look, self._looks = not self._looks, True
        job.begin()
        if begins_to_look:
            threading.Thread(target=self._look, name="onefs-jobs", daemon=True).start()
        return job

    def stop(self, number: int) -> None:
        """End a job that is under way. Raises `UsageError` if there is none of that number."""
        with self._lock:
            self._under_way(number).stop()

    def leave(self, number: int) -> None:
        """One of those who asked for a job wants it no more; it ends with the last. Raises `UsageError` as `stop`."""
        with self._lock:  # so that nobody joins a job that is about to end
            job = self._under_way(number)
            job.askers -= 1
            if not job.askers:
                job.stop()

    def all(self) -> list[Job]:
        """Those under way, and those that ended lately; the oldest first."""
        with self._lock:
            return self._jobs.copy()

    @property
    def n_under_way(self) -> int:
        """How many jobs have not ended."""
        return sum(not job.is_over for job in self.all())

    def facts(self) -> list[dict[str, Any]]:
        """How they are, as JSON values."""
        return [job.facts() for job in self.all()]

    def close(self) -> None:
        """End all."""
        for job in self.all():
            job.stop()
        for workers in self._workers.values():
            workers.close()

    def _under_way(self, number: int) -> Job:
        for job in self._jobs:
            if job.number == number and not job.is_over:
                return job
        raise UsageError(f"No job {number} is under way.", "Look up the number of the job: onefs status.")

    def _kept(self) -> list[Job]:
        ended = [job for job in self._jobs if job.is_over]
        old = [job for job in ended[: max(len(ended) - KEPT, 0)] if job.ended_s < time.time() - KEPT_S]
        return [job for job in self._jobs if job not in old]

    def _look(self) -> None:
        """Measure how fast those under way go, until there are none."""
        while True:
            under_way = [job for job in self.all() if not job.is_over]
            with self._lock:
                if not under_way and all(job.is_over for job in self._jobs):
                    self._looks = False
                    return
            for job in under_way:
                job.look()
            self._ended.wait(LOOKED_AT_EVERY_S)
            self._ended.clear()
