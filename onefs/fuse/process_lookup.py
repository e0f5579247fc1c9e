"""`ProcessLookup`: finds the process and program behind a request of the kernel, which names a thread only."""

import functools
from collections.abc import Callable
from typing import TypeVar

import trio

from onefs.fuse.callers import in_task
from onefs.recording.processes import (
    Caller,
    Process,
    Reader,
    file_name,
    is_interpreter,
    process,
    process_of,
    program_in_short,
    program_key,
    reader,
)
from onefs.text import visible

UNKNOWN = "unknown"
"""The program of a request whose process is not visible here: the kernel, or a process in another PID namespace."""
LONGEST_LOOK_S = 1.0
LOOK_THREADS = 16
PROGRAMS_KEPT = 10_000

Found = TypeVar("Found")


class ProcessLookup:
    """Finds the process and program of a thread. Each program is looked up once, and again after exec."""

    def __init__(self) -> None:
        self._callers: dict[object, Caller] = {}
        self._readers: dict[object, Reader] = {}
        self._looks = trio.CapacityLimiter(LOOK_THREADS)  # apart: a process's memory or a user directory may hang

    async def caller(self, pid: int, uid: int) -> Caller:
        """The process and program of the thread `pid` of the user `uid`. `pid` is 0 for another PID namespace."""
        key = program_key(pid), uid
        known = self._callers.get(key)
        if known is not None:
            return known
        leader = process(process_of(pid)) or process(pid) if key[0] else None
        if leader is None:
            return Caller(None, UNKNOWN, uid)
        known = Caller(leader.identity, await self._program(leader), uid)
        _keep(self._callers, key, known)
        return known

    async def reader(self, pid: int, uid: int) -> Reader:
        """The process of the thread `pid` of the user `uid`; in short if its full facts cannot be read in time."""
        key = program_key(pid), uid
        known = self._readers.get(key)
        if known is not None:
            return known
        found = await self._look(functools.partial(reader, pid, uid))
        if found is None:
            return reader(pid, uid, in_full=False)
        if key[0] is not None:
            _keep(self._readers, key, found)
        return found

    async def _program(self, leader: Process) -> str:
        name = file_name(leader)
        if is_interpreter(name):  # which script it runs stands in its memory
            name = await self._look(functools.partial(program_in_short, leader)) or name
        return visible(name)  # it goes into the log, where a line break in it would forge lines

    async def _look(self, look: Callable[[], Found]) -> Found | None:
        """The result of a lookup that may hang; None if it takes too long."""
        await in_task()
        with trio.move_on_after(LONGEST_LOOK_S):
            return await trio.to_thread.run_sync(look, limiter=self._looks, abandon_on_cancel=True)
        return None


def _keep(known: dict[object, Found], key: object, found: Found) -> None:
    """Keep what was found, in the place of the oldest if that is too much."""
    if len(known) >= PROGRAMS_KEPT:
        del known[next(iter(known))]
    known[key] = found
