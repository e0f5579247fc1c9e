"""Reading the datasets table into columns of numbers: paths as codes, sessions as rows."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onefs import alf
from onefs.catalogue import columns
from onefs.catalogue.arranging import DatasetColumns, Paths
from onefs.catalogue.layout import DEFAULT, EXISTS, HAS_DEFAULT, HAS_MD5, MAX_EXAMPLES, LeftOutTally, Reason
from onefs.catalogue.mixing import find_ids
from onefs.catalogue.schema import CODED, DATASET_COLUMNS
from onefs.catalogue.tables import table_errors
from onefs.catalogue.vocabulary import Vocabulary
from onefs.text import visible

if TYPE_CHECKING:
    import pyarrow as pa

ABOVE_AGGREGATES = re.compile(r"^(?:[\w/]*/)?aggregates/")
"""What servers put before an aggregate's path, and the folder itself."""

SUSPECT = r"(^|/)\.{0,2}(/|$)"
_UNKNOWN, _RUBBISH = -1, -2


@dataclass(slots=True)
class DatasetReader:
    """Collects the table's batches. `eids` are the sessions' eids, sorted, at the rows `rows`."""

    eids: NDArray[np.uint8]
    rows: NDArray[np.int64]
    tally: LeftOutTally
    parts: list[DatasetColumns] = field(default_factory=list)
    paths: Vocabulary = field(default_factory=Vocabulary)

    def read(self, file: Path) -> tuple[DatasetColumns, Paths]:
        """All rows of known sessions, in the table's order. Raises `TableError`."""
        with table_errors(file):
            for batch in columns.batches(file, DATASET_COLUMNS, as_codes=CODED):
                self._add(batch)
        texts = self.paths.finish()
        columns.release()
        return _joined(self.parts), _paths(texts)

    def _add(self, batch: "dict[str, list[pa.Array]]") -> None:
        ids, valid = columns.uuids(batch["id"])
        valid &= ids.any(axis=1)
        session = self._session_rows(batch["eid"])
        md5, known = columns.md5s(batch["hash"][0])
        reasons = (
            (Reason.DATASET_ID, ~valid),
            (Reason.DATASET_EID, valid & (session == _RUBBISH)),
            (Reason.DATASET_SESSION, valid & (session == _UNKNOWN)),
            (Reason.DATASET_SIZE, valid & (session >= 0) & columns.oversized(batch["file_size"][0])),
            (Reason.DATASET_HASH, valid & (session >= 0) & ~known & columns.stated(batch["hash"][0], ~known)),
        )
        for reason, mask in reasons:
            if mask.any():
                self.tally.add(reason, int(mask.sum()), _examples(batch, np.flatnonzero(mask)[:MAX_EXAMPLES]))
        path, dictionary = _path_codes(batch["rel_path"][0], session == len(self.rows))
        part = DatasetColumns(
            session=session.astype(np.int32),
            path=path,
            id=ids,
            size=columns.sizes(batch["file_size"][0]),
            md5=md5,
            flags=_flags(batch, known),
            qc=columns.qc_codes(batch["qc"][0]) if "qc" in batch else np.zeros(len(ids), np.uint8),
        )
        stays = valid & (session >= 0)
        if not stays.all():
            part.take(np.flatnonzero(stays))
        self.parts.append(part)
        self.paths.add(part.path, dictionary)
        columns.release()  # after every batch: with many paths the pool would hold half a gigabyte

    def _session_rows(self, sources: "list[pa.Array]") -> NDArray[np.int64]:
        """Session rows; that after the last session for datasets of no session."""
        if len(sources) == 2:
            return self._rows_of(*columns.uuids(sources))
        codes, values = columns.encoded(sources[0])
        rows = self._rows_of(*columns.uuids([values]))
        return np.append(rows, len(self.rows))[codes]

    def _rows_of(self, ids: NDArray[np.uint8], valid: NDArray[np.bool_]) -> NDArray[np.int64]:
        found = find_ids(ids, self.eids)
        rows = np.where(found < 0, _UNKNOWN, np.append(self.rows, _UNKNOWN)[found])
        rows[~ids.any(axis=1)] = len(self.rows)
        rows[~valid] = _RUBBISH
        return rows


