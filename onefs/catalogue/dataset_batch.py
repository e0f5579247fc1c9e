"""`DatasetBatch`: datasets that follow one another in an index, read from its columns at once, made one by one."""

from collections.abc import Mapping
from uuid import UUID

from onefs.catalogue.layout import DEFAULT, EXISTS, HAS_DEFAULT, HAS_MD5, UNKNOWN_SIZE, Arrays
from onefs.catalogue.records import QC_CODES, Dataset

MOST_ROWS = 64
ID_BYTES = 16

# The Python values for each value of the flags' byte.
EXISTS_OF = tuple(bool(flags & EXISTS) for flags in range(256))
DEFAULT_OF = tuple(bool(flags & DEFAULT) if flags & HAS_DEFAULT else None for flags in range(256))


class DatasetBatch:
    """Up to `MOST_ROWS` datasets of one session: after one of them, programs mostly want the next."""

    __slots__ = ("_eid", "_flags", "_ids", "_md5s", "_paths", "_qc", "_session_path", "_sizes", "_texts", "rows")

    def __init__(
        self, arrays: Arrays, texts: Mapping[int, str], eid: UUID | None, session_path: str, rows: range
    ) -> None:
        """`texts` are the paths by their codes, `rows` those of the datasets in the index."""
        where = slice(rows.start, rows.stop)
        self.rows = rows
        self._texts = texts
        self._eid = eid
        self._session_path = session_path
        self._ids = arrays.dataset_id[where].tobytes()
        self._md5s = arrays.dataset_md5[where].tobytes()
        self._paths: list[int] = arrays.dataset_path[where].tolist()
        self._sizes: list[int] = arrays.dataset_size[where].tolist()
        self._flags = arrays.dataset_flags[where].tobytes()
        self._qc = arrays.dataset_qc[where].tobytes()

    def id(self, row: int) -> UUID:
        """The id of the dataset of one of `rows`."""
        at = row - self.rows.start
        return UUID(bytes=self._ids[at * ID_BYTES : (at + 1) * ID_BYTES])

    def dataset(self, row: int) -> Dataset:
        """The dataset of one of `rows`."""
        at = row - self.rows.start
        begin, end = at * ID_BYTES, (at + 1) * ID_BYTES
        flags, size_bytes = self._flags[at], self._sizes[at]
        return Dataset(
            UUID(bytes=self._ids[begin:end]),
            self._eid,
            self._session_path,
            self._texts[self._paths[at]],
            None if size_bytes == UNKNOWN_SIZE else size_bytes,
            self._md5s[begin:end].hex() if flags & HAS_MD5 else "",
            EXISTS_OF[flags],
            QC_CODES[self._qc[at]],
            DEFAULT_OF[flags],
        )
