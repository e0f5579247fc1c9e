"""Loads cache tables with the ONE client: one_load.py TABLES_DIR.

Prints the seconds since exec, and the memory, as JSON.
"""

import json
import os
import sys
import time
from pathlib import Path


def since_exec_s() -> float:
    """Seconds that this process lives."""
    started_ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Import, load, tell."""
    from one.api import One  # type: ignore[import-untyped]

    one = One(cache_dir=sys.argv[1], mode="local")
    elapsed_s = since_exec_s()
    assert len(one._cache["datasets"])
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    private_kb = sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
    print(json.dumps({"seconds": elapsed_s, "private_mb": private_kb * 1024 / 1e6}))


main()
