"""Searches in cache tables: ask.py onefs|one TABLES_DIR STATE_DIR REPEAT, the terms of each search as JSON on stdin.

Prints the seconds of each run of each search, how many sessions it found, and the memory at the end, as JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Ask = Callable[[dict[str, Any]], list[Any]]


def onefs_asker(tables: Path, state: Path) -> Ask:
    """Searches in the index, which is made if it is missing."""
    from onefs.catalogue.query import columns_of, eids_of, search
    from onefs.catalogue.snapshot import load_snapshot
    from onefs.catalogue.terms import terms_of

    snapshot = load_snapshot(tables, state)

    def ask(terms: dict[str, Any]) -> list[Any]:
        columns = columns_of(snapshot)
        return eids_of(columns, search(columns, terms_of(terms, wildcards=True)))

    return ask


def one_asker(tables: Path) -> Ask:
    """Searches with the ONE client, in mode local."""
    from one.api import One  # type: ignore[import-untyped]

    one = One(cache_dir=tables, mode="local")
    return lambda terms: one.search(**terms)


def main() -> None:
    """Open, ask, tell."""
    who, tables, state, repeat = sys.argv[1:]
    ask = onefs_asker(Path(tables), Path(state)) if who == "onefs" else one_asker(Path(tables))
    seconds: dict[str, list[float]] = {}
    found = {}
    for what, terms in json.load(sys.stdin).items():
        for _ in range(int(repeat)):
            start = time.perf_counter()
            found[what] = len(ask(terms))
            seconds.setdefault(what, []).append(time.perf_counter() - start)
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    private_kb = sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
    print(json.dumps({"seconds": seconds, "found": found, "private_mb": private_kb * 1024 / 1e6}))


main()
