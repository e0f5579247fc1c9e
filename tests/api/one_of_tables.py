"""ONE-api, in local mode on the same tables, as an oracle."""

import warnings
from pathlib import Path
from typing import Any


def one_of(directory: Path) -> Any:
    """ONE on the tables of a directory. Its home is to be a test's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from one.api import One

        return One(cache_dir=directory, mode="local")
