"""Building the index of cache tables in a child process, so that readers of a mount need not wait."""

from pathlib import Path

from onefs.cache.sharing import path_of
from onefs.catalogue.index import has_index_of_bytes
from onefs.catalogue.snapshot import load_snapshot
from onefs.catalogue.tables import find_tables
from onefs.errors import WorkerLostError
from onefs.sources.child_process import run_in_child


def index_tables_in_child(directory: Path, state_dir: Path) -> None:
    """Build the index of the tables in a directory, unless there is one of tables with the same bytes.

    Raises `TableError` if they cannot be used, `CacheDamagedError` or `NoRoomError` if the index cannot be written,
    `WorkerLostError` if the process cannot be started or is killed.
    """
    if has_index_of_bytes(find_tables(directory), state_dir):
        return
    try:
        run_in_child(f"read {directory}", index_tables, str(directory), str(state_dir))
    except WorkerLostError as error:
        remedy = "Try again with onefs refresh; the old ones stay in use meanwhile."
        raise WorkerLostError(error.reason, remedy) from error


def index_tables(directory: str, state_dir: str) -> None:
    """Build the index of the tables in a directory, in this process."""
    load_snapshot(path_of(directory), path_of(state_dir))
