"""`Programs`: which programs open files of a mount, how many are fetched for each, and how many bytes it reads."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from cachetools import LRUCache

from onefs.recording.crawling import PROCESSES_KEPT, PROGRAMS_KEPT, Crawlers
from onefs.recording.processes import Caller, Identity
from onefs.text import moment

OTHERS = "others"
PROGRAMS_SHOWN = 50


@dataclass(slots=True)
class Usage:
    """What one program did. `last_s` is when it last opened or read a file, seconds since the epoch."""

    pid_count: int = 0
    opened_files: int = 0
    fetched_files: int = 0
    read_bytes: int = 0
    last_s: float = 0.0

    def add(self, other: "Usage") -> None:
        """Add what another program did."""
        self.pid_count += other.pid_count
        self.opened_files += other.opened_files
        self.fetched_files += other.fetched_files
        self.read_bytes += other.read_bytes
        self.last_s = max(self.last_s, other.last_s)


class Programs:
    """What each program did since the mount came up, the one that was busy last at the end. Safe to use from threads.

    Only so many programs are told apart: those that were idle longest are added up as `others`.
    """

    def __init__(self, crawlers: Crawlers | None = None, clock: Callable[[], float] = time.time) -> None:
        """Without `crawlers`, nobody is warned of, and nothing is refused."""
        self.crawlers = crawlers or Crawlers()
        self._clock = clock
        self._lock = threading.Lock()  # guards all below
        self._usages: OrderedDict[str, Usage] = OrderedDict()
        self._others = Usage()
        self._processes: LRUCache[tuple[Identity, str], None] = LRUCache(PROCESSES_KEPT)

    def opened(self, caller: Caller, *, is_fetched: bool) -> None:
        """A program opened a dataset. `is_fetched` says that it has to be fetched for that."""
        with self._lock:
            usage = self._usage(caller.program)
            usage.opened_files += 1
            usage.fetched_files += is_fetched
            if caller.process is not None and (caller.process, caller.program) not in self._processes:
                self._processes[caller.process, caller.program] = None
                usage.pid_count += 1

    def read(self, program: str, size_bytes: int) -> None:
        """The kernel asked for bytes that a program reads."""
        with self._lock:
            self._usage(program).read_bytes += size_bytes

    def facts(self) -> list[dict[str, Any]]:
        """What status tells: the programs for which most files were fetched, then `others` if there are more."""
        with self._lock:
            ranked = sorted(
                self._usages.items(), key=lambda item: (-item[1].fetched_files, -item[1].read_bytes, -item[1].last_s)
            )
            shown, rest = ranked[: PROGRAMS_SHOWN - 1], ranked[PROGRAMS_SHOWN - 1 :]
            others = Usage()
            for usage in (self._others, *(usage for _, usage in rest)):
                others.add(usage)
            return [_facts(*item) for item in shown] + ([_facts(OTHERS, others)] if others.last_s else [])

    def usages(self) -> dict[str, Usage]:
        """What each program did, with `others` for those that are not told apart any more."""
        with self._lock:
            found = {program: replace(usage) for program, usage in self._usages.items()}
            found.setdefault(OTHERS, Usage()).add(self._others)
            return found

    def _usage(self, program: str) -> Usage:
        """What a program did, which is busy now."""
        usage = self._usages.get(program)
        if usage is None:
            usage = self._usages[program] = Usage()
            if len(self._usages) > PROGRAMS_KEPT:
                self._others.add(self._usages.popitem(last=False)[1])
        else:
            self._usages.move_to_end(program)
        usage.last_s = self._clock()
        return usage


def _facts(program: str, usage: Usage) -> dict[str, Any]:
    return {
        "program": program,
        "pid_count": usage.pid_count,
        "opened_files": usage.opened_files,
        "fetched_files": usage.fetched_files,
        "read_bytes": usage.read_bytes,
        "last": moment(usage.last_s),
    }
