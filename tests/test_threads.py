"""Worker threads: how many there are."""

import threading

import pytest
from waiting import PATIENCE_S

from onefs import threads
from onefs.threads import Workers


def n_threads(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


@pytest.mark.parametrize(("short_s", "expected"), [(float("inf"), 2), (0.0, 6)])
def test_short_jobs_are_done_by_few_threads(monkeypatch: pytest.MonkeyPatch, short_s: float, expected: int) -> None:
    workers = Workers("test-few", 6, few=2)
    monkeypatch.setattr(threads, "SHORT_S", short_s)
    goes_on, done = threading.Event(), threading.Semaphore(0)

    def job() -> None:
        assert goes_on.wait(PATIENCE_S)
        done.release()

    for _ in range(10):
        assert workers.submit(job)
    assert n_threads("test-few") == expected
    goes_on.set()
    assert all(done.acquire(timeout=PATIENCE_S) for _ in range(10))
    workers.close()
