"""Finds files with the ONE client: one_open.py CACHE_DIR TABLES_DIR, eid and path of each on a line of standard input.

Prints the seconds of each load_dataset(download_only=True), as JSON.
"""

import json
import sys
import time


def main() -> None:
    """Load the tables, then time each file."""
    from one.api import One  # type: ignore[import-untyped]

    wanted = [line.split() for line in sys.stdin]
    one = One(cache_dir=sys.argv[1], tables_dir=sys.argv[2], mode="local")
    times_s = []
    for eid, path in wanted:
        start = time.perf_counter()
        one.load_dataset(eid, path, download_only=True)
        times_s.append(time.perf_counter() - start)
    print(json.dumps(times_s))


main()
