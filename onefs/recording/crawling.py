"""`Crawlers`: programs for which so many files are fetched that they may be searching the whole archive."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cachetools import LRUCache

from onefs.errors import CrawlingError
from onefs.mountinfo import FILE_SYSTEM_TYPE
from onefs.recording.processes import Caller, Identity
from onefs.text import counted, duration_text

PROGRAMS_KEPT = 500
PROCESSES_KEPT = 10_000
WINDOW_S = 3600.0
"""For how long files are counted, from the first on; then the count begins anew."""
QUIET_S = 600.0
"""How long a program that reached the limit must want nothing that has to be fetched, until more is."""
_UNSEEN = "which program it is cannot be seen, because of hidepid or containers, so it has no crawl_limit."


@dataclass(slots=True)
class FetchCount:
    """Fetches for one program of one user, in seconds of the clock. `last_s` is when it last wanted one."""

    began_s: float
    last_s: float
    limit_files: int
    """0 for no limit."""
    fetched_files: int = 0
    is_warned: bool = False

    @property
    def is_over(self) -> bool:
        """Whether nothing more is fetched for it."""
        return 0 < self.limit_files <= self.fetched_files


class Crawlers:
    """Counts the files that are fetched for each program of each user. Safe to use from several threads.

    Above `warn_files` within an hour there is a warning; from `limit_files` on, what is not in the cache is refused
    until the program has been quiet for a while. 0 is for none. Processes that are trusted do not count.

    There is no limit for processes that cannot be seen, such as those of other containers: they look like one program.
    """

    def __init__(self, warn_files: int = 0, limit_files: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._warn_files = warn_files
        self.limit_files = limit_files
        """From so many on, fetches are refused; 0 for none."""
        self._clock = clock
        self._lock = threading.Lock()  # guards the two below
        self._counts: LRUCache[tuple[str, int], FetchCount] = LRUCache(PROGRAMS_KEPT)
        self._trusted: LRUCache[Identity, None] = LRUCache(PROCESSES_KEPT)

    def trust(self, caller: Caller) -> None:
        """Never take this process for a crawler: it wants the files themselves, such as ONE that loads them."""
        if caller.process is not None:
            with self._lock:
                self._trusted[caller.process] = None

    def fetched(self, caller: Caller) -> CrawlingError | None:
        """A file is fetched for a program. Gives what people are to be told, if it is time for that."""
        with self._lock:
            if caller.process in self._trusted:
                return None
            count = self._count_of(caller)
            if count is None:
                limit_files = 0 if caller.process is None else self.limit_files
                count = self._counts[caller.program, caller.uid] = FetchCount(self._clock(), self._clock(), limit_files)
            count.fetched_files += 1
            count.last_s = self._clock()
            if count.limit_files and count.fetched_files == count.limit_files:
                return _refusal(caller, self.limit_files)
            if not self._warn_files or count.fetched_files <= self._warn_files or count.is_warned:
                return None
            count.is_warned = True
        return _warning(caller, self._warn_files)

    def refusal(self, caller: Caller) -> CrawlingError | None:
        """Why nothing more is fetched for a program; None if it may go on."""
        with self._lock:
            count = self._count_of(caller)
            if count is None or not count.is_over or caller.process in self._trusted:
                return None
        return _refusal(caller, self.limit_files)

    def refused(self, caller: Caller) -> None:
        """A program wanted a file that was refused: it is not quiet yet."""
        with self._lock:
            count = self._count_of(caller)
            if count is not None:
                count.last_s = self._clock()

    def forget(self) -> None:
        """Count anew, and let all programs go on."""
        with self._lock:
            self._counts.clear()

    def facts(self) -> list[dict[str, Any]]:
        """What status tells: the programs that people were warned of, or for which nothing more is fetched."""
        with self._lock:
            return [
                {
                    "program": program,
                    "uid": uid,
                    "fetched_files": count.fetched_files,
                    "since_s": round(self._clock() - count.began_s),
                    "refused": count.is_over,
                }
                for (program, uid), count in self._counts.items()
                if not self._is_past(count) and (count.is_warned or count.is_over)
            ]

    def _count_of(self, caller: Caller) -> FetchCount | None:
        """The program's count, unless its window has ended."""
        count = self._counts.get((caller.program, caller.uid))
        return None if count is None or self._is_past(count) else count

    def _is_past(self, count: FetchCount) -> bool:
        if count.is_over:
            return self._clock() - count.last_s >= QUIET_S
        return self._clock() - count.began_s >= WINDOW_S


def _warning(caller: Caller, warn_files: int) -> CrawlingError:
    return CrawlingError(
        f"More than {counted(warn_files, 'file')} were fetched within an hour for {_whom(caller)}.",
        "If it only searches or indexes, end it, or switch fetching off while it runs (echo local > .onefs/mode); "
        f"add {FILE_SYSTEM_TYPE} to PRUNEFS in /etc/updatedb.conf; "
        + ("crawl_limit sets how much any program may fetch." if caller.process is not None else _UNSEEN),
    )


def _refusal(caller: Caller, limit_files: int) -> CrawlingError:
    return CrawlingError(
        f"{counted(limit_files, 'file')} were fetched within an hour for {_whom(caller)}, which is its crawl_limit: "
        "it can read what is in the cache, and nothing more is fetched.",
        f"Let it rest for {duration_text(QUIET_S)}, or run onefs retry as root or who mounted; fetch what it needs "
        "with onefs fetch, or mount with a higher crawl_limit.",
    )


def _whom(caller: Caller) -> str:
    return f"{caller.program} (user {caller.uid})"
