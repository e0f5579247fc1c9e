"""`LoadingMixin`: the `load_*` methods of the Python face, from a session's datasets to their contents."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from onefs.alf_files.bunch import AlfBunch, Bunch
from onefs.alf_files.path import ALFPath
from onefs.api.dataset_choice import Choice, DatasetName, Found, collection_of, object_of
from onefs.api.dataset_lists import DatasetRequest, dataset_id, dataset_requests, record_of
from onefs.api.files import read_again
from onefs.api.loader import Loader
from onefs.catalogue.filters import Texts
from onefs.catalogue.records import Dataset
from onefs.one_errors import (
    ALFMultipleCollectionsFound,
    ALFObjectNotFound,
    UsageError,
    api_errors,
)

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)


class LoadingMixin(Loader):
    """The methods that load datasets."""

    @api_errors
    def load_object(
        self,
        eid: Any,
        obj: str,
        collection: Texts = None,
        revision: str | None = None,
        query_type: str | None = None,
        download_only: bool = False,
        check_hash: bool = True,
        **parts: Texts,
    ) -> AlfBunch | list[ALFPath]:
        """An object of a session, its attributes by name; with `download_only` the paths of its files, sorted.

        Args:
            eid: a session, as an eid, path, URL, reference or dict.
            obj: the object's name; with `wildcards` a shell pattern, else a regular expression.
            collection: where it is; "" for the session's root, None for wherever it is.
            revision: take the greatest edition of each file at or before this text; None takes the default ones.
            query_type: where to look it up: `local`, `auto`, `refresh` or `remote`; None as `mode` says.
            check_hash: False takes a cached file of the right size without hashing it.
            **parts: `attribute`, `namespace`, `timescale`, `extra`, `extension` that the names must have.

        Arrays have the shapes of their files, (n, 1) made (n,); a table becomes a key for each of its columns. Files
        that are not to be had are left out, with an `ALFWarning`.

        Raises `ALFObjectNotFound`: no such session, nothing matches, or none of its files is to be had.
        `ALFMultipleObjectsFound`: several objects, or two files for one key. `ALFMultipleCollectionsFound`.
        `MismatchError`: the archive has wrong bytes. `UnreachableError`, `AccessRefusedError`, `NoRoomError`: as named.
        `UsageError` (a `ValueError`): `eid` is none, or leads to none. `KeyError`: an unknown part.
        """
        choice = self._choice(eid, query_type)
        datasets = choice.of_object(obj, collection, _revision(revision), parts)

        def read() -> tuple[list[Dataset], AlfBunch | list[ALFPath]]:
            there, paths = self._those_there(datasets, check_hash)
            if download_only:
                return there, [ALFPath(path) for path in paths]
            return there, self._assembled(paths)

        return self._noted(*read_again(read))

    @api_errors
    def load_dataset(
        self,
        eid: Any,
        dataset: DatasetName,
        collection: Texts = None,
        revision: str | None = None,
        query_type: str | None = None,
        download_only: bool = False,
        check_hash: bool = True,
    ) -> Any:
        """The content of one dataset: an array, frame, value … by its extension; with `download_only` its path.

        Args:
            eid: a session, as an eid, path, URL, reference or dict.
            dataset: a file name; `object.attribute` for any extension; a relative path for exactly that file; or a
                dict of ALF parts.
            collection: where it is; "" for the session's root, None for wherever it is.
            revision: take the greatest edition at or before this text; None takes the default one.
            query_type: where to look it up: `local`, `auto`, `refresh` or `remote`; None as `mode` says.
            check_hash: False takes a cached file of the right size without hashing it.

        Raises `ALFObjectNotFound`: no such session or dataset, or its file is not to be had.
        `ALFMultipleCollectionsFound`, `ALFMultipleObjectsFound`: several match. `MismatchError`, `UnreachableError`,
        `AccessRefusedError`, `NoRoomError`: as in `load_object`. `UsageError` (a `ValueError`): a relative path beside
        `collection` or `revision`, `eid` is none, or the file is damaged.
        """
        found = self._choice(eid, query_type).of_name(dataset, collection, _revision(revision))
        return self._load_one(found, download_only, check_hash)

    @api_errors
    def load_datasets(
        self,
        eid: Any,
        datasets: "Sequence[DatasetName] | pd.DataFrame",
        collections: str | Sequence[str | None] | None = None,
        revisions: str | Sequence[str | None] | None = None,
        query_type: str | None = None,
        assert_present: bool = True,
        download_only: bool = False,
        check_hash: bool = True,
    ) -> "tuple[list[Any], list[Bunch | None]] | tuple[None, pd.DataFrame]":
        """Contents (or paths) and records of several datasets of a session: two lists in the order of `datasets`.

        Args:
            eid: a session, as an eid, path, URL, reference or dict.
            datasets: names or relative paths; or dicts of ALF parts; or a frame of datasets of that session. One
                relative path among them makes paths of all, so that a bare name is one in the session's root.
            collections: one for all, or one for each.
            revisions: one for all, or one for each.
            query_type: where to look them up: `local`, `auto`, `refresh` or `remote`; None as `mode` says.
            assert_present: False puts None in both lists for what is missing, and logs a warning.
            download_only: answer paths in place of contents.
            check_hash: False takes a cached file of the right size without hashing it.

        Records are Bunches of `eid`, `id`, the table's columns and `revision`. For an empty list, or a session without
        datasets and `assert_present=False`: None and a frame of no rows.

        Raises `ALFObjectNotFound`: some are missing; it names all of them. `TypeError`: `datasets` is a text.
        `UsageError` (a `ValueError`): texts and dicts mixed, lists of different lengths, paths or a frame beside
        `collections` or `revisions`, a frame of another session. Others as `load_dataset`.
        """
        choice = self._choice(eid, query_type)
        asked = dataset_requests(datasets, collections, revisions)
        if not asked or (not len(choice.rows) and not assert_present):
            return None, self._frame_of([])
        found = [self._find(choice, each) for each in asked]
        choice.warn_of_other_editions(each.dataset for each in found if each is not None and each.is_path)

        def read() -> tuple[list[str | ALFObjectNotFound | None], list[Any]]:
            files = self._of_each(found, check_hash)
            return files, [self._content(file, download_only) if isinstance(file, str) else None for file in files]

        files, contents = read_again(read)
        missing = [(each.name, file) for each, file in zip(asked, files, strict=True) if not isinstance(file, str)]
        if missing:
            _tell_missing(choice.session, missing, assert_present)
        there = [one.dataset if one and isinstance(file, str) else None for one, file in zip(found, files, strict=True)]
        loaded = [dataset for dataset in there if dataset is not None]
        told = map(record_of, loaded, self._in_use.further("datasets").records([dataset.id for dataset in loaded]))
        records = [None if dataset is None else next(told) for dataset in there]
        return self._noted(loaded, (contents, records))

    @api_errors
    def load_dataset_from_id(
        self, dset_id: Any, download_only: bool = False, details: bool = False, check_hash: bool = True
    ) -> Any:
        """The content of the dataset with an id, or its path; with `details` also its record.

        The id is a text, a UUID or an array of two int64 (its 16 bytes, little-endian). The record is a Series of the
        table's columns, named (`eid`, `id`).

        Raises `UsageError` (a `ValueError`): it is no id. `ALFObjectNotFound`: there is no such dataset, in the tables
        or, unless the mode is `local`, in Alyx; or its file is not to be had. `ALFMultipleObjectsFound`: the tables
        have it twice. Others as `load_dataset`.
        """
        id_ = dataset_id(dset_id)
        dataset = self._dataset_of_id(id_)
        if dataset is None:
            raise ALFObjectNotFound(f"There is no dataset with the id {id_}.")
        content = self._load_one(dataset, download_only, check_hash)
        if not details:
            return content
        return content, self._frame_of([dataset]).iloc[0]

    @api_errors
    def load_collection(
        self,
        eid: Any,
        collection: Texts,
        object: Texts = None,  # noqa: A002 - ONE's name
        revision: str | None = None,
        query_type: str | None = None,
        download_only: bool = False,
        check_hash: bool = True,
        **parts: Texts,
    ) -> Bunch | list[ALFPath]:
        """All objects of a collection, as a Bunch of objects by name; with `download_only` the paths of their files.

        `object` and `parts` (`attribute`, `namespace`, `timescale`, `extra`, `extension`) restrict them. The other
        arguments are those of `load_object`, and so are the objects.

        Raises `ALFError`: no such collection. `ALFObjectNotFound`: nothing matches, or no file is to be had.
        `ALFMultipleCollectionsFound`: an object is in several of the collections. `ALFMultipleObjectsFound`: two files
        for one key. Others as `load_object`.
        """
        choice = self._choice(eid, query_type)
        datasets = choice.of_collection(collection, object, _revision(revision), parts)
        if not download_only:
            _check_one_collection_each(datasets)

        def read() -> tuple[list[Dataset], Bunch | list[ALFPath]]:
            there, paths = self._those_there(datasets, check_hash)
            if download_only:
                return there, [ALFPath(path) for path in paths]
            return there, Bunch(self._objects(there, paths))

        return self._noted(*read_again(read))

    @staticmethod
    def _find(choice: Choice, asked: DatasetRequest) -> Found | None:
        if asked.id is not None:
            return choice.of_row(asked.id)
        return choice.find(asked.name, asked.collection, _revision(asked.revision), as_path=asked.as_path)

    def _of_each(self, found: Sequence[Found | None], check_hash: bool) -> list[str | ALFObjectNotFound | None]:
        paths = iter(self._files(check_hash).paths([each.dataset for each in found if each is not None]))
        return [None if each is None else next(paths) for each in found]


def _tell_missing(session: str, missing: Sequence[tuple[Any, object]], assert_present: bool) -> None:
    """Raise `ALFObjectNotFound` that names all that is missing, or log the same."""
    names = ", ".join(str(name) for name, _ in missing)
    reasons = [error.reason for _, error in missing if isinstance(error, ALFObjectNotFound)]
    told = " ".join([f"{session} lacks {names}.", *reasons])
    if assert_present:
        raise ALFObjectNotFound(told)
    _log.warning("%s", told)


def _check_one_collection_each(datasets: Iterable[Dataset]) -> None:
    """Raise `ALFMultipleCollectionsFound` if an object is in several collections."""
    places: dict[str, set[str]] = defaultdict(set)
    for dataset in datasets:
        places[object_of(dataset)].add(collection_of(dataset))
    for name, collections in places.items():
        if len(collections) > 1:
            raise ALFMultipleCollectionsFound(f"{name} is in {', '.join(sorted(collections))}.")


def _revision(value: str | None) -> str | None:
    """A revision, checked. Raises `UsageError`."""
    if value is None or isinstance(value, str):
        return value
    raise UsageError(f"{value!r} is no revision.", "Give one text: the greatest edition at or before it is loaded.")
