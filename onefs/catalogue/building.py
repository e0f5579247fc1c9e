"""Building an index from the two tables: in a temporary folder, then renamed into its place."""

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np

from onefs.catalogue import arranging, session_rows
from onefs.catalogue.arranging import DatasetColumns, Paths
from onefs.catalogue.dataset_rows import DatasetReader
from onefs.catalogue.folders import Leaf, arrange_folders
from onefs.catalogue.layout import EPOCH, NO_DATE, TEMPORARY, IndexWriter, LeftOutTally
from onefs.catalogue.mixing import U64, order_of_ids, text_digests
from onefs.catalogue.records import Session
from onefs.catalogue.schema import TableFiles
from onefs.catalogue.session_rows import Coded
from onefs.catalogue.tables import read_metadata


def build_index(files: TableFiles, directory: Path, is_current: Callable[[], bool]) -> None:
    """Make the index of two tables at `directory`, whole or not at all.

    Nothing is put there unless `is_current` says at the end that the tables still are those it is to be of. If
    another process puts one there first, that one stays. Raises `TableError` if a table cannot be used and `OSError`
    if the disk cannot.
    """
    metadata = read_metadata(files.sessions)
    read_metadata(files.datasets)
    temporary = directory.with_name(f"{TEMPORARY}{uuid4().hex}")
    temporary.mkdir()
    try:
        writer = IndexWriter(temporary)
        tally = LeftOutTally()
        _write(writer, files, tally)
        writer.finish(metadata, tally.totals())
        if is_current():
            _rename(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _rename(temporary: Path, directory: Path) -> None:
    try:
        temporary.rename(directory)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return
    descriptor = os.open(directory.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(writer: IndexWriter, files: TableFiles, tally: LeftOutTally) -> None:
    sessions = session_rows.read_sessions(files.sessions, tally)
    eids = session_rows.eids_of(sessions, aggregates=False)
    by_eid = order_of_ids(eids)
    datasets, paths = DatasetReader(eids[by_eid], by_eid, tally).read(files.datasets)
    arranging.arrange(datasets, paths, session_rows.firsts_of(sessions, aggregates=True), tally)
    aggregates = bool(len(datasets.session)) and int(datasets.session[-1]) == len(sessions)
    path_digests = text_digests(paths.texts.offsets, paths.texts.data)
    own = session_rows.digests_of(sessions, aggregates=aggregates)
    _write_sessions(writer, sessions, aggregates=aggregates)
    rows = np.arange(len(own))
    first = np.searchsorted(datasets.session, rows, "left")
    count = np.searchsorted(datasets.session, rows, "right") - first
    writer.save("session_first", first)
    writer.save("session_count", count)
    writer.save("session_digest", own + arranging.session_digests(datasets, path_digests, first, count))
    _write_datasets(writer, datasets, paths, path_digests)


def _write_sessions(writer: IndexWriter, sessions: Sequence[Session], *, aggregates: bool) -> None:
    eids = session_rows.eids_of(sessions, aggregates=aggregates)
    by_eid = order_of_ids(eids)
    keys = session_rows.keys_of(eids, by_eid)
    days = [session.date.toordinal() - EPOCH for session in sessions]
    last = 1 if aggregates else 0
    writer.save("session_eid", eids)
    writer.save("session_by_eid", by_eid)
    writer.save("session_key", keys)
    writer.save("session_by_key", np.argsort(keys))
    writer.save("session_date", np.array(days + [NO_DATE] * last, np.int32))
    writer.save("session_number", np.array([session.number for session in sessions] + [0] * last, np.uint16))
    for name, code, values in (
        ("labs", "session_lab", [session.lab for session in sessions]),
        ("subjects", "session_subject", [session.subject for session in sessions]),
        ("protocols", "session_protocol", [session.task_protocol for session in sessions]),
        ("projects", "session_projects", [session.projects for session in sessions]),
    ):
        coded = Coded.of(values + [""] * last)
        writer.save(code, coded.codes)
        writer.save_strings(name, coded.texts)
    leaves = [
        Leaf(tuple(session.path.split("/")), row, day)
        for row, (session, day) in enumerate(zip(sessions, days, strict=True))
    ]
    if aggregates:
        leaves.append(Leaf((session_rows.AGGREGATES,), len(sessions), NO_DATE))
    _write_folders(writer, leaves)


def _write_folders(writer: IndexWriter, leaves: Sequence[Leaf]) -> None:
    folders = arrange_folders(leaves)
    writer.save_strings("folder_name", folders.name)
    writer.save("folder_parent", folders.parent)
    writer.save("folder_first", folders.first)
    writer.save("folder_count", folders.count)
    writer.save("folder_session", folders.session)
    writer.save("folder_date", folders.date)
    writer.save("folder_key", folders.key)
    writer.save("folder_by_key", np.argsort(folders.key))
    writer.save("session_folder", folders.of_sessions(len(leaves)))


def _write_datasets(writer: IndexWriter, datasets: DatasetColumns, paths: Paths, path_digests: U64) -> None:
    writer.save("dataset_content", arranging.contents(datasets, path_digests))
    writer.save("dataset_by_id", order_of_ids(datasets.id))
    for name in ("id", "path", "size", "md5", "flags", "qc"):
        writer.save(f"dataset_{name}", getattr(datasets, name))
    writer.save_strings("paths", paths.texts)
