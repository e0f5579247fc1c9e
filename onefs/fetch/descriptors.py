"""`Descriptor`, which several readers share and the last one closes; `Origin` and `Source`, what they read."""

import os
import threading
from enum import StrEnum

from onefs.cache.verify import Signature

Edition = tuple[int, int, int]
"""Size (bytes), modification time (ns) and inode number of the copy on disk that an open file reads from."""


class Source(StrEnum):
    """Where the bytes of an open file come from."""

    CACHE = "cache"
    """A copy that was in the cache before it was opened."""
    NETWORK = "network"
    """A file that was fetched, in whole or in part, for this opening."""
    MEMORY = "memory"
    """A large file whose blocks stay in memory, as the cache has no room for it."""
    CONTROL = "control"
    """No file of the archive: a text in `.onefs`, or a table."""


class Origin:
    """Which copy bytes were read from, once that is known: they are read before, of a file that grows."""

    __slots__ = ("edition",)

    def __init__(self) -> None:
        self.edition: Edition | None = None


class Descriptor:
    """A shared file descriptor, and the signature that its file was trusted with.

    Whoever made it holds the first share. Safe to use from several threads.
    """

    __slots__ = ("_lock", "_shares", "number", "signature")

    def __init__(self, number: int, signature: Signature) -> None:
        self.number = number
        self.signature = signature
        self._shares = 1
        self._lock = threading.Lock()  # guards _shares

    @property
    def size_bytes(self) -> int:
        """The file's size when it was trusted."""
        return self.signature.size_bytes

    def share(self) -> bool:
        """Take a share; False if the descriptor is closed already."""
        with self._lock:
            if not self._shares:
                return False
            self._shares += 1
            return True

    def release(self) -> None:
        """Give a share back. The last one closes."""
        with self._lock:
            self._shares -= 1
            last = not self._shares
        if last:
            os.close(self.number)
