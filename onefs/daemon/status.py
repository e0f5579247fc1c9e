"""What a mount says of itself: the same facts as text and as JSON."""

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onefs import __version__
from onefs.daemon.wording import flatten
from onefs.text import moment, visible

if TYPE_CHECKING:
    from onefs.content.access import Content
    from onefs.daemon.jobs import Jobs
    from onefs.modes import ModeState
    from onefs.sources.source import Source
    from onefs.vfs.journal import Journal

_ERRORS_SHOWN = 5


class Status:
    """Collects the facts when they are asked for."""

    def __init__(
        self,
        source: "Source",
        mode: "Callable[[], ModeState]",
        mountpoint: Path,
        tables: Callable[[], dict[str, Any]],
        content: "Content",
        jobs: "Jobs",
        journal: "Journal",
        log_file: Path | None,
        requests: Callable[[], Mapping[str, int]],
        recording: Callable[[], dict[str, Any]],
        shown: Callable[[], dict[str, Any]],
        programs: Callable[[], list[dict[str, Any]]],
    ) -> None:
        """`tables`, `recording`, `shown` and `programs` are the facts about them.

        `requests` counts what was asked of whom.
        """
        self._source = source
        self._mode = mode
        self._mountpoint = mountpoint
        self._tables = tables
        self._content = content
        self._jobs = jobs
        self._journal = journal
        self._log_file = log_file
        self._requests = requests
        self._recording = recording
        self._shown = shown
        self._programs = programs
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
            "shown": self._shown(),
            "tables": self._tables(),
            "cache": self._cache(),
            "passed_over": self._passed_over(),
            "transfers": self._transfers(),
            "jobs": self._jobs.facts(),
            "totals": dataclasses.asdict(self._content.totals()),
            "requests": dict(self._requests()),
            "recording": self._recording(),
            "programs": self._programs(),
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
        return "".join(f"{visible(key)}: {visible(str(value))}\n" for key, value in flatten(in_brief(self.facts())))

    def _modes(self) -> dict[str, Any]:
        state = self._mode()
        facts: dict[str, Any] = {"requested": state.requested.value, "effective": state.effective.value}
        if state.reason:
            facts |= {"reason": state.reason, "since": moment(state.since_s), "next_try": moment(state.retry_s)}
        return facts

    def _cache(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"directory": str(self._source.data_dir), "state": str(self._source.state_dir)}
        usage = self._content.keeping.usage()
        facts |= {
            "used_bytes": usage.used_bytes,
            "used_files": usage.files,
            "most_bytes": usage.limits.cache_size_bytes,
            "kept_free_bytes": usage.limits.min_free_bytes,
            "evicted_bytes": usage.evicted_bytes,
            "evicted_files": usage.evicted_files,
            "pinned_files": len(self._content.keeping.pinned()),
        }
        if usage.used_bytes is None:
            facts["counted"] = "not yet: ask again in a moment"
        try:
            facts["free_bytes"] = shutil.disk_usage(self._source.data_dir).free
        except OSError as error:
            facts["problem"] = f"cannot be read: {error.strerror}"
        return facts

    def _passed_over(self) -> list[dict[str, Any]]:
        """The servers that are not asked now, or asked last, as they failed or sent `Retry-After`."""
        now_s = time.time()
        return [
            {
                "server": each.server,
                "role": each.role,
                "since_s": round(each.since_s),
                "left_s": round(each.left_s),
                "asked_again": moment(now_s + each.left_s),
                "reason": each.reason,
                "waiting": list(each.waiting),
            }
            for each in self._content.passed_over()
        ]

    def _transfers(self) -> list[dict[str, Any]]:
        return [
            {
                "path": transfer.path,
                "done_bytes": transfer.done_bytes,
                "total_bytes": transfer.total_bytes,
                "rate_bytes_per_s": round(transfer.rate_bytes_per_s),
                "left_s": None if transfer.left_s is None else round(transfer.left_s, 1),
                "host": transfer.host,
            }
            for transfer in self._content.transfers()
        ]


def in_brief(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts without what people need not read: of a job that ended, its sentence alone."""
    if "jobs" not in facts:
        return facts
    jobs = [
        {"number": job["number"], "sentence": job["sentence"]}
        if job["ended"] is not None
        else {key: value for key, value in job.items() if key not in ("key", "ended", "sentence", "failures", "causes")}
        for job in facts["jobs"]
    ]
    return {**facts, "jobs": jobs}
