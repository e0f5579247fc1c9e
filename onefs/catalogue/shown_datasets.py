"""Lists of the datasets that a mount's tree shows: those that exist, pass its QC limit and views, and a filter."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onefs import alf
from onefs.catalogue.filters import Filter, matching
from onefs.catalogue.interface import Catalogue, Rows
from onefs.catalogue.learning import SUBJECTS
from onefs.catalogue.listing import path_blocks, paths_in, sessions_with_revisions
from onefs.catalogue.query import columns_of
from onefs.catalogue.records import Dataset
from onefs.catalogue.revisions import Rule, shown
from onefs.catalogue.sharing import SharedRows, datasets_shown
from onefs.catalogue.snapshot import Snapshot

_ROOT_ROW = 0


@dataclass(frozen=True, slots=True)
class ShownDatasets:
    """The datasets that a tree under `rule` shows and that pass `filter`.

    With `default_only`, only the default edition of each file, under its name in the tree. Methods may ask a database
    if the catalogue may.
    """

    catalogue: Catalogue
    rule: Rule
    filter: Filter
    default_only: bool = False

    def datasets(self, sessions: Iterable[int]) -> Iterator[tuple[str, Dataset]]:
        """The path in the tree, and the record, of each dataset of these sessions (rows of the catalogue)."""
        for folder, rows, names in self._in_folders(sessions):
            for place, name in names:
                yield f"{folder}/{name}", rows.dataset(place)

    def _in_folders(self, sessions: Iterable[int]) -> Iterator[tuple[str, Rows, list[tuple[int, str]]]]:
        """The folder of each session, its datasets there, and places and names in the folder of those that pass."""
        for row in sessions:
            newest = self.catalogue.newest(row)
            rows = datasets_shown(self.catalogue, newest)
            names = self._named(rows)
            if isinstance(rows, SharedRows):  # those of other sessions are theirs
                eid = self.catalogue.session(newest).eid
                names = ((place, name) for place, name in names if rows.dataset(place).eid == eid)
            yield self.catalogue.session_path(newest), rows, list(names)

    def _named(self, rows: Rows) -> Iterator[tuple[int, str]]:
        """Places of a session's datasets, and the names in its folder that they are shown under."""
        names: Sequence[str | None] = shown(rows, self.rule)
        chosen = shown(rows, replace(self.rule, default_only=True)) if self.default_only else names
        passes = matching(self.filter, rows.rel_paths).tolist()
        for place, name in enumerate(names):
            if name is not None and chosen[place] is not None and passes[place]:
                yield place, name

    def blocks(
        self, sessions: Sequence[int] | None, begin: bytes = b"", end: bytes = b"\n"
    ) -> Iterator[bytes | memoryview]:
        """Blocks of the paths of datasets, each between `begin` and `end`. `sessions` are rows, None for all.

        From tables they are made many sessions at once, those first in which every dataset is shown under its own name.
        """
        one_by_one: Iterable[int] = self.all_sessions() if sessions is None else sessions
        if isinstance(self.catalogue, Snapshot):
            plain, one_by_one = self._divided(self.catalogue, sessions)
            rule = self.rule
            yield from path_blocks(
                columns_of(self.catalogue),
                self.filter,
                sessions=plain,
                limit=rule.qc_limit,
                ignore_not_set=rule.ignore_qc_not_set,
                existing_only=True,
                begin=begin,
                end=end,
            )
        for folder, _, names in self._in_folders(one_by_one):
            paths = (f"{folder}/{name}".encode(errors="surrogateescape") for _, name in names)
            yield b"".join(begin + path + end for path in paths)

    def rel_paths(self, sessions: Sequence[int] | None) -> set[str]:
        """The distinct relative paths, as the catalogue has them, of datasets. `sessions` are rows, None for all."""
        one_by_one: Iterable[int] = self.all_sessions() if sessions is None else sessions
        found: set[str] = set()
        if isinstance(self.catalogue, Snapshot):
            plain, one_by_one = self._divided(self.catalogue, sessions)
            found |= set(
                paths_in(
                    columns_of(self.catalogue),
                    self.filter,
                    sessions=plain,
                    limit=self.rule.qc_limit,
                    ignore_not_set=self.rule.ignore_qc_not_set,
                )
            )
        for _, rows, names in self._in_folders(one_by_one):
            found.update(rows.rel_paths[place] for place, _ in names)
        return found

    def _divided(self, tables: Snapshot, sessions: Sequence[int] | None) -> tuple[NDArray[np.int64], Sequence[int]]:
        """Rows of sessions of which every dataset that exists is shown, within the QC limit, and those of the others.

        The others are those on a path of several, and, where not all editions are shown, those with revisions.
        """
        rows = np.arange(tables.n_sessions, dtype=np.int64) if sessions is None else np.asarray(sessions, np.int64)
        folders = tables.index.arrays.session_folder
        is_odd = np.bincount(folders)[folders] > 1 if len(folders) else np.zeros(0, bool)
        if self.default_only or self.rule.default_only or self.rule.as_of:
            is_odd = is_odd | sessions_with_revisions(columns_of(tables))
        return rows[~is_odd[rows]], rows[is_odd[rows]].tolist()

    def all_sessions(self) -> Iterator[int]:
        """The rows of all sessions, in tree order."""
        if isinstance(self.catalogue, Snapshot):
            yield from range(self.catalogue.n_sessions)
        else:
            yield from self._sessions_below(_ROOT_ROW)

    def names(self) -> tuple[set[str], set[str]]:
        """The names of all labs and of all subjects; "" is none."""
        if isinstance(self.catalogue, Snapshot):
            rows = range(self.catalogue.n_sessions)
            arrays = self.catalogue.index.arrays
            labs = {arrays.labs[code] for code in np.unique(arrays.session_lab[: len(rows)]).tolist()}
            return labs, {arrays.subjects[code] for code in np.unique(arrays.session_subject[: len(rows)]).tolist()}
        labs, subjects = set(), set()
        aggregates = self.catalogue.aggregates
        for top in self.catalogue.folders(_ROOT_ROW):
            inside = self.catalogue.child(top.row, SUBJECTS)
            if inside is not None:
                labs.add(top.name)
                subjects |= {folder.name for folder in self.catalogue.folders(inside.row)}
            elif aggregates is None or aggregates not in top.sessions:
                subjects.add(top.name)
        return labs, subjects

    def _sessions_below(self, folder: int) -> Iterator[int]:
        for child in self.catalogue.folders(folder):
            yield from (row for row in child.sessions if row != self.catalogue.aggregates)
            if not child.sessions:
                yield from self._sessions_below(child.row)


def collections_of(rel_paths: Iterable[str]) -> list[str]:
    """The distinct collections of relative paths, sorted; "" is the session's own folder."""
    return sorted({alf.split_relative(path).collection for path in rel_paths})


def revisions_of(rel_paths: Iterable[str]) -> list[str]:
    """The distinct revisions of relative paths, sorted; "" is none."""
    return sorted({alf.split_relative(path).revision for path in rel_paths})
