"""Reads files and lists folders in turn until standard input ends; prints the longest time that one of each took.

Arguments: a file that names them, a line `read PATH` or `ls PATH` each, and a number to begin elsewhere than others.
"""

import json
import os
import random
import select
import sys
import time

PAUSE_S = 0.01  # so that readers wait for the file system, and not for a processor


def read(path: str) -> None:
    """Open, read to the end, close."""
    with open(path, "rb", buffering=0) as file:
        file.read()


def ls(path: str) -> None:
    """List a folder."""
    os.listdir(path)


WAYS = {"read": read, "ls": ls}

with open(sys.argv[1]) as names:
    works = [line.rstrip("\n").partition(" ") for line in names]
random.Random(sys.argv[2]).shuffle(works)
times_s: dict[str, list[float]] = {name: [] for name in WAYS}
at = 0
while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
    how, _, path = works[at % len(works)]
    start = time.perf_counter()
    WAYS[how](path)
    times_s[how].append(time.perf_counter() - start)
    at += 1
print(json.dumps({how: [len(times), max(times, default=0.0)] for how, times in times_s.items()}))
