"""Owns which names the kernel was told to remember as absent."""

import threading

from onefs.vfs.staleness import Name

MOST = 100_000


class Absences:
    """Names that the kernel remembers as absent until it is told. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _names
        self._names: set[Name] = set()

    def add(self, name: Name) -> bool:
        """Note a name; False if there are too many already, and the kernel should not remember it."""
        with self._lock:
            if len(self._names) < MOST:
                self._names.add(name)
            return name in self._names

    def take(self) -> set[Name]:
        """All of them; none are noted any more."""
        with self._lock:
            names, self._names = self._names, set()
            return names
