"""`AlyxQueries`: what `OneAlyx` asks of Alyx; and `LazyId`: ids of records that are fetched page by page."""

import json
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, overload
from uuid import UUID

import numpy as np

from onefs.alyx.client import AlyxClient
from onefs.alyx.lookups import find_dataset_by_name, find_record
from onefs.alyx.pages import AlyxRecord
from onefs.alyx.questions import segment
from onefs.alyx.records import AlyxDataset
from onefs.alyx.schema import LIST
from onefs.alyx.search import dated, search
from onefs.alyx.told import DATASETS, INSERTIONS, SESSIONS, Learner
from onefs.api.stale_answers import warns_when_stale
from onefs.archive.database_searches import checked, search_terms
from onefs.catalogue import terms as search_words
from onefs.errors import UnknownRecordError, UsageError

EIDS_PER_QUESTION = 50
DETAILS = ("subject", "start_time", "number", "lab", "projects", "url", "task_protocol", "date")
INSERTION_TERMS = ("dataset", "laboratory", "number")
TYPES = "dataset-types"


class LazyId(Sequence[Any]):
    """The ids of records, as texts; a page of records is fetched when one of its ids is asked for.

    `func` is what to make of a record, or of a list of them, in place of its id.
    """

    def __init__(self, pg: Sequence[AlyxRecord], func: Callable[[Any], Any] | None = None) -> None:
        self._pages = pg
        self.func = func or self.ses2eid

    def __len__(self) -> int:
        return len(self._pages)

    @overload
    def __getitem__(self, item: int) -> Any: ...

    @overload
    def __getitem__(self, item: slice) -> list[Any]: ...

    @warns_when_stale
    def __getitem__(self, item: int | slice) -> Any:
        found = self._pages[item]
        return list(map(self.func, found)) if isinstance(item, slice) else self.func(found)

    def __repr__(self) -> str:
        return f"LazyId({self._pages!r})"

    @staticmethod
    def ses2eid(ses: Any) -> Any:
        """The id of a record, or of each of a list of records."""
        if isinstance(ses, Mapping):
            return str(ses.get("id") or ses["url"][-36:])
        return [LazyId.ses2eid(each) for each in ses]


class Found(NamedTuple):
    """The ids and the records of what a search found, in one order: lists, or, of several pages, `LazyId`."""

    ids: Sequence[str]
    records: Sequence[AlyxRecord]


