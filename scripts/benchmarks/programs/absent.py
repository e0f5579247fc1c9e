"""Asks for names that a folder does not have, each once: absent.py FOLDER COUNT BEGINNING. Prints the seconds taken."""

import os
import sys
import time
from contextlib import suppress

folder, count, beginning = sys.argv[1], int(sys.argv[2]), sys.argv[3]
names = [f"{folder}/{beginning}{number}" for number in range(count)]
start = time.perf_counter()
for name in names:
    with suppress(FileNotFoundError):
        os.stat(name)
print(time.perf_counter() - start)
