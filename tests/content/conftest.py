"""Fixtures of the content's tests: an archive on a server that fails on demand, and a cache in front of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from archive_and_cache import ArchiveAndCache


@pytest.fixture
def place(tmp_path: Path) -> Iterator[ArchiveAndCache]:
    with ArchiveAndCache(tmp_path) as place:
        yield place
