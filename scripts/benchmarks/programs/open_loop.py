"""Opens, reads 4 kB of and closes each file named on standard input, one after the other; prints the seconds taken."""

import os
import sys
import time

paths = sys.stdin.read().splitlines()
start = time.perf_counter()
for path in paths:
    descriptor = os.open(path, os.O_RDONLY)
    os.pread(descriptor, 4096, 0)
    os.close(descriptor)
print(time.perf_counter() - start)
