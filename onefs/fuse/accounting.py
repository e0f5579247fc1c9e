"""`Callers`: which program a request of the kernel is from, looked up once for each thread of a process."""

import functools

import trio
from cachetools import LRUCache

from onefs.recording.accounting import UNKNOWN, Caller
from onefs.recording.processes import Process, file_name, is_interpreter, process, process_of, program_in_short

LONGEST_LOOK_S = 1.0
LOOK_THREADS = 16
CALLERS_KEPT = 10_000


class Callers:
    """Tells the programs of threads. A thread that runs another program than before has another name, or stack."""

    def __init__(self) -> None:
        self._known: LRUCache[object, Caller] = LRUCache(CALLERS_KEPT)
        self._looks = trio.CapacityLimiter(LOOK_THREADS)  # apart: the memory of a process may be locked

    async def of(self, pid: int, uid: int) -> Caller:
        """Who the thread `pid` of the user `uid` belongs to. The kernel has 0 for one of another PID namespace."""
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
        return name
