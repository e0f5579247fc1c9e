"""The counts of requests."""

from onefs.fetch.descriptors import Source
from onefs.fuse.counters import BOUNDS_S, OPERATIONS, Counters


def test_durations_fall_into_the_buckets_that_hold_them() -> None:
    counters = Counters()
    for duration_s in (0.0, BOUNDS_S[0], BOUNDS_S[0] * 1.01, BOUNDS_S[-1], 1e6):
        counters.in_progress += 1
        counters.answered("read", duration_s, 0)
    found = dict(counters.durations())
    assert set(found) == set(OPERATIONS)
    assert found["read"].buckets == [2, 1, *[0] * (len(BOUNDS_S) - 3), 1, 1]
    assert found["read"].sum_s == sum((0.0, BOUNDS_S[0], BOUNDS_S[0] * 1.01, BOUNDS_S[-1], 1e6))
    assert not any(found["open"].buckets)
    assert counters.in_progress == 0


def test_failures_are_counted_by_errno() -> None:
    counters = Counters()
    for number in (5, 5, 30, 0, 12345):
        counters.answered("open", 0.0, number)
    assert sorted(counters.failures()) == [("open", "12345", 1), ("open", "EIO", 2), ("open", "EROFS", 1)]


def test_bytes_are_counted_by_their_source() -> None:
    counters = Counters()
    counters.read(Source.CACHE, 3)
    counters.read(Source.CACHE, 4)
    assert counters.read_bytes() == {
        Source.CACHE: 7,
        Source.NETWORK: 0,
        Source.MEMORY: 0,
        Source.CONTROL: 0,
    }
