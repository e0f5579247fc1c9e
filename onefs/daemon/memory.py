"""Owns how the daemon's process deals with memory that it has freed."""

import ctypes

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
AT_ONCE_BYTES = 4 << 20
FREE_BYTES = 8 << 20


def keep_for_next_time() -> None:
    """Keep a few freed MiB per thread rather than give them back to the kernel.

    Bytes pass through here in pieces of a MiB, each in new memory: to fault in its pages costs more than to fill them.
    Where the C library is not glibc, nothing is changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, AT_ONCE_BYTES)
        mallopt(M_TRIM_THRESHOLD, FREE_BYTES)
