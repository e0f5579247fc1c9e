"""Failures of many files, gathered by what caused them."""

import re
from typing import Any

from onefs.errors import OnefsError

CAUSES_KEPT = 100
_OF_ONE_FILE = re.compile(
    r"[^\s(]+://[^\s,;)]+|[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d+ (?:of \d+ )?bytes"
)
"""What differs in the sentences of files that fail for one cause: URLs, hashes, ids and sizes."""


class Causes:
    """Counts failed files by cause. Not safe to use from several threads."""

    def __init__(self) -> None:
        self._by_cause: dict[tuple[type[OnefsError], str], dict[str, Any]] = {}

    def add(self, path: str, error: OnefsError) -> None:
        """Count one file. Causes beyond `CAUSES_KEPT` are counted together."""
        cause = type(error), _OF_ONE_FILE.sub("", error.reason.replace(path, ""))
        if cause not in self._by_cause and len(self._by_cause) >= CAUSES_KEPT:
            cause = OnefsError, ""
        first = {"files": 0, "path": path, "reason": error.reason, "remedy": error.remedy}
        self._by_cause.setdefault(cause, first)["files"] += 1

    def facts(self) -> list[dict[str, Any]]:
        """How many files failed for each cause, with the first of them, as JSON values."""
        return [dict(cause) for cause in self._by_cause.values()]
