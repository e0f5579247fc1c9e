"""Owns what a mount says of itself: the same facts as text and as JSON."""

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from onefs import __version__
from onefs.catalogue.snapshot import Snapshot
from onefs.content.access import Content
from onefs.daemon.sources import Source
from onefs.modes import ModeState
from onefs.vfs.journal import Journal

_ERRORS_SHOWN = 5


class Status:
    """Collects the facts when they are asked for."""

    def __init__(
        self,
        source: Source,
        mode: Callable[[], ModeState],
        mountpoint: Path,
        snapshot: Callable[[], Snapshot],
        content: Content,
        journal: Journal,
        log_file: Path | None,
    ) -> None:
        self._source = source
        self._mode = mode
        self._mountpoint = mountpoint
        self._snapshot = snapshot
        self._content = content
        self._journal = journal
        self._log_file = log_file
        self._started_s = time.time()

    def facts(self) -> dict[str, Any]:
        """Everything, as JSON values. Times are UTC, sizes bytes."""
        return {
            "version": __version__,
            "pid": os.getpid(),
            "source": self._source.name,
            "mountpoint": str(self._mountpoint),
            "started": _utc(self._started_s),
            "mode": self._modes(),
            "tables": self._tables(),
            "cache": self._cache(),
            "transfers": self._transfers(),
            "totals": dataclasses.asdict(self._content.totals()),
            "errors": [
                {
                    "time": _utc(failure.time_s),
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
            facts |= {"reason": state.reason, "since": _utc(state.since_s), "next_try": _utc(state.retry_s)}
        return facts

    def _tables(self) -> dict[str, Any]:
        snapshot = self._snapshot()
        metadata = snapshot.metadata
        return {
            "directory": str(self._source.tables_dir),
            "created": metadata.created,
            "origin": metadata.origin,
            "sessions": snapshot.n_sessions,
            "datasets": snapshot.n_datasets,
            "left_out": {reason: left.count for reason, left in snapshot.left_out.items()},
        }

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


def flatten(value: object, prefix: str = "") -> list[tuple[str, object]]:
    """Nested dictionaries and lists as pairs of a dotted key and a plain value."""
    if isinstance(value, dict):
        pairs = [pair for key, inner in value.items() for pair in flatten(inner, f"{prefix}{key}.")]
        return pairs or [(prefix.rstrip("."), "none")]
    if isinstance(value, list):
        pairs = [pair for number, inner in enumerate(value, 1) for pair in flatten(inner, f"{prefix}{number}.")]
        return pairs or [(prefix.rstrip("."), "none")]
    return [(prefix.rstrip("."), value)]


def _utc(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
