"""Owns indexing tables in a process of its own, so that nobody who reads a mount has to wait for it."""

import subprocess
import sys

from onefs.daemon.tables import Place
from onefs.errors import TableError

_INDEXING = """
import pathlib, sys
from onefs.catalogue.snapshot import load_snapshot
from onefs.errors import OnefsError
try:
    load_snapshot(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
except OnefsError as error:
    sys.exit(error.reason)
"""


def index_apart(place: Place) -> None:
    """Have an index for the tables in a place. Raises `TableError` if they cannot be indexed."""
    command = [sys.executable, "-c", _INDEXING, str(place.tables_dir), str(place.state_dir)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1].rstrip(".")
        raise TableError(f"The tables in {place.tables_dir} could not be indexed: {said}.", "The old ones stay in use.")
