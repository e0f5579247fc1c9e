"""`ListingMixin`: listing datasets, collections, revisions and aggregates, and the details of sessions."""

import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from onefs import alf
from onefs.api import aggregates
from onefs.api.aggregates import AggregateRequest
from onefs.api.locating import row_of_eid
from onefs.api.searching import SearchingMixin, is_list_of_sessions
from onefs.catalogue import query
from onefs.catalogue.filters import FileName, Filter, Texts, matching, matching_rows, qc_mask
from onefs.catalogue.interface import Catalogue, Rows
from onefs.catalogue.records import QC, Dataset
from onefs.catalogue.session_rows import AGGREGATES
from onefs.catalogue.terms import qc_of
from onefs.frames.catalogue import FrameCatalogue, FrameRows
from onefs.memory import without_pandas
from onefs.modes import Mode
from onefs.one_errors import ALFError, api_errors

if TYPE_CHECKING:
    import pandas as pd

NO_DEFAULTS = "The tables do not say which editions are the default ones: they have no column default_revision."


class _ListFilter(NamedTuple):
    """The filters of one listing."""

    filter: Filter
    limit: QC
    ignores_not_set: bool = False
    defaults_only: bool = False


class ListingMixin(SearchingMixin):
    """Methods that list. The class that uses the mixin has the attributes declared here and in `SearchingMixin`."""

    if TYPE_CHECKING:

        @property
        def requested_mode(self) -> str: ...

    # -- datasets --------------------------------------------------------------------------------------------------

    @api_errors
    def list_datasets(
        self,
        eid: Any = None,
        filename: FileName = None,
        collection: Texts = None,
        revision: Texts = None,
        qc: Any = QC.FAIL,
        ignore_qc_not_set: bool = False,
        details: bool = False,
        query_type: str | None = None,
        default_revisions_only: bool = False,
        keep_eid_index: bool = False,
    ) -> Any:
        """Relative paths of a session's datasets, or of all sessions', sorted; with `details` a frame of their rows.

        The filters are texts, lists of texts, or for `filename` a dict of ALF parts; None lets all pass. They
        are shell patterns with `wildcards`, else regular expressions. `qc` is the worst outcome that is listed. All
        editions are listed, unless `default_revisions_only`. An unknown session gives an empty list.

        Raises `ALFError` for `default_revisions_only` if the tables do not tell, `KeyError` for an unknown ALF part,
        `ValueError` for what is no session, filter or QC.
        """
        asked = _ListFilter(
            Filter(filename, collection, revision, self.wildcards), qc_of(qc), ignore_qc_not_set, default_revisions_only
        )
        if eid is None:
            return self._of_all(asked, query_type, details)
        catalogue, rows, kept = self._of_session(eid, asked, query_type)
        if details:
            return self._datasets_frame(catalogue, rows, kept, keep_eid=keep_eid_index)
        return sorted({rows.rel_paths[i] for i in kept}) if rows is not None else []

    @api_errors
    def list_collections(
        self,
        eid: Any = None,
        filename: FileName = None,
        collection: Texts = None,
        revision: Texts = None,
        details: bool = False,
        query_type: str | None = None,
    ) -> Any:
        """The collections of the datasets that pass the filters, sorted, "" for the root; with `details` their frames.

        Filters and errors are those of `list_datasets`.
        """
        found = self.list_datasets(eid, filename, collection, revision, details=details, query_type=query_type)
        return _by_part(found, 0, details=details)

    @api_errors
    def list_revisions(
        self,
        eid: Any = None,
        filename: FileName = None,
        collection: Texts = None,
        revision: Texts = None,
        details: bool = False,
        query_type: str | None = None,
    ) -> Any:
        """The revisions of the datasets that pass the filters, sorted, "" for none; with `details` their frames.

        Filters and errors are those of `list_datasets`.
        """
        found = self.list_datasets(eid, filename, collection, revision, details=details, query_type=query_type)
        return _by_part(found, 1, details=details)

    @api_errors
    def get_details(self, eid: Any, full: bool = False, query_type: str | None = None) -> Any:
        """A session's columns as a Series; with `full` a frame of its datasets, with the session's columns joined.

        Of a list of sessions a list. Raises `ValueError` if no session is known at a path, reference or dict,
        `ALFObjectNotFound` for an unknown eid, `ALFMultipleObjectsFound` for one that the tables have twice.
        """
        if is_list_of_sessions(eid):
            return [self.get_details(each, full, query_type) for each in eid]
        catalogue = self._tables(query_type)
        known = self._known_eid(eid)
        row = self._row_of_one(catalogue, known)
        details = self._session_series(catalogue, row)
        if not full:
            return details
        rows = catalogue.datasets(catalogue.newest(row))
        frame = self._datasets_frame(catalogue, rows, range(len(rows)), keep_eid=True)
        for name, value in details.items():
            frame[name] = [value] * len(frame)
        return frame

    # -- what belongs to no session --------------------------------------------------------------------------------

    @api_errors
    def list_aggregates(
        self,
        relation: str,
        identifier: str | None = None,
        dataset: FileName = None,
        revision: str | None = None,
        assert_unique: bool = False,
    ) -> "pd.DataFrame":
        """The datasets of no session below the folder `relation`, one edition of each, as a frame.

        `identifier` is a regular expression that is found in the folders below that, `dataset` a shell pattern or a
        dict of ALF parts; `revision` takes the greatest edition at or before that text, None the default one. With
        `assert_unique`, several matches raise `ALFMultipleCollectionsFound` or `ALFMultipleObjectsFound`.
        """
        found = aggregates.chosen(self._aggregates(), AggregateRequest(relation, identifier, dataset, revision))
        if assert_unique:
            aggregates.check_one(found)
        return aggregates.frame_of(found, self._frame_of([each.dataset for each in found]))

    # -- inside ----------------------------------------------------------------------------------------------------

    def _aggregates(self) -> list[Dataset]:
        """The datasets of no session."""
        catalogue = self._tables()
        if catalogue.aggregates is None:
            return []
        rows = catalogue.datasets(catalogue.aggregates)
        return [rows.dataset(i) for i in range(len(rows))]

    def _of_session(
        self, eid: Any, asked: _ListFilter, query_type: str | None
    ) -> tuple[Catalogue, Rows | None, Sequence[int]]:
        """The datasets of a session, and which of them pass; None and none for a session that is not known."""
        catalogue = self._tables(query_type)
        found = self.to_eid(eid)
        row = row_of_eid(catalogue, found) if found is not None else None
        if row is None:
            return catalogue, None, ()
        rows = catalogue.datasets(catalogue.newest(row))
        kept = matching_rows(rows, asked.filter, asked.limit, asked.ignores_not_set)
        if asked.defaults_only:
            defaults = rows.default_revision
            if kept and all(defaults[i] is None for i in kept):
                raise ALFError(NO_DEFAULTS, terse=True)
            kept = [i for i in kept if defaults[i]]
        return catalogue, rows, kept

    def _of_all(self, asked: _ListFilter, query_type: str | None, details: bool) -> Any:
        """The datasets of all sessions."""
        if (query_type or self.requested_mode) == Mode.REMOTE:
            warnings.warn("The datasets of all sessions are listed from the tables.", UserWarning, stacklevel=4)
            query_type = Mode.LOCAL
        catalogue = self._tables(query_type)
        if details or asked.defaults_only or isinstance(catalogue, FrameCatalogue):
            frame = self._all_passing(asked)
            return frame if details else sorted(frame["rel_path"].unique())
        with without_pandas():
            of_sessions = _paths_of_sessions(self._in_use.columns_of(catalogue), asked)
            paths = sorted(of_sessions | _paths_of_aggregates(catalogue, asked))
            return [path for path, passes in zip(paths, matching(asked.filter, paths), strict=True) if passes]

    def _all_passing(self, asked: _ListFilter) -> "pd.DataFrame":
        """The rows of all datasets that pass."""
        from onefs.api.util import filter_datasets  # which imports what asks a database

        frame = self._cache["datasets"]
        if asked.defaults_only:
            if "default_revision" not in frame.columns:
                raise ALFError(NO_DEFAULTS, terse=True)
            frame = frame[frame["default_revision"].fillna(False).to_numpy(bool)]
        wanted = asked.filter
        return filter_datasets(
            frame,
            wanted.filename,
            wanted.collection,
            wanted.revision,
            revision_last_before=False,
            qc=asked.limit,
            ignore_qc_not_set=asked.ignores_not_set,
            assert_unique=False,
            wildcards=wanted.wildcards,
        )

    # -- as records and frames -------------------------------------------------------------------------------------

    def _datasets_frame(
        self,
        catalogue: Catalogue,
        rows: Rows | None,
        kept: Iterable[int],
        *,
        keep_eid: bool,
    ) -> "pd.DataFrame":
        """Some datasets of a session as a frame, sorted by id."""
        if isinstance(catalogue, FrameCatalogue):
            places = sorted(rows.positions[list(kept)]) if isinstance(rows, FrameRows) else []
            frame = self._cache["datasets"].iloc[places].copy()
        else:
            datasets = [] if rows is None else [rows.dataset(i) for i in kept]
            frame = self._frame_of(sorted(datasets, key=lambda dataset: dataset.id.bytes))
        return frame if keep_eid else frame.droplevel("eid")

    def _frame_of(self, datasets: Sequence[Dataset]) -> "pd.DataFrame":
        """A frame of datasets with the columns that the table has, made without its frame."""
        from onefs.frames.reading import datasets_frame

        further = self._in_use.further("datasets")
        frame = datasets_frame(datasets, default_revision=further.has("default_revision") or None)
        return further.add_to(frame, [dataset.id for dataset in datasets])


