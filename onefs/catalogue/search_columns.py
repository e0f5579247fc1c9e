"""The columns that searches read, and those of an index. With rows learned from a database: `learned_columns`."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from onefs.catalogue.layout import EXISTS, Index
from onefs.catalogue.matching import TextSequence


class Sliced(Protocol):
    """A column that is read piece by piece: a slice of it is an array. Arrays are of this kind, too."""

    def __len__(self) -> int: ...
    def __getitem__(self, where: slice, /) -> Any: ...


class Texts(NamedTuple):
    """A column of texts: `codes` are places in `texts`, -1 stands for "". A text may be in `texts` several times."""

    codes: Any
    texts: TextSequence


class Columns(Protocol):
    """Sessions and datasets as columns. Rows of sessions are the catalogue's; one whose eid is nil is no session.

    `days` count from 1970. `dataset_session` is the row of each dataset's session, -1 for none; `dataset_qc` has codes
    0 to 4. Those of datasets, and the codes of `dataset_path`, are `Sliced`: read a piece at a time.
    """

    @property
    def eids(self) -> NDArray[np.uint8]: ...
    @property
    def labs(self) -> Texts: ...
    @property
    def subjects(self) -> Texts: ...
    @property
    def protocols(self) -> Texts: ...
    @property
    def projects(self) -> Texts: ...
    @property
    def days(self) -> NDArray[Any]: ...
    @property
    def numbers(self) -> NDArray[Any]: ...
    @property
    def dataset_session(self) -> Sliced: ...
    @property
    def dataset_path(self) -> Texts: ...
    @property
    def dataset_exists(self) -> Sliced: ...
    @property
    def dataset_qc(self) -> Sliced: ...
    @property
    def dataset_id(self) -> Sliced: ...


class IndexColumns:
    """The columns of an index. Nothing is copied before it is sliced."""

    def __init__(self, index: Index) -> None:
        arrays = index.arrays
        self.eids = arrays.session_eid
        self.labs = Texts(arrays.session_lab, arrays.labs)
        self.subjects = Texts(arrays.session_subject, arrays.subjects)
        self.protocols = Texts(arrays.session_protocol, arrays.protocols)
        self.projects = Texts(arrays.session_projects, arrays.projects)
        self.days = arrays.session_date
        self.numbers = arrays.session_number
        self.dataset_session: Sliced = SessionOfDataset(rows_of(self.eids), arrays.session_first, arrays.session_count)
        self.dataset_path = Texts(arrays.dataset_path, arrays.paths)
        self.dataset_exists: Sliced = _Flag(arrays.dataset_flags, EXISTS)
        self.dataset_qc: Sliced = arrays.dataset_qc
        self.dataset_id: Sliced = arrays.dataset_id


@dataclass(frozen=True, slots=True)
class SessionOfDataset:
    """The row of each dataset's session: `rows` by the index's rows, whose datasets stand one after the other."""

    rows: NDArray[np.int32]
    first: NDArray[np.int64]
    count: NDArray[np.int32]

    def __len__(self) -> int:
        return int(self.first[-1] + self.count[-1]) if len(self.first) else 0

    def __getitem__(self, where: slice) -> NDArray[np.int32]:
        begin, end, _ = where.indices(len(self))
        low, high = int(np.searchsorted(self.first, begin, "right")) - 1, int(np.searchsorted(self.first, end))
        if begin >= end:
            return self.rows[:0]
        first = self.first[low:high]
        stop = np.minimum(first + self.count[low:high], end)
        return np.repeat(self.rows[low:high], stop - np.maximum(first, begin))


@dataclass(frozen=True, slots=True)
class _Flag:
    """Which rows have a flag."""

    flags: Sliced
    flag: int

    def __len__(self) -> int:
        return len(self.flags)

    def __getitem__(self, where: slice) -> NDArray[np.bool_]:
        return (self.flags[where] & self.flag) != 0  # type: ignore[no-any-return]


def rows_of(eids: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The number of each row, -1 where its eid is nil."""
    return np.where(eids.any(axis=1), np.arange(len(eids), dtype=np.int32), np.int32(-1))
