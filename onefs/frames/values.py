"""Looking into frames that programs may have edited: where an id stands, and what the values mean."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from onefs import alf
from onefs.catalogue.layout import LARGEST_SIZE
from onefs.catalogue.records import QC_CODES
from onefs.catalogue.schema import QC_NAMES
from onefs.catalogue.snapshot import NO_EID

if TYPE_CHECKING:
    import pandas as pd

Positions = NDArray[np.int64]

_CODE_OF_QC: Mapping[object, int] = {
    **{name: code for code, name in enumerate(QC_NAMES)},
    **{int(qc): code for code, qc in enumerate(QC_CODES)},
}


def positions_of(frame: "pd.DataFrame", name: str, key: UUID | None) -> Positions:
    """Where an id (None: no id) stands in a frame's index or column, in the frame's order."""
    index = frame.index
    wanted = [None, "", str(NO_EID), NO_EID] if key is None else [str(key), key]
    if name not in index.names:
        if name not in frame.columns:
            return np.empty(0, np.int64)
        column = frame[name]
        found = column.isna() | column.isin(wanted[1:]) if key is None else column.isin(wanted)
        return np.flatnonzero(found.to_numpy(bool))
    if index.nlevels == 1:
        return np.flatnonzero(index.isna() | index.isin(wanted[1:])) if key is None else _places(index, wanted)
    level = index.names.index(name)
    codes = [int(code) for code in _places(index.levels[level], wanted[1:] if key is None else wanted)]
    codes += [-1] if key is None else []
    places = [_places_of_code(index, level, code) for code in codes]
    return np.sort(np.concatenate([np.empty(0, np.int64), *places]))


def _places(index: "pd.Index", wanted: Sequence[object]) -> Positions:
    """Where any of these stands in an index of one level."""
    found = [np.empty(0, np.int64)]
    for one in wanted:
        try:
            found.append(np.atleast_1d(np.arange(len(index))[index.get_loc(one)]))
        except (KeyError, TypeError):
            continue
    return np.sort(np.concatenate(found))


def _places_of_code(index: "pd.MultiIndex", level: int, code: int) -> Positions:
    codes = index.codes[level]
    is_sorted = level == 0 and index.is_monotonic_increasing and index.levels[0].is_monotonic_increasing
    if is_sorted:  # pandas remembers that, so a session costs no look at all rows
        begin, end = np.searchsorted(codes, (code, code + 1))
        return np.arange(begin, end)
    return np.flatnonzero(codes == code)


def values_at(frame: "pd.DataFrame", name: str, places: Positions, value: object) -> list[Any]:
    """The values of a column, or of a level of the index, at these places; `value` for each if there is no such."""
    if name in frame.columns:
        return list(frame[name].array[places])
    if name in frame.index.names:
        return list(frame.index[places].get_level_values(name))
    return [value] * len(places)


def is_null(value: object) -> bool:
    """Whether a value stands for nothing."""
    import pandas as pd

    return value is None or bool(pd.api.types.is_scalar(value) and pd.isna(value))


def text_of(value: object) -> str:
    """The value as text, "" for null."""
    return "" if is_null(value) else str(value)


def qc_code(value: object) -> int:
    """The code of a QC outcome by its name or Alyx's number for it; that of NOT_SET for what is none."""
    return _CODE_OF_QC.get(value, 0)


def truth_of(value: object) -> bool:
    """The value as a bool, False for null."""
    return not is_null(value) and bool(value)


def size_of(value: Any) -> int:
    """A size in bytes, -1 if it is not known."""
    size = -1 if is_null(value) else int(value)
    return size if 0 <= size <= LARGEST_SIZE else -1


def uuid_of(value: object) -> UUID:
    """The value as an id, the nil one for what is none."""
    try:
        return value if isinstance(value, UUID) else UUID(text_of(value))
    except ValueError:
        return NO_EID


def day_of(value: Any) -> date | None:
    """The day of a date, time or text that begins with one."""
    if is_null(value):
        return None
    if isinstance(value, datetime):
        return value.date()
    return value if isinstance(value, date) else alf.calendar_date(str(value)[:10])
