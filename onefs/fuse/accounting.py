"""`ProgramAccounting`: finds the program behind a request, counts for it, and says whether it may fetch more."""

import functools
import logging

import trio
from cachetools import LRUCache

from onefs.errors import CrawlingError
from onefs.recording.processes import (
    Caller,
    Process,
    Reader,
    file_name,
    is_interpreter,
    process,
    process_of,
    program_in_short,
)
from onefs.recording.program_usage import Programs
from onefs.recording.recorder import Recorder
from onefs.text import visible
from onefs.vfs.journal import Journal

UNKNOWN = "unknown"
"""The program of a request whose process is not visible here: the kernel, or a process in another PID namespace."""
LONGEST_LOOK_S = 1.0
LOOK_THREADS = 16
CALLERS_KEPT = 10_000
_log = logging.getLogger(__name__)


class ProgramAccounting:
    """Finds the programs of threads, and counts for them. A thread's program is looked up once.

    After exec a thread has another name or stack, so it is looked up again.
    """

    def __init__(self, programs: Programs, recorder: Recorder, journal: Journal) -> None:
        self._programs = programs
        self._recorder = recorder
        self._journal = journal
        self._known: LRUCache[object, Caller] = LRUCache(CALLERS_KEPT)
        self._looks = trio.CapacityLimiter(LOOK_THREADS)  # apart: the memory of a process may be locked

    async def caller(self, pid: int, uid: int) -> Caller:
        """The process and program of the thread `pid` of the user `uid`. `pid` is 0 for another PID namespace."""
        thread = process(pid) if pid else None
        if thread is None:
            return Caller(None, UNKNOWN, uid)
        key = thread.identity, thread.name, thread.stack, uid
        known = self._known.get(key)
        if known is None:
            leader = process(process_of(pid)) or thread
            known = self._known[key] = Caller(leader.identity, await self._program(leader), uid)
        return known

    async def _program(self, leader: Process) -> str:
        name = file_name(leader)
        if is_interpreter(name):  # which script it runs stands in its memory
            look = functools.partial(program_in_short, leader)
            with trio.move_on_after(LONGEST_LOOK_S):
                name = await trio.to_thread.run_sync(look, limiter=self._looks, abandon_on_cancel=True)
        return visible(name)  # it goes into the log, where a line break in it would forge lines

    def trust(self, caller: Caller) -> None:
        """Never take a process for a crawler."""
        self._programs.crawlers.trust(caller)

    def refusal(self, caller: Caller, reader: Reader | None) -> CrawlingError | None:
        """Why nothing more is fetched for a program; None if it may go on. `reader` is known while recording."""
        if reader is not None and self._recorder.is_run(reader):
            self.trust(caller)
        return self._programs.crawlers.refusal(caller)

    def refused(self, caller: Caller) -> None:
        """A program wanted a file that was refused."""
        self._programs.crawlers.refused(caller)

    def opened(self, caller: Caller, *, is_fetched: bool) -> None:
        """A program opened a dataset. `is_fetched` says that it has to be fetched for that."""
        self._programs.opened(caller, is_fetched=is_fetched)
        warning = self._programs.crawlers.fetched(caller) if is_fetched else None
        if warning is not None:
            _log.warning("%s", warning)
            self._journal.warn(warning)

    def read(self, caller: Caller, size_bytes: int) -> None:
        """The kernel asked for bytes that a program reads."""
        self._programs.read(caller.program, size_bytes)
