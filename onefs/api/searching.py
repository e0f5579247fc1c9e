"""`SearchingMixin`: searching sessions and probe insertions, and the columns of sessions."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from onefs.alf_files.bunch import Bunch
from onefs.api import insertions
from onefs.api.locating import row_of_eid
from onefs.catalogue import query
from onefs.catalogue.interface import Catalogue
from onefs.catalogue.layout import Reason
from onefs.catalogue.records import Session
from onefs.catalogue.terms import NAMES, terms_of
from onefs.frames.catalogue import FrameCatalogue
from onefs.memory import without_pandas
from onefs.one_errors import ALFMultipleObjectsFound, ALFObjectNotFound, NoDatabaseError, UsageError, api_errors

if TYPE_CHECKING:
    import pandas as pd

    from onefs.api.tables_in_use import TablesInUse
    from onefs.frames.cache import Cache

SESSIONS = "sessions"


class SearchingMixin:
    """Methods that search. The class that uses the mixin has the attributes declared here."""

    wildcards: bool
    if TYPE_CHECKING:
        _in_use: TablesInUse

        @property
        def _cache(self) -> Cache: ...
        def _tables(self, query_type: str | None = None) -> Catalogue: ...
        def to_eid(self, id: Any = None) -> Any: ...  # noqa: A002

    @api_errors
    def search(self, details: bool = False, query_type: str | None = None, **terms: Any) -> Any:
        """Eids of the sessions that meet all terms, newest first; with `details` also a Bunch of each one's columns.

        Terms may be shortened: `subject`, `laboratory`, `task_protocol`, `projects` (part of the text, or a list of
        which one must be), `number`, `date_range` (a day, or two), `dataset` and `datasets` (each must be there),
        `dataset_qc_lte`. Nothing found: an empty list, and None for the details.

        Raises `ValueError` for an unknown term, one that may mean several, or a value that cannot be meant.
        """
        catalogue = self._tables(query_type)
        with without_pandas():
            columns = self._in_use.columns_of(catalogue)
            eids = query.eids_of(columns, query.search(columns, terms_of(terms, wildcards=self.wildcards)))
        if not details:
            return eids
        return eids, self._session_records(catalogue, eids) or None

    @api_errors
    def search_terms(self, query_type: str | None = None, endpoint: str | None = None) -> tuple[str, ...] | None:
        """The names of the terms that `search` takes; None for another endpoint than `sessions`."""
        self._tables(query_type)
        return NAMES if endpoint in (None, SESSIONS) else None

    @api_errors
    def list_subjects(self) -> list[str]:
        """The names of all subjects, sorted."""
        with without_pandas():
            columns = self._in_use.columns_of(self._tables())
            codes = columns.subjects.codes[columns.eids.any(axis=1)]
            return sorted({columns.subjects.texts[code] for code in set(codes.tolist()) if code >= 0} - {""})

    @api_errors
    def search_insertions(self, details: bool = False, query_type: str | None = None, **terms: Any) -> Any:
        """Ids of the probe insertions that meet all terms, those of the newest session first; with `details` records.

        From the table `insertions`. Terms are `name`, `model`, `serial`, and those of sessions. Raises
        `NoDatabaseError` if there is no such table, `ValueError` for terms as `search`.
        """
        catalogue = self._tables(query_type)
        frame = self._insertions_frame()
        own, of_sessions = insertions.split_terms(terms)
        columns = self._in_use.columns_of(catalogue)
        eids = query.eids_of(columns, query.search(columns, terms_of(of_sessions, wildcards=self.wildcards)))
        found = insertions.matching(frame, own, eids, wildcards=self.wildcards)
        pids = [str(pid) for pid in found.index.get_level_values("id")]
        if not details:
            return pids
        return pids, insertions.records_of(found) or None

    # -- inside ----------------------------------------------------------------------------------------------------

    def _known_eid(self, eid: Any) -> str:
        """The eid of a session given in any form. Raises `UsageError` if there is none."""
        found = self.to_eid(eid)
        if found is None:
            raise UsageError(f"{eid!r} leads to no session.", "Give an eid, or see what there is with search.")
        return str(found)

    def _row_of_one(self, catalogue: Catalogue, eid: str) -> int:
        """The row of a session. Raises `ALFObjectNotFound`, or `ALFMultipleObjectsFound` if it is there twice."""
        if isinstance(catalogue, FrameCatalogue):
            n_rows = len(catalogue.rows_of_eid(UUID(eid)))
        else:
            repeated = catalogue.left_out.get(Reason.SESSION_REPEATED)
            n_rows = 2 if repeated and any(eid in example for example in repeated.examples) else 1
        if n_rows > 1:
            raise ALFMultipleObjectsFound(
                f"The tables have the session {eid} twice. Remove one of its rows.", terse=True
            )
        row = row_of_eid(catalogue, eid)
        if row is None:
            raise ALFObjectNotFound(f"There is no session {eid}. See what there is with search.", terse=True)
        return row

    def _insertions_frame(self) -> "pd.DataFrame":
        if "insertions" not in self._cache:
            raise NoDatabaseError(
                "There is no table of probe insertions.", "Ask the database: use a mode other than local."
            )
        return self._cache["insertions"]

    def _session_records(self, catalogue: Catalogue, eids: Sequence[str]) -> list[Bunch]:
        """The columns of sessions."""
        if isinstance(catalogue, FrameCatalogue):
            return [Bunch(record) for record in self._cache["sessions"].loc[list(eids)].to_dict("records")]
        found = (catalogue.session_of_eid(UUID(eid)) for eid in eids)
        sessions = [catalogue.session(row) for row in found if row is not None]
        further = self._in_use.further("sessions").records([session.eid for session in sessions])
        return [Bunch(_record_of(session), **more) for session, more in zip(sessions, further, strict=True)]

    def _session_series(self, catalogue: Catalogue, row: int) -> "pd.Series":
        from onefs.frames.reading import session_series

        if isinstance(catalogue, FrameCatalogue):
            return self._cache["sessions"].iloc[row].copy()
        session = catalogue.session(row)
        return session_series(session, self._in_use.further("sessions").records([session.eid])[0])


def _record_of(session: Session) -> dict[str, Any]:
    return {
        "lab": session.lab,
        "subject": session.subject,
        "date": session.date,
        "number": session.number,
        "task_protocol": session.task_protocol,
        "projects": session.projects,
    }


def is_list_of_sessions(value: object) -> bool:
    """Whether an argument is a list of sessions, not one session as a text, dict or path."""
    return isinstance(value, Iterable) and not isinstance(value, str | dict) and not hasattr(value, "parts")
