"""Owns renewing the catalogue while it is mounted: asking, fetching, indexing apart, and when to try again."""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from onefs.catalogue.snapshot import Snapshot, load_snapshot
from onefs.daemon.sources import Source
from onefs.daemon.tables import fetch_if_newer
from onefs.errors import BusyError, OnefsError, TableError, UsageError
from onefs.modes import ALLOWED, Mode, ModeState
from onefs.transports.base import Transport

FIRST_PAUSE_S = 30.0
LONGEST_PAUSE_S = 15 * 60.0
_INDEXING = """
import pathlib, sys
from onefs.catalogue.snapshot import load_snapshot
load_snapshot(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
"""
_log = logging.getLogger(__name__)


class Refresher:
    """Renews the tables of one mount, and knows its mode. Safe to use from several threads.

    `adopt` is given each new snapshot. Any failure leaves the old one serving.
    """

    def __init__(
        self,
        source: Source,
        transport: Transport,
        snapshot: Callable[[], Snapshot],
        adopt: Callable[[Snapshot], None],
        *,
        expiry_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._transport = transport
        self._snapshot = snapshot
        self._adopt = adopt
        self._expiry_s = expiry_s
        self._clock = clock
        self._busy = threading.Lock()  # held while tables are renewed: once at a time
        self._pause_s = FIRST_PAUSE_S
        self._asked_s = 0.0  # when the server last said that these are its newest
        self.state = ModeState(source.mode, source.mode)

    def switch(self, mode: Mode) -> None:
        """Be in another mode from now on."""
        _log.info("The mode is %s now, it was %s", mode, self.state.requested)
        self.state = ModeState(mode, mode)

    def refresh(self) -> bool:
        """Ask for newer tables now, and take them if there are; whether there were.

        Raises `BusyError`, `UsageError` where there is nobody to ask, or what went wrong.
        """
        url = self._source.tables_url
        if url is None:
            raise UsageError(
                f"{self._source.name} has no server to ask for newer tables.", "Put new ones there and mount again."
            )
        if not self._busy.acquire(blocking=False):
            raise BusyError("The tables are being renewed already.", "See status for when it is done.")
        try:
            source, created = self._source, self._snapshot().metadata.created
            is_new = fetch_if_newer(source.tables_dir, source.state_dir, url, self._transport, created)
            if is_new:
                self._adopt(self._load(created))
            self._asked_s = self._clock()
            self._pause_s, self.state = FIRST_PAUSE_S, self.state.recovered()
            return is_new
        finally:
            self._busy.release()

    def refresh_if_due(self) -> float:
        """Renew the tables if the mode asks for it and they have expired; seconds until this should be asked again."""
        now_s = self._clock()
        if not ALLOWED[self.state.requested].new_tables or self._source.tables_url is None:
            return self._expiry_s
        due_s = max(self.state.retry_s, self._asked_s + self._expiry_s, self._made_s() + self._expiry_s)
        if now_s < due_s:
            return due_s - now_s
        try:
            self.refresh()
        except BusyError:
            return FIRST_PAUSE_S
        except OnefsError as error:
            _log.warning("The tables could not be renewed: %s", error)
            self.state = self.state.fell_back(error.reason, now_s, now_s + self._pause_s)
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            return self.state.retry_s - now_s
        return self._expiry_s

    def _made_s(self) -> float:
        """When the tables in use were made; they name no zone, and mean UTC."""
        created = datetime.fromisoformat(self._snapshot().metadata.created)
        return created.replace(tzinfo=UTC).timestamp()

    def _load(self, created: str) -> Snapshot:
        """Index new tables in a process of its own, so that nobody who reads has to wait, and map the index."""
        source = self._source
        command = [sys.executable, "-c", _INDEXING, str(source.tables_dir), str(source.state_dir)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
            raise TableError(f"The new tables could not be indexed: {said}.", "The old ones stay in use.")
        snapshot = load_snapshot(source.tables_dir, source.state_dir)
        if snapshot.metadata.origin != self._snapshot().metadata.origin:
            _log.warning(
                "The new tables are from %s, those of %s were from %s",
                snapshot.metadata.origin,
                created,
                self._snapshot().metadata.origin,
            )
        return snapshot
