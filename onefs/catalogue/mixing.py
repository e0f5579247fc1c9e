"""Owns the 64-bit fingerprints of rows, computed for millions of rows at once, and the small numbers made of them."""

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_WORD_BYTES = 8


def mix(values: U64) -> U64:
    """Scatter 64-bit numbers (splitmix64's last step): every bit of the result depends on every bit given."""
    mixed = values + _GOLDEN
    mixed ^= mixed >> np.uint64(30)
    mixed *= _FIRST
    mixed ^= mixed >> np.uint64(27)
    mixed *= _SECOND
    mixed ^= mixed >> np.uint64(31)
    return mixed


def combine(first: U64, *others: U64) -> U64:
    """One number per row that tells rows of several numbers apart; the order of the columns counts."""
    mixed = mix(first)
    for column in others:
        mixed = mix(mixed ^ column)
    return mixed


def words(ids: NDArray[np.uint8]) -> tuple[U64, U64]:
    """UUIDs or MD5s of shape (n, 16) as two numbers each, which sort as the bytes do."""
    halves = np.ascontiguousarray(ids).reshape(-1, 16).view(">u8")
    return halves[:, 0].astype(np.uint64), halves[:, 1].astype(np.uint64)


def order_of_ids(ids: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The permutation that sorts ids of shape (n, 16) by their bytes; equal ones keep their order."""
    high, low = words(ids)
    order = np.argsort(high, kind="stable")
    ordered = high[order]
    if (ordered[1:] == ordered[:-1]).any():  # rare: a second key costs four times the sort
        order = np.lexsort((low, high))
    return order


def find_ids(ids: NDArray[np.uint8], among: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Where each of `ids` stands in `among`, which is sorted and without repetition; -1 where it does not."""
    found = np.full(len(ids), -1, np.int64)
    if not len(among):
        return found
    high, low = words(ids)
    among_high, among_low = words(among)
    at = np.searchsorted(among_high, high)
    open_rows = np.arange(len(ids))
    while len(open_rows):  # once, but for ids that share their first half
        open_rows = open_rows[at[open_rows] < len(among)]
        open_rows = open_rows[among_high[at[open_rows]] == high[open_rows]]
        same = among_low[at[open_rows]] == low[open_rows]
        found[open_rows[same]] = at[open_rows[same]]
        open_rows = open_rows[~same]
        at[open_rows] += 1
    return found


def text_digests(offsets: NDArray[np.int64], data: NDArray[np.uint8]) -> U64:
    """A number for each text of a string column, computed from its bytes alone."""
    lengths = np.diff(offsets)
    digests = mix(lengths.astype(np.uint64))
    padded = np.concatenate((data, np.zeros(_WORD_BYTES, np.uint8)))
    at_byte = np.ndarray(len(data) + 1, "<u8", buffer=padded.data, strides=(1,))
    longest_first = np.argsort(-lengths, kind="stable")
    ordered = lengths[longest_first]
    for begin in range(0, int(ordered[0]) if len(ordered) else 0, _WORD_BYTES):
        rows = longest_first[: np.searchsorted(-ordered, -begin)]
        spare_bits = 8 * np.maximum(_WORD_BYTES - (lengths[rows] - begin), 0).astype(np.uint64)
        kept = np.uint64(0xFFFFFFFFFFFFFFFF) >> spare_bits
        digests[rows] = mix(digests[rows] ^ (at_byte[offsets[rows] + begin] & kept))
    return digests


def distinct_keys(wanted: U64, bits: int) -> U64:
    """Numbers below 2**bits, one for each row and all different.

    The first row that wants a number has it; the others, in their order, take the next free one.
    """
    keys = wanted & np.uint64((1 << bits) - 1)
    taken, first = np.unique(keys, return_index=True)
    if len(taken) == len(keys):
        return keys
    mask = (1 << bits) - 1
    following = {key: (key + 1) & mask for key in taken.tolist()}
    later = np.ones(len(keys), bool)
    later[first] = False
    for row in np.flatnonzero(later).tolist():
        keys[row] = take_free(int(keys[row]), following, mask)
    return keys


def take_free(wanted: int, following: dict[int, int], mask: int) -> int:
    """Take the first free number from `wanted` on, up to `mask` and then from 0; there must be one.

    `following` has all numbers taken so far, and for each of them one at or before the next free number. Shortening
    these ways at every use keeps it quick even if all want the same.
    """
    number, passed = wanted, []
    while number in following:
        passed.append(number)
        number = following[number]
    following[number] = (number + 1) & mask
    following.update(dict.fromkeys(passed, following[number]))
    return number
