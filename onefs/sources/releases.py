"""The tables of releases: those restricted to a tag, at hand or fetched when they are first asked for."""

import threading
from collections.abc import Callable

from cachetools import LRUCache

from onefs.catalogue.snapshot import Snapshot
from onefs.errors import NotInCatalogueError, OfflineError, OnefsError, UsageError
from onefs.sources.origins import Origin
from onefs.sources.source import Source
from onefs.sources.table_index import index_tables_in_child
from onefs.sources.tables import ensure_tables
from onefs.sources.tables_at_hand import Place, are_at_hand, load_tables

RELEASES_KEPT = 64


class Releases:
    """The tables of one source's releases. Safe to use from several threads.

    `origin_of` makes where the tables of a tag come from, None where there is nobody to ask. `may_ask` tells whether
    a server may be asked now.
    """

    def __init__(self, source: Source, origin_of: Callable[[str], Origin] | None, may_ask: Callable[[], bool]) -> None:
        self._source = source
        self._origin_of = origin_of if source.abilities.has_database else None
        self._may_ask = may_ask
        self._lock = threading.Lock()  # guards _known
        self._known: LRUCache[str, Snapshot] = LRUCache(RELEASES_KEPT)

    def tables(self, tag: str) -> Snapshot:
        """The tables of a tag. May ask.

        Raises `NotInCatalogueError` where there is no such release, `OfflineError` if its tables are not at hand and
        nobody may be asked, `TableError`, or what is wrong with the server.
        """
        with self._lock:
            known = self._known.get(tag)
        if known is None:
            known = self._load(tag)
            with self._lock:
                known = self._known.setdefault(tag, known)
        return known

    def at_hand(self) -> list[str]:
        """The tags whose tables are at hand."""
        folder = self._source.tables_dir
        try:
            names = sorted(each.name for each in folder.iterdir() if each.is_dir())
        except OSError:
            return []
        return [name for name in names if self._is_at_hand(name)]

    def _is_at_hand(self, name: str) -> bool:
        try:
            return are_at_hand(self._place(name)) and self.tables(name) is not None
        except OnefsError:
            return False

    def _load(self, tag: str) -> Snapshot:
        place = self._place(tag)
        origin = self._origin_of(tag) if self._origin_of is not None and self._may_ask() else None
        if origin is None and not are_at_hand(place):
            if self._origin_of is None:
                raise NotInCatalogueError(
                    f"There are no tables of a release {tag} in {place.tables_dir}.",
                    "List the releases that are at hand: ls .onefs/tag in the mount.",
                )
            raise OfflineError(
                f"The tables of the tag {tag} are not at hand, and mode local asks no server.",
                "Switch to mode auto first: onefs mode auto.",
            )
        ensure_tables(place, origin)
        index_tables_in_child(place.tables_dir, place.state_dir)
        return load_tables(place)

    def _place(self, tag: str) -> Place:
        try:
            return Place(self._source.tables_dir, self._source.state_dir).of_tag(tag)
        except UsageError as error:
            raise NotInCatalogueError(error.reason, error.remedy) from error
