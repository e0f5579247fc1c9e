"""Owns hashing beside the writer: MD5 of bytes as they come, in a thread of its own once there are many."""

import queue
import threading

from onefs.digests import new_md5

INLINE_BYTES = 1 << 21
CHUNKS_AHEAD = 16


class RunningDigest:
    """MD5 of a file that is being written, from its beginning on. For one writer."""

    def __init__(self) -> None:
        self._md5 = new_md5()
        self._inline_bytes = 0
        self._chunks: queue.Queue[bytes | None] | None = None
        self._thread: threading.Thread | None = None

    def update(self, chunk: bytes) -> None:
        """Add bytes; waits only if the hash is far behind."""
        if self._chunks is not None:
            self._chunks.put(chunk)
            return
        self._md5.update(chunk)
        self._inline_bytes += len(chunk)
        if self._inline_bytes > INLINE_BYTES:
            self._start()

    def hexdigest(self) -> str:
        """The MD5 of all bytes so far, as 32 hex digits. Nothing can be added afterwards."""
        self.close()
        return self._md5.hexdigest()

    def close(self) -> None:
        """End the thread, once it has hashed what it was given."""
        if self._thread is not None and self._chunks is not None:
            self._chunks.put(None)
            self._thread.join()
            self._thread = None

    def _start(self) -> None:
        chunks: queue.Queue[bytes | None] = queue.Queue(CHUNKS_AHEAD)
        thread = threading.Thread(target=self._work, args=(chunks,), name="onefs-hash", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The machine gives no more threads: the writer goes on hashing, and asks again after as many bytes.
            self._inline_bytes = 0
        else:
            self._chunks, self._thread = chunks, thread

    def _work(self, chunks: "queue.Queue[bytes | None]") -> None:
        while (chunk := chunks.get()) is not None:
            self._md5.update(chunk)
