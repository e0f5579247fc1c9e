"""Lookups in a column, given the permutation that sorts it. They touch a few rows only."""

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from onefs.catalogue.layout import Strings
from onefs.catalogue.stored import Column

MOST_MET = 1 << 12
"""About how many ids a search keeps: those of its first twelve steps."""


def sorted_keys(keys: NDArray[np.uint64], order: NDArray[np.int32]) -> "array[int]":
    """Keys in ascending order, for `find_key`, given the permutation that sorts them."""
    return array("Q", keys[order].tobytes())


def find_key(ordered: "array[int]", order: NDArray[np.int32], key: int) -> int | None:
    """The row of a key, given all keys in ascending order, and the permutation that sorts them."""
    at = bisect_left(ordered, key)
    return order.item(at) if at < len(ordered) and ordered[at] == key else None


def find_id(
    ids: NDArray[np.uint8] | Column,
    order: NDArray[np.int32] | Column,
    wanted: UUID,
    met: dict[int, bytes] | None = None,
) -> int | None:
    """The first row of an id, given the permutation that sorts them.

    `met` keeps the ids that many searches of one column compare with, so that they are read once.
    """
    return next(iter(find_ids(ids, order, wanted, met)), None)


def find_ids(
    ids: NDArray[np.uint8] | Column,
    order: NDArray[np.int32] | Column,
    wanted: UUID,
    met: dict[int, bytes] | None = None,
) -> Iterator[int]:
    """All rows of an id, as `find_id` finds the first."""
    met = {} if met is None else met
    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        found = met.get(middle)
        if found is None:
            found = ids[int(order[middle])].tobytes()
            if (high - low) * MOST_MET > len(order):
                met[middle] = found
        if found < wanted.bytes:
            low = middle + 1
        else:
            high = middle
    while low < len(order) and ids[int(order[low])].tobytes() == wanted.bytes:
        yield int(order[low])
        low += 1


def find_text(texts: Strings, wanted: str, begin: int, end: int) -> int | None:
    """The row of a text among those from `begin` to `end`, which are sorted by their bytes."""
    encoded = wanted.encode(errors="surrogateescape")
    low, high = begin, end
    while low < high:
        middle = (low + high) // 2
        if texts.encoded(middle) < encoded:
            low = middle + 1
        else:
            high = middle
    return low if low < end and texts.encoded(low) == encoded else None
