"""Notes of wrong hashes and sizes on the database's file records, made only if the user asked for that."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

from onefs.catalogue.records import Dataset
from onefs.errors import AccessRefusedError, OnefsError
from onefs.settings import Settings
from onefs.sources.locations import Repositories
from onefs.threads import Workers
from onefs.transports.base import Location

if TYPE_CHECKING:
    from onefs.alyx.client import AlyxClient

NOTE = {"mismatch_hash": True}
_log = logging.getLogger(__name__)


def mismatch_reporter(
    settings: Settings, client: "AlyxClient", repositories: Repositories
) -> Callable[[Dataset, Location], None]:
    """What `Content` tells of locations that gave wrong bytes. Does nothing unless `report_mismatch` is set."""
    if not settings.report_mismatch:
        return lambda dataset, location: None  # noqa: ARG005
    return MismatchReports(client, repositories).report


class MismatchReports:
    """Notes, once for each dataset, that a copy is not what the database says. Never raises; works in a thread.

    Only a copy that one of the dataset's file records stands for is noted: what a mirror gives is not Alyx's.
    """

    def __init__(self, client: "AlyxClient", repositories: Repositories) -> None:
        self._client = client
        self._repositories = repositories
        self._worker = Workers("onefs-report", 1)
        self._noted: set[UUID] = set()  # the worker's alone
        self._is_refused = False

    def report(self, dataset: Dataset, location: Location) -> None:
        """Have a location noted that gave wrong bytes."""
        self._worker.submit(lambda: self._note(dataset, location.url))

    def _note(self, dataset: Dataset, url: str) -> None:
        if self._is_refused or dataset.id in self._noted:
            return
        try:
            record = self._repositories.record_at(dataset.id, url)
            if record is None:
                _log.info("%s: which file record has the wrong bytes is not known; none is marked", dataset.path)
                return
            self._client.report_mismatch(record, NOTE)
        except AccessRefusedError as error:
            self._is_refused = True
            _log.warning("Wrong hashes cannot be noted in the database, and no more will be: %s", error)
        except OnefsError as error:
            _log.warning("%s: its wrong hash could not be noted in the database: %s", dataset.path, error)
        else:
            self._noted.add(dataset.id)
            _log.info("%s: its wrong hash is noted on the file record %s", dataset.path, record)
