"""Asks a file system one question after the other, none of which the kernel can answer; prints the seconds taken.

Arguments: `stat PATH COUNT -`, the attributes of one path again and again, or `absent FOLDER COUNT BEGINNING`, as many
names that begin so and that the folder does not have.
"""

import ctypes
import os
import sys
import time
from contextlib import suppress

AT_EMPTY_PATH, AT_STATX_FORCE_SYNC, BASIC_STATS = 0x1000, 0x2000, 0x7FF


def stat(path: str, count: str, _: str) -> float:
    """Ask for attributes that the kernel must not answer itself."""
    statx, facts = ctypes.CDLL(None, use_errno=True).statx, ctypes.create_string_buffer(256)
    descriptor = os.open(path, os.O_PATH)
    start = time.perf_counter()
    for _ in range(int(count)):
        if statx(descriptor, b"", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, BASIC_STATS, facts):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return time.perf_counter() - start


def absent(folder: str, count: str, beginning: str) -> float:
    """Look up names, each for the first time."""
    names = [f"{folder}/{beginning}{number}" for number in range(int(count))]
    start = time.perf_counter()
    for name in names:
        with suppress(FileNotFoundError):
            os.stat(name)
    return time.perf_counter() - start


print({"stat": stat, "absent": absent}[sys.argv[1]](*sys.argv[2:]))
