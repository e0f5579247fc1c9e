"""ONE-api, in local mode on the same tables, as an oracle."""

import warnings
from pathlib import Path
from typing import Any


def one_of(directory: Path) -> Any:
    """ONE on the tables of a directory. Its home is to be a test's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from one.api import One

        hash_by_mebibytes()
        return One(cache_dir=directory, mode="local")


def hash_by_mebibytes() -> None:
    """Have ONE hash a file piece by piece; its own pieces of 256 MiB take 0.3 s for the smallest file."""
    from iblutil.io import hashfile

    hashfile.BUF_SIZE = 1 << 20
