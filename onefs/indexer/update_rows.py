"""`onefs index --update`: compares the rows of a datasets table with the files found, and with those that are gone."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from onefs.catalogue import columns
from onefs.catalogue.columns import Ids, Mask
from onefs.catalogue.mixing import find_ids
from onefs.catalogue.schema import DATASET_COLUMNS, Column
from onefs.catalogue.tables import table_errors
from onefs.indexer.update_defaults import DefaultChanges, Revision, dataset_key
from onefs.indexer.update_matches import PathKeys, as_ids, path_key
from onefs.indexer.write import IndexedSession, md5_texts

if TYPE_CHECKING:
    import pyarrow as pa

Rows = NDArray[np.int64]
Values = dict[str, "tuple[Rows, pa.Array]"]
Batch = dict[str, "list[pa.Array]"]

_ROWS_AT_ONCE = 1 << 15
"""So many paths are Python objects at once."""


class FoundFiles:
    """The files that were found, by number. `is_known`: whether the table has a row for each."""

    def __init__(self) -> None:
        self.keys = PathKeys()
        self._sizes: array[int] = array("Q")
        self._md5s = bytearray()
        self.sizes = np.empty(0, np.int64)
        self.md5s: Ids = as_ids(b"")
        self.is_known: Mask = np.empty(0, bool)

    def add(self, session: IndexedSession, eids: Iterable[UUID]) -> None:
        """Add the files of a session that the table knows by some eids."""
        first = len(self._sizes)
        for eid in eids:
            for number, path in enumerate(session.paths, first):
                self.keys.add(number, eid.bytes, path)
        self._sizes.extend(session.sizes)
        self._md5s += session.md5s

    def finish(self) -> None:
        """Sort them. To be called once, after all were added."""
        self.keys.finish()
        self.sizes = np.frombuffer(self._sizes, np.int64)
        self.md5s = as_ids(self._md5s)
        self.is_known = np.zeros(len(self.sizes), bool)


def _are_of_paths(ids: Sequence[bytes]) -> Mask:
    """Whether ids were made of paths by indexing, as their version tells; databases give random ones."""
    return np.fromiter((each[6] >> 4 == 3 for each in ids), bool, len(ids))


class Comparison:
    """The changes to a datasets table. `eids`, sorted, are those of sessions with files that were found or are gone."""

    def __init__(self, found: FoundFiles, gone: PathKeys, eids: Ids) -> None:
        self.found = found
        self.has_defaults = False
        self.gone_keys: set[bytes] = set()
        self._gone = gone
        self._eids = eids
        self._n_left = np.zeros(len(eids), np.int64)
        self._removed: list[Rows] = []
        self._values: dict[str, list[tuple[Rows, pa.Array]]] = {"file_size": [], "hash": [], "exists": []}

    def read(self, file: Path) -> None:
        """Compare all rows. Raises `TableError`."""
        wanted = [each for each in DATASET_COLUMNS if each.name != "qc"]
        for first, batch in _batches(file, wanted):
            self.has_defaults = "default_revision" in batch
            for rows, session, eids, ids, paths in self._in_sessions(batch):
                keys = as_ids(b"".join(map(path_key, eids, paths)))
                files = self.found.keys.find(keys, zip(eids, paths, ids, strict=True))
                is_gone = (files < 0) & (self._gone.find(keys, zip(eids, paths, ids, strict=True)) >= 0)
                is_gone &= _are_of_paths(ids)  # others are of a database, which has the file though it is not here
                self._n_left += np.bincount(session[~is_gone], minlength=len(self._n_left))
                self._removed.append(first + rows[is_gone])
                self.gone_keys.update(dataset_key(eids[at], paths[at])[0] for at in np.flatnonzero(is_gone))
                self.found.is_known[files[files >= 0]] = True
                self._compare(batch, first, rows[files >= 0], files[files >= 0])

    def _in_sessions(self, batch: Batch) -> Iterator[tuple[Rows, Rows, list[bytes], list[bytes], list[str]]]:
        """The rows of the sessions in `eids`, in pieces: their numbers, sessions, eids, ids and paths."""
        import pyarrow as pa

        session_of = find_ids(columns.uuids(batch["eid"])[0], self._eids)
        ids = columns.uuids(batch["id"])[0]
        all_rows = np.flatnonzero(session_of >= 0)
        for begin in range(0, len(all_rows), _ROWS_AT_ONCE):
            rows = all_rows[begin : begin + _ROWS_AT_ONCE]
            session = session_of[rows]
            paths = columns.texts(batch["rel_path"][0].take(pa.array(rows)))
            yield rows, session, _as_list(self._eids[session]), _as_list(ids[rows]), paths

    def _compare(self, batch: Batch, first: int, rows: Rows, files: Rows) -> None:
        """Note what changes in some rows, whose files are given."""
        import pyarrow as pa

        sizes = self.found.sizes[files]
        is_same_size = np.equal(sizes, columns.sizes(batch["file_size"][0].take(pa.array(rows))))
        old, _ = columns.md5s(batch["hash"][0].take(pa.array(rows)))
        found = self.found.md5s[files]
        is_hashed = np.logical_or.reduce(found, axis=1)
        md5s = np.where(is_hashed[:, np.newaxis], found, old * is_same_size[:, np.newaxis])
        # Also what is no MD5 goes where it would stand beside another size.
        is_changed = ~(np.equal(md5s, old).all(axis=1) & (is_same_size | is_hashed))
        exists, _ = columns.truths([each.take(pa.array(rows)) for each in batch["exists"]])
        self._note("file_size", first + rows[~is_same_size], pa.array(sizes[~is_same_size]))
        self._note("hash", first + rows[is_changed], md5_texts(md5s[is_changed]))
        self._note("exists", first + rows[~exists], pa.array(np.ones(len(rows), bool)[~exists]))

    def _note(self, column: str, rows: Rows, values: "pa.Array") -> None:
        if len(rows):
            self._values[column].append((rows, values))

    def read_revisions(self, file: Path, changes: DefaultChanges) -> None:
        """Add all rows of the datasets that changed to `changes`."""
        removed = self.removed()
        wanted = [each for each in DATASET_COLUMNS if each.name in ("eid", "id", "rel_path", "default_revision")]
        for first, batch in _batches(file, wanted):
            truths, stated = columns.truths(batch["default_revision"])
            for rows, _, eids, _, paths in self._in_sessions(batch):
                is_gone = np.isin(first + rows, removed)
                for at, eid, path, gone in zip(rows.tolist(), eids, paths, is_gone.tolist(), strict=True):
                    key, revision = dataset_key(eid, path)
                    if key in changes.changed:
                        is_default = bool(truths[at]) if stated[at] else None
                        changes.add_row(key, Revision(revision, first + at, is_gone=gone, is_default=is_default))

    # Results

    def values(self) -> Values:
        """The values that change, by column."""
        import pyarrow as pa

        return {
            name: (np.concatenate([rows for rows, _ in parts]), pa.concat_arrays([values for _, values in parts]))
            for name, parts in self._values.items()
            if parts
        }

    def removed(self) -> Rows:
        """The rows to remove."""
        return np.concatenate([np.empty(0, np.int64), *self._removed])

    def n_left(self, eid: UUID) -> int:
        """How many datasets of a session stay."""
        return int(self._n_left[find_ids(as_ids(eid.bytes), self._eids)[0]])


def _batches(file: Path, wanted: Iterable[Column]) -> Iterator[tuple[int, Batch]]:
    """The rows of a table in parts, with the number of the first."""
    first = 0
    with table_errors(file):
        for batch in columns.batches(file, wanted):
            yield first, batch
            first += len(batch["id"][0])
            columns.release()


def _as_list(ids: Ids) -> list[bytes]:
    data = ids.tobytes()
    return [data[at : at + 16] for at in range(0, len(data), 16)]
