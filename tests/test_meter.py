"""How fast a transfer is told to be."""

from archive_and_cache import Clock

from onefs.meter import Meter


def run(meter: Meter, clock: Clock, *, rate: int, seconds: int, from_bytes: int = 0) -> int:
    """Let so many bytes a second come, in ten pieces each."""
    done = from_bytes
    for _ in range(seconds * 10):
        clock.now_s += 0.1
        done += rate // 10
        meter.reach(done)
    return done


def test_the_rate_is_that_of_the_last_seconds() -> None:
    clock = Clock()
    meter = Meter(clock)
    done = run(meter, clock, rate=1000, seconds=60)
    assert abs(meter.rate_per_s - 1000) < 50
    done = run(meter, clock, rate=50_000, seconds=6, from_bytes=done)
    assert abs(meter.rate_per_s - 50_000) < 2500
    left_s = meter.left_s(500_000)
    assert left_s is not None
    assert 9 < left_s < 11


def test_what_came_at_another_time_is_no_speed() -> None:
    clock = Clock()
    meter = Meter(clock)
    clock.now_s += 1
    meter.reach(10_000_000_000)  # goes on where an earlier try ended
    run(meter, clock, rate=1000, seconds=3, from_bytes=10_000_000_000)
    assert meter.rate_per_s < 1100
    meter.reach(0)  # begins anew
    run(meter, clock, rate=1000, seconds=3)
    assert 900 < meter.rate_per_s < 1100


def test_nothing_comes_any_more() -> None:
    clock = Clock()
    meter = Meter(clock)
    run(meter, clock, rate=1000, seconds=10)
    clock.now_s += 3
    assert meter.rate_per_s < 600
    clock.now_s += 10
    assert meter.rate_per_s == 0
    assert meter.left_s(1) is None
