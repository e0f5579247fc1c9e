"""Symbolic links by identifier: which path in the tree a dataset's, session's or probe's identifier names."""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple
from uuid import UUID

from cachetools import LRUCache

from onefs import alf
from onefs.catalogue.interface import Catalogue
from onefs.catalogue.records import Dataset
from onefs.catalogue.sharing import datasets_shown, sessions_sharing
from onefs.digests import digest64
from onefs.vfs import inodes
from onefs.vfs.nodes import Link, joined

LINKS_KEPT = 10_000
_log = logging.getLogger(__name__)

Resolve = Callable[[str], str | None]
"""From a name to the path, from the mount's root, that it leads to; None if there is none."""


class Resolver(NamedTuple):
    """Where the links of a folder lead. If `may_ask`, `resolve` may wait for a database, and raise what that does."""

    resolve: Resolve
    may_ask: bool


class LinksMade:
    """The symbolic links that were made last, by their numbers. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _links
        self._links: LRUCache[int, Link] = LRUCache(LINKS_KEPT)

    def make(self, folder: str, name: str, path: str) -> Link:
        """The link called `name` in a folder, to a path from the mount's root."""
        target = "../" * (folder.count("/") + 1) + path
        number = digest64(text.encode(errors="surrogateescape") for text in (folder, name, target))
        link = Link(inodes.link_ino(number), name, joined(folder, name), target)
        with self._lock:
            self._links[link.ino] = link
        return link

    def find(self, ino: int) -> Link | None:
        """The link of a number, if it is still kept."""
        with self._lock:
            return self._links.get(ino)


def resolvers(catalogue: Catalogue, eid_of_pid: Callable[[UUID], UUID | None] | None = None) -> Mapping[str, Resolver]:
    """Folders of links by name. `eid_of_pid` gives the session of a probe insertion; it may ask."""
    found = {
        "by-id": Resolver(lambda name: path_of_dataset(catalogue, name), catalogue.may_ask),
        "by-eid": Resolver(lambda name: path_of_session(catalogue, name), catalogue.may_ask),
        "by-ref": Resolver(lambda name: path_of_reference(catalogue, name), catalogue.may_ask),
    }
    if eid_of_pid is not None:
        of_pid = eid_of_pid
        found["by-pid"] = Resolver(lambda name: path_of_insertion(catalogue, name, of_pid), may_ask=True)
    return found


def path_of_dataset(catalogue: Catalogue, name: str) -> str | None:
    """The path of the dataset whose id this is."""
    id_ = _uuid(name)
    dataset = None if id_ is None else catalogue.find_dataset(id_)
    return dataset.path if dataset and _is_in_tree(catalogue, dataset) else None


def _is_in_tree(catalogue: Catalogue, dataset: Dataset) -> bool:
    """Whether the dataset itself stands at its path, not one of another session on the same path. May ask."""
    row = catalogue.session_of_eid(dataset.eid) if dataset.eid else None
    if row is None or len(sessions_sharing(catalogue, row)) == 1:
        return True
    rows = datasets_shown(catalogue, row)
    return dataset.rel_path in rows.rel_paths and rows.id(rows.rel_paths.index(dataset.rel_path)) == dataset.id


def path_of_session(catalogue: Catalogue, name: str) -> str | None:
    """The folder of the session whose eid this is."""
    eid = _uuid(name)
    return None if eid is None else _session_folder(catalogue, eid)


def path_of_insertion(catalogue: Catalogue, name: str, eid_of_pid: Callable[[UUID], UUID | None]) -> str | None:
    """The folder of the session in which the probe insertion with this id was made."""
    pid = _uuid(name)
    eid = None if pid is None else eid_of_pid(pid)
    return None if eid is None else _session_folder(catalogue, eid)


def path_of_reference(catalogue: Catalogue, name: str) -> str | None:
    """The folder of the session of a reference, `2020-07-01_1_KS014`. If several labs have it, the first by path."""
    paths = sorted({catalogue.session_path(row) for row in rows_of_reference(catalogue, name)})
    if len(paths) > 1:
        _log.warning("%s is the reference of several sessions; the link leads to the first: %s", name, ", ".join(paths))
    return paths[0] if paths else None


def rows_of_reference(catalogue: Catalogue, name: str) -> list[int]:
    """Rows of the sessions of a reference; none if it is not one."""
    reference = alf.parse_reference(name)
    return [] if reference is None else catalogue.sessions_of_ref(*reference)


def _session_folder(catalogue: Catalogue, eid: UUID) -> str | None:
    row = catalogue.find_session(eid) if eid.int else None
    return None if row is None else catalogue.session_path(row)


def _uuid(name: str) -> UUID | None:
    """The UUID that a name is, if it is written as usual: other spellings would be other names for one thing."""
    try:
        found = UUID(name)
    except ValueError:
        return None
    return found if str(found) == name.lower() else None
