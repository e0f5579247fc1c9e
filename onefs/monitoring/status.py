"""`Status`: the facts about a mount, as JSON for programs and as text for people."""

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from onefs import __version__
from onefs.monitoring.concerns import concerns
from onefs.monitoring.content_facts import cache_facts, passed_over_facts, totals_facts, transfer_facts
from onefs.monitoring.status_text import status_text
from onefs.text import moment

if TYPE_CHECKING:
    from onefs.archive.archive import Archive
    from onefs.modes import ModeState
    from onefs.vfs.journal import Journal

FORMAT = 1
"""Raised when a key goes or means something else; keys that are added leave it."""
_ERRORS_SHOWN = 5


class FactSource(Protocol):
    """A part of the mount that contributes facts to the status."""

    def facts(self) -> Any:
        """Its facts, as JSON values."""


class Status:
    """Collects the facts when asked. Further parts of the mount are added with `add`."""

    def __init__(self, mountpoint: Path, archive: "Archive", journal: "Journal", log: str) -> None:
        self._mountpoint = mountpoint
        self._archive = archive
        self._journal = journal
        self._log = log
        self._started_s = time.time()
        self._parts: dict[str, FactSource] = {}

    def add(self, key: str, part: FactSource) -> None:
        """Add the facts of a part of the mount under a key."""
        self._parts[key] = part

    def facts(self) -> dict[str, Any]:
        """Everything, as JSON values. Times are UTC, sizes bytes."""
        source, content = self._archive.source, self._archive.content
        facts = {
            "format": FORMAT,
            "version": __version__,
            "pid": os.getpid(),
            "source": source.name,
            "mountpoint": str(self._mountpoint),
            "started": moment(self._started_s),
            "mode": _mode_facts(self._archive.refresher.state),
            "tables": self._archive.refresher.facts(),
            "cache": cache_facts(source, content.keeping),
            "passed_over": passed_over_facts(content),
            "transfers": transfer_facts(content),
            "totals": totals_facts(content),
            "requests": self._archive.requests_sent(),
            **{key: part.facts() for key, part in self._parts.items()},
            "errors": self._errors(),
            "log": self._log,
        }
        return facts | {"concerns": concerns(facts)}

    def json(self) -> str:
        """The facts for programs."""
        return json.dumps(self.facts(), indent=1) + "\n"

    def text(self) -> str:
        """The facts for people."""
        return status_text(self.facts())

    def _errors(self) -> list[dict[str, Any]]:
        return [
            {
                "time": moment(failure.time_s),
                "path": failure.path,
                "errno": failure.errno_name,
                "reason": failure.reason,
                "remedy": failure.remedy,
                "count": failure.count,
            }
            for failure in self._journal.failures()[-_ERRORS_SHOWN:]
        ]


def _mode_facts(state: "ModeState") -> dict[str, Any]:
    facts: dict[str, Any] = {"requested": state.requested.value, "effective": state.effective.value}
    if state.reason:
        facts |= {"reason": state.reason, "since": moment(state.since_s), "next_try": moment(state.retry_s)}
    return facts
