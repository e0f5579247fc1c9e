"""The catalogue of a directory that has no tables."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from onefs.catalogue.layout import COLUMNS, NO_DATE, STRINGS, Index, IndexWriter, Strings, read_index
from onefs.catalogue.schema import TableMetadata
from onefs.catalogue.snapshot import Snapshot
from onefs.catalogue.tables import tables_in

_ROOT = {"folder_session": -1, "folder_date": NO_DATE}
"""Values in the root folder's row; its other columns are 0."""


def empty_snapshot(directory: Path) -> Snapshot:
    """An empty catalogue, for a directory that has no tables yet."""
    return Snapshot(tables_in(directory), _empty_index())


@cache
def _empty_index() -> Index:
    """The index of no tables, which all empty catalogues share."""
    with TemporaryDirectory(prefix="onefs-") as folder:
        writer = IndexWriter(Path(folder), is_synced=False)
        for name, kind in COLUMNS.items():
            n_rows = 1 if name.startswith("folder_") else 0
            writer.save(name, np.full((n_rows, *map(int, kind.split()[1:])), _ROOT.get(name, 0)))
        for name in (*STRINGS, "paths"):
            writer.save_strings(name, Strings.of([""] if name == "folder_name" else []))
        writer.finish(TableMetadata("", "", "", (), {"date_created": ""}), {})
        # The columns that are not in memory are read through open files, which live on without their names.
        return read_index(Path(folder))