def _paths_of_sessions(columns: query.Columns, asked: _ListFilter) -> set[str]:
    """The paths of the sessions' datasets whose QC passes."""
    import numpy as np

    from onefs.catalogue.stored import CHUNK_ROWS

    texts = columns.dataset_path.texts
    used = np.zeros(len(texts), bool)
    for begin in range(0, len(columns.dataset_session), CHUNK_ROWS):
        where = slice(begin, begin + CHUNK_ROWS)
        passes = qc_mask(columns.dataset_qc[where], asked.limit, asked.ignores_not_set)
        passes &= columns.dataset_session[where] >= 0
        used[columns.dataset_path.codes[where][passes]] = True
    return {texts[code] for code in np.flatnonzero(used).tolist()}


def _paths_of_aggregates(catalogue: Catalogue, asked: _ListFilter) -> set[str]:
    """The same of the datasets of no session, from `aggregates/` on, as tables have them."""
    if catalogue.aggregates is None:
        return set()
    rows = catalogue.datasets(catalogue.aggregates)
    passes = qc_mask(rows.qc, asked.limit, asked.ignores_not_set)
    return {f"{AGGREGATES}/{rows.rel_paths[i]}" for i in passes.nonzero()[0].tolist()}


def _by_part(found: Any, part: int, *, details: bool) -> Any:
    """The collections (0) or revisions (1) of paths, or the rows of a frame by them."""
    if not details:
        return sorted({alf.split_relative(path)[part] for path in found})
    parts = found["rel_path"].map(lambda path: alf.split_relative(path)[part])
    return dict(iter(found.groupby(parts)))
