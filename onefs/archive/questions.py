"""What a live catalogue asks of Alyx: its answers as the catalogue's own values."""

from collections.abc import Callable, Iterable, Iterator
from datetime import date
from typing import TYPE_CHECKING
from uuid import UUID

from onefs.alyx.filters import Filter
from onefs.alyx.records import AlyxDataset, AlyxSession
from onefs.catalogue.records import QC, Dataset, Session
from onefs.catalogue.session_rows import AGGREGATES
from onefs.errors import UnknownRecordError, UsageError

if TYPE_CHECKING:
    from onefs.alyx.client import AlyxClient


class AlyxQuestions:
    """A catalogue's `Questions`, put to Alyx. Each costs a request, or none where a kept response answers it.

    `known` gives the session that the tables at hand hold: the order of a session's projects means nothing, so one
    that differs in that alone is the same. Questions by identifier bypass the cache of responses: a stale
    one could say that there is no such record. With a `tag`, it is as if there were only the datasets of that release,
    and the sessions that have some.
    """

    def __init__(
        self,
        client: "AlyxClient",
        known: Callable[[UUID], Session | None],
        tag: str = "",
    ) -> None:
        self._client = client
        self._known = known
        self._tag = tag

    def labs(self) -> list[str]:
        """Names of all labs."""
        if self._tag:
            return list(dict.fromkeys(session.lab for session in self._tagged()))
        return [lab.name for lab in self._client.labs()]

    def subjects(self, lab: str) -> list[str]:
        """Names of the subjects with sessions in a lab; those of subjects without a lab for ""."""
        if self._tag:
            return list(dict.fromkeys(session.subject for session in self._tagged() if session.lab == lab))
        found = self._client.subjects(lab or None)
        return [subject.nickname for subject in found if lab or not subject.lab]

    def sessions(self, lab: str, subject: str) -> list[Session]:
        """A subject's sessions, and perhaps those of others with a similar name. Base sessions have no place."""
        found = self._tagged() if self._tag else self._client.sessions(lab=lab or None, subject=subject)
        return list(self.placed(found))

    def session(self, eid: UUID) -> Session | None:
        """The session of this eid; None if there is none that has a place."""
        found = self._tagged() if self._tag else self._client.sessions_of_ids([eid], no_cache=True)
        return next(self.placed(told for told in found if told.eid == eid), None)

    def sessions_of_ref(self, day: date, number: int, subject: str) -> list[Session]:
        """The sessions of this date, number and subject."""
        if self._tag:
            found = self._tagged()
        else:
            filters: dict[str, Filter] = {"subject": subject, "date_range": (day, day), "number": number}
            found = self._client.sessions(no_cache=True, **filters)
        wanted = (day, number, subject)
        return [each for each in self.placed(found) if (each.date, each.number, each.subject) == wanted]

    def datasets(self, session: Session) -> list[Dataset]:
        """A session's datasets, those of which no copy can be reached included: they do not `exist`.

        Raises `UnknownRecordError` if Alyx has no such session any more.
        """
        try:
            found = self._client.datasets(session.eid, tag=self._tag or None)
        except UsageError as error:  # 400, which is what Alyx answers for an id that is of no session
            if self.session(session.eid) is not None:
                raise
            raise UnknownRecordError(f"The database has no session {session.eid} any more.") from error
        return [dataset_told(dataset, session.eid, session.path) for dataset in found]

    def aggregates(self) -> list[Dataset]:
        """The datasets of no session."""
        found = self._client.aggregates()
        return [dataset_told(each, None, AGGREGATES) for each in found if not self._tag or self._tag in each.tags]

    def beside(self, id: UUID) -> tuple[Session | None, list[Dataset]] | None:  # noqa: A002
        """The session of a dataset (None for an aggregate) and all datasets there; None if there is no such dataset."""
        found = self._client.datasets_of_ids([id], existing_only=False, no_cache=True)
        told = next((each for each in found if each.id == id), None)
        if told is None:
            return None
        with self._client.no_cache():
            if told.eid is None:
                return None, self.aggregates()
            session = self.session(told.eid)
            return (session, self.datasets(session)) if session is not None else None

    def _tagged(self) -> list[AlyxSession]:
        """The sessions of the release. Kept responses answer all but the first time."""
        return self._client.sessions(tag=self._tag)

    def placed(self, found: Iterable[AlyxSession]) -> Iterator[Session]:
        """What was told of sessions, as the catalogue's own values; base sessions have no place, and are left out."""
        return (self._session(session, session.number) for session in found if session.number is not None)

    def _session(self, told: AlyxSession, number: int) -> Session:
        known = self._known(told.eid)
        same = known is not None and set(known.projects.split(",")) == set(told.projects or ("",))
        projects = known.projects if known is not None and same else ",".join(told.projects)
        return Session(told.eid, told.lab, told.subject, told.date, number, told.task_protocol, projects)


def dataset_told(told: AlyxDataset, eid: UUID | None, session_path: str) -> Dataset:
    """What Alyx told of a dataset, as the catalogue's own value."""
    return Dataset(
        id=told.id,
        eid=eid,
        session_path=session_path,
        rel_path=told.rel_path,
        size_bytes=told.size_bytes,
        md5=told.md5,
        exists=told.exists,
        qc=QC[told.qc],
        default_revision=told.default_revision,
    )
