"""`UnitReporter`: tells the service manager that a mount answers (watchdog), its mode, and how much it fetches."""

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import trio

from onefs.daemon.systemd import ServiceManager
from onefs.modes import ModeState
from onefs.text import counted, moment

STATUS_EVERY_S = 5.0
_log = logging.getLogger(__name__)


class UnitFacts(Protocol):
    """What the status of a unit shows of its mount."""

    @property
    def state(self) -> ModeState:
        """The mode that was asked for, and that in effect."""

    @property
    def n_transfers(self) -> int:
        """How many files are being fetched."""


class UnitReporter:
    """Reports one running mount to a service manager. Call `run` once the mountpoint answers."""

    def __init__(self, manager: ServiceManager, source: str, mountpoint: Path, facts: UnitFacts) -> None:
        self._manager = manager
        self._name = f"{source} at {mountpoint}"
        self._mountpoint = mountpoint
        self._facts = facts
        self._status = ""
        self._asking = trio.CapacityLimiter(1)  # apart: all other threads may be waiting for disks and servers

    async def run(self) -> None:
        """Send READY, then the status as it changes, and signs of life for the watchdog, until cancelled."""
        if not self._manager.is_there:
            return
        self._status = self.status()
        self._manager.notify("READY=1", f"STATUS={self._status}")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_changes)
            if self._manager.watchdog_s:
                nursery.start_soon(self._watch, self._manager.watchdog_s / 2)

    def status(self) -> str:
        """The mode, why another is in effect, and how many files are being fetched, in one line."""
        state, n_files = self._facts.state, self._facts.n_transfers
        mode = f"mode {state.requested}"
        if state.reason:
            mode += f" works as {state.effective}: {state.reason} Next try at {moment(state.retry_s)}."
        fetching = f"; fetching {counted(n_files, 'file')}" if n_files else ""
        return f"{self._name}: {mode}{fetching}"

    async def _tell_changes(self) -> None:
        while True:
            await trio.sleep(STATUS_EVERY_S)
            status = self.status()
            if status != self._status:
                self._status = status
                self._manager.notify(f"STATUS={status}")

    async def _watch(self, every_s: float) -> None:
        """Send a sign of life each time that the mount answered.

        While it does not answer, send nothing. Neither the clock of trio nor that of the service
        manager counts the time of a suspend, and neither is set.
        """
        while True:
            try:
                await trio.to_thread.run_sync(_ask, self._mountpoint, limiter=self._asking, abandon_on_cancel=True)
            except RuntimeError as error:  # there can be no more threads
                _log.error("The mountpoint cannot be asked whether it answers: %s", error)
            else:
                self._manager.notify("WATCHDOG=1")
            await trio.sleep(every_s)


def _ask(mountpoint: Path) -> None:
    """Have the kernel send one request to the daemon, and wait for the answer, whatever it is.

    Opening the root is never answered by the kernel itself, and the daemon answers it in its loop: neither a slow
    disk nor a database can hold it up.
    """
    with suppress(OSError):
        os.close(os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
