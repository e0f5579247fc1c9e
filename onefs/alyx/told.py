"""`Told`: the sessions, datasets and insertions in an answer of Alyx, for a catalogue to learn."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from onefs.alyx import fields, parsing
from onefs.alyx.fields import OddRecordError, Record
from onefs.alyx.questions import Questions
from onefs.alyx.records import AlyxDataset, AlyxSession, Insertion

SESSIONS, INSERTIONS, DATASETS = "sessions", "insertions", "datasets"


@dataclass(frozen=True, slots=True)
class Told:
    """Records of one answer that a catalogue can learn. Base sessions, which have no place in it, are left out.

    Of a dataset without a URL or file records, `urls` is empty. Datasets of no session have an `eid` of None.
    """

    sessions: tuple[AlyxSession, ...] = ()
    datasets: tuple[AlyxDataset, ...] = ()
    insertions: tuple[Insertion, ...] = ()


class Learner(Protocol):
    """Whoever keeps what Alyx told, such as the catalogue."""

    def learn(self, told: Told) -> None:
        """Keep this."""


def told_by_list(questions: Questions, endpoint: str, records: Sequence[Record]) -> Told:
    """What the records of a list tell: those of `sessions`, `insertions` or `datasets`; of other lists, nothing."""
    if endpoint == SESSIONS:
        return Told(sessions=_sessions(questions, records))
    if endpoint == INSERTIONS:
        return _insertions(questions, records)
    if endpoint == DATASETS:
        return Told(datasets=tuple(questions.all(parsing.dataset, records, endpoint)))
    return Told()


def told_by_session(questions: Questions, record: Record) -> Told:
    """What a whole session's record tells: of the session, its datasets and its probes."""
    path = SESSIONS
    nested = fields.records(record, "data_dataset_session_related")
    unnamed = any(parsing.revision_of_nested(each) is not None for each in nested)
    revisions = dict(questions.every(parsing.revision, "revisions", no_cache=False)) if unnamed else {}

    def dataset(each: Record) -> AlyxDataset:
        return parsing.nested_dataset(each, fields.own_id(record), revisions)

    return Told(
        sessions=_sessions(questions, [record]),
        datasets=tuple(questions.all(dataset, nested, path)),
        insertions=_insertions(questions, fields.records(record, "probe_insertion")).insertions,
    )


def _sessions(questions: Questions, records: Iterable[Record]) -> tuple[AlyxSession, ...]:
    found = questions.all(parsing.session, list(records), SESSIONS)
    return tuple(session for session in found if session.number is not None)


def _insertions(questions: Questions, records: Sequence[Record]) -> Told:
    sessions: dict[UUID, Record] = {}
    for record in records:
        info = fields.mapping(record, "session_info")
        try:
            eid = fields.uuid(record.get("session"))
        except OddRecordError:
            continue
        if info:
            sessions[eid] = {**info, "id": str(eid)}
    return Told(
        sessions=_sessions(questions, sessions.values()),
        insertions=tuple(questions.all(parsing.insertion, records, INSERTIONS)),
    )
