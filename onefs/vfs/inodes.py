"""Owns the layout of inode numbers: computed from what a node is, so that any number can be turned back into it.

    file               0 1 <session: 34 bits>  <name and bytes: 28 bits>
    collection folder  0 0 1 <view: 10> <session: 34> <path: 17>
    upper folder       0 0 0 1 <view: 10> … <path: 48>
    special            0 0 0 0 1 <edition: 48>, or a small number: the root, the tables, the control directory
    symbolic link      0 0 0 0 0 1 <name and target: 58>
    link of a query    0 0 0 0 0 0 1 <query folder: 23> <session: 34>

A file's number does not hold the view: the same bytes have the same number, and the same kernel cache, in every view.
"""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onefs.catalogue.layout import FOLDER_BITS, SESSION_BITS
from onefs.catalogue.mixing import take_free
from onefs.digests import digest64

ROOT = 1
FILE_BITS = 28
COLLECTION_BITS = 17
VIEW_BITS = 10
SPECIAL_BITS = 48
LINK_BITS = 58
QUERY_BITS = 23

_FILE = 1 << 62
_COLLECTION = 1 << 61
_FOLDER = 1 << 60
_SPECIAL = 1 << 59
_LINK = 1 << 58
_QUERY_LINK = 1 << 57
_GENERATION_MASK = (1 << 31) - 1
_VIEW_MASK = (1 << VIEW_BITS) - 1
_SPECIAL_MASK = (1 << SPECIAL_BITS) - 1
_LINK_MASK = (1 << LINK_BITS) - 1
_QUERY_MASK = (1 << QUERY_BITS) - 1
_SESSION_MASK = (1 << SESSION_BITS) - 1
_FOLDER_MASK = (1 << FOLDER_BITS) - 1


class Kind(Enum):
    """What a number stands for."""

    FILE = "file"
    COLLECTION = "collection"
    FOLDER = "folder"
    SPECIAL = "special"
    LINK = "link"


class Decoded(NamedTuple):
    """An inode number's parts: `key` is a session's key, an upper folder's, or the special number itself."""

    kind: Kind
    view: int
    key: int


def file_fingerprints(content: Sequence[int]) -> NDArray[np.uint64]:
    """28-bit numbers, one for each file of a session, from 64-bit digests of name and bytes; all different."""
    mask = (1 << FILE_BITS) - 1
    wanted = np.array(content, np.uint64) & np.uint64(mask)
    contested = _contested(wanted, mask)
    if len(contested):
        wanted[contested] = _distinct(wanted[contested].tolist(), mask)
    return wanted


def _contested(wanted: NDArray[np.uint64], mask: int) -> NDArray[np.int64]:
    """Where numbers stand that others want, too, or may have to be given; they are few among many that are none's."""
    order = np.argsort(wanted, kind="stable")
    ordered = wanted[order].astype(np.int64)
    if (ordered[1:] != ordered[:-1]).all():
        return order[:0]
    places = np.arange(len(wanted))
    given = np.maximum.accumulate(ordered - places) + places  # whoever comes too late has the next free number
    if given[-1] > mask:  # some go on from 0
        return places
    run = np.cumsum(np.diff(given, prepend=-1) > 1)  # runs of numbers without a free one between
    is_contested = np.bincount(run, given != ordered) > 0
    found: NDArray[np.int64] = np.sort(order[is_contested[run]])
    return found


def _distinct(numbers: list[int], mask: int) -> list[int]:
    if len(numbers) > mask + 1:
        raise ValueError(f"{len(numbers)} nodes of one session want different numbers up to {mask}")
    if len(set(numbers)) == len(numbers):
        return numbers
    following: dict[int, int] = {}
    for position, wanted in enumerate(numbers):
        numbers[position] = take_free(wanted, following, mask)
    return numbers


def collection_fingerprints(digests: list[int]) -> list[int]:
    """17-bit numbers, one for each folder of a session, from digests of their paths in sorted order."""
    mask = (1 << COLLECTION_BITS) - 1
    return _distinct([digest & mask for digest in digests], mask)


def file_ino(session_key: int, fingerprint: int) -> int:
    """The number of a file in a session."""
    return _FILE | session_key << FILE_BITS | fingerprint


def generation(content: int) -> int:
    """Bits of a file's digest that its inode number leaves out: a kernel drops cached pages where they differ."""
    return content >> FILE_BITS & _GENERATION_MASK


def collection_ino(view: int, session_key: int, fingerprint: int) -> int:
    """The number of a folder inside a session."""
    return _COLLECTION | (view << SESSION_BITS | session_key) << COLLECTION_BITS | fingerprint


def folder_ino(view: int, key: int) -> int:
    """The number of a folder from the root down to a session's own."""
    return _FOLDER | view << FOLDER_BITS | key


def view_root(view: int) -> int:
    """The number of a view's root, whose key is that of a path without parts."""
    return folder_ino(view, digest64(()) & _FOLDER_MASK) if view else ROOT


def special_ino(digest: int) -> int:
    """The number of a root file that is no dataset, from a digest of its edition."""
    return _SPECIAL | digest & _SPECIAL_MASK


def link_ino(digest: int) -> int:
    """The number of a symbolic link, from a digest of its path and target."""
    return _LINK | digest & _LINK_MASK


def query_link_ino(number: int, session_key: int) -> int:
    """The number of a link to a session in the query folder of this number, which has `QUERY_BITS`."""
    return _QUERY_LINK | number << SESSION_BITS | session_key


def decode_query_link(ino: int) -> tuple[int, int] | None:
    """The query folder's number and the session's key of a link in a query folder; None for other numbers."""
    if ino >> LINK_BITS or not ino & _QUERY_LINK:
        return None
    return ino >> SESSION_BITS & _QUERY_MASK, ino & _SESSION_MASK


def is_file(ino: int) -> bool:
    """Whether a number stands for a dataset."""
    return bool(ino & _FILE)


def is_special(ino: int) -> bool:
    """Whether a number stands for a control file or folder, a table, a link, or the root."""
    return not ino & (_FILE | _COLLECTION | _FOLDER)


def view_of(ino: int) -> int | None:
    """The view in which a number stands for a folder; None if it stands for something else."""
    if ino & _FILE:
        return None
    if ino & _COLLECTION:
        return ino >> COLLECTION_BITS + SESSION_BITS & _VIEW_MASK
    return ino >> FOLDER_BITS & _VIEW_MASK if ino & _FOLDER else None


def session_key_of(ino: int) -> int:
    """The key of the session that a file is of, by the file's number."""
    return ino >> FILE_BITS & _SESSION_MASK


def decode(ino: int) -> Decoded:
    """What a number stands for."""
    if ino & _FILE:
        return Decoded(Kind.FILE, 0, ino >> FILE_BITS & _SESSION_MASK)
    if ino & _COLLECTION:
        rest = ino >> COLLECTION_BITS
        return Decoded(Kind.COLLECTION, rest >> SESSION_BITS & _VIEW_MASK, rest & _SESSION_MASK)
    if ino & _FOLDER:
        return Decoded(Kind.FOLDER, ino >> FOLDER_BITS & _VIEW_MASK, ino & _FOLDER_MASK)
    if ino & _LINK and not ino & _SPECIAL:
        return Decoded(Kind.LINK, 0, ino)
    return Decoded(Kind.SPECIAL, 0, ino)
