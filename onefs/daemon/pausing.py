"""Owns leaving a server in peace for a while after it did not answer."""

import time
from collections.abc import Callable
from typing import TypeVar

from onefs.content.failures import again
from onefs.errors import AccessRefusedError, OnefsError, UnreachableError

PAUSE_S = 15.0
T = TypeVar("T")


class Pausing:
    """Puts questions to one server, but none soon after one that failed for a reason that the next would share.

    So that not every folder and file costs its time-out. Safe to use from several threads.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failure: tuple[OnefsError, float] | None = None  # replaced whole

    def ask(self, question: Callable[[], T]) -> T:
        """The answer. Raises what the question raises, or what one before it did."""
        failure = self._failure
        if failure is not None and self._clock() < failure[1]:
            raise again(failure[0])
        try:
            answer = question()
        except (UnreachableError, AccessRefusedError) as error:
            self._failure = (error, self._clock() + PAUSE_S)
            raise
        self._failure = None
        return answer

    def forget(self) -> None:
        """Let the next question be put at once."""
        self._failure = None
