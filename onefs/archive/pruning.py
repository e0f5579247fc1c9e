"""Pruning a cache: listing or removing the files and empty session folders that its tables do not have."""

import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Protocol

from onefs.cache.atomic import cache_errors
from onefs.cache.beneath import Folder
from onefs.cache.prunable import ListedDatasets, PrunableFiles
from onefs.cache.sharing import state_folder
from onefs.cache.store import ContentStore
from onefs.errors import BusyError
from onefs.indexer.prune import ListedFiles, UnlistedFiles, unlisted_files


class TablesOfCache(ListedFiles, ListedDatasets, Protocol):
    """What tables have, and whether these are still the tables."""

    def are_current(self) -> bool:
        """Whether nobody replaced the tables since they were read."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What goes. Without `is_delete` nothing is removed.

    `others_before_s`: files that onefs did not fetch stay if they were put there or changed after this time, in
    seconds since the epoch. `empty_sessions`: folders of unknown sessions that are or become empty go too;
    `emptied_folders`: so do collections, dates and subjects that become empty.
    """

    is_delete: bool = False
    others_before_s: float = inf
    empty_sessions: bool = True
    emptied_folders: bool = False


@dataclass(frozen=True, slots=True)
class Unlisted:
    """A file or session folder that the tables do not have; or, with `failure`, one that could not be handled.

    `path` is relative to the cache directory. `stays` says why it must stay, `failure` what the system said; without
    either it was removed, or would be.
    """

    path: str
    is_folder: bool = False
    size_bytes: int = 0
    stays: str = ""
    failure: str = ""


def prune(cache: Path, tables: TablesOfCache, rules: Rules) -> Generator[Unlisted]:
    """List, and remove, what the tables do not have, one session folder after the other in the order of their paths.

    Raises `BusyError` if the tables are replaced meanwhile, `CacheDamagedError` if pins or stamps cannot be read.
    """
    with cache_errors("what is to be pruned", cache):
        root = Folder(cache)
        unlisted = PrunableFiles(ContentStore(cache, state_folder(cache)), tables, rules.others_before_s)
        pruning = _Pruning(root, unlisted, rules)
        try:
            for found in unlisted_files(cache, tables):
                if isinstance(found, OSError):
                    yield Unlisted(os.path.relpath(found.filename, cache), is_folder=True, failure=_said(found))
                    continue
                if rules.is_delete and not tables.are_current():
                    raise BusyError(
                        f"The tables of {cache} were replaced meanwhile.", "Run it again with the new ones."
                    )
                yield from pruning.session(found)
        finally:
            unlisted.close()
            root.close()


class _Pruning:
    """Prunes session folders of a cache."""

    def __init__(self, root: Folder, unlisted: PrunableFiles, rules: Rules) -> None:
        self._root = root
        self._unlisted = unlisted
        self._rules = rules

    def session(self, found: UnlistedFiles) -> Iterator[Unlisted]:
        """What is unknown in a session's folder; and that folder, if it is or becomes empty."""
        is_empty = not found.has_others
        folders = set[str]()
        for rel_path, status in found.files.items():
            path = f"{found.folder}/{rel_path}"
            file = self._file(path, status)
            if file is not None:
                yield file
            if file is None or not (file.stays or file.failure):
                folders.add(path.rpartition("/")[0])
            else:
                is_empty = False
        session = None
        goes = is_empty and not found.is_listed and self._rules.empty_sessions
        if goes:
            session = self._session_folder(found)
            if session is not None:
                yield session
        if self._rules.is_delete and self._rules.emptied_folders:
            for folder in sorted(folders, reverse=True):
                yield from self._remove_emptied(folder, found.folder)
            if goes and not (session and (session.stays or session.failure)):
                above_subject = "/".join(found.folder.split("/")[:-3])
                yield from self._remove_emptied(found.folder.rpartition("/")[0], above_subject)

    def _file(self, path: str, status: os.stat_result) -> Unlisted | None:
        """One file; None if it is gone by now."""
        stays = self._unlisted.reason_to_stay(path, status)
        failure = ""
        if not stays and self._rules.is_delete:
            try:
                stays = self._unlisted.remove(self._root, path, status)
            except FileNotFoundError:
                return None
            except OSError as error:
                failure = _said(error)
        return Unlisted(path, size_bytes=status.st_size, stays=stays, failure=failure)

    def _session_folder(self, found: UnlistedFiles) -> Unlisted | None:
        """The empty folder of an unknown session; None if something appeared in it, or it is gone."""
        if not found.files and (stays := self._unlisted.reason_of_others(found.status)):
            return Unlisted(found.folder, is_folder=True, stays=stays)
        failure = ""
        try:
            if self._rules.is_delete and not self._root.remove_empty_tree(found.folder):
                return None
        except OSError as error:
            failure = _said(error)
        return Unlisted(found.folder, is_folder=True, failure=failure)

    def _remove_emptied(self, folder: str, top: str) -> Iterator[Unlisted]:
        """Remove a folder and those above it, up to below `top`, as far as they became empty. Gives what failed."""
        try:
            self._root.remove_emptied(folder, top)
        except OSError as error:
            yield Unlisted(folder, is_folder=True, failure=_said(error))


def _said(error: OSError) -> str:
    return error.strerror or str(error)
