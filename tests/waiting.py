"""Waiting for what only looking can tell."""

import time
from collections.abc import Callable

PATIENCE_S = 60.0
"""How long tests wait for what must come: it costs nothing if it comes, and a busy machine may need it."""

SILENCE_S = 1.0
"""The time-out of a client whose server is silent in a test, long enough for what it answers before and after."""


def wait_until(
    condition: Callable[[], object], what: str = "it is so", patience_s: float = PATIENCE_S, pause_s: float = 0.01
) -> None:
    """Return once a condition holds. Raises `AssertionError` if that takes too long."""
    end_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end_s, f"waited in vain until {what}"
        time.sleep(pause_s)
