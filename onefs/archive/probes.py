"""`Probes`: the session of a probe insertion, and the insertions of a session, from the tables or the database."""

from typing import TYPE_CHECKING
from uuid import UUID

from onefs.catalogue.insertions import Insertion, Insertions
from onefs.errors import OfflineError, TableError, UnknownRecordError
from onefs.modes import Mode

if TYPE_CHECKING:
    from onefs.alyx.client import AlyxClient
    from onefs.alyx.told import Told


class Probes:
    """The probes of one source. What the database tells is kept in `known`. Safe to use from several threads."""

    def __init__(self, known: Insertions, client: "AlyxClient | None", mode: Mode) -> None:
        self._known = known
        self._client = client
        self._mode = mode
        self._partly: set[UUID] = set()  # sessions of which one probe was asked for

    def find(self, pid: UUID) -> Insertion | None:
        """The session and name of an insertion. Asks if it is not known.

        Raises `OfflineError` in mode local if a database could tell, `TableError`, and what the database raises.
        """
        try:
            found = self._known.find(pid)
        except TableError:
            if self._client is None or self._mode is Mode.LOCAL:
                raise
            found = None  # the database knows it, too
        if found is not None or self._client is None:
            return found
        if self._mode is Mode.LOCAL:
            raise OfflineError(
                f"The tables do not tell of the probe {pid}, and mode local asks nobody.",
                "Switch to mode auto first: onefs mode auto.",
            )
        try:
            told = self._client.insertion(pid)
        except UnknownRecordError:
            return None
        self._known.learn(pid, told.eid, told.name)
        self._partly.add(told.eid)
        return told.eid, told.name

    def of_session(self, eid: UUID) -> list[tuple[str, UUID]]:
        """Names and ids of a session's insertions, sorted. Asks if none are known and the mode is not local."""
        found = self._known.of_session(eid)
        if (found and eid not in self._partly) or self._client is None or self._mode is Mode.LOCAL:
            return found
        from onefs.alyx.search import search
        from onefs.alyx.told import INSERTIONS

        list(search(self._client, INSERTIONS, {"session": str(eid)}, self))
        return self._known.of_session(eid)

    def learn(self, told: "Told") -> None:
        """Keep what the database told."""
        for insertion in told.insertions:
            self._known.learn(insertion.pid, insertion.eid, insertion.name)
