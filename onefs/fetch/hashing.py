"""MD5 of a whole file, and `FollowingDigest`, the MD5 of a file while it is being fetched."""

import os
import threading
from collections.abc import Callable

from onefs.cache.locks import StoppedError
from onefs.digests import CHUNK_BYTES, new_md5
from onefs.threads import Workers


def md5_of(number: int, stop: threading.Event, on_bytes: Callable[[int], None]) -> str:
    """MD5 of an open file; `on_bytes` is told the size of each piece. Raises StoppedError if `stop` is set, OSError."""
    digest, offset = new_md5(), 0
    while chunk := os.pread(number, CHUNK_BYTES, offset):
        if stop.is_set():
            raise StoppedError
        digest.update(chunk)
        offset += len(chunk)
        on_bytes(len(chunk))
    return digest.hexdigest()


class FollowingDigest:
    """MD5 of a file that fills up, hashed from its beginning up to its first gap. Safe to use from several threads."""

    def __init__(self, number: int, workers: Workers) -> None:
        self._number = number
        self._workers = workers
        self._md5 = new_md5()
        self._state = threading.Condition()  # guards the four below; whoever runs is alone with _md5
        self._front_bytes = 0
        self._hashed_bytes = 0
        self._runs = False
        self._closed = False

    def reach(self, front_bytes: int) -> None:
        """Hash on up to a byte, in a thread of its own."""
        with self._state:
            self._front_bytes = max(front_bytes, self._front_bytes)
            if self._runs or self._closed:
                return
            self._runs = True
        if not self._workers.submit(self._follow):
            with self._state:
                self._runs = False  # whoever wants the hash makes it then

    def hexdigest(self, size_bytes: int) -> str:
        """The MD5 of the whole file, waited for; "" if it was closed meanwhile. Raises OSError."""
        with self._state:
            self._state.wait_for(lambda: not self._runs)
            self._front_bytes = size_bytes
            self._runs = True
        self._follow()
        return "" if self._closed else self._md5.hexdigest()

    def close(self) -> None:
        """End the hashing, and wait for that."""
        with self._state:
            self._closed = True
            self._state.wait_for(lambda: not self._runs)

    def _follow(self) -> None:
        try:
            while True:
                with self._state:
                    begin, end = self._hashed_bytes, self._front_bytes
                    if begin >= end or self._closed:
                        return
                chunk = os.pread(self._number, min(CHUNK_BYTES, end - begin), begin)
                self._md5.update(chunk)
                if not chunk:
                    raise OSError(f"The file ended after {begin} of {end} bytes while it was hashed")
                with self._state:
                    self._hashed_bytes += len(chunk)
        finally:
            with self._state:
                self._runs = False
                self._state.notify_all()
