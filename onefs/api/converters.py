"""Conversions between ids, references, paths, URLs and records; `ConversionMixin` has those that ask a catalogue."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from onefs import alf
from onefs.alf_files.path import ALFPath
from onefs.api import locating, references
from onefs.api.alyx_records import (
    datasets2records,
    one_path_from_dataset,
    path_from_dataset,
    path_from_filerecord,
    ses2records,
    session_record2path,
)
from onefs.api.list_arguments import accepts_lists
from onefs.api.locating import SessionName, Tables
from onefs.api.references import dict2ref, is_exp_ref, path2ref, ref2dict
from onefs.catalogue.records import QC, Dataset, Session
from onefs.catalogue.session_rows import AGGREGATES
from onefs.one_errors import ALFObjectNotFound, UsageError, api_errors

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ConversionMixin", "Tables", "datasets2records", "dict2ref", "is_exp_ref", "one_path_from_dataset", "path2ref",
    "path_from_dataset", "path_from_filerecord", "ref2dict", "ses2records", "session_record2path",
]  # fmt: skip


class ConversionMixin(ABC):
    """Conversions over the tables of an object. All take lists, and return None for what is not known.

    The class that uses it gives what is declared here, and may ask a database in `_further_tables`.
    """

    uuid_filenames: bool
    if TYPE_CHECKING:

        def _session_series(self, catalogue: Any, row: int) -> pd.Series: ...
        def _datasets_frame(
            self, catalogue: Any, rows: Any, kept: Iterable[int], *, keep_eid: bool
        ) -> pd.DataFrame: ...

    @property
    @abstractmethod
    def cache_dir(self) -> Path:
        """The root of the files."""

    @abstractmethod
    def _tables(self, query_type: str | None) -> Tables:
        """The catalogue that answers in this mode; None: in the object's own."""

    @abstractmethod
    def _urls(self, dataset: Dataset) -> list[str]:
        """Where a dataset's file can be asked for. Raises `NoDatabaseError` if there is no server."""

    def _further_tables(self, query_type: str | None) -> Tables | None:  # noqa: ARG002 - for classes with a database
        """The catalogue that asks a database for what the tables do not know; None if it must not be asked."""
        return None

    # -- sessions ------------------------------------------------------------------------------------------------

    @api_errors
    @accepts_lists
    def to_eid(self, id: Any = None, cache_dir: Any = None) -> Any:  # noqa: A002, ARG002 - ONE's names
        """The eid of a session given as an eid, a URL or text that ends in one, a path, a reference, or a dict.

        Raises `UsageError` for anything else. Paths may stand below any root, `cache_dir` or another.
        """
        if id is None:
            return None
        if isinstance(id, str | os.PathLike):
            name = locating.name_in(locating.path_of(id))
            if name is not None:
                return self._eid_named(name, None)
        if isinstance(id, Mapping) or (isinstance(id, str) and alf.parse_reference(id)):
            return self._eid_named(locating.name_of(id), None)
        return str(locating.id_of(id))

    @api_errors
    @accepts_lists
    def eid2path(self, eid: Any, query_type: str | None = None) -> Any:
        """The session's folder below the cache directory. Raises `UsageError` for what is no id."""
        session = None if eid is None else self._session(locating.id_of(eid), query_type)
        return None if session is None else self._folder(session)

    @api_errors
    @accepts_lists
    def path2eid(self, path: Any, query_type: str | None = None) -> Any:
        """The eid of the session that a path is in. A lab in the path counts.

        Raises `ALFMultipleObjectsFound` for several sessions.
        """
        name = None if path is None else locating.name_in(locating.path_of(path))
        return None if name is None else self._eid_named(name, query_type)

    @api_errors
    @accepts_lists
    def eid2ref(self, eid: Any, as_dict: bool = True, parse: bool = True) -> Any:
        """The reference of a session: a Bunch of subject, date and sequence, or with `as_dict` False a text.

        If not `parse`, date and sequence are texts, the number filled up to three digits.
        """
        known = self.to_eid(eid)
        session = None if known is None else self._session(UUID(known), None)
        if session is None:
            return None
        day, number = session.date.isoformat(), f"{session.number:03d}"
        return references.told(session.subject, day, number, as_dict=as_dict, parse=parse)

    @api_errors
    @accepts_lists
    def ref2eid(self, ref: Any) -> Any:
        """The eid of the session of a reference, given as a text or dict; the subject must be exact.

        Raises `ALFMultipleObjectsFound` for several sessions, `UsageError` for what is no reference.
        """
        return None if ref is None else self._eid_named(locating.name_of(ref), None)

    @api_errors
    @accepts_lists
    def ref2path(self, ref: Any) -> Any:
        """The folder of the session of a reference; errors as in `ref2eid`."""
        return self.eid2path(self.ref2eid(ref))

    path2ref = staticmethod(path2ref)
    ref2dict = staticmethod(ref2dict)
    dict2ref = staticmethod(dict2ref)
    is_exp_ref = staticmethod(is_exp_ref)

    # -- datasets ------------------------------------------------------------------------------------------------

    @api_errors
    @accepts_lists
    def path2record(self, path: Any) -> Any:
        """The row of the session whose folder it is, or of the dataset, as a Series.

        A URL will do, and a file name with the dataset's UUID in it.
        """
        text = "" if path is None else locating.path_of(path).rstrip("/")
        name = locating.name_in(text)
        for tables in self._all_tables(None) if text else ():
            if name is not None and text.endswith(name.text):
                row = locating.row_named(tables, name)
                if row is not None:
                    return self._session_series(tables, row)
            else:
                place = locating.dataset_at(tables, text)
                if place is not None:
                    return self._datasets_frame(tables, place.rows, [place.i], keep_eid=True).iloc[0]
        return None

    @api_errors
    def record2path(self, record: "pd.Series | pd.DataFrame") -> Any:
        """The path of a dataset below the cache directory: of a row; of a frame, a list.

        Raises `UsageError` for an unknown session, TypeError for anything but a Series or frame.
        """
        found = [self._path(*each) for each in self._datasets_of(record)]
        return found if hasattr(record, "iterrows") else found[0]

    @api_errors
    def record2url(self, record: "pd.Series | pd.DataFrame") -> Any:
        """The URL of a dataset: of a row; of a frame, a list. Errors as in `record2path`."""
        found = [self._url(dataset) for dataset, _ in self._datasets_of(record)]
        return found if hasattr(record, "iterrows") else found[0]

    @api_errors
    @accepts_lists
    def path2url(self, path: Any, query_type: str | None = None) -> Any:
        """The URL of the dataset at a path. Unknown to a database that was asked: raises `ALFObjectNotFound`."""
        if path is None:
            return None
        tables = self._tables(query_type)
        place = locating.dataset_at(tables, locating.path_of(path))
        if place is not None:
            return self._url(place.rows.dataset(place.i))
        if tables.may_ask:
            raise ALFObjectNotFound(f"The database has no dataset at {str(path)!r}.")
        return None

    # -- asking --------------------------------------------------------------------------------------------------

    def _all_tables(self, query_type: str | None) -> Iterator[Tables]:
        """The tables, then those that ask a database, if they may."""
        yield self._tables(query_type)
        further = self._further_tables(query_type)
        if further is not None:
            yield further

    def _session(self, eid: UUID, query_type: str | None) -> Session | None:
        for tables in self._all_tables(query_type) if eid.int else ():
            row = tables.find_session(eid)
            if row is not None:
                return tables.session(row)
        return None

    def _eid_named(self, name: SessionName, query_type: str | None) -> str | None:
        for tables in self._all_tables(query_type):
            row = locating.row_named(tables, name)
            if row is not None:
                return str(tables.session(row).eid)
        return None

    def _folder(self, session: Session) -> ALFPath:
        """The session's folder: that with an unpadded number if only it is there."""
        folder = ALFPath(self.cache_dir, session.path)
        unpadded = folder.with_name(str(session.number))
        return unpadded if unpadded.name != folder.name and unpadded.is_dir() and not folder.is_dir() else folder

    def _path(self, dataset: Dataset, session: Session | None) -> ALFPath:
        folder = self._folder(session) if session else ALFPath(self.cache_dir, AGGREGATES)
        rel_path = alf.archive_path(dataset.rel_path, dataset.id) if self.uuid_filenames else dataset.rel_path
        return folder / rel_path

    def _url(self, dataset: Dataset) -> str | None:
        return next(iter(self._urls(dataset)), None)

    def _datasets_of(self, record: Any) -> list[tuple[Dataset, Session | None]]:
        """The dataset of a row, or of each row of a frame, with its session; None is that of the aggregates."""
        if not hasattr(record, "iloc"):
            raise TypeError(f"A record is a pandas Series or DataFrame, not {type(record).__name__}.")
        rows = [row for _, row in record.iterrows()] if hasattr(record, "iterrows") else [record]
        sessions: dict[UUID, Session] = {}
        found = []
        for row in rows:
            eid, id_, rel_path = locating.told_by_row(row)
            if eid is not None and eid not in sessions:
                session = self._session(eid, None)
                if session is None:
                    raise UsageError(f"The session {eid} is not known.", "Take a record of these tables.")
                sessions[eid] = session
            place = sessions[eid].path if eid else AGGREGATES
            dataset = Dataset(id_, eid, place, rel_path, None, "", exists=True, qc=QC.NOT_SET, default_revision=None)
            found.append((dataset, sessions[eid] if eid else None))
        return found
