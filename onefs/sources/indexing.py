"""Reading whole tables in a process of its own, so that nobody who reads a mount has to wait for it."""

from pathlib import Path

from onefs.catalogue.index import has_index_of_bytes
from onefs.catalogue.snapshot import load_snapshot
from onefs.catalogue.tables import find_tables
from onefs.errors import WorkerLostError
from onefs.sources.apart import run_apart


def index_apart(directory: Path, state_dir: Path) -> None:
    """Index the tables in a directory, unless tables with the same bytes are indexed already.

    Raises `TableError` if they cannot be used, `CacheDamagedError` or `NoRoomError` if the index cannot be written,
    `WorkerLostError` if the process cannot be started or is killed.
    """
    if has_index_of_bytes(find_tables(directory), state_dir):
        return
    try:
        run_apart(f"read {directory}", index_here, str(directory), str(state_dir))
    except WorkerLostError as error:
        remedy = "Try again with onefs refresh; the old ones stay in use meanwhile."
        raise WorkerLostError(error.reason, remedy) from error


def index_here(directory: str, state_dir: str) -> None:
    """Index the tables in a directory, in this process."""
    load_snapshot(Path(directory), Path(state_dir))
