"""`DatabaseMixin`: the methods of `OneAlyx` that ask Alyx, in place of the tables or for what tables do not have."""

import sys
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any
from uuid import UUID

from onefs import alf
from onefs.alf_files.path import ALFPath
from onefs.api.alyx_queries import AlyxQueries
from onefs.api.insertions import equal, records_of
from onefs.api.listing import ListingMixin
from onefs.api.searching import is_list_of_sessions
from onefs.archive.questions import dataset_told
from onefs.catalogue.records import Dataset
from onefs.catalogue.session_rows import AGGREGATES
from onefs.modes import Mode
from onefs.one_errors import ALFObjectNotFound, NoDatabaseError, api_errors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from onefs.sources.source import Source

PROBES = "insertions"


class DatabaseMixin(ListingMixin):
    """Methods that ask Alyx. The class that uses the mixin has the attributes declared here."""

    _remote: AlyxQueries
    if TYPE_CHECKING:
        _source: Source

        @property
        def offline(self) -> bool: ...
        def _mode_of(self, query_type: str | None) -> Mode: ...

    # -- searches --------------------------------------------------------------------------------------------------

    @api_errors
    def search(self, details: bool = False, query_type: str | None = None, **terms: Any) -> Any:
        """Eids of the sessions that meet all terms, newest first; with `details` also each one's record.

        From the tables as `One.search`. From Alyx for `remote`: then terms are those of `search_terms('remote')`, of
        several pages the answer is a sequence that fetches them when touched, and records are Alyx's with a `date`.
        """
        if self._mode_of(query_type) is not Mode.REMOTE:
            return super().search(details, query_type, **terms)
        found = self._remote.search(terms)
        return (found.ids, found.records) if details else found.ids

    @api_errors
    def search_insertions(self, details: bool = False, query_type: str | None = None, **terms: Any) -> Any:
        """Ids of the probe insertions that meet all terms; with `details` also each one's record.

        In mode `local` as `One.search_insertions`, else from Alyx: the terms of `search_terms('remote', 'insertions')`,
        and `dataset`, `laboratory`, `number`.
        """
        if self._answering(query_type) is Mode.LOCAL:
            return super().search_insertions(details, query_type, **terms)
        found = self._remote.search_insertions(terms)
        return (found.ids, found.records) if details else found.ids

    @api_errors
    def search_terms(self, query_type: str | None = None, endpoint: str | None = None) -> tuple[str, ...] | None:
        """The names of the terms that `search` takes; for `remote` those of any endpoint of Alyx."""
        if self._mode_of(query_type) is not Mode.REMOTE:
            return super().search_terms(query_type, endpoint)
        return self._remote.search_terms(endpoint or "sessions")

    @api_errors
    def list_subjects(self) -> list[str]:
        """The names of all subjects, sorted: of the tables, or in mode `remote` of Alyx."""
        return self._remote.list_subjects() if self._mode_of(None) is Mode.REMOTE else super().list_subjects()

    # -- records ---------------------------------------------------------------------------------------------------

    @api_errors
    def get_details(self, eid: Any, full: bool = False, query_type: str | None = None) -> Any:
        """A session as Alyx has it, a dict; with `full` its whole record. In mode `local` as `One.get_details`.

        Of a list of sessions a list. Raises `ValueError` if no session is known at a path, reference or dict, an HTTP
        error 404 for an unknown eid.
        """
        if self._answering(query_type) is Mode.LOCAL:
            return super().get_details(eid, full, query_type)
        asked = [self._known_eid(each) for each in (eid if is_list_of_sessions(eid) else [eid])]
        records = self._remote.get_details(asked, full=full)
        if not full:
            records = [record | {"local_path": self._local_path(record)} for record in records]
        return records if is_list_of_sessions(eid) else records[0]

    def _local_path(self, record: Any) -> ALFPath | None:
        day, number = record.get("date"), record.get("number")
        if not isinstance(day, date) or number is None:
            return None
        return ALFPath(
            self._source.data_dir, alf.session_path(record["lab"] or "", record["subject"], day, int(number))
        )

    def _aggregates(self) -> list[Dataset]:
        if self._answering(None) is Mode.LOCAL:
            return super()._aggregates()
        datasets = [dataset_told(each, None, AGGREGATES) for each in self._remote.list_aggregates()]
        self._in_use.take([], datasets)
        return datasets

    @api_errors
    def type2datasets(self, eid: Any, dataset_type: str | Sequence[str], details: bool = False) -> Any:
        """Relative paths of a session's datasets of a type, or of any of several, sorted; with `details` their frame.

        Raises `TypeError` for a type that is no text, `ValueError` or `ALFObjectNotFound` for an unknown session,
        `NoDatabaseError` in mode `local`.
        """
        self._check_online()
        known = self._known_eid(eid)
        found = self._remote.type2datasets(known, dataset_type)
        if not found and self._in_use.asking.find_session(UUID(known)) is None:
            raise ALFObjectNotFound(f"There is no session {known}. See what there is with search.", terse=True)
        if not details:
            return _array(sorted({each.rel_path for each in found}))
        datasets = [dataset_told(each, UUID(known), "") for each in found]
        return self._frame_of(sorted(datasets, key=lambda dataset: dataset.id.bytes))

    @api_errors
    def dataset2type(self, dset: Any) -> str:
        """The type of a dataset, by its id or the whole name of a file.

        Raises `ValueError` if it is unknown, `NoDatabaseError` in mode `local`.
        """
        self._check_online()
        return self._remote.dataset2type(dset)

    @api_errors
    def describe_dataset(self, dataset_type: Any = None) -> Any:
        """Print what a dataset type is, and return its record; a dataset's name or id will do. None: all records.

        Raises `ValueError` if it is unknown, `NoDatabaseError` in mode `local`.
        """
        self._check_online()
        found = self._remote.describe_dataset(dataset_type)
        if isinstance(found, dict):
            _print(found.get("description"))
        return found

    @api_errors
    def describe_revision(self, revision: str, full: bool = False) -> Any:
        """Print what a revision is; with `full` return its record. An unknown one is printed as such.

        Raises `NoDatabaseError` in mode `local`.
        """
        self._check_online()
        found = self._remote.describe_revision(revision)
        _print(f"The database has no revision {revision!r}." if found is None else found.get("description"))
        return found if full else None

    # -- probes ----------------------------------------------------------------------------------------------------

    @api_errors
    def eid2pid(self, eid: Any, query_type: str | None = None, details: bool = False, **filters: Any) -> Any:
        """Ids and labels of a session's probe insertions; with `details` also their records. Unknown: Nones.

        `filters` go to Alyx (`name='probe00'`). In mode `local` from the table `insertions`; without one
        `NoDatabaseError` is raised.
        """
        nothing = (None, None, None) if details else (None, None)
        mode = self._answering(query_type)
        known = self.to_eid(eid)
        if known is None:
            return nothing
        known = str(known)
        if mode is Mode.LOCAL:
            frame = self._insertions_frame()
            is_known = self._tables(query_type).find_session(UUID(known)) is not None
            frame = equal(frame[frame.index.get_level_values("eid") == known], filters)
            records: list[Any] = list(records_of(frame))
        else:
            records = self._remote.eid2pid(known, filters)
            is_known = bool(records) or self._in_use.asking.find_session(UUID(known)) is not None
        if not is_known:
            return nothing
        answer = [str(record["id"]) for record in records], [record["name"] for record in records]
        return (*answer, records) if details else answer

    @api_errors
    def pid2eid(self, pid: str | UUID, query_type: str | None = None) -> tuple[str | None, str | None]:
        """The eid and label of a probe insertion; Nones if it is unknown.

        In mode `local` from the table `insertions`; without one `NoDatabaseError` is raised.
        """
        wanted = str(UUID(str(pid)))
        if self._answering(query_type) is Mode.LOCAL:
            frame = self._insertions_frame()
            found = records_of(frame[frame.index.get_level_values("id") == wanted])
            return (found[0]["eid"], found[0]["name"]) if found else (None, None)
        record = self._remote.pid2eid(wanted)
        return (None, None) if record is None else (str(record["session"]), str(record["name"]))

    # -- inside ----------------------------------------------------------------------------------------------------

    def _answering(self, query_type: str | None) -> Mode:
        """The mode that answers a question which Alyx answers in any mode but `local`."""
        if query_type is None and self.offline:
            return Mode.LOCAL
        return self._mode_of(query_type)

    def _check_online(self) -> None:
        if self._answering(None) is Mode.LOCAL:
            raise NoDatabaseError("Only the database knows this, and the mode is local.", "Set one.mode = 'auto'.")


def _array(texts: list[str]) -> "NDArray[np.str_]":
    import numpy as np

    return np.array(texts, dtype=str)


def _print(text: object) -> None:
    sys.stdout.write(f"{text or ''}\n")
