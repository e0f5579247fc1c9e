"""Owns the worker threads: as many as there is work, up to a limit, and none that holds up the program's end."""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

IDLE_S = 10.0
YIELDING = 10
SHORT_S = 0.01
AVERAGED = 4
"""The average of jobs is over about so many."""
log = logging.getLogger(__name__)


class Workers:
    """Runs jobs in daemon threads. (concurrent.futures would wait for stalled jobs at exit.)"""

    def __init__(self, name: str, limit: int, *, yields: bool = False, few: int = 0) -> None:
        """With `yields`, the jobs leave the processor to whatever else wants it.

        Where `few` is not 0, there are no more threads than that as long as the jobs take little time: more would only
        get in one another's way.
        """
        self._name = name
        self._yields = yields
        self._few = few
        self._job_s = SHORT_S  # of one job, on the average of those that ended last
        self._limit = limit
        self._changed = threading.Condition()  # guards the four below
        self._jobs: deque[Callable[[], None]] = deque()
        self._threads = 0
        self._idle = 0
        self._closed = False

    def submit(self, job: Callable[[], None]) -> bool:
        """Run a job as soon as a thread is free; False if it never will, after `close` or for want of threads."""
        with self._changed:
            if self._closed:
                return False
            self._jobs.append(job)
            limit = self._few if self._few and self._job_s < SHORT_S else self._limit
            if self._idle >= len(self._jobs) or self._threads >= limit:
                self._changed.notify()
                return True
            self._threads += 1
        try:
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        except RuntimeError:
            # The machine gives no more threads: those that run will come to it.
            with self._changed:
                self._threads -= 1
                if not self._threads:
                    self._jobs.remove(job)
                    return False
        return True

    def close(self, *, drops: bool = True) -> None:
        """Drop the jobs that wait, or let them be done, and let the threads end; does not wait for them."""
        with self._changed:
            self._closed = True
            if drops:
                self._jobs.clear()
            self._changed.notify_all()

    def _work(self) -> None:
        try:
            if self._yields:
                with suppress(OSError):  # a sandbox may forbid it
                    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), YIELDING)  # on Linux, one thread's
            while (job := self._next()) is not None:
                began_s = time.monotonic()
                try:
                    job()
                except Exception:
                    log.exception("Unforeseen failure in %s; the other jobs go on", self._name)
                self._job_s += (time.monotonic() - began_s - self._job_s) / AVERAGED
        finally:
            with self._changed:
                self._threads -= 1

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._jobs:
                self._idle += 1
                woken = self._changed.wait(IDLE_S)
                self._idle -= 1
                if not self._jobs and (self._closed or not woken):
                    return None
            return self._jobs.popleft()
