"""`PrunableFiles`: files of a cache that its tables do not list: why they must stay, and removing them."""

import os
from collections.abc import Iterable
from contextlib import suppress
from math import inf
from typing import Protocol
from uuid import UUID

from onefs import alf
from onefs.cache.beneath import Folder
from onefs.cache.evict import AT_ONCE
from onefs.cache.locks import StoppedError
from onefs.cache.store import ContentStore
from onefs.cache.verify import CopyRecord, Signature
from onefs.forks import cached_property

PINNED = "it is pinned"
MAY_BE_PINNED = "a pin is there for a dataset whose file is not known"
RECENT = "another program put it there within a day, or since the tables were made"
NOT_OURS = (
    "another program put it there, and the tables are of another archive, of releases only, or made of this folder"
)
IN_USE = "it is being fetched or verified"
CHANGED = "it has changed since it was found"


class ListedDatasets(Protocol):
    """The datasets that the tables list."""

    def unlisted(self, ids: Iterable[UUID]) -> list[UUID]:
        """The given dataset ids that the tables do not list."""


class PrunableFiles:
    """The files of a cache that its tables do not list. For one thread.

    Pinned files stay, and those that onefs did not fetch and that were put there or changed after `others_before_s`,
    in seconds since the epoch; -inf if all of them stay. Paths are relative to the cache directory.
    """

    def __init__(self, store: ContentStore, listed: ListedDatasets, others_before_s: float) -> None:
        self._store = store
        self._listed = listed
        self._others_before_s = others_before_s

    def reason_to_stay(self, path: str, status: os.stat_result) -> str:
        """Why a file must stay, "" if it may be removed. The first call reads what is recorded of all files."""
        stamped = self._stamped(path)
        dataset_id = stamped.dataset.id if stamped is not None else alf.uuid_in(path.rpartition("/")[2])
        pinned_paths, has_lost_pin = self._pins
        if alf.path_without_uuid(path) in pinned_paths or (
            dataset_id is not None and self._store.is_pinned(dataset_id)
        ):
            return PINNED
        if dataset_id is None and has_lost_pin:
            return MAY_BE_PINNED
        is_fetched = stamped is not None and stamped.is_fetched and _is_of(stamped, status)
        return "" if is_fetched else self.reason_of_others(status)

    def reason_of_others(self, status: os.stat_result) -> str:
        """Why what another program put there must stay, "" if it was neither put there nor changed lately."""
        if max(status.st_mtime, status.st_ctime) < self._others_before_s:
            return ""
        return RECENT if self._others_before_s > -inf else NOT_OURS

    def remove(self, root: Folder, path: str, status: os.stat_result) -> str:
        """Remove a file below a folder, and its stamp; why it stays, "" if it is removed. Raises OSError."""
        stamped = self._stamped(path)
        if stamped is None:
            return "" if root.remove_file(path, status) else CHANGED
        try:
            with self._store.lock(stamped.dataset.id, AT_ONCE):
                if self._store.is_pinned(stamped.dataset.id):
                    return PINNED
                if not root.remove_file(path, status):
                    return CHANGED
                if _is_of(stamped, status):
                    self._store.state.drop(stamped.dataset.id)
        except StoppedError:
            return IN_USE
        return ""

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def _stamped(self, path: str) -> CopyRecord | None:
        return self._stamps.get(alf.path_without_uuid(path))

    @cached_property
    def _stamps(self) -> dict[str, CopyRecord]:
        """The stamped files that the tables do not list, by path."""
        found = {record.dataset.id: record for record in self._store.state.copies()}
        return {found[each].dataset.path: found[each] for each in self._listed.unlisted(found)}

    @cached_property
    def _pins(self) -> tuple[set[str], bool]:
        """The paths of pinned files that have a stamp; and whether there is a pin whose file is unknown."""
        stamped: set[str] = set()
        others: list[UUID] = []
        for name in self._store.pinned():
            with suppress(ValueError):
                record = self._store.state.copy(UUID(name))
                if record is None:
                    others.append(UUID(name))
                else:
                    stamped.add(record.dataset.path)
        return stamped, bool(self._listed.unlisted(others))


def _is_of(record: CopyRecord, status: os.stat_result) -> bool:
    return record.stamp.signature.edition == Signature.of(status).edition
