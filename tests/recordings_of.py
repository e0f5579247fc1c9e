"""Owns manifests for tests, as a recording of a mount would have written them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from onefs.catalogue.records import Dataset
from onefs.recording.manifest import Entry, manifest_text


def entry_of(dataset: Dataset, source: str | Path, **changes: Any) -> Entry:
    """What a recording says of a dataset that was read."""
    fields: dict[str, Any] = {
        "id": dataset.id,
        "eid": dataset.eid,
        "path": dataset.path,
        "revision": dataset.revision,
        "default": dataset.default_revision,
        "hash": dataset.md5,
        "size": dataset.size_bytes,
        "first_read": datetime(2026, 1, 2, tzinfo=UTC),
        "pid": 42,
        "program": "analysis",
        "user": "someone",
        "label": "",
        "source": str(source),
    }
    return Entry(**{**fields, **changes})


def write_manifest(file: Path, entries: Iterable[Entry]) -> Path:
    """A manifest of these entries."""
    file.write_text(manifest_text(entries))
    return file
