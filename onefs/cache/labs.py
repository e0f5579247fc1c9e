"""How many files and bytes of each lab are in the cache."""

import threading
from dataclasses import dataclass
from uuid import UUID

from onefs.catalogue.records import Dataset


@dataclass(frozen=True, slots=True)
class LabUsage:
    """Complete files in the cache, and the bytes that they take of the disk."""

    size_bytes: int = 0
    files: int = 0

    def plus(self, size_bytes: int, files: int) -> "LabUsage":
        """The sum, at least 0. The arguments may be negative."""
        return LabUsage(max(self.size_bytes + size_bytes, 0), max(self.files + files, 0))


def lab_of(path: str) -> str:
    """The lab in the path of a dataset, "" if it names none."""
    lab, folder, _ = (*path.split("/", 2), "", "")[:3]
    return lab if folder == "Subjects" else ""


class Labs:
    """What the cache holds of each lab: the last count, corrected by what this process fetched and evicted since.

    What other processes change in a shared cache shows at the next count. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all below
        self._counted: dict[str, LabUsage] | None = None
        self._count: LabCount | None = None

    @property
    def is_counted(self) -> bool:
        """Whether there was a count."""
        return self._counted is not None

    def largest_first(self) -> list[tuple[str, LabUsage]] | None:
        """The labs that have files in the cache, the largest first; None before the first count."""
        with self._lock:
            if self._counted is None:
                return None
            there = [(lab, usage) for lab, usage in self._counted.items() if usage.files]
        return sorted(there, key=lambda each: (-each[1].size_bytes, each[0]))

    def added(self, dataset: Dataset, size_bytes: int) -> None:
        """Add a file that became complete."""
        with self._lock:
            self._change(dataset, size_bytes, 1)
            if self._count is not None:
                self._count.added[dataset.id] = (lab_of(dataset.path), size_bytes)

    def removed(self, dataset: Dataset, size_bytes: int) -> None:
        """Subtract a complete file that left the cache."""
        with self._lock:
            self._change(dataset, -size_bytes, -1)
            if self._count is not None:
                self._count.added.pop(dataset.id, None)

    def begin_count(self) -> "LabCount":
        """Begin a count, and return it."""
        with self._lock:
            self._count = LabCount()
            return self._count

    def end_count(self, count: "LabCount") -> None:
        """Replace what was known before by a count."""
        with self._lock:
            self._counted, self._count = count.result(), None

    def _change(self, dataset: Dataset, size_bytes: int, files: int) -> None:
        if self._counted is not None:
            lab = lab_of(dataset.path)
            self._counted[lab] = self._counted.get(lab, LabUsage()).plus(size_bytes, files)


class LabCount:
    """A count under way. Files added meanwhile are in `added`, so that none is counted twice."""

    def __init__(self) -> None:
        self.added: dict[UUID, tuple[str, int]] = {}
        self._found: dict[str, LabUsage] = {}

    def add(self, dataset: Dataset, size_bytes: int) -> None:
        """Count a file that was found."""
        if dataset.id not in self.added:
            self._add(lab_of(dataset.path), size_bytes)

    def result(self) -> dict[str, LabUsage]:
        """What was found, with what was added meanwhile."""
        for lab, size_bytes in self.added.values():
            self._add(lab, size_bytes)
        return self._found

    def _add(self, lab: str, size_bytes: int) -> None:
        self._found[lab] = self._found.get(lab, LabUsage()).plus(size_bytes, 1)
