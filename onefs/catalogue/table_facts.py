"""Facts about a pair of cache tables, for the status."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onefs.catalogue.snapshot import Snapshot
from onefs.catalogue.tables import read_metadata
from onefs.errors import TableError
from onefs.text import moment


def table_facts(snapshot: Snapshot) -> dict[str, Any]:
    """What tables say of themselves, each of the two in its own words, and how much is in them."""
    metadata = snapshot.metadata
    files = (snapshot.files.sessions, snapshot.files.datasets)
    raw = {file.stem: dict(_metadata(file, _time_ns(file))) for file in files}
    told = [str(each["date_modified"]) for each in raw.values() if "date_modified" in each]
    return {
        "created": metadata.created,
        "modified": max(told) if told else moment(max(map(_time_ns, files)) / 1e9),
        "origin": metadata.origin,
        "sessions": snapshot.n_sessions,
        "datasets": snapshot.n_datasets,
        "left_out": {reason: left.count for reason, left in snapshot.left_out.items()},
        "metadata": raw,
    }


@functools.lru_cache(maxsize=8)
def _metadata(file: Path, modified_ns: int) -> Mapping[str, object]:
    """A table's raw metadata, read once for each edition; {} if it has become unreadable."""
    del modified_ns
    try:
        return read_metadata(file).raw
    except TableError:
        return {}


def _time_ns(file: Path) -> int:
    """When a file was last changed, 0 if it is gone."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
