"""`Loader`: finds, fetches and reads datasets, for all `load_*` methods."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from onefs.alf_files.bunch import AlfBunch
from onefs.alf_files.contents import load_file_content
from onefs.alf_files.objects import assemble
from onefs.alf_files.path import ALFPath
from onefs.api.dataset_choice import Choice, Choices, object_of
from onefs.api.dataset_lists import dataset_ids
from onefs.api.files import Files, read_again
from onefs.api.locating import row_of_eid
from onefs.api.mounted_files import telling_failures
from onefs.api.recording import RecordingMixin
from onefs.api.warning import warn
from onefs.catalogue.records import Dataset
from onefs.catalogue.snapshot import Snapshot
from onefs.forks import cached_property
from onefs.frames.catalogue import FrameCatalogue
from onefs.one_errors import ALFMultipleObjectsFound, ALFObjectNotFound, ALFWarning, UsageError, api_errors

if TYPE_CHECKING:
    import pandas as pd

    from onefs.api.tables_in_use import TablesInUse

T = TypeVar("T")


class Loader(RecordingMixin):
    """Finds, fetches and reads datasets. The class that uses the mixin has the attributes declared here."""

    wildcards: bool
    allow_pickle: bool
    uuid_filenames: bool

    if TYPE_CHECKING:
        _in_use: TablesInUse

        @property
        def cache_dir(self) -> Path: ...
        @property
        def _may_fetch(self) -> bool: ...
        def to_eid(self, id: Any = None) -> Any: ...  # noqa: A002
        def _frame_of(self, datasets: Sequence[Dataset]) -> pd.DataFrame: ...

    @api_errors
    def _check_filesystem(
        self,
        datasets: Any,
        offline: bool | None = None,
        update_exists: bool = True,  # noqa: ARG002
        check_hash: bool = True,
    ) -> list[ALFPath | None]:
        """Paths of the files of these rows or Alyx records, fetched if need be; None for each that is missing.

        `update_exists` is taken for ONE's sake and does nothing: a load changes nothing in the tables.
        """
        found = [self._dataset_of_id(id_) for id_ in dataset_ids(datasets)]
        files = self._files(check_hash, may_fetch=None if offline is None else not offline)
        paths = iter(files.paths([dataset for dataset in found if dataset is not None]))
        each = [None if dataset is None else next(paths) for dataset in found]
        return [ALFPath(path) if isinstance(path, str) else None for path in each]

    def _download_datasets(
        self,
        dsets: Any,
        check_hash: bool = True,
        **kwargs: Any,  # noqa: ARG002 - of ONE's ways to fetch
    ) -> list[ALFPath | None]:
        """Paths of the files of these rows or Alyx records, fetched unless the mode is `local`; None where missing."""
        return self._check_filesystem(dsets, check_hash=check_hash)

    # -- choosing ------------------------------------------------------------------------------------------------

    def _choice(self, eid: Any, query_type: str | None) -> Choice:
        """The datasets of a session, to choose from. Raises `UsageError` or `ALFObjectNotFound` if there is none."""
        catalogue = self._tables(query_type)
        found = self.to_eid(eid)
        if found is None:
            raise UsageError(f"{eid!r} leads to no session.", "Give an eid, or see what there is with search.")
        row = row_of_eid(catalogue, found)
        if row is None:
            raise ALFObjectNotFound(f"There is no session {found}. See what there is with search.", terse=True)
        return self._choices.of(
            catalogue, catalogue.newest(row), wildcards=self.wildcards, revision=self._default_revision
        )

    @cached_property
    def _choices(self) -> Choices:
        return Choices()

    def _dataset_of_id(self, id_: UUID) -> Dataset | None:
        """The dataset of an id, None if there is none. Raises `ALFMultipleObjectsFound` if the tables have it twice."""
        catalogue = self._tables(None)
        if isinstance(catalogue, Snapshot | FrameCatalogue):
            several = catalogue.datasets_of_id(id_)
            if len(several) > 1:
                raise ALFMultipleObjectsFound(*(dataset.path for dataset in several))
            found = next(iter(several), None)
        else:
            found = catalogue.find_dataset(id_)
        if found is None and not catalogue.may_ask and self._may_fetch and self._archive.client is not None:
            found = self._tables("remote").find_dataset(id_)
        return found

    # -- files and contents --------------------------------------------------------------------------------------

    def _files(self, check_hash: bool, may_fetch: bool | None = None) -> Files:
        archive = self._archive
        archive.content.uuid_filenames = self.uuid_filenames
        return Files(archive, may_fetch=self._may_fetch if may_fetch is None else may_fetch, check_hash=check_hash)

    def _load_one(self, dataset: Dataset, download_only: bool, check_hash: bool) -> Any:
        files = self._files(check_hash)
        return self._noted([dataset], read_again(lambda: self._content(files.path(dataset), download_only)))

    def _noted(self, datasets: list[Dataset], content: T) -> T:
        """The content, once it is recorded what it is of."""
        self._note_loaded(datasets)
        return content

    def _content(self, path: str, download_only: bool) -> Any:
        if download_only:
            return ALFPath(path)
        with telling_failures(self.cache_dir, [path]):
            return load_file_content(path, allow_pickle=self.allow_pickle)

    def _assembled(self, paths: Sequence[str]) -> AlfBunch:
        """The object that files make up."""
        with telling_failures(self.cache_dir, paths):
            return assemble(paths, allow_pickle=self.allow_pickle)

    def _those_there(self, datasets: Sequence[Dataset], check_hash: bool) -> tuple[list[Dataset], list[str]]:
        """Those of the datasets whose files are to be had, and the files. Warns of the others; raises if all are."""
        files = self._files(check_hash).paths(datasets)
        missing = [file for file in files if isinstance(file, ALFObjectNotFound)]
        if len(missing) == len(files):
            raise missing[0]
        if missing:
            reasons = " ".join(error.reason for error in missing)
            warn(f"{len(missing)} of {len(files)} files are left out. {reasons}", ALFWarning)
        there = [(dataset, file) for dataset, file in zip(datasets, files, strict=True) if isinstance(file, str)]
        return [dataset for dataset, _ in there], [file for _, file in there]

    def _objects(self, datasets: Sequence[Dataset], paths: Sequence[str]) -> dict[str, AlfBunch]:
        """The objects that these files make up, by name."""
        files: dict[str, list[str]] = defaultdict(list)
        for dataset, path in zip(datasets, paths, strict=True):
            files[object_of(dataset)].append(path)
        return {name: self._assembled(each) for name, each in sorted(files.items())}
