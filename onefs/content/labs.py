"""How much of each lab is in the cache."""

import threading
from dataclasses import dataclass
from uuid import UUID

from onefs.catalogue.records import Dataset


@dataclass(frozen=True, slots=True)
class Held:
    """Complete files in the cache, and the bytes that they take of the disk."""

    size_bytes: int = 0
    files: int = 0

    def plus(self, size_bytes: int, files: int) -> "Held":
        """With more, or less if they are negative; never below nothing."""
        return Held(max(self.size_bytes + size_bytes, 0), max(self.files + files, 0))


def lab_of(path: str) -> str:
    """The lab in the path of a dataset, "" if it names none."""
    lab, folder, _ = (*path.split("/", 2), "", "")[:3]
    return lab if folder == "Subjects" else ""


class Labs:
    """What is in the cache by lab: by the last count, and what this process fetched and evicted since.

    What other processes did to a shared cache shows at the next count. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all below
        self._counted: dict[str, Held] | None = None
        self._count: LabCount | None = None

    @property
    def is_counted(self) -> bool:
        """Whether there was a count."""
        return self._counted is not None

    def largest_first(self) -> list[tuple[str, Held]] | None:
        """The labs of which something is there; None before the first count."""
        with self._lock:
            if self._counted is None:
                return None
            there = [(lab, held) for lab, held in self._counted.items() if held.files]
        return sorted(there, key=lambda each: (-each[1].size_bytes, each[0]))

    def came(self, dataset: Dataset, size_bytes: int) -> None:
        """A file is complete."""
        with self._lock:
            self._change(dataset, size_bytes, 1)
            if self._count is not None:
                self._count.came[dataset.id] = (lab_of(dataset.path), size_bytes)

    def left(self, dataset: Dataset, size_bytes: int) -> None:
        """A complete file left the cache."""
        with self._lock:
            self._change(dataset, -size_bytes, -1)
            if self._count is not None:
                self._count.came.pop(dataset.id, None)

    def begin_count(self) -> "LabCount":
        """A count that begins now."""
        with self._lock:
            self._count = LabCount()
            return self._count

    def end_count(self, count: "LabCount") -> None:
        """Let a count replace what was known before."""
        with self._lock:
            self._counted, self._count = count.result(), None

    def _change(self, dataset: Dataset, size_bytes: int, files: int) -> None:
        if self._counted is not None:
            lab = lab_of(dataset.path)
            self._counted[lab] = self._counted.get(lab, Held()).plus(size_bytes, files)


class LabCount:
    """A count under way. Files that come meanwhile are in `came`, so that none is counted twice."""

    def __init__(self) -> None:
        self.came: dict[UUID, tuple[str, int]] = {}
        self._found: dict[str, Held] = {}

    def add(self, dataset: Dataset, size_bytes: int) -> None:
        """Count a file that was found."""
        if dataset.id not in self.came:
            self._add(lab_of(dataset.path), size_bytes)

    def result(self) -> dict[str, Held]:
        """What was found, with what came meanwhile."""
        for lab, size_bytes in self.came.values():
            self._add(lab, size_bytes)
        return self._found

    def _add(self, lab: str, size_bytes: int) -> None:
        self._found[lab] = self._found.get(lab, Held()).plus(size_bytes, 1)
