"""The Python face: face.py onefs|one TABLES_DIR REPEAT prints the seconds since exec until a One is ready, the memory
then, and the seconds of each list of one session's datasets, as JSON.

face.py object FOLDER FILE_BYTES REPEAT makes an object of five files in a folder, and prints for each load of it how
many times as long it took as numpy's loads of the five right before.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

SESSION = "lab/Subjects/mouse/2024-01-02/001/alf"
ATTRIBUTES = ("amps", "clusters", "depths", "samples", "times")
LONG_AGO = (1_000_000_000, 1_000_000_000)


def since_exec_s() -> float:
    """Seconds that this process lives."""
    started_ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / os.sysconf("SC_CLK_TCK")


def private_mb() -> float:
    """Memory of this process alone."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024 / 1e6


def seconds_of(call: Any) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ready(who: str, tables: str, repeat: int) -> dict[str, Any]:
    """Open tables, list the datasets of a session."""
    if who == "onefs":
        from onefs import One

        one: Any = One(tables)
    else:
        from one.api import One as Reference  # type: ignore[import-untyped]

        one = Reference(cache_dir=tables, mode="local")
    ready_s, ready_mb = since_exec_s(), private_mb()
    eids = one.search(number=1)
    chosen = [eids[len(eids) * run // repeat] for run in range(repeat)]
    one.list_datasets(eids[-1])
    lists_s = [seconds_of(lambda eid=eid: one.list_datasets(eid)) for eid in chosen]
    return {"ready_s": ready_s, "ready_mb": ready_mb, "lists_s": lists_s}


def loads(folder: str, file_bytes: int, repeat: int) -> dict[str, Any]:
    """Load an object, and its files by numpy, in turn. All are verified before."""
    import numpy as np

    from onefs import One

    files = [Path(folder, SESSION, f"spikes.{name}.npy") for name in ATTRIBUTES]
    files[0].parent.mkdir(parents=True)
    for file in files:
        np.save(file, np.random.default_rng(1).random(file_bytes // 8))
        os.utime(file, LONG_AGO)
    one = One.setup(folder, silent=True, hash_files=True)
    (eid,) = one.search()
    one.load_object(eid, "spikes")
    ratios = []
    for _ in range(repeat):
        by_numpy = seconds_of(lambda: [np.load(file) for file in files])
        ratios.append(seconds_of(lambda: one.load_object(eid, "spikes")) / by_numpy)
    return {"ratios": ratios}


def main() -> None:
    """Do what is asked, tell."""
    what, folder, *numbers = sys.argv[1:]
    told = loads(folder, *map(int, numbers)) if what == "object" else ready(what, folder, *map(int, numbers))
    print(json.dumps(told))


main()
