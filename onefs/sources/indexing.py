"""Reading whole tables in a process of its own, so that nobody who reads a mount has to wait for it."""

import json
import subprocess
import sys
from pathlib import Path

from onefs import errors
from onefs.catalogue.index import has_index_of_bytes
from onefs.catalogue.tables import find_tables
from onefs.errors import CacheDamagedError, OnefsError, TableError

_READING = """
import json, pathlib, sys
from onefs.memory import keep_pandas_out
keep_pandas_out()
from onefs.catalogue.snapshot import load_snapshot
from onefs.errors import OnefsError
try:
    load_snapshot(*map(pathlib.Path, sys.argv[1:]))
except OnefsError as error:
    print(json.dumps([type(error).__name__, error.reason, error.remedy]))
    sys.exit(1)
"""
_OLD_STAY = "Try again with onefs refresh; the old ones stay in use meanwhile."


def index_apart(directory: Path, state_dir: Path) -> None:
    """Index the tables in a directory, unless tables with the same bytes are indexed already.

    Raises `TableError` if they cannot be used, `CacheDamagedError` or `NoRoomError` if the index cannot be written.
    """
    if has_index_of_bytes(find_tables(directory), state_dir):
        return
    # -P: what lies in the folder that onefs was started in is no part of it.
    command = [sys.executable, "-P", "-c", _READING, str(directory), str(state_dir)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise CacheDamagedError(f"No process can be started to read {directory}: {why}.", _OLD_STAY) from error
    if done.returncode:
        raise _error(directory, done)


def _error(directory: Path, done: "subprocess.CompletedProcess[str]") -> OnefsError:
    """What the process raised; or how it ended, such as for want of memory."""
    try:
        kind, reason, remedy = json.loads(done.stdout)
        return getattr(errors, kind)(reason, remedy)  # type: ignore[no-any-return]
    except ValueError:
        said = (done.stderr.strip().splitlines() or [f"its process ended with {done.returncode}"])[-1].rstrip(".")
        return TableError(f"The tables in {directory} could not be read: {said}.", _OLD_STAY)
