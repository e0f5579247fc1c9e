"""`ProgramSeries`: what each program did, as counters that never go down."""

import threading
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from onefs.recording.program_usage import OTHERS, Programs
from onefs.text import visible

MOST_PROGRAMS = 50


class Counts(NamedTuple):
    """What a program opened, had fetched and read since the mount came up."""

    opened_files: int = 0
    fetched_files: int = 0
    read_bytes: int = 0


class ProgramSeries:
    """At most 50 programs by name, those that came first, and all else as `others`. Safe to use from several threads.

    `Programs` forgets a program that was idle for long, and adds it to others. Prometheus takes a counter that goes
    down for one of a new process, so here nothing moves from one series to another.
    """

    def __init__(self, programs: Programs, most: int = MOST_PROGRAMS) -> None:
        self._programs = programs
        self._most = most
        self._lock = threading.Lock()  # guards the two below
        self._forgotten: dict[str, Counts] = {}  # of each series, what was forgotten of it
        self._last: dict[str, Counts] = {}  # of each series, what was remembered when it was last looked at

    def now(self) -> Mapping[str, Counts]:
        """What was done by now, by program."""
        with self._lock:
            found = self._found()
            for name in sorted(found, key=lambda name: found[name].fetched_files, reverse=True):
                if name not in self._last and name != OTHERS and len(self._last) < self._most:
                    self._last[name] = self._forgotten[name] = Counts()
            for name, last in self._last.items():
                now = found.get(name, Counts())
                if any(new < old for new, old in zip(now, last, strict=True)):
                    self._forgotten[name] = _sum([self._forgotten[name], last])
                self._last[name] = now
            series = {name: _sum([self._forgotten[name], last]) for name, last in self._last.items()}
            rest = zip(_sum(found.values()), _sum(series.values()), strict=True)
            return {**series, OTHERS: Counts(*(total - told for total, told in rest))}

    def _found(self) -> dict[str, Counts]:
        """By names that can be written."""
        found: dict[str, Counts] = {}
        for name, each in self._programs.usages().items():
            did = Counts(each.opened_files, each.fetched_files, each.read_bytes)
            found[visible(name)] = _sum([found.get(visible(name), Counts()), did])
        return found


def _sum(all_counts: Iterable[Counts]) -> Counts:
    return Counts(*(sum(numbers) for numbers in zip(Counts(), *all_counts, strict=True)))
