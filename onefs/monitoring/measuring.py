"""`Measurement`: a value that takes long to learn where a disk does not answer."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from onefs.threads import Workers

T = TypeVar("T")


class Measurement(Generic[T]):
    """Measures in a thread of its own, one measurement at a time. Safe to use from several threads."""

    def __init__(self, measure: Callable[[], T], longest_s: float) -> None:
        self._measure = measure
        self._longest_s = longest_s
        self._workers = Workers("onefs-measure", 1)
        self._lock = threading.Lock()  # guards _result
        self._result: Future[T] | None = None

    def take(self) -> T | None:
        """Measure, or join the measurement under way; None if it fails with OSError, or takes over `longest_s`."""
        with self._lock:
            result = self._result
            if result is None or result.done():
                result = self._result = Future()
                if not self._workers.submit(lambda: self._fill(result)):
                    result.set_exception(OSError("no thread is to be had"))
        try:
            return result.result(self._longest_s)
        except (TimeoutError, OSError):
            return None

    def _fill(self, result: "Future[T]") -> None:
        try:
            result.set_result(self._measure())
        except BaseException as error:  # noqa: BLE001  (raised by `take`)
            result.set_exception(error)
