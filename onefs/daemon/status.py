"""Owns what a mount says of itself: the same facts as text and as JSON."""

import dataclasses
import functools
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from onefs import __version__
from onefs.catalogue.snapshot import Snapshot
from onefs.catalogue.tables import read_metadata
from onefs.content.access import Content
from onefs.daemon.sources import Source
from onefs.errors import TableError
from onefs.modes import ModeState
from onefs.vfs.journal import Journal

_ERRORS_SHOWN = 5
_WORDS = {True: "yes", False: "no", None: "never"}


class Status:
    """Collects the facts when they are asked for."""

    def __init__(
        self,
        source: Source,
        mode: Callable[[], ModeState],
        mountpoint: Path,
        tables: Callable[[], dict[str, Any]],
        content: Content,
        journal: Journal,
        log_file: Path | None,
        requests: Callable[[], Mapping[str, int]],
        recording: Callable[[], dict[str, Any]],
    ) -> None:
        """`tables` and `recording` are the facts about them; `requests` counts what was asked of whom."""
        self._source = source
        self._mode = mode
        self._mountpoint = mountpoint
        self._tables = tables
        self._content = content
        self._journal = journal
        self._log_file = log_file
        self._requests = requests
        self._recording = recording
        self._started_s = time.time()

    def facts(self) -> dict[str, Any]:
        """Everything, as JSON values. Times are UTC, sizes bytes."""
        return {
            "version": __version__,
            "pid": os.getpid(),
            "source": self._source.name,
            "mountpoint": str(self._mountpoint),
            "started": moment(self._started_s),
            "mode": self._modes(),
            "tables": self._tables(),
            "cache": self._cache(),
            "transfers": self._transfers(),
            "totals": dataclasses.asdict(self._content.totals()),
            "requests": dict(self._requests()),
            "recording": self._recording(),
            "errors": [
                {
                    "time": moment(failure.time_s),
                    "path": failure.path,
                    "errno": failure.errno_name,
                    "reason": failure.reason,
                    "remedy": failure.remedy,
                    "count": failure.count,
                }
                for failure in self._journal.failures()[-_ERRORS_SHOWN:]
            ],
            "log": str(self._log_file) if self._log_file else "standard error",
        }

    def json(self) -> str:
        """The facts for programs."""
        return json.dumps(self.facts(), indent=1) + "\n"

    def text(self) -> str:
        """The facts for people, one `key: value` a line, nested keys joined by dots."""
        return "".join(f"{key}: {value}\n" for key, value in flatten(self.facts()))

    def _modes(self) -> dict[str, Any]:
        state = self._mode()
        facts: dict[str, Any] = {"requested": state.requested.value, "effective": state.effective.value}
        if state.reason:
            facts |= {"reason": state.reason, "since": moment(state.since_s), "next_try": moment(state.retry_s)}
        return facts

    def _cache(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"directory": str(self._source.data_dir), "state": str(self._source.state_dir)}
        try:
            facts["free_bytes"] = shutil.disk_usage(self._source.data_dir).free
        except OSError as error:
            facts["problem"] = f"cannot be read: {error.strerror}"
        return facts

    def _transfers(self) -> list[dict[str, Any]]:
        return [
            {
                "path": transfer.path,
                "done_bytes": transfer.done_bytes,
                "total_bytes": transfer.total_bytes,
                "host": transfer.host,
            }
            for transfer in self._content.transfers()
        ]


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


def flatten(value: object, prefix: str = "") -> list[tuple[str, object]]:
    """Nested dictionaries and lists as pairs of a dotted key and a value as people read it: sizes such as 1.2 GB."""
    if isinstance(value, dict):
        pairs = [pair for key, inner in value.items() for pair in flatten(inner, f"{prefix}{key}.")]
        return pairs or [(prefix.rstrip("."), "none")]
    if isinstance(value, list):
        pairs = [pair for number, inner in enumerate(value, 1) for pair in flatten(inner, f"{prefix}{number}.")]
        return pairs or [(prefix.rstrip("."), "none")]
    key = prefix.rstrip(".")
    folder, _, name = key.rpartition(".")
    if "bytes" in name.split("_") and isinstance(value, int):
        short = "_".join(part for part in name.split("_") if part != "bytes")
        return [(f"{folder}.{short}" if folder else short, size_text(value))]
    if isinstance(value, bool) or value is None:
        return [(key, _WORDS[value])]
    return [(key, value)]


def size_text(size_bytes: int) -> str:
    """A size for people: `1.2 GB`."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    size = float(size_bytes)
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} EB"


def moment(time_s: float) -> str | None:
    """A time in UTC; None for 0, which stands for never."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if time_s else None
