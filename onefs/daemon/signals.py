"""The daemon's signals: before it serves, while it mounts and unmounts, and while it serves."""

import signal
import sys

HEEDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def unwind() -> None:
    """Let a stop during the start clean up, and let no other signal leave a dead mountpoint behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def hold() -> None:
    """Keep signals pending until `release`: one that interrupts unmounting would leave the mount behind.

    The kernel gives a signal that the main thread blocks to a thread that does not, and Python then runs the handler
    in the main thread all the same. The handler here sends it to the main thread again, where it stays pending.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, HEEDED)
    for number in HEEDED:
        signal.signal(number, lambda number, _: signal.raise_signal(number))


def release() -> None:
    """Have pending and further signals delivered to the handlers that are now set."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HEEDED)
