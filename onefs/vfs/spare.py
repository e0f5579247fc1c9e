"""`SpareDescriptors`, with which a mount that is out of descriptors still tells its status."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from onefs.forks import new_lock

COUNT = 8
"""Generating a text needs few at once: a folder and a file in it, or a module that is imported only then."""


class SpareDescriptors:
    """Descriptors that are open for nothing, and closed while something is done that needs them."""

    def __init__(self) -> None:
        self._lock = new_lock()  # guards both below
        self._numbers: list[int] = []
        self._users = 0

    def fill(self) -> None:
        """Open as many as there should be, as far as the process may."""
        with self._lock, suppress(OSError):
            while not self._users and len(self._numbers) < COUNT:
                self._numbers.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Close them for the duration of the context."""
        with self._lock:
            self._users += 1
            while self._numbers:
                os.close(self._numbers.pop())
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
            self.fill()


SPARE = SpareDescriptors()
"""Those of this process: the limit is one for all of it."""
