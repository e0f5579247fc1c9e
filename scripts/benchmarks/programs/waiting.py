"""Opens the files that standard input names up to an empty line, all at once, and reads the first byte of each.

Prints how many it has begun with, a thread each. Ends at the end of its input, whatever still waits.
"""

import os
import sys
import threading


def read(path: str) -> None:
    """Open, read a byte."""
    descriptor = os.open(path, os.O_RDONLY)
    os.pread(descriptor, 1, 0)


paths = list(iter(sys.stdin.readline, "\n"))
threading.stack_size(64 << 10)
for path in paths:
    threading.Thread(target=read, args=(path.rstrip("\n"),), daemon=True).start()
print(len(paths), flush=True)
sys.stdin.read()
os._exit(0)
