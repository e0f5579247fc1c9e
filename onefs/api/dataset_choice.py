"""`Choice`: picks the datasets of a session that a loading call names: by object, name, path or collection."""

import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from cachetools import LRUCache

from onefs import alf
from onefs.api.warning import warn
from onefs.catalogue.filters import Filter, Texts, dataset_filter, editions, matching, matching_rows
from onefs.catalogue.interface import Catalogue, Rows
from onefs.catalogue.records import Dataset
from onefs.catalogue.revisions import edition_of
from onefs.forks import new_lock
from onefs.frames.catalogue import FrameCatalogue
from onefs.one_errors import (
    ALFError,
    ALFMultipleCollectionsFound,
    ALFMultipleObjectsFound,
    ALFObjectNotFound,
    ALFWarning,
    UsageError,
)

DatasetName = str | Mapping[str, Texts]
SESSIONS_KEPT = 64
_OTHER_EDITION = "Not the default revision: {}."


class Found(NamedTuple):
    """A dataset found by name; `is_path` if the name was its exact path."""

    dataset: Dataset
    is_path: bool


class Chosen(NamedTuple):
    """One edition of each file that passes a filter. `warnings` say where the tables name no default edition.

    `mixed` is a further warning for calls that load several files together, "" for none.
    """

    datasets: list[Dataset]
    warnings: list[str]
    mixed: str


class Choice:
    """Chooses among the datasets of one session. `revision` stands for one that a call does not give, None for none.

    Datasets of QC CRITICAL are left out before anything else. What was chosen for an object is remembered. Safe to use
    from several threads.
    """

    def __init__(self, rows: Rows, session: str, *, wildcards: bool, revision: str | None) -> None:
        self.rows = rows
        self.session = session
        self.wildcards = wildcards
        self.revision = revision
        self._of_objects: dict[str, Chosen] = {}

    def of_object(self, obj: str, collection: Texts, revision: str | None, parts: Mapping[str, Any]) -> list[Dataset]:
        """The files of one object, by path. Raises `ALFObjectNotFound` or what there are several of."""
        key = repr((obj, collection, revision, parts, self.wildcards))
        chosen = self._of_objects.get(key)
        if chosen is None:
            chosen = self._editions(Filter({"object": obj, **parts}, collection, None, self.wildcards), revision)
            if not chosen.datasets:
                raise ALFObjectNotFound(self._nothing(f"an object {obj!r}", collection, revision, parts))
            _one_of([object_of(dataset) for dataset in chosen.datasets], ALFMultipleObjectsFound)
            _one_of([collection_of(dataset) for dataset in chosen.datasets], ALFMultipleCollectionsFound)
            self._of_objects[key] = chosen
        return _warned(chosen, chosen.mixed)

    def of_collection(
        self, collection: Texts, obj: Texts, revision: str | None, parts: Mapping[str, Any]
    ) -> list[Dataset]:
        """The files in the collections that match, by path. Raises `ALFError` without such a collection."""
        if not matching(Filter(None, collection, None, self.wildcards), self.rows.rel_paths).any():
            raise ALFError(
                f"{self.session} has no collection {collection!r}. See which there are with list_collections.",
                terse=True,
            )
        chosen = self._editions(Filter({"object": obj, **parts}, collection, None, self.wildcards), revision)
        if not chosen.datasets:
            named = "a dataset with an ALF name" if obj is None else f"an object {obj!r}"
            raise ALFObjectNotFound(self._nothing(named, collection, revision, parts))
        return _warned(chosen, chosen.mixed)

    def of_name(self, name: DatasetName, collection: Texts, revision: str | None) -> Dataset:
        """The one file of a name, path or parts. Raises `ALFObjectNotFound` or what there are several of."""
        if not isinstance(name, str | Mapping):
            raise TypeError(f"{name!r} is no dataset: give a name, a relative path, or a dict of ALF parts.")
        found = self.find(name, collection, revision)
        if found is None:
            raise ALFObjectNotFound(self._nothing(f"a dataset {name!r}", collection, revision, {}))
        return found.dataset

    def find(
        self, name: DatasetName, collection: Texts, revision: str | None, *, as_path: bool = False
    ) -> Found | None:
        """The same; None if there is none. With `as_path` a bare name is a path too: one in the root.

        Of `object.attribute` and names with an extension behind it, the file of that very name is meant.
        """
        asked = dataset_filter(name, collection, wildcards=self.wildcards, as_path=as_path)
        if asked.is_path and revision is not None:
            raise UsageError(f"{name!r} says which edition is meant, and revision is given too.", "Leave revision out.")
        if asked.is_pattern:
            warn(f"{name!r} is a path with a pattern in it.", UserWarning)
        if asked.is_path and not asked.is_pattern:
            found = [self.rows.dataset(row) for row in matching_rows(self.rows, asked.filter)]
        else:
            found = _warned(self._editions(asked.filter, revision))
        _one_of([collection_of(dataset) for dataset in found], ALFMultipleCollectionsFound)
        names = [dataset.rel_path.rpartition("/")[2] for dataset in found]
        if isinstance(name, str) and name.rpartition("/")[2] in names:
            found = [found[names.index(name.rpartition("/")[2])]]
        else:
            _one_of(names, ALFMultipleObjectsFound)
        return Found(found[0], asked.is_path) if found else None

    def of_row(self, id_: UUID) -> Found:
        """The dataset of a frame's row. Raises `UsageError` if the session has none of that id."""
        for row in range(len(self.rows)):
            if self.rows.id(row) == id_:
                return Found(self.rows.dataset(row), True)
        raise UsageError(f"The dataset {id_} is not one of {self.session}.", "Give rows of that session only.")

    def warn_of_other_editions(self, datasets: Iterable[Dataset]) -> None:
        """Warn once of those that are not the default editions of their files."""
        others = [dataset.rel_path for dataset in datasets if not self._is_default(dataset)]
        if others:
            warn(_OTHER_EDITION.format(", ".join(others)), ALFWarning)

    def _is_default(self, dataset: Dataset) -> bool:
        name = edition_of(dataset.rel_path)[0]
        same = [row for row, path in enumerate(self.rows.rel_paths) if edition_of(path)[0] == name]
        paths = [self.rows.rel_paths[row] for row in same]
        marks = self.rows.default_revision
        return paths[editions(paths, [marks[row] for row in same]).rows[0]] == dataset.rel_path

    def _editions(self, asked: Filter, revision: str | None) -> Chosen:
        places = matching_rows(self.rows, asked)
        marks = self.rows.default_revision
        chosen = editions(
            [self.rows.rel_paths[place] for place in places],
            [marks[place] for place in places],
            self.revision if revision is None else revision,
        )
        return Chosen([self.rows.dataset(places[row]) for row in chosen.rows], chosen.warnings, chosen.mixed)

    def _nothing(self, what: str, collection: Texts, revision: str | None, parts: Mapping[str, Any]) -> str:
        """The error text for a dataset that the session does not have, with all arguments that were given."""
        given = {"collection": collection, "revision": self.revision if revision is None else revision, **parts}
        told = ", ".join(f"{key}={value!r}" for key, value in given.items() if value is not None)
        return f"{self.session} has no {what.removeprefix('an ').removeprefix('a ')}{f' with {told}' if told else ''}."


