"""`onefs index --update`: matches the sessions and files of a folder with rows of cache tables, by their paths."""

import hashlib
from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from onefs import alf
from onefs.catalogue.columns import Ids
from onefs.catalogue.mixing import find_ids, order_of_ids
from onefs.catalogue.records import Session
from onefs.indexer.scan import SessionKey

KEY_BYTES = 16
_SHORTEST_WITH_UUID = 38


Eids = dict[UUID, list[UUID]]
"""The eids that tables have for a session, by its eid of indexing."""


def match_sessions(
    known: Iterable[Session], found: Mapping[UUID, SessionKey], gone: Mapping[UUID, SessionKey]
) -> tuple[Eids, Eids]:
    """The eids of the sessions that were found, and of those of which files are gone.

    A session is known by its lab, subject, date and number; by the others alone if only one side tells a lab and no
    other session could be meant. One that is not known has its eid of indexing.
    """
    by_key: dict[SessionKey, list[UUID]] = defaultdict(list)
    for session in known:
        by_key[SessionKey(session.lab, session.subject, session.date, session.number)].append(session.eid)
    found_as = _match(by_key, found)
    of_key = dict(by_key) | {found[eid]: eids for eid, eids in found_as.items()}
    taken = {eid for eids in found_as.values() for eid in eids}
    rest = {key: eids for key, eids in by_key.items() if not taken.intersection(eids)}
    gone_as = _match(rest, gone)
    return (
        {eid: found_as.get(eid, [eid]) for eid in found},
        {eid: list(dict.fromkeys((*of_key.get(key, gone_as.get(eid, ())), eid))) for eid, key in gone.items()},
    )


def _match(by_key: Mapping[SessionKey, list[UUID]], wanted: Mapping[UUID, SessionKey]) -> Eids:
    matched = {eid: key for eid, key in wanted.items() if key in by_key}
    taken = set(matched.values())
    free, seekers = defaultdict(list), defaultdict(list)
    for key in by_key.keys() - taken:
        free[key._replace(lab="")].append(key)
    for eid in wanted.keys() - matched.keys():
        seekers[wanted[eid]._replace(lab="")].append(eid)
    for place, (eid, *rivals) in seekers.items():
        meant = [key for key in free[place] if not key.lab or not wanted[eid].lab]
        if len(meant) == 1 and not rivals:
            matched[eid] = meant[0]
    return {eid: by_key[key] for eid, key in matched.items()}


def path_key(eid: bytes, path: str, dataset_id: bytes = b"") -> bytes:
    """The key of a file: its session and path; and the id in its name, if the path is given without that."""
    text = eid + path.encode(errors="surrogateescape")
    return hashlib.md5(text + b"\0" + dataset_id if dataset_id else text, usedforsecurity=False).digest()


def split_name(path: str) -> tuple[str, bytes]:
    """A path without the dataset's UUID in its file name, and that UUID; b"" if there is none."""
    folder, slash, name = path.rpartition("/")
    found = alf.uuid_in(name) if len(name) > _SHORTEST_WITH_UUID else None
    return (folder + slash + alf.without_uuid(name), found.bytes) if found else (path, b"")


class PathKeys:
    """Files of sessions, each with a number, to be found by the rows of a table."""

    def __init__(self) -> None:
        self._plain = _Keys()
        self._with_id = _Keys()

    def add(self, number: int, eid: bytes, path: str) -> None:
        """Add a file. If its name carries a UUID, it is also that of the row with that id and the path without."""
        self._plain.add(number, path_key(eid, path))
        plain, dataset_id = split_name(path)
        if dataset_id:
            self._with_id.add(number, path_key(eid, plain, dataset_id))

    def finish(self) -> None:
        """Sort them. To be called once, after all were added."""
        self._plain.finish()
        self._with_id.finish()

    def find(self, keys: Ids, rows: Iterable[tuple[bytes, str, bytes]]) -> NDArray[np.int64]:
        """For rows, given by their `path_key`, and by eid, path and id, the number of the file, -1 if there is none."""
        found = self._plain.find(keys)
        if len(self._with_id.keys):
            with_id = b"".join(path_key(*row) for row in rows)
            found = np.where(found >= 0, found, self._with_id.find(as_ids(with_id)))
        return found


class _Keys:
    def __init__(self) -> None:
        self._bytes = bytearray()
        self._numbers: array[int] = array("q")
        self.keys: Ids = as_ids(b"")
        self._of_key: NDArray[np.int64] = np.empty(0, np.int64)

    def add(self, number: int, key: bytes) -> None:
        self._bytes += key
        self._numbers.append(number)

    def finish(self) -> None:
        keys, numbers = as_ids(self._bytes), np.frombuffer(self._numbers, np.int64)
        order = order_of_ids(keys)
        order = order[is_first(keys[order])]
        self.keys, self._of_key = keys[order], numbers[order]
        self._bytes, self._numbers = bytearray(), array("q")

    def find(self, keys: Ids) -> NDArray[np.int64]:
        at = find_ids(keys, self.keys)
        return np.append(self._of_key, -1)[at]


def as_ids(data: bytes | bytearray) -> Ids:
    """Keys or ids one after another, of shape (n, 16)."""
    return np.frombuffer(data, np.uint8).reshape(-1, KEY_BYTES)


def is_first(ordered: Ids) -> NDArray[np.bool_]:
    """Which keys that are sorted differ from the one before."""
    differs: NDArray[np.bool_] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return np.append(True, differs)[: len(ordered)]