class AlyxQueries:
    """Questions to an Alyx database, answered with its records as they are. What they tell is given to `learner`.

    Names of terms may be shortened; they are checked before anything but the schema is asked for, as Alyx ignores
    filters that it does not know.
    """

    def __init__(self, client: AlyxClient, learner: Learner) -> None:
        self._client = client
        self._learner = learner

    # -- searches --------------------------------------------------------------------------------------------------

    @warns_when_stale
    def search_terms(self, endpoint: str = SESSIONS) -> tuple[str, ...]:
        """The terms that a search of sessions takes, or those that the schema names for another endpoint."""
        if endpoint != SESSIONS:
            return tuple(self._client.schema().field_names(endpoint, LIST))
        return search_terms(self._client)

    @warns_when_stale
    def search(self, terms: Mapping[str, object]) -> Found:
        """The sessions that meet all terms, newest first; their records have a `date`."""
        # Alyx has `project` as another name of `projects`: it stands in the way of no abbreviation.
        names = [name for name in self.search_terms() if name != "project" or name in terms]
        whole = search_words.completed(terms, names)
        return _found(search(self._client, SESSIONS, checked(whole), self._learner))

    @warns_when_stale
    def search_insertions(self, terms: Mapping[str, object]) -> Found:
        """The probe insertions that meet all terms, those of the newest session first."""
        names = tuple(dict.fromkeys((*self.search_terms(INSERTIONS), *INSERTION_TERMS)))
        whole = search_words.completed(terms, names)
        return _found(search(self._client, INSERTIONS, checked(whole), self._learner))

    # -- sessions, subjects and probes -----------------------------------------------------------------------------

    @warns_when_stale
    def get_details(self, eids: Sequence[str | UUID], *, full: bool = False) -> list[AlyxRecord]:
        """For each eid the session's record in brief, its projects joined by commas, or the whole record.

        Raises `UnknownRecordError`.
        """
        wanted = [str(eid) for eid in eids]
        if full:
            whole = {eid: self._whole_session(eid) for eid in dict.fromkeys(wanted)}
            return [dict(whole[eid]) for eid in wanted]
        found = self._sessions(list(dict.fromkeys(wanted)))
        for eid in wanted:
            if eid not in found:
                raise UnknownRecordError(f"The database has no session {eid}.")
        return [_brief(found[eid]) for eid in wanted]

    def _whole_session(self, eid: str) -> AlyxRecord:
        record: AlyxRecord = self._client.get(f"{SESSIONS}/{segment(eid, 'session')}")
        self._learner.learn(self._client.told_by_session(record))
        return record

    def _sessions(self, eids: Sequence[str]) -> dict[str, AlyxRecord]:
        found: dict[str, AlyxRecord] = {}
        for start in range(0, len(eids), EIDS_PER_QUESTION):
            wanted = ", ".join(f"'{eid}'" for eid in eids[start : start + EIDS_PER_QUESTION])
            records = self._client.records(SESSIONS, (("django", f"pk__in,[{wanted}]"),))
            self._learner.learn(self._client.told_by_list(SESSIONS, records))
            found.update((LazyId.ses2eid(record), record) for record in records)
        return found

    @warns_when_stale
    def list_subjects(self) -> list[str]:
        """The names of all subjects, sorted."""
        return sorted({subject.nickname for subject in self._client.subjects()})

    @warns_when_stale
    def eid2pid(self, eid: str | UUID, filters: Mapping[str, object]) -> list[AlyxRecord]:
        """The records of a session's probe insertions, of those that meet further filters of Alyx."""
        return list(self.search_insertions({**filters, "session": str(eid)}).records)

    @warns_when_stale
    def pid2eid(self, pid: str | UUID) -> AlyxRecord | None:
        """The record of a probe insertion, None if it is unknown: its `session` is the eid, its `name` the label."""
        record = find_record(self._client, INSERTIONS, str(pid)) if _id_meant(pid) else None
        if record is not None:
            self._learner.learn(self._client.told_by_list(INSERTIONS, [record]))
        return record

    # -- datasets --------------------------------------------------------------------------------------------------

    @warns_when_stale
    def list_aggregates(self) -> list[AlyxDataset]:
        """The datasets of no session; their `rel_path` begins below the folder of aggregates."""
        return self._client.aggregates()

    @warns_when_stale
    def type2datasets(self, eid: str | UUID, dataset_type: str | Sequence[str]) -> list[AlyxDataset]:
        """A session's datasets of one type, or of any of several, of which there is a copy to be had."""
        if isinstance(dataset_type, str):
            wanted = f"dataset_type__name,{dataset_type}"
        elif isinstance(dataset_type, Iterable) and all(isinstance(each, str) for each in dataset_type):
            wanted = f"dataset_type__name__in,{json.dumps(list(dataset_type), ensure_ascii=False)}"
        else:
            raise TypeError(f"dataset_type is no text and no list of texts: {dataset_type!r}.")
        records = self._client.records(DATASETS, (("django", f"session__id,{eid},{wanted}"),))
        told = self._client.told_by_list(DATASETS, records)
        self._learner.learn(told)
        return [dataset for dataset in told.datasets if dataset.exists]

    @warns_when_stale
    def dataset2type(self, dset: object) -> str:
        """The type of a dataset: of its id, or of the whole name of a file. Raises `UsageError` if there is none."""
        dataset_id = _id_meant(dset)
        if dataset_id is not None:
            found = find_record(self._client, DATASETS, str(dataset_id))
        elif isinstance(dset, str) and dset:  # Alyx takes an empty name for none
            found = find_dataset_by_name(self._client, dset)
        else:
            raise UsageError(f"{dset!r} is no id and no name of a dataset.", "Give the one or the other.")
        dataset_type = (found or {}).get("dataset_type")
        if not dataset_type:
            raise UsageError(f"The database has no dataset {dset}.", "Give an id, or the whole name of a file.")
        return str(dataset_type)

    @warns_when_stale
    def describe_dataset(self, dataset_type: object = None) -> AlyxRecord | list[AlyxRecord]:
        """The record of a dataset type, by its name or by a dataset's name or id; without any, those of all types.

        Raises `UsageError`.
        """
        if not dataset_type:
            return self._client.records(TYPES)
        named = isinstance(dataset_type, str) and _id_meant(dataset_type) is None
        record = find_record(self._client, TYPES, str(dataset_type)) if named else None
        record = record or find_record(self._client, TYPES, self.dataset2type(dataset_type))
        if record is None:
            raise UsageError(f"The database does not describe {dataset_type}.", "See all types: describe_dataset().")
        return record

    @warns_when_stale
    def describe_revision(self, revision: str) -> AlyxRecord | None:
        """The record of a revision; None if it is unknown."""
        return find_record(self._client, "revisions", revision)


def _found(records: Sequence[AlyxRecord]) -> Found:
    if isinstance(records, list):
        return Found(LazyId.ses2eid(records), records)
    return Found(LazyId(records), LazyId(records, dict))


def _brief(record: AlyxRecord) -> AlyxRecord:
    known = dated(record)
    known["projects"] = ",".join(known.get("projects") or ())
    return {name: known[name] for name in DETAILS if name in known}


def _id_meant(value: object) -> UUID | None:
    """The UUID that is meant: a UUID, its text, or two integers that hold its bytes; None if it is none of these."""
    if isinstance(value, UUID):
        return value
    try:
        if isinstance(value, str):
            return UUID(value) if len(value) == len(str(UUID(int=0))) else None
        first, second = map(int, np.ravel(value))  # type: ignore[call-overload]
        return UUID(bytes=struct.pack("<qq", first, second))
    except (TypeError, ValueError, struct.error):
        return None