class Choices:
    """The choices of the last sessions that were asked for, of one catalogue at a time. Safe for several threads.

    What a catalogue's row tells of its datasets never changes; of frames, which do, each call makes a catalogue.
    """

    def __init__(self) -> None:
        self._lock = new_lock()  # guards those below
        self._catalogue: weakref.ref[Catalogue | FrameCatalogue] | None = None
        self._kept: LRUCache[tuple[int, bool, str | None], Choice] = LRUCache(SESSIONS_KEPT)

    def of(self, catalogue: Catalogue | FrameCatalogue, row: int, *, wildcards: bool, revision: str | None) -> Choice:
        """The datasets of a session's row, to choose from. May ask the database."""
        key = row, wildcards, revision
        with self._lock:
            if self._catalogue is None or self._catalogue() is not catalogue:
                self._kept.clear()
                self._catalogue = weakref.ref(catalogue)
            known = self._kept.get(key)
        if known is not None:
            return known
        session = catalogue.session_path(row)
        choice = Choice(catalogue.datasets(row), session, wildcards=wildcards, revision=revision)
        with self._lock:
            if self._catalogue() is catalogue:
                self._kept[key] = choice
        return choice


def _warned(chosen: Chosen, mixed: str = "") -> list[Dataset]:
    """Give the warnings, and return the datasets."""
    for sentence in filter(None, (*chosen.warnings, mixed)):
        warn(sentence, ALFWarning)
    return chosen.datasets


def object_of(dataset: Dataset) -> str:
    """The object in a dataset's name, "" if it is no ALF name."""
    parsed = alf.parse_file_name(dataset.rel_path.rpartition("/")[2])
    return parsed.object if parsed else ""


def collection_of(dataset: Dataset) -> str:
    """The collection that a dataset is in, "" for the session's root."""
    return alf.split_relative(dataset.rel_path).collection


def _one_of(values: Sequence[str], error: type[ALFError]) -> None:
    distinct = sorted(set(values))
    if len(distinct) > 1:
        raise error(*distinct)
