"""Owns when each dataset was last used: in memory at once, on the disk in batches."""

import threading
import time
from collections.abc import Callable
from uuid import UUID

WRITTEN_EVERY_S = 60.0
AGAIN_AFTER_S = 600.0
"""How long a use that was written stands for later ones."""
KEPT_IN_MEMORY = 200_000


class Uses:
    """The last uses of datasets. `write` brings one to the disk, for others who share the cache; it must not raise.

    Safe to use from several threads.
    """

    def __init__(self, write: Callable[[UUID], None]) -> None:
        self._write = write
        self._lock = threading.Lock()  # guards the three below, and the start of the thread
        self._used_s: dict[UUID, float] = {}
        self._written_s: dict[UUID, float] = {}
        self._noted: set[UUID] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, dataset_id: UUID) -> None:
        """A dataset is used now."""
        with self._lock:
            self._used_s[dataset_id] = time.time()
            self._noted.add(dataset_id)
            if self._thread is None and not self._stop.is_set():
                self._start()

    def recent(self) -> dict[UUID, float]:
        """When those used lately were used, of the clock that files have."""
        with self._lock:
            return self._used_s.copy()

    def last_s(self, dataset_id: UUID) -> float:
        """When a dataset was last used here, as far as that is remembered; else 0."""
        return self._used_s.get(dataset_id, 0.0)

    def flush(self, timeout_s: float | None = None) -> None:
        """Bring to disk what was noted, for so long at most."""
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        for dataset_id in self._due():
            if deadline_s is not None and time.monotonic() > deadline_s:
                return
            self._write(dataset_id)

    def close(self, timeout_s: float) -> None:
        """Write what was noted, for so long at most, and end the thread."""
        self._stop.set()
        self.flush(timeout_s)

    def _due(self) -> list[UUID]:
        with self._lock:
            noted, self._noted = self._noted, set()
            due = [
                each
                for each in noted
                if each in self._used_s and self._used_s[each] - self._written_s.get(each, 0.0) > AGAIN_AFTER_S
            ]
            self._written_s.update((each, self._used_s[each]) for each in due)
            for kept in (self._used_s, self._written_s):
                while len(kept) > KEPT_IN_MEMORY:
                    del kept[next(iter(kept))]
            return due

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="onefs-uses", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return  # the machine gives no more threads: the next use tries again
        self._thread = thread

    def _run(self) -> None:
        while not self._stop.wait(WRITTEN_EVERY_S):
            self.flush()
