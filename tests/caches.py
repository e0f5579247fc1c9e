"""Cache directories as onefs and other programs leave them, without a server or a mount."""

import os
from collections.abc import Iterable
from datetime import date
from pathlib import Path

from table_shapes import a_dataset, a_session

from onefs import alf
from onefs.cache.store import ContentStore
from onefs.catalogue.records import Dataset, Session
from onefs.catalogue.snapshot import load_snapshot
from onefs.catalogue.tables import write_tables

DAY = date(2020, 7, 1)
SESSION = a_session("known", "lab", "S", DAY, 1)
FOLDER = "lab/Subjects/S/2020-07-01/001"
BYTES = b"twelve bytes"


def tables(folder: Path, *datasets: Dataset, sessions: Iterable[Session] = (SESSION,)) -> Path:
    """Write tables of these datasets, and of one more, as there are none without rows."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [a_dataset(SESSION, "alf/a.b.npy"), *datasets]
    write_tables(
        folder, [SESSION, *(s for s in sessions if s != SESSION)], rows, created="2024-01-03 00:00", origin="x"
    )
    load_snapshot(folder, folder / alf.STATE_FOLDER)  # indexed here, no process has to be started for it
    return folder


def put(cache: Path, *paths: str) -> list[Path]:
    """Files that another program puts into the cache."""
    for path in paths:
        (cache / path).parent.mkdir(parents=True, exist_ok=True)
        (cache / path).write_bytes(BYTES)
    return [cache / path for path in paths]


def fetched(cache: Path, dataset: Dataset, *, source: str = "http://server/x", with_uuid: bool = False) -> Path:
    """A file that onefs fetched, with its stamp."""
    path = alf.archive_path(dataset.path, dataset.id) if with_uuid else dataset.path
    (file,) = put(cache, path)
    store = ContentStore(cache, cache / alf.STATE_FOLDER)
    copy = store.open_copy(dataset)
    assert copy is not None
    os.close(copy.descriptor)
    store.vouch(dataset, copy, dataset.md5, source=source)
    assert store.flush()
    store.close()
    return file
