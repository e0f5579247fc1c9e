"""Owns the locks between processes: one daemon fetches a file, the others wait."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout, UnixFileLock

from onefs.content.files import make_folder

FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 0.25
FOR_ALL_USERS = 0o666
"""A user who shares the cache must be able to wait for another's lock. The file itself holds nothing."""


class StoppedError(Exception):
    """Whoever waited was told to stop."""


@contextmanager
def process_lock(path: Path, stop: threading.Event) -> Iterator[None]:
    """Hold the lock file at `path`; it dies with its owner. Raises OSError, or StoppedError if `stop` is set."""
    lock = _acquire(path, stop)
    try:
        yield
    finally:
        # Removed while held: a waiter that gets a removed file's lock notices and tries again. A soft lock, where
        # the file system knows no flock, removes its own.
        if isinstance(lock, UnixFileLock):
            with suppress(OSError):
                path.unlink()
        with suppress(OSError):
            lock.release(force=True)


def _acquire(path: Path, stop: threading.Event) -> FileLock:
    pause_s = FIRST_PAUSE_S
    while True:
        make_folder(path.parent)
        lock = FileLock(path, blocking=False, mode=FOR_ALL_USERS)
        try:
            lock.acquire()
        except (Timeout, FileNotFoundError):
            if stop.wait(pause_s):
                raise StoppedError from None
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        else:
            return lock
