"""Makes the demo's archive once for all tests of this folder."""

from pathlib import Path

import pytest

from onefs.demo.archive import make_archive


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's archive; tests only read it."""
    directory = tmp_path_factory.mktemp("demo") / "archive"
    make_archive(directory)
    return directory