def _flags(batch: "dict[str, list[pa.Array]]", md5_known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    exists, _ = columns.truths(batch["exists"])
    flags = exists * np.uint8(EXISTS) | md5_known * np.uint8(HAS_MD5)
    if "default_revision" in batch:
        default, stated = columns.truths(batch["default_revision"])
        flags |= default * np.uint8(DEFAULT) | stated * np.uint8(HAS_DEFAULT)
    return flags


def _examples(batch: "dict[str, list[pa.Array]]", rows: NDArray[np.int64]) -> list[str]:
    """Left-out rows as one line each, quoted, for they may hold anything."""
    ids, eids, paths = (
        [columns.plain(array.take(rows)).to_pylist() for array in batch[name]] for name in ("id", "eid", "rel_path")
    )
    return [
        f"id {_plain(id_)}, eid {_plain(eid)}, {path!r}"
        for id_, eid, path in zip(zip(*ids, strict=True), zip(*eids, strict=True), paths[0], strict=True)
    ]


def _plain(values: "Iterable[object]") -> str:
    """One value, or two halves of an id, on one line."""
    return visible(" ".join(map(str, values)))


def _path_codes(array: "pa.Array", aggregates: NDArray[np.bool_]) -> tuple[NDArray[np.int32], "pa.Array"]:
    """Codes and texts of rel_paths; those of aggregates are made relative to their folder, null becomes ""."""
    import pyarrow as pa

    codes, values = columns.encoded(array)
    values = values.cast(pa.large_string()).fill_null("")
    values.validate(full=True)
    codes[codes < 0] = len(values)
    texts = pa.concat_arrays([values, pa.array([""], pa.large_string())])
    if aggregates.any():
        distinct, inverse = np.unique(codes[aggregates], return_inverse=True)
        codes[aggregates] = len(texts) + inverse
        relative = [ABOVE_AGGREGATES.sub("", text) for text in texts.take(pa.array(distinct)).to_pylist()]
        texts = pa.concat_arrays([texts, pa.array(relative, pa.large_string())])
    return codes.astype(np.int32), texts


def _joined(parts: list[DatasetColumns]) -> DatasetColumns:
    """The parts one after the other. They are emptied on the way, so that memory holds one column twice at most."""
    joined = {}
    for name in DatasetColumns.__slots__:
        pieces = [getattr(part, name) for part in parts]
        for part in parts:
            setattr(part, name, None)
        width = (16,) if name in ("id", "md5") else ()
        empty = np.empty((0, *width), EMPTY[name])
        joined[name] = np.concatenate([empty, *pieces])
    return DatasetColumns(**joined)


EMPTY = {"session": np.int32, "path": np.int32, "size": np.int64} | dict.fromkeys(
    ("id", "md5", "flags", "qc"), np.uint8
)


def _paths(texts: "pa.Array") -> Paths:
    import pyarrow as pa
    import pyarrow.compute as pc

    depth = pc.count_substring(texts, "/").cast(pa.int32()).to_numpy(zero_copy_only=False)
    unsafe = _unsafe(texts, depth)
    rows = np.flatnonzero(~unsafe)
    inside, folder = _folder_pairs(texts.take(pa.array(rows)) if unsafe.any() else texts)
    return Paths(columns.strings(texts), depth, unsafe, rows[inside], rows[folder])


def _unsafe(texts: "pa.Array", depth: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which paths may not be shown: a quick look at all, then the rule itself at the suspects."""
    import pyarrow.compute as pc

    long = pc.greater(pc.binary_length(texts), alf.LONGEST_NAME_BYTES)
    suspect = pc.or_(pc.or_(pc.match_substring_regex(texts, SUSPECT), pc.match_substring(texts, "\0")), long)
    unsafe: NDArray[np.bool_] = suspect.to_numpy(zero_copy_only=False) | (depth >= alf.MOST_PARTS)
    for row in np.flatnonzero(unsafe).tolist():
        unsafe[row] = not alf.is_safe_relative(texts[row].as_py())
    return unsafe


def _folder_pairs(texts: "pa.Array") -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of a path and another path that is one of its folders. Most archives have none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    folders = [level.unique() for _, level in _levels_above(texts)]
    both = pc.is_in(texts, value_set=pa.concat_arrays([texts.slice(0, 0), *folders])).to_numpy(zero_copy_only=False)
    known = np.flatnonzero(both)
    inside, folder = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for rows, level in _levels_above(texts) if len(known) else ():
        found = pc.index_in(level, value_set=texts.take(pa.array(known)))
        is_found = found.is_valid().to_numpy(zero_copy_only=False)
        inside.append(rows[is_found])
        folder.append(known[found.drop_null().to_numpy()])
    return np.concatenate(inside), np.concatenate(folder)


def _levels_above(texts: "pa.Array") -> "Iterator[tuple[NDArray[np.int64], pa.Array]]":
    """For each number of steps up the folders so far up, and which paths they are of."""
    import pyarrow.compute as pc

    rows, level = np.arange(len(texts)), texts
    while len(level):
        deep = pc.match_substring(level, "/")
        rows, level = rows[deep.to_numpy(zero_copy_only=False)], level.filter(deep)
        level = pc.replace_substring_regex(level, r"/[^/]*$", "")
        yield rows, level
