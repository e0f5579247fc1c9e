"""`Asking`: asks each question in one thread at a time, again once it has expired, not right after a failure."""

import threading
from collections.abc import Callable, Hashable
from copy import copy
from dataclasses import dataclass, field

from onefs.errors import OnefsError
from onefs.forks import begins_anew_in_children, new_lock


@dataclass(slots=True)
class _Question:
    """What became of one question. `error` is why the last try failed."""

    lock: threading.Lock = field(default_factory=threading.Lock)  # guards the rest; held while it is being asked
    asked_s: float = float("-inf")
    generation: int = -1
    answered: bool = False
    error: OnefsError | None = None


class Asking:
    """Remembers what was asked. An answer is good for what `expiry_s` then gives, a failure for `retry_s`.

    Safe to use from several threads: whoever asks what is being asked waits for that answer.
    """

    def __init__(self, *, expiry_s: Callable[[], float], retry_s: float, clock: Callable[[], float]) -> None:
        self._expiry_s = expiry_s
        self._retry_s = retry_s
        self._clock = clock
        self._lock = new_lock()  # guards _questions
        self._questions: dict[Hashable, _Question] = {}
        self._generation = 0  # counts the calls of `expire`
        begins_anew_in_children(self)

    def begin_anew(self) -> None:
        """Have what was being asked at a fork asked anew."""
        for question in self._questions.values():
            question.lock = threading.Lock()

    def once(self, question: Hashable, ask: Callable[[], OnefsError | None]) -> OnefsError | None:
        """Run `ask`, unless its last result has not expired yet; the error of that result, or None.

        `ask` returns the error of an outage if it used a stale answer, which then expires as soon as a failure does.
        """
        known = self._known(question)
        with known.lock:
            rest_s = self._retry_s if known.error else self._expiry_s()
            if known.generation != self._generation or self._clock() >= known.asked_s + rest_s:
                self._try(known, ask)
            return known.error and copy(known.error)

    def _try(self, known: _Question, ask: Callable[[], OnefsError | None]) -> None:
        generation = self._generation
        try:
            error = ask()
            known.answered = True
        except OnefsError as failure:
            error = failure
        known.error = error and error.with_traceback(None)
        known.generation, known.asked_s = generation, self._clock()

    def was_answered(self, question: Hashable) -> bool:
        """Whether there was an answer at any time."""
        known = self._questions.get(question)
        return known is not None and known.answered

    def expire(self) -> None:
        """Expire all answers, also those that are being waited for. Does not block."""
        with self._lock:
            self._generation += 1

    def _known(self, question: Hashable) -> _Question:
        with self._lock:
            return self._questions.setdefault(question, _Question())
