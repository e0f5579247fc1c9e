"""The dates that revisions are named by, found in the paths of datasets."""

import re
from collections.abc import Iterable

from onefs import alf
from onefs.catalogue.stored import StoredTexts

_DATED = re.compile(rb"#(\d{4}-\d\d-\d\d)#/")
_OVERLAP_BYTES = 13
_PIECE_BYTES = 1 << 22


def dates_in(paths: StoredTexts) -> frozenset[str]:
    """The revisions that are dates, of all paths in a column. Piece by piece: other threads come in between."""
    found: set[bytes] = set()
    for begin in range(0, len(paths.data), _PIECE_BYTES):
        piece = memoryview(paths.data[begin : begin + _PIECE_BYTES + _OVERLAP_BYTES])
        found.update(match[1] for match in _DATED.finditer(piece))
    return _real(date.decode() for date in found)


def dates_of(rel_paths: Iterable[str]) -> frozenset[str]:
    """The revisions that are dates, of some paths."""
    return _real(alf.split_relative(path).revision for path in rel_paths if "#" in path)


def _real(dates: Iterable[str]) -> frozenset[str]:
    return frozenset(date for date in dates if alf.calendar_date(date))
